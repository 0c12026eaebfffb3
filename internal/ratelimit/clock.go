package ratelimit

import (
	"math"
	"time"
)

// instant is a time on this machine's monotonic clock, counted from the limiter's epoch.
type instant = time.Duration

// clock is a lower bound of how far the server's clock is ahead of ours. A window is over for certain once the server's
// clock has reached its reset by that bound.
//
// A response whose window ends at reset was handled within a window's length of it, and not before the Date that it
// carries. Date is cut to whole seconds, and a gateway may write it by a clock of its own, so it is ignored from the first
// response that contradicts it.
type clock struct {
	byReset, byDate time.Duration
	dateWrong       bool
	updated         instant
}

const (
	unknownClock = math.MinInt64 / 4

	// drift is how much two clocks may drift apart, as a part of the time that passes.
	drift = 10_000
)

func newClock() clock { return clock{byReset: unknownClock, byDate: unknownClock} }

// observe updates the bound by a response to a request that was sent in the window of this length that ends at reset.
func (c *clock) observe(reset, length, date time.Duration, sent, received instant) {
	before := reset - sent // the server's clock had not reached reset when the request was sent
	dated := date > 0 && date < reset && reset < date+length+time.Second
	if c.byDate >= before || dated && date-received >= before {
		c.byDate, c.dateWrong = unknownClock, true
	}
	if c.byReset >= before {
		c.byReset = unknownClock
	}
	slack := (received - c.updated) / drift
	c.updated = received
	c.byReset = max(c.byReset-slack, reset-length-received)
	c.byDate -= slack
	if dated && !c.dateWrong {
		c.byDate = max(c.byDate, date-received)
	}
}

// reaches returns when the server's clock has certainly reached a time of its own.
func (c *clock) reaches(t time.Duration) instant { return t - max(c.byReset, c.byDate) }
