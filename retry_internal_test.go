package tokenpatch

import (
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
)

// The extremes of a backoff, which no call reaches.
func TestBackoffBounds(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	tests := []struct {
		name     string
		policy   RetryPolicy
		failures int
		want     time.Duration // where nothing is left out
	}{
		{"first", RetryPolicy{}.withDefaults(), 1, 250 * time.Millisecond},
		{"second", RetryPolicy{}.withDefaults(), 2, 500 * time.Millisecond},
		{"sixth", RetryPolicy{}.withDefaults(), 6, 8 * time.Second},
		{"seventh", RetryPolicy{}.withDefaults(), 7, 10 * time.Second},
		{"hundredth", RetryPolicy{}.withDefaults(), 100, 10 * time.Second},
		{"no overflow", RetryPolicy{MinBackoff: time.Hour, MaxBackoff: longest}, 64, longest},
		{"no overflow at once", RetryPolicy{MinBackoff: longest, MaxBackoff: longest}, 1, longest},
		{"a power that just fits", RetryPolicy{MinBackoff: 1, MaxBackoff: longest}, 30, 1 << 29},
		{"the largest number of failures", RetryPolicy{MinBackoff: 1, MaxBackoff: time.Second}, math.MaxInt, time.Second},
		{"the least is the longest", RetryPolicy{MinBackoff: time.Second, MaxBackoff: time.Second}, 1, time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, test.policy.backoff(test.failures, 0))
			almost := test.policy.backoff(test.failures, math.Nextafter(1, 0))
			assert.GreaterOrEqual(t, almost, test.want/2)
			assert.LessOrEqual(t, almost, test.want)
		})
	}
}

func TestRetryPolicyDefaults(t *testing.T) {
	assert.Equal(t, RetryPolicy{
		MaxAttempts: 4, MinBackoff: 250 * time.Millisecond, MaxBackoff: 10 * time.Second, MaxRateLimitWait: 5 * time.Minute,
	}, RetryPolicy{}.withDefaults())
	own := RetryPolicy{MaxAttempts: 1, MinBackoff: 2, MaxBackoff: 3, MaxRateLimitWait: 4}
	assert.Equal(t, own, own.withDefaults())
}

// Every status has a rule, and so has every number that is no status.
func TestRuleOfStatus(t *testing.T) {
	for status := -1; status <= 1000; status++ {
		want := rule{OutcomeUnknown, retryNever} // 1xx, 300 to 306, 424, 460, 499, what is not registered, 5xx
		switch {
		case status == 429:
			want = rule{OutcomeNotApplied, retryAdmitted}
		case status == 409:
			want = rule{OutcomeNotApplied, retryConflict}
		case status == 401:
			want = rule{OutcomeNotApplied, retryRenewed}
		case status == 408, status == 500, 502 <= status && status <= 504, 520 <= status && status <= 529, status/100 == 2:
			want = rule{OutcomeUnknown, retryReplayed}
		case 400 <= status && status <= 407, 410 <= status && status <= 418, 421 <= status && status <= 423,
			status == 425, status == 426, status == 428, status == 431, status == 451, status == 307, status == 308:
			want = rule{OutcomeNotApplied, retryNever}
		}
		assert.Equal(t, want, ruleOfStatus(status), status)
	}
}

// What an attempt without a response proves.
func TestRuleWithoutResponse(t *testing.T) {
	dial := func(err error) error { return fmt.Errorf("wrapped: %w", &net.OpError{Op: "dial", Err: err}) }
	for name, test := range map[string]struct {
		result httpsend.Result
		want   rule
	}{
		"sent":              {httpsend.Result{Err: io.EOF}, rule{OutcomeUnknown, retryReplayed}},
		"not sent":          {httpsend.Result{Err: dial(syscall.ECONNREFUSED), NotSent: true}, rule{OutcomeNotApplied, retryBackoff}},
		"no such host":      {httpsend.Result{Err: dial(&net.DNSError{IsNotFound: true}), NotSent: true}, rule{OutcomeNotApplied, retryOnce}},
		"no name server":    {httpsend.Result{Err: dial(&net.DNSError{IsTimeout: true}), NotSent: true}, rule{OutcomeNotApplied, retryBackoff}},
		"a certificate":     {httpsend.Result{Err: &tls.CertificateVerificationError{Err: io.EOF}, NotSent: true}, rule{OutcomeNotApplied, retryOnce}},
		"no TLS":            {httpsend.Result{Err: tls.RecordHeaderError{}, NotSent: true}, rule{OutcomeNotApplied, retryOnce}},
		"HTTP for HTTPS":    {httpsend.Result{Err: http.ErrSchemeMismatch, NotSent: true}, rule{OutcomeNotApplied, retryOnce}},
		"a TLS alert":       {httpsend.Result{Err: tls.AlertError(70), NotSent: true}, rule{OutcomeNotApplied, retryOnce}},
		"a TLS alert, late": {httpsend.Result{Err: tls.AlertError(70)}, rule{OutcomeUnknown, retryReplayed}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, ruleOf(&test.result)) })
	}
}
