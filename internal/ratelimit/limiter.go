// Package ratelimit keeps the attempts of one service within the rate limit
// that the service declares in the headers of its responses.
//
// [Limiter] is a thin shell of a lock, a queue, a timer and a clock around the
// state that knows how much may be sent: see state.go for the events that
// change it, quota.go for what is known of a limit, window.go for its windows,
// clients.go for who else spends from it, and pace.go for how much of a window may
// be used at once.
//
// Programs may share a state through a [Store]: see shared.go for what they ask
// of it, and store.go for the limiter's side of that.
package ratelimit

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Options says what a [Limiter] may assume.
type Options struct {
	MaxWait time.Duration // the longest wait that a server may declare
	Share   float64       // the part of what remains that may be taken, above 0 and up to 1; 0 is all

	Store Store                           // of the state that programs share; nil for this limiter alone
	Key   string                          // of that state
	Warn  func(message string, err error) // if not nil, called with what is wrong with the store or with what is in it
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
	Known     bool      // whether a response has said what remains
	Reset     time.Time // when the window ends, by this machine's clock; zero where not known
}

// Reason says what a wait was for; it is empty for no wait.
type Reason string

// The reasons for waiting.
const (
	RetryAfter Reason = "retry_after" // a pause that the server asked for, or one after a 429 without headers
	RateLimit  Reason = "rate_limit"  // a window that is used up
	Probe      Reason = "probe"       // the response to the one attempt that goes ahead
	Turn       Reason = "turn"        // those who came before, in a window that is open
)

// Limiter admits the attempts of one service, so that the service's rate limit
// is used up and not overrun. All that it knows is from the headers of responses.
//
// Those who wait for a route are served in the order in which their calls came.
// A route that has to wait does not hold another one up.
type Limiter struct {
	epoch time.Time // what instants count from, by the monotonic clock; it has passed, so that no instant is zero

	mu      sync.Mutex
	state   *state
	tickets ticket   // calls so far
	queues  []*queue // by route
	timer   *time.Timer
	wakeUps int // of the timer so far
	shared  shared
}

// Permit lets one attempt be sent, and is settled when that ends. The zero value is
// ready. A call uses one Permit for all of its attempts, one after the other: it
// keeps the call's position in the order of arrival. It is not for concurrent use.
type Permit struct {
	Waiting func(Reason) // if not nil, called by Wait before it waits, with the reason as it then is

	limiter *Limiter
	ticket  ticket // of its call
	attempt attempt
	shared  attempt // the same in the state that programs share; zero where the permit is not from there
	known   bool    // whether what remains was known when the permit was taken from there
	open    bool    // whether the attempt has been admitted and has not ended
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
	return &Limiter{
		epoch:  time.Now().Add(-time.Second),
		state:  newState(rules{maxWait: o.MaxWait, share: o.Share}),
		shared: shared{store: o.Store, key: o.Key, warn: o.Warn},
	}
}

func (l *Limiter) now() instant { return time.Since(l.epoch) }

func (l *Limiter) timeOf(i instant) time.Time { return time.Now().Add(i - l.now()) }

// Wait waits until an attempt on a route may go, and says what it waited for,
// if it did. A route is an endpoint's template, such as
// "PATCH /api/v2/tokens/{id}". The error is the context's own, or a
// [*ClosedError].
func (l *Limiter) Wait(ctx context.Context, route string, p *Permit) (Reason, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	w, err := l.enter(ctx, route, p)
	if w == nil || err != nil {
		return "", err
	}
	return l.await(ctx, w)
}

// await waits until a waiter has left its queue.
func (l *Limiter) await(ctx context.Context, w *waiter) (Reason, error) {
	select {
	case <-w.done:
	case <-ctx.Done():
		if l.withdraw(w) {
			return w.reason, ctx.Err()
		}
	}
	if w.closed != nil {
		return w.reason, w.closed
	}
	return w.reason, nil
}

// enter admits a call at once, turns it away, or returns it as one that waits.
func (l *Limiter) enter(ctx context.Context, route string, p *Permit) (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if p.ticket == 0 {
		l.tickets++
		p.ticket = l.tickets
	}
	p.limiter = l
	l.state.advance(now)
	q := l.queue(route)
	v, next := l.look(p, q, now)
	if !next && p.Waiting != nil {
		l.callWaiting(p, v.reason)
		now = l.now()
		l.state.advance(now)
		v, next = l.look(p, q, now)
	}
	if next {
		l.admit(p, route, now)
		return nil, nil
	}
	if closed := l.tooLate(ctx, v, now); closed != nil {
		return nil, closed
	}
	w := newWaiter(ctx, p, q, now)
	q.push(w)
	l.admitWaiting(now)
	return w, nil
}

// look says whether an attempt on the queue's route may go, and whether it is the next one.
func (l *Limiter) look(p *Permit, q *queue, now instant) (verdict, bool) {
	v := l.admits(q.route, now)
	return v, v.goes() && (q.front == nil || p.ticket < q.front.permit.ticket)
}

// callWaiting tells a call that it has to wait. It does so without the lock, since
// what it calls may take its time, and before the call is in the queue.
func (l *Limiter) callWaiting(p *Permit, reason Reason) {
	l.mu.Unlock()
	defer l.mu.Lock()
	p.Waiting(cmp.Or(reason, Turn))
}

// queue returns the queue of a route.
func (l *Limiter) queue(route string) *queue {
	for _, q := range l.queues {
		if q.route == route {
			return q
		}
	}
	q := &queue{route: route}
	l.queues = append(l.queues, q)
	return q
}

// admits says whether an attempt on a route may go now.
func (l *Limiter) admits(route string, now instant) verdict {
	if now < l.state.paused.until || !l.shared.inUse(l, route, now) {
		return l.state.admits(route, now)
	}
	return l.shared.admits(l.shared.block(route), now)
}

func (l *Limiter) admit(p *Permit, route string, now instant) {
	p.attempt, p.shared, p.open = l.state.admit(route, now), attempt{}, true
	if b := l.shared.block(route); b.n > 0 && now < b.expires {
		p.shared, p.known = b.use(), b.known
	}
}

// withdraw takes a waiter whose context has ended out of its queue. It reports
// false where the waiter had been turned away already; a permit that it had
// been given goes to the next one.
func (l *Limiter) withdraw(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	switch {
	case w.closed != nil:
		return false
	case w.admitted:
		l.cancel(w.permit)
	default:
		w.queue.remove(w)
	}
	l.admitWaiting(now)
	return true
}

// admitWaiting admits those who wait for as long as the limit lets them, and sets
// the timer for the next one. Of several routes that may go, the one whose call
// came first is next.
func (l *Limiter) admitWaiting(now instant) {
	l.state.advance(now)
	for {
		var next *queue
		var wake instant
		for _, q := range l.queues {
			if q.front == nil {
				continue
			}
			v := l.admits(q.route, now)
			switch {
			case !v.goes():
				q.heldBy(v.reason, now)
				l.turnAway(q, v, now)
				if q.front != nil && (wake == 0 || v.until < wake) {
					wake = v.until
				}
			case next == nil || q.front.permit.ticket < next.front.permit.ticket:
				next = q
			}
		}
		if next == nil {
			l.wakeAt(wake, now)
			l.ask(now)
			return
		}
		w := next.front
		next.remove(w)
		l.admit(w.permit, next.route, now)
		w.admitted = true
		close(w.done)
	}
}

// turnAway ends the wait of those whose context ends before the limit opens.
func (l *Limiter) turnAway(q *queue, v verdict, now instant) {
	tooLong := v.onlyTime && v.declared-now > l.state.maxWait
	if !v.onlyTime || !tooLong && (q.earliest == 0 || q.earliest >= v.until) {
		return
	}
	q.earliest = 0
	q.each(func(w *waiter) {
		if w.closed = l.tooLate(w.ctx, v, now); w.closed != nil {
			q.remove(w)
			close(w.done)
			return
		}
		q.noteEnd(w)
	})
}

// tooLate returns why a call need not wait: its context ends before the limit
// opens, or the server declares a wait that is longer than the longest allowed.
func (l *Limiter) tooLate(ctx context.Context, v verdict, now instant) *ClosedError {
	if !v.onlyTime {
		return nil
	}
	if v.declared-now > l.state.maxWait {
		return &ClosedError{l.timeOf(v.declared), fmt.Errorf("the server declares a longer wait than %v", l.state.maxWait)}
	}
	deadline, ok := ctx.Deadline()
	if ok && time.Until(deadline) < v.until-now {
		return &ClosedError{l.timeOf(v.until), context.DeadlineExceeded}
	}
	return nil
}

// wakeAt has the queues looked at again at a time, 0 for not at all.
func (l *Limiter) wakeAt(at, now instant) {
	switch {
	case at == 0:
		if l.timer != nil {
			l.timer.Stop()
		}
	case l.timer == nil:
		l.timer = time.AfterFunc(at-now, l.tick)
	default:
		l.timer.Reset(at - now)
	}
}

func (l *Limiter) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wakeUps++
	l.admitWaiting(l.now())
}

// Cancel takes the permit back: nothing can have been sent.
func (p *Permit) Cancel() {
	p.settle(func(l *Limiter, _ instant) { l.cancel(p) })
}

func (l *Limiter) cancel(p *Permit) {
	p.open = false
	l.state.cancel(p.attempt)
	if p.shared.seq > 0 {
		l.shared.record(settlement{attempt: p.shared, n: 1}, p.known)
	}
}

// Abandon settles an attempt that ended without a response: what it spent, it
// spent. It does nothing where the attempt is settled.
func (p *Permit) Abandon() {
	p.settle(func(l *Limiter, now instant) {
		l.state.abandon(p.attempt)
		l.shared.record(p.settlement(response{}, now), p.known)
	})
}

// Observe settles an attempt that had a response, whose headers say what is
// left of the rate limit. It does nothing where the attempt is settled.
func (p *Permit) Observe(status int, header http.Header) {
	r := parseResponse(status, header)
	p.settle(func(l *Limiter, now instant) {
		l.state.observe(p.attempt, r, now)
		l.shared.record(p.settlement(r, now), p.known)
	})
}

// settlement is how the attempt ended, for the state that programs share.
func (p *Permit) settlement(r response, now instant) settlement {
	a := p.shared
	a.admitted, a.route = p.attempt.admitted, p.attempt.route
	return settlement{attempt: a, response: r, at: now}
}

// settle ends the attempt, unless it has ended.
func (p *Permit) settle(end func(l *Limiter, now instant)) {
	l := p.limiter
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !p.open {
		return
	}
	p.open = false
	now := l.now()
	l.state.advance(now)
	end(l, now)
	l.admitWaiting(now)
}

// State returns what is known now.
func (l *Limiter) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.state.advance(now)
	s := State{Global: l.quota(&l.state.global, now), Routes: make(map[string]Quota)}
	for i := range l.state.routes {
		r := &l.state.routes[i]
		if q := l.quota(&r.quota, now); q != (Quota{}) {
			s.Routes[r.name] = q
		}
	}
	if now < l.state.paused.until {
		s.PausedUntil = l.timeOf(l.state.paused.until)
	}
	return s
}

func (l *Limiter) quota(q *quota, now instant) Quota {
	if q.phase != reported || now >= q.window.ends {
		return Quota{}
	}
	return Quota{Remaining: q.remaining(), Known: true, Reset: l.timeOf(q.window.ends)}
}
