package fleet

import (
	"context"
	"database/sql"
	"encoding/json"
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
	return s.retry(ctx, run, "", states)
}

// RetryEvenIfApplied is [Store.Retry] for changes that somebody has looked at, and
// that do no harm if they are applied twice: they are sent as if they never had
// been. A change that was unknown ends applied or unknown.
func (s *Store) RetryEvenIfApplied(ctx context.Context, run string, states ...State) (int, error) {
	return s.retry(ctx, run, overtaken, states)
}

// retry makes changes pending again. forget is what becomes the outcome of their
// attempts that may have been applied; empty keeps it.
func (s *Store) retry(ctx context.Context, run string, forget State, states []State) (n int, err error) {
	for _, state := range states {
		if !slices.Contains([]State{StateNotApplied, StateUnknown}, state) {
			return 0, &tokenpatch.InputError{Field: "states", Value: strconv.Quote(string(state)), Want: "not_applied or unknown"}
		}
	}
	r, err := s.find(ctx, run)
	if err == nil {
		err = s.tx(ctx, "retry", func(ctx context.Context, tx *sql.Tx) error {
			for _, state := range states {
				again, err := s.putBack(ctx, tx, forget, "run = $1 AND outcome = $2", r.id, state)
				if err != nil {
					return err
				}
				n += again
			}
			return nil
		})
	}
	if err != nil {
		return 0, failed("retry of run", run, err)
	}
	return n, nil
}

// Again makes the changes of a run pending again that were applied, for the next
// [Store.Run] to check, and returns how many there were. A token that is still as
// wanted is not written again; one that was changed since is. Another kind of change
// than a Want is sent again if it is idempotent, and stays as it is otherwise: it was
// made for the token as it was.
func (s *Store) Again(ctx context.Context, run string) (n int, err error) {
	r, err := s.find(ctx, run)
	if err != nil {
		return 0, failed("again of run", run, err)
	}
	for after, more := int64(0), true; more && err == nil; {
		var seqs []int64
		if seqs, after, more, err = s.repeatable(ctx, r.id, after); err != nil {
			break
		}
		err = s.tx(ctx, "again", func(ctx context.Context, tx *sql.Tx) error {
			for _, seq := range seqs {
				again, err := s.putBack(ctx, tx, StateApplied, "run = $1 AND seq = $2 AND outcome = 'applied'", r.id, seq)
				if err != nil {
					return err
				}
				n += again
			}
			return nil
		})
	}
	return n, failed("again of run", run, err)
}

// repeatable are the next changes that were applied and that [Store.Again] may put
// back.
func (s *Store) repeatable(ctx context.Context, run, after int64) (seqs []int64, last int64, more bool, err error) {
	last = after
	read := 0
	err = s.query(ctx, s.reads, func(rows *sql.Rows) (bool, error) {
		var body []byte
		var change Change
		if err := rows.Scan(&last, &body); err != nil {
			return false, err
		}
		if err := json.Unmarshal(body, &change); err != nil {
			return false, err
		}
		if change.Patch == nil || change.Patch.Replay() == tokenpatch.ReplayIdempotent {
			seqs = append(seqs, last)
		}
		read++
		return true, nil
	}, "SELECT seq, body FROM fleet_change WHERE run = $1 AND outcome = 'applied' AND seq > $2 ORDER BY seq LIMIT $3", run, after, pageRows)
	return seqs, last, read == pageRows, err
}

// putBack makes the changes pending again that a condition names, and sets the
// outcome of those of their attempts that have none, or may have been applied.
func (s *Store) putBack(ctx context.Context, tx *sql.Tx, attempts State, condition string, args ...any) (int, error) {
	if attempts != "" {
		_, err := tx.ExecContext(ctx, s.sql(`UPDATE fleet_attempt SET outcome = $3 WHERE run = $1 AND outcome NOT IN ('applied', 'not_applied')
			AND seq IN (SELECT seq FROM fleet_change WHERE `+condition+")"), append(args, attempts)...)
		if err != nil {
			return 0, err
		}
	}
	result, err := tx.ExecContext(ctx, s.sql(`UPDATE fleet_change SET outcome = 'pending', fence = $3, job = NULL, error = '', error_type = '',
		code = '', status = 0, ended = NULL, tries = 0, due = 0 WHERE `+condition), append(args, newFence())...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// Delete deletes a run with its changes and their results. A process that works on
// it ends with an [*UnknownRunError], as does Delete if there is no such run.
func (s *Store) Delete(ctx context.Context, run string) error {
	r, err := s.find(ctx, run)
	if err != nil {
		return failed("delete run", run, err)
	}
	err = s.tx(ctx, "delete", func(ctx context.Context, tx *sql.Tx) error {
		for _, statement := range []string{
			"DELETE FROM fleet_run WHERE id = $1",
			"DELETE FROM fleet_source WHERE run = $1",
			"DELETE FROM fleet_role WHERE run = $1",
			"DELETE FROM fleet_attempt WHERE run = $1",
			"DELETE FROM fleet_change WHERE run = $1",
		} {
			if _, err := tx.ExecContext(ctx, s.sql(statement), r.id); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, s.sql("DELETE FROM fleet_note WHERE run = $1"), run)
		return err
	})
	return failed("delete run", run, err)
}
