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
	db     *sql.DB // of every transaction, and of River
	reads  *sql.DB // of what is only read
	driver driver
	now    string // the store's own clock in SQL: microseconds since 1970
	lock   string // what locks the rows that a SELECT finds
	worker string // who works on job j of River's
	rebind func(string) string
	whole  func() error // that the database still is the one that was opened; asked around each transaction
}

// Open opens a store, and makes or migrates its tables: fleet's own, whose
// names begin with fleet_, and those of River, the engine.
//
// source is the path of a SQLite file, which is made where there is none, or a
// URL that begins with postgres:// or postgresql://. The file is readable by
// its owner only, and belongs on a local disk. Close the store when it is no
// longer used.
func Open(ctx context.Context, source string) (*Store, error) {
	open := openSQLite
	if strings.HasPrefix(source, "postgres://") || strings.HasPrefix(source, "postgresql://") {
		open = openPostgres
	}
	s, err := open(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("fleet: open: %w", err)
	}
	if err := s.migrate(ctx); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("fleet: open: %w", err)
	}
	return s, nil
}

// Close closes the store. It waits for no run: end those first.
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

// tx runs do in one transaction. What do reads in it is what it writes on.
func (s *Store) tx(ctx context.Context, do func(*sql.Tx) error) error {
	if err := s.whole(); err != nil {
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
	return s.whole()
}

// sql is a statement, written with Postgres's placeholders, in the words of
// the store: {now} is the store's clock, {lock} locks what a SELECT finds, and
// {worker} and {dead} are for [live].
func (s *Store) sql(statement string) string {
	return s.rebind(strings.NewReplacer("{now}", s.now, "{lock}", s.lock, "{worker}", s.worker,
		"{dead}", strconv.FormatInt(deadAfter.Microseconds(), 10)).Replace(statement))
}

func newFence() string { return rand.Text() }
