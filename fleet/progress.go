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
	Created    time.Time // by the store's clock
	Pending    int       // not yet decided
	Applied    int
	NotApplied int
	Unknown    int
	Label      string // as set by [Store.SetLabel]
	Stopped    string // why it last stopped by itself, even if it went on since; empty where it never did
}

// Total is how many changes the run has.
func (p Progress) Total() int { return p.Pending + p.Applied + p.NotApplied + p.Unknown }

// UnknownRunError is the error for a run that the store does not have.
type UnknownRunError struct{ Run string }

func (e *UnknownRunError) Error() string { return fmt.Sprintf("fleet: there is no run %q", e.Run) }

var errNoName = errors.New("want a name")

// failed adds to an error what failed of which run, unless the error says so itself.
func failed(what, run string, err error) error {
	if err == nil || errors.As(err, new(*UnknownRunError)) || errors.As(err, new(*DuplicateError)) || errors.As(err, new(*StoppedError)) {
		return err
	}
	return fmt.Errorf("fleet: %s %q: %w", what, run, err)
}

// Progress counts what became of the changes of a run so far, also while another
// process works on it. Without such a run it is an [*UnknownRunError].
func (s *Store) Progress(ctx context.Context, run string) (Progress, error) {
	p, err := s.progress(ctx, run)
	return p, failed("progress of run", run, err)
}

// SetLabel keeps a text with a run, in place of the one before, for the caller's
// own use: a digest of what it was made from, say.
func (s *Store) SetLabel(ctx context.Context, run, label string) error {
	r, err := s.find(ctx, run)
	if err == nil {
		_, err = s.db.ExecContext(ctx, s.sql("UPDATE fleet_run SET label = $2 WHERE id = $1"), r.id, label)
	}
	return failed("label of run", run, err)
}

// Runs returns the progress of every run, the oldest first.
func (s *Store) Runs(ctx context.Context) ([]Progress, error) {
	rows, err := s.reads.QueryContext(ctx, "SELECT name FROM fleet_run ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("fleet: runs: %w", err)
	}
	names, err := column[string](rows)
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
	err := s.reads.QueryRowContext(ctx, s.sql("SELECT id, created, stops, stop_reason, label FROM fleet_run WHERE name = $1"), name).
		Scan(&r.id, &created, &r.stops, &r.reason, &r.label)
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
	rows, err := s.reads.QueryContext(ctx, s.sql("SELECT outcome, count(*) FROM fleet_change WHERE run = $1 GROUP BY outcome"), r.id)
	if err != nil {
		return Progress{}, err
	}
	defer rows.Close()
	for rows.Next() {
		var state State
		var n int
		if err := rows.Scan(&state, &n); err != nil {
			return Progress{}, err
		}
		switch state {
		case StatePending:
			p.Pending = n
		case StateApplied:
			p.Applied = n
		case StateNotApplied:
			p.NotApplied = n
		case StateUnknown:
			p.Unknown = n
		}
	}
	return p, rows.Err()
}
