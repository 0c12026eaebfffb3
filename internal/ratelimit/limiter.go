// Package ratelimit decides when an attempt may be sent.
//
// A service has limits of the account, the route and the credential, each in windows that end at its reset. A response reports
// what remains of each. An attempt may go if each of its limits has more left than is in flight or was lost since. Whether
// a window is over is decided by the server's clock, of which only a safe bound is known. A new window begins with what the
// service announces, or one attempt probes it. If others spend from the same limit, a part is left to them. A 429 that no limit
// explains shows a hidden limit, which is found by how much went well.
//
// The ledger decides all of this by events, without a clock or a lock; the [Limiter] queues the calls and has both. Programs
// with one [Store] take permits from a shared pool instead, and owe nothing if they are killed.
package ratelimit

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options are the settings of a [Limiter].
type Options struct {
	MaxWait time.Duration                   // the longest wait for the server of a call
	Share   float64                         // the maximum part of each window, above 0 and up to 1; 0 is all
	Store   Store                           // of the shared pool; nil for this limiter alone
	Key     string                          // of the pool
	Account string                          // whose limits they are
	Warn    func(message string, err error) // if not nil, called with what is wrong with the store or with what is in it
}

// State is what is known of a service's limits at one moment.
type State struct {
	Account     Quota
	Credential  Quota            // of the credential in use
	Routes      map[string]Quota // by route, if something is known of it
	PausedUntil time.Time        // until when nothing is sent at all, because of Retry-After; zero if nothing is paused
}

// Quota is one limit in its current window.
type Quota struct {
	Known     bool      // whether it is known what remains
	Remaining int       // if Known
	Limit     int       // what a window admits; 0 if the service has not said it
	Reset     time.Time // when the window ends, by this machine's clock; zero if it is not known
}

// Reason is what a call waits for; it is empty if it does not wait.
type Reason string

// The reasons for waiting.
const (
	RetryAfter Reason = "retry_after" // a pause for Retry-After, or after a 429 without headers
	RateLimit  Reason = "rate_limit"  // the next window
	Probe      Reason = "probe"       // the response to the one attempt sent first
	Turn       Reason = "turn"        // earlier calls, in an open window
)

// Limiter admits the attempts of one service, those of each route in the order in which their calls came. Routes do not hold
// each other up. It is safe for concurrent use.
type Limiter struct {
	maxWait time.Duration
	account string
	epoch   time.Time // what instants count from, by the monotonic clock; it has passed, so no instant is zero

	mu      sync.Mutex
	ledger  *ledger
	tickets uint64   // calls so far
	queues  []*queue // by route
	timer   *time.Timer
	shared  *shared // nil for this limiter alone
}

// Permit lets one attempt be sent, and is settled at its end. The zero value is ready. A call uses
// one Permit for all of its attempts, one after the other: it keeps the call's position in the
// order of arrival. It is not for concurrent use.
type Permit struct {
	Waiting func(Reason) // if not nil, called by Wait before it waits, with the current reason

	limiter  *Limiter
	ticket   uint64          // number of its call in the order of arrival, from 1
	attempt  *attempt        // nil once it is settled
	probes   bool            // whether other programs wait for its response
	reported <-chan struct{} // closed once it is stored; nil if there is nothing to report
}

// ClosedError is the error of a call that was not sent: the limit opens later than the call can
// wait.
type ClosedError struct {
	Opens time.Time // when the limit opens
	Err   error     // context.DeadlineExceeded, or an error about MaxWait
}

func (e *ClosedError) Error() string {
	return fmt.Sprintf("the rate limit opens at %s: %v", e.Opens.UTC().Format(time.RFC3339), e.Err)
}

// Unwrap returns Err.
func (e *ClosedError) Unwrap() error { return e.Err }

// New returns a limiter without any knowledge.
func New(o Options) *Limiter {
	l := &Limiter{maxWait: o.MaxWait, account: o.Account, epoch: time.Now().Add(-time.Second), ledger: newLedger(o.Share)}
	if o.Store != nil {
		l.shared = &shared{limiter: l, store: o.Store, key: o.Key, warn: o.Warn}
	}
	return l
}

func (l *Limiter) now() instant { return time.Since(l.epoch) }

func (l *Limiter) timeOf(i instant) time.Time { return time.Now().Add(i - l.now()) }

// Wait waits until an attempt on a route may go, and returns what it waited for, if it did. A route is an endpoint's
// template, such as "PATCH /api/v2/tokens/{id}". The error is the context's own, or a [*ClosedError].
func (l *Limiter) Wait(ctx context.Context, route string, p *Permit) (Reason, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	w, err := l.enter(ctx, route, p)
	if w == nil || err != nil {
		return "", err
	}
	if p.Waiting != nil {
		p.Waiting(w.first)
	}
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

// enter admits a call at once, refuses it, or returns it as a waiter.
func (l *Limiter) enter(ctx context.Context, route string, p *Permit) (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.ticket == 0 {
		l.tickets++
		p.ticket = l.tickets
	}
	p.limiter = l
	q, now := l.queue(route), l.now()
	l.ledger.advance(now)
	v := l.admits(q, now)
	if w := q.front(); v.reason == "" && w != nil && w.permit.ticket < p.ticket {
		v = verdict{reason: Turn}
	}
	if v.reason == "" {
		l.admit(p, q, now)
		return nil, nil
	}
	ends := never
	if deadline, ok := ctx.Deadline(); ok {
		ends = now + time.Until(deadline)
	}
	if closed := l.tooLate(ends, v, now); closed != nil {
		return nil, closed
	}
	w := &waiter{permit: p, queue: q, since: now, ends: ends, first: v.reason, done: make(chan struct{})}
	q.push(w)
	l.admitWaiting(now)
	return w, nil
}

// queue returns the queue of a route. If there are too many, further routes share the last one, and its limit.
func (l *Limiter) queue(route string) *queue {
	for i, q := range l.queues {
		if q.name == route || i == maxRoutes-1 {
			return q
		}
	}
	q := &queue{name: route, route: newLimit("route " + route), held: make(map[Reason]instant), earliest: never}
	l.queues, l.ledger.all = append(l.queues, q), append(l.ledger.all, q.route)
	return q
}

// admits returns whether an attempt may go now.
func (l *Limiter) admits(q *queue, now instant) verdict {
	if now >= l.ledger.paused && l.shared.inUse(now) {
		return l.shared.admits(q, now)
	}
	return l.ledger.admits(q.route, now)
}

func (l *Limiter) admit(p *Permit, q *queue, now instant) {
	p.attempt, p.probes = l.ledger.admit(q.route, now), l.shared.inUse(now) && q.grant.Probe
	if l.shared.inUse(now) {
		q.grant.N--
	}
}

// withdraw takes a waiter whose context is done out of its queue, or takes its permit back. It returns false if the waiter had
// been turned away already.
func (l *Limiter) withdraw(w *waiter) bool {
	l.mu.Lock()
	admitted := w.gone && w.closed == nil
	if !w.gone {
		w.queue.remove(w)
		l.admitWaiting(l.now())
	}
	l.mu.Unlock()
	if admitted {
		w.permit.Cancel()
	}
	return w.closed == nil
}

// admitWaiting admits those who wait for as long as the limits allow it, and sets the timer for the next one. Of several
// routes, the one whose call came first is next.
func (l *Limiter) admitWaiting(now instant) {
	l.ledger.advance(now)
	q, wake := l.next(now)
	for ; q != nil; q, wake = l.next(now) {
		w := q.front()
		l.admit(w.permit, q, now)
		q.remove(w)
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	if wake < never {
		l.timer = time.AfterFunc(wake-now, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.admitWaiting(l.now())
		})
	}
	l.shared.ask(nil, now)
}

// next returns the queue whose first waiter may go now. If there is none, it returns when to look again.
func (l *Limiter) next(now instant) (next *queue, wake instant) {
	wake = never
	for _, q := range l.queues {
		if q.front() == nil {
			continue
		}
		if v := l.admits(q, now); v.reason != "" {
			q.held[v.reason] = now
			q.turnAway(l, v, now)
			wake = min(wake, v.until)
		} else if next == nil || q.front().permit.ticket < next.front().permit.ticket {
			next = q
		}
	}
	return next, wake
}

// tooLate returns why a call need not wait: its context ends before the limit opens, or it does not bear such a wait.
func (l *Limiter) tooLate(ends instant, v verdict, now instant) *ClosedError {
	opens := v.until
	if v.reason == RetryAfter {
		opens = l.ledger.declared
	}
	if v.final && opens-now > l.maxWait {
		return &ClosedError{l.timeOf(opens), fmt.Errorf("the server declares a longer wait than %v", l.maxWait)}
	}
	if v.final && v.until > ends {
		return &ClosedError{l.timeOf(opens), context.DeadlineExceeded}
	}
	return nil
}

// Use reports the credential of an attempt just before it is sent, and keeps its hash. Calls are
// admitted by the limit of the credential in use.
func (p *Permit) Use(credential string) {
	if p.attempt != nil {
		name := nameCredential(p.limiter.account, credential)
		p.limiter.mu.Lock()
		defer p.limiter.mu.Unlock()
		p.limiter.ledger.use(p.attempt, name[:])
	}
}

// Cancel takes the permit back: nothing can have been sent.
func (p *Permit) Cancel() { p.settle(nil, true) }

// Abandon settles an attempt without a response: it may have been sent. If the attempt is settled
// already, it only waits, for a second at most, until its response is stored for waiting programs.
func (p *Permit) Abandon() {
	p.settle(nil, false)
	if p.reported != nil {
		<-p.reported
		p.reported = nil
	}
}

// Observe settles an attempt with its response, whose headers say what is left of the limits.
func (p *Permit) Observe(status int, header http.Header) {
	r := parseResponse(status, header)
	p.settle(&r, false)
}

// settle ends the attempt, unless it has ended. If it probes a window for other programs, its
// response is stored.
func (p *Permit) settle(r *response, unsent bool) {
	if p.attempt == nil {
		return
	}
	l := p.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.ledger.advance(now)
	switch {
	case unsent:
		r = &response{}
		l.ledger.cancel(p.attempt)
	case r != nil:
		l.ledger.observe(p.attempt, r, now)
	default:
		l.ledger.lose(p.attempt)
	}
	if p.probes && r != nil {
		p.reported = l.shared.report(p.attempt, r, now)
	}
	p.attempt = nil
	l.admitWaiting(now)
}

// State returns what is known now.
func (l *Limiter) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ledger.advance(l.now())
	s := State{Account: l.quota(l.ledger.all[account]), Credential: l.quota(l.ledger.credential), Routes: make(map[string]Quota)}
	for _, q := range l.queues {
		if quota := l.quota(q.route); quota != (Quota{}) {
			s.Routes[q.name] = quota
		}
	}
	if l.now() < l.ledger.declared {
		s.PausedUntil = l.timeOf(l.ledger.declared)
	}
	return s
}

func (l *Limiter) quota(x *limit) Quota {
	if x.phase != open {
		return Quota{Limit: x.size}
	}
	return Quota{Known: true, Remaining: max(0, x.remaining()), Limit: x.size, Reset: l.timeOf(x.ends)}
}

// waiter is a call waiting for admission.
type waiter struct {
	permit *Permit
	queue  *queue
	since  instant
	ends   instant       // when its context does
	first  Reason        // what it had to wait for in the beginning
	reason Reason        // what it waited for in the end
	gone   bool          // whether it has left the queue
	done   chan struct{} // closed then
	closed *ClosedError  // why it was turned away
}

// byPriority are the reasons for waiting. Of several reasons, the first counts.
var byPriority = [...]Reason{RetryAfter, RateLimit, Probe, Turn}

// queue is the waiting calls of one route, in their order of arrival.
type queue struct {
	name     string
	route    *limit
	waiters  []*waiter          // with some gone ones
	n        int                // without them
	held     map[Reason]instant // when each of them last held the queue
	earliest instant            // no waiter's context ends before

	grant          grant   // of the shared pool
	expires, again instant // when it does, and when to ask for more
}

// front returns the first waiter, or nil.
func (q *queue) front() *waiter {
	for len(q.waiters) > 0 && q.waiters[0].gone {
		q.waiters = q.waiters[1:]
	}
	if len(q.waiters) == 0 {
		return nil
	}
	return q.waiters[0]
}

// push inserts a call behind earlier ones: a refused call belongs near the front.
func (q *queue) push(w *waiter) {
	if q.n < len(q.waiters)/2 {
		q.waiters = slices.DeleteFunc(q.waiters, func(w *waiter) bool { return w.gone })
	}
	i, _ := slices.BinarySearchFunc(q.waiters, w, func(v, w *waiter) int { return cmp.Compare(v.permit.ticket, w.permit.ticket) })
	q.waiters = slices.Insert(q.waiters, i, w)
	q.n++
	q.earliest = min(q.earliest, w.ends)
}

// remove takes a waiter out, and notes what it waited for.
func (q *queue) remove(w *waiter) {
	w.gone, w.reason = true, Turn
	q.n--
	for i := len(byPriority) - 1; i >= 0; i-- {
		if q.held[byPriority[i]] >= w.since {
			w.reason = byPriority[i]
		}
	}
	close(w.done)
}

// turnAway ends the wait of those who cannot wait until the limit opens.
func (q *queue) turnAway(l *Limiter, v verdict, now instant) {
	if l.tooLate(q.earliest, v, now) == nil {
		return
	}
	q.earliest = never
	for _, w := range q.waiters {
		if w.gone {
			continue
		}
		w.closed = l.tooLate(w.ends, v, now)
		if w.closed != nil {
			q.remove(w)
		} else {
			q.earliest = min(q.earliest, w.ends)
		}
	}
}
