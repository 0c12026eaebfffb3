package fleet

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/riverqueue/river/riverdriver"
)

// Store keeps runs: in one SQLite file, or in a Postgres database that many
// machines share. It is made by [Open] and is safe for concurrent use, also by
// several processes at once.
type Store struct {
	db         *sql.DB // for transactions, and for River
	reads      *sql.DB // for what only reads
	driver     driver
	now        string              // the store's own clock in SQL: microseconds since 1970
	lock       string              // what locks the rows that a SELECT finds
	worker     string              // who works on job j of River's
	committers int                 // how many transactions of a run's workers there may be at once
	rebind     func(string) string // writes Postgres's placeholders as the database wants them
	intact     func() error        // an error where the file is not the one that was opened; asked around each transaction
}

// Open opens a store, and makes or migrates its tables: fleet's own, whose names
// begin with fleet_, and those of River, the job queue. [Store.Close] it when it is
// no longer used.
//
// source is the path of a SQLite file, which is made where there is none, or a URL
// that begins with postgres:// or postgresql://. The file belongs on a local disk;
// its mode becomes 0600. A file that is no database, a server that cannot be
// reached, and tables of a newer version are errors.
func Open(ctx context.Context, source string) (*Store, error) {
	open, what := openSQLite, "open "+strconv.Quote(source)
	if strings.HasPrefix(source, "postgres://") || strings.HasPrefix(source, "postgresql://") {
		open, what = openPostgres, "open" // a URL may hold a password; Postgres's errors name the server
	}
	s, err := open(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("fleet: %s: %w", what, err)
	}
	if err := s.migrate(ctx); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("fleet: %s: %w", what, err)
	}
	return s, nil
}

// Close closes the store. It does not wait for runs: end them first.
func (s *Store) Close() error {
	err := s.db.Close()
	if s.reads != s.db {
		if readErr := s.reads.Close(); err == nil {
			err = readErr
		}
	}
	return err
}

// driver is River's, for either database.
type driver = riverdriver.Driver[*sql.Tx]

// tx calls do in one transaction, which an error of do rolls back.
func (s *Store) tx(ctx context.Context, do func(*sql.Tx) error) error {
	if err := s.intact(); err != nil {
		return err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := do(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return s.intact()
}

// sql translates a statement to the database's dialect. It has Postgres's
// placeholders; {now} stands for the store's clock, {lock} locks what a SELECT
// finds, and {worker} and {dead} are for [live].
func (s *Store) sql(statement string) string {
	return s.rebind(strings.NewReplacer("{now}", s.now, "{lock}", s.lock, "{worker}", s.worker,
		"{dead}", strconv.FormatInt(deadAfter.Microseconds(), 10)).Replace(statement))
}

func newFence() string { return rand.Text() }
