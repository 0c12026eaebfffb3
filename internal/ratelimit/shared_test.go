package ratelimit_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// memory is a store in memory with updates of a millisecond, and all its possible failures.
type memory struct {
	mu      sync.Mutex
	states  map[string][]byte
	updates atomic.Int64
	before  func(ctx context.Context) error   // if not nil, called before an update
	after   func() error                      // if not nil, called after it
	clock   func() time.Time                  // nil for the real one
	change  func(before, after []byte) []byte // if not nil, what is stored instead of after
	twice   bool                              // whether each update is applied twice
	late    time.Duration                     // how much later it takes effect, after it has failed
}

func (m *memory) Update(ctx context.Context, key string, f func([]byte, time.Time) ([]byte, time.Duration, error)) error {
	m.updates.Add(1)
	time.Sleep(time.Millisecond)
	if m.before != nil {
		if err := m.before(ctx); err != nil {
			return err
		}
	}
	if m.late > 0 {
		time.AfterFunc(m.late, func() { _ = m.apply(key, f) })
		return assert.AnError
	}
	if err := m.apply(key, f); err != nil {
		return err
	}
	if m.twice {
		if err := m.apply(key, f); err != nil {
			return err
		}
	}
	if m.after != nil {
		return m.after()
	}
	return nil
}

func (m *memory) apply(key string, f func([]byte, time.Time) ([]byte, time.Duration, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.states == nil {
		m.states = make(map[string][]byte)
	}
	now := time.Now()
	if m.clock != nil {
		now = m.clock()
	}
	next, ttl, err := f(slices.Clone(m.states[key]), now)
	if err != nil {
		return err
	}
	if ttl != time.Hour {
		return fmt.Errorf("a pool that nobody uses is kept for %v, want an hour", ttl)
	}
	if m.change != nil {
		next = m.change(m.states[key], next)
	}
	m.states[key] = next
	return nil
}

func sharing(m *memory) ratelimit.Options {
	return ratelimit.Options{Store: m, Key: "acme", Account: "acme"}
}

func TestProgramsShareALimit(t *testing.T) {
	for _, test := range []struct {
		programs, callers, limit, windows int
		ratio, updates                    float64
	}{
		{1, 50, 100, 20, 1.01, 0.2},
		{4, 50, 100, 20, 1.01, 0.3},
		{16, 50, 100, 20, 1.01, 2},
		{64, 50, 100, 20, 1.02, 5},
		{1000, 3, 100, 20, 1.02, 50},
		{1000, 3, 1000, 20, 1.02, 50},
	} {
		if testing.Short() && test.programs == 1000 {
			continue
		}
		t.Run(fmt.Sprint(test.programs, " ", test.limit), func(t *testing.T) {
			updates := 0.0
			f := sample(t, 1, func(t *testing.T, random *rand.Rand) result {
				m := new(memory)
				s := newService(random, test.limit)
				w := work{calls: test.windows * test.limit, callers: test.programs * test.callers, programs: test.programs, options: sharing(m)}
				r := w.run(t, s)
				updates = max(updates, float64(m.updates.Load())/float64(w.calls))
				return r
			})
			t.Logf("%.3f updates a call", updates)
			assert.Zero(t, f.refused)
			assert.LessOrEqual(t, f.ratio, test.ratio)
			assert.LessOrEqual(t, updates, test.updates)
		})
	}
}

// Where many programs start at once, each may wait long for its first update. If they went on alone, each
// would take what the others take too.
func TestTheFirstUpdateMayTakeLong(t *testing.T) {
	const programs = 16
	f := sample(t, 2, func(t *testing.T, random *rand.Rand) result {
		m := new(memory)
		m.before = func(context.Context) error {
			if m.updates.Load() <= programs {
				time.Sleep(2 * time.Second)
			}
			return nil
		}
		return work{calls: 1000, callers: 10 * programs, programs: programs, options: sharing(m)}.run(t, newService(random, 100))
	})
	assert.Zero(t, f.refused)
}

// What a slow store is told is old when it arrives.
func TestAStoreIsSlow(t *testing.T) {
	for _, takes := range []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond, 900 * time.Millisecond} {
		t.Run(takes.String(), func(t *testing.T) {
			f := sample(t, 4, func(t *testing.T, random *rand.Rand) result {
				m := &memory{before: func(context.Context) error { time.Sleep(takes); return nil }}
				return work{calls: 2000, callers: 200, programs: 4, options: sharing(m)}.run(t, newService(random, 100))
			})
			assert.LessOrEqual(t, f.most, 1, "a probe may take longer than others wait for its report")
			assert.LessOrEqual(t, f.ratio, 1.1)
		})
	}
}

// A window does not end later because a slow store was told late of it.
func TestAReportIsAsOldAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{before: func(context.Context) error { time.Sleep(900 * time.Millisecond); return nil }}
		o := sharing(m)
		o.MaxWait = time.Minute
		l, began := ratelimit.New(o), time.Now()
		time.Sleep(5 * time.Second)
		var first ratelimit.Permit
		_, err := l.Wait(t.Context(), patchRoute, &first)
		require.NoError(t, err)
		time.Sleep(300 * time.Millisecond)
		first.Use("token")
		first.Observe(http.StatusOK, remaining(50, 50, time.Until(began.Add(10*time.Second))))

		time.Sleep(9500*time.Millisecond - time.Since(began))
		var admitted atomic.Int64
		over := make(chan struct{})
		for range 2 {
			go func() {
				var p ratelimit.Permit
				if _, err := l.Wait(t.Context(), patchRoute, &p); assert.NoError(t, err) {
					admitted.Add(1)
					<-over
					p.Cancel()
				}
			}()
		}
		time.Sleep(2500 * time.Millisecond)
		assert.EqualValues(t, 1, admitted.Load(), "the first probes the next window")
		close(over)
		time.Sleep(time.Minute)
	})
}

func TestProgramsWithDifferentSettings(t *testing.T) {
	f := sample(t, 3, func(t *testing.T, random *rand.Rand) result {
		m := new(memory)
		s := newService(random, 100)
		w := work{calls: 2000, callers: 200, programs: 4}
		w.options1 = func(program int) ratelimit.Options {
			o := sharing(m)
			o.MaxWait = []time.Duration{30 * time.Second, time.Minute, time.Hour, 1<<63 - 1}[program]
			o.Share = []float64{0.01, 0.3, 1, 0}[program]
			return o
		}
		return w.run(t, s)
	})
	assert.Zero(t, f.refused)
}

// One call each, one program after the other.
func TestProgramsOfOneCall(t *testing.T) {
	took := func(options ratelimit.Options) result {
		s := newService(rand.New(rand.NewPCG(1, 2)), 40)
		return work{calls: 400, callers: 1, reborn: true, options: options}.run(t, s)
	}
	alone, together := took(ratelimit.Options{}), took(sharing(new(memory)))
	t.Logf("%v without a budget, with %d responses with 429; %v with one, with %d", alone.took, alone.service.refused, together.took, together.service.refused)
	assert.LessOrEqual(t, together.took, alone.took*105/100)
	assert.Zero(t, together.service.refused)
}

func TestProgramsGetTheirShare(t *testing.T) {
	s := newService(rand.New(rand.NewPCG(1, 2)), 100)
	r := work{until: 10 * time.Minute, callers: 200, programs: 4, options: sharing(new(memory))}.run(t, s)
	t.Logf("%v calls, %v the longest wait", r.calls, r.waited)
	total := 0
	for _, n := range r.calls {
		total += n
	}
	for _, n := range r.calls {
		assert.InEpsilon(t, total/4, n, 0.05)
	}
	assert.LessOrEqual(t, r.waited, 30*time.Second, "a turn is two windows")
	assert.Zero(t, s.refused)
}

func TestATinyShareIsOneRequestInEachWindow(t *testing.T) {
	for _, limit := range []int{5, 20, 100} {
		t.Run(strconv.Itoa(limit), func(t *testing.T) {
			m := new(memory)
			s := newService(rand.New(rand.NewPCG(1, 2)), limit)
			w := work{until: 10 * time.Minute, callers: 200, programs: 4}
			w.options1 = func(program int) ratelimit.Options {
				o := sharing(m)
				if program == 0 {
					o.Share = 0.01
				}
				return o
			}
			r := w.run(t, s)
			t.Log(r.calls)
			assert.InDelta(t, 60+50, r.calls[0], 3+50)
			assert.Zero(t, s.refused)
		})
	}
}

func TestTheStoresClock(t *testing.T) {
	began := time.Time{}
	for name, clock := range map[string]func(passed time.Duration) time.Time{
		"set back by 5 min":    func(passed time.Duration) time.Time { return began.Add(passed - step(passed, 5*time.Minute)) },
		"set forward by 5 min": func(passed time.Duration) time.Time { return began.Add(passed + step(passed, 5*time.Minute)) },
		"stands still":         func(passed time.Duration) time.Time { return began.Add(min(passed, 33*time.Second)) },
		"stood always still":   func(time.Duration) time.Time { return began },
		"zero":                 func(time.Duration) time.Time { return time.Time{} },
		"1970":                 func(time.Duration) time.Time { return time.Unix(0, 0) },
		"2400":                 func(passed time.Duration) time.Time { return began.Add(passed).AddDate(400, 0, 0) },
		"half as fast":         func(passed time.Duration) time.Time { return began.Add(passed / 2) },
	} {
		t.Run(name, func(t *testing.T) {
			f := sample(t, 2, func(t *testing.T, random *rand.Rand) result {
				var once sync.Once
				m := &memory{clock: func() time.Time {
					once.Do(func() { began = time.Now() })
					return clock(time.Since(began))
				}}
				s := newService(random, 100)
				return work{calls: 2000, callers: 200, programs: 4, options: sharing(m)}.run(t, s)
			})
			assert.LessOrEqual(t, f.most, 50)
			assert.LessOrEqual(t, f.ratio, 1.15)
		})
	}
}

func step(passed, by time.Duration) time.Duration {
	if passed < 33*time.Second {
		return 0
	}
	return by
}

func TestAStoreInTrouble(t *testing.T) {
	sometimes := func(share float64) func() error {
		return func() error {
			if rand.Float64() < share {
				return assert.AnError
			}
			return nil
		}
	}
	for name, test := range map[string]struct {
		memory func(random *rand.Rand) *memory
		ratio  float64
	}{
		"applies and then fails, 5 %":  {func(*rand.Rand) *memory { return &memory{after: sometimes(0.05)} }, 1.02},
		"applies and then fails, 20 %": {func(*rand.Rand) *memory { return &memory{after: sometimes(0.2)} }, 1.02},
		"applies and then fails, 50 %": {func(*rand.Rand) *memory { return &memory{after: sometimes(0.5)} }, 1.2},
		"applies twice":                {func(*rand.Rand) *memory { return &memory{twice: true} }, 1.02},
		"forgets": {func(*rand.Rand) *memory {
			return &memory{change: func(_, after []byte) []byte {
				if rand.IntN(100) == 0 {
					return nil
				}
				return after
			}}
		}, 1.1},
		"rolls back": {func(*rand.Rand) *memory {
			return &memory{change: func(before, after []byte) []byte {
				if rand.IntN(20) == 0 {
					return before
				}
				return after
			}}
		}, 1.2},
		"refuses": {func(*rand.Rand) *memory {
			return &memory{before: func(context.Context) error { return assert.AnError }}
		}, 1.15},
		"hangs": {func(*rand.Rand) *memory {
			return &memory{before: func(context.Context) error { time.Sleep(time.Hour); return assert.AnError }}
		}, 1.15},
		"hangs now and then": {func(*rand.Rand) *memory {
			return &memory{before: func(context.Context) error {
				if rand.IntN(50) == 0 {
					time.Sleep(time.Hour)
				}
				return nil
			}}
		}, 1.15},
		"is too slow": {func(*rand.Rand) *memory {
			return &memory{before: func(context.Context) error { time.Sleep(1500 * time.Millisecond); return nil }}
		}, 1.15},
		"takes effect seconds later": {func(*rand.Rand) *memory { return &memory{late: 3 * time.Second} }, 1.15},
		"panics": {func(*rand.Rand) *memory {
			return &memory{before: func(context.Context) error { panic("a store") }}
		}, 1.15},
	} {
		t.Run(name, func(t *testing.T) {
			f := sample(t, 2, func(t *testing.T, random *rand.Rand) result {
				s := newService(random, 100)
				return work{calls: 2000, callers: 200, programs: 4, options: sharing(test.memory(random))}.run(t, s)
			})
			t.Log(name, f.most)
			assert.LessOrEqual(t, f.ratio, test.ratio)
		})
	}
}
