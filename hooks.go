package tokenpatch

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/engine"
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

// events are the caller's hooks and logger.
type events struct {
	hooks Hooks
	log   *slog.Logger // nil is silent
}

// callStart returns the context that the call goes on with.
func (e *events) callStart(ctx context.Context, c *call) context.Context {
	if e.hooks.CallStart == nil {
		return ctx
	}
	return orElse(e.hooks.CallStart(ctx, c.info()), ctx)
}

func (e *events) callEnd(ctx context.Context, c *call, r *engine.Result, took time.Duration, err error) {
	if e.hooks.CallEnd == nil {
		return
	}
	e.hooks.CallEnd(ctx, CallResult{
		CallInfo: c.info(), Outcome: OutcomeOf(err), Attempts: r.Attempts, Duration: took, Waited: r.Waited, Err: err,
	})
}

// observe reports whether anybody listens to waits or attempts. CallEnd reports how long the call has waited.
func (e *events) observe() bool {
	h := &e.hooks
	return e.log != nil || h.WaitStart != nil || h.WaitEnd != nil || h.AttemptStart != nil || h.AttemptEnd != nil || h.CallEnd != nil
}

// observer passes the waits and attempts of one call on to hooks and logger.
type observer struct {
	*call
	attempt AttemptInfo // the one that is under way
}

func (o *observer) WaitStart(ctx context.Context, reason engine.Reason, length time.Duration) {
	if hook := o.service.events.hooks.WaitStart; hook != nil {
		hook(ctx, WaitInfo{CallInfo: o.info(), Reason: WaitReason(reason), Duration: length})
	}
}

func (o *observer) WaitEnd(ctx context.Context, reason engine.Reason, took time.Duration) {
	if log := o.service.events.log; log != nil {
		log.LogAttrs(ctx, slog.LevelDebug, "tokenpatch: wait", append(o.info().attrs(),
			slog.String("reason", string(reason)), slog.Duration("duration", took))...)
	}
	if hook := o.service.events.hooks.WaitEnd; hook != nil {
		hook(ctx, WaitInfo{CallInfo: o.info(), Reason: WaitReason(reason), Duration: took})
	}
}

// AttemptStart gives the hook a copy of the header without the credential, and sends what it makes of that.
func (o *observer) AttemptStart(ctx context.Context, number int, request *http.Request) context.Context {
	o.attempt = AttemptInfo{CallInfo: o.info(), Number: number, URL: o.sent.Secrets.Clean(request.URL.String())}
	hook := o.service.events.hooks.AttemptStart
	if hook == nil {
		return ctx
	}
	header := request.Header.Clone()
	delete(header, "Authorization")
	o.attempt.Header = header
	ctx = orElse(hook(ctx, &o.attempt), ctx)
	delete(header, "Authorization") // a hook cannot set it either
	authorization := request.Header["Authorization"]
	request.Header = header.Clone()
	request.Header["Authorization"] = authorization
	return ctx
}

func (o *observer) AttemptEnd(ctx context.Context, a *engine.Attempt) {
	result := AttemptResult{
		AttemptInfo: o.attempt, Status: a.Status, Outcome: Outcome(a.Effect), Duration: a.Took, Err: a.Err,
	}
	o.service.events.logAttempt(ctx, result)
	if hook := o.service.events.hooks.AttemptEnd; hook != nil {
		result.RateLimit = o.service.rateLimit()
		hook(ctx, result)
	}
}

func (e *events) logAttempt(ctx context.Context, attempt AttemptResult) {
	if e.log == nil {
		return
	}
	level := slog.LevelDebug
	if attempt.Err != nil || attempt.Status >= 400 {
		level = slog.LevelWarn
	}
	e.log.LogAttrs(ctx, level, "tokenpatch: attempt", append(attempt.attrs(),
		slog.Int("number", attempt.Number), slog.Int("status", attempt.Status), slog.Any("outcome", attempt.Outcome),
		slog.Duration("duration", attempt.Duration), slog.Any("error", attempt.Err))...)
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
