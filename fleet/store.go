package fleet

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river/riverdriver"
)

// Store keeps runs in one SQLite file, or in a Postgres database shared by many machines. [Open]
// and [OpenReadOnly] return one. It is safe for concurrent use, also by several processes at once.
type Store struct {
	db         *sql.DB // for transactions, and for River; nil if the store is read-only
	reads      *sql.DB // for queries outside of transactions
	driver     riverDriver
	dialect    dialect                     // translates statements, see [Store.sql]
	committers int                         // how many transactions of a run's workers there may be at once
	intact     func() error                // an error if the database must not be used any more; asked around each use
	checkpoint func(context.Context) error // moves commits to the named file
}

// storeTimeout bounds one transaction, and one query.
const storeTimeout = 10 * time.Second

// Open opens a store for changing tokens, and creates or migrates its tables: fleet's own, with
// names beginning with fleet_, and those of River, the job queue. [Store.Close] it after use.
//
// source is the path of a SQLite file, which is created if there is none, or a URL that begins with
// postgres:// or postgresql://. A connection string such as "host=... password=..." is refused.
// Keep the file on a local disk; its mode becomes 0600, and its -wal file is a part of it. It is an
// error if the file is not a database, if the server cannot be reached, and if the tables are newer
// than this program, or older with undecided changes.
func Open(ctx context.Context, source string) (*Store, error) {
	return open(ctx, source, false)
}

// OpenReadOnly opens a store for looking at it. It creates, migrates and changes nothing, not even
// a file's mode, and needs only the right to SELECT from the tables with names beginning with
// fleet_. Writing methods return an error. It is an error if there are no such tables, or if they
// are not of this version.
func OpenReadOnly(ctx context.Context, source string) (*Store, error) {
	return open(ctx, source, true)
}

func open(ctx context.Context, source string, readOnly bool) (s *Store, err error) {
	what := "open " + strconv.Quote(source)
	switch {
	case strings.HasPrefix(source, "postgres://"), strings.HasPrefix(source, "postgresql://"):
		what = "open" // a URL may contain a password; Postgres's errors name the server
		s, err = openPostgres(ctx, source, readOnly)
	case isConnectionString(source):
		return nil, errors.New("fleet: open: want the path of a file, or a URL such as postgres://user@host/database, not a list of settings")
	case readOnly:
		s, err = readSQLite(source)
	default:
		s, err = openSQLite(source)
	}
	if err != nil {
		return nil, fmt.Errorf("fleet: %s: %w", what, err)
	}
	if readOnly {
		err = s.checkVersion(ctx)
	} else {
		err = errors.Join(s.migrate(ctx), s.checkpoint(ctx))
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("fleet: %s: %w", what, err)
	}
	return s, nil
}

// isConnectionString reports whether a source is a list of settings, as libpq
// takes it. It may contain a password, which must not become a file's name.
func isConnectionString(source string) bool {
	for _, name := range []string{"host", "hostaddr", "port", "dbname", "user", "password", "service", "sslmode"} {
		for field := range strings.FieldsSeq(source) {
			if strings.HasPrefix(field, name+"=") {
				return true
			}
		}
	}
	return false
}

// Close closes the store. It does not wait for runs: end them first.
func (s *Store) Close() error {
	err := s.reads.Close()
	if s.db != nil && s.db != s.reads {
		err = errors.Join(err, s.db.Close())
	}
	return err
}

// dialect is a [*strings.Replacer].
type dialect interface{ Replace(statement string) string }

// riverDriver is River's, for either database.
type riverDriver = riverdriver.Driver[*sql.Tx]

var errReadOnly = errors.New("the store was opened for reading only")

// tx calls do in one transaction, within storeTimeout. An error of do rolls it
// back. name is the transaction's, for the tests.
func (s *Store) tx(ctx context.Context, name string, do func(context.Context, *sql.Tx) error) error {
	return s.longTx(ctx, name, func(ctx context.Context, tx *sql.Tx) error {
		ctx, cancel := bounded(ctx)
		defer cancel()
		return orCause(ctx, do(ctx, tx))
	})
}

// longTx is tx for a transaction of many statements, each of which do has to bound.
func (s *Store) longTx(ctx context.Context, name string, do func(context.Context, *sql.Tx) error) error {
	if s.db == nil {
		return errReadOnly
	}
	if err := s.intact(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(storeTimeout, func() { cancel(errNoResponse) })
	defer limit.Stop()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return orCause(ctx, err)
	}
	defer func() { _ = tx.Rollback() }()
	limit.Stop()
	if err := do(ctx, tx); err != nil {
		return err
	}
	failpoint(name + ": before commit")
	limit.Reset(storeTimeout)
	if err := tx.Commit(); err != nil {
		return orCause(ctx, err)
	}
	failpoint(name + ": after commit")
	return s.intact()
}

// bounded is ctx for one statement, or for the few of a short transaction.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, storeTimeout, errNoResponse)
}

var errNoResponse = fmt.Errorf("the database has not responded within %v", storeTimeout)

// orCause is err, or its cause if known.
func orCause(ctx context.Context, err error) error {
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errNoResponse):
		return errNoResponse
	case isPooled(err):
		return errPooled
	}
	return err
}

// atFailpoint is what the tests have done at a moment of this name, such as to kill
// the process.
var atFailpoint atomic.Pointer[func(name string)]

func failpoint(name string) {
	if do := atFailpoint.Load(); do != nil {
		(*do)(name)
	}
}

// exec runs one statement in a transaction of its own.
func (s *Store) exec(ctx context.Context, name, statement string, args ...any) error {
	return s.tx(ctx, name, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, s.sql(statement), args...)
		return err
	})
}

// queryer is a pool or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// query calls scan for each row of a statement, until scan returns false.
func (s *Store) query(ctx context.Context, db queryer, scan func(*sql.Rows) (more bool, err error), statement string, args ...any) error {
	ctx, cancel := bounded(ctx)
	defer cancel() // without it, closing rows would read all the rest
	err := s.intact()
	if err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, s.sql(statement), args...)
	if err != nil {
		return orCause(ctx, err)
	}
	defer rows.Close()
	for more := true; more && rows.Next(); {
		if more, err = scan(rows); err != nil {
			return orCause(ctx, err)
		}
		if !more {
			cancel()
			return nil
		}
	}
	if err := rows.Err(); err != nil {
		return orCause(ctx, err)
	}
	return s.intact()
}

// one reads the only row of a statement; sql.ErrNoRows if there is none.
func (s *Store) one(ctx context.Context, statement string, args []any, into ...any) error {
	err := sql.ErrNoRows
	queryErr := s.query(ctx, s.reads, func(rows *sql.Rows) (bool, error) {
		err = nil
		return true, rows.Scan(into...)
	}, statement, args...)
	if queryErr != nil {
		return queryErr
	}
	return err
}

// column reads rows of one value each.
func column[T any](ctx context.Context, s *Store, db queryer, statement string, args ...any) (all []T, err error) {
	err = s.query(ctx, db, func(rows *sql.Rows) (bool, error) {
		var value T
		err := rows.Scan(&value)
		all = append(all, value)
		return true, err
	}, statement, args...)
	return all, err
}

// sql translates a statement to the database's dialect. It has Postgres's placeholders; {now}
// stands for the store's own clock in microseconds since 1970, {lock} locks the rows of a SELECT,
// {worker} and {made} are the process of River's job j and the time it was made, and {instant} and
// {past} are times as River has them.
func (s *Store) sql(statement string) string {
	return s.dialect.Replace(statement)
}

func newFence() string { return rand.Text() }
