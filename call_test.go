package tokenpatch_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/internal/faulttest/pair"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// The calls of these tests: what may be sent again, and what may not.
var (
	v1         = apiV1.Call
	idempotent = apiV2.Call
	unsafe     = appendRole
)

// refusing is a response with 429 with a header, or without one.
func refusing(header ...string) tokenpatchtest.Fault {
	fault := tokenpatchtest.Fault{Status: 429}
	if len(header) > 0 {
		fault.Header = http.Header{header[0]: {header[1]}}
	}
	return fault
}

// Repetitions, their times and their ends. The bounds are the documented ones: up to half of a
// backoff is omitted, and up to a tenth of a pause is added, 5 s at most.
func TestTryAgain(t *testing.T) {
	const (
		before = tokenpatchtest.CutBefore
		after  = tokenpatchtest.CutAfter
		ms     = time.Millisecond
	)
	tests := []struct {
		name        string
		call        func(context.Context, *tokenpatch.Client) error
		faults      []tokenpatchtest.Fault
		policy      tokenpatch.RetryPolicy
		types       []string // of the error; nil for success
		outcome     tokenpatch.Outcome
		sent        int
		changes     int
		least, most time.Duration
	}{
		{name: "V1 500", call: v1, faults: responses(500), outcome: applied, sent: 2, changes: 1, least: 125 * ms, most: 250 * ms},
		{name: "V1 502", call: v1, faults: responses(502), outcome: applied, sent: 2, changes: 1, least: 125 * ms, most: 250 * ms},
		{name: "V1 503", call: v1, faults: responses(503), outcome: applied, sent: 2, changes: 1, least: 125 * ms, most: 250 * ms},
		{name: "V1 504", call: v1, faults: responses(504), outcome: applied, sent: 2, changes: 1, least: 125 * ms, most: 250 * ms},
		{name: "V1 409", call: v1, faults: responses(409), types: []string{"Conflict"}, outcome: notApplied, sent: 1},
		{name: "V1 cut before", call: v1, faults: cuts(before), outcome: applied, sent: 2, changes: 1, least: 125 * ms, most: 250 * ms},
		{name: "V1 cut after", call: v1, faults: cuts(after), outcome: applied, sent: 2, changes: 2, least: 125 * ms, most: 250 * ms},

		{name: "500", call: idempotent, faults: responses(500), outcome: applied, sent: 2, changes: 1, least: 125 * ms, most: 250 * ms},
		{name: "502, 503, 504", call: idempotent, faults: responses(502, 503, 504), outcome: applied, sent: 4, changes: 1, least: 875 * ms, most: 1750 * ms},
		{name: "503 four times", call: idempotent, faults: responses(503, 503, 503, 503), types: []string{"Server", "OutcomeUnknown"}, outcome: unknown, sent: 4, least: 875 * ms, most: 1750 * ms},
		{name: "cut before", call: idempotent, faults: cuts(before), outcome: applied, sent: 2, changes: 1, least: 125 * ms, most: 250 * ms},
		{name: "cut after", call: idempotent, faults: cuts(after), outcome: applied, sent: 2, changes: 2, least: 125 * ms, most: 250 * ms},
		{name: "cut four times", call: idempotent, faults: cuts(before, after, before, after), types: []string{"OutcomeUnknown"}, outcome: unknown, sent: 4, changes: 2, least: 875 * ms, most: 1750 * ms},

		{name: "unsafe 500", call: unsafe, faults: responses(500), types: []string{"Server", "OutcomeUnknown"}, outcome: unknown, sent: 1},
		{name: "unsafe 502", call: unsafe, faults: responses(502), types: []string{"Server", "OutcomeUnknown"}, outcome: unknown, sent: 1},
		{name: "unsafe 503", call: unsafe, faults: responses(503), types: []string{"Server", "OutcomeUnknown"}, outcome: unknown, sent: 1},
		{name: "unsafe 504", call: unsafe, faults: responses(504), types: []string{"Server", "OutcomeUnknown"}, outcome: unknown, sent: 1},
		{name: "unsafe cut before", call: unsafe, faults: cuts(before), types: []string{"OutcomeUnknown"}, outcome: unknown, sent: 1},
		{name: "unsafe cut after", call: unsafe, faults: cuts(after), types: []string{"OutcomeUnknown"}, outcome: unknown, sent: 1, changes: 1},
		{name: "unsafe 409", call: unsafe, faults: responses(409), outcome: applied, sent: 2, changes: 1, least: 125 * ms, most: 250 * ms},
		{name: "unsafe 429", call: unsafe, faults: responses(429), outcome: applied, sent: 2, changes: 1, least: 10 * time.Second, most: 11 * time.Second},
		{name: "unsafe 409, 503", call: unsafe, faults: responses(409, 503), types: []string{"Server", "OutcomeUnknown"}, outcome: unknown, sent: 2, least: 125 * ms, most: 250 * ms},

		{name: "409", call: idempotent, faults: responses(409), outcome: applied, sent: 2, changes: 1, least: 125 * ms, most: 250 * ms},
		{name: "409 four times", call: idempotent, faults: responses(409, 409, 409, 409), types: []string{"Conflict"}, outcome: notApplied, sent: 4, least: 875 * ms, most: 1750 * ms},

		{name: "429 without headers", call: idempotent, faults: responses(429), outcome: applied, sent: 2, changes: 1, least: 10 * time.Second, most: 11 * time.Second},
		{name: "429 twice", call: idempotent, faults: responses(429, 429), outcome: applied, sent: 3, changes: 1, least: 20 * time.Second, most: 22 * time.Second},
		{name: "429 on V1", call: v1, faults: responses(429), outcome: applied, sent: 2, changes: 1, least: 10 * time.Second, most: 11 * time.Second},
		{name: "429 and Retry-After", call: idempotent, faults: []tokenpatchtest.Fault{refusing("Retry-After", "7")}, outcome: applied, sent: 2, changes: 1, least: 7 * time.Second, most: 7700 * ms},
		{name: "429 and a long Retry-After", call: idempotent, faults: []tokenpatchtest.Fault{refusing("Retry-After", "300")}, outcome: applied, sent: 2, changes: 1, least: 300 * time.Second, most: 305 * time.Second},
		{name: "one attempt is one, whatever the response", call: idempotent, faults: responses(429), policy: tokenpatch.RetryPolicy{MaxAttempts: 1}, types: []string{"RateLimited"}, outcome: notApplied, sent: 1},
		{name: "429 does not count as an attempt", call: idempotent, faults: responses(429, 429, 429), policy: tokenpatch.RetryPolicy{MaxAttempts: 2}, outcome: applied, sent: 4, changes: 1, least: 30 * time.Second, most: 33 * time.Second},
		{name: "503 and Retry-After", call: idempotent, faults: []tokenpatchtest.Fault{{Status: 503, Header: http.Header{"Retry-After": {"20"}}}}, outcome: applied, sent: 2, changes: 1, least: 20 * time.Second, most: 22 * time.Second},

		{name: "only once", call: idempotent, faults: responses(503), policy: tokenpatch.RetryPolicy{MaxAttempts: 1}, types: []string{"Server", "OutcomeUnknown"}, outcome: unknown, sent: 1},
		{name: "twice", call: idempotent, faults: responses(503, 503), policy: tokenpatch.RetryPolicy{MaxAttempts: 2}, types: []string{"Server", "OutcomeUnknown"}, outcome: unknown, sent: 2, least: 125 * ms, most: 250 * ms},
		{name: "a backoff of its own", call: idempotent, faults: responses(503, 503, 503), policy: tokenpatch.RetryPolicy{MinBackoff: 2 * time.Second, MaxBackoff: 3 * time.Second}, outcome: applied, sent: 4, changes: 1, least: 4 * time.Second, most: 8 * time.Second},
		{name: "a least backoff above the longest", call: idempotent, faults: responses(503), policy: tokenpatch.RetryPolicy{MinBackoff: time.Hour, MaxBackoff: time.Second}, outcome: applied, sent: 2, changes: 1, least: 500 * ms, most: time.Second},

		{name: "403 after 503", call: idempotent, faults: responses(503, 403), types: []string{"Forbidden", "OutcomeUnknown"}, outcome: unknown, sent: 2, least: 125 * ms, most: 250 * ms},
		{name: "V1 422 after a cut", call: v1, faults: append(cuts(after), responses(422)...), types: []string{"Validation", "OutcomeUnknown"}, outcome: unknown, sent: 2, changes: 1, least: 125 * ms, most: 250 * ms},
		{name: "422 after a cut", call: idempotent, faults: append(cuts(before), responses(422)...), types: []string{"PatchFailed", "OutcomeUnknown"}, outcome: unknown, sent: 2, least: 125 * ms, most: 250 * ms},
		{name: "400 after 503", call: idempotent, faults: responses(503, 400), types: []string{"InvalidRequest", "OutcomeUnknown"}, outcome: unknown, sent: 2, least: 125 * ms, most: 250 * ms},
		{name: "a redirect after 503", call: idempotent, faults: responses(503, 302), types: []string{"OutcomeUnknown"}, outcome: unknown, sent: 2, least: 125 * ms, most: 250 * ms},
		{name: "409 after 503, then success", call: idempotent, faults: responses(503, 409), outcome: applied, sent: 3, changes: 1, least: 375 * ms, most: 750 * ms},
		{name: "409 after 503 to the end", call: idempotent, faults: responses(503, 409, 409, 409), types: []string{"Conflict", "OutcomeUnknown"}, outcome: unknown, sent: 4, least: 875 * ms, most: 1750 * ms},
		{name: "429 after 503, then success", call: idempotent, faults: responses(503, 429), outcome: applied, sent: 3, changes: 1, least: 10125 * ms, most: 11250 * ms},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t, retries(test.policy))
				service.Inject(test.faults...)
				began := time.Now()

				err := test.call(t.Context(), client)

				took := time.Since(began)
				assert.Equal(t, test.types, typesOf(err), "%v", err)
				assert.Equal(t, test.types == nil, err == nil, "%v", err)
				assertOutcome(t, test.outcome, err)
				assert.Equal(t, test.sent, service.RequestCount())
				assert.Equal(t, test.changes, service.Changes(idV1)+service.Changes(idV2))
				assert.GreaterOrEqual(t, took, test.least)
				assert.LessOrEqual(t, took, test.most)
			})
		})
	}
}

// The whole text of an error after an attempt whose outcome was unknown, and what can be found in it.
func TestRefusalAfterAnUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.Inject(
			tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter},
			tokenpatchtest.Fault{Status: 403, Body: `{"code":"forbidden_code","message":"Not you.","id":"abc"}`},
		)

		err := patchName(t.Context(), client)

		require.EqualError(t, err, "tokenpatch: PATCH "+apiV2.Target()+": outcome unknown: "+
			"403 forbidden_code: Not you. (support id abc) (2 attempts)")
		unknown := assertAs[*tokenpatch.OutcomeUnknownError](t, err)
		assert.Equal(t, apiV2.Info(), unknown.CallInfo)
		assert.Equal(t, 2, unknown.Attempts)
		assert.Equal(t, "Not you.", assertAs[*tokenpatch.ForbiddenError](t, err).Message)
		assert.Equal(t, 1, service.Changes(idV2))
	})
}

// One refusal whose headers say when the window ends: the next attempt is sent then,
// wherever the server's clock is.
func TestRefusalIsWaitedOutUntilReset(t *testing.T) {
	for name, offset := range map[string]time.Duration{"same clock": 0, "ahead": 3 * time.Hour, "behind": -3 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t)
				service.SetClockOffset(offset)
				reset := time.Now().Add(offset + 4*time.Second).UnixMilli()
				service.Inject(refusing("X-Ratelimit-Reset", strconv.FormatInt(reset, 10)))
				began := time.Now()
				require.NoError(t, patchName(t.Context(), client))
				// Bubbles begin on a whole second, so one Date shows the offset exactly.
				assert.GreaterOrEqual(t, time.Since(began), 4*time.Second)
				assert.LessOrEqual(t, time.Since(began), 4400*time.Millisecond)
			})
		})
	}
}

// What a window allows is sent in it, the rest in the next one, and nothing is refused.
func TestCallsWaitForTheNextWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 2, Floating: true})
		began := time.Now()
		for range 3 {
			require.NoError(t, patchName(t.Context(), client))
		}
		assert.GreaterOrEqual(t, time.Since(began), 10*time.Second)
		assert.LessOrEqual(t, time.Since(began), 11*time.Second)
		assert.Equal(t, 3, service.RequestCount())
	})
}

func TestRateLimitedTooLong(t *testing.T) {
	for _, a := range apis {
		t.Run(a.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t)
				service.Inject(refusing("Retry-After", "3600"))
				began := time.Now()

				err := a.Call(t.Context(), client)

				assert.Zero(t, time.Since(began), "it does not wait for what it will not wait out")
				got := assertAs[*tokenpatch.RateLimitedError](t, err)
				assert.Equal(t, 429, got.StatusCode)
				assert.Equal(t, 1, got.Attempts)
				assert.Equal(t, a.Info(), got.CallInfo)
				assert.Equal(t, time.Hour, got.RetryAfter)
				assertOutcome(t, notApplied, err)
				assert.Equal(t, 1, service.RequestCount())
			})
		})
	}
}

func TestRateLimitedBeyondAllBounds(t *testing.T) {
	for _, value := range []string{"31536000", "1e30", "99999999999999999999999", "9223372036854775807"} {
		t.Run(value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t)
				service.Inject(refusing("Retry-After", value))
				began := time.Now()
				got := assertAs[*tokenpatch.RateLimitedError](t, patchName(t.Context(), client))
				assert.Zero(t, time.Since(began))
				assert.Equal(t, time.Hour, got.RetryAfter, "it asks again after an hour at most")
			})
		})
	}
}

// With a larger bound the same wait is waited out.
func TestRateLimitWaitWithinTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t, retries(tokenpatch.RetryPolicy{MaxRateLimitWait: 2 * time.Hour}))
		service.Inject(refusing("Retry-After", "3600"))
		began := time.Now()
		require.NoError(t, patchName(t.Context(), client))
		assert.GreaterOrEqual(t, time.Since(began), time.Hour)
		assert.LessOrEqual(t, time.Since(began), time.Hour+5*time.Second)
	})
}

// A deadline before the limit opens ends a call at once, with nothing sent.
func TestRateLimitOpensAfterDeadline(t *testing.T) {
	for _, a := range apis {
		t.Run(a.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t)
				service.Inject(refusing("Retry-After", "30"))
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()

				for sent := range 2 { // the second call finds the service shut
					err := a.Call(ctx, client)
					require.NoError(t, ctx.Err())
					got := assertAs[*tokenpatch.RateLimitedError](t, err)
					assert.Equal(t, 1-sent, got.Attempts)
					assert.GreaterOrEqual(t, got.RetryAfter, 30*time.Second)
					require.ErrorIs(t, err, context.DeadlineExceeded)
					assert.Zero(t, service.Changes(a.ID))
					assertOutcome(t, notApplied, err)
				}
				assert.Zero(t, time.Since(began))
				assert.Equal(t, 1, service.RequestCount())
			})
		})
	}
}

// A wait beyond the limit does not settle an attempt before it.
func TestRateLimitedTooLongAfterAnUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.Inject(tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter}, refusing("Retry-After", "3600"))
		err := patchName(t.Context(), client)
		assert.Equal(t, []string{"RateLimited", "OutcomeUnknown"}, typesOf(err))
		assertOutcome(t, unknown, err)
		assert.Equal(t, 1, service.Changes(idV2))
	})
}

// The caller's context ends everything at once, wherever a call is.
func TestContextEnds(t *testing.T) {
	slow := []tokenpatchtest.Fault{{Delay: time.Minute, Times: -1}}
	late := []tokenpatchtest.Fault{{DelayAfter: time.Minute, Times: -1}}
	long := tokenpatch.RetryPolicy{MinBackoff: time.Minute, MaxBackoff: time.Minute}
	tests := []struct {
		name    string
		call    func(context.Context, *tokenpatch.Client) error
		faults  []tokenpatchtest.Fault
		policy  tokenpatch.RetryPolicy
		types   []string
		outcome tokenpatch.Outcome
		sent    int
		changes int
	}{
		{"in an attempt", idempotent, slow, tokenpatch.RetryPolicy{}, []string{"OutcomeUnknown"}, unknown, 1, 0},
		{"in an attempt that was applied", idempotent, late, tokenpatch.RetryPolicy{}, []string{"OutcomeUnknown"}, unknown, 1, 1},
		{"V1 in an attempt", v1, slow, tokenpatch.RetryPolicy{}, []string{"OutcomeUnknown"}, unknown, 1, 0},
		{"in a backoff after 503", idempotent, responses(503), long, []string{"Server", "OutcomeUnknown"}, unknown, 1, 0},
		{"in a backoff after 409", idempotent, responses(409), long, []string{"Conflict"}, notApplied, 1, 0},
		{"waiting for the rate limit", idempotent, responses(429), tokenpatch.RetryPolicy{}, []string{"RateLimited"}, notApplied, 1, 0},
		{"V1 waiting for the rate limit", v1, responses(429), tokenpatch.RetryPolicy{}, []string{"RateLimited"}, notApplied, 1, 0},
		{"waiting for the rate limit after an unknown outcome", idempotent, responses(503, 429), tokenpatch.RetryPolicy{}, []string{"RateLimited", "OutcomeUnknown"}, unknown, 2, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t, retries(test.policy))
				service.Inject(test.faults...)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(3*time.Second, cancel)
				began := time.Now()

				err := test.call(ctx, client)

				assert.Equal(t, 3*time.Second, time.Since(began), "it ends at once")
				require.ErrorIs(t, err, context.Canceled)
				require.NotErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, test.types, typesOf(err), "%v", err)
				assertOutcome(t, test.outcome, err)
				assert.Equal(t, test.sent, service.RequestCount())
				assert.Equal(t, test.changes, service.Changes(idV1)+service.Changes(idV2))
			})
		})
	}
}

// A done context sends nothing.
func TestContextHasEnded(t *testing.T) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	expired, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancel()
	for _, a := range apis {
		for _, ctx := range []context.Context{canceled, expired} {
			service, client := newPair(t)
			err := a.Call(ctx, client)
			require.ErrorIs(t, err, ctx.Err())
			assert.Zero(t, assertAs[*tokenpatch.NotSentError](t, err).Attempts)
			require.EqualError(t, err, "tokenpatch: PATCH "+a.Target()+": request not sent: "+ctx.Err().Error())
			assertOutcome(t, notApplied, err)
			assert.Zero(t, service.RequestCount())
		}
	}
}

// The HTTP client's timeout applies to one attempt, not to the call.
func TestAttemptTimeout(t *testing.T) {
	const timeout = 5 * time.Second
	short := func(c *tokenpatch.Config) { c.HTTPClient.Timeout = timeout }
	slow := tokenpatchtest.Fault{Delay: time.Minute}
	tests := []struct {
		name        string
		change      func(*tokenpatch.Config)
		faults      []tokenpatchtest.Fault
		call        func(context.Context, *tokenpatch.Client) error
		outcome     tokenpatch.Outcome
		sent        int
		least, most time.Duration
	}{
		{"tried again", short, []tokenpatchtest.Fault{slow}, idempotent, applied, 2, timeout + 125*time.Millisecond, timeout + 250*time.Millisecond},
		{"unsafe", short, []tokenpatchtest.Fault{slow}, unsafe, unknown, 1, timeout, timeout},
		{"every time", short, []tokenpatchtest.Fault{slow, slow, slow, slow}, idempotent, unknown, 4, 4*timeout + 875*time.Millisecond, 4*timeout + 1750*time.Millisecond},
		{"default", func(*tokenpatch.Config) {}, []tokenpatchtest.Fault{slow}, unsafe, unknown, 1, 30 * time.Second, 30 * time.Second},
		{"waits do not count", short, []tokenpatchtest.Fault{refusing("Retry-After", "60")}, unsafe, applied, 2, time.Minute, 65 * time.Second},
		{"backoffs do not count", func(c *tokenpatch.Config) {
			c.HTTPClient.Timeout = timeout
			c.Retry = tokenpatch.RetryPolicy{MinBackoff: time.Minute, MaxBackoff: time.Minute}
		}, responses(503), idempotent, applied, 2, 30 * time.Second, time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t, test.change)
				service.Inject(test.faults...)
				began := time.Now()

				err := test.call(t.Context(), client)

				assertOutcome(t, test.outcome, err)
				if test.outcome == unknown {
					require.ErrorIs(t, err, context.DeadlineExceeded)
				}
				assert.Equal(t, test.sent, service.RequestCount())
				assert.GreaterOrEqual(t, time.Since(began), test.least)
				assert.LessOrEqual(t, time.Since(began), test.most)
			})
		})
	}
}

// stalled is a body with one byte, then silence until the request ends.
type stalled struct {
	ctx   context.Context
	begun bool
}

func (s *stalled) Close() error { return nil }

func (s *stalled) Read(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		return copy(p, `{"_id":"`+idV2+`",`), nil
	}
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

// An attempt lasts until the last byte of its response.
func TestAttemptTimeoutOfBody(t *testing.T) {
	for _, test := range []struct {
		status  int
		outcome tokenpatch.Outcome
	}{{200, applied}, {403, notApplied}, {500, unknown}} {
		t.Run(strconv.Itoa(test.status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, client := newPair(t, through(func(r *http.Request) (*http.Response, error) {
					response := respond(test.status, "application/json", "")
					response.Body, response.ContentLength = &stalled{ctx: r.Context()}, -1
					return response, nil
				}), func(c *tokenpatch.Config) { c.HTTPClient.Timeout = 5 * time.Second })
				began := time.Now()
				err := appendRole(t.Context(), client)
				assert.Equal(t, 5*time.Second, time.Since(began))
				assert.Equal(t, test.status, assertAs[*tokenpatch.APIError](t, err).StatusCode)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assertOutcome(t, test.outcome, err)
			})
		})
	}
}

func TestDeadlineInAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.Inject(tokenpatchtest.Fault{Delay: time.Minute, Times: -1})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		err := patchName(ctx, client)
		assert.Equal(t, 3*time.Second, time.Since(began))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assertOutcome(t, unknown, err)
		assert.Equal(t, 1, service.RequestCount())
	})
}

// A backoff beyond the deadline fails at once.
func TestDeadlineBeforeBackoffEnds(t *testing.T) {
	long := tokenpatch.RetryPolicy{MinBackoff: time.Minute, MaxBackoff: time.Minute}
	for _, test := range []struct {
		status  int
		types   []string
		outcome tokenpatch.Outcome
	}{
		{503, []string{"Server", "OutcomeUnknown"}, unknown},
		{409, []string{"Conflict"}, notApplied},
	} {
		t.Run(strconv.Itoa(test.status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r record
				service, client := newPair(t, retries(long), r.hooks)
				service.Inject(responses(test.status)...)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				began := time.Now()
				err := patchName(ctx, client)
				assert.Zero(t, time.Since(began))
				assert.Equal(t, test.types, typesOf(err))
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.NotContains(t, err.Error(), "\n")
				assertOutcome(t, test.outcome, err)
				assert.Empty(t, r.waits)
			})
		})
	}
}

// The same after a transport error, whose text is part of the one line.
func TestDeadlineBeforeBackoffEndsAfterRefusedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client := newPair(t, flaky(errNoListener), retries(tokenpatch.RetryPolicy{MinBackoff: time.Minute, MaxBackoff: time.Minute}))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := patchName(ctx, client)
		require.EqualError(t, err, "tokenpatch: PATCH "+apiV2.Target()+": request not sent: "+
			"dial tcp: connection refused; no time is left for another attempt: context deadline exceeded")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assertOutcome(t, notApplied, err)
	})
}

// Each backoff doubles, up to the longest, and leaves out up to half of itself.
func TestBackoffs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r record
		service, client := newPair(t, retries(tokenpatch.RetryPolicy{MaxAttempts: 9}), r.hooks)
		service.Inject(tokenpatchtest.Fault{Status: 503, Times: -1})
		began := time.Now()

		err := patchName(t.Context(), client)

		assert.Equal(t, 9, assertAs[*tokenpatch.OutcomeUnknownError](t, err).Attempts)
		require.Len(t, r.waits, 8)
		var total time.Duration
		for i, longest := range []int{250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000} {
			longest := time.Duration(longest) * time.Millisecond
			assert.LessOrEqual(t, r.waits[i].Duration, longest)
			assert.GreaterOrEqual(t, r.waits[i].Duration, longest/2)
			total += r.waits[i].Duration
		}
		assert.Equal(t, total, time.Since(began), "what was reported is what was waited")
	})
}

// errNoListener is a transport's error for a closed port.
var errNoListener = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

// If no connection was made, any patch is tried again.
func TestConnectionRefused(t *testing.T) {
	for name, call := range map[string]func(context.Context, *tokenpatch.Client) error{"V1": v1, "idempotent": idempotent, "unsafe": unsafe} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r record
				_, client := newPair(t, r.hooks, func(c *tokenpatch.Config) {
					c.HTTPClient = &http.Client{Transport: &http.Transport{
						DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return nil, errNoListener },
					}}
				})
				began := time.Now()

				err := call(t.Context(), client)

				assert.Equal(t, 4, assertAs[*tokenpatch.NotSentError](t, err).Attempts)
				require.ErrorIs(t, err, syscall.ECONNREFUSED)
				assertOutcome(t, notApplied, err)
				assert.Len(t, r.attempts, 4)
				for _, a := range r.attempts {
					assert.Equal(t, notApplied, a.Outcome)
				}
				assert.GreaterOrEqual(t, time.Since(began), 875*time.Millisecond)
			})
		})
	}
}

// flaky makes the first attempts fail with the non-nil errs, and passes all other requests on.
func flaky(errs ...error) func(*tokenpatch.Config) {
	return func(c *tokenpatch.Config) {
		next := c.HTTPClient.Transport
		c.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if len(errs) > 0 {
				err := errs[0]
				errs = errs[1:]
				if err != nil {
					return nil, err
				}
			}
			return next.RoundTrip(r)
		})}
	}
}

func TestConnectionRefusedAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t, flaky(errNoListener, errNoListener))
		require.NoError(t, appendRole(t.Context(), client))
		assert.Equal(t, 1, service.Changes(idV2))
	})
}

// A failed connection does not settle an attempt before it.
func TestConnectionRefusedAfterAnUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t, flaky(nil, errNoListener, errNoListener, errNoListener))
		service.Inject(cuts(tokenpatchtest.CutAfter)...)
		err := patchName(t.Context(), client)
		assert.Equal(t, []string{"OutcomeUnknown"}, typesOf(err))
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		assertOutcome(t, unknown, err)
		assert.Equal(t, 1, service.Changes(idV2))
	})
}

// A transport of the caller's proves that nothing was sent only if it read nothing of the body,
// whatever its error is.
func TestErrorsOfOtherTransports(t *testing.T) {
	takes := map[string]struct {
		take    func(*http.Request) error
		outcome tokenpatch.Outcome
	}{
		"nothing":        {func(*http.Request) error { return nil }, notApplied},
		"a byte":         {func(r *http.Request) error { _, err := r.Body.Read(make([]byte, 1)); return err }, unknown},
		"all of it":      {func(r *http.Request) error { _, err := io.Copy(io.Discard, r.Body); return err }, unknown},
		"another reader": {func(r *http.Request) error { _, err := r.GetBody(); return err }, unknown},
	}
	for _, failure := range []error{errNoListener, &net.OpError{Op: "read", Err: syscall.ECONNRESET}, io.EOF, errors.New("dial")} {
		for name, test := range takes {
			t.Run(failure.Error()+" after taking "+name, func(t *testing.T) {
				_, client := newPair(t, retries(tokenpatch.RetryPolicy{MaxAttempts: 1}), through(func(r *http.Request) (*http.Response, error) {
					require.NoError(t, test.take(r))
					return nil, failure
				}))
				err := appendRole(t.Context(), client)
				require.ErrorIs(t, err, failure)
				assertOutcome(t, test.outcome, err)
			})
		}
	}
}

// A transport that fails over to another address, with a context of its own, sends a request
// without a trace.
func TestTransportThatFailsOver(t *testing.T) {
	service, _ := newPair(t)
	first := roundTripper(func(r *http.Request) (*http.Response, error) { // it applies the change, and breaks
		response, err := service.Client().Transport.RoundTrip(r.WithContext(context.WithoutCancel(t.Context())))
		if err == nil {
			_ = response.Body.Close()
		}
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	})
	second := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return nil, errNoListener }}
	client := newClientAt(t, "https://localhost", roundTripper(func(r *http.Request) (*http.Response, error) {
		if _, err := first.RoundTrip(r); err == nil {
			return nil, errors.New("the first address is to fail")
		}
		return second.RoundTrip(r)
	}), 4)
	err := appendRole(t.Context(), client)
	assertOutcome(t, unknown, err)
	assert.Equal(t, 1, service.Changes(idV2))
}

// Real sockets: a closed port, and an untrusted certificate.
func TestNothingSentOverLoopback(t *testing.T) {
	service := tokenpatchtest.New()
	refusing, err := service.Listen()
	require.NoError(t, err)
	service.Close()
	secure := tokenpatchtest.New()
	t.Cleanup(secure.Close)
	untrusted, _, err := secure.ListenTLS()
	require.NoError(t, err)
	for name, base := range map[string]string{"refused": refusing, "untrusted": untrusted} {
		t.Run(name, func(t *testing.T) {
			client, err := tokenpatch.NewClient(tokenpatch.Config{
				V2:    tokenpatch.V2Config{BaseURL: base, AccessToken: tokenpatchtest.AccessToken},
				Retry: tokenpatch.RetryPolicy{MaxAttempts: 1},
			})
			require.NoError(t, err)
			defer client.CloseIdleConnections()
			err = appendRole(t.Context(), client)
			assert.Equal(t, 1, assertAs[*tokenpatch.NotSentError](t, err).Attempts)
			assertOutcome(t, notApplied, err)
		})
	}
	assert.Zero(t, secure.RequestCount())
}

// Broken HTTP/2 streams are treated like broken connections.
func TestCutsOverHTTP2(t *testing.T) {
	for _, test := range []struct {
		name    string
		call    func(context.Context, *tokenpatch.Client) error
		cut     tokenpatchtest.Cut
		outcome tokenpatch.Outcome
		sent    int
		changes int
	}{
		{"unsafe before", unsafe, tokenpatchtest.CutBefore, unknown, 1, 0},
		{"unsafe after", unsafe, tokenpatchtest.CutAfter, unknown, 1, 1},
		{"unsafe middle", unsafe, tokenpatchtest.CutMiddle, applied, 1, 1},
		{"idempotent before", idempotent, tokenpatchtest.CutBefore, applied, 2, 1},
		{"idempotent after", idempotent, tokenpatchtest.CutAfter, applied, 2, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			service, _ := newPair(t)
			base, trusting, err := service.ListenTLS()
			require.NoError(t, err)
			client, err := tokenpatch.NewClient(tokenpatch.Config{
				V2:         tokenpatch.V2Config{BaseURL: base, AccessToken: tokenpatchtest.AccessToken},
				HTTPClient: trusting,
				Retry:      tokenpatch.RetryPolicy{MinBackoff: time.Nanosecond},
			})
			require.NoError(t, err)
			defer client.CloseIdleConnections()
			service.Inject(cuts(test.cut)...)
			assertOutcome(t, test.outcome, test.call(t.Context(), client))
			assert.Equal(t, test.sent, service.RequestCount())
			assert.Equal(t, test.changes, service.Changes(idV2))
		})
	}
}

// A guarded patch is sent again: the applied first attempt makes the second fail, and the error
// mentions this without certainty.
func TestGuardedPatchIsSentAgain(t *testing.T) {
	guarded := tokenpatch.NewPatch().Test(tokenpatch.PathName, "Example reader token").SetName("new")
	for name, test := range map[string]struct {
		fault   tokenpatchtest.Fault
		outcome tokenpatch.Outcome
		text    string
	}{
		"the first was applied":     {tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter}, unknown, "outcome unknown, probably applied by an earlier attempt: 422 patch_failed"},
		"the first was not applied": {tokenpatchtest.Fault{Status: 503}, applied, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t)
				service.Inject(test.fault)
				_, err := client.V2.PatchToken(t.Context(), idV2, guarded)
				assertOutcome(t, test.outcome, err)
				assert.Equal(t, 1, service.Changes(idV2))
				assert.Equal(t, 2, service.RequestCount())
				if test.text != "" {
					assert.ErrorContains(t, err, test.text)
					assertAs[*tokenpatch.PatchFailedError](t, err)
				}
			})
		})
	}
}

// A context that ends while a response is judged is part of the error, if there would have been
// another attempt.
func TestContextEndsBetweenAttempts(t *testing.T) {
	for _, status := range []int{429, 503, 409} {
		ctx, cancel := context.WithCancel(t.Context())
		service, client := newPair(t, func(c *tokenpatch.Config) {
			c.Hooks.AttemptEnd = func(context.Context, tokenpatch.AttemptResult) { cancel() }
		})
		service.Inject(tokenpatchtest.Fault{Status: status})
		err := patchName(ctx, client)
		require.ErrorIs(t, err, context.Canceled, status)
		assert.Equal(t, status, assertAs[*tokenpatch.APIError](t, err).StatusCode)
		assert.Equal(t, 1, service.RequestCount())
	}
}

// A nil *Client is a nil pointer, as anywhere; the calls of nil services return errors.
func TestNilClient(t *testing.T) {
	var client *tokenpatch.Client
	assert.Panics(t, func() { _ = client.V1 })
	var v1 *tokenpatch.V1Tokens
	var v2 *tokenpatch.V2Tokens
	_, err := v2.PatchToken(t.Context(), idV2, nil)
	for _, err := range []error{v1.UpdateToken(t.Context(), uuid.Nil, tokenpatch.TokenUpdate{}), err} {
		require.EqualError(t, err, "tokenpatch: Client: zero: want a client made by NewClient")
	}
	assert.NotPanics(t, client.CloseIdleConnections)
}

// Every attempt of a call sends the patch as it was when the call began.
func TestPatchIsCopiedForItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		patch := tokenpatch.NewPatch().SetName("first")
		var bodies []string
		_, client := newPair(t, through(func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			bodies = append(bodies, string(body))
			patch.SetName("second").AddCustomRoleID("unsafe").Comment("late")
			return respond(503, "", ""), nil
		}))
		_, err := client.V2.PatchToken(t.Context(), idV2, patch)
		require.Error(t, err)
		const want = `[{"op":"replace","path":"/name","value":"first"}]`
		assert.Equal(t, []string{want, want, want, want}, bodies)
	})
}

// What a program changes in a Config or an http.Client after NewClient has no effect.
func TestConfigIsCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var config *tokenpatch.Config // the client's config
		service, client := newPair(t, func(c *tokenpatch.Config) {
			c.Retry.MaxAttempts = 2
			config = c
		})
		*config.HTTPClient = http.Client{Timeout: 1, Transport: roundTripper(func(*http.Request) (*http.Response, error) { panic("not this one") })}
		*config = tokenpatch.Config{
			V1: tokenpatch.V1Config{BaseURL: "https://evil.example", APIKey: "changed"},
			V2: tokenpatch.V2Config{BaseURL: "https://evil.example", AccessToken: "changed", APIVersion: 1},
			Hooks: tokenpatch.Hooks{
				AttemptEnd: func(context.Context, tokenpatch.AttemptResult) { panic("not this one") },
				WaitEnd:    func(context.Context, tokenpatch.WaitInfo) { panic("not this one") },
			},
			UserAgent: "changed", MaxResponseBytes: 1, Logger: slog.New(slog.NewTextHandler(panicWriter{}, nil)),
			Retry: tokenpatch.RetryPolicy{MaxAttempts: 1},
		}
		for _, a := range apis {
			service.Inject(tokenpatchtest.Fault{Status: 503})
			require.NoError(t, a.Call(t.Context(), client))
		}
		for _, r := range service.Requests() {
			assert.Equal(t, "tokenpatch/"+tokenpatch.Version, r.Header.Get("User-Agent"))
		}
	})
}

type panicWriter struct{}

func (panicWriter) Write([]byte) (int, error) { panic("not this one") }

// If a transport ignores its context, the call ends a second after the attempt's timeout or the
// caller's deadline, in every phase. Its error makes no claim about the abandoned transport.
func TestTransportsThatIgnoreTheContext(t *testing.T) {
	const timeout, grace = 5 * time.Second, time.Second
	for name, test := range map[string]struct {
		send    func(h *pair.Hung) (*http.Response, error)
		status  int
		outcome tokenpatch.Outcome
	}{
		"no response": {func(h *pair.Hung) (*http.Response, error) { <-h.Over; return nil, io.EOF }, 0, unknown},
		"a body that never comes": {func(h *pair.Hung) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: h}, nil
		}, 200, unknown},
		"a refusal's body that never comes": {func(h *pair.Hung) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusForbidden, Body: h}, nil
		}, 403, notApplied},
		"a body that cannot be closed": {func(h *pair.Hung) (*http.Response, error) {
			h.Closing = true
			return &http.Response{StatusCode: http.StatusForbidden, Body: h}, nil
		}, 403, notApplied},
	} {
		for end, limit := range map[string]time.Duration{"timeout": timeout, "deadline": 2 * time.Second} {
			t.Run(name+"/"+end, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHung(t)
					_, client := newPair(t, through(func(r *http.Request) (*http.Response, error) {
						_, _ = io.Copy(io.Discard, r.Body)
						return test.send(h)
					}),
						func(c *tokenpatch.Config) { c.HTTPClient.Timeout = timeout })
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					if end == "deadline" {
						ctx, cancel = context.WithTimeout(t.Context(), limit)
					}
					defer cancel()
					began := time.Now()

					err := appendRole(ctx, client)

					assert.Equal(t, limit+grace, time.Since(began))
					assertOutcome(t, test.outcome, err)
					if test.status != 0 {
						assert.Equal(t, test.status, assertAs[*tokenpatch.APIError](t, err).StatusCode)
					} else {
						assert.Contains(t, err.Error(), "it ignored the end of its context")
					}
					if !h.Closing {
						require.ErrorIs(t, err, context.DeadlineExceeded)
					}
				})
			})
		}
	}
}

// An abandoned transport cannot send a body it did not read in time.
func TestTransportThatSendsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, _ := newPair(t)
		dial := make(chan struct{})
		slow := service.Client().Transport.(*http.Transport)
		connect := slow.DialContext
		slow.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			<-dial
			return connect(ctx, network, address)
		}
		client := newClientAt(t, "http://localhost", roundTripper(func(r *http.Request) (*http.Response, error) {
			return slow.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
		}), 4)

		err := appendRole(t.Context(), client)

		assertAs[*tokenpatch.NotSentError](t, err)
		assertOutcome(t, notApplied, err)
		close(dial)
		synctest.Wait()
		assert.Zero(t, service.Changes(idV2))
		slow.CloseIdleConnections()
	})
}

// A response after the end of its call is closed, and its connection can be used again.
func TestLateResponsesAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := make(chan struct{})
		body := &closing{}
		_, client := newPair(t, through(func(r *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-late
			return &http.Response{StatusCode: http.StatusOK, Body: body}, nil
		}))
		assertOutcome(t, unknown, appendRole(t.Context(), client))
		close(late)
		synctest.Wait()
		assert.True(t, body.closed)
	})
}

type closing struct{ closed bool }

func (*closing) Read([]byte) (int, error) { return 0, io.EOF }
func (c *closing) Close() error           { c.closed = true; return nil }

// A transport that ends its goroutine ends the caller's, as t.FailNow does.
func TestTransportThatExitsEndsItsCaller(t *testing.T) {
	_, client := newPair(t, through(func(*http.Request) (*http.Response, error) { runtime.Goexit(); return nil, nil }))
	ended, returned := make(chan struct{}), false
	go func() {
		defer close(ended)
		_ = patchName(context.Background(), client)
		returned = true
	}()
	<-ended
	assert.False(t, returned)
}

// A credential function that never returns holds no permit of the rate limit for longer than an
// attempt may last, and its call sends nothing.
func TestCredentialFuncThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		service, client := newPair(t, func(c *tokenpatch.Config) {
			c.V2.AccessToken = ""
			c.V2.AccessTokenFunc = func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) { <-over; return "late", nil }
		})
		began := time.Now()
		err := patchName(t.Context(), client)
		assert.Equal(t, 31*time.Second, time.Since(began))
		assertAs[*tokenpatch.NotSentError](t, err)
		assertOutcome(t, notApplied, err)
		assert.Zero(t, service.RequestCount())
		close(over)
	})
}

// admitOneAtATime makes a client's limiter admit one attempt at a time: the next one as soon as
// none is in flight, and not before.
func admitOneAtATime(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
	t.Helper()
	require.NoError(t, patchName(t.Context(), client)) // no limits so far
	service.Inject(tokenpatchtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}})
	require.NoError(t, patchName(t.Context(), client)) // after the pause, as a probe
	service.Inject(tokenpatchtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}})
}

// A panic of the caller's code passes through its call, and leaves everything else unchanged: the
// attempt's permit is there for the next one.
func TestPanicsLeaveTheLimiterIntact(t *testing.T) {
	var broken bool
	breakNow := func() {
		if broken {
			broken = false
			panic("broken")
		}
	}
	for name, change := range map[string]func(*tokenpatch.Config){
		"CallStart": func(c *tokenpatch.Config) {
			c.Hooks.CallStart = func(ctx context.Context, _ tokenpatch.CallInfo) context.Context { breakNow(); return ctx }
		},
		"WaitStart": func(c *tokenpatch.Config) {
			c.Hooks.WaitStart = func(context.Context, tokenpatch.WaitInfo) { breakNow() }
		},
		"WaitEnd": func(c *tokenpatch.Config) {
			c.Hooks.WaitEnd = func(context.Context, tokenpatch.WaitInfo) { breakNow() }
		},
		"AttemptStart": func(c *tokenpatch.Config) {
			c.Hooks.AttemptStart = func(ctx context.Context, _ *tokenpatch.AttemptInfo) context.Context { breakNow(); return ctx }
		},
		"AttemptEnd": func(c *tokenpatch.Config) {
			c.Hooks.AttemptEnd = func(context.Context, tokenpatch.AttemptResult) { breakNow() }
		},
		"CallEnd": func(c *tokenpatch.Config) {
			c.Hooks.CallEnd = func(context.Context, tokenpatch.CallResult) { breakNow() }
		},
		"Logger": func(c *tokenpatch.Config) { c.Logger = slog.New(panicHandler{breakNow, slog.DiscardHandler}) },
		"Transport": func(c *tokenpatch.Config) {
			next := c.HTTPClient.Transport
			through(func(r *http.Request) (*http.Response, error) { breakNow(); return next.RoundTrip(r) })(c)
		},
		"AccessTokenFunc": func(c *tokenpatch.Config) {
			c.V2.AccessToken = ""
			c.V2.AccessTokenFunc = func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) {
				breakNow()
				return tokenpatchtest.AccessToken, nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t, change)
				for range 20 {
					admitOneAtATime(t, service, client)
					broken = true
					assert.PanicsWithValue(t, "broken", func() { _ = patchName(t.Context(), client) })
					began := time.Now()
					require.NoError(t, patchName(t.Context(), client))
					assert.Less(t, time.Since(began), 3*time.Second, "the pause, and a wait for nobody")
				}
			})
		})
	}
}

type panicHandler struct {
	now func()
	slog.Handler
}

func (panicHandler) Enabled(context.Context, slog.Level) bool    { return true }
func (h panicHandler) Handle(context.Context, slog.Record) error { h.now(); return nil }

// A blocking hook delays only its own call if it holds no permit, however tight the rate limit.
func TestHooksThatBlock(t *testing.T) {
	for _, hook := range []string{"CallStart", "WaitStart", "AttemptEnd", "CallEnd"} {
		t.Run(hook, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				armed := false
				over := make(chan struct{})
				block := func() {
					mu.Lock()
					mine := armed
					armed = false
					mu.Unlock()
					if mine {
						<-over
					}
				}
				service, client := newPair(t, func(c *tokenpatch.Config) {
					switch hook {
					case "CallStart":
						c.Hooks.CallStart = func(ctx context.Context, _ tokenpatch.CallInfo) context.Context { block(); return ctx }
					case "WaitStart":
						c.Hooks.WaitStart = func(context.Context, tokenpatch.WaitInfo) { block() }
					case "AttemptEnd":
						c.Hooks.AttemptEnd = func(_ context.Context, a tokenpatch.AttemptResult) {
							if a.Status != 429 {
								block()
							}
						}
					case "CallEnd":
						c.Hooks.CallEnd = func(context.Context, tokenpatch.CallResult) { block() }
					}
				})
				admitOneAtATime(t, service, client)
				armed = true
				first := make(chan error, 1)
				go func() { first <- patchName(t.Context(), client) }()
				synctest.Wait()
				time.Sleep(10 * time.Second)
				for range 10 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					require.NoError(t, patchName(ctx, client))
					cancel()
				}
				assert.Empty(t, first, "it is still in its hook")
				close(over)
				require.NoError(t, <-first)
			})
		})
	}
}

// Every field of a Config except the credential has a default. A nil pointer as Transport counts as
// none.
func TestConfigDefaults(t *testing.T) {
	for _, config := range []tokenpatch.Config{{}, {HTTPClient: &http.Client{}}, {HTTPClient: &http.Client{Transport: (*http.Transport)(nil)}}} {
		config.V2 = tokenpatch.V2Config{AccessToken: "x", BaseURL: "http://127.0.0.1:0"}
		config.Retry.MaxAttempts = 1
		client, err := tokenpatch.NewClient(config)
		require.NoError(t, err)
		assertAs[*tokenpatch.NotSentError](t, patchName(t.Context(), client))
		client.CloseIdleConnections()
	}
}

// The largest possible limit does not overflow.
func TestLargestMaxResponseBytes(t *testing.T) {
	_, client := newPair(t, func(c *tokenpatch.Config) { c.MaxResponseBytes = 1<<63 - 1 })
	require.NoError(t, patchName(t.Context(), client))
}

// Concurrent calls do not affect each other, whatever breaks in some of them.
func TestCallsAreIndependent(t *testing.T) {
	_, client := newPair(t, through(func(r *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(r.Body)
		if bytes.Contains(body, []byte("broken")) {
			panic("broken")
		}
		return respond(200, "application/json", `{"_id":"`+idV2+`","name":`+string(body[bytes.Index(body, []byte(`"value":`))+8:len(body)-2])+`}`), nil
	}))
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			name := uuid.NewString()
			if i%3 == 0 {
				assert.Panics(t, func() { _, _ = client.V2.PatchToken(t.Context(), idV2, tokenpatch.NewPatch().SetName("broken")) })
				return
			}
			token, err := client.V2.PatchToken(t.Context(), idV2, tokenpatch.NewPatch().SetName(name))
			if assert.NoError(t, err) {
				assert.Equal(t, name, token.Name.Or(""))
			}
		})
	}
	wg.Wait()
}

// A Logger that panics on a record about the store ends neither the process nor a call.
func TestLoggerThatPanicsAboutTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := atomic.Int64{}
		_, client := newPair(t, func(c *tokenpatch.Config) {
			c.Logger = slog.New(storePanics{slog.DiscardHandler, &told})
			c.Budget, c.V1.Account, c.V2.Account = brokenBudget{}, "acme", "acme"
		})
		require.NoError(t, patchName(t.Context(), client))
		time.Sleep(time.Minute)
		assert.Positive(t, told.Load())
	})
}

// storePanics is a handler that panics on records about a store.
type storePanics struct {
	slog.Handler
	told *atomic.Int64
}

func (storePanics) Enabled(context.Context, slog.Level) bool { return true }

func (h storePanics) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "store") {
		h.told.Add(1)
		panic("no room for a log")
	}
	return nil
}

type brokenBudget struct{}

func (brokenBudget) Update(context.Context, string, func([]byte, time.Time) ([]byte, time.Duration, error)) error {
	return errors.New("no such store")
}
