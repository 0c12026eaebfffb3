package ratelimit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Store keeps the pool that programs share.
type Store interface {
	// Update replaces the state under key by what f returns, atomically; f may be called more than once. now is the
	// store's own clock. An error of f leaves the state as it was.
	Update(ctx context.Context, key string, f func(state []byte, now time.Time) (next []byte, ttl time.Duration, err error)) error
}

const (
	stored         = time.Hour              // how long a store keeps a pool that nobody uses
	storeTimeout   = time.Second            // how long an update may take
	firstRetry     = 5 * time.Millisecond   // after a failed update
	minAlone       = 100 * time.Millisecond // how long the program does without a store that failed; twice as long each time
	maxAlone       = 5 * time.Second
	distrusted     = 10 * time.Second // how long it does without a store that cannot be right
	maxStep        = time.Second      // by which the store's clock and ours may move apart within compared
	compared       = 20 * time.Second
	spreadOfAsking = time.Millisecond // for each program
	maxReceived    = 2 * (maxRoutes + maxCredentials)
)

var errClock = errors.New("the store's clock cannot be right")

// shared is a limiter's side of the pool that programs share. It is guarded by the limiter's lock. Its methods do nothing
// if it is nil.
type shared struct {
	limiter *Limiter
	store   Store
	key     string
	warn    func(message string, err error) // never changed

	received map[string]received // in the current window, by the pool's name of a limit
	asking   bool
	asked    instant // since when
	alone    instant // until when the store is not asked
	failures int     // in a row
	clock    storeClock
	programs int // that ask for permits, this one included
}

// storeClock is how far the store's clock was ahead of ours at a moment, between two bounds.
type storeClock struct {
	low, high time.Duration
	at        instant // 0 if it is not known
}

// moved reports whether the store's clock and ours have moved apart.
func (c storeClock) moved(d storeClock) bool {
	return c.at > 0 && (d.low > c.high+maxStep || d.high < c.low-maxStep)
}

// block is the permits of a route that are granted and not used yet.
type block struct {
	grant
	expires instant
	again   instant
}

// use takes a permit out of the block, and reports whether it probes a window.
func (b *block) use() bool {
	b.N--
	return b.Probe
}

// inUse reports whether permits are to be had from the pool.
func (s *shared) inUse(now instant) bool {
	return s != nil && now >= s.alone && !(s.asking && now-s.asked >= storeTimeout)
}

// admits returns whether an attempt may go by what was granted, and by what the service has said of the same windows.
func (s *shared) admits(q *queue, now instant) verdict {
	b := &q.grant
	if b.N > 0 && now < b.expires {
		for i, x := range s.limiter.ledger.limits(q.route) {
			if x.phase == open && x.reset.Milliseconds() == b.Windows[i] && x.remaining() <= 0 {
				return verdict{reason: RateLimit, until: x.ends, final: x.inFlight == 0}
			}
		}
		return verdict{}
	}
	if now < b.again && b.Closed {
		return verdict{reason: RateLimit, until: b.again, final: true}
	}
	if now < b.again {
		return verdict{reason: Probe, until: b.again}
	}
	if s.asking {
		return verdict{reason: Turn, until: s.asked + storeTimeout}
	}
	return verdict{reason: Turn, until: now + storeTimeout} // it is about to be asked
}

// update is one update of the pool.
type update struct {
	shared *shared
	id     uint64
	asks   []ask
	queues []*queue // that each ask is for
	report *report
	clock  storeClock // of an earlier update
	again  bool       // whether the store was not believed before
	done   chan struct{}
}

// outcome is what came of an update.
type outcome struct {
	grants []grant
	now    time.Duration // the store's clock
	clock  storeClock
	absurd error // what was wrong with the pool that was there
	err    error
}

// ask asks the store for permits, if somebody waits for them.
func (s *shared) ask(now instant) {
	if s == nil || s.asking || !s.inUse(now) || now < s.limiter.ledger.pause.until {
		return
	}
	s.start(&update{}, now)
}

// start asks the store for the permits that callers wait for, unless it is being asked, and brings it a report.
func (s *shared) start(u *update, now instant) {
	u.shared, u.id, u.clock, u.again, u.done = s, rand.Uint64(), s.clock, s.failures > 0, make(chan struct{})
	if !s.asking {
		s.collect(u, now)
	}
	if len(u.asks) > 0 {
		s.asking, s.asked = true, now
	}
	if len(u.asks) > 0 || u.report != nil {
		go u.run()
	}
}

// collect adds what callers wait for.
func (s *shared) collect(u *update, now instant) {
	ledger := s.limiter.ledger
	for _, q := range s.limiter.queues {
		b := &q.grant
		if q.n == 0 || b.N > 0 && now < b.expires || now < b.again {
			continue
		}
		a := ask{
			limits: names(ledger.limits(q.route)), want: q.n, share: ledger.share,
			roundTrip: (ledger.rtt * 5 / 4).Milliseconds() + 1, patience: ledger.patience().Milliseconds(),
		}
		if a.limits[credential] == "" {
			a.want = 1 // which credential it is shows when it is used
		}
		for i, name := range a.limits {
			a.before[i] = s.received[name]
		}
		u.asks, u.queues = append(u.asks, a), append(u.queues, q)
	}
}

// names returns what the pool calls the limits of an attempt; a credential that is not known yet has no name.
func names(limits [kinds]*limit) [kinds]string {
	all := [kinds]string{account: "account", route: "route " + limits[route].name}
	if id := limits[credential].name; id != "" {
		all[credential] = "credential " + id
	}
	return all
}

// report stores what the response to a probe says, and asks for permits in the window that it opens. It returns a channel
// that is closed once the update has ended.
func (s *shared) report(a *attempt, r *response, now instant) <-chan struct{} {
	report := &report{limits: names(a.limits), good: r.good() && r.status != 0}
	for i, x := range a.limits {
		h := r.limits[i]
		if h.present && x.phase == open && x.reset == h.reset && now < x.ends {
			size := max(h.limit, h.remaining+1)
			report.windows[i] = reported{true, h.reset.Milliseconds(), (x.ends - now).Milliseconds(), size, h.remaining}
			s.receive(report.limits[i], h.reset.Milliseconds(), 1)
		}
	}
	for _, q := range s.limiter.queues {
		q.grant.again = 0
	}
	u := &update{report: report}
	s.start(u, now)
	return u.done
}

// receive notes what was granted of a window.
func (s *shared) receive(name string, reset int64, n int) {
	if len(s.received) >= maxReceived {
		clear(s.received)
	}
	r := s.received[name]
	if r.window != reset {
		r = received{window: reset}
	}
	r.n += n
	s.received[name] = r
}

// run performs the update. Whatever the store does, it ends in time.
func (u *update) run() {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	ended := make(chan outcome, 1)
	go func() { ended <- u.call(ctx) }()
	o := outcome{err: fmt.Errorf("the store took longer than %v", storeTimeout)}
	select {
	case o = <-ended:
	case <-ctx.Done():
	}
	warning, warn := u.shared.finish(u, o), u.shared.warn
	if warning != nil && warn != nil {
		warn("tokenpatch: the rate limiter does without its store for a while", warning)
	}
	close(u.done)
}

// call asks until the store succeeds or its time is up. The same update is never granted twice.
func (u *update) call(ctx context.Context) outcome {
	for wait := firstRetry; ; wait *= 2 {
		o := u.try(ctx)
		if o.err == nil || errors.Is(o.err, errOtherVersion) || errors.Is(o.err, errClock) {
			return o
		}
		select {
		case <-ctx.Done():
			return o
		case <-time.After(wait):
		}
	}
}

// try asks once. It makes an error of all that a store can do wrong.
func (u *update) try(ctx context.Context) (o outcome) {
	defer func() {
		if r := recover(); r != nil {
			o.err = fmt.Errorf("the store panicked: %v", r)
		}
	}()
	began, called := u.shared.limiter.now(), false
	err := u.shared.store.Update(ctx, u.shared.key, func(data []byte, at time.Time) (next []byte, ttl time.Duration, err error) {
		called = true
		o, next = u.apply(data, at, began)
		return next, stored, o.err
	})
	if err == nil && !called {
		err = errors.New("the store did not call the function that it was given")
	}
	if o.err == nil {
		o.err = err
	}
	return o
}

// apply makes the next pool of the stored one.
func (u *update) apply(data []byte, at time.Time, began instant) (o outcome, next []byte) {
	if !isYear(at) {
		return outcome{err: errClock}, nil
	}
	here := u.shared.limiter.now()
	o.now = time.Duration(at.UnixNano())
	o.clock = storeClock{low: o.now - here, high: o.now - began, at: here}
	if u.clock.moved(o.clock) {
		o.err = errClock
		return o, nil
	}
	now := o.now.Milliseconds()
	p, err := decode(data, now)
	if errors.Is(err, errOtherVersion) {
		o.err = err
		return o, nil
	}
	if err != nil {
		p = &pool{Limits: make(map[string]*pooled)}
	}
	if err != nil && !u.again {
		o.absurd = err
	} else {
		o.grants = u.trade(p, now)
	}
	next, o.err = p.encode()
	return o, next
}

// trade brings a pool the report, and takes what is asked for.
func (u *update) trade(p *pool, now int64) []grant {
	if u.report != nil {
		p.report(*u.report, now)
	}
	if len(u.asks) == 0 {
		return nil
	}
	grants, answered := p.answered(u.id)
	if answered && len(grants) == len(u.asks) {
		return grants
	}
	grants = nil
	for _, a := range u.asks {
		grants = append(grants, p.take(a, now))
	}
	p.remember(u.id, grants)
	return grants
}

// finish ends an update, and lets those who wait go. It returns what to warn of.
func (s *shared) finish(u *update, o outcome) (warning error) {
	s.limiter.mu.Lock()
	defer s.limiter.mu.Unlock()
	now := s.limiter.now()
	if len(u.asks) > 0 {
		s.asking = false
	}
	distrust := o.absurd != nil || errors.Is(o.err, errClock)
	if s.clock.at == 0 || distrust || now-s.clock.at > compared {
		s.clock = o.clock
	}
	if o.err == nil && !distrust {
		s.failures = 0
		for i, g := range o.grants {
			s.accept(u.queues[i], u.asks[i], g, o.clock.low)
		}
	} else {
		s.failures++
		wait := min(maxAlone, minAlone<<min(s.failures-1, 10))
		if distrust {
			wait = distrusted
		}
		s.goAlone(now + wait)
		if s.failures == 1 {
			warning = cmp.Or(o.err, o.absurd)
		}
	}
	s.limiter.admitWaiting(now)
	return warning
}

// goAlone does without the store until a moment.
func (s *shared) goAlone(until instant) {
	s.alone = until
	for _, q := range s.limiter.queues {
		q.grant = block{}
	}
	if s.programs > 0 {
		s.limiter.ledger.doubt(s.programs - 1)
	}
	s.programs = 0
}

// accept keeps what was granted for a queue.
func (s *shared) accept(q *queue, a ask, g grant, ahead time.Duration) {
	here := func(at int64) instant { return time.Duration(at)*time.Millisecond - ahead }
	if g.None {
		s.goAlone(here(g.Expires))
		return
	}
	for i, name := range a.limits {
		if g.Windows[i] != 0 {
			s.receive(name, g.Windows[i], g.N)
		}
	}
	s.programs = g.Asking
	spread := time.Duration(rand.Float64() * float64(spreadOfAsking) * float64(g.Asking))
	q.grant = block{grant: g, expires: here(g.Expires) - s.limiter.ledger.rtt, again: here(g.Again) + spread}
}
