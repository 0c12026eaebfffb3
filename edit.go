package tokenpatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/engine"
	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// EditOptions are the options of [V2Tokens.EditToken]. The zero value is the default.
type EditOptions struct {
	// Comment goes into V2's audit log with the change. Empty means none.
	Comment string

	// MaxConflicts is how many times the edit is made anew, because another
	// writer changed the token between the read and the change. 0 means 10; a
	// negative number is an error.
	MaxConflicts int
}

const (
	defaultMaxConflicts = 10
	maxSettling         = 8 // attempts at finding out what became of a change, and at making it
)

// EditToken changes the settings of the access token with this id, and returns
// the token as it then is. It reads the token, has edit change a copy, and sends
// the difference ([Diff]) behind a guard ([Patch.Guard]), so that it overwrites
// nothing that somebody else has written in between.
//
//	token, err := client.V2.EditToken(ctx, id, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
//		token.Role = tokenpatch.Set(tokenpatch.RoleReader)
//		return nil
//	})
//
// edit says how the token is to be. It may be called more than once, and called
// with its own result it must change nothing: it adds a role if the token does not
// have it, rather than append it in any case. Its copy shares no memory with
// anything else. Its error ends the call, as a [*NotSentError]. Guarded are the
// members that it changes, not those that it only looks at. A token that is already
// as edit wants it is not written. Where nothing goes wrong, an edit takes one read
// and at most one change.
//
// Where another writer was quicker, the token is read again and edit called again,
// [EditOptions.MaxConflicts] times at most; then the error is an
// [*EditConflictError]. Where the outcome of a change is unknown, EditToken settles
// it: it sends the change again, which the guard makes harmless, and reads the
// token, up to 8 times with backoff, whatever [RetryPolicy.MaxAttempts] is, until
// it knows or the context ends. A nil error says that the token is as edit wants
// it, also where another writer made it so.
//
// An [*InputError] is the error for an id that [V2Tokens.PatchToken] refuses, a nil
// edit, a negative MaxConflicts, and an edit of anything but the settings, such as
// [Token.ID] or [Token.Extra]. A statement that breaks the rules of [Statement] is a
// [*PatchError]. Once the outcome of one of its changes was unknown, the outcome of
// the call's error is [OutcomeUnknown] or [OutcomeApplied], never
// [OutcomeNotApplied]: the change may still be on its way.
func (t *V2Tokens) EditToken(ctx context.Context, id string, options EditOptions, edit func(*Token) error) (*Token, error) {
	if t == nil || t.service == nil {
		return nil, errNotMade
	}
	switch {
	case edit == nil:
		return nil, &InputError{Field: "edit", Value: "nil", Want: "a function"}
	case options.MaxConflicts < 0:
		return nil, &InputError{Field: "EditOptions.MaxConflicts", Value: strconv.Itoa(options.MaxConflicts), Want: "a number that is not negative"}
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

	unknown  error // of the latest change whose outcome was unknown
	settling int   // attempts made at settling
}

// run reads, edits and writes until the token is as wanted.
func (e *editor) run(ctx context.Context) (*Token, error) {
	current, err := e.tokens.GetToken(ctx, e.id)
	if err != nil {
		return nil, err
	}
	for conflicts := 0; ; conflicts++ {
		c, err := e.change(*current)
		if err != nil {
			return nil, err
		}
		if c.patch.Len() == 0 {
			return current, nil
		}
		token, newer, err := e.write(ctx, c)
		if newer == nil {
			return token, err
		}
		if conflicts == e.options.MaxConflicts {
			return nil, &EditConflictError{CallInfo: e.info(), Conflicts: conflicts + 1, Err: err}
		}
		current = newer
	}
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
	members       []Pointer // that it writes
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
	if err := patch.Err(); err != nil {
		return c, err
	}
	c.members = patch.touched()
	c.patch = patch.Comment(e.options.Comment).Guard(before)
	return c, c.patch.Err()
}

// write sends a change until it is clear what became of it. It returns the token
// as it is after the change, or, with the refusal, as somebody else has changed
// it so that the change cannot be made any more; else an error.
func (e *editor) write(ctx context.Context, c change) (token, newer *Token, err error) {
	for {
		token, err := e.send(ctx, c)
		if OutcomeOf(err) == OutcomeApplied {
			token, err = e.afterApplied(ctx, token, err)
			return token, nil, err
		}
		refused := errors.As(err, new(*PatchFailedError))
		if !refused && OutcomeOf(err) == OutcomeNotApplied && (e.unknown == nil || !isRetryable(ctx, err)) {
			return nil, nil, err
		}
		if refused || e.settling > 0 { // or sending it again has not settled it
			current, readErr := e.read(ctx, err)
			switch {
			case readErr != nil:
				return nil, nil, readErr
			case sameMembers(c.members, *current, c.after):
				return current, nil, nil
			case !current.has(c.before, c.members):
				return nil, current, err
			case refused: // not by the guard, which holds
				return nil, nil, err
			}
		}
		if err := e.pause(ctx, err); err != nil {
			return nil, nil, err
		}
	}
}

// afterApplied reads the token where the response to a change that was applied
// could not be read, which is err.
func (e *editor) afterApplied(ctx context.Context, token *Token, err error) (*Token, error) {
	if err == nil {
		return token, nil
	}
	if token, readErr := e.read(ctx, err); readErr == nil {
		return token, nil
	}
	return nil, err
}

// send sends a change.
func (e *editor) send(ctx context.Context, c change) (*Token, error) {
	token, err := e.tokens.PatchToken(ctx, e.id, c.patch)
	if OutcomeOf(err) == OutcomeUnknown {
		e.unknown = err
	}
	return token, err
}

// read reads the token after a change that ended with cause.
func (e *editor) read(ctx context.Context, cause error) (*Token, error) {
	for {
		token, err := e.tokens.GetToken(ctx, e.id)
		if err == nil {
			return token, nil
		}
		if !isRetryable(ctx, err) {
			return nil, after(cause, err)
		}
		if err := e.pause(ctx, after(cause, err)); err != nil {
			return nil, err
		}
	}
}

// pause waits before the next attempt at settling. It returns cause where there
// is to be none.
func (e *editor) pause(ctx context.Context, cause error) error {
	if e.settling++; e.settling > maxSettling {
		return cause
	}
	timer := time.NewTimer(e.tokens.service.engine.Policy.Backoff(e.settling, rand.Float64()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return after(cause, ctx.Err())
	}
}

func (e *editor) info() CallInfo {
	s := e.tokens.service
	return s.info(patchToken, s.engine.Known.Secrets().Clean(e.id)) // an id can be a credential by mistake
}

// isRetryable reports whether a call that ended with err may succeed if it is made
// again soon.
func isRetryable(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	var refused *APIError
	if !errors.As(err, &refused) {
		return errors.As(err, new(*NotSentError)) || errors.As(err, new(*ReadError))
	}
	return engine.IsTransient(refused.StatusCode)
}

// checkWritable refuses an edit of what no client can write.
func checkWritable(before, after Token) error {
	after.Name, after.Description, after.Role = before.Name, before.Description, before.Role
	after.CustomRoleIDs, after.InlineRole = before.CustomRoleIDs, before.InlineRole
	after.DefaultAPIVersion = before.DefaultAPIVersion
	is, was := after.encode(), before.encode()
	if jsonpatch.Equal(is, was) {
		return nil
	}
	name := ""
	for _, document := range []json.RawMessage{is, was} {
		for quoted := range rawjson.Members(document) {
			member := string(rawjson.Unquote(quoted))
			if name == "" && !after.has(before, []Pointer{NewPointer(member)}) {
				name = member
			}
		}
	}
	return &InputError{Field: "edit", Value: strconv.Quote(shorten(name, 64)), Want: "a change to the settings alone: no client writes this member"}
}
