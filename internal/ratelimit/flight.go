package ratelimit

import "time"

// generations divide time into slices, so that a few counters tell how long attempts
// have been in flight. An attempt is overdue once generationsInFlight slices have
// begun after its own.
//
// An overdue attempt does not keep others waiting any more. Each time that
// attempts become overdue the next ones are given twice the time, until a
// response comes in: a service that has become slow must not seem to lose them.
type generations struct {
	number uint64 // of the current one
	began  instant
	slack  int64 // how many times the usual length they last, from 1
}

const (
	generationsInFlight = 3

	// A response is overdue after 2.4 to 3.6 of the usual round trips, and after
	// 120 to 180 ms at least.
	minGeneration = 60 * time.Millisecond
	maxGeneration = 10 * time.Second
	maxSlack      = 64
)

// length is how long a generation lasts.
func (g *generations) length(rtt time.Duration) time.Duration {
	usual := max(minGeneration, min(rtt, maxGeneration)*6/5)
	return min(time.Duration(max(g.slack, 1))*usual, max(usual, maxGeneration))
}

// attempt is what an admitted attempt has to remember until it ends.
type attempt struct {
	seq        uint64 // its number in the order of admission, from 1; 0 for one that another state admitted
	generation uint64
	admitted   instant
	route      string
}

func (a attempt) overdue(g *generations) bool {
	return a.seq == 0 || g.number-a.generation >= generationsInFlight
}

// inFlight counts attempts without a response, by generation, the current one first.
type inFlight [generationsInFlight]int

func (f *inFlight) total() (n int) {
	for _, of := range f {
		n += of
	}
	return n
}

// finish takes an attempt out of those in flight, and reports whether it was
// among them: an overdue one is not.
func (f *inFlight) finish(g *generations, a attempt) bool {
	age := g.number - a.generation
	if a.seq == 0 || age >= generationsInFlight || f[age] == 0 {
		return false
	}
	f[age]--
	return true
}

// overdue is when the oldest attempts in flight become overdue.
func (f *inFlight) overdue(g *generations, rtt time.Duration) instant {
	left := generationsInFlight
	for i, of := range f {
		if of > 0 {
			left = generationsInFlight - i
		}
	}
	return g.began + time.Duration(left)*g.length(rtt)
}

// age begins another generation, and returns how many attempts became overdue.
func (f *inFlight) age() int {
	overdue := f[generationsInFlight-1]
	copy(f[1:], f[:generationsInFlight-1])
	f[0] = 0
	return overdue
}

// lost counts attempts that ended without a Remaining, and of which it is not
// known whether the latest Remaining includes them. A response to an attempt that
// was admitted after they had ended does include them. Those that are lost while
// the others wait for such a response are a second batch, so that steady losses
// cannot put it off for ever. Those that are overdue where programs share the state
// count until the window ends.
type lost struct {
	older, newer batch
	overdue      int
}

type batch struct {
	n   int
	seq uint64 // the latest attempt that was admitted by the time they ended
}

func (l *lost) total() int { return l.older.n + l.newer.n + l.overdue }

func (l *lost) add(n int, latest uint64) {
	to := &l.newer
	if l.older.n == 0 {
		to = &l.older
	}
	to.n, to.seq = to.n+n, latest
}

// include forgets those that a response to this attempt includes.
func (l *lost) include(seq uint64) {
	if l.older.n > 0 && seq > l.older.seq {
		l.older, l.newer = l.newer, batch{}
	}
	if l.older.n > 0 && seq > l.older.seq {
		l.older = batch{}
	}
}
