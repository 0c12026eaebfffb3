package fleet

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"
)

// Hooks are functions that report the work of [Store.Run], so a program can count, time and trace
// it. Each may be nil, and costs nothing then. Package fleetotel makes them for OpenTelemetry.
//
// The workers call ChangeStart and ChangeEnd, several at the same time. One that blocks delays its
// own change; one that panics puts it off for a second. Progress runs in the goroutine of Run,
// which feeds the workers: if it blocks for some seconds, other processes consider this one dead.
// Its panic is Run's, after requests in flight.
//
// Hooks report what this process does; [Store.Results] has the outcome of each token in any case.
// They get no credential and no token's value.
type Hooks struct {
	// ChangeStart is called when a worker begins to try a change. The worker, the client's calls
	// and the client's hooks continue with the returned context, which must be derived from the
	// given one; nil stands for the given one. It has the values of Run's context.
	ChangeStart func(ctx context.Context, change ChangeInfo) context.Context

	// ChangeEnd is called when the outcome of a change is recorded, or the change is put off, once
	// for each ChangeStart that has returned. It gets the context of ChangeStart. A change that is
	// put off again and again has a try, and a ChangeEnd, each time.
	ChangeEnd func(ctx context.Context, change ChangeResult)

	// Progress is called with the progress of the run, by the work of all processes. It is called
	// when Run begins, every few seconds, and once more when this process stops working on it. It
	// is not called if the store cannot be read.
	Progress func(ctx context.Context, progress Progress)
}

// ChangeInfo identifies what a worker is about to do.
type ChangeInfo struct {
	Run   string // name of the run
	API   string // "V1" or "V2", as in [tokenpatch.CallInfo]
	Token string // id of the token
}

// ChangeResult is one try of one change, from the moment at which a worker takes it.
type ChangeResult struct {
	ChangeInfo
	State    State         // as it is recorded; pending if the change was put off, or could not be recorded
	Attempts int           // requests of this try with a possible effect; 0 also if the token was as wanted already
	Duration time.Duration // of the try
	Err      error         // why the change was not applied, is not known or was put off; nil if it was applied
	ErrType  string        // the name of Err's type, as in [Result]; empty for nil
}

// Why a try did not come to its end.
var (
	errPanic  = errors.New("a panic ended the try: a hook's, or one of the client's transport")
	errNoTurn = errors.New("no turn came in time: the credential was refused lately, and changes go one at a time")
)

// info identifies a task. An id can be a credential by mistake.
func (t *task) info() ChangeInfo {
	id := t.row.change.ID
	for _, credential := range t.credentials {
		id = strings.ReplaceAll(id, credential, "[redacted]")
	}
	return ChangeInfo{Run: t.run.name, API: strings.ToUpper(string(t.row.change.api())), Token: id}
}

// startChange returns the context for the rest of the try.
func (t *task) startChange(ctx context.Context) context.Context {
	if t.hooks.ChangeStart == nil {
		return ctx
	}
	return cmp.Or(t.hooks.ChangeStart(ctx, t.info()), ctx)
}

// endChange reports how a try ended.
func (t *task) endChange(ctx context.Context, v verdict) {
	if t.hooks.ChangeEnd == nil {
		return
	}
	result := ChangeResult{ChangeInfo: t.info(), State: v.state, Duration: time.Since(t.began), Err: v.err, ErrType: typeOf(v.err)}
	for _, a := range t.attempts {
		if !a.unsent {
			result.Attempts++
		}
	}
	t.hooks.ChangeEnd(ctx, result)
}

// progressInterval is how often a hook is called with the progress: counting costs
// more, the longer the run is.
var progressInterval = 5 * time.Second

// tellProgress calls the hook with the progress, unless it has done so lately.
func (r *runner) tellProgress(ctx context.Context) error {
	if r.hooks.Progress == nil || time.Since(r.told) < progressInterval {
		return nil
	}
	p, err := r.store.progress(ctx, r.run.name)
	if err != nil {
		return err
	}
	r.told = time.Now()
	r.hooks.Progress(ctx, p)
	return nil
}

// tellLast calls the hook with the progress once nothing is worked on any more.
func (r *runner) tellLast(ctx context.Context) {
	if r.hooks.Progress == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	asking, cancel := context.WithTimeout(ctx, endTime/2)
	defer cancel()
	p, err := r.store.progress(asking, r.run.name)
	if err != nil {
		r.log.WarnContext(ctx, "fleet: the last progress could not be read", "run", r.run.name, "error", err)
		return
	}
	r.hooks.Progress(ctx, p)
}
