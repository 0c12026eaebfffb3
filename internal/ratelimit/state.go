package ratelimit

import (
	"math/rand/v2"
	"net/http"
	"time"
)

// state is the core of the limiter: all that is known of a service's rate
// limit. Its methods are the events that change it. It has no clock, lock or
// timer of its own: each event brings the time with it.
type state struct {
	rules

	latest      uint64        // attempts admitted so far
	rtt         time.Duration // as it usually is
	quickest    time.Duration // as it is at best, of late
	generations generations
	clock       serverClock
	paused      pause
	global      quota
	routes      []route
}

// route is the quota of one endpoint.
type route struct {
	name  string
	quota quota
}

// maxRoutes is how many routes have a quota of their own. All further ones share
// the last.
const maxRoutes = 16

// pause is a time in which nothing is sent.
type pause struct{ until, declared instant }

func newState(r rules) *state {
	if r.share <= 0 || r.share > 1 {
		r.share = 1
	}
	if r.random == nil {
		r.random = rand.Float64
	}
	return &state{rules: r}
}

// route returns the route of this name, and makes it where it is new.
func (s *state) route(name string) *quota {
	for i := range s.routes {
		if s.routes[i].name == name {
			return &s.routes[i].quota
		}
	}
	if len(s.routes) < maxRoutes {
		s.routes = append(s.routes, route{name: name})
	}
	return &s.routes[len(s.routes)-1].quota
}

// quotas calls f for the global quota and for each route's.
func (s *state) quotas(f func(*quota)) {
	f(&s.global)
	for i := range s.routes {
		f(&s.routes[i].quota)
	}
}

// advance takes in that time has passed.
func (s *state) advance(now instant) {
	s.age(now)
	s.quotas(func(q *quota) {
		if q.phase >= assumed && now >= q.rolls(s) {
			q.roll(s, now)
		}
	})
}

// age begins the generations that are due.
func (s *state) age(now instant) {
	g := &s.generations
	for range generationsInFlight {
		length := g.length(s.rtt)
		if now-g.began < length {
			return
		}
		overdue := 0
		s.quotas(func(q *quota) {
			n := q.inFlight.age()
			if s.shared { // held up in a program, an attempt may still be sent, and no later response includes it then
				q.window.lost.overdue += n
			} else {
				q.window.lost.add(n, s.latest)
			}
			overdue += n
		})
		g.number++
		g.began += length
		if overdue > 0 {
			g.slack = min(2*max(g.slack, 1), maxSlack)
		}
	}
	if now-g.began >= g.length(s.rtt) {
		g.began = now // nothing is in flight any more
	}
}

// admits says whether an attempt on a route may go now.
func (s *state) admits(route string, now instant) verdict {
	if now < s.paused.until {
		return verdict{reason: RetryAfter, until: s.paused.until, declared: s.paused.declared, onlyTime: true}
	}
	own := s.route(route).admits(s, now)
	if s.global.phase == slowStart {
		return own
	}
	all := s.global.admits(s, now)
	if own.goes() || all.onlyTime && !own.onlyTime || all.onlyTime == own.onlyTime && all.until > own.until {
		return all
	}
	return own
}

// admit takes a permit.
func (s *state) admit(route string, now instant) attempt {
	s.latest++
	s.global.admit()
	s.route(route).admit()
	return attempt{seq: s.latest, generation: s.generations.number, admitted: now, route: route}
}

// cancel takes a permit back: nothing can have been sent.
func (s *state) cancel(a attempt) {
	s.global.cancel(s, a)
	s.route(a.route).cancel(s, a)
}

// abandon settles an attempt that ended without a response: what it spent, it spent.
func (s *state) abandon(a attempt) {
	s.global.spend(s, a)
	s.route(a.route).spend(s, a)
}

// observe settles an attempt that had a response, and takes in what the response says.
func (s *state) observe(a attempt, r response, now instant) {
	s.observeRoundTrip(a, now)
	if r.date > 0 && !s.isVague(a) {
		s.clock.observeDate(r.date, a.admitted, now)
	}
	if r.refused() && !r.limited() && r.reset > 0 {
		r.route.present = true // a window is used up: most likely that of the route
	}
	route := s.route(a.route)
	global := s.observeQuota(&s.global, a, r.global, r, now)
	own := s.observeQuota(route, a, r.route, r, now)
	if r.refused() {
		usedUp := r.global.present && r.global.n == 0 || r.route.present && r.route.n == 0
		s.refuse(&s.global, r.global, global, usedUp, now)
		s.refuse(route, r.route, own, usedUp, now)
	}
	switch {
	case r.retryAfter > 0 && (r.refused() || r.status == http.StatusServiceUnavailable):
		s.pause(r.retryAfter, now)
	case r.refused() && r.reset == 0 && !r.limited():
		route.restart()
		s.pause(defaultWindow, now)
	}
}

// observeQuota takes in what a response says of one quota, if anything, and
// reports whether that is about the current window.
func (s *state) observeQuota(q *quota, a attempt, n parsed, r response, now instant) bool {
	switch {
	case n.present:
		return q.observe(s, a, n.n, r, now)
	case r.status >= http.StatusBadRequest:
		q.spend(s, a) // an error says nothing of limits
	default:
		q.observeNoHeader(s, a, now)
	}
	return false
}

// refuse shuts the current window of a quota that a 429 reports on, if that is the
// quota that refused: nothing remains of it, or the 429 names none of which
// nothing remains.
func (s *state) refuse(q *quota, n parsed, current, usedUp bool, now instant) {
	if current && (n.n == 0 || !usedUp) {
		q.refuse(now)
	}
}

// observeRoundTrip takes in how long a round trip took. One that took very long
// says little of the next.
func (s *state) observeRoundTrip(a attempt, now instant) {
	rtt := max(now-a.admitted, 0)
	if s.rtt == 0 {
		s.rtt, s.quickest = rtt, rtt
	}
	s.quickest = min(rtt, s.quickest+(rtt-s.quickest)/16)
	s.rtt += (min(rtt, 2*s.rtt) - s.rtt) / 8
	if !a.overdue(&s.generations) {
		s.generations.slack = 1
	}
}

// pause stops the whole service, for the longest allowed wait at most. After
// it, one attempt has to ask again.
func (s *state) pause(wait time.Duration, now instant) {
	until := now + min(wait, s.maxWait)
	until += s.jitter(until-now, 10)
	if until <= s.paused.until {
		return
	}
	s.paused = pause{until: until, declared: now + wait}
	s.quotas(func(q *quota) {
		q.maxInFlight = 0
		if q.phase >= assumed {
			q.window.shut = true // a pause is no time for bursts
			q.roll(s, now)
		}
	})
}
