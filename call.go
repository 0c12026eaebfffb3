package tokenpatch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/engine"
	"github.com/tokenpatch/tokenpatch/internal/httpsend"
	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
	"github.com/tokenpatch/tokenpatch/internal/redact"
)

// service is one of the two APIs: what its endpoints share.
type service struct {
	api    string        // "V1" or "V2"
	field  string        // name of the credential's setting, for the error of a call without one
	base   *url.URL      // without a slash at its end
	reads  http.Header   // of requests without a body; the credential aside
	writes http.Header   // of requests with one
	engine engine.Engine // its Credential is nil if none is configured
	events events

	expired atomic.Pointer[time.Time] // when the V1 key that was refused last expired; nil if it has not
}

// endpoint is a documented call of an API.
type endpoint struct {
	method string
	route  string // template of its path
	path   string // the part of it in front of an id
	limit  string // name of its rate limit
}

func newEndpoint(method, route string) *endpoint {
	path, _, _ := strings.Cut(route, "{")
	return &endpoint{method: method, route: route, path: path, limit: method + " " + route}
}

// reads reports whether a call of the endpoint changes nothing.
func (e *endpoint) reads() bool { return e.method == http.MethodGet }

// url makes every URL. The id is escaped, so it can change neither the path nor the host.
func (s *service) url(e *endpoint, id string) url.URL {
	u := *s.base
	escaped := url.PathEscape(id)
	if escaped != id || u.RawPath != "" {
		u.RawPath = u.EscapedPath() + e.path + escaped
	}
	u.Path += e.path + id
	return u
}

// request is what an endpoint asks for.
type request struct {
	endpoint *endpoint
	token    string // id; empty if the endpoint has none
	query    string // of the URL
	body     []byte
	result   success

	replay  Replay // what sending the request again can do after it may have been applied
	guarded bool   // whether a 422 may come from a guard of the patch
	noGrace bool   // whether attempts end with the context: the context has the grace already
}

// success reads a response with a status 2xx. It reports what happened to the change, and how the response deviates from the
// API's documentation.
type success interface {
	read(r *httpsend.Result) (Outcome, error)
}

// send makes a call. It returns nil if the server accepted the request with the documented
// response. Any other error has an outcome.
func (s *service) send(ctx context.Context, r request) error {
	if ctx == nil {
		return &InputError{Field: "ctx", Value: "nil", Want: "a context"}
	}
	if s.engine.Credential == nil {
		return &InputError{Field: s.field, Value: "not set", Want: "a credential for this service"}
	}
	c := &call{service: s, request: r, url: s.url(r.endpoint, r.token)}
	c.url.RawQuery = r.query
	header := s.writes
	if r.endpoint.reads() {
		header = s.reads
	}
	c.sent = engine.Request{
		Method: r.endpoint.method, URL: &c.url, Header: header, Body: r.body, Route: r.endpoint.limit,
		Rules: c, NoGrace: r.noGrace, Secrets: s.engine.Known.Secrets(),
	}
	if s.events.observe() {
		c.sent.Observer = &c.observer
		c.observer.call = c
	}
	began := time.Now()
	ctx = s.events.callStart(ctx, c)
	result := s.engine.Do(ctx, &c.sent)
	err := c.err(&result)
	s.events.callEnd(ctx, c, &result, time.Since(began), err)
	return err
}

// call is one call of an endpoint.
type call struct {
	service  *service
	request  request
	url      url.URL
	sent     engine.Request
	observer observer
	shown    shown
}

// Read is what the engine asks about a response with a status 2xx.
func (c *call) Read(r *httpsend.Result) (engine.Effect, error) {
	outcome, err := c.request.result.read(r)
	return engine.Effect(outcome), err
}

// Replayable is what the engine asks before it sends again what may have been applied.
func (c *call) Replayable() bool { return c.request.replay != ReplayUnsafe }

// shown is the token's id as hooks and errors show it, with secrets redacted: an id can be a credential by mistake. It is kept,
// since redacting takes time.
type shown struct {
	token   string
	secrets *redact.Secrets
}

// info describes the call.
func (c *call) info() CallInfo {
	if c.shown.token == "" || c.shown.secrets != c.sent.Secrets {
		c.shown = shown{c.sent.Secrets.Clean(c.request.token), c.sent.Secrets}
	}
	return c.service.info(c.request.endpoint, c.shown.token)
}

// info describes a call of an endpoint.
func (s *service) info(e *endpoint, token string) CallInfo {
	return CallInfo{API: s.api, Host: s.base.Host, Method: e.method, Route: e.route, TokenID: token}
}

// err is the error of the whole call.
func (c *call) err(r *engine.Result) error {
	if r.Effect == engine.Applied {
		return c.undocumented(r)
	}
	cause := c.cause(r)
	switch {
	case r.Unknown:
		return &OutcomeUnknownError{CallInfo: c.info(), Attempts: r.Attempts, Err: cause, hint: c.hint(r.Status)}
	case errors.As(cause, new(*APIError)):
		return cause
	case c.request.endpoint.reads():
		return &ReadError{CallInfo: c.info(), Attempts: r.Attempts, Err: cause}
	default:
		return &NotSentError{CallInfo: c.info(), Attempts: r.Attempts, Err: cause}
	}
}

// cause is the error of the latest attempt, and why there was no other one.
func (c *call) cause(r *engine.Result) error {
	base := APIError{CallInfo: c.info(), Attempts: r.Attempts, Err: r.Err}
	if r.Stopped != nil {
		base.Err = after(r.Err, r.Stopped)
	}
	switch {
	case r.Status != 0:
		if base.Err == nil {
			base.Err = r.Invalid
		}
		return c.service.responseError(base, newRefusal(&r.Result, c.sent.Secrets), c.request.guarded)
	case errors.As(r.Stopped, new(*ratelimit.ClosedError)):
		base.StatusCode, base.Code = http.StatusTooManyRequests, statusName(http.StatusTooManyRequests)
		base.Message = "request not sent"
		return c.service.rateLimited(base)
	default:
		return base.Err
	}
}

// after is err behind what came before it, unless before includes err. errors.Join would put it on
// a line of its own.
func after(before, err error) error {
	switch {
	case before == nil:
		return err
	case errors.Is(before, err):
		return before
	default:
		return fmt.Errorf("%w; %w", before, err)
	}
}

// hint is the probable outcome of a change whose outcome is unknown: an applied guarded patch fails
// when it is sent again.
func (c *call) hint(status int) string {
	if status == http.StatusUnprocessableEntity && c.request.replay == ReplayGuarded {
		return ", probably applied by an earlier attempt"
	}
	return ""
}

// undocumented is the error of a change that was accepted with an undocumented response. It is nil
// if the response is as documented.
func (c *call) undocumented(r *engine.Result) error {
	if r.Invalid == nil {
		return nil
	}
	return &APIError{
		CallInfo: c.info(), StatusCode: r.Status, Code: statusName(r.Status),
		Message:  "the change was applied, but the response is not as documented",
		Attempts: r.Attempts, Err: r.Invalid,
	}
}
