package ratelimit

import "time"

// instant is a time on the clock that a state is kept by, as the time since
// that clock's zero. A program alone uses its monotonic clock; programs that
// share a state use the clock of its store.
type instant = time.Duration

// serverClock bounds how far the server's clock is ahead of ours.
//
// A response says two things of it. By its Date, which is cut to whole seconds,
// the server's clock stood at that second when the request was handled, which
// was after it was sent and before the response was received. By its reset, it
// stood within the window that ends then. Many of both, at different moments,
// bound the difference ever closer. Only what the server itself said is compared:
// it makes no difference what either clock is set to.
type serverClock struct {
	known     bool
	low, high time.Duration // of the server's clock less ours
	updated   instant
}

// drift is how much clocks may drift apart, as a part of the time that passes.
const drift = 10_000

// bound takes in what one response says. A clock that was set contradicts what
// was known, and is believed.
func (c *serverClock) bound(low, high time.Duration, now instant) {
	if c.known {
		slack := max(now-c.updated, 0) / drift
		c.low, c.high = max(c.low-slack, low), min(c.high+slack, high)
	}
	if !c.known || c.low > c.high {
		c.low, c.high = low, max(low, high)
	}
	c.known, c.updated = true, now
}

// observeDate takes in a Date header.
func (c *serverClock) observeDate(date time.Duration, sent, received instant) {
	c.bound(date-received, date+time.Second-sent, received)
}

// observeReset takes in that a request was handled within the window of this
// length that ends at reset.
func (c *serverClock) observeReset(reset, length time.Duration, sent, received instant) {
	c.bound(reset-length-received, reset-sent, received)
}

// reaches is when the server's clock will certainly have reached a time of its own.
func (c *serverClock) reaches(t time.Duration) instant { return t - c.low }

// mayReach is when the server's clock may reach a time of its own at the earliest.
func (c *serverClock) mayReach(t time.Duration) instant { return t - c.high }

// isVague reports whether the response to an attempt took too long to say more
// of the server's clock than is known.
func (s *state) isVague(a attempt) bool { return s.clock.known && a.overdue(&s.generations) }
