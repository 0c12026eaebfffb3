package fleet

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
)

// maxConnections is how many connections to Postgres one store has: committers for
// what workers write, and the others for reads, the budget and River.
const (
	maxConnections = 8
	committers     = 4 // a request waits for its transaction, and several wait less than one after the other
)

const connectTimeout = 10 * time.Second // unless the URL has one

var errPooled = errors.New("one session was served by two Postgres backends: want session pooling, or no pooler, since settings and prepared statements belong to a backend")

var postgresDialect = strings.NewReplacer(
	"{now}", "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
	"{made}", "CAST(extract(epoch FROM j.created_at) * 1000000 AS BIGINT)",
	"{instant}", "clock_timestamp()",
	"{past}", "to_timestamp(0)",
	"{worker}", "to_json(j.attempted_by) ->> -1",
	"{lock}", "FOR UPDATE",
)

func openPostgres(ctx context.Context, source string, readOnly bool) (*Store, error) {
	config, err := pgx.ParseConfig(source)
	if err != nil {
		return nil, err
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	session := newSession(config, readOnly)
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(session.begin), stdlib.OptionResetSession(session.check),
		stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { return false })) // check does
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	s := &Store{db: db, reads: db, driver: riverdatabasesql.New(db), dialect: postgresDialect, committers: committers}
	s.intact = func() error {
		if session.pooled.Load() {
			return errPooled
		}
		return nil
	}
	s.checkpoint = func(context.Context) error { return nil }
	if readOnly {
		s.db = nil
	}
	return s, nil
}

// session sets up connections. Its settings are made by a statement: PgBouncer
// refuses most startup parameters.
type session struct {
	statement string // returns the backend's process id, and makes the settings
	args      []any
	pooled    atomic.Bool // two backends were seen in one session
}

// newSession moves the settings of a URL to the session, beside our own.
func newSession(config *pgx.ConnConfig, readOnly bool) *session {
	// A process frozen within a transaction must not delay the others.
	settings := map[string]string{"idle_in_transaction_session_timeout": "30s"}
	for name, value := range config.RuntimeParams {
		if name != "application_name" {
			settings[name] = value
			delete(config.RuntimeParams, name)
		}
	}
	settings["default_transaction_isolation"] = "read committed" // or transactions fail because of others
	if readOnly {
		settings["default_transaction_read_only"] = "on"
	}
	// An attempt has to be on disk before its request is sent.
	s := &session{statement: `SELECT pg_backend_pid(), set_config('synchronous_commit',
		CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)`}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		s.statement += fmt.Sprintf(", set_config($%d, $%d, false)", len(s.args)+1, len(s.args)+2)
		s.args = append(s.args, name, settings[name])
	}
	return s
}

// backend is the Postgres process of a connection at the last check.
type backend struct {
	pid   int32
	asked time.Time
}

const backendKey = "fleet.backend" // in a connection's custom data

// begin makes the settings of a new connection.
func (s *session) begin(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, s.statement, append([]any{pgx.QueryExecModeExec}, s.args...)...)
	if err == nil {
		var pid int32
		pid, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (int32, error) {
			values, err := row.Values()
			return values[0].(int32), err
		})
		conn.PgConn().CustomData()[backendKey] = backend{pid, time.Now()}
	}
	if err != nil {
		_ = conn.Close(ctx)
	}
	return err
}

// check asks, once a second, whether a connection still has its backend. It also finds a connection
// that broke while it was idle.
func (s *session) check(ctx context.Context, conn *pgx.Conn) error {
	known, _ := conn.PgConn().CustomData()[backendKey].(backend)
	if time.Since(known.asked) < time.Second {
		return nil
	}
	now := backend{asked: time.Now()}
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeExec).Scan(&now.pid); err != nil {
		return driver.ErrBadConn
	}
	if now.pid != known.pid {
		s.pooled.Store(true)
		return driver.ErrBadConn
	}
	conn.PgConn().CustomData()[backendKey] = now
	return nil
}

// isPooled reports whether an error is about a prepared statement of another backend.
func isPooled(err error) bool {
	var failed *pgconn.PgError
	return errors.As(err, &failed) && (failed.Code == "26000" || failed.Code == "42P05")
}
