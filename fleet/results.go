package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch"
)

// Result is what became of one change.
type Result struct {
	Change   Change
	State    State
	Attempts int // requests to change the token that may have been sent; 0 also where it was as wanted already

	// Before and After are the token before the change and after it, without its
	// value; nil where they are not known. V1 has none.
	Before, After *tokenpatch.Token

	Err     string    // why it was not applied, or is not known; empty where it was, and while it is pending
	ErrType string    // the name of Err's type: "NotFoundError"
	Code    string    // the API's code, or the status's name in the same form: "not_found"
	Status  int       // of the response that Err is about; 0 where there was none
	Started time.Time // when its first attempt began, or as Ended where none was made; zero before
	Ended   time.Time // when it was decided; zero while it is pending. Both are by the store's clock
}

const page = 500 // results that are read at once

// Results iterates over the changes of a run in the order in which they were
// added, with what became of them so far: those in one of the states, or all of them
// where none is given. What is written meanwhile may or may not be seen. An error,
// such as an [*UnknownRunError], is the last that it yields.
func (s *Store) Results(ctx context.Context, run string, states ...State) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		r, err := s.find(ctx, run)
		if err != nil {
			yield(Result{}, failed("results of run", run, err))
			return
		}
		var after int64
		for {
			results, last, err := s.results(ctx, r.id, after, states)
			for _, result := range results {
				if !yield(result, nil) {
					return
				}
			}
			if err != nil {
				yield(Result{}, failed("results of run", run, err))
				return
			}
			if len(results) < page {
				return
			}
			after = last
		}
	}
}

// Slowest returns the results of a run that took the longest from their first
// attempt to their end, n at most, the slowest first.
func (s *Store) Slowest(ctx context.Context, run string, n int) ([]Result, error) {
	r, err := s.find(ctx, run)
	if err != nil {
		return nil, failed("slowest of run", run, err)
	}
	results, _, err := s.query(ctx, "run = $1 AND ended IS NOT NULL ORDER BY ended - started DESC, seq LIMIT $2", r.id, max(n, 0))
	if err != nil {
		return nil, failed("slowest of run", run, err)
	}
	return results, nil
}

// results reads the page of results that begins behind seq after.
func (s *Store) results(ctx context.Context, run, after int64, states []State) (results []Result, last int64, err error) {
	condition, args := "run = $1 AND seq > $2", []any{run, after, page}
	if len(states) > 0 {
		given := make([]string, len(states))
		for i, state := range states {
			args = append(args, state)
			given[i] = fmt.Sprintf("$%d", len(args))
		}
		condition += " AND outcome IN (" + strings.Join(given, ", ") + ")"
	}
	return s.query(ctx, condition+" ORDER BY seq LIMIT $3", args...)
}

// query reads the changes that a condition names, and the seq of the last.
func (s *Store) query(ctx context.Context, where string, args ...any) (results []Result, last int64, err error) {
	rows, err := s.reads.QueryContext(ctx, s.sql(`SELECT seq, body, outcome, coalesce(before, ''), coalesce(after, ''), error, error_type, code, status,
		coalesce(started, 0), coalesce(ended, 0), (SELECT count(*) FROM fleet_attempt a WHERE a.run = c.run AND a.seq = c.seq)
		FROM fleet_change c WHERE `+where), args...)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var r Result
		var body, before, after string
		var started, ended int64
		err := rows.Scan(&last, &body, &r.State, &before, &after, &r.Err, &r.ErrType, &r.Code, &r.Status, &started, &ended, &r.Attempts)
		if err == nil {
			err = cmp.Or(json.Unmarshal([]byte(body), &r.Change), decode(before, &r.Before), decode(after, &r.After))
		}
		if err != nil {
			return results, last, err
		}
		r.Started, r.Ended = micros(started), micros(ended)
		results = append(results, r)
	}
	return results, last, rows.Err()
}

// micros is a time of the store; zero where there is none.
func micros(t int64) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMicro(t)
}
