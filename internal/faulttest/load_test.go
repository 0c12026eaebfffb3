package faulttest_test

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
)

var (
	loadFor   = flag.Duration("load.for", 2*time.Second, "how long the load test lasts")
	loadCalls = flag.Int("load.goroutines", 300, "goroutines that call at once in the load test")
)

// loadServer counts what it applied of each call, and refuses some. V2 has a
// rate limit, V1 asks for a pause now and then.
type loadServer struct {
	open, requests, applied atomic.Int64

	mu      sync.Mutex
	changes map[uuid.UUID]int // by the id of the call, until it is judged
	window  int64
	spent   int
}

const (
	loadTimeout = 500 * time.Millisecond
	loadWindow  = 500 * time.Millisecond
	loadLimit   = 2000 // requests in a window
	loadFaulty  = 0.15 // of the requests
)

func (s *loadServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if !isV1(r) && !s.admit(w.Header()) || isV1(r) && rand.IntN(20_000) == 0 {
		if isV1(r) {
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	switch n := rand.IntN(1000); {
	case n < 20:
		w.WriteHeader(http.StatusConflict)
	case n < 30:
		w.Header().Set("Location", "https://elsewhere.invalid/")
		w.WriteHeader(http.StatusTemporaryRedirect)
	case n < 40:
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, strings.Repeat(`{"detail":[`, 5000))
	case isV1(r):
		s.apply(r)
		w.WriteHeader(http.StatusNoContent)
	default:
		s.apply(r)
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, tokenJSON)
	}
}

// admit counts a request of V2, and sets the headers of the limit.
func (s *loadServer) admit(header http.Header) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now().UnixNano() / int64(loadWindow); now != s.window {
		s.window, s.spent = now, 0
	}
	header.Set("X-Ratelimit-Reset", strconv.FormatInt((s.window+1)*loadWindow.Milliseconds(), 10))
	header.Set("X-Ratelimit-Global-Remaining", strconv.Itoa(max(0, loadLimit-s.spent-1)))
	if s.spent >= loadLimit {
		return false
	}
	s.spent++
	return true
}

func (s *loadServer) apply(r *http.Request) {
	s.applied.Add(1)
	id := uuid.MustParse(path.Base(r.URL.Path))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes[id]++
}

// take returns how often a call was applied so far.
func (s *loadServer) take(id uuid.UUID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.changes[id]
	delete(s.changes, id)
	return n
}

func (s *loadServer) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
	}
}

// loadTally is the outcomes of the calls.
type loadTally struct {
	begun, applied, notApplied, unknown, attempts, waits, wrong atomic.Int64
	outcomes                                                    [][]tokenpatch.Outcome // by goroutine and call
}

// loadID is the id of a goroutine's nth call.
func loadID(goroutine, n int) (id uuid.UUID) {
	binary.BigEndian.PutUint32(id[:], uint32(goroutine+1))
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	return id
}

func (y *loadTally) outcome(id uuid.UUID) tokenpatch.Outcome {
	return y.outcomes[binary.BigEndian.Uint32(id[:])-1][binary.BigEndian.Uint32(id[12:])]
}

// Thousands of goroutines share one client, over a network with every kind of fault. Every call is
// accounted for, and no goroutine, connection or memory leaks.
func TestLoad(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) { testLoad(t, http2) })
	}
}

func testLoad(t *testing.T, http2 bool) {
	goroutines, files := runtime.NumGoroutine(), openFiles()
	heap := heapInUse()
	server := &loadServer{changes: make(map[uuid.UUID]int)}
	between := &intermediary{origin: server, faulty: loadFaulty, hold: 2 * loadTimeout,
		random: func(*http.Request) *rand.Rand { return rand.New(rand.NewPCG(rand.Uint64(), 0)) },
		faults: slices.Concat(brokenNetwork, oddIntermediaries)}
	listener, transport := serve(t, between, http2, server.count)

	y := loadTally{outcomes: make([][]tokenpatch.Outcome, *loadCalls)}
	transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = 256, 512
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V1:         tokenpatch.V1Config{BaseURL: listener.URL, APIKey: "key"},
		V2:         tokenpatch.V2Config{BaseURL: listener.URL, AccessToken: "token"},
		HTTPClient: &http.Client{Transport: transport, Timeout: loadTimeout},
		Retry:      tokenpatch.RetryPolicy{MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond},
		Hooks: tokenpatch.Hooks{
			AttemptEnd: func(context.Context, tokenpatch.AttemptResult) { y.attempts.Add(1) },
			WaitEnd:    func(context.Context, tokenpatch.WaitInfo) { y.waits.Add(1) },
		},
	})
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), *loadFor)
	defer cancel()
	var wg sync.WaitGroup
	began := time.Now()
	for goroutine := range *loadCalls {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				outcome := y.call(ctx, t, server, client, loadID(goroutine, n))
				y.outcomes[goroutine] = append(y.outcomes[goroutine], outcome)
			}
		})
	}
	// Before the first responses, hardly anything is sent: a sample of that time says nothing.
	assert.True(t, soon(func() bool { return y.attempts.Load() >= 2*int64(*loadCalls) }), "the load does not begin")
	var samples []float64
	for range 4 {
		select {
		case <-time.After(*loadFor / 10):
			samples = append(samples, heapInUse())
		case <-ctx.Done():
		}
	}
	wg.Wait()
	took := time.Since(began)

	// A connection still being made at the end of its call is idle only afterwards.
	assert.True(t, soon(func() bool { client.CloseIdleConnections(); return server.open.Load() == 0 }), "connections are left: %d", server.open.Load())
	listener.Close()
	between.late.Wait()
	assert.True(t, soon(func() bool { return runtime.NumGoroutine() <= goroutines }), "goroutines are left: %d, and %d before", runtime.NumGoroutine(), goroutines)
	y.judgeLate(t, server)
	t.Logf("%d goroutines, %v: %d calls (%.0f a second), %d attempts, %d requests, %d waits", *loadCalls, took.Round(time.Millisecond),
		y.begun.Load(), float64(y.begun.Load())/took.Seconds(), y.attempts.Load(), server.requests.Load(), y.waits.Load())
	t.Logf("%d applied, %d not applied, %d unknown, %d wrong", y.applied.Load(), y.notApplied.Load(), y.unknown.Load(), y.wrong.Load())
	after := heapInUse()
	t.Logf("heap in MiB: %.1f before, %s under load, %.1f after; %d goroutines before, %d after; %d files before, %d after",
		heap, fmt.Sprintf("%.1f", samples), after, goroutines, runtime.NumGoroutine(), files, openFiles())

	assert.Zero(t, y.wrong.Load())
	assert.Equal(t, y.begun.Load(), y.applied.Load()+y.notApplied.Load()+y.unknown.Load())
	assert.Positive(t, y.applied.Load())
	assert.Positive(t, y.notApplied.Load())
	assert.LessOrEqual(t, server.requests.Load(), y.attempts.Load(), "every request is an attempt that hooks were told of")
	assert.LessOrEqual(t, openFiles(), files+2)
	assert.Less(t, after, heap+16, "memory is left")
	if len(samples) == 4 {
		assert.Less(t, samples[3], samples[0]*1.5+16, "memory grows")
	}
	runtime.KeepAlive(client)
}

// call makes one call on a token of its own, and judges what it returns.
func (y *loadTally) call(ctx context.Context, t *testing.T, server *loadServer, client *tokenpatch.Client, id uuid.UUID) tokenpatch.Outcome {
	if rand.IntN(20) == 0 { // a caller in a hurry
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(20))*time.Millisecond)
		defer cancel()
	}
	var err error
	y.begun.Add(1)
	unsafe := false
	switch rand.IntN(3) {
	case 0:
		err = client.V1.UpdateToken(ctx, id, tokenpatch.TokenUpdate{Name: tokenpatch.Set("x")})
	case 1:
		_, err = client.V2.PatchToken(ctx, id.String(), tokenpatch.NewPatch().SetName("x"))
	default:
		_, err = client.V2.PatchToken(ctx, id.String(), tokenpatch.NewPatch().AddCustomRoleID("x"))
		unsafe = true
	}
	changes := server.take(id)
	outcome := tokenpatch.OutcomeOf(err)
	switch outcome {
	case tokenpatch.OutcomeApplied:
		y.applied.Add(1)
	case tokenpatch.OutcomeNotApplied:
		y.notApplied.Add(1)
	default:
		y.unknown.Add(1)
	}
	if unsafe && changes > 1 || outcome == tokenpatch.OutcomeApplied && changes == 0 || outcome == tokenpatch.OutcomeNotApplied && changes > 0 {
		y.wrong.Add(1)
		t.Errorf("%s: %d changes: %v: %v", id, changes, outcome, err)
	}
	return outcome
}

// judgeLate looks at changes applied after the end of their call, by an abandoned attempt. Such a
// call must not have reported "not applied".
func (y *loadTally) judgeLate(t *testing.T, server *loadServer) {
	for id, changes := range server.changes {
		if y.outcome(id) == tokenpatch.OutcomeNotApplied {
			y.wrong.Add(1)
			t.Errorf("%s: %d changes after it was said that there were none", id, changes)
		}
	}
	server.changes, y.outcomes = nil, nil
}

// soon reports whether a condition comes true within some seconds.
func soon(condition func() bool) bool {
	for range 10_000 {
		if condition() {
			return true
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

// heapInUse returns the size of the heap in MiB.
func heapInUse() float64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc) / (1 << 20)
}

// openFiles counts the process's open files, or returns 0 if it cannot.
func openFiles() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}
