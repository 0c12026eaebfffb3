package tokenpatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// call is one call of an endpoint, from its first attempt to its last.
//
// It is the transport of the http.Client that its retryablehttp.Client uses:
// each attempt passes through [call.RoundTrip], which leaves what it met in
// last, and retryablehttp then asks [call.checkRetry] what to do about it. No
// state travels in the context, and nothing is shared between calls but the
// service.
type call struct {
	service *service
	url     *url.URL
	body    []byte           // of every attempt
	path    string           // of the URL, escaped, for errors and events
	replay  Replay           // whether the request may be sent again
	permit  ratelimit.Permit // of one attempt after the other

	sent     int  // attempts begun
	failures int  // attempts that ended badly, answers 429 aside
	refusals int  // answers 429
	doubt    bool // whether an attempt has ended in a way that proves nothing
	pause    time.Duration
	last     *attempt // not nil once there was one
	refused  *attempt // the latest that was answered 429

	attempts http.Client
	retries  retryablehttp.Client
}

// attempt is one attempt of a call, and how it ended.
type attempt struct {
	admitted time.Time // when the limiter let it go
	sending  progress  // how far net/http came with it

	secret      string // its credential, which must not come out
	took        time.Duration
	status      int // 0 where there was no answer
	location    string
	contentType string
	body        []byte
	err         error   // why there was no answer, or why its body could not be read whole
	outcome     Outcome // what the attempt alone says of the change
	final       bool    // that no other attempt may follow
}

// send makes a request, as often as may be and needs be, and returns the last
// attempt where the server accepted it. Anything else is an error that says
// what became of the change.
func (s *service) send(ctx context.Context, id string, body []byte, replay Replay) (*call, error) {
	if ctx == nil {
		return nil, &InputError{Field: "ctx", Value: "nil", Want: "a context"}
	}
	if s.credential == nil {
		return nil, &InputError{Field: s.field, Value: "not set", Want: "a credential for the service that is called"}
	}
	target := s.url(id)
	c := &call{service: s, url: target, body: body, path: target.EscapedPath(), replay: replay}
	// A redirect would carry the credential away, or turn the PATCH into a GET.
	c.attempts = http.Client{Transport: c, CheckRedirect: stopAtRedirect}
	// Every hook is set: what is left out here falls back to defaults that log
	// to stderr, sleep as long as a server likes, or throw the answer away.
	c.retries.HTTPClient = &c.attempts
	c.retries.Logger = nil
	c.retries.RequestLogHook = nil
	c.retries.ResponseLogHook = nil
	c.retries.PrepareRetry = nil
	c.retries.RetryMax = math.MaxInt // checkRetry counts
	c.retries.CheckRetry = c.checkRetry
	c.retries.Backoff = c.backoff
	c.retries.ErrorHandler = retryablehttp.PassthroughErrorHandler
	// RoundTrip makes the requests; this one only says that there is one.
	request := http.Request{Method: http.MethodPatch, URL: target, Header: noHeader}
	_, err := c.retries.Do(&retryablehttp.Request{Request: request.WithContext(ctx)})
	return c, c.end(err, ctx.Err())
}

var noHeader = http.Header{} // never written: http.Client copies what it changes

func stopAtRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// RoundTrip makes one attempt. The answer that it returns has no body: what
// could be read of it is in last.
func (c *call) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, began := request.Context(), time.Now()
	a := &attempt{outcome: OutcomeNotApplied, final: true}
	c.last = a
	reason, err := c.service.limiter.Wait(ctx, c.service.route, &c.permit)
	a.admitted = time.Now()
	waited := a.admitted.Sub(began)
	if err != nil {
		a.err = err
		c.wait(ctx, WaitReason(reason), waited)
		return nil, err
	}
	response, err := c.settle(ctx)
	// Hooks come last: one that blocks must not keep a place from the others.
	c.wait(ctx, WaitReason(reason), waited)
	c.tell(ctx)
	return response, err
}

// settle makes an attempt, and sees to it that its place is settled after it,
// whatever a transport does.
func (c *call) settle(ctx context.Context) (*http.Response, error) {
	defer c.permit.Abandon()
	response, err := c.attempt(ctx)
	c.last.took = time.Since(c.last.admitted)
	c.doubt = c.doubt || c.last.outcome == OutcomeUnknown
	return response, err
}

// tell passes on how an attempt ended that was sent, or tried to be.
func (c *call) tell(ctx context.Context) {
	a := c.last
	if a.final {
		return
	}
	c.service.events.attempt(ctx, AttemptInfo{
		Service: c.service.name, Method: http.MethodPatch, Path: c.path, Number: c.sent, Status: a.status,
		Outcome: a.outcome, Duration: a.took, Err: a.err,
	})
}

// wait passes on what a call waited for, if it did.
func (c *call) wait(ctx context.Context, reason WaitReason, duration time.Duration) {
	if reason == "" {
		return
	}
	c.service.events.wait(ctx, WaitInfo{
		Service: c.service.name, Method: http.MethodPatch, Path: c.path, Reason: reason, Duration: duration,
	})
}

// attempt sends the request once, under the timeout of one attempt, and reads
// what comes back.
func (c *call) attempt(caller context.Context) (*http.Response, error) {
	s, a := c.service, c.last
	ctx, cancel := context.WithTimeout(caller, s.timeout)
	defer cancel()
	authorization, err := s.credential(ctx)
	if err != nil {
		c.permit.Cancel()
		a.err, c.refused = err, nil
		return nil, err
	}
	a.secret = secretOf(authorization)
	c.sent++
	a.final = false
	a.outcome = OutcomeUnknown // until something proves otherwise, a panic included
	a.sending.cancel = cancel
	response, err := roundTrip(s.http.Transport, c.request(ctx, authorization))
	if err != nil {
		if a.sending.provesNothingSent(err) {
			a.outcome = OutcomeNotApplied
			c.permit.Cancel()
		}
		a.err = cleanError(c.explain(err, caller), a.secret)
	} else {
		c.permit.Observe(response.StatusCode, response.Header)
		a.outcome = statusOutcome(response.StatusCode)
		a.read(response, s.maxBody)
	}
	return response, err
}

// request is the request of one attempt.
func (c *call) request(ctx context.Context, authorization string) *http.Request {
	header := maps.Clone(c.service.header)
	header["Authorization"] = []string{authorization}
	request := http.Request{
		Method: http.MethodPatch, URL: c.url, Host: c.url.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body:          io.NopCloser(bytes.NewReader(c.body)),
		ContentLength: int64(len(c.body)),
		GetBody:       c.last.sending.getBody,
	}
	return request.WithContext(httptrace.WithClientTrace(ctx, c.last.sending.trace()))
}

// explain says why an attempt's context ended, where that is not the caller's
// doing.
func (c *call) explain(err error, caller context.Context) error {
	switch {
	case c.last.sending.replayRefused():
		return errReplay
	case caller.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within the %v of one attempt: %w", c.service.timeout, err)
	default:
		return err
	}
}

// roundTrip returns an answer with a status, or an error. net/http itself
// lets a server answer with the status 000.
func roundTrip(transport http.RoundTripper, request *http.Request) (*http.Response, error) {
	response, err := transport.RoundTrip(request)
	switch {
	case err != nil:
		return nil, err
	case response == nil:
		return nil, errors.New("the transport returned neither an answer nor an error")
	case response.StatusCode < 100:
		if response.Body != nil {
			_ = response.Body.Close()
		}
		return nil, fmt.Errorf("an answer with the status %d, which is none", response.StatusCode)
	}
	return response, nil
}

// read keeps what can be known of an answer, and empties its body so that the
// connection can be used again. Servers echo what they were sent; the
// credential is taken out of whatever may end up in an error.
func (a *attempt) read(response *http.Response, limit int64) {
	clean := redact
	a.status = response.StatusCode
	a.body, a.err = readBody(response, limit)
	response.Body = http.NoBody
	if a.err != nil {
		a.err = cleanError(a.err, a.secret)
		clean = redactCut
	}
	if a.outcome != OutcomeApplied {
		a.body = []byte(clean(string(a.body), a.secret))
		a.location = redact(response.Header.Get("Location"), a.secret)
		a.contentType = redact(response.Header.Get("Content-Type"), a.secret)
	}
}

// maxTrusted is how many bytes make room for themselves by a Content-Length
// alone, which can lie.
const maxTrusted = 64 << 10

// readBody reads up to limit bytes. A body that is longer is an error, with as
// much of it as was read.
func readBody(response *http.Response, limit int64) ([]byte, error) {
	if response.Body == nil || response.Body == http.NoBody {
		return nil, nil
	}
	defer response.Body.Close()
	var b bytes.Buffer
	if n := min(response.ContentLength, limit, maxTrusted); n > 0 {
		b.Grow(int(n) + bytes.MinRead) // MinRead lets ReadFrom find the end without growing
	}
	_, err := b.ReadFrom(io.LimitReader(response.Body, limit+1))
	if int64(b.Len()) > limit {
		return b.Bytes()[:limit], fmt.Errorf("the answer is longer than the %d bytes that are read", limit)
	}
	if err != nil {
		err = fmt.Errorf("the answer broke off after %d bytes: %w", b.Len(), err)
	}
	return b.Bytes(), err
}

// checkRetry tells retryablehttp whether to make another attempt, and leaves
// in pause how long to wait before it.
func (c *call) checkRetry(ctx context.Context, _ *http.Response, _ error) (bool, error) {
	c.pause = 0
	if c.last.final || !c.mayPass() {
		return false, nil
	}
	if ended := ctx.Err(); ended != nil {
		c.last.err = after(c.last.err, ended)
		return false, nil
	}
	if c.last.status == http.StatusTooManyRequests {
		c.refusals++ // the gate waits, not the backoff
		c.refused = c.last
		return c.refusals < maxRefusals, nil
	}
	c.failures++
	if c.failures >= c.service.retry.MaxAttempts {
		return false, nil
	}
	c.pause = c.service.retry.backoff(c.failures, rand.Float64())
	if endsBefore(ctx, time.Now().Add(c.pause)) {
		c.last.err = after(c.last.err, errNoTime)
		return false, nil
	}
	c.wait(ctx, WaitBackoff, c.pause)
	return true, nil
}

// errNoTime is why a call ends before its context: the wait for another
// attempt would outlast it.
var errNoTime = fmt.Errorf("no time is left for another attempt: %w", context.DeadlineExceeded)

// after is err behind what came before it, unless that says as much. errors.Join
// would put it on a line of its own.
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

// mayPass reports whether the last attempt failed in a way that another one
// may not, and whether the request may be sent again after it.
func (c *call) mayPass() bool {
	switch {
	case c.last.status == 0 && c.last.outcome == OutcomeNotApplied:
		return true
	case c.last.status == http.StatusTooManyRequests:
		return true
	case c.last.status == 0 || statusMayPass(c.last.status):
		return c.replay != ReplayUnsafe
	default:
		return c.last.status == http.StatusConflict && c.service.retryConflict
	}
}

func (c *call) backoff(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return c.pause }

// end is the error of the whole call: nil where the server accepted it. What
// retryablehttp returns says nothing that last does not, unless the context
// ended during a backoff: then it is the context's own error.
func (c *call) end(err, ended error) error {
	a := c.last
	if a.outcome == OutcomeApplied {
		return nil
	}
	if ended != nil && err == ended {
		a.err = after(a.err, ended)
	}
	cause := a.err
	switch {
	case a.status != 0:
		cause = c.service.answerError(c.base(), a)
	case a.final && c.refused != nil || errors.As(cause, new(*ratelimit.ClosedError)):
		cause = c.turnedAway()
	}
	switch {
	case c.doubt:
		return &OutcomeUnknownError{Method: http.MethodPatch, Path: c.path, Attempts: c.sent, Err: cause, hint: c.hint()}
	case errors.As(cause, new(*APIError)):
		return cause
	default:
		return &NotSentError{Method: http.MethodPatch, Path: c.path, Attempts: c.sent, Err: cause}
	}
}

// hint says what probably became of a change whose outcome is not known. A
// guarded patch that was applied fails when it is sent again.
func (c *call) hint() string {
	if c.replay == ReplayGuarded && c.last.status == http.StatusUnprocessableEntity {
		return " (an earlier one probably applied it)"
	}
	return ""
}

// turnedAway is the error of a call that the rate limit kept from being sent
// (again). A 429 that came before tells more than the gate can.
func (c *call) turnedAway() error {
	base := c.base()
	base.StatusCode = http.StatusTooManyRequests
	if c.refused != nil {
		return c.service.answerError(base, c.refused)
	}
	base.Code, base.Message = statusName(base.StatusCode), "refused before anything was sent"
	return c.service.rateLimited(base)
}

// base is what every error about an answer to this call begins with.
func (c *call) base() APIError {
	return APIError{
		StatusCode: c.last.status, Method: http.MethodPatch, Path: c.path, Attempts: c.sent, Err: c.last.err,
	}
}

// unreadable is the error of a change that the server accepted with an answer
// that is not what its endpoint documents.
func (c *call) unreadable(err error) error {
	base := c.base()
	base.Code = statusName(base.StatusCode)
	base.Message = "the change was applied, but its answer could not be read"
	base.Err = cleanError(err, c.last.secret)
	return &base
}
