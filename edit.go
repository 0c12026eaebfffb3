package tokenpatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/engine"
	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
	"github.com/tokenpatch/tokenpatch/internal/rawjson"
	"github.com/tokenpatch/tokenpatch/internal/shorten"
)

// EditOptions are the options of [V2Tokens.EditToken]. The zero value is the default.
type EditOptions struct {
	// Comment goes into V2's audit log with the change. Empty means none.
	Comment string

	// MaxConflicts is how many times the edit is repeated because another writer
	// changed the token between the read and the change. 0 means 10; -1 means none.
	MaxConflicts int
}

const (
	defaultMaxConflicts = 10
	maxSettling         = 8                // attempts at finding out the outcome of a change
	maxStale            = 10 * time.Second // how long a read may be older than what is known
)

// EditToken changes a token in a function of yours, and overwrites nothing of other writers. It
// reads the token with this id, has edit change a copy, and sends the difference ([Diff]) behind a
// guard ([Patch.Guard]). It returns the updated token.
//
// edit modifies the copy into the desired state. It may run more than once, so it must be
// idempotent: add a role only if it is missing, for example. If it fails, the call ends with a
// [*NotSentError]. Only the members that edit changes are guarded.
//
// If another writer was quicker, EditToken starts again, up to [EditOptions.MaxConflicts] times,
// then returns an [*EditConflictError]. If the outcome of a change is unknown, it settles it, as
// docs/outcomes.md describes. After an unknown outcome, the outcome of an error is never
// [OutcomeNotApplied].
func (t *V2Tokens) EditToken(ctx context.Context, id string, options EditOptions, edit func(*Token) error) (*Token, error) {
	if t == nil || t.service == nil {
		return nil, errNotMade
	}
	switch {
	case ctx == nil:
		return nil, &InputError{Field: "ctx", Value: "nil", Want: "a context"}
	case edit == nil:
		return nil, &InputError{Field: "edit", Value: "nil", Want: "a function"}
	case options.MaxConflicts < -1:
		return nil, &InputError{Field: "EditOptions.MaxConflicts", Value: strconv.Itoa(options.MaxConflicts), Want: "a number of conflicts, or -1 for none"}
	case options.MaxConflicts == 0:
		options.MaxConflicts = defaultMaxConflicts
	}
	e := &editor{tokens: t, id: id, options: options, edit: edit}
	token, err := e.run(ctx)
	return token, e.end(err)
}

// editor is one call of EditToken.
type editor struct {
	tokens  *V2Tokens
	id      string
	options EditOptions
	edit    func(*Token) error

	newest   UnixMillis // lastModified of the newest token seen
	unknown  error      // of the latest change whose outcome was unknown
	settling int        // attempts made at settling
}

// run reads, edits and writes until the token is as desired.
func (e *editor) run(ctx context.Context) (*Token, error) {
	graced, cancel := withGrace(ctx, e.tokens.service.engine.Sender.Grace)
	defer cancel()
	current, err := e.tokens.GetToken(ctx, e.id)
	if err != nil {
		return nil, err
	}
	for conflicts := 0; ; conflicts++ {
		e.newest = max(e.newest, current.LastModified)
		c, err := e.change(*current)
		if err != nil {
			return nil, err
		}
		if c.patch.Len() == 0 {
			return current, nil
		}
		token, newer, err := e.write(ctx, graced, &c)
		if newer == nil {
			return token, err
		}
		if conflicts == max(e.options.MaxConflicts, 0) {
			return nil, &EditConflictError{CallInfo: e.info(), Conflicts: conflicts + 1, Err: err}
		}
		current = newer
	}
}

// withGrace returns a context that is done a grace later than ctx.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	if grace == 0 {
		return ctx, func() {}
	}
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, cancel)
		context.AfterFunc(later, func() { timer.Stop() })
	})
	return later, func() { stop(); cancel() }
}

// end is the error of the whole call, given the error of its last step.
func (e *editor) end(err error) error {
	if err == nil || e.unknown == nil || OutcomeOf(err) != OutcomeNotApplied {
		return err
	}
	return after(e.unknown, err)
}

// change is a difference to send.
type change struct {
	before, after Token
	patch         *Patch
	written       []Pointer // members
	unguarded     bool      // whether the patch lacks a test of lastModified it needs
}

// change has the caller's function edit a token.
func (e *editor) change(before Token) (c change, err error) {
	c.before, c.after = before, before.Clone()
	if err := e.edit(&c.after); err != nil {
		return c, &NotSentError{CallInfo: e.info(), Err: fmt.Errorf("edit: %w", err)}
	}
	if err := checkWritable(before, c.after); err != nil {
		return c, err
	}
	patch := Diff(before, c.after)
	c.written = patch.touched()
	c.patch = patch.Comment(e.options.Comment).Guard(before)
	if e.tokens.cannotTestVersion.Load() {
		c.leaveOutVersion()
	}
	return c, c.patch.Err()
}

// leaveOutVersion takes the test of lastModified away from the patch, if it has one.
func (c *change) leaveOutVersion() {
	shorter := c.patch.WithoutLastModified()
	c.unguarded = shorter.Len() < c.patch.Len()
	c.patch = shorter
}

// write sends a change until its outcome is known. It returns the token after the change. If
// another writer has overtaken the change, it returns the newer token with the refusal. Otherwise
// it returns an error.
func (e *editor) write(ctx, graced context.Context, c *change) (token, newer *Token, err error) {
	for {
		token, err := e.send(ctx, c)
		if OutcomeOf(err) == OutcomeApplied {
			token, err = e.afterApplied(graced, c, token, err)
			return token, nil, err
		}
		refused := errors.As(err, new(*PatchFailedError))
		if !refused && OutcomeOf(err) == OutcomeNotApplied && (e.unknown == nil || !isTransient(graced, err)) {
			return nil, nil, err
		}
		if refused || c.unguarded || e.settling > 0 || ctx.Err() != nil { // or sending it again may settle it
			current, readErr := e.read(graced, e.unread(err), func(t *Token) bool { return !refused || c.isMadeIn(t) || c.isOvertakenBy(t) })
			switch {
			case readErr != nil:
				return nil, nil, readErr
			case c.isMadeIn(current):
				return current, nil, nil
			case c.isOvertakenBy(current):
				return nil, current, err
			case refused && !c.canOmitVersion(current):
				return nil, nil, err // not by the guard, which holds
			case refused:
				c.leaveOutVersion()
				continue
			}
		}
		if err := e.pause(graced, err); err != nil {
			return nil, nil, err
		}
	}
}

// send sends a change, unless the context has ended and only settling is left.
// Without a guard on all of it, an attempt whose outcome is unknown is the last
// one: another writer may have written in between.
func (e *editor) send(ctx context.Context, c *change) (*Token, error) {
	if ctx.Err() != nil && e.unknown != nil {
		return nil, e.unknown
	}
	replay := c.patch.Replay()
	if c.unguarded {
		replay = ReplayUnsafe
	}
	token, err := e.tokens.patch(ctx, e.id, c.patch, replay, c.before.LastModified)
	switch {
	case OutcomeOf(err) == OutcomeUnknown:
		e.unknown = err
	case err == nil && c.unguarded:
		e.tokens.noteNoVersion()
	}
	return token, err
}

// noteNoVersion notes a service that cannot test lastModified.
func (t *V2Tokens) noteNoVersion() {
	if log := t.service.events.log; !t.cannotTestVersion.Swap(true) && log != nil {
		log.Warn("tokenpatch: the service cannot test /lastModified: edits no longer guard members that a token does not have")
	}
}

// isMadeIn reports whether a token is as the change makes it.
func (c *change) isMadeIn(t *Token) bool { return sameMembers(c.written, c.after, *t) }

// isOvertakenBy reports whether a token is not as the change expects it.
func (c *change) isOvertakenBy(t *Token) bool {
	return t.LastModified != c.before.LastModified || !t.has(c.before, c.written)
}

// canOmitVersion reports whether only the test of lastModified can have kept the service from
// applying the patch to the token.
func (c *change) canOmitVersion(t *Token) bool {
	shorter := c.patch.WithoutLastModified()
	_, err := shorter.byRulesOfV2().Apply(*t)
	return err == nil && shorter.Len() < c.patch.Len()
}

// afterApplied reads the token if the response to an applied change could not be read, which is
// err.
func (e *editor) afterApplied(ctx context.Context, c *change, token *Token, err error) (*Token, error) {
	if err == nil {
		return token, nil
	}
	isLater := func(t *Token) bool { return t.LastModified > c.before.LastModified }
	if token, readErr := e.read(ctx, err, isLater); readErr == nil && isLater(token) {
		return token, nil
	}
	return nil, err
}

// unread is the error of a change that ended with err while its token cannot be read. A refusal
// proves nothing then: a gateway may have sent the change twice, and the first copy may have been
// applied.
func (e *editor) unread(err error) error {
	var refused *PatchFailedError
	if !errors.As(err, &refused) || e.unknown != nil {
		return err
	}
	return &OutcomeUnknownError{CallInfo: e.info(), Attempts: refused.Attempts, Err: err}
}

// read reads the token after a change, which ended with cause. A read older than an earlier one, or
// without a conclusion, may come from a lagging replica. It is repeated with backoff for up to
// maxStale. read returns the last one, unless it is still older.
func (e *editor) read(ctx context.Context, cause error, conclusive func(*Token) bool) (*Token, error) {
	until := time.Now().Add(maxStale)
	for reads := 1; ; reads++ {
		token, err := e.tokens.get(ctx, e.id, true)
		left := time.Until(until)
		switch {
		case err != nil && !isTransient(ctx, err):
			return nil, after(cause, err)
		case err != nil:
			if err := e.pause(ctx, after(cause, err)); err != nil {
				return nil, err
			}
			continue
		case token.LastModified >= e.newest && (conclusive(token) || left <= 0):
			e.newest = token.LastModified
			return token, nil
		case left <= 0:
			return nil, after(cause, fmt.Errorf("for %v each read was older than an earlier one", maxStale))
		}
		if err := e.tokens.service.backOff(ctx, reads, left); err != nil {
			return nil, after(cause, err)
		}
	}
}

// pause waits before the next attempt at settling. It returns cause if there is to
// be none.
func (e *editor) pause(ctx context.Context, cause error) error {
	if e.settling == maxSettling {
		return cause
	}
	e.settling++
	if err := e.tokens.service.backOff(ctx, e.settling, time.Hour); err != nil {
		return after(cause, err)
	}
	return nil
}

// backOff waits as after a number of failures, most at most.
func (s *service) backOff(ctx context.Context, failures int, most time.Duration) error {
	timer := time.NewTimer(min(most, s.engine.Policy.Backoff(failures, rand.Float64())))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *editor) info() CallInfo {
	s := e.tokens.service
	return s.info(patchToken, s.engine.Known.Secrets().Clean(e.id)) // an id can be a credential by mistake
}

// isTransient reports whether a call that ended with err may soon succeed. A read may also succeed
// after a status that is not one of reads: on a connection that is out of step, it gets the
// response to the change before it.
func isTransient(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	var refused *APIError
	if !errors.As(err, &refused) {
		return errors.As(err, new(*NotSentError)) || errors.As(err, new(*ReadError))
	}
	switch refused.StatusCode {
	case http.StatusConflict, http.StatusUnprocessableEntity:
		return true
	}
	return engine.IsTransient(refused.StatusCode)
}

// checkWritable refuses an edit of what no client writes.
func checkWritable(before, after Token) error {
	var fixed []Pointer
	for _, document := range []json.RawMessage{after.encode(), before.encode()} {
		for quoted := range rawjson.Members(document) {
			if name := string(rawjson.Unquote(quoted)); isServers(name) {
				fixed = append(fixed, NewPointer(name))
			}
		}
	}
	if after.has(before, fixed) {
		return nil
	}
	i := slices.IndexFunc(fixed, func(path Pointer) bool { return !after.has(before, []Pointer{path}) })
	name := strings.TrimPrefix(string(fixed[i]), "/")
	return &InputError{Field: "edit", Value: strconv.Quote(shorten.Text(name, 64)), Want: "no change of this member, which no client writes"}
}

// Settle reads the token to find out the outcome of a patch whose [V2Tokens.PatchToken] ended with
// [OutcomeUnknown]. before is the token when the patch was sent. Settle also returns the newest
// token. The outcome is
//
//   - [OutcomeApplied] if each member that the patch writes has the desired value, whoever wrote
//     it. Custom roles are compared as a set.
//   - [OutcomeUnknown] otherwise: the patch may still arrive, or another writer may have
//     overwritten it. A read does not show the past, so Settle never returns OutcomeNotApplied.
//
// A read older than before comes from a lagging replica and is repeated, up to eight times. A patch
// that cannot be sent, or be applied to before, is a [*PatchError]. The errors of the read are
// those of [V2Tokens.GetToken]. Do not pass them to [OutcomeOf].
func (t *V2Tokens) Settle(ctx context.Context, before Token, patch *Patch) (Outcome, *Token, error) {
	if err := patch.checkSend(); err != nil {
		return OutcomeUnknown, nil, err
	}
	wanted, err := patch.byRulesOfV2().Apply(before)
	if err != nil {
		return OutcomeUnknown, nil, err
	}
	var newest *Token
	for reads := 1; ; reads++ {
		current, err := t.GetToken(ctx, before.ID)
		if err != nil {
			return OutcomeUnknown, nil, err
		}
		if newest == nil || current.LastModified > newest.LastModified {
			newest = current
		}
		switch {
		case current.LastModified >= before.LastModified && sameMembers(patch.written(), wanted, *current):
			return OutcomeApplied, current, nil
		case current.LastModified >= before.LastModified || reads == maxSettling:
			return OutcomeUnknown, newest, nil
		}
		if err := t.service.backOff(ctx, reads, time.Hour); err != nil {
			return OutcomeUnknown, nil, err
		}
	}
}

// written returns the members that p writes; for a patch of tests only, those it tests.
func (p *Patch) written() (written []Pointer) {
	var tested []Pointer
	for _, op := range p.operations() {
		member, _ := memberOf(op.Path)
		if op.Op == jsonpatch.OpTest {
			tested = append(tested, member)
			continue
		}
		written = append(written, member)
		if op.Op == jsonpatch.OpMove {
			from, _ := memberOf(op.From)
			written = append(written, from)
		}
	}
	if len(written) == 0 {
		return tested
	}
	return written
}

// byRulesOfV2 returns a patch that does by RFC 6902 what p does in V2, which replaces settings a
// token does not have.
func (p *Patch) byRulesOfV2() *Patch {
	q := p.Clone()
	q.content.operations = slices.Clone(p.operations())
	for i, op := range p.operations() {
		if op.Op == jsonpatch.OpReplace && slices.Contains(settings, Pointer(op.Path)) {
			q.content.operations[i].Op = jsonpatch.OpAdd
		}
	}
	return q
}
