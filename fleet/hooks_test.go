package fleet_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

type (
	ofRun    struct{} // key of a text in Run's context
	ofChange struct{} // key of the change in ChangeStart's context
)

// watched is what hooks were told.
type watched struct {
	mu       sync.Mutex
	began    []fleet.ChangeInfo
	ended    []fleet.ChangeResult
	progress []fleet.Progress
	calls    map[fleet.ChangeInfo]int // of the client, by the change in their context
}

// watch sets hooks with a record, and returns it.
func (b *bench) watch() *watched {
	w := &watched{calls: make(map[fleet.ChangeInfo]int)}
	b.options.Hooks = fleet.Hooks{
		ChangeStart: func(ctx context.Context, change fleet.ChangeInfo) context.Context {
			assert.Equal(b, "mine", ctx.Value(ofRun{}), "the values of Run's context")
			w.mu.Lock()
			defer w.mu.Unlock()
			w.began = append(w.began, change)
			return context.WithValue(ctx, ofChange{}, change)
		},
		ChangeEnd: func(ctx context.Context, change fleet.ChangeResult) {
			assert.Equal(b, change.ChangeInfo, ctx.Value(ofChange{}))
			if change.State != fleet.StatePending {
				assert.Equal(b, change.State, b.results(change.Run)[change.Token].State, "it is written down already")
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.ended = append(w.ended, change)
		},
		Progress: func(ctx context.Context, p fleet.Progress) {
			assert.Equal(b, "mine", ctx.Value(ofRun{}))
			assert.NoError(b, ctx.Err())
			w.mu.Lock()
			defer w.mu.Unlock()
			w.progress = append(w.progress, p)
		},
	}
	b.options.Client.Hooks.CallStart = func(ctx context.Context, call tokenpatch.CallInfo) context.Context {
		if call.TokenID == "" { // the custom roles of the account
			return nil
		}
		change, _ := ctx.Value(ofChange{}).(fleet.ChangeInfo)
		assert.Equal(b, call.TokenID, change.Token)
		assert.Equal(b, call.API, change.API)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.calls[change]++
		return nil
	}
	return w
}

// runWatched works on a run, with a value in the context.
func (b *bench) runWatched(run string) error {
	return b.runWith(context.WithValue(context.Background(), ofRun{}, "mine"), run)
}

// of returns the states of the tries of a change.
func (w *watched) of(token string) (states []fleet.State) {
	for _, change := range w.ended {
		if change.Token == token {
			states = append(states, change.State)
		}
	}
	return states
}

// last is what the last try of a change came to.
func (w *watched) last(token string) (last fleet.ChangeResult) {
	for _, change := range w.ended {
		if change.Token == token {
			last = change
		}
	}
	return last
}

func TestHooksTellWhatIsWrittenDown(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		b := newBench(t, source)
		b.addOneOfEach()
		w := b.watch()
		require.NoError(t, b.runWatched("run"))
		results := b.results("run")
		require.Len(t, w.ended, len(results))
		for id, result := range results {
			told := w.last(id)
			api := "V2"
			if id == uuidV1 {
				api = "V1"
			}
			assert.Equal(t, fleet.ChangeInfo{Run: "run", API: api, Token: id}, told.ChangeInfo)
			assert.Contains(t, w.began, told.ChangeInfo)
			assert.Positive(t, w.calls[told.ChangeInfo], "the client's calls have the context of %s", id)
			assert.Equal(t, result.State, told.State, id)
			assert.Equal(t, result.Attempts, told.Attempts, id)
			assert.Equal(t, result.ErrType, told.ErrType, id)
			assert.Equal(t, result.Err != "", told.Err != nil, id)
			assert.Positive(t, told.Duration, id)
		}
		require.GreaterOrEqual(t, len(w.progress), 2)
		assert.Equal(t, len(results), w.progress[0].Pending)
		assert.Equal(t, b.progress("run"), w.progress[len(w.progress)-1])
	})
}

// Progress is reported now and then, and at the end of a stopped run too.
func TestHooksTellProgress(t *testing.T) {
	t.Cleanup(fleet.SetProgressInterval(time.Millisecond))
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	for i := range 30 {
		b.add("run", rename(b.token(fmt.Sprint("token-", i)), "new"))
	}
	b.service.SetLatency(100 * time.Millisecond)
	b.options.Workers = 2
	w := b.watch()
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), ofRun{}, "mine"))
	defer cancel()
	note := b.options.Hooks.Progress
	b.options.Hooks.Progress = func(ctx context.Context, p fleet.Progress) {
		note(ctx, p)
		if p.Applied > 4 {
			cancel()
		}
	}
	require.ErrorIs(t, b.store.Run(ctx, "run", b.options), context.Canceled)
	assert.GreaterOrEqual(t, len(w.progress), 3)
	last := w.progress[len(w.progress)-1]
	assert.Equal(t, b.progress("run"), last)
	assert.Positive(t, last.Pending)
	assert.Len(t, w.ended, len(w.began))
	for _, change := range w.ended {
		if change.State == fleet.StatePending {
			assert.ErrorContains(t, change.Err, "the run is stopping")
		}
	}
}

// A change that is put off is a try each time, with its reason.
func TestHooksTellOfEachTry(t *testing.T) {
	t.Parallel()
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.options.Client.HTTPClient.Timeout = 2 * time.Second
	b.options.Client.Retry.MaxAttempts = 1
	b.options.ServiceTime = 100 * time.Millisecond
	b.add("run", fleet.Change{ID: b.token("a"), Patch: tokenpatch.NewPatch().AddCustomRoleID("second")})
	b.service.Inject(tokenpatchtest.Fault{Match: isPatch("a"), Cut: tokenpatchtest.CutAfter})
	w := b.watch()
	require.NoError(t, b.runWatched("run"))
	assert.Equal(t, []fleet.State{fleet.StatePending, fleet.StateApplied}, w.of("a"))
	assert.Equal(t, 1, w.ended[0].Attempts)
	assert.Equal(t, "OutcomeUnknownError", w.ended[0].ErrType)
	assert.Zero(t, w.ended[1].Attempts, "it only looked")
	assert.NoError(t, w.ended[1].Err)
}

// A worker that has lost its change to another one does not report an outcome.
func TestHooksOfAWorkerThatWasReplaced(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "run.db")
	b := newBench(t, source)
	b.options.Client.HTTPClient.Timeout = 2 * time.Second
	b.options.ServiceTime = 100 * time.Millisecond
	b.add("run", rename(b.token("a"), "new"))
	db, err := sql.Open("sqlite", source)
	require.NoError(t, err)
	defer db.Close()
	w := b.watch()
	var once sync.Once
	b.options.Client.Hooks.AttemptEnd = func(_ context.Context, attempt tokenpatch.AttemptResult) {
		if attempt.Method == http.MethodPatch {
			once.Do(func() {
				_, err := db.Exec("PRAGMA busy_timeout = 10000; UPDATE fleet_change SET fence = 'of another worker'")
				assert.NoError(t, err)
			})
		}
	}
	require.NoError(t, b.runWatched("run"))
	assert.Equal(t, []fleet.State{fleet.StatePending, fleet.StateApplied}, w.of("a"))
	assert.ErrorContains(t, w.ended[0].Err, "another worker has taken the change over")
	assert.Equal(t, 1, b.service.Changes("a"))
}

// Hooks without a returned context leave it unchanged.
func TestHooksWithoutAContext(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.add("run", rename(b.token("a"), "new"))
	b.options.Hooks.ChangeStart = func(context.Context, fleet.ChangeInfo) context.Context { return nil }
	b.options.Client.Hooks.CallStart = func(context.Context, tokenpatch.CallInfo) context.Context { return nil }
	b.options.Client.Hooks.AttemptStart = func(context.Context, *tokenpatch.AttemptInfo) context.Context { return nil }
	require.NoError(t, b.run("run"))
	assert.Equal(t, 1, b.progress("run").Applied)
	assert.Equal(t, 1, b.results("run")["a"].Attempts, "the attempt was written down")
}

// A panic in a hook puts its change off, and nothing is changed twice.
func TestHooksThatPanic(t *testing.T) {
	for name, set := range map[string]func(*fleet.Options, func()){
		"ChangeStart": func(o *fleet.Options, panics func()) {
			note := o.Hooks.ChangeStart
			o.Hooks.ChangeStart = func(ctx context.Context, c fleet.ChangeInfo) context.Context { panics(); return note(ctx, c) }
		},
		"ChangeEnd": func(o *fleet.Options, panics func()) {
			note := o.Hooks.ChangeEnd
			o.Hooks.ChangeEnd = func(ctx context.Context, c fleet.ChangeResult) { note(ctx, c); panics() }
		},
		"AttemptStart": func(o *fleet.Options, panics func()) {
			o.Client.Hooks.AttemptStart = func(ctx context.Context, _ *tokenpatch.AttemptInfo) context.Context { panics(); return ctx }
		},
		"CallEnd": func(o *fleet.Options, panics func()) {
			o.Client.Hooks.CallEnd = func(_ context.Context, call tokenpatch.CallResult) {
				if call.Method == http.MethodPatch {
					panics()
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
			b.options.Client.HTTPClient.Timeout = 2 * time.Second
			b.options.ServiceTime = 100 * time.Millisecond
			for i := range 20 {
				b.add("run", rename(b.token(fmt.Sprint("token-", i)), "new"))
			}
			w := b.watch()
			var times atomic.Int64
			set(&b.options, func() {
				if n := times.Add(1); n == 3 || n == 7 {
					panic("a hook of the caller's")
				}
			})
			require.NoError(t, b.runWatched("run"))
			assert.Equal(t, 20, b.progress("run").Applied)
			for i := range 20 {
				assert.Equal(t, 1, b.service.Changes(fmt.Sprint("token-", i)))
			}
			assert.Len(t, w.ended, len(w.began), "a try that panics has an end")
		})
	}
}

// A panic of Progress is Run's, once what was sent has its outcome.
func TestProgressThatPanics(t *testing.T) {
	t.Cleanup(fleet.SetProgressInterval(time.Millisecond))
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	for i := range 30 {
		b.add("run", rename(b.token(fmt.Sprint("token-", i)), "new"))
	}
	b.service.SetLatency(50 * time.Millisecond)
	b.options.Workers = 4
	b.options.Hooks.Progress = func(_ context.Context, p fleet.Progress) {
		if p.Applied > 0 {
			panic("a hook of the caller's")
		}
	}
	assert.PanicsWithValue(t, "a hook of the caller's", func() { _ = b.run("run") })
	p, requests := b.progress("run"), b.service.RequestCount()
	changed := 0
	for i := range 30 {
		changed += b.service.Changes(fmt.Sprint("token-", i))
	}
	assert.Equal(t, changed, p.Applied, "nothing was left without an outcome")
	assert.Positive(t, p.Pending)
	b.options.Hooks.Progress = nil
	time.Sleep(200 * time.Millisecond)
	assert.Equal(t, requests, b.service.RequestCount(), "nothing is sent after it")
	require.NoError(t, b.run("run"))
	assert.Equal(t, 30, b.progress("run").Applied)
}

// A credential passed as an id by mistake is not reported.
func TestHooksHoldNoCredential(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.add("run", rename(tokenpatchtest.AccessToken, "new"), rename("x-"+tokenpatchtest.APIKey, "new"))
	var told []string
	var mu sync.Mutex
	b.options.Hooks.ChangeStart = func(ctx context.Context, change fleet.ChangeInfo) context.Context {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf("%+v", change))
		return ctx
	}
	b.options.Hooks.ChangeEnd = func(_ context.Context, change fleet.ChangeResult) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf("%+v", change))
	}
	require.NoError(t, b.run("run"))
	require.Len(t, told, 4)
	for _, text := range told {
		assert.NotContains(t, text, tokenpatchtest.AccessToken)
		assert.NotContains(t, text, tokenpatchtest.APIKey)
	}
}

// After a refused credential changes go one at a time. A panic must not keep the turn of all others.
func TestAPanicKeepsNoTurn(t *testing.T) {
	t.Parallel()
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	for i := range 5 {
		b.add("run", rename(b.token(fmt.Sprint("token-", i)), "new"))
	}
	b.options.Workers = 1
	b.service.Inject(tokenpatchtest.Fault{Status: http.StatusUnauthorized})
	var calls atomic.Int64
	b.options.Client.Hooks.CallStart = func(context.Context, tokenpatch.CallInfo) context.Context {
		if calls.Add(1) == 2 {
			panic("a hook of the caller's")
		}
		return nil
	}
	require.NoError(t, b.run("run"))
	assert.Equal(t, 4, b.progress("run").Applied)
}
