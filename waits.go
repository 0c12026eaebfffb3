package tokenpatch

import (
	"context"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// wait is a wait of a call that is reported to hooks or to the logger; zero where
// there is none.
type wait struct {
	reason WaitReason
	began  time.Time
}

// admit waits for a permit of the rate limit. Where there is none to be had it
// returns the context's error, or a [*ratelimit.ClosedError].
func (c *call) admit(ctx context.Context) error {
	if c.permit.Waiting == nil && c.service.events.watchWaits() {
		c.permit.Waiting = func(reason ratelimit.Reason) { c.startWait(ctx, WaitReason(reason), 0) }
	}
	reason, err := c.service.limiter.Wait(ctx, c.request.endpoint.limit, &c.permit)
	c.permitted = err == nil
	if reason != "" {
		c.wait.reason = WaitReason(reason)
	}
	c.endWait(ctx)
	return err
}

// startWait reports that the call waits from now on, and for how long; 0 where that
// is not known.
func (c *call) startWait(ctx context.Context, reason WaitReason, duration time.Duration) {
	if !c.service.events.watchWaits() {
		return
	}
	c.wait = wait{reason: reason, began: time.Now()}
	c.service.events.waitStart(ctx, WaitInfo{CallInfo: c.info(), Reason: reason, Duration: duration})
}

// endWait reports that the wait is over, if there is one.
func (c *call) endWait(ctx context.Context) {
	if c.wait.began.IsZero() {
		return
	}
	over := WaitInfo{CallInfo: c.info(), Reason: c.wait.reason, Duration: time.Since(c.wait.began)}
	c.wait = wait{}
	c.waited += over.Duration
	c.service.events.waitEnd(ctx, over)
}
