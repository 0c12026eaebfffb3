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
	"github.com/tokenpatch/tokenpatch/internal/shorten"
)

// task is a worker's work on one change.
type task struct {
	*runner
	row       *row
	unsettled bool                  // an earlier attempt may have been applied, or may be yet
	overtaken bool                  // earlier attempts may have been applied, and can no longer be
	began     time.Time             // when the worker took the change
	until     time.Time             // when the last attempt may begin
	newest    tokenpatch.UnixMillis // when the token was last modified, as far as is known
	attempts  []attempt             // of this worker
}

// verdict is how a task ends.
type verdict struct {
	state  State
	later  time.Duration     // if it is pending: when to look again
	failed bool              // if it is pending: this counts as a failed try
	after  *tokenpatch.Token // if it is applied to a token of V2
	err    error             // if it is not applied: why
}

// decide sends what has to be sent, and settles what was sent before.
func (t *task) decide(ctx context.Context) (v verdict) {
	change := t.row.change
	if change.Want != nil {
		want, err := t.book.want(ctx, change.Want)
		if err != nil { // of a change added meanwhile
			return t.readFailed(err)
		}
		t.row.change.Want = want
	}
	switch {
	case change.Update != nil:
		v = t.update(ctx, *change.Update)
	case t.unsettled:
		v = t.settle(ctx)
	default:
		v = t.readAndSend(ctx, since(t.newest))
	}
	if v.state == StateNotApplied && (t.overtaken || t.row.wasOvertaken()) {
		v.state = StateUnknown // what was sent earlier may have been applied, and overwritten since
	}
	return v
}

const maxConflicts = 5 // how often a Want is made again because somebody else was quicker

// readAndSend reads the token until it is enough, and sends its change.
func (t *task) readAndSend(ctx context.Context, enough func(*tokenpatch.Token) bool) verdict {
	token, err := t.read(ctx, enough)
	for conflicts := 0; ; conflicts++ {
		if err != nil {
			return t.readFailed(err)
		}
		patch := t.patchFor(token)
		if patch.Len() == 0 {
			return verdict{state: StateApplied, after: token}
		}
		t.nameRoles(ctx, token)
		v := t.patch(ctx, token, patch)
		if t.row.change.Want == nil || !refusedByGuard(v) || conflicts == maxConflicts {
			return v
		}
		before := token
		if token, err = t.read(ctx, refutes(patch, before)); errors.Is(err, errStale) {
			return t.sendWithoutVersion(ctx, before, patch, v) // nobody has changed the token
		}
	}
}

// nameRoles looks up the custom roles a Want may remove without naming them, for readers of the
// result.
func (t *task) nameRoles(ctx context.Context, token *tokenpatch.Token) {
	if t.row.change.Want != nil && t.row.change.Want.removesOtherAccess() {
		ctx, forget := t.untilLate(ctx, errNoTime)
		defer forget()
		t.book.keys(ctx, token)
	}
}

// refusedByGuard reports whether a patch could not be applied to the token as it is.
func refusedByGuard(v verdict) bool {
	return v.state == StateNotApplied && errors.As(v.err, new(*tokenpatch.PatchFailedError))
}

// patchFor is the change as a patch of a token.
func (t *task) patchFor(token *tokenpatch.Token) *tokenpatch.Patch {
	patch := t.row.change.patchOf(*token)
	if t.row.change.Want != nil && t.cannotTestVersion.Load() {
		return patch.WithoutLastModified()
	}
	return patch
}

// sendWithoutVersion sends a patch without its test of lastModified, if only this test can have
// kept the service from applying it: maybe it cannot test this member.
func (t *task) sendWithoutVersion(ctx context.Context, token *tokenpatch.Token, patch *tokenpatch.Patch, refused verdict) verdict {
	shorter := patch.WithoutLastModified()
	if _, err := shorter.Apply(*token); err != nil || shorter.Len() == patch.Len() {
		return refused
	}
	v := t.patch(ctx, token, shorter)
	if v.state == StateApplied && !t.cannotTestVersion.Swap(true) {
		t.log.WarnContext(ctx, "fleet: the service cannot test /lastModified: a Want no longer guards members that a token does not have", "run", t.run.name)
	}
	return v
}

// settle finds out whether the last patch was applied: by a read, then by sending it again if it
// may be, and then by a newer read.
func (t *task) settle(ctx context.Context) verdict {
	patch, base := t.row.sent, t.row.base
	if patch == nil || base == nil {
		return verdict{state: StateUnknown, err: errUnsettled}
	}
	v, now := t.settled(ctx, 0)
	if now == nil {
		return v
	}
	wanted := t.row.change.Want != nil
	why := errUnsettled
	if patch.Replay() != tokenpatch.ReplayUnsafe {
		why, t.overtaken = errOvertaken, wanted && isOvertaken(patch, base, now)
		if !t.overtaken {
			v = t.patch(ctx, base, patch)
		}
		if !t.overtaken {
			return v
		}
		if wanted {
			t.unsettled = false
			return t.readAndSend(ctx, refutes(patch, base))
		}
	}
	if v, now = t.settled(ctx, base.LastModified+1); now == nil {
		return v
	}
	return verdict{state: StateUnknown, err: why}
}

// isOvertaken reports whether a token has changed since it was read, if only the order
// of its custom roles, and a patch for it can no longer be applied.
func isOvertaken(patch *tokenpatch.Patch, base, now *tokenpatch.Token) bool {
	_, err := patch.Apply(*now)
	return now.LastModified >= base.LastModified && err != nil
}

// refutes reports of a read whether it shows why a patch for a token was refused.
func refutes(patch *tokenpatch.Patch, base *tokenpatch.Token) func(*tokenpatch.Token) bool {
	return func(now *tokenpatch.Token) bool {
		return now.LastModified > base.LastModified || isOvertaken(patch, base, now)
	}
}

// since reports of a read whether it is not older than what is known.
func since(least tokenpatch.UnixMillis) func(*tokenpatch.Token) bool {
	return func(now *tokenpatch.Token) bool { return now.LastModified >= least }
}

// settled is the verdict if a read shows the last patch applied, or if the token cannot be read.
// Otherwise now is the token. The read is repeated, for a while, as long as the token was last
// modified before least.
func (t *task) settled(ctx context.Context, least tokenpatch.UnixMillis) (v verdict, now *tokenpatch.Token) {
	var outcome tokenpatch.Outcome
	err := t.reading(ctx, func(ctx context.Context) error {
		return repeat(ctx, func() (enough bool, err error) {
			var token *tokenpatch.Token
			outcome, token, err = t.client.V2.Settle(ctx, *t.row.base, t.row.sent)
			if errors.As(err, new(*tokenpatch.PatchError)) { // the patch cannot be applied to what was read before it was sent
				token, err = t.client.V2.GetToken(ctx, t.row.change.ID)
			}
			if err != nil {
				return true, err
			}
			now = token
			return outcome == tokenpatch.OutcomeApplied || token.LastModified >= least, nil
		})
	})
	switch {
	case err != nil && !errors.Is(err, errStale):
		return t.readFailed(err), nil
	case outcome == tokenpatch.OutcomeApplied:
		return verdict{state: StateApplied, after: now}, nil
	}
	return verdict{}, now
}

// Why a patch whose attempts have no outcome is left unknown after a read.
var (
	errUnsettled = errors.New("fleet: the patch may have been applied and may not be sent again, and a read does not show it")
	errOvertaken = errors.New("fleet: somebody else has changed what the patch is guarded by: it will not be applied any more, and may have been before")
)

// notReadError is the error of a read given up by a worker, not by the client.
type notReadError struct{ why error }

func (e *notReadError) Error() string { return "the token was not read: " + e.why.Error() }
func (e *notReadError) Unwrap() error { return e.why }

var (
	errNoTime = errors.New("the try has taken too long")
	errStale  = errors.New("fleet: each read of the token was older than a known change")
)

// staleTime is how long a read of an older token than a known one is repeated: a service may read
// from a replica.
var staleTime = 10 * time.Second

// repeat calls do until it has read enough, for staleTime at most, or for as long as
// the worker may take.
func repeat(ctx context.Context, do func() (enough bool, err error)) error {
	began, reads := time.Now(), 0
	for pause := 50 * time.Millisecond; ; pause *= 2 {
		enough, err := do()
		late := reads > 0 && errors.Is(context.Cause(ctx), errNoTime)
		switch {
		case enough && !late:
			return err
		case late || time.Since(began)+pause > staleTime:
			return errStale
		}
		reads++
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// read reads the token, and reads it again, for a while, until it is enough.
func (t *task) read(ctx context.Context, enough func(*tokenpatch.Token) bool) (token *tokenpatch.Token, err error) {
	err = t.reading(ctx, func(ctx context.Context) error {
		return repeat(ctx, func() (bool, error) {
			now, err := t.client.V2.GetToken(ctx, t.row.change.ID)
			if err != nil {
				return true, err
			}
			token = now
			return enough(token), nil
		})
	})
	if err == nil {
		t.newest = max(t.newest, token.LastModified)
	}
	return token, err
}

// untilLate is ctx until the task may begin nothing more: because of the time,
// with late as the cause, or because the run is stopping.
func (t *task) untilLate(ctx context.Context, late error) (until context.Context, forget func()) {
	ctx, end := context.WithDeadlineCause(ctx, t.until, late)
	ctx, drain := context.WithCancelCause(ctx)
	undo := context.AfterFunc(t.stopping, func() { drain(errDraining) })
	return ctx, func() {
		undo()
		drain(nil)
		end()
	}
}

// reading makes a read-only call, in the rest of the worker's time.
func (t *task) reading(ctx context.Context, call func(context.Context) error) error {
	ctx, forget := t.untilLate(ctx, errNoTime)
	defer forget()
	err := call(ctx)
	t.observe(ctx, err)
	if err != nil && ctx.Err() != nil && !errors.Is(err, errStale) {
		return &notReadError{context.Cause(ctx)}
	}
	return err
}

// readFailed is the verdict on a change without a readable token. A change to be settled cannot be
// settled then.
func (t *task) readFailed(err error) verdict {
	switch {
	case errors.As(err, new(*notReadError)):
		return verdict{state: StatePending, err: err}
	case t.retryable(err) || errors.Is(err, errStale) && t.row.tries < maxTries:
		return t.again(err)
	case t.unsettled:
		return verdict{state: StateUnknown, err: err}
	default:
		return verdict{state: StateNotApplied, err: err}
	}
}

// update sends an update of V1, which may always be sent again.
func (t *task) update(ctx context.Context, update tokenpatch.TokenUpdate) verdict {
	id, err := uuid.Parse(t.row.change.ID)
	if err != nil {
		return verdict{state: StateNotApplied, err: err}
	}
	s := t.newSending()
	err = s.call(ctx, func(ctx context.Context) error { return t.client.V1.UpdateToken(ctx, id, update) })
	return t.judge(ctx, s, nil, err)
}

// patch sends a patch for the read token.
func (t *task) patch(ctx context.Context, read *tokenpatch.Token, patch *tokenpatch.Patch) verdict {
	s := t.newSending()
	base, baseErr := encode(withoutValue(read))
	sent, sentErr := encode(patch)
	if err := errors.Join(baseErr, sentErr); err != nil {
		return verdict{state: StateNotApplied, err: err}
	}
	s.before, s.sent = base, sent
	if t.row.before != nil && t.maybeApplied() {
		s.before, s.base = sql.NullString{}, base
	}
	var after *tokenpatch.Token
	err := s.call(ctx, func(ctx context.Context) (err error) {
		after, err = t.client.V2.PatchToken(ctx, t.row.change.ID, patch)
		return err
	})
	v := t.judge(ctx, s, after, err)
	if v.state == StateApplied && v.after == nil { // applied, with a broken response
		if token, err := t.read(ctx, since(t.newest+1)); err == nil {
			v.after = token
		}
	}
	return v
}

// maybeApplied reports whether the current token may be the result of an earlier attempt.
func (t *task) maybeApplied() bool {
	return slices.ContainsFunc(slices.Concat(t.row.attempts, t.attempts), func(a attempt) bool {
		return !a.unsent && a.outcome != StateNotApplied
	})
}

func (t *task) newSending() *sending {
	s := &sending{runner: t.runner, row: t.row, overtaken: t.overtaken, earlier: t.attempts, until: t.until}
	for _, a := range slices.Concat(t.row.attempts, t.attempts) {
		s.last = max(s.last, a.number)
	}
	return s
}

// judge is the verdict on a sending call.
func (t *task) judge(ctx context.Context, s *sending, after *tokenpatch.Token, err error) verdict {
	t.attempts = append(t.attempts, s.attempts...)
	refused := s.whyRefused() // the end of the run may still refuse the call after it has ended
	t.observe(ctx, err)
	outcome := stateOf(tokenpatch.OutcomeOf(err))
	switch {
	case outcome == StateApplied:
		return verdict{state: StateApplied, after: after}
	case s.maybeSent():
		return t.undecided(err)
	case refused != nil || ctx.Err() != nil:
		return verdict{state: StatePending, later: laterAfter(refused), err: cmp.Or(refused, err)}
	case t.retryable(err):
		return t.again(err)
	case outcome == StateUnknown:
		return verdict{state: StateUnknown, err: err}
	}
	if errors.As(err, new(*tokenpatch.PatchFailedError)) && t.unsettled {
		t.overtaken = true // by somebody who changed what the patch needs
	}
	if t.unsettled {
		return verdict{state: StateUnknown, err: err}
	}
	return verdict{state: StateNotApplied, err: err}
}

// undecided has the change settled later, once nothing of it can be on its way;
// after maxAttempts it is unknown.
func (t *task) undecided(err error) verdict {
	if len(t.row.attempts)+len(t.attempts) >= maxAttempts {
		return verdict{state: StateUnknown, err: err}
	}
	return verdict{state: StatePending, later: t.timing.quiet, err: err}
}

// laterAfter is when to look again at a change whose attempt was refused here:
// soon, unless the store has failed.
func laterAfter(refused error) time.Duration {
	if errors.Is(refused, errLate) || errors.Is(refused, errNoTime) || errors.Is(refused, errDraining) {
		return 0
	}
	return time.Second
}

// observe stops the run if the credential was refused too often.
func (t *task) observe(ctx context.Context, err error) {
	if t.refusals[t.row.change.api()].observe(err) {
		t.halt(ctx, fmt.Sprintf("the credential was refused %d times in a row, the last time with: %v", maxRefusals, err))
	}
}

// maybeSent reports whether an attempt of the call may have been applied.
func (s *sending) maybeSent() bool {
	return slices.ContainsFunc(s.attempts, func(a attempt) bool { return !a.unsent && a.outcome != StateNotApplied })
}

const (
	maxAttempts = 32 // of one change: what is not decided after them will not be
	maxTries    = 32 // failed ones, likewise: they take half an hour
)

// retryable reports whether another try, later, may end otherwise.
func (t *task) retryable(err error) bool {
	if t.row.tries >= maxTries || len(t.row.attempts)+len(t.attempts) >= maxAttempts {
		return false
	}
	var response *tokenpatch.APIError
	switch {
	case errors.As(err, new(*tokenpatch.RateLimitedError)), errors.As(err, new(*tokenpatch.NotSentError)), errors.As(err, new(*tokenpatch.ReadError)):
		return true
	case errors.As(err, new(*tokenpatch.ConflictError)):
		return t.row.change.api() == v2
	case errors.As(err, new(*tokenpatch.UnauthorizedError)):
		return t.unsettled // with another credential it can be settled
	}
	// The status is of a read: no other response leaves the outcome of an attempt open.
	return errors.As(err, &response) && (response.StatusCode < 300 || response.StatusCode == http.StatusRequestTimeout || response.StatusCode >= 500)
}

// maxPause is the longest wait of a change after a failed try.
var maxPause = 64 * time.Second

// again puts a change off after a failed try.
func (t *task) again(err error) verdict {
	v := verdict{state: StatePending, failed: true, later: min(time.Second<<min(t.row.tries, 6), maxPause), err: err}
	if limited, ok := errors.AsType[*tokenpatch.RateLimitedError](err); ok {
		v.later = min(max(limited.RetryAfter, time.Second), time.Hour)
	}
	return v
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
	if api, ok := errors.AsType[*tokenpatch.APIError](err); ok {
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

// storable is a text for every database.
func storable(text string, limit int) string {
	return shorten.Text(strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD"), limit)
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
