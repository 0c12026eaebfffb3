package engine

import (
	"context"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// Reason is why a call waits: one of the reasons of package ratelimit, or Backoff.
type Reason = ratelimit.Reason

// Backoff is the reason for a pause between two attempts.
const Backoff Reason = "backoff"

// wait is the current wait; zero if there is none.
type wait struct {
	reason Reason
	began  time.Time
}

// startWait reports the beginning of a wait and its length; 0 if unknown. Every wait begins here.
func (c *call) startWait(ctx context.Context, reason Reason, length time.Duration) {
	if c.request.Observer == nil {
		return
	}
	c.wait = wait{reason, time.Now()}
	c.request.Observer.WaitStart(ctx, reason, length)
}

// endWait reports the end of the wait, if there is one. Every wait ends here.
func (c *call) endWait(ctx context.Context) {
	if c.wait.began.IsZero() {
		return
	}
	w := c.wait
	c.wait = wait{}
	took := time.Since(w.began)
	c.Waited += took
	c.request.Observer.WaitEnd(ctx, w.reason, took)
}
