package ratelimit

import (
	"cmp"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

// ledger is everything known about a service's limits. Its methods are the events. It has no clock,
// lock or timer: each event brings its time.
type ledger struct {
	share  float64
	random func() float64

	clock      clock
	all        []*limit // of the account, of routes and of credentials
	credential *limit   // of the one in use
	hidden     hidden
	declared   instant       // until when the service asked to send nothing
	paused     instant       // the same, with some jitter
	reported   bool          // whether a response has reported a limit
	admitted   uint64        // attempts so far
	inFlight   int           // of them
	flights    []*attempt    // the same in the order of admission, with some finished ones
	rtt        time.Duration // as a round trip usually is; 0 before the first
	doublings  int           // of the time after which an attempt is overdue
	doubled    uint64        // the latest attempt admitted at the last of them
	good       int           // good responses since the service began to respond, or paused
}

// attempt is what an admitted attempt has to remember until it ends.
type attempt struct {
	seq            uint64 // its number in the order of admission, from 1
	admitted       instant
	limits         [kinds]*limit
	lost           [kinds]int // what each of them had lost then
	ended, overdue bool       // whether it is no longer in flight, and whether it took too long
}

// verdict is whether an attempt may go, and if not, why.
type verdict struct {
	reason Reason  // empty if it may go
	until  instant // when to ask again
	final  bool    // whether only time can let it go, and no response can
}

const (
	maxRoutes     = 16 // further ones share the last
	maxLimits     = 32 // if there are more, credentials are forgotten
	maxPause      = time.Hour
	maxJitter     = 5 * time.Second
	firstPatience = 2 * time.Second // while no round trip has been seen; the first one sets up the connection too
	leastPatience = 250 * time.Millisecond
	mostPatience  = time.Minute
	maxDoublings  = 8
	enoughGood    = 10 // responses show a hidden limit
	calmWindows   = 3  // let it grow
	never         = instant(math.MaxInt64)
)

func newLedger(share float64) *ledger {
	if share <= 0 || share > 1 {
		share = 1
	}
	unknown := newLimit("")
	return &ledger{
		share: share, random: rand.Float64, clock: clock{byReset: unknownClock, byDate: unknownClock},
		all: []*limit{newLimit("account"), unknown}, credential: unknown, hidden: hidden{length: windowLength},
	}
}

// limits returns the limits of an attempt on a route.
func (l *ledger) limits(route *limit) [kinds]*limit {
	return [kinds]*limit{l.all[account], route, l.credential}
}

// advance moves the ledger to now, counting overdue attempts as lost and ending finished windows.
func (l *ledger) advance(now instant) {
	l.loseOverdue(now)
	for _, x := range l.all {
		if x.limited() && now >= x.ends {
			x.begin(l, now)
		}
	}
	if l.hidden.advance(now) && l.hidden.size > 0 {
		l.good = 0 // the next window begins slowly
	}
}

// patience is how long an attempt may take before it counts as lost: four round trips, doubled each
// time attempts are overdue while none is answered in time.
func (l *ledger) patience() time.Duration {
	usual := max(4*l.rtt, leastPatience)
	patience := min(usual<<l.doublings, max(usual, mostPatience))
	if l.rtt == 0 {
		return max(patience, firstPatience)
	}
	return patience
}

// overdue is when the oldest attempt in flight will count as lost.
func (l *ledger) overdue() instant { return l.flights[0].admitted + l.patience() }

func (l *ledger) loseOverdue(now instant) {
	patience, double, n := l.patience(), false, 0
	for _, a := range l.flights {
		if !a.ended && now < a.admitted+patience {
			break
		}
		if !a.ended {
			a.overdue, double = true, double || a.seq > l.doubled
			l.lose(a)
		}
		n++
	}
	l.flights = slices.Delete(l.flights, 0, n) // in place: a moving slice would be allocated again and again
	if double {
		l.doublings, l.doubled = min(l.doublings+1, maxDoublings), l.admitted
	}
}

// admits returns whether an attempt on a route may go now: no pause holds it up, and each limit has something left.
func (l *ledger) admits(route *limit, now instant) verdict {
	if now < l.paused {
		return verdict{reason: RetryAfter, until: l.paused, final: true}
	}
	v := l.hidden.admits(l.inFlight)
	if v.reason == "" && l.inFlight >= slowStart(l.good) {
		v = verdict{reason: Turn, until: l.overdue()}
		if l.good == 0 {
			v.reason = Probe
		}
	}
	for _, x := range l.limits(route) {
		w := x.admits(l)
		if w.reason != "" && (v.reason == "" || w.final && !v.final || w.final == v.final && w.until > v.until) {
			v = w
		}
	}
	return v
}

// admit takes a permit.
func (l *ledger) admit(route *limit, now instant) *attempt {
	l.admitted++
	l.inFlight++
	l.hidden.admit(now)
	a := &attempt{seq: l.admitted, admitted: now}
	for kind, x := range l.limits(route) {
		a.spend(kind, x)
	}
	l.flights = append(l.flights, a)
	return a
}

// spend counts the attempt on a limit.
func (a *attempt) spend(kind int, x *limit) {
	x.inFlight++
	x.sent++
	a.limits[kind], a.lost[kind] = x, x.lost
}

// use makes a credential the one in use, just before an attempt is sent with it.
func (l *ledger) use(a *attempt, name []byte) {
	i := slices.IndexFunc(l.all, func(x *limit) bool { return x.name == string(name) })
	if i < 0 && len(l.all) >= maxLimits {
		l.all = slices.DeleteFunc(l.all, func(x *limit) bool { return strings.HasPrefix(x.name, credentialPrefix) })
	}
	if i < 0 {
		i = len(l.all)
		l.all = append(l.all, newLimit(string(name)))
	}
	x, was := l.all[i], a.limits[credential]
	l.credential = x
	if was != x && !a.ended {
		was.inFlight--
		was.sent = max(0, was.sent-1)
		a.spend(credential, x)
	}
}

// end takes an attempt out of those in flight, and reports whether it was among them.
func (l *ledger) end(a *attempt) bool {
	if a.ended {
		return false
	}
	a.ended = true
	l.inFlight--
	for _, x := range a.limits {
		x.inFlight--
	}
	return true
}

// cancel takes a permit back: nothing can have been sent.
func (l *ledger) cancel(a *attempt) {
	if l.end(a) {
		l.hidden.sent = max(0, l.hidden.sent-1)
		for _, x := range a.limits {
			x.sent = max(0, x.sent-1)
		}
	}
}

// lose ends an attempt without a response: the service may have counted it.
func (l *ledger) lose(a *attempt) {
	if l.end(a) {
		for _, x := range a.limits {
			x.lost++
		}
	}
}

// observe updates the ledger by the response to an attempt.
func (l *ledger) observe(a *attempt, r *response, now instant) {
	l.end(a)
	rtt := max(now-a.admitted, 1) // 0 is none yet
	l.rtt = cmp.Or(l.rtt, rtt)
	l.rtt += (min(rtt, 2*l.rtt) - l.rtt) / 8 // one very long round trip means little for the next
	if !a.overdue {
		l.doublings = 0
	}
	for i, x := range a.limits {
		if h := r.limits[i]; h.present && h.reset > 0 {
			l.clock.observe(h.reset, x.length, r.date, a.admitted, now)
		}
	}
	l.reported = l.reported || r.limited
	for i, x := range a.limits {
		x.observe(l, a, i, r, now)
	}
	if r.good {
		l.good++
	}
	if !r.refused {
		l.hidden.observe()
	}
	if r.refused && !r.explained {
		l.pause(l.hidden.refuse(r.retryAfter, now), now)
	} else if r.refused || r.status == http.StatusServiceUnavailable {
		l.pause(r.retryAfter, now)
	}
}

// pause stops the whole service, and adds some jitter. After the pause it begins slowly.
func (l *ledger) pause(wait time.Duration, now instant) {
	wait = min(wait, maxPause)
	until := now + wait + time.Duration(l.random()*float64(min(wait/10, maxJitter)))
	if wait > 0 && until > l.paused {
		l.declared, l.paused, l.good, l.hidden.began = now+wait, until, 0, 0
	}
}

// hidden is a limit without headers. It shows as a 429 that no limit explains, after a number of
// good responses: this number is sent in each window from then on. It grows after full windows
// without a 429.
type hidden struct {
	size     int           // what a window may hold; 0 if there is no sign of a limit
	length   time.Duration // of a window
	calm     int           // full windows in a row without a 429
	growth   int           // by how much size grows next
	grown    int           // by how much it grew last
	refused  bool          // whether a 429 ended the last window
	measured bool          // whether this 429 has set size

	began      instant // when the current window did, with an attempt; 0 until then
	sent, good int
}

// admits returns whether the limit lets one more attempt go.
func (h *hidden) admits(inFlight int) verdict {
	if h.size == 0 || h.began == 0 || h.sent < h.size {
		return verdict{}
	}
	return verdict{reason: RateLimit, until: h.began + h.length, final: inFlight == 0}
}

func (h *hidden) admit(now instant) {
	if h.began == 0 {
		h.began, h.sent, h.good, h.measured = now, 0, 0, false
	}
	h.sent++
}

// observe counts a response other than 429.
func (h *hidden) observe() {
	h.good++
	if h.measured {
		h.size++ // the 429 overtook it
	}
}

// advance ends a finished window, and reports whether it did.
func (h *hidden) advance(now instant) bool {
	if h.began == 0 || now < h.began+h.length {
		return false
	}
	if h.size > 0 && h.sent >= h.size {
		h.calm++
	}
	if h.calm == calmWindows {
		h.size, h.grown, h.growth, h.calm = min(h.size+h.growth, maxNumber), h.growth, min(2*h.growth, maxNumber), 0
	}
	h.began, h.refused = 0, false
	return true
}

// refuse ends the current window with a 429 that no other limit explains, and returns how long to
// wait.
func (h *hidden) refuse(retryAfter time.Duration, now instant) time.Duration {
	if h.began == 0 {
		return retryAfter // another one has ended it
	}
	wait := retryAfter
	if wait == 0 && h.size > 0 {
		wait = h.began + h.length - now
	} else if wait == 0 {
		wait = windowLength
	}
	if h.good >= enoughGood {
		h.measured = h.size == 0 || h.refused
		h.size -= h.grown
		if h.measured {
			h.size = h.good
		}
		h.growth, h.grown, h.calm, h.refused = 1, 0, 0, true
		h.length = min(windowLength, max(minimumLength, now-h.began+wait))
	}
	h.began = 0
	return wait
}
