package fleet

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
)

// maxConnections is how many connections to Postgres one store has: committers for
// what workers write, and the others for reads, the budget and River.
const (
	maxConnections = 8
	committers     = 4 // a request waits for its transaction, and several wait less than one after the other
)

func openPostgres(ctx context.Context, source string) (*Store, error) {
	config, err := pgx.ParseConfig(source)
	if err != nil {
		return nil, err
	}
	// A process that is frozen within a transaction must not hold up the others.
	if _, set := config.RuntimeParams["idle_in_transaction_session_timeout"]; !set {
		config.RuntimeParams["idle_in_transaction_session_timeout"] = "30s"
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	return &Store{
		db: db, reads: db, driver: riverdatabasesql.New(db),
		now:        "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
		lock:       "FOR UPDATE",
		worker:     "to_json(j.attempted_by) ->> -1",
		committers: committers,
		rebind:     func(statement string) string { return statement },
		intact:     func() error { return nil },
	}, nil
}
