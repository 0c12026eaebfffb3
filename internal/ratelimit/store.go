package ratelimit

import (
	"cmp"
	"context"
	"encoding/json"
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
	firstRetry     = 5 * time.Millisecond   // after a failed one; twice as long each time
	minAlone       = 100 * time.Millisecond // how long the program does without a store that failed; twice as long each time
	maxAlone       = 5 * time.Second
	distrusted     = 10 * time.Second // how long it does without a store that cannot be right
	maxStep        = time.Second      // by which the store's clock and ours may move apart within compared
	compared       = 20 * time.Second
	spreadOfAsking = time.Millisecond // for each program
)

var (
	errClock = errors.New("the store's clock cannot be right")
	errSlow  = fmt.Errorf("the store took longer than %v", storeTimeout)
)

// shared is a limiter's side of the pool that programs share, nil if there is none. It is guarded by the limiter's lock.
type shared struct {
	limiter *Limiter
	store   Store
	key     string
	warn    func(message string, err error) // never changed

	asking   bool
	asked    instant       // since when
	alone    instant       // until when the store is not asked
	failures int           // in a row
	programs int           // that ask for permits, this one included; 0 without permits from the store
	ahead    time.Duration // the store's clock less ours
	at       instant       // when it was; 0 if it is not known
}

// block is the permits of a route that are granted and not used yet.
type block struct {
	grant
	expires, again instant
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
	*shared
	id     uint64
	asks   []ask
	queues []*queue // that each ask is for
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

// ask asks the store for the permits that callers wait for, unless it is being asked, and brings it a report, if any. It
// returns a channel that is closed once the update has ended.
func (s *shared) ask(brings *report, now instant) <-chan struct{} {
	var queues []*queue
	if s.inUse(now) && !s.asking && now >= s.limiter.ledger.pause.until {
		for _, q := range s.limiter.queues {
			if q.front() != nil && (q.grant.N == 0 || now >= q.grant.expires) && now >= q.grant.again {
				queues = append(queues, q)
			}
		}
	}
	if brings == nil && queues == nil {
		return nil
	}
	u := &update{shared: s, id: rand.Uint64(), queues: queues, brings: brings, before: *s, began: now, done: make(chan struct{})}
	for _, q := range queues {
		u.asks = append(u.asks, s.limiter.ledger.ask(q))
		s.asking, s.asked = true, now
	}
	go u.run()
	return u.done
}

// ask is what is asked for a queue.
func (l *ledger) ask(q *queue) ask {
	a := ask{
		want: q.waiters.Len(), share: l.share,
		roundTrip: (l.rtt * 5 / 4).Milliseconds() + 1, patience: l.patience().Milliseconds(),
	}
	for i, x := range l.limits(q.route) {
		a.limits[i], a.before[i] = x.name, x.granted
	}
	if a.limits[credential] == "" {
		a.want = 1 // which credential it is shows when it is used
	}
	return a
}

// report stores what the response to a probe says, and asks for permits in the window that it opens.
func (s *shared) report(a *attempt, r *response, now instant) <-chan struct{} {
	report := &report{good: r.good}
	for i, x := range a.limits {
		h := r.limits[i]
		report.limits[i] = x.name
		if h.present && x.phase == open && x.reset == h.reset && now < x.ends {
			window := h.reset.Milliseconds()
			report.windows[i] = reported{window, (x.ends - now).Milliseconds(), max(h.size, h.remaining+1), h.remaining}
			x.granted = received{window, 1}
		}
	}
	for _, q := range s.limiter.queues {
		q.grant.again = 0
	}
	return s.ask(report, now)
}

// run performs the update. Whatever the store does, it ends in time. The same update is never granted twice, so it is
// tried again until the store succeeds.
func (u *update) run() {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	ended := make(chan outcome, 1)
	go func() {
		o := u.try(ctx)
		for wait := firstRetry; o.err != nil && o.distrust == nil && ctx.Err() == nil; wait *= 2 {
			time.Sleep(wait)
			o = u.try(ctx)
		}
		ended <- o
	}()
	o := outcome{err: errSlow}
	select {
	case o = <-ended:
	case <-ctx.Done():
	}
	if warning := u.finish(u, o); warning != nil && u.warn != nil {
		u.warn("tokenpatch: the rate limiter does without its store for a while", warning)
	}
	close(u.done)
}

// try asks once. It makes an error of all that a store can do wrong.
func (u *update) try(ctx context.Context) (o outcome) {
	defer func() {
		if r := recover(); r != nil {
			o.err = fmt.Errorf("the store panicked: %v", r)
		}
	}()
	called := false
	err := u.store.Update(ctx, u.key, func(data []byte, at time.Time) ([]byte, time.Duration, error) {
		called = true
		o = outcome{}
		next, err := u.apply(&o, data, at)
		return next, stored, err
	})
	if err == nil && !called {
		err = errors.New("the store did not call the function that it was given")
	}
	o.err = err
	return o
}

// apply makes the next pool of the stored one.
func (u *update) apply(o *outcome, data []byte, at time.Time) ([]byte, error) {
	here := u.limiter.now()
	o.ahead = time.Duration(at.UnixNano()) - here
	step, slow := (o.ahead - u.before.ahead).Abs(), here-u.began
	if at.Year() < 2000 || at.Year() > 2250 || u.before.at > 0 && step > maxStep+slow {
		o.distrust = errClock
		return nil, errClock
	}
	now := at.UnixMilli()
	p, err := decode(data, now)
	if errors.Is(err, errOtherVersion) {
		o.distrust = err
		return nil, err
	}
	if err != nil {
		p = &pool{Version: Version, Limits: make(map[string]*pooled)}
	}
	if err != nil && u.before.failures == 0 {
		o.distrust = err
	} else {
		o.grants = u.trade(p, now)
	}
	return json.Marshal(p)
}

// trade brings a pool the report, and takes what is asked for.
func (u *update) trade(p *pool, now int64) []grant {
	if u.brings != nil {
		p.report(*u.brings, now)
	}
	if grants := p.answered(u.id); len(u.asks) == 0 || len(grants) == len(u.asks) {
		return grants
	}
	var grants []grant
	for _, a := range u.asks {
		grants = append(grants, p.take(a, now))
	}
	p.Answers = append(p.Answers, answer{u.id, grants})
	p.Answers = p.Answers[max(0, len(p.Answers)-maxAnswers):]
	return grants
}

// finish ends an update, and lets those who wait go. It returns what to warn of.
func (s *shared) finish(u *update, o outcome) (warning error) {
	s.limiter.mu.Lock()
	defer s.limiter.mu.Unlock()
	now := s.limiter.now()
	s.asking = s.asking && len(u.asks) == 0
	if o.distrust != nil || o.err == nil && (s.at == 0 || now-s.at > compared) {
		s.ahead, s.at = o.ahead, now
	}
	if o.err == nil && o.distrust == nil {
		s.failures = 0
		for i, g := range o.grants {
			s.accept(u.queues[i], g, o.ahead)
		}
	} else {
		wait := min(maxAlone, minAlone<<min(s.failures, 10))
		if o.distrust != nil {
			wait = distrusted
		}
		if s.failures == 0 {
			warning = cmp.Or(o.distrust, o.err)
		}
		s.failures++
		s.goAlone(now + wait)
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
	if others := s.programs - 1; others >= 0 {
		s.limiter.ledger.each(func(x *limit) { x.doubt(s.limiter.ledger, others) })
	}
	s.programs = 0
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
	spread := time.Duration(rand.Float64() * float64(spreadOfAsking) * float64(g.Asking))
	q.grant = block{g, here(g.Expires) - s.limiter.ledger.rtt, here(g.Again) + spread}
}
