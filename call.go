package tokenpatch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
	"github.com/tokenpatch/tokenpatch/internal/redact"
)

// request is what an endpoint asks for.
type request struct {
	endpoint *endpoint
	token    string // id; empty where the endpoint has none
	query    string // of the URL
	body     []byte
	result   success

	// replay says whether the request may be sent again after it may have been
	// applied. It is asked only once that matters.
	replay  func() Replay
	guarded bool // whether a 422 may mean that a guard of the patch held
}

// success reads a response with a status 2xx. It says what became of the
// change, and in which way the response is not what the API documents.
type success interface {
	read(r *httpsend.Result) (Outcome, error)
}

// call is one call of an endpoint, from its first attempt to its last.
type call struct {
	service *service
	request request
	url     url.URL
	began   time.Time // zero where no hook uses it

	permit    ratelimit.Permit // of one attempt after the other
	permitted bool             // whether it is for an attempt that has not begun
	pause     time.Duration    // before the next attempt, once the rate limit admits it
	wait      wait
	waited    time.Duration // in all

	credential string          // Authorization of the latest attempt
	renewed    string          // Authorization of the next one, where a function supplied another credential after a 401
	hasRenewed bool            // whether it was asked for another one
	secrets    *redact.Secrets // that must not come out
	shown      shown

	attempts int             // that were made
	failures int             // those of them that ended badly, refusals aside
	refusals int             // responses with status 429
	unknown  bool            // whether the outcome of an attempt was unknown
	last     httpsend.Result // of the latest attempt
	outcome  Outcome         // of the latest attempt alone
	invalid  error           // in which way a success is not as the API documents it
	stopped  error           // why there was no further attempt, where one was due
}

// send makes a call: as many attempts as it needs and may make. It returns nil
// where the server accepted the request with the response that the API
// documents. Any other error says what became of the change.
func (s *service) send(ctx context.Context, r request) error {
	if ctx == nil {
		return &InputError{Field: "ctx", Value: "nil", Want: "a context"}
	}
	if s.credential == nil {
		return &InputError{Field: s.field, Value: "not set", Want: "a credential for the service that is called"}
	}
	c := &call{service: s, request: r, url: s.url(r.endpoint, r.token), secrets: s.known.Load(), outcome: OutcomeNotApplied}
	c.url.RawQuery = r.query
	ctx = c.start(ctx)
	// A panic of a hook or of a transport must not keep the permit.
	defer c.permit.Abandon()
	// Whoever waits here, before anything else is made, holds little memory.
	if c.stopped = c.admit(ctx); c.stopped == nil {
		c.run(ctx)
	}
	err := c.err()
	c.end(ctx, err)
	return err
}

func (c *call) start(ctx context.Context) context.Context {
	events := &c.service.events
	if events.hooks.CallStart == nil && events.hooks.CallEnd == nil {
		return ctx
	}
	c.began = time.Now()
	return events.callStart(ctx, c.info())
}

func (c *call) end(ctx context.Context, err error) {
	if c.service.events.hooks.CallEnd == nil {
		return
	}
	c.service.events.callEnd(ctx, CallResult{
		CallInfo: c.info(), Outcome: OutcomeOf(err), Attempts: c.attempts,
		Duration: time.Since(c.began), Waited: c.waited, Err: err,
	})
}

// err is the error of the whole call.
func (c *call) err() error {
	switch {
	case c.outcome == OutcomeApplied && c.invalid == nil:
		return nil
	case c.outcome == OutcomeApplied:
		return c.undocumented()
	}
	cause := c.cause()
	switch {
	case c.unknown:
		return &OutcomeUnknownError{CallInfo: c.info(), Attempts: c.attempts, Err: cause, hint: c.hint()}
	case errors.As(cause, new(*APIError)):
		return cause
	case c.request.endpoint.reads():
		return &ReadError{CallInfo: c.info(), Attempts: c.attempts, Err: cause}
	default:
		return &NotSentError{CallInfo: c.info(), Attempts: c.attempts, Err: cause}
	}
}

// cause is the error that the latest attempt ended with, and why there was no
// other one.
func (c *call) cause() error {
	base := APIError{CallInfo: c.info(), Attempts: c.attempts, Err: c.last.Err}
	if c.stopped != nil {
		base.Err = after(c.last.Err, c.stopped)
	}
	switch {
	case c.last.Status != 0:
		if base.Err == nil {
			base.Err = c.invalid
		}
		return c.service.responseError(base, newRefusal(&c.last, c.secrets), c.request.guarded)
	case errors.As(c.stopped, new(*ratelimit.ClosedError)):
		base.StatusCode, base.Code = http.StatusTooManyRequests, statusName(http.StatusTooManyRequests)
		base.Message = "request not sent"
		return c.service.rateLimited(base)
	default:
		return base.Err
	}
}

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

// hint says what probably became of a change whose outcome is unknown. A guarded
// patch that was applied fails when it is sent again.
func (c *call) hint() string {
	if c.last.Status == http.StatusUnprocessableEntity && c.request.replay() == ReplayGuarded {
		return ", probably applied by an earlier attempt"
	}
	return ""
}

// undocumented is the error of a change that the server accepted with a response
// that is not as its API documents it.
func (c *call) undocumented() error {
	return &APIError{
		CallInfo: c.info(), StatusCode: c.last.Status, Code: statusName(c.last.Status),
		Message:  "the change was applied, but the response is not as documented",
		Attempts: c.attempts, Err: c.secrets.CleanError(c.invalid),
	}
}
