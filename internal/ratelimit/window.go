package ratelimit

import (
	"math"
	"time"
)

// window is one window of a quota.
type window struct {
	reset    time.Duration // its name: its X-Ratelimit-Reset; that of the last window until a response reports on it
	openedBy uint64        // the latest attempt that was admitted when it was opened
	opened   instant
	ends     instant // when it is over for certain
	next     instant // when attempts of the next one may go: ends, and some jitter
	declared instant // ends, before it was bounded

	sent int  // attempts that it counts or may count
	lost lost // those that number may not include, and that nothing more will be heard of
	soon bool // whether it began when the last one may not have been over
	shut bool // whether a 429 has ended it early

	leftToOthers bool // whether the rest of it is

	number    int     // the latest Remaining
	since     uint64  // the latest attempt that was admitted when that came
	start     int     // the first Remaining
	before    int     // attempts that the first Remaining may include
	responses int     // that had a Remaining; in slow start, those that had none
	fell      bool    // whether Remaining was seen to fall
	first     instant // when the earliest attempt that it counted was sent
	last      instant // when the latest one was

	asked  int // programs that asked for permits, where they share the state
	wanted int // permits that they asked for
}

// remaining is what remains in the window, as far as it is known.
func (q *quota) remaining() int {
	if q.meaning == constant {
		return max(0, q.window.number-q.window.sent)
	}
	return max(0, q.window.number-q.inFlight.total()-q.window.lost.total())
}

// left is how many more attempts the window lets be sent.
func (q *quota) left(s *state) int {
	w := &q.window
	switch remains := w.number - q.inFlight.total() - w.lost.total(); {
	case q.phase == probing:
		return 1 - q.inFlight.total()
	case q.phase == assumed:
		return int(math.Ceil(float64(q.limit)/q.activeClients())) - w.sent // the others do the same
	case q.meaning == counting && s.shared && q.clients <= 1:
		// Programs report late what they sent: as long as there are no other clients,
		// the first Remaining less what was sent since says as much. It includes the
		// attempt that asked; those that were in flight may have come later.
		return max(remains, min(w.number, w.start-(w.sent-min(w.before, 1))))
	case q.meaning == counting:
		return remains
	case q.meaning == lagging:
		return min(remains, q.limit-w.sent)
	default:
		return min(remains, w.number-w.sent)
	}
}

// roll ends the window. Where round trips are as long as windows, what a response
// said of it may be spent once in the next one, as a burst; else one attempt has
// to ask what remains in that.
func (q *quota) roll(s *state, now instant) {
	w := q.window
	burst := q.phase == reported && q.bursts(s) && !w.shut
	q.rememberClients(s)
	q.countDemand()
	q.window = window{
		reset: w.reset, first: w.first, last: w.last,
		openedBy: s.latest, opened: now, sent: q.inFlight.total(),
	}
	q.phase = probing
	if burst {
		q.assume(s, now, q.window.sent)
	}
}

// countDemand keeps what programs asked for in the window that is over.
func (q *quota) countDemand() {
	w := &q.window
	q.serial++
	q.programs, q.wanted = w.asked, max(0, w.wanted-w.sent)
	w.asked, w.wanted = 0, 0
}

// assume begins a window without waiting for a response that reports on it: it is
// taken to have the last limit and length.
func (q *quota) assume(s *state, now instant, sent int) {
	q.phase = assumed
	q.window.sent = sent
	q.window.close(s, now, now+q.lengthOr(defaultWindow))
	q.window.declared = q.window.ends // no server did
}

// close sets when the window ends.
func (w *window) close(s *state, now, ends instant) {
	w.declared = ends
	w.ends = min(max(ends, now), now+s.maxWait)
	if w.next = w.ends; !s.shared { // programs that share a state spread what they ask by themselves
		w.next += s.jitter(w.ends-now, 100)
	}
}

func (q *quota) lengthOr(otherwise time.Duration) time.Duration {
	if q.length > 0 {
		return q.length
	}
	return otherwise
}

// bursts reports whether round trips are so long that asking first would leave
// most of a window unused.
func (q *quota) bursts(s *state) bool { return q.length > 0 && s.quickest > q.length/4 }

// rolls is when the window is over.
//
// An attempt that is sent a window's length after one that the window counted
// is handled in a later one, where both take equally long to arrive. Without
// bursts nothing is sent before the window is over for certain.
func (q *quota) rolls(s *state) instant {
	w := &q.window
	if q.phase == reported && q.bursts(s) && !w.shut && q.left(s) <= 0 {
		return min(w.next, w.first+q.length)
	}
	return w.next
}

// when is where a response belongs, seen from the current window.
type when int

const (
	earlier when = iota - 1
	current
	later
)

// locate says which window the response to an attempt reports on.
func (q *quota) locate(s *state, a attempt, r response) when {
	w := &q.window
	isReported := q.phase == reported
	switch {
	case q.phase == slowStart, r.reset > w.reset && r.reset > 0:
		return later
	case r.reset == 0 && isReported, r.reset == w.reset && isReported:
		return current
	case r.reset < w.reset && a.seq > w.openedBy, r.reset == 0:
		return later // the server's clock was set back, or it gives no names
	case r.reset == w.reset && a.admitted >= w.opened && !a.overdue(&s.generations):
		return later // the window was not over yet
	default:
		return earlier
	}
}

// open begins the window that a response reports on. Attempts in flight may be
// counted in it.
func (q *quota) open(s *state, a attempt, n int, r response, now instant) {
	if q.phase == reported {
		q.rememberClients(s)
		q.countDemand()
	}
	again := r.reset > 0 && r.reset == q.window.reset
	if again {
		q.forgetLength(s, a, r, now)
	}
	soon := again || q.window.last > 0 && a.admitted-q.window.last < minGeneration<<(q.denied+1)
	q.observeLength(r)
	sent := q.inFlight.total()
	if a.overdue(&s.generations) {
		sent++
	}
	q.window = window{
		reset: r.reset, openedBy: s.latest, opened: now, soon: soon,
		sent: sent, before: sent, start: n, number: n, since: s.latest, first: a.admitted, last: a.admitted,
		asked: q.window.asked, wanted: q.window.wanted,
	}
	q.phase, q.missing, q.maxInFlight, q.limit = reported, 0, 0, 0
}

// forgetLength forgets the length and the clock by which the window seemed to be
// over, which it was not.
func (q *quota) forgetLength(s *state, a attempt, r response, now instant) {
	q.length = 0
	s.clock = serverClock{}
	if r.date > 0 {
		s.clock.observeDate(r.date, a.admitted, now)
	}
}

// observeLength takes in how far the resets of two windows are apart, where the
// first was over before a response reported on the second: a server whose reset
// moves with every response has no windows of that length.
func (q *quota) observeLength(r response) {
	w := &q.window
	length := r.reset - w.reset
	switch {
	case w.reset == 0 || r.reset == 0 || length <= 0:
		return
	case r.date > 0 && r.date+time.Second <= w.reset:
		return // the first one was not over
	case r.date < w.reset && w.last-w.first < 5*time.Millisecond:
		return // it may not have been over, and no two responses at different times had its reset
	case r.date == 0 && length > max(defaultWindow, 2*(w.last-w.first)), r.date > 0 && length > max(defaultWindow, 2*(r.reset-r.date)):
		return // there were windows in between on which no response has reported
	case q.length == 0 || length < q.length:
		q.length = length
	}
}

// bound takes in what a response of the current window says of its end.
func (q *quota) bound(s *state, a attempt, r response, now instant) {
	w := &q.window
	w.first, w.last = min(w.first, a.admitted), max(w.last, a.admitted)
	jitter := w.next - w.ends
	switch {
	case r.reset > r.date:
		q.boundClock(s, a, r, now)
		w.close(s, now, s.clock.reaches(r.reset))
	case w.responses == 1: // no reset, or one that lies in the server's own past
		w.close(s, now, now+q.lengthOr(defaultWindow))
		w.declared = w.ends
	}
	if w.responses > 1 {
		w.next = w.ends + jitter
	}
}

// boundClock takes in that the server handled an attempt before the reset, and
// within the window's length of it.
func (q *quota) boundClock(s *state, a attempt, r response, now instant) {
	switch high := r.reset - a.admitted; {
	case s.isVague(a):
	case q.length == 0 && r.date > 0 && s.clock.low < high:
		s.clock.bound(s.clock.low, high, now)
	default:
		s.clock.observeReset(r.reset, q.lengthOr(defaultWindow), a.admitted, now)
	}
}
