// Package ratelimit keeps the attempts of one service within the rate limit
// that the service declares in the headers of its responses.
package ratelimit

import (
	"container/list"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options says what a [Limiter] may assume.
type Options struct {
	MaxWait time.Duration // the longest wait that a server may declare
}

// State is what is known of a service's rate limit at one moment.
type State struct {
	Global      Quota            // of the whole account
	Routes      map[string]Quota // by route, where something is known of one
	PausedUntil time.Time        // until when nothing is sent at all, as Retry-After asked; zero where nothing did
}

// Quota is what remains of one limit in its current window.
type Quota struct {
	Remaining int       // where Known
	Known     bool      // whether a response told what remains
	Reset     time.Time // when the window ends, by this machine's clock; zero where not known
}

// Reason says what a wait was for; it is empty for no wait.
type Reason string

// The reasons for waiting.
const (
	RetryAfter Reason = "retry_after" // a pause that the server asked for, or a 429 that said nothing
	RateLimit  Reason = "rate_limit"  // a window that is used up
	Probe      Reason = "probe"       // the response to the one attempt that goes ahead
	Turn       Reason = "turn"        // those who came before, in a window that is open
)

const (
	// defaultWindow is what a 429 or a Remaining without a reset stands for.
	defaultWindow = 10 * time.Second

	// minPatience is how long the others wait at least for the answer of a
	// scout before another one goes ahead.
	minPatience = 2 * time.Second

	// shortest is the least that a window lasts that should be over already.
	shortest = time.Second
)

// Limiter admits the attempts of one service, so that the service's rate limit
// is used up and not overrun. It learns from the headers of every answer, and
// from nothing else; see [window.admits] for how much it dares to send.
//
// As long as nothing is known of the current window, one attempt goes ahead as
// a scout and the others wait for what its answer says. Those who wait are
// served in the order in which their calls came.
type Limiter struct {
	maxWait time.Duration

	mu      sync.Mutex
	latest  uint64               // number of attempts admitted so far
	route   string               // of the latest attempt: the quota of the route is taken to be its
	tickets ticket               // number of calls so far
	queue   list.List            // of *waiter, by ticket
	flying  map[*Permit]struct{} // attempts under way
	scout   *Permit              // the latest attempt that went ahead; nil where none is under way
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
	ctx     context.Context
	since   time.Time
	permit  *Permit
	done    chan struct{} // closed once the place is taken or shut is set
	taken   bool
	shut    *ClosedError
	reason  Reason // set when it leaves the queue
	element *list.Element
}

// byGravity are the reasons for waiting in the queue. A call that met several
// waited for the first of them.
var byGravity = [...]Reason{RetryAfter, RateLimit, Probe, Turn}

// Permit is one attempt's part of the budget, from its admission to its end.
// The zero value is ready. A call uses one for all of its attempts, one after
// the other: it keeps the call's place in the order of arrival. It is not for
// concurrent use.
type Permit struct {
	Waiting func(Reason) // if not nil, called by Wait before it waits, with the reason as it then is

	limiter  *Limiter
	ticket   ticket // of its call; kept across attempts
	seq      uint64
	admitted time.Time
	scout    bool // whether it went ahead of the others
	counted  bool // whether the current window counts it
	settled  bool
}

// ClosedError is the error of a call that the limit keeps from being sent: it
// opens later than the call can wait.
type ClosedError struct {
	Opens time.Time // when the limit opens
	Err   error     // context.DeadlineExceeded, or that the server declares a longer wait
}

func (e *ClosedError) Error() string {
	return fmt.Sprintf("the rate limit opens at %s: %v", e.Opens.UTC().Format(time.RFC3339), e.Err)
}

// Unwrap returns Err.
func (e *ClosedError) Unwrap() error { return e.Err }

// New returns a limiter that knows nothing yet.
func New(o Options) *Limiter {
	return &Limiter{maxWait: o.MaxWait, flying: make(map[*Permit]struct{})}
}

// Wait waits for the call's turn and takes its place, and says what it waited
// for, if it did. A route is an endpoint's template, such as
// "PATCH /api/v2/tokens/{id}". The error is the context's own, or a
// [*ClosedError].
func (l *Limiter) Wait(ctx context.Context, route string, p *Permit) (Reason, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	l.mu.Lock()
	now := time.Now()
	l.route = route
	if p.ticket == 0 {
		l.tickets++
		p.ticket = l.tickets
	}
	reason, until := l.opening(now)
	if first := l.queue.Front(); reason == "" && (first == nil || p.ticket < first.Value.(*waiter).permit.ticket) {
		l.take(p, now)
		l.mu.Unlock()
		return "", nil
	}
	if p.Waiting != nil {
		l.mu.Unlock()
		p.Waiting(reason)
		l.mu.Lock()
		now = time.Now()
		reason, until = l.opening(now)
	}
	if shut := l.tooLate(ctx, now, reason, until); shut != nil {
		l.mu.Unlock()
		return "", shut
	}
	w := &waiter{ctx: ctx, since: now, permit: p, done: make(chan struct{})}
	l.enqueue(w)
	l.release(now)
	l.mu.Unlock()
	return l.await(ctx, w)
}

// await waits until a waiter has left the queue.
func (l *Limiter) await(ctx context.Context, w *waiter) (Reason, error) {
	select {
	case <-w.done:
	case <-ctx.Done():
		if l.withdraw(w) {
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
func (l *Limiter) enqueue(w *waiter) {
	at := l.queue.Back()
	if at == nil || at.Value.(*waiter).permit.ticket < w.permit.ticket {
		w.element = l.queue.PushBack(w)
		return
	}
	for at = l.queue.Front(); at.Value.(*waiter).permit.ticket < w.permit.ticket; {
		at = at.Next()
	}
	w.element = l.queue.InsertBefore(w, at)
}

// withdraw takes a waiter whose context has ended out of the queue. It reports
// false where the waiter had been turned away already; a place that it had
// been given goes to the next one.
func (l *Limiter) withdraw(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case w.shut != nil:
		return false
	case w.taken:
		l.giveBack(w.permit)
	default:
		l.dequeue(w)
	}
	l.release(time.Now())
	return true
}

// dequeue takes a waiter out of the queue, and notes what it waited for.
func (l *Limiter) dequeue(w *waiter) {
	l.queue.Remove(w.element)
	w.reason = Turn
	for i, reason := range byGravity {
		if !l.held[i].Before(w.since) {
			w.reason = reason
			return
		}
	}
}

// release admits waiters, in order, for as long as the gate is open, and then
// sees to it that the next one is looked at in time.
func (l *Limiter) release(now time.Time) {
	for first := l.queue.Front(); first != nil; first = l.queue.Front() {
		reason, until := l.opening(now)
		if reason != "" {
			l.held[slices.Index(byGravity[:], reason)] = now
			l.turnAway(now, reason, until)
			l.wakeAt(now, until)
			return
		}
		w := first.Value.(*waiter)
		l.dequeue(w)
		l.take(w.permit, now)
		w.taken = true
		close(w.done)
	}
	l.wakeAt(now, time.Time{})
}

// turnAway ends the wait of those whose context ends before the gate opens.
func (l *Limiter) turnAway(now time.Time, reason Reason, until time.Time) {
	if !isShut(reason) || !until.After(l.refused) {
		return // or it was looked at when it was set
	}
	l.refused = until
	for at := l.queue.Front(); at != nil; {
		w, next := at.Value.(*waiter), at.Next()
		if shut := l.tooLate(w.ctx, now, reason, until); shut != nil {
			w.shut = shut
			l.dequeue(w)
			close(w.done)
		}
		at = next
	}
}

// tooLate returns why a call need not wait: its context ends before the gate
// opens, or the server has declared a wait that is longer than calls bear.
func (l *Limiter) tooLate(ctx context.Context, now time.Time, reason Reason, until time.Time) *ClosedError {
	switch declared := l.declared(until); {
	case !isShut(reason) || until.IsZero():
		return nil
	case declared.Sub(now) > l.maxWait:
		return &ClosedError{declared, fmt.Errorf("the server declares a longer wait than %v", l.maxWait)}
	case endsBefore(ctx, until):
		return &ClosedError{until, context.DeadlineExceeded}
	default:
		return nil
	}
}

// isShut reports whether nothing but time can end a wait.
func isShut(reason Reason) bool { return reason == RetryAfter || reason == RateLimit }

// declared is the wait that the server asked for, where until is its bounded form.
func (l *Limiter) declared(until time.Time) time.Time {
	switch until {
	case l.paused.until:
		return l.paused.declared
	case l.window.next:
		return l.window.declared
	default:
		return until
	}
}

// wakeAt has the queue looked at again at a time, the zero one for not at all.
func (l *Limiter) wakeAt(now, until time.Time) {
	switch {
	case until.IsZero() || l.queue.Len() == 0:
		if l.timer != nil {
			l.timer.Stop()
		}
	case l.timer == nil:
		l.timer = time.AfterFunc(until.Sub(now), l.tick)
	default:
		l.timer.Reset(until.Sub(now))
	}
}

func (l *Limiter) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.release(time.Now())
}

// opening says whether an attempt may go now. If not, it says why, and when to
// look again: a zero time where only an answer can change it.
func (l *Limiter) opening(now time.Time) (Reason, time.Time) {
	switch {
	case now.Before(l.paused.until):
		return RetryAfter, l.paused.until
	case l.free && l.ramp > 0 && len(l.flying) >= l.ramp:
		return Turn, time.Time{}
	case l.free:
		return "", time.Time{}
	case now.Before(l.window.ends):
		return l.window.admits(now, l.trip)
	case now.Before(l.window.next) && l.queue.Len() > 0:
		return RateLimit, l.window.next
	case l.scout == nil || now.Sub(l.scout.admitted) >= l.patience():
		return "", time.Time{}
	default:
		return Probe, l.scout.admitted.Add(l.patience())
	}
}

// patience is how long an answer may be on its way before it counts as late: two
// seconds, or two round trips where those are longer.
func (l *Limiter) patience() time.Duration { return max(minPatience, 2*l.trip) }

// take admits one attempt.
func (l *Limiter) take(p *Permit, now time.Time) {
	l.latest++
	*p = Permit{Waiting: p.Waiting, limiter: l, ticket: p.ticket, seq: l.latest, admitted: now}
	l.flying[p] = struct{}{}
	switch {
	case l.free:
	case now.Before(l.window.ends):
		p.counted = true
		l.window.sent++
		l.window.under++
	default:
		p.scout = true
		l.scout = p
	}
}

// land takes an attempt out of those that are under way.
func (l *Limiter) land(p *Permit) {
	p.settled = true
	delete(l.flying, p)
	if l.scout == p {
		l.scout = nil
	}
	if p.counted {
		l.window.under--
	}
}

// Cancel gives the permit back: nothing can have been sent. It does nothing
// where the permit is settled, or was never given.
func (p *Permit) Cancel() {
	if p.limiter == nil {
		return
	}
	p.limiter.mu.Lock()
	defer p.limiter.mu.Unlock()
	if p.settled {
		return
	}
	p.limiter.giveBack(p)
	p.limiter.release(time.Now())
}

func (l *Limiter) giveBack(p *Permit) {
	l.land(p)
	if p.counted {
		l.window.sent--
	}
}

// Abandon settles an attempt that ended without a response: what it spent, it
// spent. It does nothing where the permit is settled, or was never given.
func (p *Permit) Abandon() {
	if p.limiter == nil {
		return
	}
	l := p.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.settled {
		return
	}
	l.spend(p)
	l.release(time.Now())
}

func (l *Limiter) spend(p *Permit) {
	l.land(p)
	if p.counted {
		l.window.lost++
	}
}

// Observe settles an attempt that finished with a response, and takes in what
// its headers say of the rate limit.
func (p *Permit) Observe(status int, header http.Header) {
	told, l := parseLimits(header), p.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.clock.observe(told.date, p.admitted, now)
	l.timeTrip(now.Sub(p.admitted))
	refused := status == http.StatusTooManyRequests
	switch {
	case refused && told.retryAfter == 0 && told.reset == 0:
		l.spend(p)
		l.pause(now, defaultWindow)
	case told.retryAfter > 0 && (refused || status == http.StatusServiceUnavailable):
		l.spend(p)
		l.pause(now, told.retryAfter)
	case told.quotas() || refused:
		l.observe(p, told, refused, now)
	default:
		l.spend(p)
		// The answer of a server that was not well says nothing of its limits.
		if l.free = l.free || p.scout && status < 500; l.free && l.ramp > 0 {
			l.ramp++
		}
	}
	l.release(now)
}

// timeTrip takes in the time of one round trip. One that took very long says
// little of the next.
func (l *Limiter) timeTrip(trip time.Duration) {
	if l.trip == 0 {
		l.trip = trip
	}
	l.trip += (min(trip, 4*l.trip) - l.trip) / 8
}

// pause stops the whole service, up to the longest wait that calls bear. After
// it, one attempt goes ahead again; of a service without limits, ever more.
func (l *Limiter) pause(now time.Time, wait time.Duration) {
	until := now.Add(jitter(min(wait, l.maxWait), 10))
	if until.After(l.paused.until) {
		l.paused = pause{until: until, declared: now.Add(wait)}
	}
	l.window.ends, l.window.next = now, now
	if l.free {
		l.ramp = 1
	}
}

// jitter lengthens a wait at random by up to one part in so many, so that
// programs that wait for the same moment do not all start on it.
func jitter(wait time.Duration, parts int64) time.Duration {
	spread := min(max(int64(wait)/parts, int64(time.Millisecond)), int64(5*time.Second))
	return wait + time.Duration(rand.Int64N(spread))
}

// observe takes in an answer that tells of a window.
func (l *Limiter) observe(p *Permit, told limits, refused bool, now time.Time) {
	w := &l.window
	current := now.Before(w.ends)
	switch asked := p.seq > w.openedBy; {
	case told.reset < w.reset && !asked, told.reset == w.reset && !current && p.admitted.Before(w.ends):
		l.spend(p) // an answer of an older window
		return
	case told.reset != w.reset || !current:
		l.open(p, told.reset, now)
	}
	l.land(p)
	numbers := [...]quota{told.global, told.route}
	for i := range w.families {
		if numbers[i].known {
			w.families[i].observe(numbers[i].remaining, p.seq, refused, l.latest, w.sent)
		}
	}
	w.shut = w.shut || refused
}

// open begins the window that an answer tells of. Attempts under way may be
// counted in it, unless they were sent long before.
func (l *Limiter) open(p *Permit, reset int64, now time.Time) {
	ends := now.Add(defaultWindow)
	if reset > 0 {
		ends = l.clock.reaches(reset)
	}
	declared := ends
	ends = minTime(maxTime(ends, now.Add(shortest)), now.Add(l.maxWait))
	w := window{reset: reset, began: now, openedBy: l.latest, ends: ends, declared: declared, caution: l.window.nextCaution()}
	w.next = now.Add(jitter(ends.Sub(now), 100))
	for i, f := range l.window.families {
		w.families[i].constant = f.constant
	}
	for other := range l.flying {
		other.counted = other == p || now.Sub(other.admitted) < l.patience()
		if other.counted {
			w.sent++
			w.under++
		}
	}
	l.window, l.free, l.ramp = w, false, 0
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

// State returns what is known now.
func (l *Limiter) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var s State
	if now.Before(l.paused.until) {
		s.PausedUntil = l.paused.until
	}
	if !now.Before(l.window.ends) {
		return s
	}
	quotas := [2]Quota{{Reset: l.window.ends}, {Reset: l.window.ends}}
	for i := range quotas {
		if f := &l.window.families[i]; f.known {
			quotas[i].Known, quotas[i].Remaining = true, max(0, f.left(&l.window))
		}
	}
	s.Global, s.Routes = quotas[0], map[string]Quota{l.route: quotas[1]}
	return s
}

// endsBefore reports whether the context has ended, or will have by then.
func endsBefore(ctx context.Context, then time.Time) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && deadline.Before(then)
}
