package fleet

import (
	"context"
	"database/sql"
	"strconv"

	"github.com/tokenpatch/tokenpatch"
)

// Retry makes failed changes of a run pending again, for the next [Store.Run], and returns how many
// there were. It takes the changes in one of the states that pick selects, or all if pick is nil.
// The states are [StateNotApplied] and [StateUnknown]: another one is a [*tokenpatch.InputError].
//
// The next run settles an unknown change by a read before it sends anything. If the read does not
// show a patch that may not be sent twice, it ends unknown again. The record of earlier attempts is
// kept.
//
// Retry is many transactions, of some hundred changes each. If it is interrupted, call it again for
// the rest.
func (s *Store) Retry(ctx context.Context, run string, pick func(Result) bool, states ...State) (int, error) {
	return s.retry(ctx, run, "", pick, states)
}

// RetryEvenIfApplied is [Store.Retry] for changes that somebody has checked, and that do no harm if
// they are applied twice: they are sent as if for the first time. A change that was unknown ends
// applied or unknown.
func (s *Store) RetryEvenIfApplied(ctx context.Context, run string, states ...State) (int, error) {
	return s.retry(ctx, run, overtaken, nil, states)
}

func (s *Store) retry(ctx context.Context, run string, forget State, pick func(Result) bool, states []State) (n int, err error) {
	for _, state := range states {
		if state != StateNotApplied && state != StateUnknown {
			return 0, &tokenpatch.InputError{Field: "states", Value: strconv.Quote(string(state)), Want: "not_applied or unknown"}
		}
		again, err := s.putBack(ctx, "retry", run, state, forget, pick)
		n += again
		if err != nil {
			return n, failed("retry of run", run, err)
		}
	}
	return n, nil
}

// Again makes applied changes of a run pending again, for the next [Store.Run] to check, and
// returns how many there were. A token that is still as wanted is not written; one that was changed
// since is. A change other than a Want is sent again if it is idempotent, and stays as it is
// otherwise. Like [Store.Retry] it is many transactions.
func (s *Store) Again(ctx context.Context, run string) (int, error) {
	n, err := s.putBack(ctx, "again", run, StateApplied, StateApplied, func(r Result) bool {
		return r.Change.Patch == nil || r.Change.Patch.Replay() == tokenpatch.ReplayIdempotent
	})
	return n, failed("again of run", run, err)
}

// putBack makes the changes of a run in one state pending again, if pick selects them; nil selects
// all. forget is the new outcome of attempts without one, or with a possible effect; empty keeps
// theirs. name is that of the transactions.
func (s *Store) putBack(ctx context.Context, name, run string, state, forget State, pick func(Result) bool) (n int, err error) {
	if s.db == nil {
		return 0, errReadOnly
	}
	found, err := s.find(ctx, run)
	p := page{run: found.id, states: []State{state}, rows: pageRows}
	for more := true; more && err == nil; {
		if more, err = s.next(ctx, &p); err != nil {
			break
		}
		var picked []int64
		for i, result := range p.results {
			if pick == nil || pick(result) {
				picked = append(picked, p.seqs[i])
			}
		}
		if len(picked) == 0 {
			continue
		}
		var again int
		err = s.tx(ctx, name, func(ctx context.Context, tx *sql.Tx) (err error) {
			again, err = s.makePending(ctx, tx, found.id, picked, state, forget)
			return err
		})
		if err == nil {
			n += again
		}
	}
	return n, err
}

// makePending puts back some changes, if they are in a state.
func (s *Store) makePending(ctx context.Context, tx *sql.Tx, run int64, seqs []int64, state, forget State) (n int, err error) {
	for _, seq := range seqs {
		if forget != "" {
			_, err := tx.ExecContext(ctx, s.sql(`UPDATE fleet_attempt SET outcome = $4 WHERE run = $1 AND seq = $2 AND outcome NOT IN ('applied', 'not_applied')
				AND EXISTS (SELECT 1 FROM fleet_change WHERE run = $1 AND seq = $2 AND outcome = $3)`), run, seq, state, forget)
			if err != nil {
				return 0, err
			}
		}
		result, err := tx.ExecContext(ctx, s.sql(`UPDATE fleet_change SET outcome = 'pending', fence = $4, job = NULL, error = '', error_type = '',
			code = '', status = 0, ended = NULL, tries = 0, due = 0 WHERE run = $1 AND seq = $2 AND outcome = $3`), run, seq, state, newFence())
		if err != nil {
			return 0, err
		}
		changed, err := result.RowsAffected()
		if err != nil {
			return 0, err
		}
		n += int(changed)
	}
	return n, nil
}

// Delete deletes a run with its changes and their results. A process working on it ends with an
// [*UnknownRunError], as does Delete if there is no such run.
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
