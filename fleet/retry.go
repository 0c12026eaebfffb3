package fleet

import (
	"context"
	"database/sql"
	"slices"
	"strconv"

	"github.com/tokenpatch/tokenpatch"
)

// Retry makes the changes of a run pending again that ended in one of the states,
// for the next [Store.Run], and returns how many there were. The states are
// [StateNotApplied] and [StateUnknown]: another one is a [*tokenpatch.InputError],
// and without any state there is nothing to do.
//
// The next run settles an unknown change by a read before it sends anything. A
// patch that may not be sent twice, and that the read does not show, ends unknown
// again. What is known of earlier attempts is kept.
func (s *Store) Retry(ctx context.Context, run string, states ...State) (int, error) {
	return s.putBack(ctx, run, "", states)
}

// RetryEvenIfApplied is [Store.Retry] for changes that somebody has looked at, and
// that do no harm when they are applied twice: they are sent as if they never had
// been.
func (s *Store) RetryEvenIfApplied(ctx context.Context, run string, states ...State) (int, error) {
	forget := `UPDATE fleet_attempt SET outcome = 'not_applied' WHERE run = $1
		AND EXISTS (SELECT 1 FROM fleet_change c WHERE c.run = fleet_attempt.run AND c.seq = fleet_attempt.seq AND c.outcome = $2)`
	return s.putBack(ctx, run, forget, states)
}

// putBack makes changes pending again, and runs a statement for each state before.
func (s *Store) putBack(ctx context.Context, name, before string, states []State) (int, error) {
	for _, state := range states {
		if !slices.Contains([]State{StateNotApplied, StateUnknown}, state) {
			return 0, &tokenpatch.InputError{Field: "states", Value: strconv.Quote(string(state)), Want: "not_applied or unknown"}
		}
	}
	r, err := s.find(ctx, name)
	if err != nil {
		return 0, failed("retry of run", name, err)
	}
	var n int64
	err = s.tx(ctx, func(tx *sql.Tx) error {
		for _, state := range states {
			if before != "" {
				if _, err := tx.ExecContext(ctx, s.sql(before), r.id, state); err != nil {
					return err
				}
			}
			result, err := tx.ExecContext(ctx, s.sql(`UPDATE fleet_change SET outcome = 'pending', fence = $3, job = NULL, error = '', error_type = '',
				code = '', status = 0, ended = NULL WHERE run = $1 AND outcome = $2`), r.id, state, newFence())
			if err != nil {
				return err
			}
			changed, err := result.RowsAffected()
			if err != nil {
				return err
			}
			n += changed
		}
		return nil
	})
	if err != nil {
		return 0, failed("retry of run", name, err)
	}
	return int(n), nil
}

// Delete forgets a run, its changes and what became of them. A process that works
// on it ends with an [*UnknownRunError], as does Delete where there is no such run.
func (s *Store) Delete(ctx context.Context, run string) error {
	r, err := s.find(ctx, run)
	if err != nil {
		return failed("delete run", run, err)
	}
	err = s.tx(ctx, func(tx *sql.Tx) error {
		for _, statement := range []string{
			"DELETE FROM fleet_run WHERE id = $1",
			"DELETE FROM fleet_attempt WHERE run = $1",
			"DELETE FROM fleet_change WHERE run = $1",
		} {
			if _, err := tx.ExecContext(ctx, s.sql(statement), r.id); err != nil {
				return err
			}
		}
		return nil
	})
	return failed("delete run", run, err)
}
