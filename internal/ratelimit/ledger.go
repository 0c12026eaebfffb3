package ratelimit

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"time"
)

// ledger is all that is known of a service's limits. Its methods are the events that change it. It has no clock, lock or
// timer of its own: each event brings the time with it.
type ledger struct {
	share  float64
	random func() float64

	clock     clock
	admitted  uint64        // attempts so far
	inFlight  int           // of them
	flights   []*attempt    // the same in the order of admission, with some that have ended
	rtt       time.Duration // as it usually is
	doublings int           // of the time after which an attempt is overdue
	doubled   uint64        // the latest attempt that was admitted at the last of them
	good      int           // good responses since the service began to respond, or paused
	pause     pause
	hidden    hidden

	account     *limit
	routes      []*limit
	credentials []*limit // the one that was last in use first
}

// pause is a time in which nothing is sent.
type pause struct {
	until    instant
	declared instant // until, without the jitter
}

// attempt is what an admitted attempt has to remember until it ends.
type attempt struct {
	seq      uint64 // its number in the order of admission, from 1
	admitted instant
	limits   [kinds]*limit
	lost     [kinds]int // what each of them had lost then
	ended    bool
	overdue  bool
}

// verdict says whether an attempt may go, and if not, why.
type verdict struct {
	reason   Reason  // empty if it may go
	until    instant // when to ask again
	declared instant // until, without the jitter; 0 if it is the same
	final    bool    // whether only time can let it go, and no response can
}

func (v verdict) goes() bool { return v.reason == "" }

// opens is when the limit opens.
func (v verdict) opens() instant { return cmp.Or(v.declared, v.until) }

const (
	maxRoutes      = 16 // further ones share the last
	maxCredentials = 16 // of more, the one that was not in use for longest is forgotten
	maxPause       = time.Hour
	leastPatience  = 250 * time.Millisecond
	maxDoublings   = 6
)

func newLedger(share float64) *ledger {
	if share <= 0 || share > 1 {
		share = 1
	}
	l := &ledger{share: share, random: rand.Float64, clock: newClock(), account: newLimit(""), hidden: hidden{length: windowLength}}
	l.use(nil, "")
	return l
}

func newLimit(name string) *limit { return &limit{name: name, length: windowLength} }

// limits returns the limits that an attempt on a route spends from.
func (l *ledger) limits(name string) [kinds]*limit {
	return [kinds]*limit{l.account, l.route(name), l.credentials[0]}
}

// route returns the limit of a route.
func (l *ledger) route(name string) *limit {
	for _, x := range l.routes {
		if x.name == name {
			return x
		}
	}
	if len(l.routes) < maxRoutes {
		l.routes = append(l.routes, newLimit(name))
	}
	return l.routes[len(l.routes)-1]
}

// each calls f for each limit.
func (l *ledger) each(f func(*limit)) {
	f(l.account)
	for _, x := range l.routes {
		f(x)
	}
	for _, x := range l.credentials {
		f(x)
	}
}

// advance moves the ledger to now: it counts overdue attempts as lost, and ends windows that are over.
func (l *ledger) advance(now instant) {
	l.loseOverdue(now)
	l.each(func(x *limit) {
		if x.limited() && now >= x.ends {
			x.begin(l, now)
		}
	})
	if l.hidden.advance(now) && l.hidden.size > 0 {
		l.good = 0 // the next window begins slowly
	}
}

// patience is how long an attempt may take before it counts as lost: four round trips, and twice as long after each time
// that attempts were overdue and none was answered in time since.
func (l *ledger) patience() time.Duration {
	return min(max(4*l.rtt, leastPatience)<<l.doublings, max(4*l.rtt, time.Minute))
}

// overdue is when the oldest attempt in flight will count as lost.
func (l *ledger) overdue() instant {
	for _, a := range l.flights {
		if !a.ended {
			return a.admitted + l.patience()
		}
	}
	return 0
}

func (l *ledger) loseOverdue(now instant) {
	patience, some := l.patience(), false
	for len(l.flights) > 0 {
		a := l.flights[0]
		if !a.ended && now < a.admitted+patience {
			break
		}
		l.flights = l.flights[1:]
		if !a.ended {
			a.overdue, some = true, some || a.seq > l.doubled
			l.land(a)
			for _, x := range a.limits {
				x.lost++
			}
		}
	}
	if some {
		l.doublings, l.doubled = min(l.doublings+1, maxDoublings), l.admitted
	}
}

// admits returns whether an attempt on a route may go now: the pause is over, and each limit has something left.
func (l *ledger) admits(name string, now instant) verdict {
	if now < l.pause.until {
		return verdict{reason: RetryAfter, until: l.pause.until, declared: l.pause.declared, final: true}
	}
	v := l.hidden.admits(l.inFlight)
	if v.goes() && l.inFlight >= slowStart(l.good) {
		v = verdict{reason: Turn, until: l.overdue()}
		if l.good == 0 {
			v.reason = Probe
		}
	}
	for _, x := range l.limits(name) {
		v = later(v, x.admits(l))
	}
	return v
}

// later is the verdict of two that holds for longer.
func later(v, w verdict) verdict {
	if w.goes() || v.final && !w.final || v.final == w.final && v.until > w.until {
		return v
	}
	return w
}

// admit takes a permit.
func (l *ledger) admit(name string, now instant) *attempt {
	l.admitted++
	l.inFlight++
	l.hidden.admit(now)
	a := &attempt{seq: l.admitted, admitted: now, limits: l.limits(name)}
	for i, x := range a.limits {
		x.inFlight++
		x.sent++
		a.lost[i] = x.lost
	}
	l.flights = append(l.flights, a)
	return a
}

// doubt probes all windows again: permits are not had from the pool any more, which so many other programs share.
func (l *ledger) doubt(others int) {
	l.each(func(x *limit) { x.doubt(l, others) })
}

// use makes a credential the one that is in use, for an attempt that is about to be sent with it.
func (l *ledger) use(a *attempt, id string) {
	x := l.credential(id)
	if a == nil || a.ended || a.overdue || a.limits[credential] == x {
		return
	}
	was := a.limits[credential]
	was.inFlight--
	was.sent = max(0, was.sent-1)
	x.inFlight++
	x.sent++
	a.limits[credential], a.lost[credential] = x, x.lost
}

// credential returns the limit of a credential, which is the one in use from now on.
func (l *ledger) credential(id string) *limit {
	for i, x := range l.credentials {
		if x.name == id {
			copy(l.credentials[1:i+1], l.credentials[:i])
			l.credentials[0] = x
			return x
		}
	}
	if len(l.credentials) < maxCredentials {
		l.credentials = append(l.credentials, nil)
	}
	copy(l.credentials[1:], l.credentials)
	l.credentials[0] = newLimit(id)
	return l.credentials[0]
}

// cancel takes a permit back: nothing can have been sent.
func (l *ledger) cancel(a *attempt) {
	if !l.land(a) {
		return
	}
	l.hidden.sent = max(0, l.hidden.sent-1)
	for _, x := range a.limits {
		x.sent = max(0, x.sent-1)
	}
}

// land takes an attempt out of those in flight, and reports whether it was among them.
func (l *ledger) land(a *attempt) bool {
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

// observe updates the ledger by what the response to an attempt says. An attempt that ends without a response stays in
// flight until it is overdue, since it may still arrive.
func (l *ledger) observe(a *attempt, r *response, now instant) {
	l.land(a)
	l.observeRoundTrip(a, now)
	for i, x := range a.limits {
		if h := r.limits[i]; h.present && h.reset > 0 {
			l.clock.observe(h.reset, x.length, r.date, a.admitted, now)
		}
	}
	for i, x := range a.limits {
		if h := r.limits[i]; h.present {
			x.observe(l, a, h, a.lost[i], now)
		} else {
			x.observeMissing(r.good(), r.refused())
		}
	}
	if r.good() {
		l.good++
	}
	if !r.refused() {
		l.hidden.observe(a)
	}
	if r.refused() && !r.explained() {
		l.pauseFor(l.hidden.refuse(r.retryAfter, now), now)
	} else if r.refused() || r.status == http.StatusServiceUnavailable {
		l.pauseFor(r.retryAfter, now)
	}
}

// observeRoundTrip updates how long a round trip usually takes. One that took very long says little of the next.
func (l *ledger) observeRoundTrip(a *attempt, now instant) {
	rtt := now - a.admitted
	if l.rtt == 0 {
		l.rtt = rtt
	}
	l.rtt += (min(rtt, 2*l.rtt) - l.rtt) / 8
	if !a.overdue {
		l.doublings = 0
	}
}

// pauseFor stops the whole service. After the pause it begins slowly.
func (l *ledger) pauseFor(wait time.Duration, now instant) {
	wait = min(wait, maxPause)
	if wait <= 0 {
		return
	}
	jitter := time.Duration(l.random() * float64(min(max(wait/10, time.Millisecond), 5*time.Second)))
	if now+wait+jitter <= l.pause.until {
		return
	}
	l.pause = pause{until: now + wait + jitter, declared: now + wait}
	l.good = 0
	l.hidden.end()
}
