package tokenpatch

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// RateLimit is what is known of a service's rate limit at one moment.
type RateLimit struct {
	Global      Field[int] // what remains for the whole account in this window; absent where not known
	Route       Field[int] // what remains for this route in this window; absent where not known
	Reset       time.Time  // when this window ends, by this machine's clock; zero where not known
	PausedUntil time.Time  // until when nothing is sent at all, as Retry-After asked; zero where nothing did
}

const (
	// defaultWindow is what a 429 or a Remaining without a reset stands for.
	defaultWindow = 10 * time.Second

	// minPatience is how long the others wait at least for the answer of a
	// scout before another one goes ahead.
	minPatience = 2 * time.Second

	// shortest is the least that a window lasts that should be over already.
	shortest = time.Second
)

// gate admits the attempts of one service, so that the service's rate limit
// is used up and not overrun. It learns from the headers of every answer, and
// from nothing else; see [window.admits] for how much it dares to send.
//
// As long as nothing is known of the current window, one attempt goes ahead as
// a scout and the others wait for what its answer says. Those who wait are
// served in the order in which their calls came.
type gate struct {
	maxWait time.Duration

	mu      sync.Mutex
	latest  uint64              // number of attempts admitted so far
	tickets ticket              // number of calls so far
	queue   list.List           // of *waiter, by ticket
	flying  map[*place]struct{} // attempts under way
	scout   *place              // the latest attempt that went ahead; nil where none is under way
	window  window
	clock   serverClock
	paused  pause
	free    bool          // whether the service has no rate limit that it tells of
	ramp    int           // of a free service: attempts under way at most; 0 for no bound
	trip    time.Duration // the usual round trip
	refused time.Time     // until when waiters are known to be able to wait
	held    [4]time.Time  // when each of the reasons in byGravity last held the queue
	timer   *time.Timer   // releases waiters when time alone lets them go
}

// pause is a time in which nothing is sent.
type pause struct{ until, declared time.Time }

// ticket is a call's place in the order of arrival; zero before it has one.
type ticket uint64

// waiter is a call that waits to be admitted.
type waiter struct {
	ticket  ticket
	ctx     context.Context
	since   time.Time
	place   *place
	done    chan struct{} // closed once the place is taken or shut is set
	taken   bool
	shut    *gateShut
	reason  WaitReason // set when it leaves the queue
	element *list.Element
}

// byGravity are the reasons for waiting in the queue. A call that met several
// waited for the first of them.
var byGravity = [...]WaitReason{WaitRetryAfter, WaitRateLimit, WaitScout, WaitTurn}

// place is one attempt's part of the budget, from its admission to its end.
type place struct {
	gate     *gate
	seq      uint64
	admitted time.Time
	scout    bool // whether it went ahead of the others
	counted  bool // whether the current window counts it
	settled  bool
}

// gateShut is why the gate turns a call away: the limit opens too late.
type gateShut struct {
	opens time.Time
	err   error
}

func (e *gateShut) Error() string {
	return fmt.Sprintf("the rate limit opens at %s: %v", e.opens.UTC().Format(time.RFC3339), e.err)
}

func (e *gateShut) Unwrap() error { return e.err }

func newGate(maxWait time.Duration) *gate {
	return &gate{maxWait: maxWait, flying: make(map[*place]struct{})}
}

// admit waits for the call's turn and takes its place, and says what it waited
// for, if it did. Its error is the context's own, or a *gateShut.
func (g *gate) admit(ctx context.Context, t *ticket, p *place) (WaitReason, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	g.mu.Lock()
	now := time.Now()
	if *t == 0 {
		g.tickets++
		*t = g.tickets
	}
	reason, until := g.opening(now)
	if first := g.queue.Front(); reason == "" && (first == nil || *t < first.Value.(*waiter).ticket) {
		g.take(p, now)
		g.mu.Unlock()
		return "", nil
	}
	if shut := g.tooLate(ctx, now, reason, until); shut != nil {
		g.mu.Unlock()
		return "", shut
	}
	w := &waiter{ticket: *t, ctx: ctx, since: now, place: p, done: make(chan struct{})}
	g.enqueue(w)
	g.release(now)
	g.mu.Unlock()

	select {
	case <-w.done:
	case <-ctx.Done():
		if g.withdraw(w) {
			return w.reason, ctx.Err()
		}
	}
	if w.shut != nil {
		return w.reason, w.shut
	}
	return w.reason, nil
}

// enqueue puts a waiter behind those who came before it. A call that was
// refused and comes again belongs near the front, any other at the end.
func (g *gate) enqueue(w *waiter) {
	at := g.queue.Back()
	if at == nil || at.Value.(*waiter).ticket < w.ticket {
		w.element = g.queue.PushBack(w)
		return
	}
	for at = g.queue.Front(); at.Value.(*waiter).ticket < w.ticket; {
		at = at.Next()
	}
	w.element = g.queue.InsertBefore(w, at)
}

// withdraw takes a waiter whose context has ended out of the queue. It reports
// false where the waiter had been turned away already; a place that it had
// been given goes to the next one.
func (g *gate) withdraw(w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case w.shut != nil:
		return false
	case w.taken:
		g.giveBack(w.place)
	default:
		g.dequeue(w)
	}
	g.release(time.Now())
	return true
}

// dequeue takes a waiter out of the queue, and notes what it waited for.
func (g *gate) dequeue(w *waiter) {
	g.queue.Remove(w.element)
	w.reason = WaitTurn
	for i, reason := range byGravity {
		if !g.held[i].Before(w.since) {
			w.reason = reason
			return
		}
	}
}

// release admits waiters, in order, for as long as the gate is open, and then
// sees to it that the next one is looked at in time.
func (g *gate) release(now time.Time) {
	for first := g.queue.Front(); first != nil; first = g.queue.Front() {
		reason, until := g.opening(now)
		if reason != "" {
			g.held[slices.Index(byGravity[:], reason)] = now
			g.turnAway(now, reason, until)
			g.wakeAt(now, until)
			return
		}
		w := first.Value.(*waiter)
		g.dequeue(w)
		g.take(w.place, now)
		w.taken = true
		close(w.done)
	}
	g.wakeAt(now, time.Time{})
}

// turnAway ends the wait of those whose context ends before the gate opens.
func (g *gate) turnAway(now time.Time, reason WaitReason, until time.Time) {
	if !isShut(reason) || !until.After(g.refused) {
		return // or it was looked at when it was set
	}
	g.refused = until
	for at := g.queue.Front(); at != nil; {
		w, next := at.Value.(*waiter), at.Next()
		if shut := g.tooLate(w.ctx, now, reason, until); shut != nil {
			w.shut = shut
			g.dequeue(w)
			close(w.done)
		}
		at = next
	}
}

// tooLate returns why a call need not wait: its context ends before the gate
// opens, or the server has declared a wait that is longer than calls bear.
func (g *gate) tooLate(ctx context.Context, now time.Time, reason WaitReason, until time.Time) *gateShut {
	switch declared := g.declared(until); {
	case !isShut(reason) || until.IsZero():
		return nil
	case declared.Sub(now) > g.maxWait:
		return &gateShut{declared, fmt.Errorf("the server declares a longer wait than %v", g.maxWait)}
	case endsBefore(ctx, until):
		return &gateShut{until, context.DeadlineExceeded}
	default:
		return nil
	}
}

// isShut reports whether nothing but time can end a wait.
func isShut(reason WaitReason) bool { return reason == WaitRetryAfter || reason == WaitRateLimit }

// declared is the wait that the server asked for, where until is its bounded form.
func (g *gate) declared(until time.Time) time.Time {
	switch until {
	case g.paused.until:
		return g.paused.declared
	case g.window.next:
		return g.window.declared
	default:
		return until
	}
}

// wakeAt has the queue looked at again at a time, the zero one for not at all.
func (g *gate) wakeAt(now, until time.Time) {
	switch {
	case until.IsZero() || g.queue.Len() == 0:
		if g.timer != nil {
			g.timer.Stop()
		}
	case g.timer == nil:
		g.timer = time.AfterFunc(until.Sub(now), g.tick)
	default:
		g.timer.Reset(until.Sub(now))
	}
}

func (g *gate) tick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.release(time.Now())
}

// opening says whether an attempt may go now. If not, it says why, and when to
// look again: a zero time where only an answer can change it.
func (g *gate) opening(now time.Time) (WaitReason, time.Time) {
	switch {
	case now.Before(g.paused.until):
		return WaitRetryAfter, g.paused.until
	case g.free && g.ramp > 0 && len(g.flying) >= g.ramp:
		return WaitTurn, time.Time{}
	case g.free:
		return "", time.Time{}
	case now.Before(g.window.ends):
		return g.window.admits(now, g.trip)
	case now.Before(g.window.next) && g.queue.Len() > 0:
		return WaitRateLimit, g.window.next
	case g.scout == nil || now.Sub(g.scout.admitted) >= g.patience():
		return "", time.Time{}
	default:
		return WaitScout, g.scout.admitted.Add(g.patience())
	}
}

// patience is how long an answer may be on its way before it counts as late: two
// seconds, or two round trips where those are longer.
func (g *gate) patience() time.Duration { return max(minPatience, 2*g.trip) }

// take admits one attempt.
func (g *gate) take(p *place, now time.Time) {
	g.latest++
	*p = place{gate: g, seq: g.latest, admitted: now}
	g.flying[p] = struct{}{}
	switch {
	case g.free:
	case now.Before(g.window.ends):
		p.counted = true
		g.window.sent++
		g.window.under++
	default:
		p.scout = true
		g.scout = p
	}
}

// land takes an attempt out of those that are under way.
func (g *gate) land(p *place) {
	p.settled = true
	delete(g.flying, p)
	if g.scout == p {
		g.scout = nil
	}
	if p.counted {
		g.window.under--
	}
}

// giveBack returns the place of an attempt of which nothing was sent.
func (p *place) giveBack() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.gate.giveBack(p)
	p.gate.release(time.Now())
}

func (g *gate) giveBack(p *place) {
	g.land(p)
	if p.counted {
		g.window.sent--
	}
}

// leave settles an attempt that ended without an answer: what it spent, it
// spent. It does nothing where the attempt is settled.
func (p *place) leave() {
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.settled {
		return
	}
	g.spend(p)
	g.release(time.Now())
}

func (g *gate) spend(p *place) {
	g.land(p)
	if p.counted {
		g.window.lost++
	}
}

// learn settles an attempt that was answered, and takes in what the answer
// says of the rate limit.
func (p *place) learn(response *http.Response, sent time.Time) {
	l, status := parseLimits(response.Header), response.StatusCode
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.clock.observe(l.date, sent, now)
	g.timeTrip(now.Sub(sent))
	refused := status == http.StatusTooManyRequests
	switch {
	case refused && l.retryAfter == 0 && l.reset == 0:
		g.spend(p)
		g.pause(now, defaultWindow)
	case l.retryAfter > 0 && (refused || status == http.StatusServiceUnavailable):
		g.spend(p)
		g.pause(now, l.retryAfter)
	case l.families() || refused:
		g.observe(p, l, refused, now)
	default:
		g.spend(p)
		// The answer of a server that was not well says nothing of its limits.
		if g.free = g.free || p.scout && status < 500; g.free && g.ramp > 0 {
			g.ramp++
		}
	}
	g.release(now)
}

// timeTrip takes in the time of one round trip. One that took very long says
// little of the next.
func (g *gate) timeTrip(trip time.Duration) {
	if g.trip == 0 {
		g.trip = trip
	}
	g.trip += (min(trip, 4*g.trip) - g.trip) / 8
}

// pause stops the whole service, up to the longest wait that calls bear. After
// it, one attempt goes ahead again; of a service without limits, ever more.
func (g *gate) pause(now time.Time, wait time.Duration) {
	until := now.Add(jitter(min(wait, g.maxWait), 10))
	if until.After(g.paused.until) {
		g.paused = pause{until: until, declared: now.Add(wait)}
	}
	g.window.ends, g.window.next = now, now
	if g.free {
		g.ramp = 1
	}
}

// jitter lengthens a wait at random by up to one part in so many, so that
// programs that wait for the same moment do not all start on it.
func jitter(wait time.Duration, parts int64) time.Duration {
	spread := min(max(int64(wait)/parts, int64(time.Millisecond)), int64(5*time.Second))
	return wait + time.Duration(rand.Int64N(spread))
}

// observe takes in an answer that tells of a window.
func (g *gate) observe(p *place, l limits, refused bool, now time.Time) {
	w := &g.window
	current := now.Before(w.ends)
	switch asked := p.seq > w.openedBy; {
	case l.reset < w.reset && !asked, l.reset == w.reset && !current && p.admitted.Before(w.ends):
		g.spend(p) // an answer of an older window
		return
	case l.reset != w.reset || !current:
		g.open(p, l.reset, now)
	}
	g.land(p)
	numbers := [...]Field[int]{l.global, l.route}
	for i := range w.families {
		if n, ok := numbers[i].Get(); ok {
			w.families[i].observe(n, p.seq, refused, g.latest, w.sent)
		}
	}
	w.shut = w.shut || refused
}

// open begins the window that an answer tells of. Attempts under way may be
// counted in it, unless they were sent long before.
func (g *gate) open(p *place, reset int64, now time.Time) {
	ends := now.Add(defaultWindow)
	if reset > 0 {
		ends = g.clock.reaches(reset)
	}
	declared := ends
	ends = minTime(maxTime(ends, now.Add(shortest)), now.Add(g.maxWait))
	w := window{reset: reset, began: now, openedBy: g.latest, ends: ends, declared: declared, caution: g.window.nextCaution()}
	w.next = now.Add(jitter(ends.Sub(now), 100))
	for i, f := range g.window.families {
		w.families[i].constant = f.constant
	}
	for other := range g.flying {
		other.counted = other == p || now.Sub(other.admitted) < g.patience()
		if other.counted {
			w.sent++
			w.under++
		}
	}
	g.window, g.free, g.ramp = w, false, 0
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (g *gate) snapshot() RateLimit {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	var r RateLimit
	if now.Before(g.paused.until) {
		r.PausedUntil = g.paused.until
	}
	if now.Before(g.window.ends) {
		r.Reset = g.window.ends
		for i, to := range []*Field[int]{&r.Global, &r.Route} {
			if f := &g.window.families[i]; f.known {
				*to = Set(max(0, f.left(&g.window)))
			}
		}
	}
	return r
}

// rateLimited is the error of a call that the rate limit ended.
func (g *gate) rateLimited(base APIError) *RateLimitedError {
	r := g.snapshot()
	e := &RateLimitedError{APIError: base, Reset: r.Reset, Global: r.Global, Route: r.Route}
	var shut *gateShut
	if errors.As(base.Err, &shut) {
		e.RetryAfter = time.Until(shut.opens)
	} else if until := maxTime(r.PausedUntil, r.Reset); !until.IsZero() {
		e.RetryAfter = time.Until(until)
	}
	return e
}
