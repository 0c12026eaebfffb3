package tokenpatch

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
)

// attempt makes one attempt, as soon as the rate limit admits it.
func (c *call) attempt(ctx context.Context) {
	c.endWait(ctx)
	if !c.permitted {
		c.stopped = c.admit(ctx)
	}
	if c.stopped == nil {
		c.permitted = false
		c.stopped = c.authorize(ctx)
	}
	switch {
	case c.stopped != nil:
		c.permit.Cancel()
	case c.service.events.watchAttempts():
		c.sendWatched(ctx)
	default:
		c.send(ctx, c.service.header(c.request.endpoint))
	}
}

// authorize sees to it that there is a credential for the next attempt.
func (c *call) authorize(ctx context.Context) (err error) {
	if c.renewed != "" {
		c.credential, c.renewed = c.renewed, ""
		return nil
	}
	c.credential, err = c.askForCredential(ctx)
	return err
}

func (c *call) askForCredential(ctx context.Context) (string, error) {
	authorization, err := c.service.credential(ctx)
	c.secrets = c.service.withCredential(c.secrets, authorization)
	return authorization, err
}

// sendWatched sends the request with what a hook adds to it, and reports the attempt
// to hooks and logger.
func (c *call) sendWatched(ctx context.Context) {
	events := &c.service.events
	info := AttemptInfo{CallInfo: c.info(), Number: c.attempts + 1, URL: c.secrets.Clean(c.url.String())}
	header := c.service.header(c.request.endpoint)
	if events.hooks.AttemptStart != nil {
		header = header.Clone()
		delete(header, "Authorization") // a hook must not see it
		info.Header = header
		ctx = events.attemptStart(ctx, &info)
		delete(header, "Authorization") // nor set it
	}
	began := time.Now()
	c.send(ctx, header)
	result := AttemptResult{
		AttemptInfo: info, Status: c.last.Status, Outcome: c.outcome, Duration: time.Since(began), Err: c.last.Err,
	}
	if events.hooks.AttemptEnd != nil {
		result.RateLimit = c.service.rateLimit()
	}
	events.attemptEnd(ctx, result)
}

// send sends the request once, and settles its permit and its outcome.
func (c *call) send(ctx context.Context, header http.Header) {
	c.attempts++
	c.permit.Use(c.credential)
	c.last = c.service.sender.Send(ctx, &httpsend.Request{
		Method: c.request.endpoint.method, URL: &c.url, Header: header, Authorization: c.credential, Body: c.request.body,
		Secrets: c.secrets, Observer: &c.permit,
	})
	if c.last.NotSent {
		c.permit.Cancel()
	} else {
		c.permit.Abandon() // unless a response has settled it
	}
	c.outcome, c.invalid = c.judge()
	c.unknown = c.unknown || c.outcome == OutcomeUnknown
}

// judge says what the latest attempt alone says of the change and, of a success,
// in which way it is not what the API documents.
func (c *call) judge() (Outcome, error) {
	if !isSuccess(c.last.Status) {
		return c.request.endpoint.outcome(ruleOf(&c.last).outcome), nil
	}
	outcome, invalid := c.request.result.read(&c.last)
	if invalid != nil {
		invalid = c.secrets.CleanError(invalid)
	}
	return outcome, invalid
}

// again reports whether there is to be another attempt, and leaves in pause how
// long to wait before it.
func (c *call) again(ctx context.Context) bool {
	c.pause = 0
	if c.stopped != nil || c.outcome == OutcomeApplied {
		return false
	}
	rule := ruleOf(&c.last)
	if !c.allows(ctx, rule.retry) {
		return false
	}
	if c.stopped = ctx.Err(); c.stopped != nil {
		return false
	}
	switch rule.retry {
	case retryAdmitted: // the rate limit waits, not the backoff
		c.refusals++
		return c.refusals < maxRefusals
	case retryRenewed:
		return true
	}
	c.failures++
	return c.failures < c.service.retry.MaxAttempts && c.backOff(ctx)
}

// allows reports whether this call may be tried again under a rule.
func (c *call) allows(ctx context.Context, r retry) bool {
	switch r {
	case retryReplayed:
		return c.request.replay() != ReplayUnsafe
	case retryConflict:
		return c.service.retriesConflicts
	case retryOnce:
		return !c.service.hostRetried.Swap(true)
	case retryRenewed:
		return c.renew(ctx)
	default:
		return r != retryNever
	}
}

// renew reports whether there is another credential than the one that a server
// has just refused. It is asked for once in a call.
func (c *call) renew(ctx context.Context) bool {
	if c.hasRenewed {
		return false
	}
	c.hasRenewed = true
	authorization, err := c.askForCredential(ctx)
	if err != nil || authorization == c.credential {
		return false
	}
	c.renewed = authorization
	return true
}

// backOff sets the pause before another attempt, where the context leaves time
// for it.
func (c *call) backOff(ctx context.Context) bool {
	c.pause = c.service.retry.backoff(c.failures, rand.Float64())
	if endsBefore(ctx, time.Now().Add(c.pause)) {
		c.stopped = errNoTime
		return false
	}
	c.startWait(ctx, WaitBackoff, c.pause)
	return true
}
