package tokenpatchredis_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchredis"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// job is what a process of the test does: so many calls, or calls for a time.
type job struct {
	BaseURL, Redis    string
	Account           string
	Goroutines, Calls int
	For               time.Duration
	Share             float64
	MaxWait           time.Duration // for the rate limit
	Refuse            bool          // Redis refuses every other command
}

// tally is the result.
type tally struct {
	Calls, Failed, Updates, Tries int64
	Longest                       time.Duration // of the calls
}

const jobVariable = "TOKENPATCHREDIS_TEST_JOB"

// TestMain makes the test's binary the program of the processes too.
func TestMain(m *testing.M) {
	text := os.Getenv(jobVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		panic(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(j.run()); err != nil {
		panic(err)
	}
}

func (j job) run() tally {
	var y tally
	c := redis.NewClient(&redis.Options{Addr: j.Redis})
	defer c.Close()
	if j.Refuse {
		c.AddHook(new(refusing))
	}
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V2:     tokenpatch.V2Config{BaseURL: j.BaseURL, AccessToken: tokenpatchtest.AccessToken, Account: j.Account, Share: j.Share},
		Retry:  tokenpatch.RetryPolicy{MaxRateLimitWait: j.MaxWait},
		Budget: &counting{budget: tokenpatchredis.New(c), y: &y},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		panic(err)
	}
	began := time.Now()
	var begun atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range j.Goroutines {
		wg.Go(func() {
			for j.For > 0 && time.Since(began) < j.For || begun.Add(1) <= int64(j.Calls) {
				called := time.Now()
				_, err := client.V2.PatchToken(context.Background(), tokenID, tokenpatch.NewPatch().SetName("ci"))
				mu.Lock()
				y.Longest = max(y.Longest, time.Since(called))
				mu.Unlock()
				atomic.AddInt64(&y.Calls, 1)
				if err != nil {
					_, _ = io.WriteString(os.Stderr, err.Error()+"\n")
					atomic.AddInt64(&y.Failed, 1)
				}
			}
		})
	}
	wg.Wait()
	// The limiter may still be asking the store.
	return tally{y.Calls, y.Failed, atomic.LoadInt64(&y.Updates), atomic.LoadInt64(&y.Tries), y.Longest}
}

// counting counts the updates, and the calls of what they are given.
type counting struct {
	budget tokenpatch.Budget
	y      *tally
}

func (c *counting) Update(ctx context.Context, key string, f func([]byte, time.Time) ([]byte, time.Duration, error)) error {
	atomic.AddInt64(&c.y.Updates, 1)
	return c.budget.Update(ctx, key, func(state []byte, now time.Time) ([]byte, time.Duration, error) {
		atomic.AddInt64(&c.y.Tries, 1)
		return f(state, now)
	})
}

// refusing is a hook to refuse every other command.
type refusing struct{ n atomic.Int64 }

var errRefused = errors.New("ERR refused")

func (r *refusing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *refusing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if r.n.Add(1)%2 == 0 {
			cmd.SetErr(errRefused)
			return errRefused
		}
		return next(ctx, cmd)
	}
}

func (r *refusing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		if r.n.Add(1)%2 == 0 {
			return errRefused
		}
		return next(ctx, commands)
	}
}

const (
	tokenID = "61095542756dba551110ae21"
	token   = `{"_id": "` + tokenID + `", "ownerId": "569f514156e003339cfd3917", "memberId": "569f514183f2164430000002",
		"name": "ci", "creationDate": 1628001602644, "lastModified": 1628001602644, "_links": {}}`
	limit = 100 // a second
)

// account is a service with a limit, and processes with a shared budget.
type account struct {
	t       *testing.T
	service *tokenpatchtest.Service
	job     job
}

func newAccount(t *testing.T, address string) *account {
	t.Helper()
	return newAccountWith(t, address, tokenpatchtest.Limits{Window: time.Second, Route: limit})
}

func newAccountWith(t *testing.T, address string, limits tokenpatchtest.Limits) *account {
	t.Helper()
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	require.NoError(t, service.AddV2(token))
	service.SetLatency(50 * time.Millisecond)
	service.SetLimits(tokenpatchtest.V2, limits)
	baseURL, err := service.Listen()
	require.NoError(t, err)
	return &account{t, service, job{BaseURL: baseURL, Redis: address, Account: t.Name() + strconv.FormatInt(time.Now().UnixNano(), 10)}}
}

// start starts a process. What it returns waits for its end; kill ends it at once.
func (a *account) start(j job) (wait func() tally, kill func()) {
	a.t.Helper()
	text, err := json.Marshal(j)
	require.NoError(a.t, err)
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), jobVariable+"="+string(text))
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	require.NoError(a.t, err)
	require.NoError(a.t, command.Start())
	wait = func() (y tally) {
		assert.NoError(a.t, json.NewDecoder(out).Decode(&y))
		assert.NoError(a.t, command.Wait())
		return y
	}
	return wait, func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}
}

// run runs so many processes to their end.
func (a *account) run(processes int, j job) (sum tally) {
	a.t.Helper()
	var waits []func() tally
	for range processes {
		wait, _ := a.start(j)
		waits = append(waits, wait)
	}
	for _, wait := range waits {
		y := wait()
		sum.Calls += y.Calls
		sum.Failed += y.Failed
		sum.Updates += y.Updates
		sum.Tries += y.Tries
	}
	return sum
}

// report logs what the service saw, the first and the last window aside. How
// well the budget is used in real time depends on the machine: what has to hold
// is tested in virtual time, in internal/ratelimit.
func (a *account) report() {
	a.t.Helper()
	windows := a.service.Windows(tokenpatchtest.V2)
	require.Greater(a.t, len(windows), 1)
	refused, most, admitted := 0, 0, 0
	for i, w := range windows {
		refused += w.Refused
		most = max(most, w.Refused)
		if i > 0 && i < len(windows)-1 {
			admitted += w.Admitted
		}
	}
	span := windows[len(windows)-1].Start.Sub(windows[0].Start)/time.Second - 1
	used := float64(admitted) / float64(limit*max(1, int(span)))
	a.t.Logf("%d windows, %.3f of what they admit used (%.3f of the least time), %d 429s, at most %d a window", len(windows), used, 1/used, refused, most)
}

func seconds(t *testing.T) time.Duration {
	t.Helper()
	if testing.Short() {
		return 3 * time.Second
	}
	return 12 * time.Second
}

func TestProcessesShareABudget(t *testing.T) {
	t.Parallel()
	for processes, goroutines := range map[int]int{4: 50, 64: 10} {
		t.Run(strconv.Itoa(processes), func(t *testing.T) {
			t.Parallel()
			if testing.Short() && processes > 4 {
				t.Skip("64 processes")
			}
			a := newAccount(t, redisServer(t))
			a.job.Goroutines, a.job.For = goroutines, seconds(t)
			y := a.run(processes, a.job)
			a.report()
			t.Logf("%.2f updates a call, %.2f calls of f", float64(y.Updates)/float64(y.Calls), float64(y.Tries)/float64(y.Calls))
			assert.Positive(t, y.Calls)
			assert.Zero(t, y.Failed)
		})
	}
}

// The permits of a killed process are lost until the window ends.
func TestKilledProcesses(t *testing.T) {
	t.Parallel()
	a := newAccount(t, redisServer(t))
	a.job.Goroutines, a.job.For = 50, seconds(t)
	var waits []func() tally
	for range 3 {
		wait, _ := a.start(a.job)
		waits = append(waits, wait)
	}
	for began := time.Now(); time.Since(began) < a.job.For; {
		_, kill := a.start(a.job)
		time.Sleep(time.Second)
		kill()
	}
	for _, wait := range waits {
		assert.Zero(t, wait().Failed)
	}
	a.report()
}

func TestRedisStopsAndStarts(t *testing.T) {
	t.Parallel()
	redisServer := newServer(t)
	redisServer.start(t)
	a := newAccount(t, redisServer.address)
	a.job.Goroutines, a.job.For = 50, seconds(t)
	done := make(chan tally)
	go func() { done <- a.run(4, a.job) }()
	time.Sleep(a.job.For / 3)
	redisServer.stop()
	time.Sleep(a.job.For / 3)
	redisServer.start(t)
	assert.Zero(t, (<-done).Failed)
	a.report()
}

// slowly forwards connections to an address, and holds back what comes from it.
func slowly(t *testing.T, address string, delay time.Duration) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", address)
			if err != nil {
				_ = near.Close()
				continue
			}
			go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
			go func() {
				defer near.Close()
				buffer := make([]byte, 64<<10)
				for {
					n, err := far.Read(buffer)
					if err != nil {
						return
					}
					time.Sleep(delay)
					if _, err := near.Write(buffer[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String()
}

func TestARedisInTrouble(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*job){
		"slow":                        func(j *job) { j.Redis = slowly(t, j.Redis, 500*time.Millisecond) },
		"refuses every other command": func(j *job) { j.Refuse = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, redisServer(t))
			a.job.Goroutines, a.job.For = 50, seconds(t)
			change(&a.job)
			y := a.run(4, a.job)
			a.report()
			assert.Zero(t, y.Failed)
		})
	}
}

var measure = flag.Bool("measure", false, "measure in real time how well processes share a limit of 100 in ten seconds; takes some minutes")

// TestMeasureSharing prints, for windows of ten seconds, what the service saw. What has to hold is tested in virtual time.
func TestMeasureSharing(t *testing.T) {
	if !*measure {
		t.Skip("without -measure")
	}
	ten := tokenpatchtest.Limits{Window: 10 * time.Second, Route: limit}
	for processes, goroutines := range map[int]int{4: 50, 16: 50, 64: 10} {
		t.Run(strconv.Itoa(processes)+" processes", func(t *testing.T) {
			a := newAccountWith(t, redisServer(t), ten)
			a.job.Goroutines, a.job.For = goroutines, 60*time.Second
			y := a.run(processes, a.job)
			a.print()
			t.Logf("%.2f updates a call, %d failed", float64(y.Updates)/float64(y.Calls), y.Failed)
		})
	}
	t.Run("four programs, ten minutes", func(t *testing.T) {
		a := newAccountWith(t, redisServer(t), ten)
		a.job.Goroutines, a.job.For = 50, 10*time.Minute
		a.together(make([]job, 4)...)
	})
	t.Run("different settings", func(t *testing.T) {
		a := newAccountWith(t, redisServer(t), ten)
		a.job.Goroutines, a.job.For = 50, time.Minute
		a.together(job{}, job{MaxWait: time.Minute}, job{MaxWait: math.MaxInt64}, job{Share: 0.5}, job{Goroutines: 1, Share: 0.01, MaxWait: 20 * time.Second})
	})
	t.Run("400 processes of one call", func(t *testing.T) {
		a := newAccountWith(t, redisServer(t), tokenpatchtest.Limits{Window: 10 * time.Second, Route: 40})
		a.job.Goroutines, a.job.Calls = 1, 1
		began := time.Now()
		for range 400 {
			assert.Zero(t, a.run(1, a.job).Failed)
		}
		a.print()
		t.Log(time.Since(began))
	})
	t.Run("one killed each second", func(t *testing.T) {
		a := newAccountWith(t, redisServer(t), ten)
		a.job.Goroutines, a.job.For = 50, 60*time.Second
		wait, _ := a.start(a.job)
		for began := time.Now(); time.Since(began) < a.job.For; {
			_, kill := a.start(a.job)
			time.Sleep(time.Second)
			kill()
		}
		assert.Zero(t, wait().Failed)
		a.print()
	})
}

// together runs a process with each of the settings, and logs what each had.
func (a *account) together(settings ...job) {
	var waits []func() tally
	for _, s := range settings {
		j := a.job
		j.Goroutines, j.Share, j.MaxWait = cmp.Or(s.Goroutines, j.Goroutines), s.Share, s.MaxWait
		wait, _ := a.start(j)
		waits = append(waits, wait)
	}
	for _, wait := range waits {
		y := wait()
		a.t.Logf("%d calls, %d failed, the longest took %v", y.Calls, y.Failed, y.Longest.Round(time.Millisecond))
	}
	a.print()
}

// print logs each window that the service saw.
func (a *account) print() {
	for _, w := range a.service.Windows(tokenpatchtest.V2) {
		a.t.Logf("%s: %d admitted, %d refused", w.Start.Format(time.TimeOnly), w.Admitted, w.Refused)
	}
}
