package ratelimit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Store keeps the shared pool.
type Store interface {
	// Update replaces the state under key by what f returns, atomically; f may be called more than once. now is the
	// store's own clock. An error of f leaves the state as it was.
	Update(ctx context.Context, key string, f func(state []byte, now time.Time) (next []byte, ttl time.Duration, err error)) error
}

const (
	stored         = time.Hour              // how long a store keeps an unused pool
	storeTimeout   = time.Second            // how long an update may take
	firstTimeout   = 3 * time.Second        // how long the first one may, because it connects, perhaps where many programs start
	firstRetry     = 5 * time.Millisecond   // after a failed one; twice as long each time
	minAlone       = 100 * time.Millisecond // how long the program does without a failed store; twice as long each time
	maxAlone       = 5 * time.Second
	distrusted     = 10 * time.Second // how long it does without a store that cannot be right
	maxStep        = time.Second      // by which the store's clock and ours may move apart within compared
	compared       = 20 * time.Second
	spreadOfAsking = time.Millisecond // for each program
	maxAsking      = 64               // of more, the spread does not grow
)

// shared is a limiter's side of the shared pool, nil if there is none. It is guarded by the
// limiter's lock.
type shared struct {
	limiter  *Limiter
	store    Store
	key      string
	warn     func(message string, err error)
	asking   bool          // whether the store is being asked for permits
	alone    instant       // until when it is not asked
	failures int           // in a row
	programs int           // asking for permits, this one included; 0 without permits from the store
	ahead    time.Duration // the store's clock less ours
	at       instant       // when it was; 0 if it is not known
}

// inUse reports whether permits are to be had from the pool.
func (s *shared) inUse(now instant) bool { return s != nil && now >= s.alone }

// timeout returns how long an update may take.
func (s *shared) timeout() time.Duration {
	if s.at == 0 && s.failures == 0 {
		return firstTimeout
	}
	return storeTimeout
}

// admits returns whether an attempt may go by what was granted, and by what the service has said of the same windows.
func (s *shared) admits(q *queue, now instant) verdict {
	if q.grant.N == 0 || now >= q.expires {
		v := verdict{reason: Probe, until: q.again}
		if now >= q.again {
			v.until = now + s.timeout() // it is being asked, or about to be
		} else if q.grant.Closed {
			v.reason, v.final = RateLimit, true
		}
		return v
	}
	for i, x := range s.limiter.ledger.limits(q.route) {
		if x.phase == open && x.reset.Milliseconds() == q.grant.Windows[i] && x.remaining() <= 0 {
			return verdict{reason: RateLimit, until: x.ends, final: x.inFlight == 0}
		}
	}
	return verdict{}
}

// update is one update of the pool.
type update struct {
	*shared
	id     uint64
	asks   []ask
	queues []*queue // of each ask
	brings *report  // nil for none
	before shared   // as it was at the beginning
	began  instant
	done   chan struct{}
}

// outcome is what came of an update.
type outcome struct {
	grants   []grant
	ahead    time.Duration // the store's clock less ours
	distrust error         // why the store cannot be believed
	err      error
}

// ask asks the store for permits for the waiting callers, unless an update is under way, and brings
// it a report, if any. It returns a channel, closed at the end of the update.
func (s *shared) ask(brings *report, now instant) <-chan struct{} {
	if !s.inUse(now) && brings == nil {
		return nil
	}
	u, l := update{shared: s, brings: brings}, s.limiter.ledger
	for _, q := range s.limiter.queues {
		if s.asking || now < max(s.alone, l.paused, q.again) || q.front() == nil || q.grant.N > 0 && now < q.expires {
			continue
		}
		a := ask{want: q.n, share: l.share, roundTrip: (l.rtt * 5 / 4).Milliseconds() + 1, patience: l.patience().Milliseconds()}
		for i, x := range l.limits(q.route) {
			a.limits[i], a.before[i] = x.name, x.granted
		}
		if a.limits[credential] == "" {
			a.want = 1 // which credential it is shows when it is used
		}
		u.asks, u.queues = append(u.asks, a), append(u.queues, q)
	}
	if brings == nil && u.asks == nil {
		return nil
	}
	u.id, u.before, u.began, u.done = rand.Uint64(), *s, now, make(chan struct{})
	s.asking = s.asking || u.asks != nil
	go u.run()
	return u.done
}

// report stores the response to a probe, and asks for permits in its window.
func (s *shared) report(a *attempt, r *response, now instant) <-chan struct{} {
	report := &report{good: r.good}
	for i, x := range a.limits {
		h := r.limits[i]
		report.limits[i] = x.name
		if h.present && x.phase == open && x.reset == h.reset && now < x.ends {
			window := h.reset.Milliseconds()
			report.windows[i] = pooled{Window: window, Ends: (x.ends - now).Milliseconds(), Limit: max(h.size, h.remaining+1), Left: h.remaining}
			x.granted = received{window, 1}
		}
	}
	for _, q := range s.limiter.queues {
		q.again = 0
	}
	return s.ask(report, now)
}

// run performs the update. Whatever the store does, it ends in time. The same update is never granted twice, so it is
// tried again until the store succeeds.
func (u *update) run() {
	timeout := u.before.timeout()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	ended := make(chan outcome, 1)
	go func() {
		o := u.try(ctx)
		for wait := firstRetry; o.err != nil && o.distrust == nil && ctx.Err() == nil && wait < timeout/2; wait *= 2 {
			time.Sleep(wait)
			o = u.try(ctx)
		}
		ended <- o
	}()
	o := outcome{err: fmt.Errorf("the store took longer than %v", timeout)}
	select {
	case o = <-ended:
	case <-ctx.Done():
	}
	if first := u.finish(u, o); first && u.warn != nil {
		u.warn("tokenpatch: the rate limiter does without its store for a while", cmp.Or(o.distrust, o.err))
	}
	close(u.done)
}

// try asks once. It turns every failure of a store into an error.
func (u *update) try(ctx context.Context) (o outcome) {
	defer func() {
		if r := recover(); r != nil {
			o.err = fmt.Errorf("the store panicked: %v", r)
		}
	}()
	var latest atomic.Pointer[outcome] // a store may call the function after it has returned
	latest.Store(&outcome{err: errors.New("the store did not call the function that it was given")})
	err := u.store.Update(ctx, u.key, func(data []byte, at time.Time) (next []byte, ttl time.Duration, err error) {
		next, o := u.apply(data, at)
		latest.Store(&o)
		return next, stored, o.err
	})
	o = *latest.Load()
	o.err = cmp.Or(err, o.err)
	return o
}

// apply makes the next pool of the stored one. An impossible pool is replaced.
func (u *update) apply(data []byte, at time.Time) (next []byte, o outcome) {
	here := u.limiter.now()
	o.ahead = time.Duration(at.UnixNano()) - here
	moved := (o.ahead - u.before.ahead).Abs() - (here - u.began)
	if at.Year() < 2000 || at.Year() > 2250 || u.before.at > 0 && moved > maxStep {
		o.err = errors.New("the store's clock cannot be right")
		o.distrust = o.err
		return nil, o
	}
	p, err := decode(data, at.UnixMilli())
	if err != nil && u.before.failures == 0 {
		o.distrust = err
	} else {
		o.grants = p.update(u.id, u.brings, (here - u.began).Milliseconds(), u.asks, at.UnixMilli())
	}
	next, o.err = json.Marshal(p)
	return next, o
}

// finish ends an update, and lets the waiting callers go. It reports whether this is the first
// failure in a row.
func (s *shared) finish(u *update, o outcome) (first bool) {
	s.limiter.mu.Lock()
	defer s.limiter.mu.Unlock()
	now, wait := s.limiter.now(), distrusted
	s.asking = s.asking && u.asks == nil
	if o.distrust != nil || o.err == nil && (s.at == 0 || now-s.at > compared) {
		s.ahead, s.at = o.ahead, now
	}
	if o.err == nil && o.distrust == nil {
		s.failures = 0
		for i, g := range o.grants {
			s.accept(u.queues[i], g, o.ahead)
		}
	} else {
		if o.distrust == nil {
			wait = min(maxAlone, minAlone<<min(s.failures, 10))
		}
		s.failures++
		s.goAlone(now + wait)
	}
	s.limiter.admitWaiting(now)
	return s.failures == 1
}

// goAlone does without the store until a moment.
func (s *shared) goAlone(until instant) {
	for _, q := range s.limiter.queues {
		q.grant, q.again = grant{}, 0
	}
	for _, x := range s.limiter.ledger.all {
		if s.programs > 0 {
			x.doubt(s.limiter.ledger, s.programs-1)
		}
	}
	s.alone, s.programs = until, 0
}

// accept keeps what was granted for a queue.
func (s *shared) accept(q *queue, g grant, ahead time.Duration) {
	here := func(at int64) instant { return time.Duration(at)*time.Millisecond - ahead }
	if g.None {
		s.goAlone(here(g.Expires))
		return
	}
	for i, x := range s.limiter.ledger.limits(q.route) {
		if x.granted.window != g.Windows[i] {
			x.granted = received{window: g.Windows[i]}
		}
		x.granted.n += g.N
	}
	s.programs = g.Asking
	spread := time.Duration(rand.Float64() * float64(spreadOfAsking) * float64(min(g.Asking, maxAsking)))
	q.grant, q.expires, q.again = g, here(g.Expires)-s.limiter.ledger.rtt, here(g.Again)+spread
}
