package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
)

// traffic is what this process has seen of the rate limit: its windows, and what calls wait for now.
type traffic struct {
	process  string // names this process
	mu       sync.Mutex
	windows  []*page.Window
	refused  int                              // responses 429
	current  map[string]*page.Window          // by quota
	inFlight map[*page.Window]int             // requests sent since a window was first seen, without a response yet
	limits   map[string]tokenpatch.RateLimit  // the last one, by API
	waits    map[*waiting]tokenpatch.WaitInfo // of waiting calls
	trouble  error                            // why the last attempt failed; nil if it did not
	calls    int                              // under way
	last     time.Time                        // when a call began or ended
	heard    time.Time                        // when the last response came
}

// waiting stands for one call in its context.
type waiting struct{ _ byte }

type (
	waitingKey struct{} // of a call's *waiting
	windowsKey struct{} // of the current windows when an attempt began
)

func newTraffic() *traffic {
	return &traffic{
		process: rand.Text(), current: map[string]*page.Window{}, inFlight: map[*page.Window]int{}, limits: map[string]tokenpatch.RateLimit{},
		waits: map[*waiting]tokenpatch.WaitInfo{}, last: time.Now(), heard: time.Now(),
	}
}

// hooks record the client's events.
func (t *traffic) hooks() tokenpatch.Hooks {
	return tokenpatch.Hooks{
		CallStart: func(ctx context.Context, _ tokenpatch.CallInfo) context.Context {
			t.call(1)
			return context.WithValue(ctx, waitingKey{}, new(waiting))
		},
		WaitStart:    t.waitStart,
		WaitEnd:      func(ctx context.Context, _ tokenpatch.WaitInfo) { t.waitEnd(ctx) },
		CallEnd:      func(ctx context.Context, _ tokenpatch.CallResult) { t.waitEnd(ctx); t.call(-1) },
		AttemptStart: t.attemptStart,
		AttemptEnd:   t.attemptEnd,
	}
}

func (t *traffic) call(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls += n
	t.last = time.Now()
}

func (t *traffic) waitStart(ctx context.Context, wait tokenpatch.WaitInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if call, ok := ctx.Value(waitingKey{}).(*waiting); ok {
		t.waits[call] = wait
	}
}

func (t *traffic) waitEnd(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if call, ok := ctx.Value(waitingKey{}).(*waiting); ok {
		delete(t.waits, call)
	}
}

// quotas are the names of a call's quotas.
func quotas(call tokenpatch.CallInfo) (all, route string) {
	return call.API + ", all requests", routeOf(call)
}

// routeOf is the name of a call's route, as a RateLimit has it.
func routeOf(call tokenpatch.CallInfo) string { return call.Method + " " + call.Route }

func (t *traffic) attemptStart(ctx context.Context, attempt *tokenpatch.AttemptInfo) context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	all, route := quotas(attempt.CallInfo)
	windows := [2]*page.Window{t.current[all], t.current[route]}
	for _, w := range windows {
		t.inFlight[w]++
	}
	return context.WithValue(ctx, windowsKey{}, windows)
}

func (t *traffic) attemptEnd(ctx context.Context, attempt tokenpatch.AttemptResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	windows, _ := ctx.Value(windowsKey{}).([2]*page.Window)
	for _, w := range windows {
		if t.inFlight[w]--; t.inFlight[w] <= 0 {
			delete(t.inFlight, w)
		}
	}
	t.trouble = troubleOf(attempt)
	refused := attempt.Status == http.StatusTooManyRequests
	if refused {
		t.refused++
	}
	if attempt.Status == 0 {
		return // without a response nothing is known of its window
	}
	t.heard = time.Now()
	t.limits[attempt.API] = attempt.RateLimit
	all, route := quotas(attempt.CallInfo)
	t.observe(all, attempt.RateLimit.Global, refused)
	t.observe(route, attempt.RateLimit.Routes[route], refused)
}

// observe counts a request in the current window of a quota. What remains of it leaves out what is in flight.
func (t *traffic) observe(name string, quota tokenpatch.Quota, refused bool) {
	remaining, known := quota.Remaining.Get()
	if !known || quota.Reset.IsZero() {
		return
	}
	w := t.current[name]
	if w == nil || quota.Reset.Sub(w.Ends) > time.Second/2 {
		w = &page.Window{Quota: name, Ends: quota.Reset}
		t.current[name] = w
		t.windows = append(t.windows, w)
		t.windows = t.windows[max(0, len(t.windows)-page.MaxWindows):]
	}
	w.Used++
	w.Allowed = max(w.Allowed, w.Used+remaining+t.inFlight[w])
	if refused {
		w.Refused++
	}
}

// snapshot returns the windows and the count of responses 429 so far.
func (t *traffic) snapshot() (windows []page.Window, refused int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.windows {
		windows = append(windows, *w)
	}
	return windows, t.refused
}

// mostWaits is the most frequent wait, and what is known of its rate limit. One for a turn is behind another, which counts.
func (t *traffic) mostWaits() (most tokenpatch.WaitInfo, limit tokenpatch.RateLimit) {
	count := map[tokenpatch.WaitReason]int{}
	for _, wait := range t.waits {
		if wait.Reason != tokenpatch.WaitTurn {
			count[wait.Reason]++
		}
		if most.Reason == "" || count[wait.Reason] > count[most.Reason] || most.Reason == wait.Reason {
			most = wait
		}
	}
	return most, t.limits[most.API]
}

// opensAt is when a rate limit with waiting calls opens; zero if none is known.
func (t *traffic) opensAt(now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	most, limit := t.mostWaits()
	at := limit.Opens(routeOf(most.CallInfo))
	if most.Reason == "" || !at.After(now) {
		return time.Time{}
	}
	return at
}

// waitsForLost is what a run waits for after a process died, or after a request without a response: for how long is not known
// here.
const waitsForLost = "what may still be on its way"

// waitsFor is what most of the calls that wait are waiting for; empty if none is, or if it is their turn next.
func (t *traffic) waitsFor(now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calls == 0 && now.Sub(t.last) > time.Second {
		return waitsForLost
	}
	most, limit := t.mostWaits()
	opening := in(limit.Opens(routeOf(most.CallInfo)), now)
	switch {
	case most.Reason == tokenpatch.WaitRateLimit, most.Reason == tokenpatch.WaitTurn && opening != "": // a turn in the next window
		return "the rate limit" + opening
	case most.Reason == tokenpatch.WaitRetryAfter:
		return "the service, which asked for a pause" + in(limit.PausedUntil, now)
	case most.Reason == tokenpatch.WaitProbe:
		return "a response with the rate limit" + silence(now.Sub(t.heard))
	case most.Reason == tokenpatch.WaitBackoff && t.trouble != nil:
		return "another attempt: " + printable(t.trouble.Error())
	case most.Reason == tokenpatch.WaitBackoff:
		return "another attempt"
	case t.calls > 0 && silence(now.Sub(t.last)) != "":
		return "a response" + silence(now.Sub(t.heard))
	}
	return ""
}

// troubleOf is why an attempt failed: its error, or an error's status.
func troubleOf(attempt tokenpatch.AttemptResult) error {
	if attempt.Err != nil || attempt.Status < http.StatusBadRequest {
		return attempt.Err
	}
	return fmt.Errorf("status %d %s", attempt.Status, http.StatusText(attempt.Status))
}

func in(at, now time.Time) string {
	if !at.After(now) {
		return ""
	}
	return fmt.Sprintf(", opens in %d s", int(math.Ceil(at.Sub(now).Seconds())))
}

// silence is the time without a response, if it is long.
func silence(d time.Duration) string {
	if d < 3*time.Second {
		return ""
	}
	return fmt.Sprintf("; none for %d s", int(d.Seconds()))
}
