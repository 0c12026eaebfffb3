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
	Created    time.Time
	Pending    int // not yet decided
	Applied    int
	NotApplied int
	Unknown    int
	Label      string // as set by [Store.SetLabel]
	Stopped    string // why it stopped by itself when it last did; empty where it did not
}

// Total is how many changes the run has.
func (p Progress) Total() int { return p.Pending + p.Applied + p.NotApplied + p.Unknown }

// UnknownRunError is the error for a run that the store does not have.
type UnknownRunError struct{ Run string }

func (e *UnknownRunError) Error() string { return fmt.Sprintf("fleet: there is no run %q", e.Run) }

// Progress counts what became of the changes of a run so far. It may be asked
// from another process than the one that runs it.
func (s *Store) Progress(ctx context.Context, run string) (Progress, error) {
	r, err := s.find(ctx, run)
	if err != nil {
		return Progress{}, err
	}
	return s.progress(ctx, r)
}

// SetLabel keeps a text with a run, for the caller's own use: a digest of what it
// was made from, say.
func (s *Store) SetLabel(ctx context.Context, run, label string) error {
	r, err := s.find(ctx, run)
	if err != nil {
		return err
	}
	if _, err := s.db.ExecContext(ctx, s.sql("UPDATE fleet_run SET label = $2 WHERE id = $1"), r.id, label); err != nil {
		return fmt.Errorf("fleet: label of run %q: %w", run, err)
	}
	return nil
}

// Runs returns the progress of every run, the oldest first.
func (s *Store) Runs(ctx context.Context) ([]Progress, error) {
	rows, err := s.reads.QueryContext(ctx, "SELECT name FROM fleet_run ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("fleet: runs: %w", err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("fleet: runs: %w", err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
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
		return run{}, &UnknownRunError{name}
	}
	if err != nil {
		return run{}, fmt.Errorf("fleet: run %q: %w", name, err)
	}
	r.created = time.UnixMicro(created)
	return r, nil
}

func (s *Store) progress(ctx context.Context, r run) (Progress, error) {
	p := Progress{Run: r.name, Created: r.created, Label: r.label, Stopped: r.reason}
	rows, err := s.reads.QueryContext(ctx, s.sql("SELECT outcome, count(*) FROM fleet_change WHERE run = $1 GROUP BY outcome"), r.id)
	if err != nil {
		return p, fmt.Errorf("fleet: progress of run %q: %w", r.name, err)
	}
	defer rows.Close()
	for rows.Next() {
		var state State
		var n int
		if err := rows.Scan(&state, &n); err != nil {
			return p, fmt.Errorf("fleet: progress of run %q: %w", r.name, err)
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
