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

// EditToken changes the settings of the access token with this id, and returns
// the updated token. It reads the token, has edit change a copy, and sends the
// difference ([Diff]) behind a guard ([Patch.Guard]), so it overwrites nothing that
// another writer has written in between.
//
//	token, err := client.V2.EditToken(ctx, id, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
//		token.Description = tokenpatch.Set("Deploys from CI")
//		return nil
//	})
//
// edit modifies the copy into the desired state. It may be called more than once,
// so it must be idempotent: add a role only if it is missing, for example. The copy
// shares no memory with anything else. An error of edit ends the call, as a
// [*NotSentError]. Only the members that edit changes are guarded; those that it
// merely reads are not. A token that is already as desired is not written. If
// nothing goes wrong, an edit takes one read and at most one change.
//
// If another writer was quicker, the token is read again and edit called again, up
// to [EditOptions.MaxConflicts] times; then the error is an [*EditConflictError]. If
// the outcome of a change is unknown, EditToken settles it: it sends the change
// again, which the guard makes harmless, and reads the token, up to 8 times with
// backoff, until it knows the outcome. When the context is done nothing more is
// sent, but reads go on for [Config.CancelGrace]. A nil error means that the token
// is as desired, even if another writer made it so.
//
// A read can be older than the token, because replicas lag. EditToken repeats a
// read that is older than what it has seen, and one that does not show why the
// service refused a change, with backoff, for ten seconds at most.
//
// A service that cannot test /lastModified refuses a guard that has such a test.
// If the token does not change for ten seconds after a refusal, EditToken sends the
// change without that test; if this is accepted, later edits of this client leave
// the test out too, and the logger gets a warning. What the other tests do not
// cover is then unguarded: members that the token does not have yet, and the other
// two of role, custom roles and inline role.
//
// An [*InputError] is the error for an id that [V2Tokens.PatchToken] refuses, a nil
// edit, a wrong MaxConflicts, and an edit of a member that no client writes, such as
// [Token.ID]. A statement that breaks the rules of [Statement] is a [*PatchError].
// Once the outcome of one of its changes was unknown, the outcome of the call's
// error is [OutcomeUnknown] or [OutcomeApplied], never [OutcomeNotApplied]: the
// change may still be on its way.
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

// end is the error of the whole call, given that of its last step.
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
	unguarded     bool      // whether the patch lacks the test of lastModified that it needs
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

// write sends a change until its outcome is known. It returns the token as it is
// after the change; or, with the refusal, as another writer has changed it, so that
// the change cannot be made any more; else an error.
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

// noteNoVersion notes that the service cannot test lastModified.
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

// canOmitVersion reports whether the test of lastModified is all that can have kept
// the service from applying the patch to a token that is as the patch expects it.
func (c *change) canOmitVersion(t *Token) bool {
	shorter := c.patch.WithoutLastModified()
	_, err := shorter.byRulesOfV2().Apply(*t)
	return err == nil && shorter.Len() < c.patch.Len()
}

// afterApplied reads the token if the response to a change that was applied could
// not be read, which is err.
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

// unread is the error of a change that ended with err while its token cannot be
// read. A refusal proves nothing then: a gateway may have sent the change twice, and
// the first copy may have been applied.
func (e *editor) unread(err error) error {
	var refused *PatchFailedError
	if !errors.As(err, &refused) || e.unknown != nil {
		return err
	}
	return &OutcomeUnknownError{CallInfo: e.info(), Attempts: refused.Attempts, Err: err}
}

// read reads the token after a change that ended with cause. A read that is older
// than one before, or that is not conclusive, may come from a replica that lags: it
// is repeated with backoff for up to maxStale. It returns the last one, unless that
// is still older.
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

// isTransient reports whether a call that ended with err may succeed if it is made
// again soon. A read may also succeed after a status that no read has: on a
// connection that is out of step, it gets the response to the change before it.
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
	return &InputError{Field: "edit", Value: strconv.Quote(shorten(name, 64)), Want: "no change of this member, which no client writes"}
}

// Settle reads the token to find out the outcome of a patch whose
// [V2Tokens.PatchToken] ended with [OutcomeUnknown]. before is the token as it was
// when the patch was sent. Settle returns the token as it is now, too.
//
//   - [OutcomeApplied]: each member that the patch writes is as the patch makes it
//     of before, whoever wrote it. Replacing a member that before does not have adds
//     it, as V2 does. Custom roles are compared as a set; of role, custom roles and
//     inline role, absent, null and the empty list are the same.
//   - [OutcomeUnknown]: the token is otherwise. If it is as in before, the patch may
//     still arrive; if not, another writer may have overwritten what the patch wrote.
//
// A read does not show the past, so Settle never returns OutcomeNotApplied. A read
// that is older than before comes from a replica that lags. It is repeated with
// backoff, up to eight times; if all of them are older, the outcome is unknown.
//
// A patch that is nil, empty or has a mistake, or that cannot be applied to before,
// is a [*PatchError]; the errors of the read are those of [V2Tokens.GetToken]. With
// an error, the outcome is OutcomeUnknown and the token nil. Do not pass such an
// error to [OutcomeOf]: it is about the read alone.
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

// written returns the members that p writes, or inside which it does; of a patch
// that only tests, those that it tests.
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

// byRulesOfV2 returns a patch that does by RFC 6902 what p does in V2, where a
// setting that a token does not have can be replaced.
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
