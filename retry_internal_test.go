package tokenpatch

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
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

// Every status that there is has an outcome, and few of them may pass.
func TestStatusOutcome(t *testing.T) {
	want := func(status int) Outcome {
		switch {
		case status == 202, status == 408:
			return OutcomeUnknown
		case status/100 == 2:
			return OutcomeApplied
		case status/100 == 3, status/100 == 4:
			return OutcomeNotApplied
		}
		return OutcomeUnknown
	}
	mayPass := map[int]bool{500: true, 502: true, 503: true, 504: true}
	for status := -1; status <= 1000; status++ {
		assert.Equal(t, want(status), statusOutcome(status), status)
		assert.Equal(t, mayPass[status], statusMayPass(status), status)
	}
}

// What the progress of an attempt proves, by what net/http reported of it.
func TestProvesNothingSent(t *testing.T) {
	broken := errors.New("broken")
	dial := fmt.Errorf("wrapped: %w", &net.OpError{Op: "dial", Err: broken})
	one, another := net.Conn(&net.TCPConn{}), net.Conn(&net.UnixConn{})
	type event = func(*progress)
	getConn, headers := func(p *progress) { p.trace().GetConn("") }, func(p *progress) { p.trace().WroteHeaders() }
	got := func(c net.Conn) event { return func(p *progress) { p.trace().GotConn(httptrace.GotConnInfo{Conn: c}) } }
	whole := func(p *progress) { p.trace().WroteRequest(httptrace.WroteRequestInfo{}) }
	failed := func(p *progress) { p.trace().WroteRequest(httptrace.WroteRequestInfo{Err: broken}) }
	replay := func(p *progress) { _, _ = p.getBody() }
	tests := []struct {
		name   string
		events []event
		err    error
		want   bool
	}{
		{"nothing reported, a dial", nil, dial, true},
		{"nothing reported, a certificate", nil, &tls.CertificateVerificationError{Err: broken}, true},
		{"nothing reported, a read", nil, &net.OpError{Op: "read", Err: broken}, false},
		{"nothing reported, any error", nil, broken, false},
		{"no connection", []event{getConn}, broken, true},
		{"no connection, wanted to replay", []event{getConn, replay}, broken, true},
		{"headers", []event{getConn, got(one), headers}, broken, false},
		{"headers, a dial later", []event{getConn, got(one), headers, getConn}, dial, false},
		{"headers, wanted to replay", []event{getConn, got(one), headers, replay}, broken, true},
		{"body not written, wanted to replay", []event{getConn, got(one), headers, failed, replay}, broken, true},
		{"body not written", []event{getConn, got(one), headers, failed}, broken, false},
		{"all written", []event{getConn, got(one), headers, whole}, broken, false},
		{"all written, wanted to replay", []event{getConn, got(one), headers, whole, replay}, broken, false},
		{"all written, wanted to replay on the same connection", []event{getConn, got(one), headers, whole, replay, got(one)}, broken, true},
		{"all written, wanted to replay on another", []event{getConn, got(one), headers, whole, replay, got(another)}, broken, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := progress{cancel: func() {}}
			for _, event := range test.events {
				event(&p)
			}
			assert.Equal(t, test.want, p.provesNothingSent(test.err))
		})
	}
}
