package ratelimit

import "time"

// phase is what is known of a quota's current window.
type phase uint8

const (
	slowStart phase = iota // no limit is known: what may be in flight doubles with each response
	probing                // a new window, of which one attempt at a time asks
	assumed                // no response reports on the window: it is taken to be like the last one
	reported               // a response has said what remains
)

// meaning is what a Remaining header says.
type meaning uint8

const (
	unclear  meaning = iota
	counting         // what remains
	constant         // the limit, whatever remains
	lagging          // what remained some time ago
)

// quota is what responses have said of one limit, of the whole account or of a
// route.
type quota struct {
	inFlight    inFlight
	maxInFlight int // in slow start; 0 is 1
	threshold   int // how many responses came in before a 429 without headers: from half of it on, slow start is slower

	phase         phase
	meaning       meaning
	limit         int           // what a window admits, as far as it was seen
	length        time.Duration // of a window; 0 where not known
	missing       int           // windows in a row whose responses had no headers
	denied        int           // windows in a row that began with a 429
	clients       float64       // that seem to spend from it, this one included; from 1
	backoffFactor float64       // from 1: how much slower it is used among other clients, after windows in which they were overlooked
	serial        int           // of the window
	programs      int           // that asked for permits in the last window, where programs share the state
	wanted        int           // permits that they asked for and did not get in it
	window        window
}

const (
	// defaultWindow is what a 429 or a Remaining without a reset stands for.
	defaultWindow = 10 * time.Second

	// windowsRemembered is how many windows without headers are assumed to have the
	// last limit and length, before the limit counts as unknown again.
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
			q.observeLimit(n)
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

// count takes in a Remaining.
func (q *quota) count(s *state, a attempt, n int) {
	w := &q.window
	w.responses++
	q.observeLimit(n)
	switch {
	case n < w.number:
		w.fell = true
		if q.meaning != lagging {
			q.meaning = counting
		}
	case a.seq <= w.since && w.responses > 1:
		return // an older one, overtaken by a newer one
	}
	w.number, w.since = n, s.latest
	w.lost.include(a.seq)
	if q.meaning == unclear && w.responses >= enough && !w.fell && n == w.start && n > 0 {
		q.meaning = constant
	}
}

// observeLimit takes in that a window admits as many as remained in it, and the
// attempt that asked.
func (q *quota) observeLimit(n int) {
	if q.meaning <= counting {
		n = min(n+1, maxRemaining)
	}
	q.limit = max(q.limit, n)
}

// refuse takes in a 429 that reports on the window. Where the first response of a
// window is a 429, and the window began soon after the last one, that was not over
// yet, whatever the server declared: the wait for the next one doubles then.
func (q *quota) refuse(now instant) {
	w := &q.window
	switch {
	case w.number > 0 && w.fell:
		q.meaning = lagging
	case w.number > 0 && w.responses > 1:
		q.meaning = constant
	}
	if w.shut = true; w.responses == 1 && w.soon {
		q.denied = min(q.denied+1, 10)
		w.next = max(w.next, now+min(defaultWindow, minGeneration<<q.denied))
	}
}

// grow lets more be in flight in slow start.
func (q *quota) grow() {
	q.window.responses++
	n := max(q.maxInFlight, 1)
	if q.threshold > 0 && n > q.threshold/4 {
		q.maxInFlight = min(n+1, maxRemaining)
		return
	}
	q.maxInFlight = min(2*n, maxRemaining)
}

// restart begins slow start again after a 429 without headers.
func (q *quota) restart() {
	if q.phase == slowStart {
		q.threshold = max(2, q.window.responses)
		q.maxInFlight, q.window.responses = 0, 0
	}
}

// observeNoHeader settles an attempt whose response has no Remaining, although its
// status is a good one.
func (q *quota) observeNoHeader(s *state, a attempt, now instant) {
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
		q.assume(s, now, max(1, q.window.sent))
	case assumed, reported:
		q.spend(s, a)
	}
}
