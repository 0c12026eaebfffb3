package ratelimit

import (
	"container/list"
	"context"
	"time"
)

// waiter is a call that waits to be admitted.
type waiter struct {
	ctx      context.Context //nolint:containedctx // it waits in the queue with its call
	permit   *Permit
	queue    *queue
	place    *list.Element
	done     chan struct{} // closed once it has left the queue
	admitted bool
	closed   *ClosedError // why it was turned away
	reason   Reason       // set when it leaves the queue
	since    instant
	ends     instant // when its context does; 0 if that is not known
}

// byPriority are the reasons for waiting in the queue. A call that met several waited for the first of them.
var byPriority = [...]Reason{RetryAfter, RateLimit, Probe, Turn}

// queue is the calls that wait for one route, in their order of arrival.
type queue struct {
	name     string
	route    *limit
	waiters  list.List          // of *waiter
	held     map[Reason]instant // when each of them last held the queue
	earliest instant            // no waiter's context ends before; 0 if none is known to end
	grant    block              // of the pool that programs share
}

// front returns the first waiter, or nil.
func (q *queue) front() *waiter {
	if e := q.waiters.Front(); e != nil {
		return e.Value.(*waiter)
	}
	return nil
}

// push puts a call behind those that came before it. One that was refused and comes again belongs near the front, any other
// at the end.
func (q *queue) push(ctx context.Context, p *Permit, now instant) *waiter {
	w := &waiter{ctx: ctx, permit: p, queue: q, done: make(chan struct{}), since: now}
	if deadline, ok := ctx.Deadline(); ok {
		w.ends = now + max(time.Until(deadline), 1)
	}
	after := func(e *list.Element) bool { return e.Value.(*waiter).permit.ticket > p.ticket }
	if last := q.waiters.Back(); last == nil || !after(last) {
		w.place = q.waiters.PushBack(w)
	} else {
		e := q.waiters.Front()
		for !after(e) {
			e = e.Next()
		}
		w.place = q.waiters.InsertBefore(w, e)
	}
	q.noteEnd(w)
	return w
}

// remove takes a waiter out, and notes what it waited for.
func (q *queue) remove(w *waiter) {
	q.waiters.Remove(w.place)
	w.reason = Turn
	for _, reason := range byPriority {
		if q.held[reason] >= w.since {
			w.reason = reason
			return
		}
	}
}

// noteEnd keeps when the first context of those who wait ends, so not all need to be asked whether they can wait for as
// long as the limit is closed.
func (q *queue) noteEnd(w *waiter) {
	if w.ends > 0 && (q.earliest == 0 || w.ends < q.earliest) {
		q.earliest = w.ends
	}
}

// turnAway ends the wait of those who cannot wait until the limit opens.
func (q *queue) turnAway(l *Limiter, v verdict, now instant) {
	if !v.final || v.opens()-now <= l.maxWait && (q.earliest == 0 || q.earliest >= v.until) {
		return
	}
	q.earliest = 0
	for e := q.waiters.Front(); e != nil; {
		w := e.Value.(*waiter)
		e = e.Next()
		if w.closed = l.tooLate(w.ctx, v, now); w.closed != nil {
			q.remove(w)
			close(w.done)
		} else {
			q.noteEnd(w)
		}
	}
}
