package fleet

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"strings"

	"github.com/tokenpatch/tokenpatch/internal/shorten"
)

// What is added in one statement.
const (
	chunkRows  = 1000
	chunkBytes = 1 << 20
)

// AddOptions are what [Store.Add] can be told beside the changes.
type AddOptions struct {
	// Digest identifies what the changes were made from, such as a file by its
	// SHA-256. The run remembers it: adding the same digest again reads no change and
	// adds nothing. If the run has changes, and none with this digest, Add returns an
	// [*OtherChangesError] unless More is set. Empty is not looked at.
	Digest string

	// More adds to what the run has, whatever its digests are.
	More bool
}

// OtherChangesError is the error for a run made from something else.
type OtherChangesError struct {
	Run    string
	Digest string // of the new changes
}

func (e *OtherChangesError) Error() string {
	return fmt.Sprintf("fleet: run %q has other changes than those of digest %s: want another name, or AddOptions.More", e.Run, e.Digest)
}

// DuplicateError is the error for two different changes of one token in one run.
type DuplicateError struct {
	Run  string
	ID   string // of the token
	Have string // the run's change, as JSON, shortened
	New  string // the new change, likewise
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("fleet: run %q: token %s: want one change, not both %s and %s", e.Run, e.ID, e.Have, e.New)
}

// Add adds changes to the run of this name, and makes the run if there is none. It adds all of them
// or, with an error, none, and returns how many were new. Changes already in the run stay, so
// adding the same again adds nothing.
//
// The error is one of changes, an [*OtherChangesError] by o, a [*DuplicateError] for a second,
// different change of one token, or describes a mistake in a change, often as a
// [*tokenpatch.InputError] or a [*tokenpatch.PatchError].
//
// Add is one transaction: on SQLite nothing else can be written meanwhile.
func (s *Store) Add(ctx context.Context, run string, changes iter.Seq2[Change, error], o AddOptions) (added int, err error) {
	if run == "" {
		return 0, failed("add to run", run, errNoName)
	}
	err = s.longTx(ctx, "add", func(ctx context.Context, tx *sql.Tx) error {
		a := adding{store: s, tx: tx, name: run}
		known, err := a.begin(ctx, o)
		if err != nil || known {
			return err
		}
		for change, err := range changes {
			if err != nil {
				return err
			}
			if err := a.add(ctx, change); err != nil {
				return err
			}
		}
		err = a.flush(ctx)
		added = a.added
		return err
	})
	if err == nil {
		err = s.checkpoint(ctx)
	}
	if err != nil {
		return 0, failed("add to run", run, err)
	}
	return added, nil
}

// adding is one transaction of [Store.Add].
type adding struct {
	store *Store
	tx    *sql.Tx
	name  string
	run   int64
	seq   int64 // of the last change
	seen  int   // changes read so far
	added int
	rows  []newRow
	bytes int // of rows
}

type newRow struct {
	api  api
	id   string
	body string
}

// begin makes the run, keeps others from adding to it until the transaction ends,
// and decides by its digests whether to add. known is true if there is nothing to
// add.
func (a *adding) begin(ctx context.Context, o AddOptions) (known bool, err error) {
	s := a.store
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err = a.tx.ExecContext(ctx, s.sql("INSERT INTO fleet_run (name, created) VALUES ($1, {now}) ON CONFLICT (name) DO NOTHING"), a.name)
	if err != nil {
		return false, err
	}
	row := a.tx.QueryRowContext(ctx, s.sql("UPDATE fleet_run SET fed = fed + 1 WHERE name = $1 RETURNING id"), a.name)
	if err := row.Scan(&a.run); err != nil {
		return false, err
	}
	row = a.tx.QueryRowContext(ctx, s.sql(`SELECT coalesce(max(seq), 0), EXISTS (SELECT 1 FROM fleet_source WHERE run = $1 AND digest = $2)
		FROM fleet_change WHERE run = $1`), a.run, o.Digest)
	if err := row.Scan(&a.seq, &known); err != nil || known || o.Digest == "" {
		return known, err
	}
	if a.seq > 0 && !o.More {
		return false, &OtherChangesError{Run: a.name, Digest: shorten.Text(o.Digest, 100)}
	}
	_, err = a.tx.ExecContext(ctx, s.sql("INSERT INTO fleet_source (run, digest) VALUES ($1, $2)"), a.run, o.Digest)
	return false, err
}

func (a *adding) add(ctx context.Context, change Change) error {
	a.seen++
	change, err := change.checked()
	if err != nil {
		return fmt.Errorf("change %d: %w", a.seen, err)
	}
	body, err := change.encode()
	if err != nil {
		return fmt.Errorf("change %d: %w", a.seen, err)
	}
	a.rows = append(a.rows, newRow{change.api(), change.ID, string(body)})
	a.bytes += len(body)
	if len(a.rows) < chunkRows && a.bytes < chunkBytes {
		return nil
	}
	return a.flush(ctx)
}

// flush writes the changes read so far.
func (a *adding) flush(ctx context.Context) error {
	if len(a.rows) == 0 {
		return nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	var statement strings.Builder
	statement.WriteString("INSERT INTO fleet_change (run, seq, api, token, body) VALUES ")
	args := []any{a.run}
	for i, row := range a.rows {
		if i > 0 {
			statement.WriteString(", ")
		}
		n := len(args)
		fmt.Fprintf(&statement, "($1, $%d, $%d, $%d, $%d)", n+1, n+2, n+3, n+4)
		a.seq++
		args = append(args, a.seq, row.api, row.id, row.body)
	}
	statement.WriteString(" ON CONFLICT (run, api, token) DO NOTHING")
	result, err := a.tx.ExecContext(ctx, a.store.sql(statement.String()), args...)
	if err != nil {
		return err
	}
	added, err := result.RowsAffected()
	if err != nil {
		return err
	}
	a.added += int(added)
	if int(added) < len(a.rows) {
		err = a.compare(ctx)
	}
	clear(a.rows) // a long change must not stay in memory
	a.rows, a.bytes = a.rows[:0], 0
	return err
}

// compare looks for a token with another change in the run.
func (a *adding) compare(ctx context.Context) error {
	query := a.store.sql("SELECT body FROM fleet_change WHERE run = $1 AND api = $2 AND token = $3")
	for _, row := range a.rows {
		var have string
		if err := a.tx.QueryRowContext(ctx, query, a.run, row.api, row.id).Scan(&have); err != nil {
			return err
		}
		if have != row.body {
			return &DuplicateError{Run: a.name, ID: row.id, Have: shorten.Text(have, 500), New: shorten.Text(row.body, 500)}
		}
	}
	return nil
}
