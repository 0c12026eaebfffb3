package ratelimit

import (
	"math/bits"
	"time"
)

// limit is what is known of one of the service's limits.
type limit struct {
	name    string
	phase   phase
	size    int           // what a window admits, as its Limit header said; 0 if it has none
	length  time.Duration // of a window
	onTime  bool          // whether the latest window to be probed on time had begun by then
	others  float64       // requests of other programs for each one of ours, in recent windows
	watched bool          // whether a window was seen that would have shown other programs

	// The current window. Before a response reports on it, reset is the name of the one before.
	reset    time.Duration
	ends     instant
	began    uint64 // the latest attempt that was admitted when it began
	opened   instant
	whole    bool    // whether it was seen from its beginning
	left     int     // what remained at the latest response
	since    uint64  // the latest attempt that was admitted when that came
	first    int     // what remained at the beginning
	sent     int     // attempts that it counts or may count
	counted  int     // those of them that first includes
	reports  int     // responses that had a Remaining
	draw     float64 // in [0, 1), anew for each window
	inFlight int
	lost     int // attempts that ended without a Remaining, so far
	told     int // how many of them the latest Remaining includes
	missing  int // good responses in a row that had no Remaining while one was probed
}

// phase is what is known of a limit's current window.
type phase uint8

const (
	unseen  phase = iota // no response has said whether the limit applies: one attempt at a time asks
	absent               // it does not apply
	over                 // the last window is over: one attempt at a time probes the next one
	assumed              // the last window is over, and the next one began with what the Limit header announced
	open                 // a response has said what remains
)

const (
	windowLength  = 10 * time.Second
	minimumLength = time.Second

	// noticed is the number of requests of others, for each of ours, from which on other programs are reckoned with.
	noticed = 0.3

	// enoughReports is how many responses of one window show other programs, if there are any.
	enoughReports = 16

	// maxOthers bounds what a server can make up.
	maxOthers = 256

	// maxMissing is how many good responses without a Remaining show that the limit no longer applies.
	maxMissing = 10
)

// remaining is what the limit has left.
func (x *limit) remaining() int { return x.left - x.inFlight - (x.lost - x.told) }

// limited reports whether it is known what the limit has left.
func (x *limit) limited() bool { return x.phase == open || x.phase == assumed }

// admits returns whether the limit lets one more attempt go.
func (x *limit) admits(l *ledger) verdict {
	if x.phase == absent {
		return verdict{}
	}
	if !x.limited() {
		if x.inFlight == 0 {
			return verdict{}
		}
		return verdict{reason: Probe, until: l.overdue()}
	}
	left := min(x.remaining(), x.share(l.share)-x.sent)
	others := max(x.others, x.othersSeen())
	if left <= 0 || others >= noticed && float64(left) < x.reserve(others) {
		return verdict{reason: RateLimit, until: x.ends, final: x.inFlight == 0}
	}
	if x.inFlight >= x.maxInFlight(left, others) {
		return verdict{reason: Turn, until: min(l.overdue(), x.ends)}
	}
	return verdict{}
}

// share is how many attempts of a window this program may send.
func (x *limit) share(share float64) int {
	if share >= 1 {
		return maxNumber
	}
	size := x.size
	if size == 0 {
		size = x.first + x.counted
	}
	return max(1, int(share*float64(size)))
}

// reserve is how much of a window is left to other programs, which race for the last of it.
func (x *limit) reserve(others float64) float64 {
	return max(min(others+1, 4), (others+1)*x.draw)
}

// maxInFlight is how many attempts may be in flight, so that programs that do alike see each other in time.
func (x *limit) maxInFlight(left int, others float64) int {
	if x.watched && others < noticed {
		return maxNumber
	}
	return max(1, int(float64(left)/(2*(others+1))))
}

// slowStart is how many attempts may be in flight after a number of good responses: it doubles per round trip, and grows by
// half from 32 on.
func slowStart(good int) int {
	doubled := 1 << (bits.Len(uint(good+1)) - 1)
	return min(doubled, max(32, (good+1)/2))
}

// othersSeen is how many requests of other programs the current window has shown, for each of ours.
func (x *limit) othersSeen() float64 {
	n := x.first - x.left - (x.sent - x.counted)
	return min(maxOthers, float64(max(0, n))/float64(max(1, x.reports)))
}

// begin ends the current window. The next one begins with what the Limit header announced if other programs were not
// noticed, and an earlier window was seen to begin on time.
func (x *limit) begin(l *ledger, now instant) {
	known := x.phase == open && now < x.ends+x.length
	x.close()
	x.began, x.opened, x.whole = l.admitted, now, true
	x.sent, x.counted, x.reports, x.missing = x.inFlight, 0, 0, 0
	x.told, x.draw = x.lost, l.random()
	x.phase = over
	if known && x.size > 0 && x.onTime && x.others < noticed {
		x.phase, x.left, x.first = assumed, x.size, x.size
		x.ends += x.length
	}
}

// doubt probes the current window again, in which other programs may have sent more than is known.
func (x *limit) doubt(l *ledger, others int) {
	if x.limited() {
		x.phase, x.began = over, l.admitted
	}
	x.others = max(x.others, min(maxOthers, float64(others)))
}

// close keeps what the current window has shown of other programs.
func (x *limit) close() {
	x.others *= 7.0 / 8
	if x.phase == open {
		x.others = max(x.others, x.othersSeen())
		x.watched = x.watched || x.left == 0 || x.reports >= enoughReports
	}
}

// observe updates the limit by what the response to an attempt says of it. lost is how many attempts had been lost when
// that attempt was admitted.
func (x *limit) observe(l *ledger, a *attempt, h header, lost int, now instant) {
	if x.isEarlier(a, h.reset) {
		if !a.overdue {
			x.sent = max(0, x.sent-1) // it had been counted because it might have been
		}
		return
	}
	if h.limit > 0 && h.limit != x.size {
		if x.size > 0 {
			x.first += h.limit - x.size // it was lowered or raised
		}
		x.size = h.limit
	}
	if h.refused {
		x.sent = max(0, x.sent-1) // it took nothing
	}
	if x.phase != open || h.reset > 0 && h.reset != x.reset {
		x.open(l, a, h, now)
	}
	x.reports++
	if h.remaining < x.left || a.seq > x.since {
		x.left, x.since = h.remaining, l.admitted
	}
	x.told = max(x.told, lost)
	if h.reset > 0 {
		x.ends = l.clock.reaches(h.reset)
	}
}

// isEarlier reports whether a response is about a window before the current one.
func (x *limit) isEarlier(a *attempt, reset time.Duration) bool {
	switch x.phase {
	case open:
		return a.seq <= x.began && reset > 0 && reset < x.reset
	case over, assumed:
		return a.seq <= x.began && reset <= x.reset
	default:
		return false
	}
}

// open begins the window that a response reports on. If that is the last one, it was not over yet.
func (x *limit) open(l *ledger, a *attempt, h header, now instant) {
	if x.phase == open {
		x.close()
		x.whole, x.draw = false, l.random()
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
		x.first, x.sent, x.counted, x.reports = h.remaining, x.inFlight, 0, 0
		if !h.refused {
			x.sent, x.counted = x.sent+1, 1
		}
		if x.whole && x.size > 0 {
			x.first, x.counted = x.size, 0
		}
	}
	x.phase, x.reset, x.missing = open, h.reset, 0
	x.left, x.since, x.began = h.remaining, l.admitted, l.admitted
	x.ends = now + x.length
}

// observeMissing updates the limit by a response that says nothing of it. The request counts as lost: the service may have
// counted it.
func (x *limit) observeMissing(good, refused bool) {
	if !refused {
		x.lost++
	}
	if !good {
		return
	}
	if x.phase == unseen {
		x.phase = absent
	}
	if x.phase == over {
		x.missing++
		if x.missing == maxMissing {
			x.phase = absent
		}
	}
}
