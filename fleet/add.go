package fleet

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"strings"
)

const chunk = 1000 // changes that are added in one statement

// DuplicateError is the error for two different changes of one token in one run.
type DuplicateError struct {
	Run  string
	ID   string // of the token
	Have string // the change that the run has, as JSON, shortened
	New  string // the one that was to be added, likewise
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("fleet: run %q: token %s: want one change, not both %s and %s", e.Run, e.ID, e.Have, e.New)
}

// Add adds changes to the run of this name, and makes the run where there is
// none. It adds all of them or, with an error, none. What the run has already, it
// leaves as it is, so that adding the same again adds nothing. added is how many
// were new.
//
// The error is one that changes yields, a [*DuplicateError] for a second, different
// change of one token, or tells what is wrong with a change, often as a
// [*tokenpatch.InputError] or a [*tokenpatch.PatchError].
//
// Add is one transaction: on SQLite nothing else can be written meanwhile.
func (s *Store) Add(ctx context.Context, run string, changes iter.Seq2[Change, error]) (added int, err error) {
	err = s.tx(ctx, func(tx *sql.Tx) error {
		if run == "" {
			return errNoName
		}
		a := adding{store: s, tx: tx, name: run}
		if err := a.begin(ctx); err != nil {
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
		err := a.flush(ctx)
		added = a.added
		return err
	})
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
	seen  int   // changes that came in
	added int
	rows  []newRow
}

type newRow struct {
	api  api
	id   string
	body string
}

// begin makes the run, and keeps others from adding to it.
func (a *adding) begin(ctx context.Context) error {
	s := a.store
	_, err := a.tx.ExecContext(ctx, s.sql("INSERT INTO fleet_run (name, created) VALUES ($1, {now}) ON CONFLICT (name) DO NOTHING"), a.name)
	if err != nil {
		return err
	}
	row := a.tx.QueryRowContext(ctx, s.sql("UPDATE fleet_run SET fed = fed + 1 WHERE name = $1 RETURNING id"), a.name)
	if err := row.Scan(&a.run); err != nil {
		return err
	}
	row = a.tx.QueryRowContext(ctx, s.sql("SELECT coalesce(max(seq), 0) FROM fleet_change WHERE run = $1"), a.run)
	return row.Scan(&a.seq)
}

func (a *adding) add(ctx context.Context, change Change) error {
	a.seen++
	change, err := change.checked()
	if err != nil {
		return fmt.Errorf("change %d: %w", a.seen, err)
	}
	body, err := change.MarshalJSON()
	if err != nil {
		return fmt.Errorf("change %d: %w", a.seen, err)
	}
	a.rows = append(a.rows, newRow{change.api(), change.ID, string(body)})
	if len(a.rows) < chunk {
		return nil
	}
	return a.flush(ctx)
}

// flush writes what has come in.
func (a *adding) flush(ctx context.Context) error {
	if len(a.rows) == 0 {
		return nil
	}
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
	a.rows = a.rows[:0]
	return err
}

// compare looks for a token that the run has with another change.
func (a *adding) compare(ctx context.Context) error {
	query := a.store.sql("SELECT body FROM fleet_change WHERE run = $1 AND api = $2 AND token = $3")
	for _, row := range a.rows {
		var have string
		if err := a.tx.QueryRowContext(ctx, query, a.run, row.api, row.id).Scan(&have); err != nil {
			return err
		}
		if have != row.body {
			return &DuplicateError{Run: a.name, ID: row.id, Have: shorten(have, 500), New: shorten(row.body, 500)}
		}
	}
	return nil
}

// shorten cuts a text at a rune's boundary.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "..."
}
