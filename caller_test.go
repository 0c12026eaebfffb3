package tokenpatch_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

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
		var config *tokenpatch.Config // the one that the client was made of
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
			require.NoError(t, a.call(t.Context(), client))
		}
		for _, r := range service.Requests() {
			assert.Equal(t, "tokenpatch/"+tokenpatch.Version, r.Header.Get("User-Agent"))
		}
	})
}

type panicWriter struct{}

func (panicWriter) Write([]byte) (int, error) { panic("not this one") }

// hung is a body whose Read and Close block until the test is over, although its
// request has ended; if closing is set, Close alone.
type hung struct {
	over    chan struct{}
	closing bool
}

func newHung(t *testing.T) *hung {
	h := &hung{over: make(chan struct{})}
	t.Cleanup(func() { close(h.over); synctest.Wait() })
	return h
}

func (h *hung) Read([]byte) (int, error) {
	if h.closing {
		return 0, io.EOF
	}
	<-h.over
	return 0, io.EOF
}

func (h *hung) Close() error { <-h.over; return nil }

// Where a transport ignores its context, the call ends a second after the attempt's
// timeout or the caller's deadline, whatever it was that hung. Its error does not
// claim to know what the abandoned transport may still do.
func TestTransportsThatIgnoreTheContext(t *testing.T) {
	const timeout, grace = 5 * time.Second, time.Second
	for name, test := range map[string]struct {
		send    func(h *hung) (*http.Response, error)
		status  int
		outcome tokenpatch.Outcome
	}{
		"no response": {func(h *hung) (*http.Response, error) { <-h.over; return nil, io.EOF }, 0, unknown},
		"a body that never comes": {func(h *hung) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: h}, nil
		}, 200, unknown},
		"a refusal's body that never comes": {func(h *hung) (*http.Response, error) {
			return &http.Response{StatusCode: 403, Body: h}, nil
		}, 403, notApplied},
		"a body that cannot be closed": {func(h *hung) (*http.Response, error) {
			h.closing = true
			return &http.Response{StatusCode: 403, Body: h}, nil
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
					if !h.closing {
						require.ErrorIs(t, err, context.DeadlineExceeded)
					}
				})
			})
		}
	}
}

// A transport that was abandoned cannot send what it did not take in time.
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

// A response that arrives after its call has ended is closed, so that its connection
// can be used again.
func TestLateResponsesAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := make(chan struct{})
		body := &closing{}
		_, client := newPair(t, through(func(r *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-late
			return &http.Response{StatusCode: 200, Body: body}, nil
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

// A credential function that never returns holds no permit of the rate limit for
// longer than an attempt may last, and its call sends nothing.
func TestCredentialFuncThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		service, client := newPair(t, func(c *tokenpatch.Config) {
			c.V2.AccessToken = ""
			c.V2.AccessTokenFunc = func(context.Context) (tokenpatch.Secret, error) { <-over; return "late", nil }
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

// admitOneAtATime brings a client's limiter to where it admits one attempt at a time:
// the next one as soon as none is in flight, and not before.
func admitOneAtATime(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
	t.Helper()
	require.NoError(t, patchName(t.Context(), client)) // no limits so far
	service.Inject(tokenpatchtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}})
	require.NoError(t, patchName(t.Context(), client)) // after the pause, as a probe
	service.Inject(tokenpatchtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}})
}

// A panic of the caller's code goes through its call, and leaves everything
// else as it was: the permit that its attempt had is there for the next one.
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
			c.V2.AccessTokenFunc = func(context.Context) (tokenpatch.Secret, error) { breakNow(); return tokenpatchtest.AccessToken, nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t, change)
				for range 20 {
					admitOneAtATime(t, service, client)
					broken = true
					assert.PanicsWithValue(t, "broken", func() { _ = patchName(t.Context(), client) })
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					require.NoError(t, patchName(ctx, client))
					cancel()
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

// A hook that blocks while its call holds no permit holds up its own call alone,
// however tight the rate limit.
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

// Every field of a Config but the credential has a default. A Transport that is a nil
// pointer counts as none.
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

// The largest limit that there is does not overflow.
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
