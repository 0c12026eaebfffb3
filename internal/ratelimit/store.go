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
	minPatience = 250 * time.Millisecond
	maxPatience = time.Second
	minAlone    = 100 * time.Millisecond
	maxAlone    = 5 * time.Second
	firstRetry  = 5 * time.Millisecond

	// maxSettlements is how many attempts may have ended since the store was told.
	maxSettlements = 512
)

// shared is a limiter's side of a state that programs share. Its times are
// the limiter's. It is guarded by the limiter's lock.
type shared struct {
	store Store
	key   string
	warn  func(message string, err error) // never changed

	hands       []*hand
	settlements []settlement // that the store has not been told of
	urgent      bool         // whether other programs wait for them
	ahead       time.Duration
	asking      bool
	asked       instant // since when
	patience    time.Duration
	alone       instant // until when the store is not asked
	failures    int     // in a row
}

// hand is what a program has of the shared budget for one route.
type hand struct {
	route   string
	next    attempt // the first permit that is not used yet
	n       int     // permits
	known   bool    // whether what remains was known when they were taken
	expires instant
	verdict verdict // why there are no more
	serial  int     // of the window in which it asked last
	taken   int     // permits that it took in it
}

func (s *shared) hand(route string) *hand {
	for _, h := range s.hands {
		if h.route == route {
			return h
		}
	}
	h := &hand{route: route}
	s.hands = append(s.hands, h)
	return h
}

// isIn reports whether the store is to be asked for a route's permits: it
// answers, and the service has limits, as far as is known.
func (s *shared) isIn(l *Limiter, route string, now instant) bool {
	if s.store == nil || s.failures > 0 || s.asking && now-s.asked >= s.patience {
		return false
	}
	q := l.state.route(route)
	return l.state.global.phase != slowStart || q.phase != slowStart || q.maxInFlight <= 1
}

// admits says whether an attempt may go, by what the program has in hand.
func (s *shared) admits(h *hand, now instant) verdict {
	switch {
	case h.n > 0 && now < h.expires:
		return verdict{}
	case now < h.verdict.until:
		return h.verdict
	case s.asking:
		return verdict{reason: Turn, until: s.asked + s.patience}
	default:
		return verdict{reason: Turn, until: now + maxPatience}
	}
}

// use takes a permit out of the hand.
func (h *hand) use() attempt {
	a := h.next
	h.next.seq++
	h.n--
	return a
}

// note keeps how an attempt ended until the store is told. News of another
// program's doing is in it as well, where the attempt had no shared permit.
func (s *shared) note(e settlement, known bool) {
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
	s.asking, s.asked, s.urgent, s.patience = true, now, false, l.state.patience()
	u := &update{limiter: l, demands: demands, settlements: s.settlements, rules: l.state.rules, patience: s.patience}
	u.rules.shared = true
	s.settlements = nil
	go u.run(s.store, s.key)
}

// patience is how long a store may take.
func (s *state) patience() time.Duration {
	length := 2 * maxPatience
	s.quotas(func(q *quota) { length = min(length, q.lengthOr(length)) })
	return max(minPatience, length/2)
}

// demands is what those who wait need of the store. Permits for which nobody
// waits any more go back.
func (l *Limiter) demands(now instant) (all []demand) {
	s := &l.shared
	for _, q := range l.queues {
		h := s.hand(q.route)
		if h.n > 0 && (q.n == 0 || now >= h.expires) {
			s.note(settlement{attempt: h.next, n: h.n}, h.known)
			h.n = 0
		}
		if q.n > 0 && h.n == 0 && now >= max(h.verdict.until, l.state.paused.until) && (s.failures > 0 || s.isIn(l, q.route, now)) {
			all = append(all, demand{route: q.route, want: q.n, serial: h.serial, taken: h.taken})
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
	patience    time.Duration

	ahead    time.Duration // the store's clock less the limiter's
	grants   []grant
	replaced error // what was wrong with the state that was there
}

// run asks the store. Whatever the store does, those who wait go on.
func (u *update) run(store Store, key string) {
	ctx, cancel := context.WithTimeout(context.Background(), u.patience)
	defer cancel()
	err := u.call(ctx, store, key)
	first := u.limiter.answered(u, err)
	switch warn := u.limiter.shared.warn; {
	case warn == nil:
	case err != nil && first:
		warn("tokenpatch: the rate limiter goes on without its store", err)
	case err == nil && u.replaced != nil:
		warn("tokenpatch: the rate limiter replaced what its store held", u.replaced)
	}
}

// call asks until the store answers or its time is up: one refusal is no reason
// to go on alone.
func (u *update) call(ctx context.Context, store Store, key string) error {
	for wait := firstRetry; ; wait *= 2 {
		err := u.try(ctx, store, key)
		if err == nil || errors.Is(err, errForeign) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// try makes an error of all that a store can do wrong.
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
		return fmt.Errorf("%w than %v", errLate, u.patience)
	}
	return err
}

var errLate = errors.New("the store took longer")

// apply changes a stored state. It may be called again with another one.
func (u *update) apply(data []byte, at time.Time) ([]byte, time.Duration, error) {
	now := instant(at.UnixNano())
	s, err := decode(data, u.rules, now)
	switch {
	case errors.Is(err, errForeign):
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

// answered takes in how an update ended, and lets those who wait go on. It
// reports whether the store failed after it had answered before.
func (l *Limiter) answered(u *update, err error) (first bool) {
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
			l.hold(s.hand(u.demands[i].route), g)
		}
	}
	l.release(now)
	return s.failures == 1
}

// keep keeps what a failed update was to tell for the next one. One that came too
// late has told it, and has permits that go back.
func (s *shared) keep(u *update, err error) {
	untold := u.settlements
	if errors.Is(err, errLate) {
		untold = nil
		for _, g := range u.grants {
			if g.n > 0 {
				untold = append(untold, settlement{attempt: g.first, n: g.n})
			}
		}
	}
	s.settlements = append(untold, s.settlements...)
	s.settlements = s.settlements[max(0, len(s.settlements)-maxSettlements):]
}

// hold takes a grant into the hand.
func (l *Limiter) hold(h *hand, g grant) {
	ahead := l.shared.ahead
	if g.serial != h.serial {
		h.taken = 0
	}
	h.serial, h.taken, h.known = g.serial, h.taken+g.n, g.known
	h.next, h.n, h.expires = g.first, g.n, g.expires-ahead
	h.verdict = g.verdict
	h.verdict.until -= ahead
	h.verdict.declared -= ahead
	if h.verdict.sure {
		h.verdict.until += g.rest
	}
}
