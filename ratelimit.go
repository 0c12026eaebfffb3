package tokenpatch

import (
	"errors"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// RateLimit is what is known of a service's rate limit at one moment.
type RateLimit struct {
	Global      Field[int] // what remains for the whole account in this window; absent where not known
	Route       Field[int] // what remains for this route in this window; absent where not known
	Reset       time.Time  // when this window ends, by this machine's clock; zero where not known
	PausedUntil time.Time  // until when nothing is sent at all, as Retry-After asked; zero where nothing did
}

func newRateLimit(s ratelimit.State) RateLimit {
	r := RateLimit{Global: remaining(s.Global), Reset: s.Global.Reset, PausedUntil: s.PausedUntil}
	for _, quota := range s.Routes {
		r.Route, r.Reset = remaining(quota), quota.Reset
	}
	return r
}

func remaining(q ratelimit.Quota) Field[int] {
	if !q.Known {
		return Field[int]{}
	}
	return Set(q.Remaining)
}

// rateLimited is the error of a call that the rate limit ended.
func (s *service) rateLimited(base APIError) *RateLimitedError {
	r := newRateLimit(s.limiter.State())
	e := &RateLimitedError{APIError: base, Reset: r.Reset, Global: r.Global, Route: r.Route}
	until := r.PausedUntil
	if r.Reset.After(until) {
		until = r.Reset
	}
	if shut := (*ratelimit.ClosedError)(nil); errors.As(base.Err, &shut) {
		until = shut.Opens
	}
	if !until.IsZero() {
		e.RetryAfter = time.Until(until)
	}
	return e
}
