package ratelimit

import (
	"cmp"
	"math"
	"math/bits"
	"time"
)

// limit is what is known of one of the service's limits.
type limit struct {
	name    string
	phase   phase
	size    int           // what a window admits, as the service has said; 0 if it has not
	length  time.Duration // of a window
	onTime  bool          // whether the latest window probed on time had begun by then
	watched bool          // whether a window has been seen in which other programs would have shown
	others  float64       // requests of other programs for each one of ours, in recent windows

	// The current window. Before a response reports on it, reset is the last one's.
	reset        time.Duration
	opened, ends instant
	began        uint64 // the latest attempt admitted when it began
	whole        bool   // whether it was seen from its beginning
	first        int    // what remained at the beginning
	left         int    // what remained at the latest response
	since        uint64 // the latest attempt admitted at that time
	sent         int    // attempts it counts or may count
	counted      int    // of these, those included in first
	reports      int    // responses with what remains
	missing      int    // good responses in a row without it, while it was probed

	inFlight int
	lost     int      // attempts so far without a report of what remains
	told     int      // of these, those included in left
	granted  received // granted of a shared window
}

// phase is what is known of a limit's current window.
type phase uint8

const (
	unseen  phase = iota // no response has shown whether the limit applies: one attempt at a time asks
	absent               // it does not apply
	over                 // the last window is over: one attempt at a time probes the next one
	assumed              // the last window is over, and the next one began with what the service announces
	open                 // a response has said what remains
)

const (
	windowLength  = 10 * time.Second
	minimumLength = time.Second
	noticed       = 0.3 // others, from which on other programs are reckoned with
	mostReserved  = 8   // requests left to other programs, which race for the end of a window
	maxOthers     = 256 // of more, a server makes up most
	enoughReports = 16  // of a window show other programs, if there are any
	maxMissing    = 10  // after so many good responses without headers the limit no longer applies
)

func newLimit(name string) *limit { return &limit{name: name, length: windowLength} }

// limited reports whether it is known what the limit has left.
func (x *limit) limited() bool { return x.phase == open || x.phase == assumed }

// remaining is what the limit has left.
func (x *limit) remaining() int { return x.left - x.inFlight - (x.lost - x.told) }

// admits returns whether the limit lets one more attempt go.
func (x *limit) admits(l *ledger) verdict {
	if x.phase == absent || !x.limited() && x.inFlight == 0 {
		return verdict{}
	}
	if !x.limited() {
		return verdict{reason: Probe, until: l.overdue()}
	}
	left := x.remaining()
	if l.share < 1 {
		left = min(left, max(1, int(l.share*float64(cmp.Or(x.size, x.first+x.counted))))-x.sent)
	}
	others := max(x.others, x.othersSeen())
	if left <= 0 || others >= noticed && float64(left) < min(others+1, mostReserved) {
		return verdict{reason: RateLimit, until: x.ends, final: x.inFlight == 0}
	}
	if (others >= noticed || !x.watched) && x.inFlight >= max(1, int(float64(left)/(2*(others+1)))) {
		return verdict{reason: Turn, until: min(l.overdue(), x.ends)}
	}
	return verdict{}
}

// slowStart is how many attempts may be in flight after some good responses: twice as many per round trip, from 32 on half more.
func slowStart(good int) int { return min(1<<(bits.Len(uint(good+1))-1), max(32, (good+1)/2)) }

// othersSeen is how many requests of other programs the current window has shown, for each of ours.
func (x *limit) othersSeen() float64 {
	n := x.first - x.left - (x.sent - x.counted)
	return min(maxOthers, float64(max(0, n))/float64(max(1, x.reports)))
}

// begin ends the current window. The next one begins with what the service announces, if no other programs were noticed and
// an earlier window was seen to begin on time.
func (x *limit) begin(l *ledger, now instant) {
	known := x.phase == open && x.size > 0 && now < x.ends+x.length
	x.close()
	x.phase, x.began, x.opened, x.whole = over, l.admitted, now, true
	x.sent, x.counted, x.reports, x.missing = x.inFlight, 0, 0, 0
	x.told = x.lost
	if known && x.onTime && x.others < noticed {
		x.phase, x.left, x.first = assumed, x.size, x.size
		x.ends += x.length
	}
}

// close keeps what the current window has shown of other programs.
func (x *limit) close() {
	x.others *= 7.0 / 8
	if x.phase == open {
		x.others = max(x.others, x.othersSeen())
		x.watched = x.watched || x.left == 0 || x.reports >= enoughReports
	}
}

// doubt probes the current window again, in which so many other programs may have sent more than is known.
func (x *limit) doubt(l *ledger, others int) {
	if x.limited() {
		x.phase, x.began = over, l.admitted
	}
	x.others = max(x.others, min(maxOthers, float64(others)))
}

// observe updates the limit by the response to an attempt, which may not mention it.
func (x *limit) observe(l *ledger, a *attempt, kind int, r *response, now instant) {
	h := r.limits[kind]
	if !h.present {
		x.observeMissing(l, a, r)
		return
	}
	// It is about a window before the current one.
	earlier := a.seq <= x.began && x.phase > absent && h.reset <= x.reset
	if x.phase == open { // what is overdue may be older than a step of the server's clock
		earlier = a.seq <= x.began && h.reset > 0 && (h.reset < x.reset || h.reset > x.reset && a.overdue)
	}
	if earlier && !a.overdue || r.refused {
		x.sent = max(0, x.sent-1) // the window has not counted it
	}
	if earlier {
		return
	}
	if h.size > 0 {
		x.first += h.size - cmp.Or(x.size, h.size) // it was lowered or raised
		x.size = h.size
	}
	if x.phase != open || h.reset > 0 && h.reset != x.reset {
		x.open(l, a, h, now)
	}
	x.reports++
	x.told = max(x.told, a.lost[kind])
	if h.remaining < x.left || a.seq > x.since {
		x.left, x.since = h.remaining, l.admitted
	}
	if h.reset > 0 {
		x.ends = l.clock.reaches(h.reset)
	}
}

// observeMissing updates the limit by a response without its headers. The service may have counted
// the request. If a gateway has removed all of them, it says nothing of this limit.
func (x *limit) observeMissing(l *ledger, a *attempt, r *response) {
	if !r.refused {
		x.lost++
	}
	probed := x.phase == unseen || x.phase == over && a.seq > x.began
	if !r.good || !probed {
		return
	}
	x.missing++
	if x.phase == unseen && (r.limited || !l.reported) {
		x.phase = absent
	} else if x.missing == maxMissing {
		x.missing, l.good = 0, 0 // begin slowly
		x.phase = absent
	}
}

// open begins the window of a response. If it is the last one, it was not over yet.
func (x *limit) open(l *ledger, a *attempt, h header, now instant) {
	if x.phase == open {
		x.close()
		x.whole = false
	}
	later := h.reset - x.reset
	if x.reset > 0 && later > 0 && later < x.length {
		x.length = max(later, minimumLength)
	}
	if a.seq > x.began && later <= 0 {
		x.onTime, x.whole = false, false
	} else if a.seq > x.began && a.admitted < x.opened+time.Second {
		x.onTime = x.whole
	}
	if x.phase != assumed || later <= 0 {
		x.first, x.sent, x.counted, x.reports = h.remaining, x.inFlight+1, 1, 0
	}
	if x.whole && x.size > 0 {
		x.first, x.counted = x.size, 0
	}
	x.phase, x.reset, x.missing = open, h.reset, 0
	x.left, x.since, x.began = h.remaining, l.admitted, l.admitted
	x.ends = now + x.length
}

// instant is a time on this machine's monotonic clock, counted from the limiter's epoch.
type instant = time.Duration

// clock is a lower bound of how far the server's clock is ahead of ours: a window is certainly over
// once the server's clock has reached its reset by this bound. A response was handled within a
// window's length of its reset, and not before its Date. Date has whole seconds, and a gateway may
// use a clock of its own, so Date is ignored after the first contradiction.
type clock struct {
	byReset, byDate time.Duration
	dateWrong       bool
	updated         instant
}

const (
	unknownClock = math.MinInt64 / 4
	drift        = 10_000 // two clocks drift apart by at most this part of the elapsed time
)

// observe updates the bound by a response to a request in the window with this length and this end,
// its reset.
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
