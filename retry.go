package tokenpatch

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
)

// RetryPolicy is how often and how soon a call is tried again. The zero value is
// the default. Whether a request may be sent again at all is another question: see
// [Patch.Replay].
type RetryPolicy struct {
	// MaxAttempts is how many attempts a call may make. An attempt that ends with
	// a 429 does not count, and neither does one that ends with a 401 where a
	// function then supplies another credential. 0 means 4; 1 means no second
	// attempt.
	MaxAttempts int

	// MinBackoff is the wait before the second attempt. It doubles with each
	// further attempt; a random part of each wait, up to half of it, is left out.
	// 0 means 250 ms.
	MinBackoff time.Duration

	// MaxBackoff is the longest such wait. 0 means 10 s.
	MaxBackoff time.Duration

	// MaxRateLimitWait is the longest wait that a server may declare with
	// Retry-After or X-Ratelimit-Reset. A longer one ends a call at once, with a
	// [*RateLimitedError]. 0 means 5 minutes.
	MaxRateLimitWait time.Duration
}

// maxRefusals is how many responses 429 end a call. The limiter waits before
// each attempt, so that only a server that never admits anybody gets there.
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

// retry says when there may be another attempt after one that ended in a
// certain way.
type retry int

const (
	retryNever    retry = iota
	retryBackoff        // it was not applied, and may be next time
	retryReplayed       // where the request may be sent again although it may have been applied
	retryConflict       // where the API says that another request was in the way
	retryAdmitted       // as soon as the rate limit admits it
	retryRenewed        // with another credential
	retryOnce           // once for the host: what is wrong with it will hardly go away
)

// rule is what the end of an attempt says of the change, and of another attempt.
type rule struct {
	outcome Outcome
	retry   retry
}

// ruleOf is the rule for an attempt that was not a success. That of a status
// 2xx is for those that are not what the API documents, such as a proxy's page.
func ruleOf(r *httpsend.Result) rule {
	switch {
	case r.NotSent && isHostWrong(r.Err):
		return rule{OutcomeNotApplied, retryOnce}
	case r.NotSent:
		return rule{OutcomeNotApplied, retryBackoff}
	case r.Status == 0:
		return rule{OutcomeUnknown, retryReplayed}
	default:
		return ruleOfStatus(r.Status)
	}
}

// ruleOfStatus says what a status proves whoever sent it, be it a proxy: RFC
// 9110 section 15. A status that is not registered proves nothing.
func ruleOfStatus(status int) rule {
	switch status {
	case http.StatusTooManyRequests:
		return rule{OutcomeNotApplied, retryAdmitted}
	case http.StatusConflict:
		return rule{OutcomeNotApplied, retryConflict}
	case http.StatusUnauthorized:
		return rule{OutcomeNotApplied, retryRenewed}
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect, // they ask for the same request elsewhere
		400, 402, 403, 404, 405, 406, 407, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 425, 426, 428, 431, 451:
		return rule{OutcomeNotApplied, retryNever}
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return rule{OutcomeUnknown, retryReplayed}
	}
	if isSuccess(status) || status >= 520 && status <= 529 { // of proxies that could not reach the server, or did not understand it
		return rule{OutcomeUnknown, retryReplayed}
	}
	return rule{OutcomeUnknown, retryNever}
}

func isSuccess(status int) bool { return status >= 200 && status <= 299 }

// isHostWrong reports whether an attempt ended, before there was a connection,
// because of what the host is: its name is unknown, or its certificate or its
// TLS does not match.
func isHostWrong(err error) bool {
	var name *net.DNSError
	if errors.As(err, &name) {
		return name.IsNotFound
	}
	return errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(tls.RecordHeaderError)) ||
		errors.As(err, new(tls.AlertError)) || errors.Is(err, http.ErrSchemeMismatch)
}

// errNoTime is why a call ends before its context: the wait for another
// attempt would outlast it.
var errNoTime = fmt.Errorf("no time is left for another attempt: %w", context.DeadlineExceeded)

// endsBefore reports whether the context has ended, or will have by then.
func endsBefore(ctx context.Context, then time.Time) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && deadline.Before(then)
}
