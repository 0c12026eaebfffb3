package engine

import (
	"context"
	"net/http"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// limit waits for a permit of the rate limit before each attempt, and returns an unused one.
type limit struct {
	*call
	next http.RoundTripper
}

func (l *limit) RoundTrip(r *http.Request) (*http.Response, error) {
	l.due = false
	l.endWait(r.Context()) // the backoff
	if !l.admitted {
		if l.Stopped = l.admit(r.Context()); l.Stopped != nil {
			return nil, l.Stopped
		}
	}
	l.admitted = false
	response, err := l.next.RoundTrip(r)
	if l.Stopped != nil || l.NotSent {
		l.permit.Cancel()
	} else {
		l.permit.Abandon() // unless a response has settled it
	}
	return response, err
}

// admit waits for a permit. It returns the context's error, or a [*ratelimit.ClosedError], if there is none to be had.
func (c *call) admit(ctx context.Context) error {
	if c.request.Observer != nil && c.permit.Waiting == nil {
		c.permit.Waiting = func(reason ratelimit.Reason) { c.startWait(ctx, reason, 0) }
	}
	reason, err := c.engine.Limiter.Wait(ctx, c.request.Route, &c.permit)
	c.admitted = err == nil
	if reason != "" {
		c.wait.reason = reason // the first in rank
	}
	c.endWait(ctx)
	return err
}
