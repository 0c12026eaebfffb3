package ratelimit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// sharing runs programs of 50 callers each that share a budget.
func sharing(t *testing.T, programs, calls int, s *server, store ratelimit.Store) result {
	t.Helper()
	return callers{
		calls: calls, goroutines: 50 * programs, programs: programs,
		options: ratelimit.Options{Store: store, Key: "account"},
	}.run(t, s)
}

func TestProgramsShareABudget(t *testing.T) {
	for _, test := range []struct {
		programs, limit, calls int
		time, updates          float64
	}{
		{1, 100, 1950, 1.01, 0.1},
		{4, 100, 1950, 1.01, 0.2},
		{16, 100, 1950, 1.02, 0.5},
		{64, 100, 1950, 1.03, 1.5},
		{1000, 1000, 19500, 1.1, 2},
	} {
		t.Run(fmt.Sprint(test.programs), func(t *testing.T) {
			if testing.Short() && test.programs > 100 {
				t.Skip("fifty thousand goroutines")
			}
			var updates atomic.Int64
			store := &tokenpatchtest.Budget{Before: func(context.Context) error {
				updates.Add(1)
				time.Sleep(time.Millisecond)
				return nil
			}}
			s := tenSeconds(test.limit)
			r := sharing(t, test.programs, test.calls, s, store)
			perCall := float64(updates.Load()) / float64(test.calls)
			t.Logf("%d 429s, %.4f of the least time, %.3f updates a call", r.refused, r.ratio(test.calls, s.window), perCall)
			assert.Zero(t, r.failed)
			assert.Zero(t, r.refused)
			assert.LessOrEqual(t, r.ratio(test.calls, s.window), test.time)
			assert.LessOrEqual(t, perCall, test.updates)
		})
	}
}

var errRefused = errors.New("refused")

func TestNoCallFailsBecauseOfItsStore(t *testing.T) {
	alone := callers{calls: 1950, goroutines: 200, programs: 4}.run(t, tenSeconds(100))
	for name, before := range map[string]func(n int, passed time.Duration) error{
		"down from the start": func(int, time.Duration) error { return errRefused },
		"down in mid-run": func(_ int, passed time.Duration) error {
			if passed > 33*time.Second && passed < time.Minute {
				return errRefused
			}
			return nil
		},
		"slow": func(int, time.Duration) error { time.Sleep(500 * time.Millisecond); return nil },
		"every other one fails": func(n int, _ time.Duration) error {
			if n%2 == 0 {
				return errRefused
			}
			return nil
		},
		"panics": func(int, time.Duration) error { panic("a store") },
		"hangs": func(_ int, passed time.Duration) error {
			if passed > 33*time.Second {
				time.Sleep(time.Hour)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			began := sync.OnceValue(time.Now) // when the store is first asked
			s := tenSeconds(100)
			store := &tokenpatchtest.Budget{Before: func(context.Context) error { return before(int(n.Add(1)), time.Since(began())) }}
			r := sharing(t, 4, 1950, s, store)
			t.Logf("%d 429s at %.3f; without a store %d at %.3f", r.refused, r.ratio(1950, s.window), alone.refused, alone.ratio(1950, s.window))
			assert.Zero(t, r.failed)
			assert.LessOrEqual(t, r.ratio(1950, s.window), 1.10)
			assert.LessOrEqual(t, r.refused, 60, "about as without a store")
		})
	}
}

// Whatever somebody wrote, no call fails because of it, and what cannot be
// read is replaced.
func TestAStateThatSomebodyElseWrote(t *testing.T) {
	for name, state := range map[string][]byte{
		"garbage":         []byte("{\"window\": 1}"),
		"a megabyte":      bytes.Repeat([]byte("tprl\x01"), 200_000),
		"cut":             []byte("tprl\x01\x02"),
		"another version": []byte("tprl\x7fwhatever"),
	} {
		t.Run(name, func(t *testing.T) {
			budget := new(tokenpatchtest.Budget)
			s := tenSeconds(100)
			s.during = func() {
				time.Sleep(13 * time.Second)
				budget.Set("account", state)
			}
			var warnings atomic.Int64
			c := callers{calls: 400, goroutines: 100, programs: 2, options: ratelimit.Options{
				Store: budget, Key: "account", Warn: func(string, error) { warnings.Add(1) },
			}}
			r := c.run(t, s)
			assert.Zero(t, r.failed)
			assert.LessOrEqual(t, r.ratio(400, s.window), 1.40)
			assert.LessOrEqual(t, r.mostRefused(), 20)
			assert.Positive(t, warnings.Load())
			left := budget.States()["account"]
			assert.Equal(t, name == "another version", bytes.Equal(state, left), "one of another version is left alone")
		})
	}
}
