package engine_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/engine"
	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

func refusal(retryAfter string) response {
	return response{status: 429, header: http.Header{"Retry-After": {retryAfter}}}
}

// A refusal by the rate limit is sent again when the limit admits it, however often, and counts as no attempt of MaxAttempts.
func TestLimitWaitsForItsPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{responses: []response{refusal("7"), refusal("7"), refusal("7"), refusal("7"), {status: 204}}}
		began := time.Now()
		result := newEngine(s).Do(t.Context(), newRequest())
		assert.Equal(t, engine.Applied, result.Effect)
		assert.Equal(t, 5, result.Attempts)
		assert.GreaterOrEqual(t, time.Since(began), 28*time.Second)
	})
}

// A limit with a late opening ends the call with the refusal.
func TestLimitThatOpensTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{responses: []response{refusal("3600")}}
		e := newEngine(s)
		began := time.Now()
		result := e.Do(t.Context(), newRequest())
		var closed *ratelimit.ClosedError
		require.ErrorAs(t, result.Stopped, &closed)
		assert.Equal(t, 429, result.Status)
		assert.Zero(t, time.Since(began))

		result = e.Do(t.Context(), newRequest())
		require.ErrorAs(t, result.Stopped, &closed)
		assert.Zero(t, result.Attempts, "the next call is not sent")
		assert.Len(t, s.requests, 1)
	})
}

// An unused permit is there for the next call: after a call without a credential, and after a
// panic.
func TestLimitTakesPermitsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{responses: []response{refusal("1"), {status: 204}}}
		e := newEngine(s)
		e.Policy.MaxAttempts = 1
		supply := e.Credential
		e.Do(t.Context(), newRequest()) // from now on one attempt at a time is admitted, as a probe
		time.Sleep(2 * time.Second)
		began := time.Now()

		e.Credential = func(context.Context, string) (string, error) { return "", errors.New("no credential") }
		require.EqualError(t, e.Do(t.Context(), newRequest()).Stopped, "no credential")
		e.Credential = func(context.Context, string) (string, error) { panic("no credential") }
		require.Panics(t, func() { e.Do(t.Context(), newRequest()) })

		e.Credential = supply
		assert.Equal(t, engine.Applied, e.Do(t.Context(), newRequest()).Effect)
		assert.Zero(t, time.Since(began), "nobody waits until the others count as lost")
	})
}

// What was not sent has spent nothing of the limit.
func TestLimitIsNotSpentByWhatWasNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reset := fmt.Sprint(time.Now().Add(9 * time.Second).UnixMilli())
		left := func(n int) response {
			return response{status: 204, header: http.Header{"X-Ratelimit-Global-Remaining": {fmt.Sprint(n)}, "X-Ratelimit-Reset": {reset}}}
		}
		s := &server{responses: []response{left(2), left(1), left(0)}}
		e := newEngine(s)
		supply := e.Credential
		e.Do(t.Context(), newRequest())
		e.Credential = func(context.Context, string) (string, error) { return "", errors.New("no credential") }
		for range 2 {
			require.EqualError(t, e.Do(t.Context(), newRequest()).Stopped, "no credential")
		}
		e.Credential = supply
		began := time.Now()
		for range 2 {
			assert.Equal(t, engine.Applied, e.Do(t.Context(), newRequest()).Effect)
		}
		assert.Zero(t, time.Since(began), "both are sent in this window")
	})
}

// A server that refuses every attempt ends the call.
func TestLimitThatNeverAdmits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		result := newEngine(&server{responses: []response{refusal("1")}}).Do(t.Context(), newRequest())
		assert.Equal(t, 100, result.Attempts)
		assert.Equal(t, engine.NotApplied, result.Effect)
		assert.Equal(t, http.StatusTooManyRequests, result.Status)
	})
}

// A 503 that asks to wait holds up all calls, a 500 only its own.
func TestLimitHoldsAllCallsWhileTheServiceIsUnavailable(t *testing.T) {
	for status, wait := range map[int]time.Duration{503: 20 * time.Second, 500: 0} {
		synctest.Test(t, func(t *testing.T) {
			s := &server{responses: []response{{status: status, header: http.Header{"Retry-After": {"20"}}}, {status: 204}}}
			e := newEngine(s)
			e.Policy.MaxAttempts = 1
			e.Do(t.Context(), newRequest())
			began := time.Now()
			assert.Equal(t, engine.Applied, e.Do(t.Context(), newRequest()).Effect)
			assert.GreaterOrEqual(t, time.Since(began), wait)
			assert.LessOrEqual(t, time.Since(began), wait+wait/10)
		})
	}
}
