package tokenpatch

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/redact"
)

// Hooks are functions that are called while a call is under way, so that a
// program can count, time and trace it without wrapping anything. Each may be
// nil, and costs nothing then. [V2Tokens.EditToken] makes several calls, each of
// which is reported; [V2Tokens.Tokens] makes one for each page.
//
// They are called in the goroutine of the call, concurrently for concurrent calls.
// A hook that blocks holds up its own call. WaitEnd and AttemptStart may be called
// while the call holds a permit of the rate limit: one of them that blocks can hold
// up other calls too, until the limiter counts the attempt as lost. A hook that
// panics ends its own call with that panic; the outcome of the call is then
// unknown. The same holds for the logger.
//
// What hooks are given holds no credential and no token's value.
type Hooks struct {
	// CallStart is called when a call begins, once its arguments have been
	// checked. The call goes on with the context that it returns.
	CallStart func(ctx context.Context, call CallInfo) context.Context

	// WaitStart is called when the call begins to wait: for the rate limit, or
	// between two attempts. It gets the context of CallStart.
	WaitStart func(ctx context.Context, wait WaitInfo)

	// WaitEnd is called when that wait is over. It gets the context of CallStart.
	WaitEnd func(ctx context.Context, wait WaitInfo)

	// AttemptStart is called before a request is sent, and may add to
	// attempt.Header. The request and AttemptEnd get the context that it returns.
	AttemptStart func(ctx context.Context, attempt *AttemptInfo) context.Context

	// AttemptEnd is called when the response has been read, or when it is clear
	// that there is none. It gets the context of AttemptStart.
	AttemptEnd func(ctx context.Context, attempt AttemptResult)

	// CallEnd is called when a call is over. It gets the context of CallStart.
	CallEnd func(ctx context.Context, call CallResult)
}

// CallInfo says what a call is about.
type CallInfo struct {
	API    string // "V1" or "V2"
	Method string // "PATCH", or "GET" for a read
	Route  string // template of the path, as its API's document has it: "/api/v2/tokens/{id}"
	Token  string // id of the token, not escaped; empty for a list of tokens
}

// path is the path of the request, behind whatever the base URL has. It stays on
// one line: an id is escaped in it.
func (c CallInfo) path() string {
	before, _, found := strings.Cut(c.Route, "{")
	if !found {
		return c.Route
	}
	return before + url.PathEscape(c.Token)
}

// shown is the token's id as hooks and errors show it, with secrets redacted: an id
// can be a credential by mistake. It is kept, since redacting takes time.
type shown struct {
	token   string
	secrets *redact.Secrets
}

// info says what the call is about.
func (c *call) info() CallInfo {
	if c.shown.token == "" || c.shown.secrets != c.secrets {
		c.shown = shown{c.secrets.Clean(c.request.token), c.secrets}
	}
	return c.service.info(c.request.endpoint, c.shown.token)
}

// info says what a call of an endpoint is about.
func (s *service) info(e *endpoint, token string) CallInfo {
	return CallInfo{API: s.api, Method: e.method, Route: e.route, Token: token}
}

// WaitReason says what a call waits for.
type WaitReason string

// The reasons for waiting.
const (
	WaitRetryAfter WaitReason = "retry_after" // a pause that the server asked for, or one after a 429 that asked for none
	WaitRateLimit  WaitReason = "rate_limit"  // the next window: this one is used up
	WaitProbe      WaitReason = "probe"       // the response to the one attempt that goes first while nothing is known
	WaitTurn       WaitReason = "turn"        // the calls that came before, in a window that is open
	WaitBackoff    WaitReason = "backoff"     // the time between two attempts
)

// WaitInfo is one wait of a call.
type WaitInfo struct {
	CallInfo
	Reason   WaitReason    // what it waits for; for WaitEnd, of several reasons the one that is first in the list of constants
	Duration time.Duration // how long it was; for WaitStart, how long it will be where that is known (WaitBackoff), else 0
}

// AttemptInfo is an attempt that is about to begin.
type AttemptInfo struct {
	CallInfo
	Number int         // of the attempt within its call, from 1
	URL    string      // of the request
	Header http.Header // of the request without its credential, a copy; nil where there is no AttemptStart
}

// AttemptResult is an attempt that is over.
type AttemptResult struct {
	AttemptInfo
	Status    int           // of the response; 0 where there was none
	Outcome   Outcome       // what this attempt alone says of the change
	Duration  time.Duration // to the last byte of the response
	Err       error         // why there was no response, or why it could not be read whole; nil where it could
	RateLimit RateLimit     // as it is known after this attempt
}

// CallResult is a call that is over.
type CallResult struct {
	CallInfo
	Outcome  Outcome       // what became of the change; of a read, applied where it succeeded and not applied where it failed
	Attempts int           // how many attempts were made
	Duration time.Duration // of the whole call
	Waited   time.Duration // how much of that was spent waiting
	Err      error         // what the call returns
}

// events passes what happens on to the caller's hooks and logger.
type events struct {
	hooks Hooks
	log   *slog.Logger // nil is silent
}

// callStart returns the context that the call goes on with.
func (e *events) callStart(ctx context.Context, call CallInfo) context.Context {
	if e.hooks.CallStart == nil {
		return ctx
	}
	return orElse(e.hooks.CallStart(ctx, call), ctx)
}

func (e *events) callEnd(ctx context.Context, call CallResult) {
	if e.hooks.CallEnd != nil {
		e.hooks.CallEnd(ctx, call)
	}
}

func (e *events) watchWaits() bool {
	return e.log != nil || e.hooks.WaitStart != nil || e.hooks.WaitEnd != nil || e.hooks.CallEnd != nil
}

func (e *events) waitStart(ctx context.Context, wait WaitInfo) {
	if e.hooks.WaitStart != nil {
		e.hooks.WaitStart(ctx, wait)
	}
}

func (e *events) waitEnd(ctx context.Context, wait WaitInfo) {
	if e.log != nil {
		e.log.LogAttrs(ctx, slog.LevelDebug, "tokenpatch: wait", append(wait.attrs(),
			slog.String("reason", string(wait.Reason)), slog.Duration("duration", wait.Duration))...)
	}
	if e.hooks.WaitEnd != nil {
		e.hooks.WaitEnd(ctx, wait)
	}
}

func (e *events) watchAttempts() bool {
	return e.log != nil || e.hooks.AttemptStart != nil || e.hooks.AttemptEnd != nil
}

// attemptStart returns the context that the attempt goes on with.
func (e *events) attemptStart(ctx context.Context, attempt *AttemptInfo) context.Context {
	if e.hooks.AttemptStart == nil {
		return ctx
	}
	return orElse(e.hooks.AttemptStart(ctx, attempt), ctx)
}

func (e *events) attemptEnd(ctx context.Context, attempt AttemptResult) {
	if e.log != nil {
		level := slog.LevelDebug
		if attempt.Err != nil || attempt.Status >= 400 {
			level = slog.LevelWarn
		}
		e.log.LogAttrs(ctx, level, "tokenpatch: attempt", append(attempt.attrs(),
			slog.Int("number", attempt.Number), slog.Int("status", attempt.Status), slog.Any("outcome", attempt.Outcome),
			slog.Duration("duration", attempt.Duration), slog.Any("error", attempt.Err))...)
	}
	if e.hooks.AttemptEnd != nil {
		e.hooks.AttemptEnd(ctx, attempt)
	}
}

func (c CallInfo) attrs() []slog.Attr {
	return []slog.Attr{slog.String("api", c.API), slog.String("method", c.Method), slog.String("route", c.Route), slog.String("token", c.Token)}
}

// orElse is ctx, unless a hook that had to return a context returned none.
func orElse(ctx, otherwise context.Context) context.Context {
	if ctx == nil {
		return otherwise
	}
	return ctx
}
