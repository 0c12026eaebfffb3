package tokenpatch

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/engine"
	"github.com/tokenpatch/tokenpatch/internal/redact"
)

// Hooks are functions that report calls, waits and attempts, so a program can count, time and trace
// them. Each may be nil and costs nothing then. [V2Tokens.EditToken] makes several calls,
// [V2Tokens.Tokens] one for each page.
//
// Hooks run in the goroutine of their call. A hook that blocks delays its own call; WaitEnd and
// AttemptStart can delay others too, because the call may hold a permit of the rate limit. A hook
// that panics ends its own call, whose outcome is then unknown. The same applies to the logger.
//
// Hooks get no credential and no token's value.
type Hooks struct {
	// CallStart is called when a call begins, after its arguments were checked. The call continues
	// with the returned context.
	CallStart func(ctx context.Context, call CallInfo) context.Context

	// WaitStart is called when the call begins to wait: for the rate limit, or
	// between two attempts. It gets the context of CallStart.
	WaitStart func(ctx context.Context, wait WaitInfo)

	// WaitEnd is called when the wait is over. It gets the context of CallStart.
	WaitEnd func(ctx context.Context, wait WaitInfo)

	// AttemptStart is called before a request is sent, and may add to attempt.Header. Changes to
	// Authorization, Content-Type, Content-Length and Host have no effect, and are logged. The
	// request and AttemptEnd get the returned context.
	AttemptStart func(ctx context.Context, attempt *AttemptInfo) context.Context

	// AttemptEnd is called after the response was read, or without one. It gets the context of
	// AttemptStart.
	AttemptEnd func(ctx context.Context, attempt AttemptResult)

	// CallEnd is called when a call is over. It gets the context of CallStart.
	CallEnd func(ctx context.Context, call CallResult)
}

// JoinHooks returns hooks that call all of these. At a beginning they run in order, each with the
// context returned by the one before it; at an end in the opposite order.
func JoinHooks(all ...Hooks) Hooks {
	joined := Hooks{}
	for _, h := range all {
		joined = Hooks{
			CallStart:    joinStart(joined.CallStart, h.CallStart),
			WaitStart:    joinEvents(joined.WaitStart, h.WaitStart),
			WaitEnd:      joinEvents(h.WaitEnd, joined.WaitEnd),
			AttemptStart: joinStart(joined.AttemptStart, h.AttemptStart),
			AttemptEnd:   joinEvents(h.AttemptEnd, joined.AttemptEnd),
			CallEnd:      joinEvents(h.CallEnd, joined.CallEnd),
		}
	}
	return joined
}

func joinStart[T any](first, second func(context.Context, T) context.Context) func(context.Context, T) context.Context {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(ctx context.Context, info T) context.Context {
		ctx = cmp.Or(first(ctx, info), ctx)
		return cmp.Or(second(ctx, info), ctx)
	}
}

func joinEvents[T any](first, second func(context.Context, T)) func(context.Context, T) {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(ctx context.Context, info T) {
		first(ctx, info)
		second(ctx, info)
	}
}

// CallInfo describes a call.
type CallInfo struct {
	API     string // "V1" or "V2"
	Host    string // of the request, with the port if the base URL has one
	Method  string // "PATCH", or "GET" for a read
	Route   string // template of the path, as its API's document has it: "/api/v2/tokens/{id}"
	TokenID string // not escaped; empty for a list of tokens
}

// target is the host and the path of the request, without what the base URL has in front of the path. It stays on one line: an id
// is escaped in it.
func (c CallInfo) target() string {
	before, _, found := strings.Cut(c.Route, "{")
	if !found {
		return c.Host + c.Route
	}
	return c.Host + before + url.PathEscape(c.TokenID)
}

// WaitReason is why a call waits.
type WaitReason string

// The reasons for waiting.
const (
	WaitRetryAfter WaitReason = "retry_after" // a pause for Retry-After, or after a 429 without it
	WaitRateLimit  WaitReason = "rate_limit"  // the next window: this one is used up
	WaitProbe      WaitReason = "probe"       // the response to the one attempt sent first in an unknown window
	WaitTurn       WaitReason = "turn"        // earlier calls, in an open window
	WaitBackoff    WaitReason = "backoff"     // the time between two attempts
)

// WaitInfo is one wait of a call.
type WaitInfo struct {
	CallInfo
	Reason   WaitReason    // why the call waits; if there were several reasons, WaitEnd reports the one listed first among the constants
	Duration time.Duration // how long it was; for WaitStart, how long it will be (WaitBackoff), or 0 if unknown
}

// AttemptInfo is an attempt at its start.
type AttemptInfo struct {
	CallInfo
	Number int         // of the attempt within its call, from 1
	URL    string      // of the request
	Header http.Header // of the request without its credential, a copy; nil without AttemptStart
}

// AttemptResult is an attempt at its end.
type AttemptResult struct {
	AttemptInfo
	Status         int           // of the response; 0 if there was none
	ResponseHeader http.Header   // of the response, with credentials redacted; nil if there was none
	Code           string        // as in [APIError]; empty for a success, and if there was no response
	Message        string        // likewise
	SupportID      string        // likewise
	Outcome        Outcome       // what this attempt alone proves about the change
	Duration       time.Duration // to the last byte of the response
	Err            error         // why there was no response, or why it could not be read whole; nil if it could
	RateLimit      RateLimit     // as it is known after this attempt
}

// CallResult is a call at its end.
type CallResult struct {
	CallInfo
	Outcome  Outcome       // the outcome of the change; for a read: applied if it succeeded, otherwise not applied
	Attempts int           // how many attempts were made
	Duration time.Duration // of the whole call
	Waited   time.Duration // the part of Duration spent waiting
	Err      error         // what the call returns
}

// events are the caller's hooks and logger.
type events struct {
	hooks Hooks
	log   *slog.Logger // nil is silent
}

// callStart returns the context for the rest of the call.
func (e *events) callStart(ctx context.Context, c *call) context.Context {
	if e.hooks.CallStart == nil {
		return ctx
	}
	return cmp.Or(e.hooks.CallStart(ctx, c.info()), ctx)
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
	attempt AttemptInfo // the current one
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

// AttemptStart gives the hook a copy of the header without the credential, and sends the changed
// copy.
func (o *observer) AttemptStart(ctx context.Context, number int, request *http.Request) context.Context {
	o.attempt = AttemptInfo{CallInfo: o.info(), Number: number, URL: o.sent.Secrets.Clean(request.URL.String())}
	hook := o.service.events.hooks.AttemptStart
	if hook == nil {
		return ctx
	}
	given := request.Header.Clone()
	delete(given, "Authorization")
	o.attempt.Header = given.Clone()
	ctx = cmp.Or(hook(ctx, &o.attempt), ctx)
	o.attempt.Header = o.service.events.checkHook(ctx, given, o.attempt.Header)
	authorization := request.Header["Authorization"]
	request.Header = o.attempt.Header.Clone()
	request.Header["Authorization"] = authorization
	return ctx
}

// checkHook returns the header as changed by a hook, with the original values of the headers in
// fixedHeaders.
func (e *events) checkHook(ctx context.Context, given, made http.Header) http.Header {
	checked := made.Clone()
	if checked == nil {
		checked = http.Header{}
	}
	for _, name := range fixedHeaders {
		if slices.Equal(checked[name], given[name]) {
			continue
		}
		if e.log != nil {
			e.log.LogAttrs(ctx, slog.LevelWarn, "tokenpatch: a hook cannot change this header", slog.String("header", name))
		}
		delete(checked, name)
		if given[name] != nil {
			checked[name] = given[name]
		}
	}
	return checked
}

// fixedHeaders are off limits for hooks: changing them would change the request's meaning.
var fixedHeaders = []string{"Authorization", "Content-Type", "Content-Length", "Host", "Transfer-Encoding"}

func (o *observer) AttemptEnd(ctx context.Context, a *engine.Attempt) {
	events := &o.service.events
	result := AttemptResult{
		AttemptInfo: o.attempt, Status: a.Status, Outcome: Outcome(a.Effect), Duration: a.Took, Err: a.Err,
	}
	if a.Status != 0 && !engine.IsSuccess(a.Status) {
		var refused APIError
		refused.describe(newRefusal(a.Result, o.sent.Secrets))
		result.Code, result.Message, result.SupportID = refused.Code, refused.Message, refused.SupportID
	}
	events.logAttempt(ctx, result)
	if events.hooks.AttemptEnd != nil {
		result.ResponseHeader = cleanHeader(a.Header, o.sent.Secrets)
		result.RateLimit = o.service.rateLimit()
		events.hooks.AttemptEnd(ctx, result)
	}
}

// cleanHeader returns a copy of the header of a response without credentials.
func cleanHeader(header http.Header, secrets *redact.Secrets) http.Header {
	clean := header.Clone()
	for _, values := range clean {
		for i, value := range values {
			values[i] = secrets.Clean(value)
		}
	}
	return clean
}

func (e *events) logAttempt(ctx context.Context, attempt AttemptResult) {
	if e.log == nil {
		return
	}
	level, message := slog.LevelDebug, "tokenpatch: attempt succeeded"
	attrs := append(attempt.attrs(), slog.Int("attempt", attempt.Number), slog.Int("status", attempt.Status))
	if attempt.Err != nil || !engine.IsSuccess(attempt.Status) {
		level, message = slog.LevelWarn, "tokenpatch: attempt failed"
		attrs = append(attrs, slog.String("code", attempt.Code), slog.String("message", oneLine(attempt.Message)), slog.String("support_id", attempt.SupportID))
	}
	if attempt.Err != nil {
		attrs = append(attrs, slog.Any("error", attempt.Err))
	}
	e.log.LogAttrs(ctx, level, message, append(attrs, slog.Any("outcome", attempt.Outcome), slog.Duration("duration", attempt.Duration))...)
}

func (c CallInfo) attrs() []slog.Attr {
	return []slog.Attr{slog.String("api", c.API), slog.String("host", c.Host), slog.String("method", c.Method), slog.String("route", c.Route), slog.String("token_id", c.TokenID)}
}
