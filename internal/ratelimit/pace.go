package ratelimit

import (
	"math"
	"time"
)

// verdict says whether an attempt may go, and if not, why.
type verdict struct {
	reason   Reason  // empty: it may go
	until    instant // when to look again; later than now
	declared instant // until, before it was bounded
	onlyTime bool    // whether only time can let it go, and no response can
}

func (v verdict) goes() bool { return v.reason == "" }

// admits says whether the quota lets one more attempt go.
func (q *quota) admits(s *state, now instant) verdict {
	w := &q.window
	inFlight := q.inFlight.total()
	overdue := q.inFlight.overdue(&s.generations, s.rtt)
	left := q.left(s)
	if q.phase == reported && !s.shared {
		left = s.portion(w.sent, left)
	}
	switch {
	case q.phase == slowStart && inFlight < max(q.maxInFlight, 1):
		return verdict{}
	case q.phase == slowStart && q.maxInFlight > 1:
		return verdict{reason: Turn, until: overdue}
	case q.phase == slowStart, q.phase == probing && left <= 0:
		return verdict{reason: Probe, until: overdue}
	case w.shut, w.leftToOthers, q.phase == reported && now >= w.ends:
		return q.closed(s)
	case left > 0 && q.phase == reported:
		return q.pace(s, left, now)
	case left > 0, inFlight == 0 && q.mayHaveMore(s):
		return verdict{}
	case inFlight == 0, s.shared:
		return q.closed(s)
	default:
		return verdict{reason: RateLimit, until: min(overdue, q.rolls(s))}
	}
}

// closed is the verdict until the window ends.
func (q *quota) closed(s *state) verdict {
	return verdict{reason: RateLimit, until: q.rolls(s), declared: q.window.declared, onlyTime: true}
}

// mayHaveMore reports whether something may be left although the ledger has
// nothing more: attempts were lost that the server may not have counted, or it is
// not clear yet whether the header counts down. One attempt will tell.
func (q *quota) mayHaveMore(s *state) bool {
	w := &q.window
	if q.phase != reported || w.number <= 0 || s.shared || s.share < 1 {
		return false
	}
	lost := w.lost.total() > 0 && (w.sent < q.limit || w.number > max(3, q.limit/8))
	return lost || q.meaning == unclear && w.responses < enough
}

// pace says whether one more attempt may go in a window in which something is
// left.
func (q *quota) pace(s *state, left int, now instant) verdict {
	w := &q.window
	inFlight := q.inFlight.total()
	limit := q.inFlightLimit(s, left)
	clients := q.activeClients()
	at := q.spread(s, left)
	switch {
	case inFlight > 0:
		at = max(at, min(limit.reaches(inFlight+1), q.inFlight.overdue(&s.generations, s.rtt)))
	case s.shared || limit.at(now) >= 1:
	case clients <= fewClients:
		at = max(at, min(limit.reaches(1), limit.next(w.last, s.rtt)))
	case float64(left) < clients*max(q.backoffFactor, 1)*s.random():
		w.leftToOthers = true
		return q.closed(s)
	}
	if now < at {
		return verdict{reason: Turn, until: min(at, q.rolls(s))}
	}
	return verdict{}
}

// fewClients is how many clients can wait for each other: of more than that, each
// leaves the last permits of a window to the others at random.
const fewClients = 4

// maxBackoffFactor keeps a client among many others from giving up its share.
const maxBackoffFactor = 4

// inFlightLimit is how many attempts may be in flight at once in the rest of a
// window.
//
// Other clients may be spending from the same quota at this moment. At most a
// quarter of what remains is in flight at once, divided by as many clients as
// there seem to be: so those that do alike see each other in time. When the
// window's time gets short, as many are in flight as it takes to use it up.
type inFlightLimit struct {
	steady float64 // whatever time is left
	work   float64 // divided by the time left, what uses the window up
	ends   instant // of the window, at the earliest
}

func (q *quota) inFlightLimit(s *state, left int) inFlightLimit {
	w := &q.window
	clients := q.activeClients()
	if q.bursts(s) || s.shared && clients <= 1 {
		return inFlightLimit{steady: math.Inf(1)}
	}
	remains := float64(left + q.inFlight.total())
	l := inFlightLimit{steady: min(remains/4, float64(2*w.responses)), work: 2 * remains * float64(s.rtt) / clients, ends: w.ends}
	if l.steady /= clients; clients <= 1 {
		l.steady = max(1, l.steady)
	} else {
		l.steady, l.work = l.steady/max(q.backoffFactor, 1), l.work/max(q.backoffFactor, 1)
	}
	if w.reset > 0 {
		l.ends -= (l.ends - min(l.ends, s.clock.mayReach(w.reset))) / 2
	}
	return l
}

// at is the limit at a moment. Below 1 it is the part of the time that one may be
// in flight.
func (l inFlightLimit) at(now instant) float64 {
	return max(l.steady, l.work/float64(max(l.ends-now, 1)))
}

// reaches is when the limit reaches n.
func (l inFlightLimit) reaches(n int) instant {
	if l.steady >= float64(n) {
		return 0
	}
	return l.ends - instant(l.work/float64(n))
}

// next is when the next attempt may go after the last one, where less than one
// may be in flight at a time.
func (l inFlightLimit) next(last instant, rtt time.Duration) instant {
	steadily := last + instant(float64(rtt)/max(l.steady, 1.0/64))
	k := float64(rtt) / max(l.work, 1)
	inTime := instant((float64(last) + k*float64(l.ends)) / (1 + k))
	return min(steadily, inTime)
}

// spread is when the next attempt may go in a window of unknown length that may
// be far shorter than it seems to be. The last few permits are spread over time
// then, so that they find its end.
func (q *quota) spread(s *state, left int) instant {
	const few = 4
	w := &q.window
	uncertain := w.ends - max(s.clock.mayReach(w.reset), w.opened)
	if left > few || q.length > 0 || w.reset == 0 || s.shared || uncertain <= (w.ends-w.opened)/4 {
		return 0
	}
	return min(w.opened+s.rtt<<(few+1-left), w.ends)
}
