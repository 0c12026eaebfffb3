package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Progress is how far a run is.
type Progress struct {
	Run        string
	Created    time.Time // by the store's clock, as is Ended
	Ended      time.Time // when the last of its changes was decided; zero while some are pending
	Pending    int       // not yet decided
	PendingV1  int       // of these, tokens of V1
	Applied    int
	NotApplied int
	Unknown    int
	Label      string // as set by [Store.SetLabel]
	Stopped    string // why it last stopped by itself, even if it was resumed since; empty if it never did
}

// Total is how many changes the run has.
func (p Progress) Total() int { return p.Pending + p.Applied + p.NotApplied + p.Unknown }

// UnknownRunError is the error for a run the store does not have.
type UnknownRunError struct{ Run string }

func (e *UnknownRunError) Error() string { return fmt.Sprintf("fleet: there is no run %q", e.Run) }

var errNoName = errors.New("want a name")

// failed adds operation and run to an error without them.
func failed(what, run string, err error) error {
	if err == nil || errors.As(err, new(*UnknownRunError)) || errors.As(err, new(*DuplicateError)) ||
		errors.As(err, new(*OtherChangesError)) || errors.As(err, new(*StoppedError)) || errors.As(err, new(*RolesError)) {
		return err
	}
	return fmt.Errorf("fleet: %s %q: %w", what, run, err)
}

// Progress counts the changes of a run by their state, also while another process
// works on it. Without such a run it returns an [*UnknownRunError].
func (s *Store) Progress(ctx context.Context, run string) (Progress, error) {
	p, err := s.progress(ctx, run)
	return p, failed("progress of run", run, err)
}

// SetLabel keeps a text with a run, in place of the one before, for the caller's
// own use.
func (s *Store) SetLabel(ctx context.Context, run, label string) error {
	r, err := s.find(ctx, run)
	if err == nil {
		err = s.exec(ctx, "label", "UPDATE fleet_run SET label = $2 WHERE id = $1", r.id, label)
	}
	return failed("label of run", run, err)
}

// Runs returns the progress of every run, the oldest first.
func (s *Store) Runs(ctx context.Context) ([]Progress, error) {
	names, err := column[string](ctx, s, s.reads, "SELECT name FROM fleet_run ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("fleet: runs: %w", err)
	}
	var runs []Progress
	for _, name := range names {
		p, err := s.Progress(ctx, name)
		if errors.As(err, new(*UnknownRunError)) {
			continue // deleted in between
		}
		if err != nil {
			return nil, err
		}
		runs = append(runs, p)
	}
	return runs, nil
}

// run is a run as the store has it.
type run struct {
	id      int64
	name    string
	created time.Time
	stops   int64
	reason  string
	label   string
}

func (s *Store) find(ctx context.Context, name string) (run, error) {
	if name == "" {
		return run{}, errNoName
	}
	r := run{name: name}
	var created int64
	err := s.one(ctx, "SELECT id, created, stops, stop_reason, label FROM fleet_run WHERE name = $1", []any{name},
		&r.id, &created, &r.stops, &r.reason, &r.label)
	if errors.Is(err, sql.ErrNoRows) {
		err = &UnknownRunError{name}
	}
	r.created = time.UnixMicro(created)
	return r, err
}

func (s *Store) progress(ctx context.Context, name string) (Progress, error) {
	r, err := s.find(ctx, name)
	if err != nil {
		return Progress{}, err
	}
	p := Progress{Run: r.name, Created: r.created, Label: r.label, Stopped: r.reason}
	counts := map[State]*int{StatePending: &p.Pending, StateApplied: &p.Applied, StateNotApplied: &p.NotApplied, StateUnknown: &p.Unknown}
	var ended int64
	err = s.query(ctx, s.reads, func(rows *sql.Rows) (bool, error) {
		var state State
		var n, ofV1 int
		var last int64
		err := rows.Scan(&state, &n, &ofV1, &last)
		if count := counts[state]; count != nil {
			*count = n
		}
		if state == StatePending {
			p.PendingV1 = ofV1
		}
		ended = max(ended, last)
		return true, err
	}, "SELECT outcome, count(*), count(CASE api WHEN 'v1' THEN 1 END), coalesce(max(ended), 0) FROM fleet_change WHERE run = $1 GROUP BY outcome", r.id)
	if p.Pending == 0 {
		p.Ended = micros(ended)
	}
	return p, err
}
