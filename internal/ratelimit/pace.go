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
	sure     bool    // whether nothing but time can let it go
}

func (v verdict) goes() bool { return v.reason == "" }

// admits says whether the quota lets one more attempt go.
func (q *quota) admits(s *state, now instant) verdict {
	w := &q.window
	flying := q.inFlight.total()
	overdue := q.inFlight.overdue(&s.generations, s.rtt)
	left := q.left(s)
	if q.phase == told && !s.shared {
		left = s.portion(w.sent, left)
	}
	switch {
	case q.phase == slowStart && flying < max(q.maxInFlight, 1):
		return verdict{}
	case q.phase == slowStart && q.maxInFlight > 1:
		return verdict{reason: Turn, until: overdue}
	case q.phase == slowStart, q.phase == probing && left <= 0:
		return verdict{reason: Probe, until: overdue}
	case w.shut, w.out, q.phase == told && now >= w.ends:
		return q.closed(s)
	case left > 0 && q.phase == told:
		return q.pace(s, left, now)
	case left > 0, flying == 0 && q.isDoubtful(s):
		return verdict{}
	case flying == 0, s.shared:
		return q.closed(s)
	default:
		return verdict{reason: RateLimit, until: min(overdue, q.rolls(s))}
	}
}

// closed is the verdict until the window ends.
func (q *quota) closed(s *state) verdict {
	return verdict{reason: RateLimit, until: q.rolls(s), declared: q.window.declared, sure: true}
}

// isDoubtful reports whether something may be left although the ledger has
// nothing more: attempts were lost that were perhaps not counted, or it is not
// clear yet whether the header counts down. One attempt will tell.
func (q *quota) isDoubtful(s *state) bool {
	w := &q.window
	if q.phase != told || w.number <= 0 || s.shared || s.share < 1 {
		return false
	}
	lost := w.lost.total() > 0 && (w.sent < q.limit || w.number > max(3, q.limit/8))
	return lost || q.meaning == unclear && w.answered < enough
}

// pace says whether one more attempt may go in a window in which something is
// left.
func (q *quota) pace(s *state, left int, now instant) verdict {
	w := &q.window
	flying := q.inFlight.total()
	t := q.tempo(s, left)
	company := q.company()
	at := q.spread(s, left)
	switch {
	case flying > 0:
		at = max(at, min(t.reaches(flying+1), q.inFlight.overdue(&s.generations, s.rtt)))
	case s.shared || t.most(now) >= 1:
	case company <= fewPeers:
		at = max(at, min(t.reaches(1), t.follows(w.last, s.rtt)))
	case float64(left) < company*max(q.backoffFactor, 1)*s.random():
		w.out = true
		return q.closed(s)
	}
	if now < at {
		return verdict{reason: Turn, until: min(at, q.rolls(s))}
	}
	return verdict{}
}

// fewPeers is how many programs can wait for each other: of more than that, each
// leaves the last permits of a window to the others at random.
const fewPeers = 4

// maxBackoffFactor keeps a program among many others from giving up its part.
const maxBackoffFactor = 4

// tempo is how fast the rest of a window may be used.
//
// Other programs may be spending from the same quota at this moment. At most a
// quarter of what remains is in flight at once, so that programs that think
// alike see each other in time, and divided by as many of them as there seem to
// be. When the window's time gets short, as many are in flight as it takes to
// use it up.
type tempo struct {
	steady float64 // attempts in flight, whatever time is left
	urge   float64 // attempts in flight times the time left
	ends   instant
}

func (q *quota) tempo(s *state, left int) tempo {
	w := &q.window
	company := q.company()
	if q.bursts(s) || s.shared && company <= 1 {
		return tempo{steady: math.Inf(1)}
	}
	remains := float64(left + q.inFlight.total())
	t := tempo{steady: min(remains/4, float64(2*w.answered)), urge: 2 * remains * float64(s.rtt) / company, ends: w.ends}
	if t.steady /= company; company <= 1 {
		t.steady = max(1, t.steady)
	} else {
		t.steady, t.urge = t.steady/max(q.backoffFactor, 1), t.urge/max(q.backoffFactor, 1)
	}
	if w.reset > 0 {
		t.ends -= (t.ends - min(t.ends, s.clock.mayReach(w.reset))) / 2
	}
	return t
}

// most is how many attempts may be in flight at once. Below 1 it is the part of
// a round trip that one may be.
func (t tempo) most(now instant) float64 {
	return max(t.steady, t.urge/float64(max(t.ends-now, 1)))
}

// reaches is when so many attempts may be in flight.
func (t tempo) reaches(n int) instant {
	if t.steady >= float64(n) {
		return 0
	}
	return t.ends - instant(t.urge/float64(n))
}

// follows is when the next attempt may go after the last one, where less than
// one may be in flight at a time.
func (t tempo) follows(last instant, rtt time.Duration) instant {
	steadily := last + instant(float64(rtt)/max(t.steady, 1.0/64))
	k := float64(rtt) / max(t.urge, 1)
	inTime := instant((float64(last) + k*float64(t.ends)) / (1 + k))
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
