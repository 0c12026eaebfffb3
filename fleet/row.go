package fleet

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/tokenpatch/tokenpatch"
)

// State is the outcome of a change so far.
type State string

// The states of a change. All but the first are final.
const (
	StatePending    State = "pending"     // not yet decided
	StateApplied    State = "applied"     // the token is as asked
	StateNotApplied State = "not_applied" // refused, or never sent
	StateUnknown    State = "unknown"     // sent, and it cannot be found out whether it was applied
)

// row is a stored change, and its attempts.
type row struct {
	run, seq int64
	change   Change
	job      int64
	state    State
	tries    int
	seen     string            // the fence when the row was read
	fence    string            // this reader's own
	before   *tokenpatch.Token // before the first attempt with a possible effect
	base     *tokenpatch.Token // the token for which the sent patch was made
	sent     *tokenpatch.Patch
	attempts []attempt
}

// attempt is one request that may have been sent.
type attempt struct {
	number  int64
	age     time.Duration // since it was written down, by the store's clock
	outcome State         // empty if nothing is known
	status  int           // 0 if there was no response
	unsent  bool          // it was written down and, for certain, not sent
}

// overtaken is the outcome of an attempt that may have been applied, but no longer can be.
const overtaken State = "overtaken"

// load reads a change with its attempts; nil if there is none.
func (s *Store) load(ctx context.Context, run, seq int64) (*row, error) {
	r := &row{run: run, seq: seq, fence: newFence()}
	var body, before, base, sent string
	var tried bool
	err := s.one(ctx, `SELECT body, coalesce(job, 0), fence, outcome, tries, coalesce(before, ''), coalesce(base, before, ''), coalesce(sent, ''), started IS NOT NULL
		FROM fleet_change WHERE run = $1 AND seq = $2`, []any{run, seq}, &body, &r.job, &r.seen, &r.state, &r.tries, &before, &base, &sent, &tried)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if tried {
		r.attempts, err = s.attempts(ctx, run, seq)
	}
	return r, cmp.Or(err, json.Unmarshal([]byte(body), &r.change), decode(before, &r.before), decode(base, &r.base), decode(sent, &r.sent))
}

func (s *Store) attempts(ctx context.Context, run, seq int64) (attempts []attempt, err error) {
	err = s.query(ctx, s.reads, func(rows *sql.Rows) (bool, error) {
		var a attempt
		var age int64
		err := rows.Scan(&a.number, &age, &a.outcome, &a.status)
		a.age = time.Duration(age) * time.Microsecond
		attempts = append(attempts, a)
		return true, err
	}, "SELECT number, {now} - started, outcome, status FROM fleet_attempt WHERE run = $1 AND seq = $2 ORDER BY number", run, seq)
	return attempts, err
}

// decode decodes JSON into a new value, and leaves into nil if text is empty.
func decode[T any](text string, into **T) error {
	if text == "" {
		return nil
	}
	*into = new(T)
	return json.Unmarshal([]byte(text), *into)
}

// encode is the reverse of decode: NULL for nil.
func encode[T any](value *T) (text sql.NullString, err error) {
	if value == nil {
		return text, nil
	}
	data, err := json.Marshal(value)
	return sql.NullString{String: string(data), Valid: true}, err
}

// unsettled reports whether some attempt has no certain outcome, and how long ago the latest such
// attempt was recorded.
func (r *row) unsettled() (age time.Duration, found bool) {
	for _, a := range r.attempts {
		if a.outcome != "" && a.outcome != StateUnknown {
			continue
		}
		if !found || a.age < age {
			age = a.age
		}
		found = true
	}
	return age, found
}

func (r *row) wasOvertaken() bool {
	return slices.ContainsFunc(r.attempts, func(a attempt) bool { return a.outcome == overtaken })
}

// fenced is the condition of every write to a row: nobody else has written since it was read. It
// takes $1 to $4, which [row.fencing] returns.
const fenced = "run = $1 AND seq = $2 AND fence IN ($3, $4)"

func (r *row) fencing() []any { return []any{r.run, r.seq, r.seen, r.fence} }

// writeAttempts writes the outcomes of attempts. Attempts never sent are deleted.
func writeAttempts(ctx context.Context, tx *sql.Tx, s *Store, r *row, attempts []attempt) error {
	for _, a := range attempts {
		var err error
		switch {
		case a.unsent:
			_, err = tx.ExecContext(ctx, s.sql("DELETE FROM fleet_attempt WHERE run = $1 AND seq = $2 AND number = $3"), r.run, r.seq, a.number)
		case a.outcome != "":
			_, err = tx.ExecContext(ctx, s.sql("UPDATE fleet_attempt SET outcome = $4, status = $5 WHERE run = $1 AND seq = $2 AND number = $3"),
				r.run, r.seq, a.number, a.outcome, a.status)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
