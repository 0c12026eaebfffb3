package ratelimit_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
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

const getRoute = "GET /api/v2/tokens/{id}"

// remaining returns the headers of a response; a number below 0 is left out.
func remaining(global, route int, ends time.Duration) http.Header {
	now := time.Now().Truncate(time.Second)
	h := http.Header{"Date": {now.UTC().Format(http.TimeFormat)}, "X-Ratelimit-Reset": {strconv.FormatInt(now.Add(ends).UnixMilli(), 10)}}
	if global >= 0 {
		h.Set("X-Ratelimit-Global-Remaining", strconv.Itoa(global))
	}
	if route >= 0 {
		h.Set("X-Ratelimit-Route-Remaining", strconv.Itoa(route))
	}
	return h
}

func limiter() *ratelimit.Limiter { return ratelimit.New(ratelimit.Options{MaxWait: time.Minute}) }

// take returns a permit, for which nobody may have to wait.
func take(t *testing.T, l *ratelimit.Limiter, route string) *ratelimit.Permit {
	t.Helper()
	p := new(ratelimit.Permit)
	reason, err := l.Wait(t.Context(), route, p)
	require.NoError(t, err)
	require.Empty(t, reason)
	return p
}

func TestAZeroPermitMayBeSettled(t *testing.T) {
	var p ratelimit.Permit
	p.Cancel()
	p.Abandon()
	p.Observe(http.StatusOK, http.Header{})
}

func TestARouteThatWaitsDoesNotHoldAnotherOneUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter()
		take(t, l, patchRoute).Observe(200, remaining(50, 0, 10*time.Second))
		waiting := make(chan ratelimit.Reason)
		go func() {
			reason, err := l.Wait(t.Context(), patchRoute, new(ratelimit.Permit))
			assert.NoError(t, err)
			waiting <- reason
		}()
		synctest.Wait()
		take(t, l, getRoute).Observe(200, remaining(49, 5, 10*time.Second))
		take(t, l, getRoute)
		began := time.Now()
		assert.Equal(t, ratelimit.RateLimit, <-waiting)
		assert.InDelta(t, 10*time.Second, time.Since(began), float64(200*time.Millisecond))
	})
}

func TestTheGlobalQuotaIsForEveryRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter()
		take(t, l, patchRoute).Observe(200, remaining(0, 50, 10*time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var closed *ratelimit.ClosedError
		_, err := l.Wait(ctx, getRoute, new(ratelimit.Permit))
		require.ErrorAs(t, err, &closed)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.InDelta(t, 10*time.Second, time.Until(closed.Opens), float64(200*time.Millisecond))
	})
}

func TestShareLeavesTheRest(t *testing.T) {
	for _, share := range []float64{0.001, 0.1, 0.5, 0.8} {
		for _, announces := range []bool{false, true} {
			s := &service{account: 100, announces: announces, rtt: 20 * time.Millisecond}
			w := work{until: 200 * time.Second, callers: 100, options: ratelimit.Options{Share: share}}
			r := w.run(t, s)
			t.Logf("%d of 2000 used with a share of %v", s.total, share)
			assert.InDelta(t, 20*max(1, 100*share)+100, s.total, 1, "in twenty windows, and a call of each caller after them")
			assert.Zero(t, s.refused)
			assert.Zero(t, r.failed)
		}
	}
}

// A response that comes very late may be older than a step of the server's clock: what it says is left was left then.
func TestALateResponseOpensNoWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter()
		late := take(t, l, patchRoute)
		time.Sleep(5 * time.Second)
		take(t, l, patchRoute).Observe(200, remaining(100, 0, 10*time.Second))
		late.Observe(200, remaining(100, 100, time.Hour))
		reason, err := l.Wait(t.Context(), patchRoute, new(ratelimit.Permit))
		require.NoError(t, err)
		assert.Equal(t, ratelimit.RateLimit, reason)
	})
}

// Where responses have headers, one without any shows that a gateway has removed them, not that a new credential has no limit.
func TestAResponseWithoutHeadersLiftsNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter()
		first := take(t, l, patchRoute)
		first.Use("token")
		first.Observe(200, remaining(1000, 1000, 10*time.Second))
		second := take(t, l, patchRoute)
		second.Use("rotated")
		second.Observe(200, http.Header{})
		take(t, l, patchRoute).Use("rotated")
		waiting := make(chan ratelimit.Reason)
		ctx, cancel := context.WithCancel(t.Context())
		go l.Wait(ctx, patchRoute, &ratelimit.Permit{Waiting: func(r ratelimit.Reason) { waiting <- r }})
		assert.Equal(t, ratelimit.Probe, <-waiting, "one attempt at a time asks for the limit of the new credential")
		cancel()
	})
}

// A refused call is admitted before later ones.
func TestOrderIsKeptAcrossAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter()
		first := take(t, l, patchRoute)
		var order []int
		var mu sync.Mutex
		var done sync.WaitGroup
		wait := func(i int, p *ratelimit.Permit) {
			done.Go(func() {
				_, err := l.Wait(t.Context(), patchRoute, p)
				assert.NoError(t, err)
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				p.Observe(200, remaining(-1, 1, 10*time.Second))
			})
			synctest.Wait()
		}
		for i := 1; i <= 5; i++ {
			wait(i, new(ratelimit.Permit))
		}
		first.Observe(429, remaining(-1, 0, 10*time.Second))
		wait(0, first)
		done.Wait()
		assert.Equal(t, []int{0, 1, 2, 3, 4, 5}, order)
	})
}

// waiterBytes bounds the memory of a waiting call, with its stack and the race detector's notes.
const waiterBytes = 6 << 10

func TestAHundredThousandWaitersTakeLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("a hundred thousand goroutines")
	}
	synctest.Test(t, func(t *testing.T) {
		const n = 100_000
		l := limiter()
		take(t, l, patchRoute).Observe(429, http.Header{"Retry-After": {"60"}})
		ctx, cancel := context.WithCancel(t.Context())
		before := inUse()
		var done sync.WaitGroup
		var ended atomic.Int64
		for range n {
			done.Go(func() {
				if _, err := l.Wait(ctx, patchRoute, new(ratelimit.Permit)); err != nil {
					ended.Add(1)
				}
			})
		}
		synctest.Wait()
		assert.Zero(t, ended.Load(), "all of them wait")
		each := (inUse() - before) / n
		t.Logf("%d bytes for a waiting call", each)
		assert.Less(t, each, uint64(waiterBytes))
		cancel()
		done.Wait()
		assert.EqualValues(t, n, ended.Load())
	})
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func TestCancelledWaitersLoseNoPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{account: 50, rtt: 20 * time.Millisecond, random: rand.New(rand.NewPCG(3, 4))}
		s.init()
		l, random := limiter(), rand.New(rand.NewPCG(5, 6))
		var ok, ended atomic.Int64
		var done sync.WaitGroup
		began := time.Now()
		for i := range 1000 {
			ctx, cancel := context.WithCancel(t.Context())
			if i%2 == 0 {
				after := between(random, 0, 5*time.Second)
				go func() { time.Sleep(after); cancel() }()
			}
			done.Go(func() {
				defer cancel()
				if (work{}).call(ctx, l, s, 0, 0, began) == nil {
					ok.Add(1)
				} else {
					ended.Add(1)
				}
			})
		}
		done.Wait()
		assert.EqualValues(t, 1000, ok.Load()+ended.Load())
		assert.GreaterOrEqual(t, ok.Load(), int64(500))
		windows := (ok.Load() + 49) / 50
		assert.Less(t, time.Since(began), time.Duration(windows-1)*10*time.Second+5*time.Second, "no permit is lost")
	})
}

// A deferred Abandon settles the permit of a panicking transport or hook.
func TestAPanicHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter()
		func() {
			defer func() { _ = recover() }()
			p := take(t, l, patchRoute)
			defer p.Abandon()
			panic("a transport")
		}()
		take(t, l, patchRoute)
	})
}

// A call that is admitted in the moment in which its context ends leaves its permit to others.
func TestACallThatEndsAsItIsAdmittedLosesNoPermit(t *testing.T) {
	ended := 0
	for range 100 {
		l := limiter()
		probe := take(t, l, patchRoute)
		ctx, cancel := context.WithCancel(t.Context())
		p := ratelimit.Permit{Waiting: func(ratelimit.Reason) { // called before it waits, for what is true already
			probe.Observe(http.StatusOK, http.Header{
				"X-Ratelimit-Global-Remaining": {"10"}, "X-Ratelimit-Reset": {fmt.Sprint(time.Now().Add(5 * time.Second).UnixMilli())},
			})
			cancel()
		}}
		_, err := l.Wait(ctx, patchRoute, &p)
		want := 9
		if err != nil {
			ended++
			want = 10
		}
		assert.Equal(t, want, l.State().Account.Remaining)
	}
	assert.NotZero(t, ended)
}

// Header lines that were combined count by the smallest number of what remains, and by the latest reset.
func TestCombinedHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter()
		at := func(after time.Duration) string { return fmt.Sprint(time.Now().Add(after).UnixMilli()) }
		take(t, l, patchRoute).Observe(http.StatusOK, http.Header{
			"X-Ratelimit-Global-Remaining": {"49, 1000"}, "X-Ratelimit-Route-Remaining": {"1000", "48"},
			"X-Ratelimit-Reset": {at(time.Second) + ", " + at(5*time.Second)}, "Date": {time.Now().UTC().Format(http.TimeFormat)},
		})
		state := l.State()
		assert.Equal(t, 49, state.Account.Remaining)
		assert.Equal(t, 48, state.Routes[patchRoute].Remaining)
		assert.WithinDuration(t, time.Now().Add(5*time.Second), state.Account.Reset, time.Second)
	})
}

// Of more than 16 routes the others share the last one, and of more than 32 limits those of credentials are forgotten.
func TestWhatIsKeptIsBounded(t *testing.T) {
	l := limiter()
	for i := range 100 {
		p := take(t, l, fmt.Sprint("route ", i))
		p.Use(fmt.Sprint("credential ", i))
		p.Observe(http.StatusOK, http.Header{
			"X-Ratelimit-Route-Remaining": {"1000"}, "X-Ratelimit-Auth-Token-Remaining": {"1000"},
			"X-Ratelimit-Reset": {fmt.Sprint(time.Now().Add(5 * time.Second).UnixMilli())}, "X-Ratelimit-Auth-Token-Reset": {fmt.Sprint(time.Now().Add(5 * time.Second).UnixMilli())},
		})
	}
	assert.Len(t, l.State().Routes, 16)
}

// What was not sent takes nothing from the program's share of a window.
func TestWhatWasNotSentIsNoPartOfTheShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ratelimit.New(ratelimit.Options{MaxWait: time.Minute, Share: 0.5})
		header := func(left int) http.Header {
			return http.Header{"X-Ratelimit-Global-Remaining": {fmt.Sprint(left)}, "X-Ratelimit-Global-Limit": {"12"},
				"X-Ratelimit-Reset": {fmt.Sprint(time.Now().Truncate(10 * time.Second).Add(10 * time.Second).UnixMilli())}}
		}
		take(t, l, patchRoute).Observe(http.StatusOK, header(11))
		for range 20 {
			take(t, l, patchRoute).Cancel()
		}
		for i := range 5 {
			take(t, l, patchRoute).Observe(http.StatusOK, header(10-i))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := l.Wait(ctx, patchRoute, new(ratelimit.Permit))
		assert.Error(t, err, "six of twelve are all of the share")
	})
}
