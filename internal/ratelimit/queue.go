package ratelimit

import (
	"context"
	"time"
)

// ticket is a call's number in the order of arrival, from 1; 0 before it has one.
type ticket uint64

// waiter is a call that waits to be admitted.
type waiter struct {
	ctx        context.Context //nolint:containedctx // it waits in the queue with its call
	permit     *Permit
	queue      *queue
	done       chan struct{} // closed once it has left the queue
	admitted   bool
	closed     *ClosedError // why it was turned away
	reason     Reason       // set when it leaves the queue
	since      instant
	ends       instant // when its context does; 0 where that is not known
	prev, next *waiter
}

func newWaiter(ctx context.Context, p *Permit, q *queue, now instant) *waiter {
	w := &waiter{ctx: ctx, permit: p, queue: q, done: make(chan struct{}), since: now}
	if deadline, ok := ctx.Deadline(); ok {
		w.ends = now + max(time.Until(deadline), 1)
	}
	return w
}

// byPriority are the reasons for waiting in the queue. A call that met several
// waited for the first of them.
var byPriority = [...]Reason{RetryAfter, RateLimit, Probe, Turn}

// queue is the calls that wait for one route, in their order of arrival.
type queue struct {
	route       string
	front, back *waiter
	n           int
	held        [len(byPriority)]instant // when each of the reasons last held the queue
	earliest    instant                  // no waiter's context ends before; 0 if none is known to end
	grant       block                    // of the pool that programs share
}

// push puts a waiter behind those who came before it. A call that was refused
// and comes again belongs near the front, any other at the end.
func (q *queue) push(w *waiter) {
	q.n++
	before := q.back
	if before != nil && before.permit.ticket > w.permit.ticket {
		before = nil
		for at := q.front; at.permit.ticket < w.permit.ticket; at = at.next {
			before = at
		}
	}
	w.prev = before
	if before == nil {
		w.next, q.front = q.front, w
	} else {
		w.next, before.next = before.next, w
	}
	if w.next == nil {
		q.back = w
	} else {
		w.next.prev = w
	}
	q.noteEnd(w)
}

// remove takes a waiter out, and notes what it waited for.
func (q *queue) remove(w *waiter) {
	q.n--
	if w.prev == nil {
		q.front = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.back = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.reason = Turn
	for i, reason := range byPriority {
		if q.held[i] >= w.since {
			w.reason = reason
			return
		}
	}
}

// heldBy notes what holds the queue.
func (q *queue) heldBy(reason Reason, now instant) {
	for i, r := range byPriority {
		if r == reason {
			q.held[i] = now
		}
	}
}

// noteEnd keeps when the first context of those who wait ends, so that they need
// not all be asked whether they can wait for as long as the limit is closed.
func (q *queue) noteEnd(w *waiter) {
	if w.ends > 0 && (q.earliest == 0 || w.ends < q.earliest) {
		q.earliest = w.ends
	}
}

// each calls f for those who wait; f may remove the one that it is called for.
func (q *queue) each(f func(*waiter)) {
	for w := q.front; w != nil; {
		next := w.next
		f(w)
		w = next
	}
}
