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
	"github.com/tokenpatch/tokenpatch/internal/httpsend"
)

// recorder is an Observer with a record of its calls.
type recorder struct{ events []string }

func (r *recorder) WaitStart(_ context.Context, reason engine.Reason, length time.Duration) {
	r.events = append(r.events, fmt.Sprintf("wait %s %t", reason, length > 0))
}

func (r *recorder) WaitEnd(_ context.Context, reason engine.Reason, took time.Duration) {
	r.events = append(r.events, fmt.Sprintf("waited %s %t", reason, took > 0))
}

type key struct{}

func (r *recorder) AttemptStart(ctx context.Context, number int, request *http.Request) context.Context {
	request.Header.Set("Authorization", "of the observer")
	r.events = append(r.events, fmt.Sprintf("attempt %d", number))
	return context.WithValue(ctx, key{}, number)
}

func (r *recorder) AttemptEnd(ctx context.Context, a *engine.Attempt) {
	r.events = append(r.events, fmt.Sprintf("attempt %d of %v: %d, %d, %v", a.Number, ctx.Value(key{}), a.Status, a.Effect, a.Took))
}

// Each wait and each attempt begins and ends, in order, and what an observer changes is sent.
func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{responses: []response{{status: 503}, refusal("2"), {status: 204}}}
		r, request := &recorder{}, newRequest()
		request.Observer = r
		began := time.Now()
		result := newEngine(s).Do(t.Context(), request)
		assert.Equal(t, []string{
			"attempt 1", "attempt 1 of 1: 503, 0, 0s", "wait backoff true", "waited backoff true",
			"attempt 2", "attempt 2 of 2: 429, 2, 0s", "wait retry_after false", "waited retry_after true",
			"attempt 3", "attempt 3 of 3: 204, 1, 0s",
		}, r.events)
		assert.Equal(t, time.Since(began), result.Waited)
		assert.Equal(t, "PATCH /path text of the observer", s.requests[0])
	})
}

// No returned error contains a credential.
func TestObserveRedacts(t *testing.T) {
	e := newEngine(nil)
	e.Policy.MaxAttempts = 1
	e.Sender.Transport = failing{errors.New("first-credential was refused")}
	result := e.Do(t.Context(), newRequest())
	require.EqualError(t, result.Err, "[redacted] was refused")

	e.Sender.Transport = &server{responses: []response{{status: 200}}}
	request := newRequest()
	request.Rules = echo{}
	require.EqualError(t, e.Do(t.Context(), request).Invalid, "not [redacted]")
}

type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

// echo has rules whose errors quote the credential.
type echo struct{ rules }

func (echo) Read(*httpsend.Result) (engine.Effect, error) {
	return engine.Unknown, errors.New("not first-credential")
}
