package engine

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// call is one call, from its first permit to its last attempt. The layers of its chain record in it what they learn.
type call struct {
	engine  *Engine
	request *Request
	Result

	permit   ratelimit.Permit // of one attempt after the other
	admitted bool             // whether the permit is for an attempt still to begin
	wait     wait             // announced to the Observer and not over

	credential string // of the latest attempt
	renewed    bool   // whether credential is another one than the service has refused, and was not sent yet
	asked      bool   // whether another credential was asked for after a 401

	next      next          // whether the latest attempt allows another one
	failures  int           // failed attempts, except refusals by the rate limit and of a credential
	refusals  int           // responses with status 429
	pause     time.Duration // before another attempt
	hostRetry bool          // whether this call is the one to try again although the host seems wrong
	declared  time.Duration // what the server asked to wait
	due       bool          // whether another attempt is due, and has not begun
}

func newCall(e *Engine, r *Request) *call {
	c := &call{engine: e, request: r}
	c.Effect = NotApplied
	return c
}

// loop makes one attempt after the other. It is in one piece, since each call makes one.
type loop struct {
	retryablehttp.Client
	http  http.Client
	chain chain
}

// chain is what each attempt passes through, from the outside in.
type chain struct {
	limit     limit              // waits for a permit, and returns an unused one
	authorize authorize          // sets the credential, and asks for another one after a 401
	observe   observe            // counts and judges the attempt, and reports it to the Observer
	send      httpsend.Transport // sends the request, and reads the response
}

func (c *call) loop(ctx context.Context) *loop {
	l := &loop{}
	l.chain.limit = limit{c, &l.chain.authorize}
	l.chain.authorize = authorize{call: c, next: &l.chain.observe}
	l.chain.observe = observe{c, &l.chain.send}
	l.chain.send = httpsend.Transport{Sender: c.engine.Sender, Observer: &c.permit, NoGrace: c.request.NoGrace}
	l.http = http.Client{Transport: &l.chain.limit, CheckRedirect: lastResponse}
	l.HTTPClient = &l.http
	l.RetryMax = math.MaxInt // checkRetry counts
	l.CheckRetry = c.checkRetry
	l.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { return c.backoff(ctx) }
	l.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return l
}

// lastResponse keeps http.Client from following redirects.
func lastResponse(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// maxRefusals is how many 429 responses end a call. The limiter waits before each attempt, so only
// a server without any admission gets there.
const maxRefusals = 100

// checkRetry reports whether there is another attempt. It is retryablehttp's CheckRetry, and judges what the chain has recorded:
// http.Client replaces a response whose Location is no URL by an error.
func (c *call) checkRetry(ctx context.Context, _ *http.Response, _ error) (bool, error) {
	if c.Stopped == nil && c.mayRetry() {
		c.Stopped = c.lacksTime(ctx)
		c.due = c.Stopped == nil
	}
	return c.due, nil
}

// mayRetry reports whether the latest attempt and the number of attempts allow another one.
func (c *call) mayRetry() bool {
	if c.engine.Policy.MaxAttempts == 1 {
		return false // one request, whatever the response was
	}
	more := c.failures < c.engine.Policy.MaxAttempts
	switch c.next {
	case whenAdmitted:
		return c.refusals < maxRefusals
	case withCredential:
		return c.renewed
	case ifReplayable:
		return more && c.request.Rules.Replayable()
	case ifConflict:
		return more && c.engine.RetryConflicts
	case onceForHost:
		return more && c.hostRetry
	case withBackoff:
		return more
	default:
		return false
	}
}

// lacksTime returns why there is no time for another attempt, or nil.
func (c *call) lacksTime(ctx context.Context) error {
	if most := c.engine.Policy.MaxRateLimitWait; c.declared > most {
		return fmt.Errorf("the server asks to wait for %v, and at most %v is allowed", c.declared, most)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < c.pause {
		return errNoTime
	}
	return nil
}

// errNoTime is why a call ends before its context: the wait for another attempt would outlast it.
var errNoTime = fmt.Errorf("no time is left for another attempt: %w", context.DeadlineExceeded)

// backoff returns the pause before another attempt, which begins now. It is retryablehttp's Backoff.
func (c *call) backoff(ctx context.Context) time.Duration {
	if c.pause > 0 {
		c.startWait(ctx, Backoff, c.pause)
	}
	return c.pause
}

// count takes the latest attempt into account, and draws the pause before another one.
func (c *call) count() {
	c.pause, c.declared = 0, 0
	switch c.next {
	case whenAdmitted:
		c.refusals++
	case withCredential:
	case onceForHost:
		c.hostRetry = !c.engine.hostRetried.Swap(true)
		fallthrough
	default:
		c.failures++
		c.declared = ratelimit.RetryAfterOf(c.Header)
		c.pause = c.engine.Policy.Backoff(c.failures, rand.Float64())
		if c.Status != http.StatusServiceUnavailable { // to whose Retry-After the limiter holds all calls
			c.pause += c.declared // keeps callers apart after a common failure
		}
	}
}
