package ratelimit

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const fewWindows = 3000

var (
	simWindows = flag.Int("sim.windows", fewWindows, "how many windows the simulation runs through; if more than the default, other worlds each time")
	simSeed    = flag.Uint64("sim.seed", 0, "the only world that the simulation runs; 0 for many")
)

// world is one random world: a service, what goes wrong, and those who call.
type world struct {
	Seed                       uint64
	Account, Route, Credential int // limits; 0 is none
	Hidden                     int
	Routes, Credentials        int
	Announces, Floating, Date  bool
	Headers                    float64       // the share of responses with limit headers
	Ahead, Phase               time.Duration // of the service's clock, and of the credential's windows
	DateOff                    time.Duration

	RTT      time.Duration
	Jitter   float64 // of each way of a round trip
	Programs int
	Callers  int // of each
	Think    time.Duration
	For      int // windows

	Lost, Never, Late, Cancel, Bad float64 // shares of requests
	Steps, Pauses, Changes         float64 // with which the service's clock is set, it asks for a pause, its limits change
	Hang                           time.Duration
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
	rarely := func(n int, of float64) float64 {
		if r.IntN(n) > 0 {
			return 0
		}
		return of
	}
	const ms = time.Millisecond
	w := world{
		Seed: seed, Account: pick(0, 5, 20, 100, 1000), Route: pick(0, 1, 5, 20, 100), Credential: pick(0, 0, 5, 50),
		Hidden: int(rarely(10, float64(pick(10, 50, 100)))), Routes: pick(1, 1, 2, 3, 40), Credentials: pick(1, 1, 1, 2, 50),
		Announces: r.IntN(2) == 0, Floating: r.IntN(8) == 0, Date: r.IntN(6) > 0, Headers: 1 - rarely(6, r.Float64()),
		Ahead: time.Duration(1+r.IntN(50))*365*24*time.Hour + time.Duration(r.IntN(100_000))*ms,
		Phase: time.Duration(r.IntN(10_000)) * ms, DateOff: time.Duration(rarely(8, float64(r.IntN(1000)-500))) * time.Second,
		RTT: length(ms, 20*ms, 20*ms, 300*ms, time.Second), Jitter: r.Float64() / 2,
		Programs: pick(1, 1, 1, 1, 2, 8), Callers: pick(1, 3, 20, 200), Think: length(0, 0, 20*ms, 2*time.Second),
		For:  pick(5, 20, 60),
		Lost: often(0.5), Never: often(0.3), Late: often(0.2), Cancel: often(0.3), Bad: often(0.3),
		Steps: rarely(8, 0.001), Pauses: rarely(8, 0.001), Changes: rarely(8, 0.001),
		Hang: length(ms, 300*ms, 30*time.Second),
	}
	if r.IntN(2) == 0 { // a world in which nobody may be refused
		w.Hidden, w.Headers, w.DateOff, w.Programs, w.Credentials, w.Date = 0, 1, 0, 1, 1, true
		w.Steps, w.Pauses, w.Changes, w.Routes, w.Credential, w.Floating = 0, 0, 0, min(w.Routes, 3), max(w.Credential, 5), false
	}
	return w
}

// honest reports whether nothing in the world gives a program a wrong idea of what is left: then it
// is never refused. If responses are lost before any reports what is left in a window, honest
// requires Limit headers, and limits that are not used up by asking again.
func (w world) honest() bool {
	smallest := 1000
	for _, size := range []int{w.Account, w.Route, w.Credential} {
		if size > 0 {
			smallest = min(smallest, size)
		}
	}
	certain := w.Lost+w.Never+w.Late+w.Bad == 0 || w.Announces && smallest >= 20
	return certain && w.Hidden == 0 && w.Headers == 1 && w.DateOff == 0 && w.Programs == 1 && w.Credentials == 1 && w.Date &&
		!w.Floating && w.Steps+w.Changes+w.Pauses == 0 && w.Account+w.Route+w.Credential > 0 && w.Routes < maxRoutes
}

// simulation runs a world through.
type simulation struct {
	world
	random   *rand.Rand
	now      instant
	queue    events
	windows  map[string]*simWindow
	passed   int // windows
	programs []*program
	faults   int
	sent     int
	refused  int
	pauses   instant
	told     bool   // whether a response has said what is left
	trace    uint64 // of the decisions, to compare two runs
	err      error
}

// simWindow is the current window of one limit.
type simWindow struct {
	reset   time.Duration
	n       int
	refused int
}

// program is one program's ledger and those who wait for it.
type program struct {
	ledger  *ledger
	routes  []*limit
	waiting []int // by route
	woken   instant
	last    instant // when an attempt was admitted last, or somebody began to wait
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
	s := &simulation{world: w, random: rand.New(rand.NewPCG(w.Seed, 1)), now: time.Second, windows: make(map[string]*simWindow)}
	for range w.Programs {
		p := &program{ledger: newLedger(1), waiting: make([]int, min(w.Routes, maxRoutes)), last: s.now}
		p.ledger.random = s.random.Float64
		for i := range p.waiting {
			p.routes = append(p.routes, newLimit("route "+strconv.Itoa(i)))
		}
		p.ledger.all = append(p.ledger.all, p.routes...)
		s.programs = append(s.programs, p)
		for i := range w.Callers {
			s.after(0, func() { s.wait(p, i%len(p.waiting)) })
		}
	}
	return s
}

// run returns the first broken invariant.
func (s *simulation) run() error {
	const most = 60_000 // events
	for s.err == nil && s.queue.Len() > 0 && s.queue.seq < most && s.passed < s.For {
		e := heap.Pop(&s.queue).(event)
		s.passed += int(e.at/windowLength - s.now/windowLength)
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

func (s *simulation) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("at %v: %s", s.now, fmt.Sprintf(format, args...))
	}
}

func (s *simulation) wait(p *program, route int) {
	p.waiting[route]++
	if p.total() == 1 {
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
	p.ledger.advance(s.now)
	for {
		next, wake := -1, instant(0)
		for route, waiting := range p.waiting {
			if waiting == 0 {
				continue
			}
			v := p.ledger.admits(p.routes[route], s.now)
			if v.reason == "" {
				next = route
			} else if wake == 0 || v.until < wake {
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

// send admits an attempt, and schedules its outcome.
func (s *simulation) send(p *program, route int) {
	a := p.ledger.admit(p.routes[route], s.now)
	p.last = s.now
	s.sent++
	s.trace = s.trace*31 + uint64(s.now)
	end := func(wait time.Duration, settle func()) {
		s.after(wait, func() {
			settle()
			s.admitWaiting(p)
			s.after(time.Duration(s.random.Float64()*float64(s.Think)), func() { s.wait(p, route) })
		})
	}
	credential := strconv.Itoa(int(s.now/(7*time.Second)) % s.Credentials)
	switch {
	case s.fault(s.Cancel):
		end(0, func() { p.ledger.cancel(a) })
		return
	case s.fault(s.Steps):
		s.Ahead += time.Duration(s.random.Int64N(int64(2*time.Hour))) - time.Hour
	case s.fault(s.Pauses):
		s.pauses = s.now + time.Duration(s.random.IntN(30))*time.Second
	case s.fault(s.Changes):
		s.Account, s.Route = s.random.IntN(200), s.random.IntN(100)
	}
	p.ledger.use(a, []byte(credentialPrefix+credential))
	if s.fault(s.Never) {
		end(s.Hang, func() {})
		return
	}
	blamed := s.honest() && s.told
	s.after(s.way(), func() {
		r := s.handle(route, credential, blamed)
		back := s.way()
		switch {
		case s.fault(s.Lost):
			end(s.Hang, func() {})
			return
		case s.fault(s.Late):
			back = time.Duration(s.random.Float64() * 3 * float64(windowLength))
		case s.fault(s.Bad) && !r.refused:
			r = parseResponse([]int{401, 404, 503}[s.random.IntN(3)], nil)
		}
		end(back, func() {
			s.told = s.told || r.limited
			p.ledger.advance(s.now)
			p.ledger.observe(a, &r, s.now)
		})
	})
}

// window returns the current window of a limit.
func (s *simulation) window(name string, phase time.Duration) *simWindow {
	now := s.now + s.Ahead
	w := s.windows[name]
	switch {
	case w == nil, s.Floating && (now >= w.reset || now < w.reset-windowLength):
		w = &simWindow{reset: (now + windowLength).Truncate(time.Millisecond)}
	case s.Floating:
		return w
	}
	if reset := (now - phase).Truncate(windowLength) + windowLength + phase; !s.Floating && w.reset != reset {
		w = &simWindow{reset: reset}
	}
	s.windows[name] = w
	return w
}

// handle is one request; blamed is whether it may not be refused.
func (s *simulation) handle(route int, credential string, blamed bool) response {
	windows := []*simWindow{
		s.window("account", 0), s.window("route "+strconv.Itoa(route), 0), s.window("credential "+credential, s.Phase), s.window("hidden", 0),
	}
	sizes := []int{s.Account, s.Route, s.Credential, s.Hidden}
	header := http.Header{}
	if s.Date {
		header.Set("Date", time.Unix(0, int64(s.now+s.Ahead+s.DateOff)).UTC().Format(http.TimeFormat))
	}
	if s.now < s.pauses {
		header.Set("Retry-After", strconv.Itoa(int((s.pauses-s.now)/time.Second)+1))
		return parseResponse(http.StatusTooManyRequests, header)
	}
	status := http.StatusOK
	for i, w := range windows {
		if sizes[i] > 0 && w.n >= sizes[i] {
			status = http.StatusTooManyRequests
			w.refused++
			s.checkFlood(w, sizes[i], blamed)
		}
	}
	for i, name := range []string{"Global", "Route", "Auth-Token", ""} {
		if status == http.StatusOK {
			windows[i].n++
		}
		if sizes[i] == 0 || name == "" {
			continue
		}
		header.Set("X-Ratelimit-"+name+"-Remaining", strconv.Itoa(max(0, sizes[i]-windows[i].n)))
		if s.Announces {
			header.Set("X-Ratelimit-"+name+"-Limit", strconv.Itoa(sizes[i]))
		}
		reset := "X-Ratelimit-Reset"
		if name == "Auth-Token" {
			reset = "X-Ratelimit-Auth-Token-Reset"
		}
		header.Set(reset, strconv.FormatInt(windows[i].reset.Milliseconds(), 10))
	}
	if status != http.StatusOK {
		s.refused++
	}
	if s.random.Float64() >= s.Headers {
		clear(header)
	}
	return parseResponse(status, header)
}

// checkFlood checks that few requests are refused in one window: none if the service reports
// correctly, and never many more than each program may have in flight when it learns of the end.
func (s *simulation) checkFlood(w *simWindow, size int, blamed bool) {
	if blamed {
		s.fail("refused, although nothing was wrong with what the service had said")
	}
	most := s.Programs * (max(size, 64) + 16)
	if s.Steps+s.Changes > 0 {
		most *= 3 // windows have other names after a step, and had another size before a change
	}
	if w.refused > most {
		s.fail("%d requests were refused in one window of %d", w.refused, size)
	}
}

// check checks the invariants of a program's ledger.
func (s *simulation) check(p *program) {
	l := p.ledger
	l.advance(s.now)
	if len(l.all) > maxLimits+maxRoutes {
		s.fail("%d limits are known", len(l.all))
	}
	flying := 0
	for _, a := range l.flights {
		if !a.ended {
			flying++
		}
	}
	if flying != l.inFlight {
		s.fail("%d in flight, %d counted", flying, l.inFlight)
	}
	for _, x := range l.all {
		if x.inFlight < 0 || x.inFlight > flying || x.sent < 0 || x.lost < x.told || x.others < 0 || x.others > maxOthers {
			s.fail("a count that cannot be: %+v", *x)
		}
		if x.limited() && (x.ends > s.now+2*windowLength || x.left < 0 || x.remaining() > x.left) {
			s.fail("a window that cannot be: %+v", *x)
		}
	}
	s.checkLiveness(p)
}

// checkLiveness checks that every waiter is looked at again, and soon enough.
func (s *simulation) checkLiveness(p *program) {
	for route, waiting := range p.waiting {
		if waiting == 0 {
			continue
		}
		v := p.ledger.admits(p.routes[route], s.now)
		switch {
		case v.reason == "":
			s.fail("somebody waits who may go")
		case v.until <= s.now:
			s.fail("a wait for %s until %v, which is over", v.reason, v.until)
		case v.until > s.now+maxPause+maxJitter:
			s.fail("a wait for %s of %v", v.reason, v.until-s.now)
		case p.woken == 0:
			s.fail("nobody wakes those who wait for %s", v.reason)
		}
	}
	if p.total() == 0 || s.now < p.ledger.paused {
		p.last = max(p.last, s.now)
		return
	}
	// Two limits may have windows with different ends, and a lost probe delays each.
	most := 2*windowLength + 4*p.ledger.patience()
	if s.Lost+s.Never+s.Late+s.Bad > 0 {
		most += 2 * mostPatience
	}
	if silence := s.now - p.last; silence > most {
		s.fail("nothing was sent for %v", silence)
	}
}

// shrink simplifies a failing world as far as possible.
func shrink(w world) world {
	simpler := []func(*world){
		func(w *world) { w.Programs = 1 }, func(w *world) { w.Callers /= 2 }, func(w *world) { w.Routes = 1 }, func(w *world) { w.For /= 2 },
		func(w *world) { w.Lost = 0 }, func(w *world) { w.Never = 0 }, func(w *world) { w.Late = 0 }, func(w *world) { w.Cancel = 0 },
		func(w *world) { w.Bad = 0 }, func(w *world) { w.Steps = 0 }, func(w *world) { w.Pauses = 0 }, func(w *world) { w.Changes = 0 },
		func(w *world) { w.Jitter = 0 }, func(w *world) { w.Think = 0 }, func(w *world) { w.Headers = 1 }, func(w *world) { w.Account = 0 },
		func(w *world) { w.Route = 0 }, func(w *world) { w.Credential = 0 }, func(w *world) { w.Hidden = 0 }, func(w *world) { w.Date = true },
		func(w *world) { w.DateOff = 0 }, func(w *world) { w.Credentials = 1 }, func(w *world) { w.Floating = false },
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

// A random service, random faults, random callers, and the invariants after every event. A failure
// prints the world's seed, and the simplest world with the same failure.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		w := randomWorld(*simSeed)
		t.Logf("%+v", w)
		if err := newSimulation(w).run(); err != nil {
			t.Fatal(err)
		}
		return
	}
	windows, faults, worlds, honest, sent, refused := 0, 0, 0, 0, 0, 0
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
		windows += s.passed
		faults += s.faults
		sent += s.sent
		refused += s.refused
		worlds++
		if s.honest() {
			honest++
		}
	}
	t.Logf("%d windows in %d worlds, %d of them honest; %d requests, %d faults, %d responses with 429, 0 violations", windows, worlds, honest, sent, faults, refused)
}

// What the service's clock is set to makes no difference: the same world takes the same course 400 days later.
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
