package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tokenpatch/tokenpatch"
)

var _ tokenpatch.Budget = (*Store)(nil)

// Update atomically replaces the state under key by the result of f: a Store is a
// [tokenpatch.Budget], through which programs share a rate limit. state is nil if there is none, or
// ttl has passed since it was written; now is the store's own clock. f may be called more than
// once. An error of f leaves the state unchanged, and is wrapped in Update's error.
func (s *Store) Update(ctx context.Context, key string, f func(state []byte, now time.Time) (next []byte, ttl time.Duration, err error)) error {
	err := s.tx(ctx, "budget", func(ctx context.Context, tx *sql.Tx) error {
		state, now, err := s.budget(ctx, tx, key)
		if errors.Is(err, sql.ErrNoRows) {
			if err = s.newBudget(ctx, tx, key); err == nil {
				state, now, err = s.budget(ctx, tx, key)
			}
		}
		if err != nil {
			return err
		}
		next, ttl, err := f(state, now)
		if err != nil {
			return err
		}
		if next == nil {
			next = []byte{}
		}
		_, err = tx.ExecContext(ctx, s.sql("UPDATE fleet_budget SET state = $2, expires = $3 WHERE name = $1"), key, next, now.Add(ttl).UnixMicro())
		return err
	})
	if err != nil {
		return fmt.Errorf("fleet: budget: %w", err)
	}
	return nil
}

// budget reads a state and locks it. The clock is read once it is locked.
func (s *Store) budget(ctx context.Context, tx *sql.Tx, key string) (state []byte, now time.Time, err error) {
	var expires, micros int64
	err = tx.QueryRowContext(ctx, s.sql(`WITH locked AS MATERIALIZED (SELECT state, expires FROM fleet_budget WHERE name = $1 {lock})
		SELECT state, expires, {now} FROM locked`), key).Scan(&state, &expires, &micros)
	if expires <= micros {
		state = nil
	}
	return state, time.UnixMicro(micros), err
}

// newBudget makes the row of a key, and deletes rows unused for a day.
func (s *Store) newBudget(ctx context.Context, tx *sql.Tx, key string) error {
	day := (24 * time.Hour).Microseconds()
	if _, err := tx.ExecContext(ctx, s.sql("DELETE FROM fleet_budget WHERE expires < {now} - $1"), day); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, s.sql("INSERT INTO fleet_budget (name, state, expires) VALUES ($1, $2, {now}) ON CONFLICT (name) DO NOTHING"), key, []byte{})
	return err
}
