package ratelimit

import (
	"math"
	"time"
)

// instant is a time on this machine's monotonic clock, counted from the limiter's epoch.
type instant = time.Duration

// clock is a lower bound of how far the server's clock is ahead of ours: a window is over for certain once the server's
// clock has reached its reset by that bound. A response was handled within a window's length of its reset, and not before
// its Date. Date has whole seconds, and a gateway may write it by a clock of its own, so it is ignored from the first
// response on that contradicts it.
type clock struct {
	byReset, byDate time.Duration
	dateWrong       bool
	updated         instant
}

const (
	unknownClock = math.MinInt64 / 4
	drift        = 10_000 // two clocks drift apart by at most this part of the time that passes
)

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
