package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
)

// traffic is what this program's requests have met: windows of the rate limit, and what calls wait for now.
type traffic struct {
	mu      sync.Mutex
	Windows []page.Window                    `json:"windows"`
	Refused int                              `json:"refused"` // responses 429
	current map[string]int                   // index in Windows, by quota
	limits  map[string]tokenpatch.RateLimit  // the last that was seen, by API
	waits   map[*waiting]tokenpatch.WaitInfo // of calls that wait now
	calls   int                              // under way
	last    time.Time                        // when a call began or ended
}

// waiting stands for one call in its context.
type waiting struct{ _ byte }

type waitingKey struct{}

func newTraffic() *traffic {
	return &traffic{current: map[string]int{}, limits: map[string]tokenpatch.RateLimit{}, waits: map[*waiting]tokenpatch.WaitInfo{}, last: time.Now()}
}

// hooks are what the client tells.
func (t *traffic) hooks() tokenpatch.Hooks {
	return tokenpatch.Hooks{
		CallStart: func(ctx context.Context, _ tokenpatch.CallInfo) context.Context {
			t.call(1)
			return context.WithValue(ctx, waitingKey{}, new(waiting))
		},
		WaitStart:  t.waitStart,
		WaitEnd:    func(ctx context.Context, _ tokenpatch.WaitInfo) { t.waitEnd(ctx) },
		CallEnd:    func(ctx context.Context, _ tokenpatch.CallResult) { t.waitEnd(ctx); t.call(-1) },
		AttemptEnd: func(_ context.Context, attempt tokenpatch.AttemptResult) { t.attemptEnd(attempt) },
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

func (t *traffic) attemptEnd(attempt tokenpatch.AttemptResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	refused := attempt.Status == http.StatusTooManyRequests
	if refused {
		t.Refused++
	}
	if attempt.Status == 0 {
		return // without a response nothing is known of its window
	}
	t.limits[attempt.API] = attempt.RateLimit
	t.observe(attempt.API+", all requests", attempt.RateLimit.Global, refused)
	route := attempt.Method + " " + attempt.Route
	t.observe(route, attempt.RateLimit.Routes[route], refused)
}

// observe counts a request in the current window of a quota.
func (t *traffic) observe(name string, quota tokenpatch.Quota, refused bool) {
	remaining, known := quota.Remaining.Get()
	if !known || quota.Reset.IsZero() {
		return
	}
	i, found := t.current[name]
	if !found || quota.Reset.Sub(t.Windows[i].Ends) > time.Second/2 {
		t.forget()
		t.Windows = append(t.Windows, page.Window{Quota: name, Ends: quota.Reset})
		i = len(t.Windows) - 1
		t.current[name] = i
	}
	w := &t.Windows[i]
	w.Used++
	w.Allowed = max(w.Allowed, w.Used+remaining)
	if refused {
		w.Refused++
	}
}

// forget drops the oldest windows where there are too many.
func (t *traffic) forget() {
	drop := len(t.Windows) + 1 - page.MaxWindows
	if drop <= 0 {
		return
	}
	t.Windows = slices.Delete(t.Windows, 0, drop)
	for name, i := range t.current {
		t.current[name] = i - drop
	}
	maps.DeleteFunc(t.current, func(_ string, i int) bool { return i < 0 })
}

// snapshot returns the windows and the count of responses 429 so far.
func (t *traffic) snapshot() (windows []page.Window, refused int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.Windows), t.Refused
}

// encode is what is kept of it with the run.
func (t *traffic) encode() ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return json.Marshal(t)
}

// waitsFor says what most of the calls that wait are waiting for; empty where none is, or where it is their turn next.
func (t *traffic) waitsFor(now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calls == 0 && now.Sub(t.last) > time.Second {
		return "what may still be on its way" // of a process that died, or of a request without a response
	}
	count := map[tokenpatch.WaitReason]int{}
	last := map[tokenpatch.WaitReason]tokenpatch.WaitInfo{}
	var most tokenpatch.WaitReason
	for _, wait := range t.waits {
		count[wait.Reason]++
		last[wait.Reason] = wait
		if count[wait.Reason] > count[most] {
			most = wait.Reason
		}
	}
	limit := t.limits[last[most].API]
	switch most {
	case tokenpatch.WaitRateLimit:
		return "the rate limit" + opens(limit, last[most].CallInfo, now)
	case tokenpatch.WaitRetryAfter:
		return "the service, which asked for a pause" + in(limit.PausedUntil, now)
	case tokenpatch.WaitProbe:
		return "the first response, which tells the rate limit"
	case tokenpatch.WaitBackoff:
		return "another attempt"
	default:
		return ""
	}
}

// opens says when a rate limit opens that is used up.
func opens(limit tokenpatch.RateLimit, call tokenpatch.CallInfo, now time.Time) string {
	at := limit.PausedUntil
	for _, quota := range []tokenpatch.Quota{limit.Global, limit.Routes[call.Method+" "+call.Route]} {
		if quota.Remaining.Or(1) == 0 && quota.Reset.After(at) {
			at = quota.Reset
		}
	}
	return in(at, now)
}

func in(at, now time.Time) string {
	if !at.After(now) {
		return ""
	}
	return fmt.Sprintf(", opens in %d s", int(math.Ceil(at.Sub(now).Seconds())))
}
