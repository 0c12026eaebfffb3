package ratelimit

import "time"

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

	phase         phase
	meaning       meaning
	limit         int           // what a window admits, as far as it was seen
	length        time.Duration // of a window; 0 where not known
	missing       int           // windows in a row whose responses had no headers
	denied        int           // windows in a row that began with a 429
	peers         float64       // programs that seem to spend from it, this one included; from 1
	backoffFactor float64       // from 1: how much slower it is used among other programs, who were overlooked in windows before
	serial        int           // of the window
	programs      int           // that asked for permits in the last window, where programs share the state
	wanted        int           // permits that they asked for and did not get in it
	window        window
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

// observe takes in what the response to an attempt says remains, and reports
// whether that is about the current window.
func (q *quota) observe(s *state, a attempt, n int, r response, now instant) bool {
	switch q.locate(s, a, r) {
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
// is a 429, and it began soon after the last one, that was not over yet, whatever
// the server declared: the wait for the next one doubles then.
func (q *quota) refuse(s *state, now instant) {
	w := &q.window
	switch {
	case w.number > 0 && w.fell:
		q.meaning = lagging
	case w.number > 0 && w.answered > 1:
		q.meaning = constant
	}
	if w.shut = true; w.answered == 1 && w.soon {
		q.denied = min(q.denied+1, 10)
		w.next = max(w.next, now+min(defaultWindow, minGeneration<<q.denied))
	}
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
