package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Store keeps the state that programs share.
type Store interface {
	// Update replaces the state under key by what f returns, atomically; f may
	// be called more than once. now is the store's own clock. An error of f
	// leaves the state as it was.
	Update(ctx context.Context, key string, f func(state []byte, now time.Time) (next []byte, ttl time.Duration, err error)) error
}

const (
	// stored is how long a store keeps a state that nobody uses.
	stored = time.Hour

	// A store may take half of a window, within these bounds. After that the
	// limiter goes on alone, by the headers, and asks again later, ever more
	// seldom.
	minStoreTimeout = 250 * time.Millisecond
	maxStoreTimeout = time.Second
	minAlone        = 100 * time.Millisecond
	maxAlone        = 5 * time.Second
	firstRetry      = 5 * time.Millisecond

	// maxSettlements is how many attempts that have ended are kept for the store: of
	// more, the oldest are dropped.
	maxSettlements = 512
)

// shared is a limiter's side of a state that programs share. Its times are
// the limiter's. It is guarded by the limiter's lock.
type shared struct {
	store Store
	key   string
	warn  func(message string, err error) // never changed

	blocks      []*block
	settlements []settlement  // that the store does not have yet
	urgent      bool          // whether other programs wait for them
	ahead       time.Duration // the store's clock less the limiter's
	asking      bool
	asked       instant // since when
	timeout     time.Duration
	alone       instant // until when the store is not asked
	failures    int     // in a row
}

// block is the permits that a program has taken of the shared budget for one
// route, and has not used yet.
type block struct {
	route   string
	next    attempt // the first of them
	n       int     // how many there are
	known   bool    // whether what remains was known when they were taken
	expires instant
	verdict verdict // why there are no more
	serial  int     // of the window in which the program asked last
	taken   int     // permits that it took in that window
}

// block returns the block of a route.
func (s *shared) block(route string) *block {
	for _, b := range s.blocks {
		if b.route == route {
			return b
		}
	}
	b := &block{route: route}
	s.blocks = append(s.blocks, b)
	return b
}

// inUse reports whether the store is to be asked for a route's permits: it
// responds, and the service has limits, as far as is known.
func (s *shared) inUse(l *Limiter, route string, now instant) bool {
	if s.store == nil || s.failures > 0 || s.asking && now-s.asked >= s.timeout {
		return false
	}
	q := l.state.route(route)
	return l.state.global.phase != slowStart || q.phase != slowStart || q.maxInFlight <= 1
}

// admits says whether an attempt may go, by what is left of a block.
func (s *shared) admits(b *block, now instant) verdict {
	switch {
	case b.n > 0 && now < b.expires:
		return verdict{}
	case now < b.verdict.until:
		return b.verdict
	case s.asking:
		return verdict{reason: Turn, until: s.asked + s.timeout}
	default:
		return verdict{reason: Turn, until: now + maxStoreTimeout}
	}
}

// use takes a permit out of the block.
func (b *block) use() attempt {
	a := b.next
	b.next.seq++
	b.n--
	return a
}

// record keeps how an attempt ended for the store. An attempt without a shared
// permit counts too, where its response says what others have spent.
func (s *shared) record(e settlement, known bool) {
	if s.store == nil || e.attempt.seq == 0 && e.response.status == 0 {
		return
	}
	if len(s.settlements) == maxSettlements {
		s.settlements = append(s.settlements[:0], s.settlements[maxSettlements/2:]...)
	}
	s.settlements = append(s.settlements, e)
	s.urgent = s.urgent || e.attempt.seq > 0 && e.isUrgent(known)
}

// ask asks the store for permits, where somebody waits for them, and tells it
// what became of others.
func (l *Limiter) ask(now instant) {
	s := &l.shared
	if s.store == nil || s.asking || now < s.alone {
		return
	}
	demands := l.demands(now)
	if len(demands) == 0 && !s.urgent && s.failures == 0 {
		return
	}
	s.asking, s.asked, s.urgent, s.timeout = true, now, false, l.state.storeTimeout()
	u := &update{limiter: l, demands: demands, settlements: s.settlements, rules: l.state.rules, timeout: s.timeout}
	u.rules.shared = true
	s.settlements = nil
	go u.run(s.store, s.key)
}

// storeTimeout is how long a store may take.
func (s *state) storeTimeout() time.Duration {
	length := 2 * maxStoreTimeout
	s.quotas(func(q *quota) { length = min(length, q.lengthOr(length)) })
	return max(minStoreTimeout, length/2)
}

// demands is what those who wait need of the store. Permits for which nobody
// waits any more are cancelled.
func (l *Limiter) demands(now instant) (all []demand) {
	s := &l.shared
	for _, q := range l.queues {
		b := s.block(q.route)
		if b.n > 0 && (q.n == 0 || now >= b.expires) {
			s.record(settlement{attempt: b.next, n: b.n}, b.known)
			b.n = 0
		}
		if q.n > 0 && b.n == 0 && now >= max(b.verdict.until, l.state.paused.until) && (s.failures > 0 || s.inUse(l, q.route, now)) {
			all = append(all, demand{route: q.route, want: q.n, serial: b.serial, taken: b.taken})
		}
	}
	return all
}

// update is one update of the shared state.
type update struct {
	limiter     *Limiter
	rules       rules
	demands     []demand
	settlements []settlement
	timeout     time.Duration

	ahead    time.Duration // the store's clock less the limiter's
	grants   []grant
	replaced error // what was wrong with the state that was there
}

// run asks the store. Whatever the store does, those who wait go on.
func (u *update) run(store Store, key string) {
	ctx, cancel := context.WithTimeout(context.Background(), u.timeout)
	defer cancel()
	err := u.call(ctx, store, key)
	first := u.limiter.finishUpdate(u, err)
	switch warn := u.limiter.shared.warn; {
	case warn == nil:
	case err != nil && first:
		warn("tokenpatch: the rate limiter goes on without its store", err)
	case err == nil && u.replaced != nil:
		warn("tokenpatch: the rate limiter replaced what its store held", u.replaced)
	}
}

// call asks until the store succeeds or its time is up: one failure is no reason
// to go on alone.
func (u *update) call(ctx context.Context, store Store, key string) error {
	for wait := firstRetry; ; wait *= 2 {
		err := u.try(ctx, store, key)
		if err == nil || errors.Is(err, errOtherVersion) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// try asks once. It makes an error of all that a store can do wrong.
func (u *update) try(ctx context.Context, store Store, key string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the store panicked: %v", r)
		}
	}()
	err = store.Update(ctx, key, u.apply)
	switch {
	case err == nil && len(u.grants) != len(u.demands):
		return errors.New("the store did not call the function that it was given")
	case err == nil && ctx.Err() != nil:
		return fmt.Errorf("%w than %v", errLate, u.timeout)
	}
	return err
}

var errLate = errors.New("the store took longer")

// apply changes a stored state. It may be called again with another one.
func (u *update) apply(data []byte, at time.Time) ([]byte, time.Duration, error) {
	now := instant(at.UnixNano())
	s, err := decode(data, u.rules, now)
	switch {
	case errors.Is(err, errOtherVersion):
		return nil, 0, err
	case err != nil:
		s = newState(u.rules)
	}
	u.replaced, u.ahead, u.grants = err, now-u.limiter.now(), u.grants[:0]
	s.advance(now)
	s.settle(u.settlements, u.ahead)
	for _, d := range u.demands {
		u.grants = append(u.grants, s.take(d, now))
	}
	return s.encode(), stored, nil
}

// finishUpdate takes in how an update ended, and lets those who wait go on. It
// reports whether the update failed where the one before had not.
func (l *Limiter) finishUpdate(u *update, err error) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	s := &l.shared
	s.asking = false
	if err != nil {
		s.failures++
		s.alone = now + min(maxAlone, minAlone<<min(s.failures-1, 10))
		s.keep(u, err)
	} else {
		s.failures, s.ahead = 0, u.ahead
		for i, g := range u.grants {
			l.accept(s.block(u.demands[i].route), g)
		}
	}
	l.admitWaiting(now)
	return s.failures == 1
}

// keep keeps for the next update what a failed one did not get into the store. One
// that came too late did, and has taken permits that are to be cancelled.
func (s *shared) keep(u *update, err error) {
	missing := u.settlements
	if errors.Is(err, errLate) {
		missing = nil
		for _, g := range u.grants {
			if g.n > 0 {
				missing = append(missing, settlement{attempt: g.first, n: g.n})
			}
		}
	}
	s.settlements = append(missing, s.settlements...)
	s.settlements = s.settlements[max(0, len(s.settlements)-maxSettlements):]
}

// accept takes a grant as a program's block.
func (l *Limiter) accept(b *block, g grant) {
	ahead := l.shared.ahead
	if g.serial != b.serial {
		b.taken = 0
	}
	b.serial, b.taken, b.known = g.serial, b.taken+g.n, g.known
	b.next, b.n, b.expires = g.first, g.n, g.expires-ahead
	b.verdict = g.verdict
	b.verdict.until -= ahead
	b.verdict.declared -= ahead
	if b.verdict.onlyTime {
		b.verdict.until += g.rest
	}
}
