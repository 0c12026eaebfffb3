package engine_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/engine"
	"github.com/tokenpatch/tokenpatch/internal/httpsend"
	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
	"github.com/tokenpatch/tokenpatch/internal/redact"
)

// server responds to the attempts of a test, one after the other, and records them.
type server struct {
	responses []response // the last one is repeated
	requests  []string   // "method path body Authorization"
}

type response struct {
	status int // 0 breaks the connection after the request was read
	header http.Header
	body   string
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	s.requests = append(s.requests, fmt.Sprintf("%s %s %s %s", r.Method, r.URL.Path, body, r.Header.Get("Authorization")))
	one := s.responses[min(len(s.requests), len(s.responses))-1]
	if one.status == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	header := one.header
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: one.status, Header: header, Body: io.NopCloser(strings.NewReader(one.body))}, nil
}

func newEngine(s *server) *engine.Engine {
	return &engine.Engine{
		Sender:  &httpsend.Sender{Transport: s, Timeout: 10 * time.Second, MaxBody: 1 << 10},
		Limiter: ratelimit.New(ratelimit.Options{MaxWait: time.Minute}),
		Policy:  engine.Policy{MaxAttempts: 3, MinBackoff: time.Second, MaxBackoff: time.Second, MaxRateLimitWait: time.Minute},
		Scheme:  "Bearer ",
		Credential: func(context.Context, string) (string, error) {
			return "first-credential", nil
		},
		Known: redact.NewKnown(),
	}
}

// rules are those of an endpoint whose success is a status 204.
type rules struct{ replayable bool }

func (r rules) Replayable() bool { return r.replayable }

func (rules) Read(r *httpsend.Result) (engine.Effect, error) {
	if r.Status == http.StatusNoContent {
		return engine.Applied, nil
	}
	return engine.Unknown, fmt.Errorf("status %d", r.Status)
}

func newRequest() *engine.Request {
	return &engine.Request{
		Method: http.MethodPatch, URL: &url.URL{Scheme: "http", Host: "host", Path: "/path"},
		Header: http.Header{"X-Own": {"own"}}, Body: []byte("text"), Route: "PATCH /path", Rules: rules{replayable: true},
	}
}

// A call sends the whole request with each attempt, until one succeeds.
func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{responses: []response{{status: 503}, {}, {status: 204}}}
		began := time.Now()
		result := newEngine(s).Do(t.Context(), newRequest())
		assert.Equal(t, engine.Applied, result.Effect)
		assert.True(t, result.Unknown, "of the first two")
		assert.Equal(t, 3, result.Attempts)
		require.NoError(t, result.Stopped)
		assert.Equal(t, []string{
			"PATCH /path text Bearer first-credential", "PATCH /path text Bearer first-credential", "PATCH /path text Bearer first-credential",
		}, s.requests)
		took := time.Since(began)
		assert.True(t, time.Second <= took && took <= 2*time.Second, "two backoffs, each less a part: %v", took)
	})
}

// When the attempts are used up, or another one is not allowed, the last result counts.
func TestDoEnds(t *testing.T) {
	for name, test := range map[string]struct {
		replayable bool
		response   response
		attempts   int
		effect     engine.Effect
		unknown    bool
	}{
		"attempts used up":             {true, response{status: 502, body: "down"}, 3, engine.Unknown, true},
		"not replayable":               {false, response{status: 502, body: "down"}, 1, engine.Unknown, true},
		"refused":                      {true, response{status: 403, body: "no"}, 1, engine.NotApplied, false},
		"a conflict that is none here": {true, response{status: 409, body: "no"}, 1, engine.NotApplied, false},
		"a page":                       {true, response{status: 200, body: "page"}, 3, engine.Unknown, true},
		"a redirect":                   {true, response{status: 302, header: http.Header{"Location": {"http://elsewhere/"}}}, 1, engine.Unknown, true},
		"one that asks for the same":   {true, response{status: 308, header: http.Header{"Location": {"http://elsewhere/"}}}, 1, engine.NotApplied, false},
		"a location that is no URL":    {true, response{status: 302, header: http.Header{"Location": {"%first-credential"}}}, 1, engine.Unknown, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{responses: []response{test.response}}
				request := newRequest()
				request.Rules = rules{replayable: test.replayable}
				result := newEngine(s).Do(t.Context(), request)
				assert.Len(t, s.requests, test.attempts)
				assert.Equal(t, test.attempts, result.Attempts)
				assert.Equal(t, test.response.status, result.Status)
				assert.Equal(t, test.response.body, string(result.Body))
				assert.Equal(t, test.effect, result.Effect)
				assert.Equal(t, test.unknown, result.Unknown)
				require.NoError(t, result.Err)
				require.NoError(t, result.Stopped)
			})
		})
	}
}

// A context done during a backoff, or before its end, leaves the last result.
func TestDoEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{responses: []response{{status: 503, body: "down"}}}
		e := newEngine(s)
		e.Policy.MinBackoff, e.Policy.MaxBackoff = time.Minute, time.Minute

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		result := e.Do(ctx, newRequest())
		require.ErrorIs(t, result.Stopped, context.Canceled)
		assert.Equal(t, "down", string(result.Body))

		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		result = e.Do(ctx, newRequest())
		require.ErrorIs(t, result.Stopped, context.DeadlineExceeded)
		require.ErrorContains(t, result.Stopped, "no time is left for another attempt")
		assert.Zero(t, time.Since(began), "nobody waits for what comes too late")
		assert.Len(t, s.requests, 2)
	})
}

// A read changes nothing, however it ends, and has no body.
func TestDoReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{responses: []response{{}}}
		request := newRequest()
		request.Method, request.Body = http.MethodGet, nil
		result := newEngine(s).Do(t.Context(), request)
		assert.Equal(t, engine.NotApplied, result.Effect)
		assert.False(t, result.Unknown)
		require.ErrorIs(t, result.Err, io.ErrUnexpectedEOF)
		assert.Equal(t, "GET /path  Bearer first-credential", s.requests[0])
	})
}

// Retry-After delays the call whatever the status, and ends it if the wait is too long.
func TestDoWaitsAsLongAsTheServerAsks(t *testing.T) {
	for _, status := range []int{408, 409, 500, 502, 503, 504} {
		synctest.Test(t, func(t *testing.T) {
			s := &server{responses: []response{{status: status, header: http.Header{"Retry-After": {"20"}}}, {status: 204}}}
			e := newEngine(s)
			e.RetryConflicts = true
			began := time.Now()
			assert.Equal(t, engine.Applied, e.Do(t.Context(), newRequest()).Effect, status)
			took := time.Since(began)
			assert.True(t, 20*time.Second <= took && took < 23*time.Second, "%d: %v", status, took)

			s = &server{responses: []response{{status: status, header: http.Header{"Retry-After": {"61"}}}}}
			e = newEngine(s)
			e.RetryConflicts = true
			began = time.Now()
			result := e.Do(t.Context(), newRequest())
			require.Error(t, result.Stopped, "%d", status)
			assert.Len(t, s.requests, 1)
			assert.Zero(t, time.Since(began))
			assert.Equal(t, status, result.Status)
		})
	}
}
