package ratelimit_test

import (
	"context"
	"fmt"
	"math"
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

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

const patchRoute = "PATCH /api/v2/tokens/{id}"

// server is a service with a rate limit that is counted in windows, in virtual time.
type server struct {
	limit   int
	window  time.Duration
	rtt     time.Duration
	arrival float64 // the share of a round trip that passes before the request is handled
	ahead   time.Duration
	noDate  bool
	hidden  bool                                         // whether no response has headers
	lag     int                                          // how many requests the number lags behind
	counts  func(n int) bool                             // whether the nth request is counted; nil for all
	fault   func(n int, header http.Header) (status int) // 0 for none; lose for a response that never comes

	during func() // what happens beside the calls

	mu       sync.Mutex
	requests int
	number   int64 // of the window
	admitted int
	windows  []usage
	sent     []time.Time // when each request was sent
}

// usage is what became of a window's requests.
type usage struct{ admitted, refused int }

const lose = -1

// handle is one request; it returns the status lose where its response is lost.
func (s *server) handle(sent time.Time) (int, http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	s.sent = append(s.sent, sent)
	now := time.Now().Add(s.ahead)
	if number := now.UnixNano() / int64(s.window); number != s.number || s.windows == nil {
		s.number, s.admitted = number, 0
		s.windows = append(s.windows, usage{})
	}
	header := http.Header{}
	status := http.StatusOK
	w := &s.windows[len(s.windows)-1]
	if s.admitted >= s.limit {
		status = http.StatusTooManyRequests
		w.refused++
	} else {
		w.admitted++
		if s.counts == nil || s.counts(s.requests) {
			s.admitted++
		}
	}
	reset := time.Unix(0, (s.number+1)*int64(s.window))
	header.Set("X-Ratelimit-Reset", strconv.FormatInt(reset.UnixMilli(), 10))
	header.Set("X-Ratelimit-Route-Remaining", strconv.Itoa(min(s.limit, s.limit-s.admitted+s.lag)))
	if !s.noDate {
		header.Set("Date", now.UTC().Format(http.TimeFormat))
	}
	if s.hidden {
		clear(header)
	}
	if s.fault != nil && status == http.StatusOK {
		if other := s.fault(s.requests, header); other != 0 {
			status = other
		}
	}
	return status, header
}

// callers make calls, in programs that each have a limiter.
type callers struct {
	calls, goroutines, programs int
	hang                        time.Duration // how long a lost response is waited for
	options                     ratelimit.Options
}

// result is what became of their calls.
type result struct {
	took    time.Duration
	failed  int // turned away
	lost    int
	refused int
	silence time.Duration // the longest time in which nothing was sent
	server  *server
}

func (c callers) run(t *testing.T, s *server) (r result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var begun, failed, lost atomic.Int64
		var done sync.WaitGroup
		began := time.Now()
		if s.during != nil {
			go s.during()
		}
		programs := max(1, c.programs)
		for range programs {
			options := c.options
			if options.MaxWait == 0 {
				options.MaxWait = 5 * time.Minute
			}
			l := ratelimit.New(options)
			for range c.goroutines / programs {
				done.Go(func() {
					for begun.Add(1) <= int64(c.calls) {
						switch c.call(t.Context(), l, s) {
						case failedCall:
							failed.Add(1)
						case lostCall:
							lost.Add(1)
						}
					}
				})
			}
		}
		done.Wait()
		r = result{took: time.Since(began), failed: int(failed.Load()), lost: int(lost.Load()), server: s}
		slices.SortFunc(s.sent, time.Time.Compare)
		for i, at := range s.sent[1:] {
			r.silence = max(r.silence, at.Sub(s.sent[i]))
		}
		for _, w := range s.windows {
			r.refused += w.refused
		}
		time.Sleep(2 * time.Hour) // what still asks a store comes to its end
	})
	return r
}

const (
	okCall = iota
	failedCall
	lostCall
)

func (c callers) call(ctx context.Context, l *ratelimit.Limiter, s *server) int {
	var p ratelimit.Permit
	for {
		if _, err := l.Wait(ctx, patchRoute, &p); err != nil {
			return failedCall
		}
		sent := time.Now()
		arrival := time.Duration(s.arrival * float64(s.rtt))
		time.Sleep(arrival)
		status, header := s.handle(sent)
		if status == lose {
			time.Sleep(c.hang)
			p.Abandon()
			return lostCall
		}
		time.Sleep(s.rtt - arrival)
		p.Observe(status, header)
		if status != http.StatusTooManyRequests {
			return okCall
		}
	}
}

// ratio is how long the calls took, in multiples of the least time in which so many
// can be admitted, one limit after another, where the first window begins with them.
func (r result) ratio(calls int, each time.Duration) float64 {
	s := r.server
	least := time.Duration(math.Ceil(float64(calls)/float64(s.limit))-1)*each + s.rtt
	return float64(r.took) / float64(least)
}

// mostRefused is the most 429s in one window.
func (r result) mostRefused() (n int) {
	for _, w := range r.server.windows {
		n = max(n, w.refused)
	}
	return n
}

// used is the mean number of requests admitted in a window, the last one aside.
func (r result) used() float64 {
	n := 0
	windows := r.server.windows[:len(r.server.windows)-1]
	for _, w := range windows {
		n += w.admitted
	}
	return float64(n) / float64(len(windows))
}

// tenSeconds is a server that admits so many requests in each window of 10 s.
func tenSeconds(limit int) *server {
	return &server{limit: limit, window: 10 * time.Second, rtt: 50 * time.Millisecond, arrival: 0.5}
}

func TestOneLostResponseHoldsNobodyUp(t *testing.T) {
	for _, hang := range []time.Duration{30 * time.Second, 10 * time.Minute} {
		for _, nth := range []int{1, 2, 10, 11, 13} {
			t.Run(fmt.Sprint(hang, " ", nth), func(t *testing.T) {
				s := tenSeconds(10)
				s.fault = func(n int, _ http.Header) int {
					if n == nth {
						return lose
					}
					return 0
				}
				r := callers{calls: 100, goroutines: 50, hang: hang}.run(t, s)
				t.Logf("longest silence %v, %d 429s, %.1f a window", r.silence, r.refused, r.used())
				assert.LessOrEqual(t, r.silence, 10*time.Second+200*time.Millisecond)
				assert.LessOrEqual(t, r.refused, 1)
			})
		}
	}
}

func TestErrorsWithoutHeadersSayNothingOfLimits(t *testing.T) {
	for _, status := range []int{401, 403, 404} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			s := tenSeconds(10)
			s.fault = func(n int, header http.Header) int {
				if n > 1 {
					return 0
				}
				clear(header)
				return status
			}
			r := callers{calls: 1000, goroutines: 1000}.run(t, s)
			t.Logf("%d 429s, %.3f", r.refused, r.ratio(1000, s.window))
			assert.LessOrEqual(t, r.refused, 1)
			assert.LessOrEqual(t, r.ratio(1000, s.window), 1.02)
		})
	}
}

func TestResponsesWithoutHeadersBesideOthersWithThem(t *testing.T) {
	for name, test := range map[string]struct {
		limit, calls, status int
		share                float64 // of the responses
	}{
		"5 % are 404 without headers": {50, 1000, 404, 0.05},
		"half are without headers":    {10, 400, 200, 0.5},
		"half, with a limit of 50":    {50, 400, 200, 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			s := tenSeconds(test.limit)
			s.fault = func(_ int, header http.Header) int {
				if random.Float64() >= test.share {
					return 0
				}
				clear(header)
				return test.status
			}
			r := callers{calls: test.calls, goroutines: 400}.run(t, s)
			t.Logf("%d 429s, at most %d a window, %.3f", r.refused, r.mostRefused(), r.ratio(test.calls, s.window))
			assert.LessOrEqual(t, r.mostRefused(), 1)
			assert.LessOrEqual(t, r.ratio(test.calls, s.window), 1.20)
		})
	}
}

func TestServerClockMakesNoDifference(t *testing.T) {
	for name, test := range map[string]struct {
		ahead  time.Duration
		noDate bool
		most   float64 // of the least time
	}{
		"a day ahead":                      {ahead: 25 * time.Hour, most: 1.02},
		"a day behind":                     {ahead: -25 * time.Hour, most: 1.02},
		"a year ahead":                     {ahead: 400 * 24 * time.Hour, most: 1.02},
		"a year behind":                    {ahead: -400 * 24 * time.Hour, most: 1.02},
		"700 ms ahead":                     {ahead: 700 * time.Millisecond, most: 1.02},
		"no Date, 3 min ahead":             {ahead: 3 * time.Minute, noDate: true, most: 1.02},
		"no Date, 3 min ahead, mid-window": {ahead: 3*time.Minute + 6*time.Second, noDate: true, most: 1.03},
	} {
		t.Run(name, func(t *testing.T) {
			s := tenSeconds(10)
			s.ahead, s.noDate = test.ahead, test.noDate
			r := callers{calls: 500, goroutines: 50}.run(t, s)
			t.Logf("%d failed, %d 429s, %.3f", r.failed, r.refused, r.ratio(500, s.window))
			assert.Zero(t, r.failed)
			assert.LessOrEqual(t, r.ratio(500, s.window), test.most)
		})
	}
}

func TestManyLostResponsesWasteLittle(t *testing.T) {
	for _, hang := range []time.Duration{25 * time.Millisecond, 30 * time.Second} {
		t.Run(hang.String(), func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			s := tenSeconds(100)
			s.fault = func(int, http.Header) int {
				if random.Float64() < 0.3 {
					return lose
				}
				return 0
			}
			r := callers{calls: 2000, goroutines: 400, hang: hang}.run(t, s)
			t.Logf("%.1f of 100 used, %d 429s, %d lost", r.used(), r.refused, r.lost)
			assert.GreaterOrEqual(t, r.used(), 95.0)
		})
	}
}

func TestOddCounters(t *testing.T) {
	for name, change := range map[string]func(*server){
		"lags by one":      func(s *server) { s.lag = 1 },
		"half not counted": func(s *server) { s.counts = func(n int) bool { return n%2 == 0 } },
		"half not counted, at random": func(s *server) {
			random := rand.New(rand.NewPCG(1, 2))
			s.counts = func(int) bool { return random.IntN(2) == 0 }
		},
	} {
		for _, goroutines := range []int{1, 50} {
			t.Run(fmt.Sprint(name, " ", goroutines), func(t *testing.T) {
				s := tenSeconds(10)
				change(s)
				calls, each := 200, s.limit
				if s.counts != nil {
					each *= 2
				}
				r := callers{calls: calls, goroutines: goroutines}.run(t, s)
				least := time.Duration(calls/each-1)*s.window + s.rtt
				t.Logf("%d 429s, %.3f", r.refused, float64(r.took)/float64(least))
				assert.LessOrEqual(t, float64(r.took)/float64(least), 1.1)
				assert.LessOrEqual(t, r.mostRefused(), 1)
			})
		}
	}
}

func TestShortWindows(t *testing.T) {
	for _, window := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond} {
		for _, ahead := range []time.Duration{0, 333 * time.Millisecond, 950 * time.Millisecond} {
			for _, limit := range []int{10, 100} {
				for _, arrival := range []float64{0, 0.5, 1} {
					t.Run(fmt.Sprint(window, " ", ahead, " ", limit, " ", arrival), func(t *testing.T) {
						s := &server{limit: limit, window: window, rtt: window / 5, arrival: arrival, ahead: ahead}
						r := callers{calls: 40 * limit, goroutines: 4 * limit}.run(t, s)
						t.Logf("%d 429s, %.3f", r.refused, r.ratio(40*limit, window))
						assert.LessOrEqual(t, r.ratio(40*limit, window), 1.1)
						assert.LessOrEqual(t, r.mostRefused(), 1)
					})
				}
			}
		}
	}
}

func TestLongRoundTrips(t *testing.T) {
	for rtt, each := range map[time.Duration]time.Duration{500 * time.Millisecond: time.Second, time.Second: time.Second, 3 * time.Second: 3 * time.Second} {
		for _, arrival := range []float64{0, 0.5, 1} {
			for _, ahead := range []time.Duration{0, 300 * time.Millisecond} {
				t.Run(fmt.Sprint(rtt, " ", arrival, " ", ahead), func(t *testing.T) {
					s := &server{limit: 10, window: time.Second, rtt: rtt, arrival: arrival, ahead: ahead}
					r := callers{calls: 300, goroutines: 100}.run(t, s)
					t.Logf("%d 429s, %.3f", r.refused, r.ratio(300, each))
					assert.LessOrEqual(t, r.ratio(300, each), 1.3)
					assert.LessOrEqual(t, r.mostRefused(), 1)
				})
			}
		}
	}
}

func TestProgramsWithoutABudgetShareALimit(t *testing.T) {
	for _, goroutines := range []int{16 * 10, 16 * 50} {
		t.Run(fmt.Sprint(goroutines), func(t *testing.T) {
			s := tenSeconds(100)
			r := callers{calls: 2000, goroutines: goroutines, programs: 16}.run(t, s)
			t.Logf("%d 429s, %.3f; by window %v", r.refused, r.ratio(2000, s.window), s.windows)
			assert.LessOrEqual(t, r.refused, 300)
			assert.LessOrEqual(t, r.ratio(2000, s.window), 1.10)
		})
	}
}

// A service may send no headers, not even when it refuses: its refusals alone show
// what its limit is.
func TestALimitIsFoundWithoutHeaders(t *testing.T) {
	s := tenSeconds(20)
	s.fault = func(_ int, header http.Header) int { clear(header); return 0 }
	s.hidden = true
	r := callers{calls: 400, goroutines: 200}.run(t, s)
	t.Logf("%d 429s, at most %d a window, %.3f", r.refused, r.mostRefused(), r.ratio(400, s.window))
	for _, w := range s.windows[1:] {
		assert.LessOrEqual(t, w.refused, 2*s.limit)
	}
	assert.LessOrEqual(t, r.ratio(400, s.window), 1.5)
}
