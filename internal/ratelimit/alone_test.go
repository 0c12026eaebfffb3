package ratelimit_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Each test of this file tries a few random cases. With -samples it tries more.
var samples = flag.Int("samples", 1, "how many times as many random cases are tried")

// figures are the worst of several runs.
type figures struct {
	runs, refused, most, failed int // most is the most responses with 429 in a run
	windows                     int
	ratio                       float64
	silence                     time.Duration
}

func (f *figures) add(r result) {
	f.runs++
	f.refused += r.service.refused
	f.most = max(f.most, r.service.refused)
	f.failed += r.failed
	f.windows += int(r.took/windowLength) + 1
	f.ratio = max(f.ratio, r.ratio())
	f.silence = max(f.silence, r.silence)
}

func (f figures) String() string {
	return fmt.Sprintf("%d runs, %d windows, %d responses with 429, at most %d in a run, at most %.4f of the least time, silence at most %v", f.runs, f.windows, f.refused, f.most, f.ratio, f.silence)
}

// runs is how often a random case is run, if a whole test runs it n times: a fifth as often with -short.
func runs(n int) int {
	if testing.Short() {
		return max(1, n/5)
	}
	return n * *samples
}

// sample runs a random case n times as often as asked for.
func sample(t *testing.T, n int, run func(t *testing.T, random *rand.Rand) result) (f figures) {
	t.Helper()
	for seed := range runs(n) {
		r := run(t, rand.New(rand.NewPCG(uint64(seed), 1)))
		f.add(r)
		if r.failed > 0 || r.service.refused > 0 {
			t.Logf("seed %d: %d failed, %d responses with 429, %.4f, %v", seed, r.failed, r.service.refused, r.ratio(), r.service)
		}
	}
	t.Log(f)
	assert.Zero(t, f.failed)
	return f
}

func pick[T any](random *rand.Rand, of ...T) T { return of[random.IntN(len(of))] }

func between(random *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(random.Int64N(int64(high-low)))
}

// newService returns a service with one limit for the account, at a random moment of its window.
func newService(random *rand.Rand, limit int) *service {
	return &service{
		account: limit, rtt: 20 * time.Millisecond, jitter: random.Float64() / 2, random: random,
		ahead: between(random, -time.Hour, time.Hour),
	}
}

// windows is the work of so many windows.
func windows(n int, s *service) work {
	_, limit := s.tightest()
	return work{calls: n * limit, callers: min(2*limit, 1000)}
}

func TestLimitsAreUsedUpAndNotOverrun(t *testing.T) {
	for _, test := range []struct {
		rtt              time.Duration
		ratio, announced float64
	}{
		{20 * time.Millisecond, 1.01, 1.01},
		{300 * time.Millisecond, 1.02, 1.01},
		{time.Second, 1.05, 1.03},
	} {
		for _, announces := range []bool{false, true} {
			t.Run(fmt.Sprint(test.rtt, " ", announces), func(t *testing.T) {
				f := sample(t, 15, func(t *testing.T, random *rand.Rand) result {
					limit := pick(random, 5, 20, 100, 1000)
					s := newService(random, 0)
					s.rtt, s.announces, s.credentialPhase = test.rtt, announces, between(random, 0, windowLength)
					limits := []*int{&s.account, &s.route, &s.credential}
					random.Shuffle(len(limits), func(i, j int) { limits[i], limits[j] = limits[j], limits[i] })
					*limits[0] = limit
					for i := range random.IntN(3) {
						*limits[1+i] = 2*limit + random.IntN(10*limit)
					}
					return windows(20, s).run(t, s)
				})
				assert.Zero(t, f.refused)
				most := test.ratio
				if announces {
					most = test.announced
				}
				assert.LessOrEqual(t, f.ratio, most)
			})
		}
	}
}

// The first request also sets up the connection. Until it is answered, nothing shows how long a round trip takes.
func TestTheFirstRoundTripMayTakeLong(t *testing.T) {
	f := sample(t, 5, func(t *testing.T, random *rand.Rand) result {
		s := newService(random, 0)
		s.route, s.rtt, s.jitter = 1, between(random, time.Second, 2*time.Second), 0
		s.ahead = 3 * time.Second // the first windows do not end before it is answered
		return work{calls: 12, callers: 6, route: func(caller int) string { return []string{patchRoute, getRoute}[caller%2] }}.run(t, s)
	})
	assert.Zero(t, f.refused)
}

func TestTwoCredentialsOfOneAccount(t *testing.T) {
	f := sample(t, 5, func(t *testing.T, random *rand.Rand) result {
		s := newService(random, 100)
		s.credential, s.announces = 100, random.IntN(2) == 0
		w := windows(25, s)
		w.programs = 2
		w.credential = func(program int, _ time.Duration) string { return strconv.Itoa(program) }
		return w.run(t, s)
	})
	assert.LessOrEqual(t, f.most, 2)
	assert.LessOrEqual(t, f.ratio, 1.05)
}

func TestCredentialsRotate(t *testing.T) {
	f := sample(t, 10, func(t *testing.T, random *rand.Rand) result {
		s := newService(random, 100)
		s.credential, s.announces = pick(random, 20, 60, 200), random.IntN(2) == 0
		s.credentialPhase = between(random, 0, windowLength)
		w := windows(20, s)
		every := between(random, 20*time.Second, time.Minute)
		w.credential = func(_ int, now time.Duration) string {
			if now < every {
				return "token"
			}
			return fmt.Sprint("token", now/every)
		}
		return w.run(t, s)
	})
	assert.LessOrEqual(t, f.most, 2)
	assert.LessOrEqual(t, f.ratio, 1.05)
}

func TestLostResponses(t *testing.T) {
	for name, test := range map[string]struct {
		share float64
		nth   int
		hang  time.Duration
		never float64
	}{
		"one response lost":             {nth: 7},
		"the first response lost":       {nth: 1},
		"one in a hundred hangs":        {share: 0.01, hang: 30 * time.Second},
		"three in ten lost":             {share: 0.3},
		"three in ten never arrive":     {share: 0.3, never: 1},
		"three in ten lost, after 30 s": {share: 0.3, hang: 30 * time.Second},
	} {
		for _, announces := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " ", announces), func(t *testing.T) {
				f := sample(t, 5, func(t *testing.T, random *rand.Rand) result {
					s := newService(random, pick(random, 20, 100, 100))
					s.announces = announces
					s.fault = func(n int) (f fault) {
						if n == test.nth || random.Float64() < test.share {
							f.lose, f.hang = true, test.hang
							f.never = random.Float64() < test.never
						}
						return f
					}
					return windows(20, s).run(t, s)
				})
				assert.LessOrEqual(t, f.silence, windowLength+250*time.Millisecond)
				if test.never == 0 {
					assert.LessOrEqual(t, f.ratio, 1.15)
				}
				if announces {
					assert.Zero(t, f.refused)
				} else {
					assert.LessOrEqual(t, f.refused, f.windows/100)
				}
			})
		}
	}
}

func TestErrorsWithoutHeaders(t *testing.T) {
	for _, test := range []struct {
		share  float64
		status []int
		ratio  float64
	}{
		{0.05, []int{401, 403, 404}, 1.10},
		{0.2, []int{401, 403, 404}, 1.25},
		{0.05, []int{503}, 1.15},
	} {
		t.Run(fmt.Sprint(test.share, test.status), func(t *testing.T) {
			f := sample(t, 5, func(t *testing.T, random *rand.Rand) result {
				s := newService(random, pick(random, 20, 100))
				s.announces = random.IntN(2) == 0
				s.fault = func(int) (f fault) {
					if random.Float64() < test.share {
						f.status = pick(random, test.status...)
					}
					return f
				}
				return windows(20, s).run(t, s)
			})
			assert.Zero(t, f.refused)
			assert.LessOrEqual(t, f.ratio, test.ratio)
		})
	}
}

func TestHeadersOnHalfOfTheResponses(t *testing.T) {
	worst := 0
	f := sample(t, 5, func(t *testing.T, random *rand.Rand) result {
		s := newService(random, pick(random, 20, 100))
		s.announces = random.IntN(2) == 0
		s.fault = func(int) fault { return fault{headless: random.IntN(2) == 0} }
		r := windows(20, s).run(t, s)
		worst = max(worst, r.mostRefused())
		return r
	})
	assert.LessOrEqual(t, worst, 1)
	assert.LessOrEqual(t, f.ratio, 1.15)
}

func TestClocks(t *testing.T) {
	date := func(off time.Duration) func(time.Time) string {
		return func(now time.Time) string { return now.Add(off).UTC().Format(http.TimeFormat) }
	}
	for name, test := range map[string]struct {
		ahead   []time.Duration
		date    []func(time.Time) string
		refused int
		ratio   float64
	}{
		"the server's clock is far off": {ahead: []time.Duration{25 * time.Hour, -25 * time.Hour, 400 * 24 * time.Hour, -400 * 24 * time.Hour}, ratio: 1.02},
		"Date is missing, or far off": {refused: 20, ratio: 1.15, date: []func(time.Time) string{
			func(time.Time) string { return "" }, date(10 * time.Second), date(-10 * time.Second), date(6 * time.Minute), date(-6 * time.Minute),
		}},
		"Date is 1 to 9 s ahead": {refused: 1, ratio: 1.06, date: []func(time.Time) string{
			date(time.Second), date(2 * time.Second), date(4 * time.Second), date(7 * time.Second), date(9 * time.Second),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := sample(t, 10, func(t *testing.T, random *rand.Rand) result {
				s := newService(random, pick(random, 5, 20, 100))
				s.announces = random.IntN(2) == 0
				if test.ahead != nil {
					s.ahead += pick(random, test.ahead...)
				}
				if test.date != nil {
					s.date = pick(random, test.date...)
				}
				return windows(20, s).run(t, s)
			})
			assert.LessOrEqual(t, f.most, test.refused)
			assert.LessOrEqual(t, f.ratio, test.ratio)
		})
	}
}

func TestProgramsThatDoNotKnowOfEachOther(t *testing.T) {
	for programs, refused := range map[int]int{4: 30, 16: 250} {
		t.Run(strconv.Itoa(programs), func(t *testing.T) {
			f := sample(t, 5, func(t *testing.T, random *rand.Rand) result {
				s := newService(random, 100)
				s.announces = random.IntN(2) == 0
				return work{calls: 2500, callers: 50 * programs, programs: programs}.run(t, s)
			})
			assert.LessOrEqual(t, f.most, refused)
			assert.LessOrEqual(t, f.ratio, 1.06)
		})
	}
}

func TestHiddenLimit(t *testing.T) {
	retryAfter := func(header http.Header, left time.Duration) {
		header.Set("Retry-After", strconv.Itoa(int((left+time.Second-1)/time.Second)))
	}
	for name, test := range map[string]struct {
		account int
		refusal func(http.Header, time.Duration)
	}{
		"Retry-After":                   {refusal: retryAfter},
		"nothing":                       {},
		"headers that say much is left": {account: 10_000},
		"the same, and Retry-After":     {account: 10_000, refusal: retryAfter},
	} {
		for _, limit := range []int{50, 100} {
			for callers, ratio := range map[int]float64{
				1:   1.25, // a few calls that a refusal held up may need a window of their own
				10:  1.1,
				100: 1.1,
			} {
				t.Run(fmt.Sprint(name, " ", limit, " ", callers), func(t *testing.T) {
					f := sample(t, 2, func(t *testing.T, random *rand.Rand) result {
						s := newService(random, test.account)
						s.hidden, s.refusal = limit, test.refusal
						s.ahead = s.ahead.Truncate(windowLength) + between(random, 0, windowLength/2)
						return work{calls: 1000, callers: callers}.run(t, s)
					})
					assert.LessOrEqual(t, f.most, 60)
					assert.LessOrEqual(t, f.ratio, ratio)
				})
			}
		}
	}
}
