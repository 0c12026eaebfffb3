package ratelimit

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// limits is what the headers of one answer say of the rate limit: the
// three families of V2's API document.
type limits struct {
	global, route quota         // what remains
	reset         int64         // the server's clock when the window ends, in ms since 1970; 0 where nothing usable was said
	retryAfter    time.Duration // 0 where nothing usable was said
	date          time.Time     // the server's clock, in whole seconds; zero where nothing usable was said
}

// Numbers beyond these are nonsense, and would overflow what is computed from them.
const (
	maxRemaining = 1 << 30
	maxReset     = 9e12 // in the year 2255
	maxSeconds   = 9e9
)

func parseLimits(header http.Header) limits {
	l := limits{
		global: remaining(header["X-Ratelimit-Global-Remaining"]),
		route:  remaining(header["X-Ratelimit-Route-Remaining"]),
	}
	l.date, _ = http.ParseTime(header.Get("Date"))
	if ms, ok := largest(header["X-Ratelimit-Reset"], parseNumber); ok {
		l.reset = int64(min(ms, maxReset))
	}
	seconds := func(value string) (float64, bool) {
		if at, err := http.ParseTime(value); err == nil && !l.date.IsZero() {
			return at.Sub(l.date).Seconds(), true
		}
		return parseNumber(value)
	}
	if s, ok := largest(header["Retry-After"], seconds); ok && s > 0 {
		l.retryAfter = time.Duration(min(s, maxSeconds) * float64(time.Second))
	}
	return l
}

// quota is a number that a header may have told.
type quota struct {
	remaining int
	known     bool
}

func (l limits) quotas() bool { return l.global.known || l.route.known }

// remaining reads a family's header. Of several values the smallest counts.
func remaining(values []string) quota {
	negated := func(value string) (float64, bool) {
		n, ok := parseNumber(value)
		return -n, ok
	}
	n, ok := largest(values, negated)
	if !ok {
		return quota{}
	}
	return quota{int(min(-n, maxRemaining)), true}
}

// largest reads the first few values of a header, and returns the largest one
// that can be read.
func largest(values []string, parse func(string) (float64, bool)) (float64, bool) {
	largest, found := math.Inf(-1), false
	for _, value := range values[:min(len(values), 16)] {
		if n, ok := parse(strings.TrimSpace(value)); ok {
			largest, found = max(largest, n), true
		}
	}
	return largest, found
}

// parseNumber reads a number that is not negative. Fractions are read too,
// since servers send them.
func parseNumber(value string) (float64, bool) {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) || n < 0 {
		return 0, false
	}
	return n, true
}

// serverClock learns how far the server's clock is from ours. Each Date header
// bounds the difference to a second and the round trip; many of them, at
// different fractions of a second, bound it ever closer.
type serverClock struct {
	known   bool
	low     time.Duration // bounds of the server's clock less ours
	high    time.Duration
	updated time.Time
}

// farOff is a difference that no Date header is believed to show: a clock
// that is further off could not have checked a certificate.
const farOff = 24 * time.Hour

// observe takes in the Date of an answer to a request sent and answered at
// these times.
func (c *serverClock) observe(date, sent, answered time.Time) {
	low, high := date.Sub(answered), date.Add(time.Second).Sub(sent)
	if date.IsZero() || low < -farOff || high > farOff {
		return
	}
	if c.known {
		drift := answered.Sub(c.updated) / 10_000
		c.low, c.high = max(c.low-drift, low), min(c.high+drift, high)
	}
	if !c.known || c.low > c.high { // a clock that was set contradicts what was known
		c.low, c.high = low, high
	}
	c.known, c.updated = true, answered
}

// reaches is the time by our clock at which the server's has certainly reached
// a time of its own, given in ms since 1970.
func (c *serverClock) reaches(ms int64) time.Time {
	return time.UnixMilli(ms).Add(-c.low)
}

// window is one window of the rate limit, as far as answers have told of it.
type window struct {
	reset    int64     // its name: X-Ratelimit-Reset as it came, 0 where there was none
	began    time.Time // when its first answer arrived
	openedBy uint64    // the latest attempt that was admitted by then
	ends     time.Time // when it is over, by our clock
	next     time.Time // when the first attempt of the next one may go: ends and some jitter
	declared time.Time // ends, before it was bounded
	shut     bool      // whether an answer 429 has ended it early
	caution  float64   // from 1: how much is left to strangers who were overlooked in windows before
	sent     int       // attempts that it counts or may count
	under    int       // those of them that are under way
	lost     int       // those of them that ended without a word on what remains
	families [2]family // global, route
}

// family is what one of the Remaining headers has said in a window.
type family struct {
	known     bool
	constant  bool   // whether the header states the limit instead of counting down
	remaining int    // the latest number
	since     uint64 // the latest attempt that was admitted when it came
	first     int    // the first number of the window
	before    int    // attempts that the first number may have counted
}

// observe takes in a number that came with the answer to attempt number seq.
func (f *family) observe(n int, seq uint64, refused bool, latest uint64, sent int) {
	switch {
	case !f.known:
		f.known, f.first, f.before = true, n, sent
	case n < f.remaining:
		f.constant = false
	case seq > f.since && n > 0 && !(refused && n == f.remaining):
		// It was asked for after the last number was known, and did not fall.
		f.constant = true
	default:
		return // an older number, overtaken by a newer one
	}
	f.remaining, f.since = n, latest
}

// left is how many more attempts a family lets a window send.
func (f *family) left(w *window) int {
	switch {
	case !f.known:
		return maxRemaining
	case f.constant:
		return f.remaining - w.sent
	default:
		return f.remaining - w.under - w.lost
	}
}

// strangers is how many attempts of other programs a window has seen at least.
func (f *family) strangers(w *window) int {
	if !f.known || f.constant {
		return 0
	}
	return f.first - f.remaining - (w.sent - f.before)
}

func (w *window) left() int {
	return min(w.families[0].left(w), w.families[1].left(w))
}

// maxCaution keeps a program among many strangers from giving up its share.
const maxCaution = 16

// nextCaution is the caution of the window that follows: more where strangers
// were overlooked, less where none were.
func (w *window) nextCaution() float64 {
	if w.shut {
		return min(maxCaution, 2*w.caution)
	}
	return max(1, w.caution*7/8)
}

// admits says whether one more attempt may go, and if not, why, and when to
// look again: a zero time where only an answer can change it.
//
// Others may be spending from the same budget at this moment. At most a
// quarter of what remains is under way at once, so that strangers who think
// alike see each other in time, and the last places are taken one by one. When
// the window's time gets short, as many are under way as it takes to use it up.
// Where strangers are at work, the places that they will have taken by the time
// an attempt arrives are left to them.
func (w *window) admits(now time.Time, roundTrip time.Duration) (Reason, time.Time) {
	left := w.left()
	switch {
	case w.shut, left <= 0 && w.under == 0:
		return RateLimit, w.next
	case left <= 0:
		return RateLimit, time.Time{}
	case w.under >= w.abreast(left, w.ends.Sub(now), roundTrip):
		return Turn, time.Time{}
	}
	strangers := max(w.families[0].strangers(w), w.families[1].strangers(w))
	if strangers <= 0 {
		return "", time.Time{}
	}
	// So far they have taken strangers/(now-began) a second. Once that makes
	// less than what is left in a round trip, they have gone quiet.
	trips := w.caution * float64(strangers) / float64(left)
	if quiet := w.began.Add(time.Duration(trips * float64(roundTrip))); now.Before(quiet) {
		return Turn, minTime(quiet, w.next)
	}
	return "", time.Time{}
}

// abreast is how many attempts may be under way at once.
func (w *window) abreast(left int, time, roundTrip time.Duration) int {
	remains := float64(left + w.under)
	needed := 2 * remains * float64(roundTrip) / float64(max(time, 1))
	return int(max(1, min(remains, max(remains/4, math.Ceil(needed)))/w.caution))
}
