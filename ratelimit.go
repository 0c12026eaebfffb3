package tokenpatch

import (
	"errors"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// RateLimit is what is known of a service's rate limit at one moment.
type RateLimit struct {
	Global      Quota            // of the whole account
	Routes      map[string]Quota // by method and path template, "PATCH /api/v2/tokens/{id}"; nil where nothing is known of any
	PausedUntil time.Time        // until when nothing at all is sent, because of Retry-After; zero where nothing is paused
}

// Quota is what remains of one limit in its current window.
type Quota struct {
	Remaining Field[int] // absent where not known
	Reset     time.Time  // when the window ends, by this machine's clock; zero where not known
}

// rateLimit returns what is known now.
func (s *service) rateLimit() RateLimit {
	state := s.engine.Limiter.State()
	r := RateLimit{Global: newQuota(state.Global), PausedUntil: state.PausedUntil}
	for route, quota := range state.Routes {
		if r.Routes == nil {
			r.Routes = make(map[string]Quota, len(state.Routes))
		}
		r.Routes[route] = newQuota(quota)
	}
	return r
}

func newQuota(q ratelimit.Quota) Quota {
	if !q.Known {
		return Quota{Reset: q.Reset}
	}
	return Quota{Remaining: Set(q.Remaining), Reset: q.Reset}
}

// rateLimited is the error of a call that the rate limit ended.
func (s *service) rateLimited(base APIError) *RateLimitedError {
	e := &RateLimitedError{APIError: base, RateLimit: s.rateLimit()}
	if until := e.opens(); !until.IsZero() {
		e.RetryAfter = time.Until(until)
	}
	return e
}

// opens is when the limit lets a call go, as far as that is known.
func (e *RateLimitedError) opens() time.Time {
	if closed := (*ratelimit.ClosedError)(nil); errors.As(e.Err, &closed) {
		return closed.Opens
	}
	latest := e.RateLimit.PausedUntil
	for _, at := range []time.Time{e.RateLimit.Global.Reset, e.RateLimit.Routes[e.Method+" "+e.Route].Reset} {
		if at.After(latest) {
			latest = at
		}
	}
	return latest
}
