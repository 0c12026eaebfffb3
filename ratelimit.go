package tokenpatch

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// RateLimit is what is known of a service's limits at one moment.
type RateLimit struct {
	Global      Quota            // of the whole account
	Credential  Quota            // of the credential in use
	Routes      map[string]Quota // by method and path template, "PATCH /api/v2/tokens/{id}"; nil if nothing is known of any
	PausedUntil time.Time        // until when nothing at all is sent, because of Retry-After; zero if nothing is paused
}

// Quota is one limit in its current window.
type Quota struct {
	Limit     int        // how many requests a window admits; 0 if the service has not said it
	Remaining Field[int] // absent if it is not known
	Reset     time.Time  // when the window ends, by this machine's clock; zero if it is not known
}

// String returns the quota as people read it, such as "7 of 20 left until 15:04:05 UTC".
func (q Quota) String() string {
	remaining, known := q.Remaining.Get()
	switch {
	case !known && q.Limit == 0:
		return "unknown"
	case !known:
		return fmt.Sprintf("unknown of %d", q.Limit)
	}
	s := strconv.Itoa(remaining)
	if q.Limit > 0 {
		s += fmt.Sprintf(" of %d", q.Limit)
	}
	s += " left"
	if !q.Reset.IsZero() {
		s += " until " + q.Reset.UTC().Format("15:04:05 MST")
	}
	return s
}

// String returns what is known, a limit after the other: "account: 7 of 20 left until 15:04:05 UTC; credential: unknown".
func (r RateLimit) String() string {
	var b strings.Builder
	if !r.PausedUntil.IsZero() {
		fmt.Fprintf(&b, "paused until %s; ", r.PausedUntil.UTC().Format("15:04:05 MST"))
	}
	fmt.Fprintf(&b, "account: %v; credential: %v", r.Global, r.Credential)
	for _, route := range slices.Sorted(maps.Keys(r.Routes)) {
		fmt.Fprintf(&b, "; %s: %v", route, r.Routes[route])
	}
	return b.String()
}

// rateLimit returns what is known now.
func (s *service) rateLimit() RateLimit {
	state := s.engine.Limiter.State()
	r := RateLimit{Global: newQuota(state.Account), Credential: newQuota(state.Credential), PausedUntil: state.PausedUntil}
	for route, quota := range state.Routes {
		if r.Routes == nil {
			r.Routes = make(map[string]Quota, len(state.Routes))
		}
		r.Routes[route] = newQuota(quota)
	}
	return r
}

func newQuota(q ratelimit.Quota) Quota {
	quota := Quota{Limit: q.Limit, Reset: q.Reset}
	if q.Known {
		quota.Remaining = Set(q.Remaining)
	}
	return quota
}

// rateLimited is the error of a call ended by the rate limit.
func (s *service) rateLimited(base APIError) *RateLimitedError {
	e := &RateLimitedError{APIError: base, RateLimit: s.rateLimit()}
	if until := e.opens(); !until.IsZero() {
		e.RetryAfter = time.Until(until)
	}
	return e
}

// opens is when the limit admits a call, if known.
func (e *RateLimitedError) opens() time.Time {
	if closed := (*ratelimit.ClosedError)(nil); errors.As(e.Err, &closed) {
		return closed.Opens
	}
	return e.RateLimit.Opens(e.Method + " " + e.Route)
}

// Opens returns when the limits that are used up let a request to a route go, by the
// route's name in Routes: the latest reset of them, or PausedUntil if that is later. It
// is zero, or past, if nothing is known to hold the request up.
func (r RateLimit) Opens(route string) time.Time {
	latest := r.PausedUntil
	for _, quota := range []Quota{r.Global, r.Credential, r.Routes[route]} {
		if quota.Remaining == Set(0) && quota.Reset.After(latest) {
			latest = quota.Reset
		}
	}
	return latest
}
