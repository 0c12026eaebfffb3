package tokenpatch

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"
)

// RetryPolicy says how often and how soon a call is tried again. The zero
// value is the default. Whether an attempt may be repeated at all is not the
// policy's to say: see [Patch.Replay].
type RetryPolicy struct {
	// MaxAttempts is how many attempts a call may make in all, answers 429
	// aside. 0 means 4; 1 never tries again.
	MaxAttempts int

	// MinBackoff is waited before the second attempt, and doubles from there;
	// up to half of each wait is left out at random. 0 means 250 ms.
	MinBackoff time.Duration

	// MaxBackoff is the longest wait between two attempts. 0 means 10 s.
	MaxBackoff time.Duration

	// MaxRateLimitWait is the longest wait that a server may declare with
	// Retry-After or X-Ratelimit-Reset. A longer one is a [*RateLimitedError]
	// at once. 0 means 5 minutes.
	MaxRateLimitWait time.Duration
}

// maxRefusals is how many answers 429 one call bears. The gate waits before
// each attempt, so that only a server that never lets anybody in gets there.
const maxRefusals = 100

func (p RetryPolicy) withDefaults() RetryPolicy {
	return RetryPolicy{
		MaxAttempts:      cmp.Or(p.MaxAttempts, 4),
		MinBackoff:       cmp.Or(p.MinBackoff, 250*time.Millisecond),
		MaxBackoff:       cmp.Or(p.MaxBackoff, 10*time.Second),
		MaxRateLimitWait: cmp.Or(p.MaxRateLimitWait, 5*time.Minute),
	}
}

// backoff is the wait before the next attempt after a number of failures,
// from 1. A random number in [0, 1) spreads the callers that failed together.
func (p RetryPolicy) backoff(failures int, random float64) time.Duration {
	wait := p.MaxBackoff
	if doublings := failures - 1; doublings < 30 && p.MinBackoff < p.MaxBackoff>>doublings {
		wait = p.MinBackoff << doublings
	}
	return wait - time.Duration(random*float64(wait/2))
}

// statusOutcome is what a status alone says of the change that was asked for.
// 202 promises nothing yet; 408 and 5xx are answered by proxies as well, which
// do not know what the server behind them did.
func statusOutcome(status int) Outcome {
	switch {
	case status == http.StatusAccepted, status == http.StatusRequestTimeout:
		return OutcomeUnknown
	case isSuccess(status):
		return OutcomeApplied
	case status >= 300 && status <= 499:
		return OutcomeNotApplied
	default:
		return OutcomeUnknown
	}
}

func isSuccess(status int) bool { return status >= 200 && status <= 299 }

// statusMayPass reports whether the same request may fare better soon.
func statusMayPass(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// provesNothingSent reports whether an error from a transport is of a kind
// that comes up only before a request is written.
func provesNothingSent(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}

// endsBefore reports whether the context has ended, or will have by then.
func endsBefore(ctx context.Context, then time.Time) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && deadline.Before(then)
}
