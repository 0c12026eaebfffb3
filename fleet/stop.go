package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tokenpatch/tokenpatch"
)

const (
	maxRefusals = 5  // of one credential in a row
	minFinished = 20 // changes before the share of failures counts
)

// StoppedError is why a run ended by itself although changes are pending: too many failed, or the
// credential was refused too often. Another [Store.Run] resumes it. [Store.Retry] puts back refused
// changes.
type StoppedError struct {
	Run    string
	Reason string // for people
}

func (e *StoppedError) Error() string {
	return fmt.Sprintf("fleet: run %q stopped: %s", e.Run, e.Reason)
}

// refusals counts the responses 401 of one API in a row. After the first one,
// changes go one at a time until one is not refused.
type refusals struct {
	mu    sync.Mutex
	count int
	turn  chan struct{} // holds one
}

// enter waits until a change may be worked on. leave must be called after it.
func (f *refusals) enter(ctx context.Context) (leave func(), err error) {
	f.mu.Lock()
	refused := f.count > 0
	f.mu.Unlock()
	if !refused {
		return func() {}, nil
	}
	select {
	case f.turn <- struct{}{}:
		return func() { <-f.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// observe counts how a call ended, and reports whether the limit of consecutive
// 401s was reached by it.
func (f *refusals) observe(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	var api *tokenpatch.APIError
	switch {
	case errors.As(err, new(*tokenpatch.UnauthorizedError)):
		f.count++
		return f.count == maxRefusals
	case err == nil || errors.As(err, &api) && api.Attempts > 0:
		f.count = 0
	}
	return false
}

// failures counts how many changes failed.
type failures struct {
	limit float64 // share of the finished ones; 0 is none

	mu               sync.Mutex
	finished, failed int
	last             string // why the latest of them failed
}

// observe counts a finished change, and returns why the run is to stop; empty if it is not.
func (f *failures) observe(state State, why string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finished++
	if state != StateApplied {
		f.failed++
		f.last = why
	}
	if f.limit == 0 || f.finished < minFinished || float64(f.failed) <= f.limit*float64(f.finished) {
		return ""
	}
	return fmt.Sprintf("%d of %d changes failed, the last with: %s", f.failed, f.finished, f.last)
}

// halt stops the run, after recording the reason for other processes.
func (r *runner) halt(ctx context.Context, reason string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	err := r.store.exec(ctx, "halt", "UPDATE fleet_run SET stops = stops + 1, stop_reason = $2 WHERE id = $1", r.run.id, reason)
	if err != nil {
		r.log.WarnContext(ctx, "fleet: other processes were not told that the run stops", "run", r.run.name, "error", err)
	}
	r.stop(&StoppedError{Run: r.run.name, Reason: reason})
}
