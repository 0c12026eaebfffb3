package ratelimit

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// waiter is a call that waits to be admitted.
type waiter struct {
	ctx    context.Context //nolint:containedctx // it waits in the queue with its call
	permit *Permit
	queue  *queue
	since  instant
	first  Reason        // what it had to wait for then
	done   chan struct{} // closed once it has left the queue
	gone   bool          // whether it has
	closed *ClosedError  // why it was turned away
	reason Reason        // what it waited for in the end
}

// byPriority are the reasons for waiting. A call that met several waited for the first of them.
var byPriority = [...]Reason{RetryAfter, RateLimit, Probe, Turn}

// queue is the calls that wait for one route, in their order of arrival.
type queue struct {
	name     string
	route    *limit
	waiters  []*waiter          // with some that are gone
	n        int                // without them
	held     map[Reason]instant // when each of them last held the queue
	earliest time.Time          // no waiter's context ends before; zero if none ends

	grant          grant   // of the pool that programs share
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

// push puts a call behind those that came before it: one that was refused and comes again belongs near the front.
func (q *queue) push(w *waiter) {
	if q.n < len(q.waiters)/2 {
		q.waiters = slices.DeleteFunc(q.waiters, func(w *waiter) bool { return w.gone })
	}
	i, _ := slices.BinarySearchFunc(q.waiters, w, func(v, w *waiter) int { return cmp.Compare(v.permit.ticket, w.permit.ticket) })
	q.waiters = slices.Insert(q.waiters, i, w)
	q.n++
	q.noteDeadline(w.ctx)
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

// noteDeadline keeps the first deadline of those who wait, so not all need to be asked whether they can wait for as long as
// the limit is closed.
func (q *queue) noteDeadline(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); ok && (q.earliest.IsZero() || deadline.Before(q.earliest)) {
		q.earliest = deadline
	}
}

// turnAway ends the wait of those who cannot wait until the limit opens.
func (q *queue) turnAway(l *Limiter, v verdict, now instant) {
	late := v.until-now-maxJitter > l.maxWait || !q.earliest.IsZero() && time.Until(q.earliest) < v.until-now
	if !v.final || !late {
		return
	}
	q.earliest = time.Time{}
	for _, w := range q.waiters {
		if w.gone {
			continue
		}
		if w.closed = l.tooLate(w.ctx, v, now); w.closed != nil {
			q.remove(w)
		} else {
			q.noteDeadline(w.ctx)
		}
	}
}
