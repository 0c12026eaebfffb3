package fleet_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// patches counts the writing requests.
func (b *bench) patches() (n int) {
	for _, request := range b.service.Requests() {
		if request.Method == http.MethodPatch {
			n++
		}
	}
	return n
}

// A worker delayed between recording an attempt and sending it does not send it: another one may
// have done so by now. A stopped process cannot see this on a wall clock that was set back, and a
// sleeping machine cannot on the monotonic one.
func TestAnAttemptThatWasHeldUpIsNotSent(t *testing.T) {
	var offset atomic.Int64
	for name, heldUp := range map[string]func(){
		"the wall clock was set back": func() { time.Sleep(400 * time.Millisecond); offset.Add(-int64(time.Hour)) },
		"the machine slept":           func() { offset.Add(int64(time.Hour)) },
	} {
		t.Run(name, func(t *testing.T) {
			offset.Store(0)
			defer fleet.SetWallClock(func() time.Time { return time.Now().Round(0).Add(time.Duration(offset.Load())) })()
			b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
			b.options.Client.HTTPClient.Timeout = 300 * time.Millisecond
			b.add("run", fleet.Change{ID: b.token("a"), Patch: tokenpatch.NewPatch().AddCustomRoleID("second")})
			w := b.watch()
			var once atomic.Bool
			defer fleet.SetFailpoint(func(at string) {
				if at == "before sending" && once.CompareAndSwap(false, true) {
					heldUp()
				}
			})()
			require.NoError(t, b.runWatched("run"))
			require.Equal(t, []fleet.State{fleet.StatePending, fleet.StateApplied}, w.of("a"))
			require.ErrorContains(t, w.ended[0].Err, "held up for too long")
			assert.Zero(t, w.ended[0].Attempts)
			assert.Equal(t, 1, b.patches())
			assert.Equal(t, 1, b.results("run")["a"].Attempts)
		})
	}
}

// A change with a request of a killed process is not taken over while the request may still be
// sent, be on its way or be applied.
func TestTheQuietTimeIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := newScene(t, filepath.Join(t.TempDir(), "run.db"), 1, "append")
	s.child.Timeout, s.child.Service = 4*time.Second, 2*time.Second
	const quiet = 4*time.Second + 4*time.Second + 2*time.Second // to send it, for the attempt, and for the service
	s.service.Inject(tokenpatchtest.Fault{Match: func(r *http.Request) bool { return r.Method == http.MethodPatch }, Late: time.Second})
	s.child.Fail, s.child.FailAt = "after sending", 1
	require.True(t, start(t, s.child).killed(t))
	before := s.service.RequestCount()
	s.child.Fail = ""
	start(t, s.child).wait(t)
	s.judgeAllApplied(t, "")

	db, err := sql.Open("sqlite", s.child.Source)
	require.NoError(t, err)
	defer db.Close()
	var written int64
	require.NoError(t, db.QueryRow("SELECT started FROM fleet_attempt").Scan(&written))
	first := s.service.Requests()[before]
	assert.GreaterOrEqual(t, first.Time.Sub(time.UnixMicro(written)), quiet-10*time.Millisecond, "%s %s", first.Method, first.Path)
}

// What was overtaken before a restart may have been applied all the same.
func TestWhatWasOvertakenIsNotForgotten(t *testing.T) {
	t.Parallel()
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.options.Client.HTTPClient.Timeout = 2 * time.Second
	b.options.Client.Retry.MaxAttempts = 1
	b.options.ServiceTime = 100 * time.Millisecond
	b.add("run", rename(b.token("a"), "new"))
	b.service.Inject(
		tokenpatchtest.Fault{Match: isPatch("a"), Cut: tokenpatchtest.CutAfter},
		tokenpatchtest.Fault{Match: func(r *http.Request) bool { // the settling read
			return b.service.Changes("a") == 1 && assert.NoError(t, b.service.AddV2(`{"_id": "a", "name": "theirs"}`))
		}},
		tokenpatchtest.Fault{Match: isPatch("a"), Status: http.StatusConflict},
		tokenpatchtest.Fault{Match: isPatch("a"), Times: -1, Status: http.StatusForbidden},
	)
	ctx, cancel := context.WithCancel(context.Background())
	b.options.Hooks.ChangeEnd = func(_ context.Context, change fleet.ChangeResult) {
		if change.ErrType == "ConflictError" {
			cancel()
		}
	}
	require.ErrorIs(t, b.store.Run(ctx, "run", b.options), context.Canceled)
	require.NoError(t, b.store.Close())
	b.store = open(t, b.source)
	require.NoError(t, b.run("run"))
	result := b.results("run")["a"]
	assert.Equal(t, "ForbiddenError", result.ErrType)
	assert.Equal(t, fleet.StateUnknown, result.State)
}

// A commit waits until the disk has it.
func TestSQLiteWaitsForTheDisk(t *testing.T) {
	value, err := fleet.SQLiteSetting(open(t, filepath.Join(t.TempDir(), "run.db")), "synchronous")
	require.NoError(t, err)
	assert.Equal(t, "2", value, "FULL, by https://sqlite.org/pragma.html#pragma_synchronous")
}

// Five refusals in a row stop a run, and neither four nor eight with another response
// in between.
func TestHowManyRefusalsStopARun(t *testing.T) {
	refused := tokenpatchtest.Fault{Times: 4, Status: http.StatusUnauthorized}
	for name, c := range map[string]struct {
		faults   []tokenpatchtest.Fault
		requests int // 0 if the run does not stop
	}{
		"four":          {faults: []tokenpatchtest.Fault{refused}},
		"five":          {faults: []tokenpatchtest.Fault{{Times: 5, Status: http.StatusUnauthorized}}, requests: 5},
		"four and four": {faults: []tokenpatchtest.Fault{refused, {Status: http.StatusForbidden}, refused}},
		"eight":         {faults: []tokenpatchtest.Fault{refused, refused}, requests: 5},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
			b.options.Workers = 1
			for i := range 12 {
				b.add("run", rename(b.token(fmt.Sprint("token-", i)), "new"))
			}
			b.service.Inject(c.faults...)
			err := b.run("run")
			if c.requests == 0 {
				require.NoError(t, err)
				return
			}
			require.ErrorAs(t, err, new(*fleet.StoppedError))
			assert.Equal(t, c.requests, b.service.RequestCount())
		})
	}
}

// A stopping run sends no other attempt of a call.
func TestADrainSendsNoOtherAttempt(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.options.Client.Retry = tokenpatch.RetryPolicy{MinBackoff: 200 * time.Millisecond, MaxBackoff: 200 * time.Millisecond, MaxAttempts: 5}
	b.add("run", fleet.Change{ID: b.token("a"), Patch: tokenpatch.NewPatch().SetName("new")})
	b.service.Inject(tokenpatchtest.Fault{Match: isPatch("a"), Times: -1, Status: http.StatusServiceUnavailable})
	ctx, cancel := context.WithCancel(context.Background())
	b.options.Client.Hooks.AttemptEnd = func(_ context.Context, attempt tokenpatch.AttemptResult) {
		if attempt.Method == http.MethodPatch {
			cancel()
		}
	}
	require.ErrorIs(t, b.store.Run(ctx, "run", b.options), context.Canceled)
	assert.Equal(t, 1, b.patches())
}

// A file deleted while an attempt is written to it holds no attempt.
func TestAFileThatIsDeletedDuringACommit(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.add("run", rename(b.token("a"), "new"))
	defer fleet.SetFailpoint(func(at string) {
		if at == "writing down" {
			assert.NoError(t, os.Remove(b.source))
		}
	})()
	require.ErrorContains(t, b.run("run"), "deleted or replaced")
	assert.Zero(t, b.patches())
}

// When a run stops by itself in one process, it stops in the others.
func TestARunStopsInAllProcesses(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, source string) {
		b := newBench(t, source)
		for i := range 200 {
			b.add("run", rename(b.token(fmt.Sprint("token-", i)), "new"))
		}
		b.service.SetLatency(100 * time.Millisecond)
		other, options := open(t, source), b.options
		options.Workers = 1
		began, ended := make(chan struct{}), make(chan error)
		var once atomic.Bool
		options.Hooks.ChangeEnd = func(context.Context, fleet.ChangeResult) {
			if once.CompareAndSwap(false, true) {
				close(began)
			}
		}
		go func() { ended <- other.Run(context.Background(), "run", options) }()
		<-began
		b.options.Client.V2.AccessToken = "refused"
		var here, there *fleet.StoppedError
		require.ErrorAs(t, b.run("run"), &here)
		require.ErrorAs(t, <-ended, &there)
		assert.Equal(t, here, there)
		assert.Positive(t, b.progress("run").Pending)
	})
}

// A call that waits for the rate limit longer than a worker may is ended, and sends nothing.
func TestALateCallIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer fleet.SetTimes(300*time.Millisecond, time.Second)()
		b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
		const other = "6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a12"
		for _, id := range []string{uuidV1, other} {
			require.NoError(t, b.service.AddV1(fmt.Sprintf(`{"id": %q, "name": "old"}`, id)))
			b.add("run", renameV1(id, "new"))
		}
		b.service.SetLimits(tokenpatchtest.V1, tokenpatchtest.Limits{Window: time.Minute, Global: 1, Floating: true})
		b.options.Client.HTTPClient.Timeout = 2 * time.Minute // otherwise the limiter refuses the call at once
		b.options.Workers = 1
		ctx, cancel := context.WithCancel(context.Background())
		var late fleet.ChangeResult
		b.options.Hooks.ChangeEnd = func(_ context.Context, change fleet.ChangeResult) {
			if change.State == fleet.StatePending {
				late = change
				cancel()
			}
		}
		require.ErrorIs(t, b.store.Run(ctx, "run", b.options), context.Canceled)
		require.ErrorContains(t, late.Err, "the try has taken too long")
		assert.Less(t, late.Duration, time.Second, "it did not wait for the next window")
		assert.Equal(t, 1, b.service.RequestCount())
	})
}
