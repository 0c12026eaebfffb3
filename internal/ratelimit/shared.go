package ratelimit

import (
	"math"
	"net/http"
	"time"
)

// What follows is for a state that programs share through a store. Each program
// takes permits in blocks, for those of its callers that wait, and says later
// what became of them.

// demand is what a program asks of a shared state for one route.
type demand struct {
	route  string
	want   int // permits
	serial int // of the window in which it asked last
	taken  int // permits that it took in that window
}

// grant is what a program gets. The permits are numbered from first on.
type grant struct {
	first   attempt
	n       int
	serial  int           // of the window
	known   bool          // whether what remains was known when they were taken
	expires instant       // when unused ones are worth nothing any more
	verdict verdict       // why there are no more, and until when
	rest    time.Duration // after the window's end, until the program asks again
}

// take takes permits. A program gets no more than its fair share of a window until
// all programs have had the time to ask.
func (s *state) take(d demand, now instant) grant {
	s.advance(now)
	q := s.lead(d.route)
	if q.serial != d.serial {
		q.window.asked++
		q.window.wanted += d.want
		d.taken = 0
	}
	g := grant{serial: q.serial, known: q.phase == reported, rest: s.rest(q), expires: now + time.Second}
	if q.phase >= assumed {
		g.expires = q.window.ends
	}
	most := min(d.want, s.allowed(q, d, now))
	for ; g.n < most; g.n++ {
		if g.verdict = s.admits(d.route, now); !g.verdict.goes() {
			break
		}
		if a := s.admit(d.route, now); g.n == 0 {
			g.first = a
		}
	}
	switch {
	case g.verdict.reason == Probe:
		g.verdict.until = min(g.verdict.until, now+s.probeTime())
	case g.verdict.goes() && g.n < d.want:
		g.verdict = s.afterOthers(q, d, now)
	}
	return g
}

// lead is the quota by whose windows programs ask for a route's permits: the global
// one, where there is one.
func (s *state) lead(route string) *quota {
	if s.global.phase != slowStart {
		return &s.global
	}
	return s.route(route)
}

// least is the least of what f says of the quotas that a route spends from and whose
// current window is known.
func (s *state) least(route string, f func(*quota) int) int {
	least := maxRemaining
	for _, q := range []*quota{&s.global, s.route(route)} {
		if q.phase == reported {
			least = min(least, f(q))
		}
	}
	return least
}

// left is how much is left for a route.
func (s *state) left(route string) int {
	return s.least(route, func(q *quota) int { return q.left(s) })
}

// probeTime is how long another program's probe takes.
func (s *state) probeTime() time.Duration {
	if s.rtt == 0 {
		return minGeneration
	}
	return s.rtt * 5 / 4
}

// spreadOfAsking is the time over which programs spread what they ask of the
// store when a window is over.
func (q *quota) spreadOfAsking() time.Duration {
	const each = 3 * time.Millisecond
	return min(time.Duration(max(q.programs, 1)-1)*each, q.lengthOr(defaultWindow)/5)
}

// rest is how long a program waits after the end of a window before it asks
// again: one or two ask at once, to probe, the others once the probe is over.
func (s *state) rest(q *quota) time.Duration {
	const early = 2
	rest := time.Duration(s.random() * float64(q.spreadOfAsking()))
	if s.random()*float64(max(q.programs, 1)) < early {
		return rest / 8
	}
	return s.probeTime() + rest
}

// everyoneAsked is when every program has had the time to ask.
func (s *state) everyoneAsked(q *quota) instant {
	return q.window.opened + q.spreadOfAsking() + s.rtt*3/2
}

// allowed is how many permits a program may take now.
func (s *state) allowed(q *quota, d demand, now instant) int {
	most := maxRemaining
	if q.phase == reported && q.programs > 1 && q.wanted > q.limit && now < s.everyoneAsked(q) {
		most = s.fair(q, d.route) - d.taken
	}
	left := s.left(d.route)
	return max(0, min(most, s.portion(d.taken, left)))
}

// fair is a program's fair share of a window.
func (s *state) fair(q *quota, route string) int {
	return s.least(route, func(of *quota) int {
		return int(math.Ceil(float64(of.limit) / float64(max(q.programs, 1))))
	})
}

// afterOthers is the verdict for a program that has its share and wants more. It
// asks again when everyone has asked, if something will be left then. That is
// known only where all programs are still there: a few ask in any case.
func (s *state) afterOthers(q *quota, d demand, now instant) verdict {
	const few = 16
	at := s.everyoneAsked(q)
	left := s.left(d.route) - s.fair(q, d.route)*max(0, q.programs-q.window.asked)
	if at <= now || left <= 0 && s.random()*float64(q.programs) > few {
		return q.closed(s)
	}
	return verdict{reason: Turn, until: at + time.Duration(s.random()*float64(q.spreadOfAsking()))}
}

// settlement is how an attempt ended that had a shared permit, or whose response
// says something of the limit. Its times are on the program's own clock.
type settlement struct {
	attempt  attempt  // its admitted is when it was sent
	n        int      // permits from it on that are cancelled; 0 for one that was used
	response response // its status is 0 where there was none
	at       instant
}

// isUrgent reports whether other programs wait for what became of an attempt.
func (e settlement) isUrgent(known bool) bool {
	return e.n > 0 || !known || e.response.status == http.StatusTooManyRequests
}

// settle takes in how attempts ended. ahead is the store's clock less the program's.
func (s *state) settle(all []settlement, ahead time.Duration) {
	for _, e := range all {
		a := e.attempt
		a.admitted += ahead
		switch {
		case e.n > 0:
			for range e.n {
				s.cancel(a)
				a.seq++
			}
		case e.response.status == 0:
			s.abandon(a)
		default:
			s.observe(a, e.response.limitsOnly(), e.at+ahead)
		}
	}
}

// limitsOnly is the response without what is not shared: a pause by address.
func (r response) limitsOnly() response {
	r.retryAfter = 0
	if r.refused() && !r.limited() && r.reset == 0 {
		r.status = http.StatusForbidden // it says nothing of the quotas
	}
	return r
}
