package engine

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
	defaults := Policy{MinBackoff: 250 * time.Millisecond, MaxBackoff: 10 * time.Second}
	const longest = time.Duration(math.MaxInt64)
	tests := []struct {
		name     string
		policy   Policy
		failures int
		want     time.Duration // without a random part
	}{
		{"first", defaults, 1, 250 * time.Millisecond},
		{"second", defaults, 2, 500 * time.Millisecond},
		{"sixth", defaults, 6, 8 * time.Second},
		{"seventh", defaults, 7, 10 * time.Second},
		{"hundredth", defaults, 100, 10 * time.Second},
		{"no overflow", Policy{MinBackoff: time.Hour, MaxBackoff: longest}, 64, longest},
		{"no overflow at once", Policy{MinBackoff: longest, MaxBackoff: longest}, 1, longest},
		{"a power that just fits", Policy{MinBackoff: 1, MaxBackoff: longest}, 30, 1 << 29},
		{"the largest number of failures", Policy{MinBackoff: 1, MaxBackoff: time.Second}, math.MaxInt, time.Second},
		{"the least is the longest", Policy{MinBackoff: time.Second, MaxBackoff: time.Second}, 1, time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, test.policy.Backoff(test.failures, 0))
			almost := test.policy.Backoff(test.failures, math.Nextafter(1, 0))
			assert.GreaterOrEqual(t, almost, test.want/2)
			assert.LessOrEqual(t, almost, test.want)
		})
	}
}

// rule is what classify returns.
type rule struct {
	effect Effect
	next   next
}

// Every status has a rule, and so has every invalid number.
func TestClassifyStatus(t *testing.T) {
	for status := -1; status <= 1000; status++ {
		want := rule{Unknown, never} // 1xx, 300 to 306, 424, 460, 499, what is not registered, 5xx
		switch {
		case status == 429:
			want = rule{NotApplied, whenAdmitted}
		case status == 409:
			want = rule{NotApplied, ifConflict}
		case status == 401:
			want = rule{NotApplied, withCredential}
		case status == 408, status == 500, 502 <= status && status <= 504, 520 <= status && status <= 529, status/100 == 2:
			want = rule{Unknown, ifReplayable}
		case 400 <= status && status <= 407, 410 <= status && status <= 418, 421 <= status && status <= 423,
			status == 425, status == 426, status == 428, status == 431, status == 451, status == 307, status == 308:
			want = rule{NotApplied, never}
		}
		effect, next := classifyStatus(status)
		assert.Equal(t, want, rule{effect, next}, status)
	}
}

// What an attempt without a response proves.
func TestClassifyWithoutResponse(t *testing.T) {
	dial := func(err error) error { return fmt.Errorf("wrapped: %w", &net.OpError{Op: "dial", Err: err}) }
	for name, test := range map[string]struct {
		result httpsend.Result
		want   rule
	}{
		"sent":              {httpsend.Result{Err: io.EOF}, rule{Unknown, ifReplayable}},
		"not sent":          {httpsend.Result{Err: dial(syscall.ECONNREFUSED), NotSent: true}, rule{NotApplied, withBackoff}},
		"no such host":      {httpsend.Result{Err: dial(&net.DNSError{IsNotFound: true}), NotSent: true}, rule{NotApplied, onceForHost}},
		"no name server":    {httpsend.Result{Err: dial(&net.DNSError{IsTimeout: true}), NotSent: true}, rule{NotApplied, withBackoff}},
		"a certificate":     {httpsend.Result{Err: &tls.CertificateVerificationError{Err: io.EOF}, NotSent: true}, rule{NotApplied, onceForHost}},
		"no TLS":            {httpsend.Result{Err: tls.RecordHeaderError{}, NotSent: true}, rule{NotApplied, onceForHost}},
		"HTTP for HTTPS":    {httpsend.Result{Err: http.ErrSchemeMismatch, NotSent: true}, rule{NotApplied, onceForHost}},
		"a TLS alert":       {httpsend.Result{Err: tls.AlertError(70), NotSent: true}, rule{NotApplied, onceForHost}},
		"a TLS alert, late": {httpsend.Result{Err: tls.AlertError(70)}, rule{Unknown, ifReplayable}},
	} {
		t.Run(name, func(t *testing.T) {
			effect, next := classify(&test.result)
			assert.Equal(t, test.want, rule{effect, next})
		})
	}
}
