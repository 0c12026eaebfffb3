package fleet

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch"
)

// task is a worker's work on one change.
type task struct {
	*runner
	row       *row
	unsettled bool      // whether an earlier attempt may have been applied, or may be yet
	overtaken bool      // whether a read has shown that no earlier attempt can be applied any more
	began     time.Time // when the worker took the change
	until     time.Time // when the last attempt may begin
	attempts  []attempt // that this worker made
}

// verdict is how a task ends.
type verdict struct {
	state State
	later time.Duration     // where it is pending: when to look again
	after *tokenpatch.Token // where it is applied to a token of V2
	err   error             // where it is not applied: why
}

// decide sends what has to be sent, and settles what was sent before.
func (t *task) decide(ctx context.Context) (v verdict) {
	change := t.row.change
	switch {
	case change.Update != nil:
		v = t.update(ctx, *change.Update)
	case !t.unsettled:
		v = t.readAndSend(ctx)
	case change.Patch != nil && change.Patch.Replay() == tokenpatch.ReplayIdempotent:
		v = t.patch(ctx, t.row.before, change.Patch)
	default:
		v = t.settle(ctx)
	}
	if v.state == StateNotApplied && (t.overtaken || t.row.wasOvertaken()) {
		v.state = StateUnknown // an earlier patch may have been applied, and written over since
	}
	return v
}

const maxConflicts = 5 // how often a Want is made again because somebody else was quicker

// readAndSend reads the token, and sends what changes it.
func (t *task) readAndSend(ctx context.Context) verdict {
	for conflicts := 0; ; conflicts++ {
		before, err := t.read(ctx)
		if err != nil {
			return t.readFailed(err)
		}
		patch := t.row.change.patchOf(*before)
		if patch.Len() == 0 {
			return verdict{state: StateApplied, after: before}
		}
		v := t.patch(ctx, before, patch)
		conflict := t.row.change.Want != nil && v.state == StateNotApplied && errors.As(v.err, new(*tokenpatch.PatchFailedError))
		if !conflict || conflicts == maxConflicts || t.sameAs(ctx, before) {
			return v
		}
	}
}

// settle finds out by a read what became of the patch that was sent last, and
// goes on from there.
func (t *task) settle(ctx context.Context) verdict {
	patch, before := t.row.sent, t.row.before
	if patch == nil || before == nil {
		return verdict{state: StateUnknown, err: errUnsettled}
	}
	var outcome tokenpatch.Outcome
	var token *tokenpatch.Token
	err := t.reading(ctx, func(ctx context.Context) (err error) {
		outcome, token, err = t.client.V2.Settle(ctx, *before, patch)
		return err
	})
	switch {
	case err != nil:
		return t.readFailed(err)
	case outcome == tokenpatch.OutcomeApplied:
		return verdict{state: StateApplied, after: token}
	case outcome == tokenpatch.OutcomeNotApplied && t.row.change.Want != nil:
		t.unsettled, t.overtaken = false, true
		return t.readAndSend(ctx)
	case outcome == tokenpatch.OutcomeNotApplied:
		return verdict{state: StateUnknown, err: errOvertaken}
	case patch.Replay() == tokenpatch.ReplayUnsafe:
		return verdict{state: StateUnknown, err: errUnsettled}
	default:
		return t.patch(ctx, before, patch)
	}
}

// Why a patch whose attempts have no outcome is left unknown after a read.
var (
	errUnsettled = errors.New("fleet: the patch may have been applied and may not be sent again, and a read does not show it")
	errOvertaken = errors.New("fleet: somebody else has changed what the patch is guarded by: it will not be applied any more, and may have been before")
)

// notReadError is the error of a read that a worker gives up, and not the client.
type notReadError struct{ why error }

func (e *notReadError) Error() string { return "the token was not read: " + e.why.Error() }
func (e *notReadError) Unwrap() error { return e.why }

var errNoTime = errors.New("the try has taken too long")

// read reads the token.
func (t *task) read(ctx context.Context) (token *tokenpatch.Token, err error) {
	err = t.reading(ctx, func(ctx context.Context) (err error) {
		token, err = t.client.V2.GetToken(ctx, t.row.change.ID)
		return err
	})
	return token, err
}

// untilLate is ctx until the task may begin nothing more: because of the time,
// of which late tells, or because the run is stopping.
func (t *task) untilLate(ctx context.Context, late error) (until context.Context, forget func()) {
	ctx, end := context.WithDeadlineCause(ctx, t.until, late)
	ctx, drain := context.WithCancelCause(ctx)
	undo := t.stopping.whenDraining(func() { drain(errDraining) })
	return ctx, func() {
		undo()
		drain(nil)
		end()
	}
}

// reading makes a call that only reads, in what is left of the worker's time.
func (t *task) reading(ctx context.Context, call func(context.Context) error) error {
	ctx, forget := t.untilLate(ctx, errNoTime)
	defer forget()
	err := call(ctx)
	t.observe(ctx, err)
	if err != nil && ctx.Err() != nil {
		return &notReadError{context.Cause(ctx)}
	}
	return err
}

// readFailed says what a change comes to whose token could not be read. A change
// that is to be settled cannot be then.
func (t *task) readFailed(err error) verdict {
	switch {
	case errors.As(err, new(*notReadError)):
		return verdict{state: StatePending, later: time.Second, err: err}
	case t.retryable(err):
		return verdict{state: StatePending, later: t.pause(err), err: err}
	case t.unsettled:
		return verdict{state: StateUnknown, err: err}
	default:
		return verdict{state: StateNotApplied, err: err}
	}
}

// sameAs reports whether the token still has the settings that it was read with:
// then a patch that failed would fail again.
func (t *task) sameAs(ctx context.Context, before *tokenpatch.Token) bool {
	now, err := t.read(ctx)
	return err == nil && tokenpatch.Diff(*before, *now).Len() == 0
}

// update sends an update of V1, which may be sent again always.
func (t *task) update(ctx context.Context, update tokenpatch.TokenUpdate) verdict {
	id, err := uuid.Parse(t.row.change.ID)
	if err != nil {
		return verdict{state: StateNotApplied, err: err}
	}
	s := t.newSending(sql.NullString{}, sql.NullString{})
	err = s.call(ctx, func(ctx context.Context) error { return t.client.V1.UpdateToken(ctx, id, update) })
	return t.judge(ctx, s, nil, err)
}

// patch sends a patch to the token that was read.
func (t *task) patch(ctx context.Context, before *tokenpatch.Token, patch *tokenpatch.Patch) verdict {
	read, beforeErr := encode(withoutValue(before))
	sent, patchErr := encode(patch)
	if err := errors.Join(beforeErr, patchErr); err != nil {
		return verdict{state: StateNotApplied, err: err}
	}
	s := t.newSending(read, sent)
	var after *tokenpatch.Token
	err := s.call(ctx, func(ctx context.Context) (err error) {
		after, err = t.client.V2.PatchToken(ctx, t.row.change.ID, patch)
		return err
	})
	v := t.judge(ctx, s, after, err)
	if v.state == StateApplied && v.after == nil { // applied, with a response that broke off
		v.after, _ = t.read(ctx)
	}
	return v
}

func (t *task) newSending(before, sent sql.NullString) *sending {
	s := &sending{runner: t.runner, row: t.row, before: before, sent: sent, overtaken: t.overtaken, earlier: t.attempts, until: t.until}
	for _, a := range slices.Concat(t.row.attempts, t.attempts) {
		s.last = max(s.last, a.number)
	}
	return s
}

// judge takes in how a call that sends ended, and returns what the change comes to.
func (t *task) judge(ctx context.Context, s *sending, after *tokenpatch.Token, err error) verdict {
	t.attempts = append(t.attempts, s.attempts...)
	t.observe(ctx, err)
	outcome := stateOf(tokenpatch.OutcomeOf(err))
	guarded := errors.As(err, new(*tokenpatch.PatchFailedError))
	switch {
	case outcome == StateApplied:
		return verdict{state: StateApplied, after: after}
	case s.maybeSent(), t.unsettled && (guarded || t.retryable(err)):
		return t.undecided(err)
	case s.refused != nil || ctx.Err() != nil:
		return verdict{state: StatePending, later: time.Second, err: cmp.Or(s.refused, err)}
	case t.unsettled || outcome == StateUnknown:
		return verdict{state: StateUnknown, err: err}
	case t.retryable(err):
		return verdict{state: StatePending, later: t.pause(err), err: err}
	default:
		return verdict{state: StateNotApplied, err: err}
	}
}

// undecided has the change settled later, once nothing of it can be on its way;
// after maxAttempts it is unknown.
func (t *task) undecided(err error) verdict {
	if len(t.row.attempts)+len(t.attempts) >= maxAttempts {
		return verdict{state: StateUnknown, err: err}
	}
	return verdict{state: StatePending, later: t.timing.quiet, err: err}
}

// observe stops the run where the credential was refused too often.
func (t *task) observe(ctx context.Context, err error) {
	if t.refusals[t.row.change.api()].observe(err) {
		t.halt(ctx, fmt.Sprintf("the credential was refused %d times in a row, the last time with: %v", maxRefusals, err))
	}
}

// maybeSent reports whether an attempt of the call may have been applied.
func (s *sending) maybeSent() bool {
	for _, a := range s.attempts {
		if !a.unsent && a.outcome != StateNotApplied {
			return true
		}
	}
	return false
}

const maxAttempts = 32 // of one change: what is not decided after them will not be

// retryable reports whether another try, later, may end otherwise.
func (t *task) retryable(err error) bool {
	var response *tokenpatch.APIError
	switch {
	case errors.As(err, new(*tokenpatch.RateLimitedError)):
		return true
	case len(t.row.attempts)+len(t.attempts) >= maxAttempts:
		return false
	case errors.As(err, new(*tokenpatch.NotSentError)), errors.As(err, new(*tokenpatch.ReadError)):
		return true
	case errors.As(err, new(*tokenpatch.ConflictError)):
		return t.row.change.api() == v2
	}
	// Of a read: nothing else leaves the outcome of an attempt open that had such a response.
	return errors.As(err, &response) && (response.StatusCode < 300 || response.StatusCode == http.StatusRequestTimeout || response.StatusCode >= 500)
}

// pause is how long to wait before another try.
func (t *task) pause(err error) time.Duration {
	var limited *tokenpatch.RateLimitedError
	if errors.As(err, &limited) {
		return min(max(limited.RetryAfter, time.Second), time.Hour)
	}
	return time.Second << min(len(t.row.attempts)/4, 6)
}

// description is an error as the store keeps it.
type description struct {
	text, kind, code string
	status           int
}

func describe(err error) description {
	if err == nil {
		return description{}
	}
	d := description{text: storable(err.Error(), 2000), kind: typeOf(err)}
	var api *tokenpatch.APIError
	if errors.As(err, &api) {
		d.code, d.status = storable(api.Code, 200), api.StatusCode
	}
	return d
}

// typeOf is the name of an error's type: "NotFoundError". It is empty for nil.
func typeOf(err error) string {
	if err == nil {
		return ""
	}
	kind := fmt.Sprintf("%T", err)
	return kind[strings.LastIndexByte(kind, '.')+1:]
}

// storable is a text that every database takes.
func storable(text string, limit int) string {
	return shorten(strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD"), limit)
}

// withoutValue is a token without its secret.
func withoutValue(t *tokenpatch.Token) *tokenpatch.Token {
	if t == nil {
		return nil
	}
	kept := *t
	kept.Token = tokenpatch.Field[tokenpatch.Secret]{}
	return &kept
}
