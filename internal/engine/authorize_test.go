package engine_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/engine"
)

// After a 401 the credential is asked for once more, with the refused one. Another one is tried at
// once.
func TestAuthorizeAsksForAnotherCredential(t *testing.T) {
	for name, test := range map[string]struct {
		other    string
		err      error
		second   int // the status of the second response
		attempts int
		effect   engine.Effect
	}{
		"another one":         {"other-credential", nil, 204, 2, engine.Applied},
		"refused as well":     {"other-credential", nil, 401, 2, engine.NotApplied},
		"the same":            {"first-credential", nil, 204, 1, engine.NotApplied},
		"none":                {"", errors.New("no other"), 204, 1, engine.NotApplied},
		"then a server error": {"other-credential", nil, 503, 4, engine.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{responses: []response{{status: 401}, {status: test.second}}}
				e := newEngine(s)
				var refusals []string
				e.Credential = func(_ context.Context, refused string) (string, error) {
					if refused == "" {
						return "first-credential", nil
					}
					refusals = append(refusals, refused)
					return test.other, test.err
				}
				result := e.Do(t.Context(), newRequest())
				assert.Equal(t, []string{"first-credential"}, refusals, "once in a call")
				assert.Equal(t, test.attempts, result.Attempts)
				assert.Equal(t, test.effect, result.Effect)
				require.NoError(t, result.Stopped)
				if test.attempts > 1 {
					assert.Contains(t, s.requests[1], "Bearer other-credential")
				}
			})
		})
	}
}

// The shared header never gets a credential, and a sent credential is known as a secret.
func TestAuthorizeKeepsTheCredentialToItself(t *testing.T) {
	s := &server{responses: []response{{status: 204}}}
	e, request := newEngine(s), newRequest()
	result := e.Do(t.Context(), request)
	require.Equal(t, engine.Applied, result.Effect)
	assert.Equal(t, http.Header{"X-Own": {"own"}}, request.Header)
	assert.Equal(t, "[redacted]", request.Secrets.Clean("first-credential"))
	assert.Equal(t, "[redacted]", e.Known.Secrets().Clean("first-credential"))
}

// Without a credential nothing is sent.
func TestAuthorizeWithoutCredential(t *testing.T) {
	s := &server{responses: []response{{status: 204}}}
	e := newEngine(s)
	e.Credential = func(context.Context, string) (string, error) { return "", errors.New("the vault is closed") }
	result := e.Do(t.Context(), newRequest())
	require.EqualError(t, result.Stopped, "the vault is closed")
	assert.Equal(t, engine.NotApplied, result.Effect)
	assert.Zero(t, result.Attempts)
	assert.Empty(t, s.requests)
}
