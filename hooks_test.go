package tokenpatch_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// trail is the context key for the names of past hooks.
type trail struct{}

func passed(ctx context.Context, hook string) context.Context {
	return context.WithValue(ctx, trail{}, fmt.Sprint(ctx.Value(trail{}), " > ", hook))
}

// The hooks of a call get the context of CallStart. AttemptEnd and the request get the context of
// AttemptStart.
func TestHooksGetTheContextOfTheirStart(t *testing.T) {
	for _, a := range apis {
		t.Run(a.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var events []string
				see := func(ctx context.Context, hook string, call tokenpatch.CallInfo) {
					assert.Equal(t, a.Info(), call, hook)
					events = append(events, fmt.Sprint(hook, " in ", ctx.Value(trail{})))
				}
				service, client := newPair(t, func(c *tokenpatch.Config) {
					c.Hooks = tokenpatch.Hooks{
						CallStart: func(ctx context.Context, call tokenpatch.CallInfo) context.Context {
							see(ctx, "CallStart", call)
							return passed(ctx, "call")
						},
						WaitStart: func(ctx context.Context, w tokenpatch.WaitInfo) { see(ctx, "WaitStart "+string(w.Reason), w.CallInfo) },
						WaitEnd:   func(ctx context.Context, w tokenpatch.WaitInfo) { see(ctx, "WaitEnd "+string(w.Reason), w.CallInfo) },
						AttemptStart: func(ctx context.Context, attempt *tokenpatch.AttemptInfo) context.Context {
							see(ctx, "AttemptStart", attempt.CallInfo)
							return passed(ctx, fmt.Sprint("attempt ", attempt.Number))
						},
						AttemptEnd: func(ctx context.Context, attempt tokenpatch.AttemptResult) { see(ctx, "AttemptEnd", attempt.CallInfo) },
						CallEnd:    func(ctx context.Context, call tokenpatch.CallResult) { see(ctx, "CallEnd", call.CallInfo) },
					}
					next := c.HTTPClient.Transport
					through(func(r *http.Request) (*http.Response, error) {
						see(r.Context(), "request", a.Info())
						return next.RoundTrip(r)
					})(c)
				})
				service.Inject(tokenpatchtest.Fault{Status: 503}, refusing("Retry-After", "2"))
				require.NoError(t, a.Call(context.WithValue(t.Context(), trail{}, "caller"), client))
				assert.Equal(t, []string{
					"CallStart in caller",
					"AttemptStart in caller > call",
					"request in caller > call > attempt 1",
					"AttemptEnd in caller > call > attempt 1",
					"WaitStart backoff in caller > call",
					"WaitEnd backoff in caller > call",
					"AttemptStart in caller > call",
					"request in caller > call > attempt 2",
					"AttemptEnd in caller > call > attempt 2",
					"WaitStart retry_after in caller > call",
					"WaitEnd retry_after in caller > call",
					"AttemptStart in caller > call",
					"request in caller > call > attempt 3",
					"AttemptEnd in caller > call > attempt 3",
					"CallEnd in caller > call",
				}, events)
			})
		})
	}
}

// A hook may add headers, and sees and sets no credential.
func TestAttemptStartAddsHeaders(t *testing.T) {
	for name, supply := range map[string]func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error){
		"a fixed credential": nil,
		"a credential function": func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) {
			return tokenpatchtest.AccessToken, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t, func(c *tokenpatch.Config) {
					if supply != nil {
						c.V2.AccessToken, c.V2.AccessTokenFunc = "", supply
					}
					c.Hooks.AttemptStart = func(ctx context.Context, attempt *tokenpatch.AttemptInfo) context.Context {
						assert.Empty(t, attempt.Header.Get("Authorization"))
						assert.Equal(t, "application/json", attempt.Header.Get("Content-Type"))
						assert.Equal(t, apiV2.URL(), attempt.URL)
						attempt.Header.Set("Traceparent", fmt.Sprint("trace-", attempt.Number))
						attempt.Header.Set("Authorization", "not mine to set")
						return ctx
					}
				})
				for range 2 {
					service.Inject(tokenpatchtest.Fault{Cut: tokenpatchtest.CutBefore})
					require.NoError(t, patchName(t.Context(), client))
				}
				require.Equal(t, 4, service.RequestCount())
				for i, r := range service.Requests() {
					assert.Equal(t, []string{fmt.Sprint("trace-", 1+i%2)}, r.Header.Values("Traceparent"), "nothing is left of another attempt")
					assert.Equal(t, []string{tokenpatchtest.AccessToken}, r.Header.Values("Authorization"))
				}
			})
		})
	}
}

// A read has no content, and no Content-Type.
func TestAttemptStartSeesTheHeadersOfARead(t *testing.T) {
	var seen http.Header
	service, client := newPair(t, func(c *tokenpatch.Config) {
		c.Hooks.AttemptStart = func(ctx context.Context, attempt *tokenpatch.AttemptInfo) context.Context {
			seen = attempt.Header.Clone()
			return ctx
		}
	})
	_, err := client.V2.GetToken(t.Context(), idV2)
	require.NoError(t, err)
	sent := service.Requests()[0].Header.Clone()
	sent.Del("Authorization")
	sent.Del("Accept-Encoding") // net/http's
	assert.Equal(t, sent, seen)
}

// What is known at the end of an attempt and of a call.
func TestHooksReportHowAttemptsAndCallsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts []tokenpatch.AttemptResult
		var ends []tokenpatch.CallResult
		var waited time.Duration
		service, client := newPair(t, func(c *tokenpatch.Config) {
			c.Hooks = tokenpatch.Hooks{
				WaitEnd:    func(_ context.Context, w tokenpatch.WaitInfo) { waited += w.Duration },
				AttemptEnd: func(_ context.Context, a tokenpatch.AttemptResult) { attempts = append(attempts, a) },
				CallEnd:    func(_ context.Context, call tokenpatch.CallResult) { ends = append(ends, call) },
			}
		})
		service.SetLatency(40 * time.Millisecond)
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 20, Route: 10, Window: 10 * time.Second})
		service.Inject(tokenpatchtest.Fault{Status: 503})
		began := time.Now()
		require.NoError(t, patchName(t.Context(), client))

		require.Len(t, attempts, 2)
		assert.Equal(t, tokenpatch.Set(9), attempts[1].RateLimit.Routes["PATCH /api/v2/tokens/{id}"].Remaining)
		assert.Equal(t, tokenpatch.Set(19), attempts[1].RateLimit.Global.Remaining)
		assert.Equal(t, []tokenpatch.CallResult{{
			CallInfo: apiV2.Info(), Outcome: applied, Attempts: 2, Duration: time.Since(began), Waited: waited,
		}}, ends)
		assert.Positive(t, waited)
		assert.Equal(t, time.Since(began), waited+80*time.Millisecond)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := patchName(ctx, client)
		assert.Equal(t, tokenpatch.CallResult{CallInfo: apiV2.Info(), Outcome: notApplied, Err: err}, ends[1])
		assert.Len(t, attempts, 2)

		service.Inject(tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter})
		err = appendRole(t.Context(), client)
		assert.Equal(t, unknown, ends[2].Outcome)
		assert.Equal(t, err, ends[2].Err)
	})
}

// A hook that returns no context does not break a call.
func TestHooksWithoutContext(t *testing.T) {
	_, client := newPair(t, func(c *tokenpatch.Config) {
		c.Hooks.CallStart = func(context.Context, tokenpatch.CallInfo) context.Context { return nil }
		c.Hooks.AttemptStart = func(_ context.Context, attempt *tokenpatch.AttemptInfo) context.Context {
			attempt.Header = nil
			return nil
		}
	})
	require.NoError(t, updateName(t.Context(), client))
}

// If a hook returns a done context, the call ends.
func TestHooksCanEndACall(t *testing.T) {
	service, client := newPair(t, func(c *tokenpatch.Config) {
		c.Hooks.CallStart = func(ctx context.Context, _ tokenpatch.CallInfo) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx
		}
	})
	require.ErrorIs(t, patchName(t.Context(), client), context.Canceled)
	assert.Zero(t, service.RequestCount())
}

// A hook cannot change the meaning of the request. The log reports an attempt.
func TestHooksCannotChangeWhatTheRequestIs(t *testing.T) {
	var logged bytes.Buffer
	service, client := newPair(t, func(c *tokenpatch.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		c.Hooks.AttemptStart = func(ctx context.Context, attempt *tokenpatch.AttemptInfo) context.Context {
			attempt.Header["Content-Type"] = nil
			attempt.Header.Set("Content-Length", "1")
			attempt.Header.Set("Host", "elsewhere")
			attempt.Header.Set("Transfer-Encoding", "chunked")
			attempt.Header.Set("Traceparent", "mine")
			return ctx
		}
	})
	require.NoError(t, patchName(t.Context(), client))
	sent := service.Requests()[0].Header
	assert.Equal(t, []string{"application/json"}, sent["Content-Type"])
	assert.Equal(t, "mine", sent.Get("Traceparent"))
	for _, header := range []string{"Content-Type", "Content-Length", "Host", "Transfer-Encoding"} {
		assert.Contains(t, logged.String(), "a hook cannot change this header\" header="+header)
	}
}

// Joined hooks see the same, each in the context of those before it; missing ones are passed over.
func TestJoinHooks(t *testing.T) {
	var events []string
	named := func(name string) tokenpatch.Hooks {
		return tokenpatch.Hooks{
			CallStart: func(ctx context.Context, _ tokenpatch.CallInfo) context.Context { return passed(ctx, name) },
			AttemptStart: func(ctx context.Context, attempt *tokenpatch.AttemptInfo) context.Context {
				attempt.Header.Set("X-"+name, "seen")
				return passed(ctx, name)
			},
			AttemptEnd: func(ctx context.Context, _ tokenpatch.AttemptResult) {
				events = append(events, fmt.Sprint(name, " attempt in ", ctx.Value(trail{})))
			},
			CallEnd: func(ctx context.Context, _ tokenpatch.CallResult) {
				events = append(events, fmt.Sprint(name, " call in ", ctx.Value(trail{})))
			},
		}
	}
	forgetful := tokenpatch.Hooks{CallStart: func(context.Context, tokenpatch.CallInfo) context.Context { return nil }}
	service, client := newPair(t, func(c *tokenpatch.Config) {
		c.Hooks = tokenpatch.JoinHooks(named("a"), tokenpatch.Hooks{}, forgetful, named("b"))
	})
	require.NoError(t, patchName(context.WithValue(t.Context(), trail{}, "caller"), client))
	assert.Equal(t, []string{
		"b attempt in caller > a > b > a > b", "a attempt in caller > a > b > a > b", "b call in caller > a > b", "a call in caller > a > b",
	}, events)
	assert.Equal(t, "seen", service.Requests()[0].Header.Get("X-a"))
	assert.Equal(t, "seen", service.Requests()[0].Header.Get("X-b"))
}
