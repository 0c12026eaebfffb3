package ratelimit

import (
	"bytes"
	"container/heap"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const fewWindows = 3000

var (
	simWindows = flag.Int("sim.windows", fewWindows, "how many windows the simulation runs through; if more than the default, other worlds each time")
	simSeed    = flag.Uint64("sim.seed", 0, "the only world that the simulation runs; 0 for many")
)

// world is one random world: a server, what goes wrong, and those who call.
type world struct {
	Seed     uint64
	Kind     string
	Window   time.Duration
	Global   int // limits; 0 is none
	Route    int
	Routes   int
	Date     bool
	Reset    bool
	Headers  float64 // the share of responses that have limit headers
	Constant bool
	Lag      int
	Counts   float64       // the share of requests that are counted
	Ahead    time.Duration // the server's clock

	RTT      time.Duration
	Jitter   float64 // of each way of a round trip, as a share of it
	Programs int
	Callers  int // of each
	Think    time.Duration
	For      int // windows

	Lost    float64 // the share of requests whose response is lost
	Never   float64 // that never arrive
	Late    float64 // whose response comes very late
	Cancel  float64 // that are cancelled before they are sent
	Bad     float64 // that get a 404 or a 503 without headers
	Steps   float64 // with which the server's clock is set
	Pauses  float64 // with which the server asks for a pause
	Hang    time.Duration
	MaxWait time.Duration
}

func randomWorld(seed uint64) world {
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(of ...int) int { return of[r.IntN(len(of))] }
	length := func(of ...time.Duration) time.Duration { return of[r.IntN(len(of))] }
	often := func(p float64) float64 {
		if r.IntN(3) > 0 {
			return 0
		}
		return p * r.Float64()
	}
	kinds := []string{"fixed", "fixed", "fixed", "floating", "sliding", "sliding, oldest", "bucket", "bucket, next"}
	const ms = time.Millisecond
	w := world{
		Seed: seed, Kind: kinds[r.IntN(len(kinds))],
		Window: length(100*ms, 500*ms, time.Second, 10*time.Second, 10*time.Second, time.Minute),
		Global: pick(0, 5, 20, 100), Route: pick(0, 1, 2, 10, 50, 100), Routes: pick(1, 1, 2, 3),
		Date: r.IntN(4) > 0, Reset: r.IntN(6) > 0, Headers: 1, Constant: r.IntN(8) == 0, Lag: pick(0, 0, 0, 0, 1), Counts: 1,
		Ahead: time.Duration(1+r.IntN(50))*365*24*time.Hour + time.Duration(r.IntN(10_000))*ms,
		RTT:   length(ms, 10*ms, 50*ms, 50*ms, 200*ms, time.Second, 3*time.Second), Jitter: r.Float64() / 2,
		Programs: pick(1, 1, 1, 1, 2, 8), Callers: pick(1, 3, 20, 200), Think: length(0, 0, 20*ms, 2*time.Second),
		For:  pick(5, 20, 60),
		Lost: often(0.5), Never: often(0.3), Late: often(0.2), Cancel: often(0.3), Bad: often(0.3),
		Steps: often(0.001), Pauses: often(0.001),
		Hang: length(ms, 300*ms, 30*time.Second), MaxWait: 5 * time.Minute,
	}
	if r.IntN(5) == 0 {
		w.Headers = r.Float64()
	}
	if r.IntN(8) == 0 {
		w.Counts = 0.5
	}
	return w
}

// simulation runs a world through.
type simulation struct {
	world
	random   *rand.Rand
	now      instant
	queue    events
	server   *simServer
	programs []*program
	faults   int
	trace    uint64 // of the decisions, for comparing two runs
	err      error
}

// program is one program's state and those who wait for it.
type program struct {
	state    *state
	waiting  []int // by route
	inFlight int
	good     int // responses without limit headers, of the kind that says something
	woken    instant
	last     instant // when an attempt was admitted last, or somebody began to wait
}

type event struct {
	at  instant
	seq int
	do  func()
}

// events is a heap of what happens next.
type events struct {
	all []event
	seq int
}

func (e *events) Len() int { return len(e.all) }
func (e *events) Less(i, j int) bool {
	return e.all[i].at < e.all[j].at || e.all[i].at == e.all[j].at && e.all[i].seq < e.all[j].seq
}
func (e *events) Swap(i, j int) { e.all[i], e.all[j] = e.all[j], e.all[i] }
func (e *events) Push(x any)    { e.all = append(e.all, x.(event)) }
func (e *events) Pop() any {
	last := e.all[len(e.all)-1]
	e.all = e.all[:len(e.all)-1]
	return last
}

func (s *simulation) after(d time.Duration, do func()) {
	s.queue.seq++
	heap.Push(&s.queue, event{s.now + max(d, 0), s.queue.seq, do})
}

func newSimulation(w world) *simulation {
	s := &simulation{world: w, random: rand.New(rand.NewPCG(w.Seed, 1)), now: time.Second}
	s.server = newSimServer(w, s.random)
	for range w.Programs {
		p := &program{waiting: make([]int, w.Routes), last: s.now}
		p.state = newState(rules{maxWait: w.MaxWait, random: s.random.Float64})
		s.programs = append(s.programs, p)
		for i := range w.Callers {
			s.after(0, func() { s.wait(p, i%w.Routes) })
		}
	}
	return s
}

// run returns the first invariant that was broken.
func (s *simulation) run() error {
	const most = 100_000 // events
	for s.err == nil && s.queue.Len() > 0 && s.queue.seq < most && s.server.windows(s.now) < s.For {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		e.do()
		if s.queue.Len() > 0 && s.queue.all[0].at == s.now {
			continue // more happens at this moment
		}
		for _, p := range s.programs {
			s.check(p)
		}
	}
	return s.err
}

func routeName(i int) string { return string(rune('a' + i)) }

func (s *simulation) wait(p *program, route int) {
	if p.waiting[route]++; p.total() == 1 {
		p.last = s.now
	}
	s.admitWaiting(p)
}

func (p *program) total() (n int) {
	for _, waiting := range p.waiting {
		n += waiting
	}
	return n
}

// admitWaiting does what the limiter does.
func (s *simulation) admitWaiting(p *program) {
	p.state.advance(s.now)
	for {
		next, wake := -1, instant(0)
		for route, waiting := range p.waiting {
			if waiting == 0 {
				continue
			}
			v := p.state.admits(routeName(route), s.now)
			switch {
			case v.goes():
				next = route
			case wake == 0 || v.until < wake:
				wake = v.until
			}
		}
		if next < 0 {
			if wake != 0 && wake != p.woken {
				p.woken = wake
				s.after(wake-s.now, func() { s.wake(p, wake) })
			}
			return
		}
		p.waiting[next]--
		s.send(p, next)
	}
}

func (s *simulation) wake(p *program, at instant) {
	if p.woken != at {
		return // the timer was set anew
	}
	p.woken = 0
	s.admitWaiting(p)
}

// way is how long one way of a round trip takes.
func (s *simulation) way() time.Duration {
	return time.Duration(float64(s.RTT) / 2 * (1 + s.Jitter*(2*s.random.Float64()-1)))
}

func (s *simulation) fault(p float64) bool {
	if p == 0 || s.random.Float64() >= p {
		return false
	}
	s.faults++
	return true
}

// send admits an attempt, and schedules what becomes of it.
func (s *simulation) send(p *program, route int) {
	a := p.state.admit(routeName(route), s.now)
	p.inFlight++
	p.last = s.now
	if q := p.state.route(a.route); q.phase == slowStart && (q.inFlight.total() > max(1, q.maxInFlight) || float64(q.maxInFlight) > math.Pow(2, float64(p.good))) {
		s.err = fmt.Errorf("at %v: %d in flight of %d, while nothing is known, after %d responses without limits", s.now, q.inFlight.total(), q.maxInFlight, p.good)
	}
	s.trace = s.trace*31 + uint64(s.now)
	end := func(wait time.Duration, settle func()) {
		s.after(wait, func() {
			p.inFlight--
			settle()
			s.admitWaiting(p)
			s.after(time.Duration(s.random.Float64()*float64(s.Think)), func() { s.wait(p, route) })
		})
	}
	p.state.advance(s.now)
	switch {
	case s.fault(s.Cancel):
		end(0, func() { p.state.cancel(a) })
		return
	case s.fault(s.Never):
		end(s.Hang, func() { p.state.abandon(a) })
		return
	case s.fault(s.Steps):
		s.server.ahead += time.Duration(s.random.Int64N(int64(2*time.Hour))) - time.Hour
	case s.fault(s.Pauses):
		s.server.pauses = s.now + time.Duration(s.random.IntN(30))*time.Second
	}
	s.after(s.way(), func() {
		r := s.server.handle(s.now, route)
		back := s.way()
		switch {
		case s.fault(s.Lost):
			end(s.Hang, func() { p.state.abandon(a) })
			return
		case s.fault(s.Late):
			back = time.Duration(s.random.Float64() * 3 * float64(s.Window))
		case s.fault(s.Bad):
			r = response{status: []int{404, 503}[s.random.IntN(2)]}
		}
		if r.status < 400 && (!r.global.present || !r.route.present) {
			p.good++
		}
		end(back, func() {
			p.state.advance(s.now)
			p.state.observe(a, r, s.now)
		})
	})
}

// check checks the invariants of a program's state.
func (s *simulation) check(p *program) {
	st := p.state
	st.advance(s.now)
	fail := func(format string, args ...any) {
		if s.err == nil {
			s.err = fmt.Errorf("at %v: %s", s.now, fmt.Sprintf(format, args...))
		}
	}
	st.quotas(func(q *quota) {
		w := &q.window
		total := q.inFlight.total()
		switch {
		case total > p.inFlight:
			fail("%d in flight, the state has %d", p.inFlight, total)
		case w.sent < 0 || w.lost.total() < 0 || w.responses < 0:
			fail("a count below zero: %+v", *w)
		case q.phase == reported && q.meaning == counting && q.left(st) > w.number:
			fail("%d left of %d", q.left(st), w.number)
		case q.phase >= assumed && w.ends > s.now+s.MaxWait:
			fail("a window ends in %v", w.ends-s.now)
		}
	})
	if len(st.routes) > 1 && len(st.routes) > s.Routes {
		fail("%d routes", len(st.routes))
	}
	s.checkLiveness(p, fail)
	if s.queue.seq%64 == 0 {
		s.checkEncoding(p, fail)
	}
}

// checkEncoding checks that a state survives being stored, and is small.
func (s *simulation) checkEncoding(p *program, fail func(string, ...any)) {
	data := p.state.encode()
	again, err := decode(data, p.state.rules, s.now)
	switch {
	case err != nil:
		fail("a state that was stored: %v", err)
	case len(data) > 400*(1+s.Routes)/2:
		fail("%d bytes", len(data))
	case s.Steps == 0 && !bytes.Equal(again.encode(), data):
		fail("a state that was stored is another one")
	}
}

// checkLiveness checks that whoever waits is looked at again, and soon enough.
func (s *simulation) checkLiveness(p *program, fail func(string, ...any)) {
	for route, waiting := range p.waiting {
		if waiting == 0 {
			continue
		}
		v := p.state.admits(routeName(route), s.now)
		switch {
		case v.goes():
			fail("somebody waits who may go")
		case v.until <= s.now:
			fail("a wait for %s until %v, which is over", v.reason, v.until)
		case v.until > s.now+s.MaxWait*11/10+5*time.Second:
			fail("a wait for %s of %v", v.reason, v.until-s.now)
		case p.woken == 0:
			fail("nobody wakes those who wait for %s", v.reason)
		}
	}
	if p.total() == 0 || s.now < p.state.paused.until+time.Second {
		p.last = max(p.last, s.now)
		return
	}
	if silence := s.now - p.last; silence > s.silence(p) {
		fail("nothing was sent for %v", silence)
	}
}

// silence is how long nothing may be sent while somebody waits: a window and a few
// round trips. A server whose clock is set, or whose resets do not name windows, may
// declare anything up to the longest wait.
func (s *simulation) silence(p *program) time.Duration {
	window := max(s.Window, defaultWindow)
	p.state.quotas(func(q *quota) { window = max(window, q.length) }) // as far as it is known
	switch {
	case s.Steps > 0:
		window = 2 * s.MaxWait // a clock that is set may declare anything, and again
	case s.Headers < 1:
		window = 3*window + 12*time.Second // windows pass as the last one did, and a 429 without headers is a pause
	}
	if !s.Date {
		window *= 2 // it is not known when a window began
	}
	if s.Late > 0 && s.Kind != "fixed" && s.Kind != "floating" {
		window *= 2 // what resets say that move with every request is no longer so when it comes late
	}
	if s.Kind != "fixed" && s.Global > 0 && s.Route > 0 {
		window *= 2 // one header tells of the ends of several
	}
	slack := max(1, p.state.generations.slack)
	if s.Lost+s.Never > 0 {
		slack = maxSlack // it has been longer in the meantime
	}
	rtt := max(s.RTT*2, p.state.rtt) // or what late responses make it seem
	roundTrips := min(4*max(rtt, minGeneration)*time.Duration(slack), 4*maxGeneration)
	return window*102/100 + 2*time.Second + s.RTT*2 + roundTrips
}

// shrink makes a world that fails as simple as it can be, so that it still does.
func shrink(w world) world {
	simpler := []func(*world){
		func(w *world) { w.Programs = 1 }, func(w *world) { w.Callers /= 2 }, func(w *world) { w.Routes = 1 },
		func(w *world) { w.For /= 2 }, func(w *world) { w.Lost = 0 }, func(w *world) { w.Never = 0 }, func(w *world) { w.Late = 0 },
		func(w *world) { w.Cancel = 0 }, func(w *world) { w.Bad = 0 }, func(w *world) { w.Steps = 0 }, func(w *world) { w.Pauses = 0 },
		func(w *world) { w.Jitter = 0 }, func(w *world) { w.Think = 0 }, func(w *world) { w.Lag = 0 }, func(w *world) { w.Constant = false },
		func(w *world) { w.Counts = 1 }, func(w *world) { w.Headers = 1 }, func(w *world) { w.Global = 0 }, func(w *world) { w.Date = true },
		func(w *world) { w.Reset = true },
	}
	for again := true; again; {
		again = false
		for _, f := range simpler {
			next := w
			f(&next)
			if next != w && next.Callers > 0 && next.For > 0 && newSimulation(next).run() != nil {
				w, again = next, true
			}
		}
	}
	return w
}

// A random server, random faults and random callers, and what has to hold after
// every event. A failure prints the world's seed, and the simplest world that
// fails alike.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		w := randomWorld(*simSeed)
		t.Logf("%+v", w)
		if err := newSimulation(w).run(); err != nil {
			t.Fatal(err)
		}
		return
	}
	windows, faults, worlds, refused := 0, 0, 0, 0
	first := uint64(1)
	if *simWindows > fewWindows {
		first = rand.Uint64N(1 << 40)
	}
	for seed := first; windows < *simWindows; seed++ {
		s := newSimulation(randomWorld(seed))
		if err := s.run(); err != nil {
			small := shrink(s.world)
			t.Fatalf("-sim.seed=%d: %v\n%+v\nshrunk: %v\n%+v", seed, err, s.world, newSimulation(small).run(), small)
		}
		windows += s.server.windows(s.now)
		faults += s.faults
		refused += s.server.refused
		worlds++
	}
	t.Logf("%d windows in %d worlds, %d faults, %d responses with 429, 0 violations", windows, worlds, faults, refused)
}

// What the server's clock is set to makes no difference: the same world takes
// the same course 400 days later.
func TestSimulationAtAnotherTime(t *testing.T) {
	for seed := range uint64(30) {
		w := randomWorld(seed)
		w.Callers, w.Steps = min(w.Callers, 20), 0
		one := newSimulation(w)
		require.NoError(t, one.run())
		w.Ahead += 400 * 24 * time.Hour
		other := newSimulation(w)
		require.NoError(t, other.run())
		require.Equal(t, one.trace, other.trace, "seed %d", seed)
	}
}
