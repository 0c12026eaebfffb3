package tokenpatch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// callers make many calls from many goroutines to a service with a rate limit, in
// virtual time.
type callers struct {
	calls, goroutines int
	limits            tokenpatchtest.Limits
	clients           int           // without knowledge of each other; 0 means 1
	offset            time.Duration // of the service's clock
	during            func(service *tokenpatchtest.Service, over <-chan struct{})
}

const roundTrip = 50 * time.Millisecond

// result is the result of their calls.
type result struct {
	took     time.Duration
	failed   int
	requests []tokenpatchtest.Request
	windows  []tokenpatchtest.WindowStats
}

func (c callers) run(t *testing.T) (r result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		service, _ := newPair(t)
		service.SetLimits(tokenpatchtest.V2, c.limits)
		service.SetLatency(roundTrip)
		service.SetClockOffset(c.offset)
		over := make(chan struct{})
		if c.during != nil {
			go c.during(service, over)
		}
		began := time.Now()
		r.failed = c.send(t, service)
		r.took = time.Since(began)
		close(over)
		r.requests, r.windows = service.Requests(), service.Windows(tokenpatchtest.V2)
	})
	return r
}

// send makes the calls and returns how many failed.
func (c callers) send(t *testing.T, service *tokenpatchtest.Service) int {
	var begun, failed atomic.Int64
	var wg sync.WaitGroup
	clients := max(1, c.clients)
	for range clients {
		client, err := tokenpatch.NewClient(tokenpatch.Config{
			V2: tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken}, HTTPClient: service.Client()})
		require.NoError(t, err)
		for range c.goroutines / clients {
			wg.Go(func() {
				for begun.Add(1) <= int64(c.calls) {
					if err := patchName(t.Context(), client); err != nil {
						failed.Add(1)
						t.Log(err)
					}
				}
			})
		}
	}
	wg.Wait()
	return int(failed.Load())
}

// least is the least possible time for the calls, if the first window begins with them.
func (c callers) least() time.Duration {
	limit := c.calls
	for _, of := range []int{c.limits.Global, c.limits.Route, c.limits.Credential} {
		if of > 0 {
			limit = min(limit, of)
		}
	}
	return time.Duration((c.calls+limit-1)/limit-1)*c.limits.Window + roundTrip
}

// refused is how many requests got a 429.
func refused(requests []tokenpatchtest.Request) (n int) {
	for _, r := range requests {
		if r.Status == http.StatusTooManyRequests {
			n++
		}
	}
	return n
}

func window(route int) tokenpatchtest.Limits {
	return tokenpatchtest.Limits{Window: 10 * time.Second, Route: route}
}

func TestLimiterUsesTheWholeBudget(t *testing.T) {
	ten := 10 * time.Second
	for name, test := range map[string]struct {
		limits tokenpatchtest.Limits
		offset time.Duration // of the service's clock against ours
	}{
		"route":                         {limits: window(10)},
		"account":                       {limits: tokenpatchtest.Limits{Window: ten, Global: 10}},
		"credential":                    {limits: tokenpatchtest.Limits{Window: ten, Credential: 10}},
		"all, the route is tightest":    {limits: tokenpatchtest.Limits{Window: ten, Global: 15, Route: 10, Credential: 20}},
		"all, the account is tightest":  {limits: tokenpatchtest.Limits{Window: ten, Global: 10, Route: 15, Credential: 20}},
		"all, the credential is":        {limits: tokenpatchtest.Limits{Window: ten, Global: 20, Route: 20, Credential: 10, CredentialOffset: 4 * time.Second}},
		"no Limit headers":              {limits: tokenpatchtest.Limits{Window: ten, Route: 10, Credential: 20, NoLimitHeaders: true}},
		"windows begin with a request":  {limits: tokenpatchtest.Limits{Window: ten, Route: 10, Floating: true}},
		"our clock is 5 min ahead":      {limits: window(10), offset: -5 * time.Minute},
		"our clock is 5 min behind":     {limits: window(10), offset: 5 * time.Minute},
		"our clock is 700 ms ahead":     {limits: window(10), offset: -700 * time.Millisecond},
		"our clock is a day behind":     {limits: window(10), offset: 25 * time.Hour},
		"our clock is 400 days behind":  {limits: window(10), offset: 400 * 24 * time.Hour},
		"our clock is 400 days ahead":   {limits: window(10), offset: -400 * 24 * time.Hour},
		"credential, our clock is late": {limits: tokenpatchtest.Limits{Window: ten, Credential: 10, CredentialOffset: ten / 3}, offset: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := callers{calls: 500, goroutines: 200, limits: test.limits, offset: test.offset}
			r := c.run(t)
			share := float64(r.took) / float64(c.least())
			t.Logf("%.4f of the least possible time, %d responses with 429", share, refused(r.requests))
			assert.Zero(t, r.failed)
			assert.LessOrEqual(t, share, 1.02)
			assert.Zero(t, refused(r.requests))
		})
	}
}

func TestLimiterBeginsWithOneProbe(t *testing.T) {
	r := callers{calls: 1000, goroutines: 1000, limits: window(10)}.run(t)
	assert.Zero(t, r.failed)
	assert.Zero(t, refused(r.requests))
	assert.True(t, r.requests[1].Time.Sub(r.requests[0].Time) >= roundTrip, "one goes ahead, the others wait for its response")
}

func TestLimiterFollowsAChangedLimit(t *testing.T) {
	changes := func(service *tokenpatchtest.Service, _ <-chan struct{}) {
		time.Sleep(125 * time.Second)
		service.SetLimits(tokenpatchtest.V2, window(3))
		time.Sleep(100 * time.Second)
		service.SetLimits(tokenpatchtest.V2, window(50))
	}
	r := callers{calls: 500, goroutines: 200, limits: window(10), during: changes}.run(t)
	assert.Zero(t, r.failed)
	assert.LessOrEqual(t, refused(r.requests), 7, "the excess of one window")
	for i, w := range r.windows[:len(r.windows)-1] {
		if i > 0 && r.windows[i-1].Limit == w.Limit && r.windows[i+1].Limit == w.Limit {
			assert.Equal(t, w.Limit, w.Admitted, "window %d uses its limit", i)
		}
	}
}

func TestLimiterUsesWhatAnotherProgramLeaves(t *testing.T) {
	for name, portions := range map[string][]int{"half at once": {5}, "half one by one": {1, 1, 1, 1, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := func(service *tokenpatchtest.Service, over <-chan struct{}) {
				random := rand.New(rand.NewPCG(1, 2))
				for {
					rest := 10 * time.Second
					for _, n := range portions {
						wait := time.Duration(random.Int64N(int64(10*time.Second) / int64(len(portions))))
						rest -= wait
						select {
						case <-over:
							return
						case <-time.After(wait):
							service.Spend(tokenpatchtest.V2, n)
						}
					}
					time.Sleep(rest)
				}
			}
			r := callers{calls: 600, goroutines: 200, limits: window(10), during: other}.run(t)
			assert.Zero(t, r.failed)
			admitted, unused := 0, 0
			assert.LessOrEqual(t, refused(r.requests), 10, "the excess of one window before the other program is noticed, and little after")
			for _, w := range r.windows[:len(r.windows)-1] {
				admitted += w.Admitted
				unused += max(0, w.Limit-w.Admitted-w.Spent)
			}
			share := float64(admitted) / float64(admitted+unused)
			t.Logf("%.3f of what the other left, %d responses with 429 in %d windows", share, refused(r.requests), len(r.windows))
			assert.GreaterOrEqual(t, share, 0.95)
		})
	}
}

func TestLimiterSharesWithOtherClients(t *testing.T) {
	c := callers{calls: 1000, goroutines: 200, limits: window(40), clients: 4}
	r := c.run(t)
	share, wasted := float64(r.took)/float64(c.least()), float64(refused(r.requests))/float64(len(r.requests))
	t.Logf("%.4f of the least possible time, %.3f of the calls met a 429", share, wasted)
	assert.Zero(t, r.failed)
	assert.LessOrEqual(t, share, 1.15)
	assert.LessOrEqual(t, wasted, 0.10)
}

func TestLimiterObeysRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.SetLatency(roundTrip)
		service.SetLimits(tokenpatchtest.V2, window(1000))
		require.NoError(t, patchName(t.Context(), client))
		service.Inject(tokenpatchtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"30"}}})
		require.NoError(t, callAll(t.Context(), client, 200))

		requests := service.Requests()
		last := 0
		for i, r := range requests {
			if r.Status == http.StatusTooManyRequests {
				last = i
			}
		}
		told := requests[last].Time.Add(roundTrip)
		var after []tokenpatchtest.Request
		for _, r := range requests {
			if r.Time.After(told) {
				after = append(after, r)
				assert.GreaterOrEqual(t, r.Time.Sub(told), 30*time.Second-roundTrip/2, "nobody sends before")
			}
		}
		together := 0
		for _, r := range after {
			if r.Time.Sub(after[0].Time) < roundTrip {
				together++
			}
		}
		assert.Equal(t, 1, together, "one goes ahead after the pause")
	})
}

func TestLimiterPausesAfterARefusalWithoutHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.SetLatency(roundTrip)
		service.Inject(tokenpatchtest.Fault{API: tokenpatchtest.V2, Status: 429})
		began := time.Now()
		require.NoError(t, callAll(t.Context(), client, 50))
		requests := service.Requests()
		pause := requests[1].Time.Sub(requests[0].Time)
		assert.GreaterOrEqual(t, pause, 10*time.Second)
		assert.LessOrEqual(t, pause, 11*time.Second+roundTrip)
		assert.Less(t, time.Since(began), 12*time.Second, "one window, for everybody")
		assert.Equal(t, 51, len(requests))
	})
}

// callAll makes so many calls at once, and returns the first error.
func callAll(ctx context.Context, client *tokenpatch.Client, n int) error {
	errs := make(chan error)
	for range n {
		go func() { errs <- patchName(ctx, client) }()
	}
	var first error
	for range n {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

func TestLimiterDoesNotSlowAServiceWithoutLimits(t *testing.T) {
	const calls, goroutines = 20_000, 200
	ungated := time.Duration(calls/goroutines) * roundTrip
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.SetLatency(roundTrip)
		var begun atomic.Int64
		var wg sync.WaitGroup
		began := time.Now()
		for range goroutines {
			wg.Go(func() {
				for begun.Add(1) <= calls {
					assert.NoError(t, updateName(t.Context(), client))
				}
			})
		}
		wg.Wait()
		share := float64(ungated) / float64(time.Since(began))
		t.Logf("%.4f of the throughput without a limiter", share)
		assert.GreaterOrEqual(t, share, 0.9, "ten round trips of a hundred are spent on the slow start")
		requests := service.Requests()
		for sent, upTo := range map[int]int{0: 1, 1: 3, 3: 7, 7: 15, 15: 31, 31: 63, 63: 95} { // it doubles per round trip, up to 32
			assert.Equal(t, requests[sent].Time, requests[upTo-1].Time)
			assert.True(t, requests[upTo-1].Time.Before(requests[upTo].Time))
		}
	})
}

func TestLimiterTurnsAwayWhoCannotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.SetLimits(tokenpatchtest.V2, window(1))
		require.NoError(t, patchName(t.Context(), client))
		sent := service.RequestCount()

		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		err := patchName(ctx, client)
		limited := assertAs[*tokenpatch.RateLimitedError](t, err)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assertOutcome(t, tokenpatch.OutcomeNotApplied, err)
		assert.Zero(t, time.Since(began), "at once")
		assert.Equal(t, sent, service.RequestCount(), "nothing is sent")
		assert.Zero(t, limited.Attempts)
		assert.Greater(t, limited.RetryAfter, 3*time.Second)
		assert.Equal(t, tokenpatch.Set(0), limited.RateLimit.Routes["PATCH /api/v2/tokens/{id}"].Remaining)
	})
}

// A waiting call is refused when the limiter sees a late opening, not when its context ends.
func TestLimiterTurnsAwayWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.SetLatency(roundTrip)
		service.SetLimits(tokenpatchtest.V2, window(1))
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		first := make(chan error, 1)
		go func() { first <- patchName(ctx, client) }()
		synctest.Wait()
		assertAs[*tokenpatch.RateLimitedError](t, patchName(ctx, client))
		assert.Equal(t, roundTrip, time.Since(began))
		assert.NoError(t, <-first)
	})
}

func TestLimiterRefusesADeclaredWaitThatIsTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t, retries(tokenpatch.RetryPolicy{MaxRateLimitWait: time.Minute}))
		service.Inject(tokenpatchtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"3600"}},
			Body: `{"code":"rate_limited","message":"an hour"}`})
		began := time.Now()
		limited := assertAs[*tokenpatch.RateLimitedError](t, patchName(t.Context(), client))
		assert.Equal(t, "an hour", limited.Message)
		assert.Equal(t, time.Hour, limited.RetryAfter)
		assert.Equal(t, 1, limited.Attempts)
		assertAs[*tokenpatch.RateLimitedError](t, patchName(t.Context(), client))
		assert.Zero(t, time.Since(began), "at once")
		assert.Equal(t, 1, service.RequestCount())

		time.Sleep(time.Hour - 2*time.Minute)
		limited = assertAs[*tokenpatch.RateLimitedError](t, patchName(t.Context(), client))
		assert.Equal(t, 2*time.Minute, limited.RetryAfter)
		assert.Equal(t, limited.RetryAfter, time.Until(limited.RateLimit.PausedUntil))
		time.Sleep(2*time.Minute + 5*time.Second)
		assert.NoError(t, patchName(t.Context(), client))
	})
}

func TestLimiterForgetsCancelledWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.SetLatency(roundTrip)
		service.SetLimits(tokenpatchtest.V2, window(50))
		random := rand.New(rand.NewPCG(3, 4))
		began := time.Now()
		var wg sync.WaitGroup
		var stayed, unsent, cut atomic.Int64
		for i := range 1000 {
			ctx, cancel := context.WithCancel(t.Context())
			if i%2 == 0 {
				go func(after time.Duration) { time.Sleep(after); cancel() }(time.Duration(random.Int64N(int64(5 * time.Second))))
			}
			wg.Go(func() {
				defer cancel()
				switch err := patchName(ctx, client); {
				case err == nil:
					stayed.Add(1)
				case errors.As(err, new(*tokenpatch.NotSentError)):
					unsent.Add(1)
				default: // canceled on its way: its permit is spent
					assertOutcome(t, tokenpatch.OutcomeUnknown, err)
					cut.Add(1)
				}
			})
		}
		wg.Wait()
		t.Logf("%d stayed, %d left, %d were cut", stayed.Load(), unsent.Load(), cut.Load())
		assert.EqualValues(t, 1000, stayed.Load()+unsent.Load()+cut.Load())
		assert.GreaterOrEqual(t, stayed.Load(), int64(500))
		assert.Less(t, cut.Load(), int64(50))
		used := stayed.Load() + cut.Load()
		windows := (used + 49) / 50
		assert.Less(t, time.Since(began), time.Duration(windows-1)*10*time.Second+5*time.Second, "the rest take the time due to them")
		admitted := 0
		for _, w := range service.Windows(tokenpatchtest.V2)[:windows-1] {
			admitted += w.Admitted
		}
		assert.GreaterOrEqual(t, admitted+int(cut.Load()), int(windows-1)*50, "no permit is lost")
	})
}

func TestLimiterIgnoresStaleResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.SetLatency(roundTrip)
		service.SetLimits(tokenpatchtest.V2, window(10))
		// The responses of every window arrive out of order, some after the reset.
		delays := []time.Duration{0, 300 * time.Millisecond, 10 * time.Millisecond, 11 * time.Second, 0, 150 * time.Millisecond}
		for i := range 120 {
			service.Inject(tokenpatchtest.Fault{DelayAfter: delays[i%len(delays)]})
		}
		require.NoError(t, callAll(t.Context(), client, 120))
		assert.Zero(t, refused(service.Requests()))
	})
}

func TestLimiterProbesAgainWhereAProbeFails(t *testing.T) {
	t.Run("who has little time still waits for its response", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			service, client := newPair(t)
			service.SetLatency(500 * time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), 1600*time.Millisecond) // one, two, and the last one
			defer cancel()
			assert.NoError(t, callAll(ctx, client, 4))
		})
	})
	t.Run("the next one probes at once where a connection breaks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			service, client := newPair(t)
			service.SetLatency(roundTrip)
			service.SetLimits(tokenpatchtest.V2, window(10))
			service.Inject(tokenpatchtest.Fault{Cut: tokenpatchtest.CutBefore})
			require.NoError(t, callAll(t.Context(), client, 5))
			requests := service.Requests()
			assert.LessOrEqual(t, requests[1].Time.Sub(requests[0].Time), roundTrip)
		})
	})
	t.Run("another one goes after two seconds where it hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			service, client := newPair(t)
			service.SetLatency(roundTrip)
			service.SetLimits(tokenpatchtest.V2, window(100))
			service.Inject(tokenpatchtest.Fault{Delay: time.Minute})
			began := time.Now()
			errs := make(chan error)
			for range 50 {
				go func() { errs <- patchName(t.Context(), client) }()
			}
			for range 49 {
				require.NoError(t, <-errs)
			}
			assert.Less(t, time.Since(began), 4*time.Second)
			require.NoError(t, <-errs, "the one that hung is tried again after its own timeout")
		})
	})
}

// A service whose round trip is longer than the probe timeout is waited for.
func TestLimiterWaitsForASlowService(t *testing.T) {
	for name, test := range map[string]struct {
		limits tokenpatchtest.Limits
		most   time.Duration
	}{
		"without limits": {tokenpatchtest.Limits{}, 40 * time.Second},
		"with limits":    {tokenpatchtest.Limits{Route: 50}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t)
				service.SetLatency(5 * time.Second)
				service.SetLimits(tokenpatchtest.V2, test.limits)
				began := time.Now()
				require.NoError(t, callAll(t.Context(), client, 100))
				assert.LessOrEqual(t, time.Since(began), test.most)
				assert.Zero(t, refused(service.Requests()))
			})
		})
	}
}

func TestLimiterServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.SetLatency(roundTrip)
		service.SetLimits(tokenpatchtest.V2, window(1)) // they go one by one
		service.Inject(tokenpatchtest.Fault{}, tokenpatchtest.Fault{},
			tokenpatchtest.Fault{Status: 429, Body: `{"code":"rate_limited","message":"not now"}`})
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				_, err := client.V2.PatchToken(t.Context(), idV2, tokenpatch.NewPatch().SetName(fmt.Sprint(i)))
				assert.NoError(t, err)
			})
			time.Sleep(time.Microsecond)
		}
		wg.Wait()
		require.Equal(t, 30, service.Changes(idV2))
		for i, change := range service.History(idV2) {
			assert.Contains(t, string(change.Body), fmt.Sprintf(`"value":"%d"`, i), "no call overtakes one that was refused")
		}
	})
}

// One refusal with absurd headers: the call ends or waits in bounds, and the next one goes through.
func TestLimiterBoundsAbsurdHeaders(t *testing.T) {
	for _, name := range []string{"Retry-After", "X-Ratelimit-Reset"} {
		for _, values := range [][]string{
			{"1000000000000000000"}, {"99999999999999999999999999"}, {"1e308"}, {"-5"}, {"0.25"}, {"0"}, {"NaN"}, {"Inf"}, {""}, {"soon"},
			{"Sat, 01 Jan 2000 00:00:30 GMT"}, {"Fri, 31 Dec 1999 23:59:00 GMT"}, {"Mon, 01 Jan 2900 00:00:00 GMT"},
			{"1", "2", "nonsense"}, {"0x10"}, {"9223372036854775807"}, {"946684805000"}, {"946684795000"},
		} {
			t.Run(name+" "+strings.Join(values, ","), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					sent := 0
					header := http.Header{name: values, "Date": {time.Now().UTC().Format(http.TimeFormat)}}
					_, client := newPair(t, through(func(*http.Request) (*http.Response, error) {
						if sent++; sent == 1 {
							return &http.Response{StatusCode: http.StatusTooManyRequests, Header: header, Body: http.NoBody}, nil
						}
						return respond(200, "application/json", tokenJSON), nil
					}))
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
					defer cancel()
					began := time.Now()
					if err := patchName(ctx, client); err != nil {
						assertAs[*tokenpatch.RateLimitedError](t, err)
					}
					assert.Less(t, time.Since(began), 6*time.Minute, "bounded")
					assert.LessOrEqual(t, sent, 2, "no busy loop")
					time.Sleep(time.Hour + time.Minute)
					assert.NoError(t, patchName(ctx, client), "nobody is locked out for ever")
				})
			})
		}
	}
}

func TestEachServiceHasItsOwnLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.RefuseFor(tokenpatchtest.V2, time.Minute)
		done := make(chan error)
		go func() { done <- patchName(t.Context(), client) }()
		synctest.Wait()
		began := time.Now()
		require.NoError(t, updateName(t.Context(), client))
		assert.Zero(t, time.Since(began), "V1 does not wait for V2")
		require.NoError(t, <-done)
		assert.GreaterOrEqual(t, time.Since(began), time.Minute)
	})
}

func TestRateLimitReportsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		assert.Equal(t, tokenpatch.RateLimit{}, client.V2.RateLimit(), "nothing is known yet")
		assert.Equal(t, "account: unknown; credential: unknown", client.V2.RateLimit().String())
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 20, Route: 10, Credential: 5, CredentialOffset: 3 * time.Second})
		require.NoError(t, patchName(t.Context(), client))
		limit := client.V2.RateLimit()
		route := limit.Routes["PATCH /api/v2/tokens/{id}"]
		assert.Equal(t, tokenpatch.Set(19), limit.Global.Remaining)
		assert.Equal(t, 20, limit.Global.Limit)
		assert.Equal(t, tokenpatch.Set(9), route.Remaining)
		assert.Equal(t, 10, route.Limit)
		assert.WithinDuration(t, time.Now().Truncate(10*time.Second).Add(10*time.Second), route.Reset, time.Second)
		assert.Equal(t, tokenpatch.Set(4), limit.Credential.Remaining)
		assert.Equal(t, 5, limit.Credential.Limit)
		assert.WithinDuration(t, time.Now().Truncate(10*time.Second).Add(3*time.Second), limit.Credential.Reset, time.Second)
		assert.Equal(t, tokenpatch.RateLimit{}, client.V1.RateLimit(), "each service has its own")
		assert.Zero(t, limit.PausedUntil)
		at := func(q tokenpatch.Quota) string { return q.Reset.UTC().Format("15:04:05 UTC") }
		assert.Equal(t, fmt.Sprintf("account: 19 of 20 left until %s; credential: 4 of 5 left until %s; PATCH /api/v2/tokens/{id}: 9 of 10 left until %s",
			at(limit.Global), at(limit.Credential), at(route)), fmt.Sprint(limit))

		service.RefuseFor(tokenpatchtest.V2, time.Minute)
		done := make(chan error)
		go func() { done <- patchName(t.Context(), client) }()
		synctest.Wait()
		assert.WithinDuration(t, time.Now().Add(time.Minute), client.V2.RateLimit().PausedUntil, 6*time.Second)
		require.NoError(t, <-done)
		assert.Zero(t, client.V2.RateLimit().PausedUntil)
	})
}

// What hooks report of waits is enough for a metric of them.
func TestHooksReportWaitsByReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		waited := map[tokenpatch.WaitReason]time.Duration{}
		service, client := newPair(t, func(c *tokenpatch.Config) {
			c.Hooks.WaitEnd = func(_ context.Context, w tokenpatch.WaitInfo) {
				mu.Lock()
				defer mu.Unlock()
				assert.Equal(t, apiV2.Info(), w.CallInfo)
				waited[w.Reason] = max(waited[w.Reason], w.Duration)
			}
		})
		service.SetLatency(roundTrip)
		service.SetLimits(tokenpatchtest.V2, window(12))
		require.NoError(t, callAll(t.Context(), client, 2))
		assert.Equal(t, roundTrip, waited[tokenpatch.WaitProbe])
		require.NoError(t, callAll(t.Context(), client, 6))
		require.NoError(t, callAll(t.Context(), client, 12))
		service.Inject(tokenpatchtest.Fault{Status: 503})
		require.NoError(t, callAll(t.Context(), client, 2))
		service.RefuseFor(tokenpatchtest.V2, 20*time.Second)
		require.NoError(t, callAll(t.Context(), client, 1))
		assert.Greater(t, waited[tokenpatch.WaitTurn], time.Duration(0))
		assert.Greater(t, waited[tokenpatch.WaitRateLimit], time.Second)
		assert.GreaterOrEqual(t, waited[tokenpatch.WaitRetryAfter], 9*time.Second, "what is left of the pause once the window is over")
		assert.Greater(t, waited[tokenpatch.WaitBackoff], 100*time.Millisecond)
	})
}

// A deadline before the next probe is no reason to give up: the probe in flight may be back in
// time.
func TestLimiterLetsShortDeadlinesWaitForTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.SetLatency(100 * time.Millisecond)
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 100})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, callAll(ctx, client, 3))
	})
}

// Whatever a server sends, a call ends, and in bounded time.
func FuzzRateLimitHeaders(f *testing.F) {
	f.Add(429, "30", "", "", "", "")
	f.Add(200, "", "946684810000", "9", "10", "Sat, 01 Jan 2000 00:00:00 GMT")
	f.Add(429, "1e18", "-1", "NaN", "0x7", "Thu, 01 Jan 1970 00:00:00 GMT")
	f.Add(503, "Sat, 01 Jan 2000 00:00:30 GMT", "1e400", "0", "-0", "nonsense")
	f.Fuzz(func(t *testing.T, status int, retryAfter, reset, global, route, date string) {
		if status < 200 || status > 599 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			header := http.Header{"Retry-After": {retryAfter}, "X-Ratelimit-Reset": {reset}, "Date": {date},
				"X-Ratelimit-Global-Remaining": {global}, "X-Ratelimit-Route-Remaining": {route}}
			var sent atomic.Int64
			_, client := newPair(t, through(func(*http.Request) (*http.Response, error) {
				sent.Add(1)
				return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(tokenJSON))}, nil
			}))
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			began := time.Now()
			for range 3 {
				_ = patchName(ctx, client)
			}
			if time.Since(began) > time.Hour {
				t.Errorf("took %v", time.Since(began))
			}
			if sent.Load() > 400 {
				t.Errorf("sent %d requests", sent.Load())
			}
		})
	})
}
