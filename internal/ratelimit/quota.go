package ratelimit

import (
	"math"
	"time"
)

// phase is what is known of a quota's current window.
type phase uint8

const (
	slowStart phase = iota // no limit is known: what may be in flight doubles with each response
	probing                // a new window, of which one attempt at a time asks
	passing                // nobody has told of the window: it is taken to be like the last one
	told                   // a response has told what remains
)

// meaning is what a Remaining header says.
type meaning uint8

const (
	unclear  meaning = iota
	counting         // what remains
	constant         // the limit, whatever remains
	lagging          // what remained some time ago
)

// quota is one limit, of the whole account or of a route, as far as responses
// have told of it.
type quota struct {
	inFlight    inFlight
	maxInFlight int // in slow start; 0 is 1
	threshold   int // how many responses came in before a 429 that told of nothing: from half of it on, slow start is slower

	phase    phase
	meaning  meaning
	limit    int           // what a window admits, as far as it was seen
	length   time.Duration // of a window; 0 where not known
	missing  int           // windows in a row whose responses had no headers
	denied   int           // windows in a row that began with a 429
	peers    float64       // programs that seem to spend from it, this one included; from 1
	serial   int           // of the window
	programs int           // that asked for permits in the last window, where programs share the state
	wanted   int           // permits that they asked for and did not get in it
	window   window
}

// window is one window of a quota.
type window struct {
	reset    time.Duration // its name: what X-Ratelimit-Reset said; while nobody has told of it, that of the last one
	openedBy uint64        // the latest attempt that was admitted when it was opened
	opened   instant
	ends     instant // when it is over for certain
	next     instant // when attempts of the next one may go: ends, and some jitter
	declared instant // ends, before it was bounded

	sent int  // attempts that it counts or may count
	lost lost // those that number may not include, and that nothing more will be heard of
	shut bool // whether a 429 has ended it early
	out  bool // whether the rest of it is left to others

	number   int     // the latest word on what remains
	asked    int     // programs that asked for permits
	wanted   int     // permits that they asked for
	since    uint64  // the latest attempt that was admitted when it came
	start    int     // the first word
	before   int     // attempts that the first word may include
	answered int     // responses with a number
	fell     bool    // whether the number was seen to fall
	first    instant // when the earliest attempt that it counted was sent
	last     instant // when the latest one was
}

const (
	// defaultWindow is what a 429 or a Remaining without a reset stands for.
	defaultWindow = 10 * time.Second

	// windowsRemembered is how many windows without headers pass at the last
	// limit and length before it counts as unknown again.
	windowsRemembered = 3

	// enough is how many equal numbers in a row show that a header is constant.
	enough = 5
)

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
	case q.phase == passing:
		return int(math.Ceil(float64(q.limit)/q.company())) - w.sent // the others do the same
	case q.meaning == counting && s.shared && q.peers <= 1:
		// Programs tell late of what they sent: as long as there are no others, the
		// first word and what was sent since then tell as much.
		return max(remains, min(w.number, w.start-(w.sent-w.before)))
	case q.meaning == counting:
		return remains
	case q.meaning == lagging:
		return min(remains, q.limit-w.sent)
	default:
		return min(remains, w.number-w.sent)
	}
}

// admit counts one more attempt.
func (q *quota) admit() {
	q.inFlight[0]++
	q.window.sent++
}

// cancel takes an attempt back of which nothing was sent.
func (q *quota) cancel(s *state, a attempt) {
	if q.inFlight.finish(&s.generations, a) {
		q.window.sent = max(0, q.window.sent-1)
	}
}

// spend settles an attempt whose end says nothing of what remains. An overdue
// one is counted as lost already.
func (q *quota) spend(s *state, a attempt) {
	if q.inFlight.finish(&s.generations, a) {
		q.window.lost.add(1, s.latest)
	}
}

// roll ends the window. Where round trips are as long as windows, what was
// said of it may be spent once in the next one, as a burst; else one attempt
// has to ask what remains in it.
func (q *quota) roll(s *state, now instant) {
	w := q.window
	burst := q.phase == told && q.bursts(s) && !w.shut
	q.learnPeers(s)
	q.turn()
	q.window = window{
		reset: w.reset, first: w.first, last: w.last,
		openedBy: s.latest, opened: now, sent: q.inFlight.total(),
	}
	q.phase = probing
	if burst {
		q.pass(s, now, q.window.sent)
	}
}

// turn takes note of what programs asked for in the window that is over.
func (q *quota) turn() {
	w := &q.window
	q.serial++
	q.programs, q.wanted = w.asked, max(0, w.wanted-w.sent)
	w.asked, w.wanted = 0, 0
}

// pass lets a window of which nobody has told pass at the last limit and length.
func (q *quota) pass(s *state, now instant, sent int) {
	q.phase = passing
	q.window.sent = sent
	q.window.close(s, now, now+q.lengthOr(defaultWindow))
	q.window.declared = q.window.ends // by nobody
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
	if q.phase == told && q.bursts(s) && !w.shut && q.left(s) <= 0 {
		return min(w.next, w.first+q.length)
	}
	return w.next
}

// observe takes in what the response to an attempt says remains, and reports
// whether that is about the current window.
func (q *quota) observe(s *state, a attempt, n int, r response, now instant) bool {
	switch q.locate(a, r) {
	case earlier:
		// It had been counted here because it might have been.
		if q.inFlight.finish(&s.generations, a) {
			q.window.sent = max(0, q.window.sent-1)
		}
		if r.reset == q.window.reset {
			q.learnLimit(n)
		}
		return false
	case later:
		q.open(s, a, n, r, now)
	case current:
	}
	q.inFlight.finish(&s.generations, a)
	q.count(s, a, n)
	if !r.refused() {
		q.denied = 0
	}
	q.bound(s, a, r, now)
	return true
}

// when is where a response belongs, seen from the current window.
type when int

const (
	earlier when = iota - 1
	current
	later
)

// locate says which window the response to an attempt tells of.
func (q *quota) locate(a attempt, r response) when {
	w := &q.window
	isTold := q.phase == told
	switch {
	case q.phase == slowStart, r.reset > w.reset && r.reset > 0:
		return later
	case r.reset == 0 && isTold, r.reset == w.reset && isTold:
		return current
	case r.reset < w.reset && a.seq > w.openedBy, r.reset == 0:
		return later // the server's clock was set back, or it gives no names
	case r.reset == w.reset && a.admitted >= w.opened:
		return later // the window was not over yet
	default:
		return earlier
	}
}

// open begins the window that a response tells of. Attempts in flight may be
// counted in it.
func (q *quota) open(s *state, a attempt, n int, r response, now instant) {
	if q.phase == told {
		q.learnPeers(s)
		q.turn()
	}
	if r.reset > 0 && r.reset == q.window.reset {
		q.unlearn(s, a, r, now)
	}
	q.learnLength(r)
	waits := q.inFlight.total()
	if a.overdue(&s.generations) {
		waits++
	}
	q.window = window{
		reset: r.reset, openedBy: s.latest, opened: now,
		sent: waits, before: waits, asked: q.window.asked, wanted: q.window.wanted, start: n, number: n, since: s.latest, first: a.admitted, last: a.admitted,
	}
	q.phase, q.missing, q.maxInFlight, q.limit = told, 0, 0, 0
}

// unlearn forgets what said that the window was over, which it was not.
func (q *quota) unlearn(s *state, a attempt, r response, now instant) {
	q.length = 0
	s.clock = serverClock{}
	if r.date > 0 {
		s.clock.observeDate(r.date, a.admitted, now)
	}
}

// learnLength takes in how far the resets of two windows are apart, where
// the first was over before the second one was told of: a server whose
// reset moves with every response has no windows of that length.
func (q *quota) learnLength(r response) {
	w := &q.window
	length := r.reset - w.reset
	switch {
	case w.reset == 0 || r.reset == 0 || length <= 0:
		return
	case r.date > 0 && r.date+time.Second <= w.reset:
		return
	case r.date < w.reset && w.last-w.first < 5*time.Millisecond:
		return
	case r.date == 0 && length > max(defaultWindow, 2*(w.last-w.first)), r.date > 0 && length > max(defaultWindow, 2*(r.reset-r.date)):
		return // windows have passed of which nobody told
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
	case w.answered == 1: // no reset, or one that lies in the server's own past
		w.close(s, now, now+q.lengthOr(defaultWindow))
		w.declared = w.ends
	}
	if w.answered > 1 {
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
		s.clock.observeReset(r.reset, q.guess(), a.admitted, now)
	}
}

// count takes in a number.
func (q *quota) count(s *state, a attempt, n int) {
	w := &q.window
	w.answered++
	q.learnLimit(n)
	switch {
	case n < w.number:
		w.fell = true
		if q.meaning != lagging {
			q.meaning = counting
		}
	case a.seq <= w.since && w.answered > 1:
		return // an older number, overtaken by a newer one
	}
	w.number, w.since = n, s.latest
	w.lost.include(a.seq)
	if q.meaning == unclear && w.answered >= enough && !w.fell && n == w.start && n > 0 {
		q.meaning = constant
	}
}

// learnLimit takes in that a window admits as many as remained in it, and the
// attempt that asked.
func (q *quota) learnLimit(n int) {
	if q.meaning <= counting {
		n = min(n+1, maxRemaining)
	}
	q.limit = max(q.limit, n)
}

// refuse takes in a 429 that told of the window. Where the first word on a window
// is a 429, the last one may not have been over, whatever the server declared: the
// wait for the next one doubles then.
func (q *quota) refuse(s *state, now instant) {
	w := &q.window
	switch {
	case w.number > 0 && w.fell:
		q.meaning = lagging
	case w.number > 0 && w.answered > 1:
		q.meaning = constant
	}
	if w.shut = true; w.answered == 1 {
		q.denied = min(q.denied+1, 10)
		w.next = max(w.next, now+min(defaultWindow, minGeneration<<q.denied))
	}
}

// guess is how long a window lasts of which nothing tells how long it is.
func (q *quota) guess() time.Duration {
	return q.lengthOr(defaultWindow << min(q.denied, 3))
}

// grow lets more be in flight in slow start.
func (q *quota) grow() {
	q.window.answered++
	n := max(q.maxInFlight, 1)
	if q.threshold > 0 && n > q.threshold/4 {
		q.maxInFlight = min(n+1, maxRemaining)
		return
	}
	q.maxInFlight = min(2*n, maxRemaining)
}

// restart begins slow start again after a 429 that told of nothing.
func (q *quota) restart() {
	if q.phase == slowStart {
		q.threshold = max(2, q.window.answered)
		q.maxInFlight, q.window.answered = 0, 0
	}
}

// unsaid settles an attempt whose response had no number, although it was not
// a bad one.
func (q *quota) unsaid(s *state, a attempt, now instant) {
	switch q.phase {
	case slowStart:
		q.inFlight.finish(&s.generations, a)
		q.grow()
	case probing:
		q.spend(s, a)
		if a.seq <= q.window.openedBy {
			return // of the last window
		}
		if q.missing++; q.missing > windowsRemembered {
			*q = quota{inFlight: q.inFlight, maxInFlight: 2, threshold: q.threshold}
			return
		}
		q.pass(s, now, max(1, q.window.sent))
	case passing, told:
		q.spend(s, a)
	}
}
