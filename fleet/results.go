package fleet

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch"
)

// Result is the outcome of one change.
type Result struct {
	Change   Change
	State    State
	Attempts int // requests with a possible effect; 0 also if the token was as wanted already

	// Before is the token before the first attempt with a possible effect, and After the token
	// after the change, both without its value. They are nil if unknown. V1 has none.
	Before, After *tokenpatch.Token

	Err     string    // why it was not applied, or is not known; empty if it was, and while it is pending
	ErrType string    // the name of Err's type: "NotFoundError"
	Code    string    // the API's code, or the status's name in the same form: "not_found"
	Status  int       // of the response behind Err; 0 if there was none
	Started time.Time // when its first attempt began, or as Ended if none was made; zero before
	Ended   time.Time // when it was decided; zero while it is pending. Both are by the store's clock
}

// What is read at once: so many results, or fewer if they are long.
const (
	pageRows  = 500
	pageBytes = 4 << 20
)

// Results iterates over the changes of a run in the order in which they were added: those in one of
// the states, or all of them if none is given. It may or may not return changes written meanwhile.
// An error, such as an [*UnknownRunError], is the last item.
func (s *Store) Results(ctx context.Context, run string, states ...State) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		r, err := s.find(ctx, run)
		if err != nil {
			yield(Result{}, failed("results of run", run, err))
			return
		}
		p := page{run: r.id, states: states, rows: pageRows}
		for more := true; more; {
			more, err = s.next(ctx, &p)
			for _, result := range p.results {
				if !yield(result, nil) {
					return
				}
			}
			if err != nil {
				yield(Result{}, failed("results of run", run, err))
				return
			}
		}
	}
}

// Result returns the result of a run's change of the token with this id, in small
// letters or in capitals; nil if it has none. A large run takes no longer.
func (s *Store) Result(ctx context.Context, run, token string) (*Result, error) {
	r, err := s.find(ctx, run)
	if err != nil {
		return nil, failed("result of run", run, err)
	}
	var p page
	err = s.read(ctx, &p, "run = $1 AND api IN ('v1', 'v2') AND token IN ($2, $3, $4) LIMIT 1", r.id, token, strings.ToLower(token), strings.ToUpper(token))
	if err != nil || len(p.results) == 0 {
		return nil, failed("result of run", run, err)
	}
	return &p.results[0], nil
}

// Slowest returns the n results of a run with the longest time from their first attempt to their
// end, the slowest first.
func (s *Store) Slowest(ctx context.Context, run string, n int) ([]Result, error) {
	r, err := s.find(ctx, run)
	if err != nil {
		return nil, failed("slowest of run", run, err)
	}
	var p page
	err = s.read(ctx, &p, "run = $1 AND ended IS NOT NULL ORDER BY ended - started DESC, seq LIMIT $2", r.id, max(n, 0))
	if err != nil {
		return nil, failed("slowest of run", run, err)
	}
	return p.results, nil
}

// page is a part of the results of a run.
type page struct {
	run     int64
	states  []State
	rows    int   // at most
	last    int64 // seq of the last result so far
	results []Result
	seqs    []int64 // of the results
	full    bool    // reading stopped because of pageBytes
}

// next reads the next page, and reports whether there may be another.
func (s *Store) next(ctx context.Context, p *page) (more bool, err error) {
	condition, args := "run = $1 AND seq > $2", []any{p.run, p.last, p.rows}
	if len(p.states) > 0 {
		given := make([]string, len(p.states))
		for i, state := range p.states {
			args = append(args, state)
			given[i] = fmt.Sprintf("$%d", len(args))
		}
		condition += " AND outcome IN (" + strings.Join(given, ", ") + ")"
	}
	err = s.read(ctx, p, condition+" ORDER BY seq LIMIT $3", args...)
	more = p.full || len(p.results) == p.rows
	if p.full {
		p.rows = len(p.results) // what is not read still has to be sent by the database
	}
	return more, err
}

// read reads the changes for a condition, up to pageBytes.
func (s *Store) read(ctx context.Context, p *page, where string, args ...any) error {
	p.results, p.seqs, p.full = nil, nil, false
	size := 0
	return s.query(ctx, s.reads, func(rows *sql.Rows) (bool, error) {
		var r Result
		var body, before, after string
		var started, ended int64
		err := rows.Scan(&p.last, &body, &r.State, &before, &after, &r.Err, &r.ErrType, &r.Code, &r.Status, &started, &ended, &r.Attempts)
		if err == nil {
			err = cmp.Or(json.Unmarshal([]byte(body), &r.Change), decode(before, &r.Before), decode(after, &r.After))
		}
		if err != nil {
			return false, err
		}
		r.Started, r.Ended = micros(started), micros(ended)
		p.results, p.seqs = append(p.results, r), append(p.seqs, p.last)
		size += len(body) + len(before) + len(after)
		p.full = size >= pageBytes
		return !p.full, nil
	}, `SELECT seq, body, outcome, coalesce(before, ''), coalesce(after, ''), error, error_type, code, status,
		coalesce(started, 0), coalesce(ended, 0), (SELECT count(*) FROM fleet_attempt a WHERE a.run = c.run AND a.seq = c.seq)
		FROM fleet_change c WHERE `+where, args...)
}

// micros converts a time of the store; zero stays zero.
func micros(t int64) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMicro(t)
}
