package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Note returns what [Store.UpdateNote] has written under the name of a run and a
// name of the program's own; nil if there is nothing. It locks and writes nothing.
func (s *Store) Note(ctx context.Context, run, name string) (text []byte, err error) {
	err = s.one(ctx, "SELECT text FROM fleet_note WHERE run = $1 AND name = $2", []any{run, name}, &text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fleet: note %q of run %q: %w", name, run, err)
	}
	return text, nil
}

// UpdateNote atomically replaces a note of a program about a run by the result of f. The run need
// not exist yet; [Store.Delete] deletes its notes too. before is nil if there is no note. f may be
// called more than once. An error of f leaves the note unchanged, and is wrapped in UpdateNote's
// error.
func (s *Store) UpdateNote(ctx context.Context, run, name string, f func(before []byte) (after []byte, err error)) error {
	err := s.tx(ctx, "note", func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, s.sql("INSERT INTO fleet_note (run, name) VALUES ($1, $2) ON CONFLICT DO NOTHING"), run, name); err != nil {
			return err
		}
		var before []byte
		if err := tx.QueryRowContext(ctx, s.sql("SELECT text FROM fleet_note WHERE run = $1 AND name = $2 {lock}"), run, name).Scan(&before); err != nil {
			return err
		}
		after, err := f(before)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, s.sql("UPDATE fleet_note SET text = $3 WHERE run = $1 AND name = $2"), run, name, after)
		return err
	})
	if err != nil {
		return fmt.Errorf("fleet: note %q of run %q: %w", name, run, err)
	}
	return nil
}
