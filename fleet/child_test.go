package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// child is the work of a separate process, which can be killed: it works on a run. It is the test
// binary, started with this as JSON in childEnv.
type child struct {
	Source   string
	Run      string
	URL      string // of the service
	Workers  int
	Timeout  time.Duration // of an attempt
	Attempts int           // of a call
	Service  time.Duration
	Wait     time.Duration
	Record   time.Duration
	Account  string        // whose rate limit is shared through the store; empty is none
	Share    float64       // of that limit
	MaxWait  time.Duration // for that limit
	Add      int           // changes it adds to the run before
	For      time.Duration // after which it stops by itself; 0 is never
	Call     string        // what it does instead of working on the run: add, for example
	Fail     string        // failpoint at which it kills itself; empty is none
	FailAt   int           // which time it comes there, from 1
	Memory   string        // file for the time of adding, and the process's peak of memory
}

const childEnv = "FLEET_TEST_CHILD"

// patience is how long a test waits for what has to come. A machine that is busy with other things takes minutes for what
// takes seconds.
const patience = 15 * time.Minute

func TestMain(m *testing.M) {
	given := os.Getenv(childEnv)
	switch {
	case os.Getenv(readmeEnv) != "":
		readme()
		return
	case given == "":
		os.Exit(m.Run())
	}
	var c child
	err := json.Unmarshal([]byte(given), &c)
	if err == nil {
		err = c.work()
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

// work works on the run, and drains on SIGTERM. A restarting Postgres may be down when it begins.
func (c child) work() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fleet.SetTimes(c.Wait, c.Record)
	if c.Fail != "" {
		var times atomic.Int64
		fleet.SetFailpoint(func(name string) {
			if name == c.Fail && times.Add(1) == int64(c.FailAt) {
				killSelf()
			}
		})
	}
	var err error
	for range 100 {
		if err = c.run(ctx); err == nil || ctx.Err() != nil || c.Call == "patch" || errors.As(err, new(*fleet.StoppedError)) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// killSelf ends the process as kill -9 does.
func killSelf() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {}
}

func (c child) run(ctx context.Context) error {
	store, err := fleet.Open(ctx, c.Source)
	if err != nil {
		return err
	}
	defer store.Close()
	if c.Call != "" {
		return c.call(ctx, store)
	}
	began := time.Now()
	if c.Add > 0 {
		if _, err := store.Add(ctx, c.Run, renames(c.Add), fleet.AddOptions{}); err != nil {
			return err
		}
	}
	adding := time.Since(began).Round(time.Millisecond)
	if c.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.For)
		defer cancel()
	}
	err = store.Run(ctx, c.Run, c.options(store))
	if c.Memory != "" {
		status, _ := os.ReadFile("/proc/self/status")
		_, peak, _ := strings.Cut(string(status), "VmHWM:")
		peak, _, _ = strings.Cut(peak, "\n")
		return os.WriteFile(c.Memory, fmt.Appendf(nil, "added %d in %v; peak memory %s; ended with %v", c.Add, adding, strings.TrimSpace(peak), err), 0o600)
	}
	return err
}

// call does something else than Run.
func (c child) call(ctx context.Context, store *fleet.Store) (err error) {
	switch c.Call {
	case "add":
		_, err = store.Add(ctx, c.Run, renames(3), fleet.AddOptions{})
	case "retry":
		_, err = store.Retry(ctx, c.Run, nil, fleet.StateNotApplied)
	case "again":
		_, err = store.Again(ctx, c.Run)
	case "delete":
		err = store.Delete(ctx, c.Run)
	case "label":
		err = store.SetLabel(ctx, c.Run, "new")
	case "note":
		err = store.UpdateNote(ctx, c.Run, "note", func([]byte) ([]byte, error) { return []byte("new"), nil })
	case "budget":
		err = store.Update(ctx, "key", func([]byte, time.Time) ([]byte, time.Duration, error) { return []byte("new"), time.Hour, nil })
	case "patch":
		err = c.patch(store)
	}
	return err
}

// patch patches a token without a run: each worker once, and again until the time is over.
func (c child) patch(store *fleet.Store) error {
	options := c.options(store)
	options.Client.Logger = options.Logger
	client, err := tokenpatch.NewClient(options.Client)
	if err != nil {
		return err
	}
	began := time.Now()
	var callers errgroup.Group
	var mu sync.Mutex
	var calls int
	var longest time.Duration
	for range c.Workers {
		callers.Go(func() error {
			for {
				called := time.Now()
				if _, err := client.V2.PatchToken(context.Background(), "token-0", tokenpatch.NewPatch().SetName("new")); err != nil {
					return err
				}
				mu.Lock()
				calls++
				longest = max(longest, time.Since(called))
				mu.Unlock()
				if time.Since(began) >= c.For {
					return nil
				}
			}
		})
	}
	err = callers.Wait()
	if c.For > 0 {
		fmt.Printf("%d calls, the longest took %v\n", calls, longest.Round(time.Millisecond))
	}
	return err
}

func (c child) options(store *fleet.Store) fleet.Options {
	level := slog.LevelError + 1
	if os.Getenv("FLEET_TEST_LOG") != "" {
		level = slog.LevelWarn
	}
	options := fleet.Options{
		Workers: c.Workers, ServiceTime: c.Service,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
		Client: tokenpatch.Config{
			HTTPClient: &http.Client{Timeout: c.Timeout},
			Retry: tokenpatch.RetryPolicy{
				MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond, MaxAttempts: c.Attempts, MaxRateLimitWait: c.MaxWait,
			},
			V1: tokenpatch.V1Config{BaseURL: c.URL, APIKey: tokenpatchtest.APIKey},
			V2: tokenpatch.V2Config{BaseURL: c.URL, AccessToken: tokenpatchtest.AccessToken, Share: c.Share},
		},
	}
	if c.Account != "" {
		options.Client.Budget, options.Client.V1.Account, options.Client.V2.Account = store, c.Account, c.Account
	}
	return options
}

// process is a running child.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // once it has ended
}

func start(t testing.TB, c child) *process {
	t.Helper()
	given, err := json.Marshal(c)
	require.NoError(t, err)
	p := &process{cmd: exec.Command(os.Args[0]), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(given))
	p.cmd.Stdout, p.cmd.Stderr = os.Stdout, os.Stderr
	p.cmd.SysProcAttr = endWithParent()
	require.NoError(t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p
}

// killAfter kills the process after a while, and reports false if it had ended before by itself.
func (p *process) killAfter(t testing.TB, d time.Duration) bool {
	t.Helper()
	select {
	case <-p.ended:
		require.NoError(t, p.err)
		return false
	case <-time.After(d):
		require.NoError(t, p.cmd.Process.Kill())
		<-p.ended
		return true
	}
}

// killed waits until the process has been killed, and reports false if it ended by
// itself.
func (p *process) killed(t testing.TB) bool {
	t.Helper()
	select {
	case <-p.ended:
		var exit *exec.ExitError
		return errors.As(p.err, &exit) && exit.ExitCode() == -1
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		require.FailNow(t, "the process did not end")
		return false
	}
}

// wait waits until the process has ended by itself.
func (p *process) wait(t testing.TB) {
	t.Helper()
	select {
	case <-p.ended:
		require.NoError(t, p.err)
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		require.FailNow(t, "the run did not end", "within %v", patience)
	}
}
