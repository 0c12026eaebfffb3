package tokenpatch_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func TestBaseURLConstants(t *testing.T) {
	assert.Equal(t, "https://api.cloud.deepset.ai", tokenpatch.V1BaseURL)
	assert.Equal(t, "https://api.us.deepset.ai", tokenpatch.V1BaseURLUS)
	assert.Equal(t, "https://app.launchdarkly.com", tokenpatch.V2BaseURL)
	assert.Equal(t, "https://app.launchdarkly.us", tokenpatch.V2BaseURLFederal)
	assert.Equal(t, "https://app.eu.launchdarkly.com", tokenpatch.V2BaseURLEU)
}

// The URL of a request, for every form of a base URL.
func TestBaseURLs(t *testing.T) {
	tests := []struct {
		base, v1, v2 string
		insecure     bool
	}{
		{"", "https://api.cloud.deepset.ai", "https://app.launchdarkly.com", false},
		{tokenpatch.V2BaseURLEU, "https://app.eu.launchdarkly.com", "https://app.eu.launchdarkly.com", false},
		{"https://host.example/", "https://host.example", "https://host.example", false},
		{"https://host.example:8443/gate%2Fway/launch/", "https://host.example:8443/gate%2Fway/launch", "https://host.example:8443/gate%2Fway/launch", false},
		{"HTTPS://host.example", "https://host.example", "https://host.example", false},
		{"https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443", false},
		{"http://localhost:8080", "http://localhost:8080", "http://localhost:8080", false},
		{"http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x", false},
		{"http://127.8.9.1", "http://127.8.9.1", "http://127.8.9.1", false},
		{"http://[::1]:8080", "http://[::1]:8080", "http://[::1]:8080", false},
		{"http://proxy.internal", "http://proxy.internal", "http://proxy.internal", true},
	}
	for _, test := range tests {
		t.Run(test.base, func(t *testing.T) {
			var got []string
			_, client := newPair(t, func(c *tokenpatch.Config) {
				c.V1.BaseURL, c.V2.BaseURL, c.AllowInsecureHTTP = test.base, test.base, test.insecure
			}, through(func(r *http.Request) (*http.Response, error) {
				assert.Equal(t, r.URL.Host, r.Host)
				got = append(got, r.URL.String())
				return respond(400, "", ""), nil
			}))
			_, _ = updateName(t.Context(), client), patchName(t.Context(), client)
			assert.Equal(t, []string{test.v1 + pathV1, test.v2 + pathV2}, got)
		})
	}
}

func TestNewClientRefusesBaseURL(t *testing.T) {
	const https = "https, which hides the credential; http is for loopback hosts, or with AllowInsecureHTTP"
	tests := []struct{ name, base, text string }{
		{"http to another machine", "http://host.example/x", `"http://host.example": want ` + https},
		{"http to a host that looks local", "http://localhost.example", `"http://localhost.example": want ` + https},
		{"http to an address", "http://10.0.0.1", `"http://10.0.0.1": want ` + https},
		{"user info", "https://user:5ecret@host.example", "a URL with user info: want the credential in its own field, and no user info here"},
		{"user alone", "https://5ecret@host.example", "a URL with user info: want the credential in its own field, and no user info here"},
		{"user info of a broken URL", "https://user:5ecret%zz@host.example", "not a URL: want https://host"},
		{"query", "https://host.example/?key=5ecret", "a URL with a query or a fragment: want neither"},
		{"empty query", "https://host.example/?", "a URL with a query or a fragment: want neither"},
		{"fragment", "https://host.example/#5ecret", "a URL with a query or a fragment: want neither"},
		{"no host", "https:///path", "a URL without a scheme or a host: want https://host"},
		{"port alone", "https://:443", "a URL without a scheme or a host: want https://host"},
		{"no scheme", "host.example", "a URL without a scheme or a host: want https://host"},
		{"another scheme", "ftp://host.example", `"ftp://host.example": want https://host`},
		{"one slash", "https:/host.example", "a URL without a scheme or a host: want https://host"},
		{"opaque", "https:host.example", "a URL without a scheme or a host: want https://host"},
		{"line end", "https://host.example/\n", "not a URL: want https://host"},
		{"space", "https://host example", "not a URL: want https://host"},
		{"dot segment", "https://host.example/a/../b", `"/a/../b": want a path without dot segments`},
		{"single dot", "https://host.example/./b", `"/./b": want a path without dot segments`},
		{"escaped dots", "https://host.example/a/%2e%2E/b", `"/a/../b": want a path without dot segments`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for field, config := range map[string]tokenpatch.Config{
				"Config.V1.BaseURL": {V1: tokenpatch.V1Config{BaseURL: test.base}},
				"Config.V2.BaseURL": {V2: tokenpatch.V2Config{BaseURL: test.base}},
			} {
				client, err := tokenpatch.NewClient(config)
				assert.Nil(t, client)
				require.EqualError(t, err, "tokenpatch: "+field+": "+test.text)
				assert.Equal(t, field, assertAs[*tokenpatch.InputError](t, err).Field)
				assertHolds(t, err, "5ecret", false)
				assertOutcome(t, notApplied, err)
			}
		})
	}
}

func TestNewClientRefusesSettings(t *testing.T) {
	const credential = ": want printable ASCII without spaces, and at least one character"
	supply := func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) { return "", nil }
	tests := []struct {
		name   string
		change func(*tokenpatch.Config)
		text   string
	}{
		{"MaxResponseBytes", func(c *tokenpatch.Config) { c.MaxResponseBytes = -1 }, "Config.MaxResponseBytes: a negative number: want 0 for the default, or more"},
		{"MaxAttempts", func(c *tokenpatch.Config) { c.Retry.MaxAttempts = -1 }, "Config.Retry.MaxAttempts: a negative number: want 0 for the default, or more"},
		{"MinBackoff", func(c *tokenpatch.Config) { c.Retry.MinBackoff = -1 }, "Config.Retry.MinBackoff: a negative number: want 0 for the default, or more"},
		{"MaxBackoff", func(c *tokenpatch.Config) { c.Retry.MaxBackoff = -1 }, "Config.Retry.MaxBackoff: a negative number: want 0 for the default, or more"},
		{"MaxRateLimitWait", func(c *tokenpatch.Config) { c.Retry.MaxRateLimitWait = -1 }, "Config.Retry.MaxRateLimitWait: a negative number: want 0 for the default, or more"},
		{"APIVersion", func(c *tokenpatch.Config) { c.V2.APIVersion = -1 }, "Config.V2.APIVersion: -1: want a version such as 20240415, or 0 for that one"},
		{"UserAgent line end", func(c *tokenpatch.Config) { c.UserAgent = "a\r\nX: y" }, `Config.UserAgent: "a\r\nX: y": want printable ASCII`},
		{"UserAgent unicode", func(c *tokenpatch.Config) { c.UserAgent = "\u00e9" }, "Config.UserAgent: \"\u00e9\": want printable ASCII"},
		{"APIKey line end", func(c *tokenpatch.Config) { c.V1.APIKey = "5ecret\n" }, "Config.V1.APIKey" + credential},
		{"APIKey space", func(c *tokenpatch.Config) { c.V1.APIKey = "Bearer 5ecret" }, "Config.V1.APIKey" + credential},
		{"AccessToken tab", func(c *tokenpatch.Config) { c.V2.AccessToken = "5ecret\t" }, "Config.V2.AccessToken" + credential},
		{"AccessToken unicode", func(c *tokenpatch.Config) { c.V2.AccessToken = "5ecret\u00e9" }, "Config.V2.AccessToken" + credential},
		{"two wrong settings", func(c *tokenpatch.Config) { c.CancelGrace, c.MaxResponseBytes, c.Retry.MaxAttempts = -1, -1, -1 }, "Config.CancelGrace: a negative number: want 0 for the default, or more"},
		{"APIKey twice", func(c *tokenpatch.Config) { c.V1.APIKey, c.V1.APIKeyFunc = "5ecret", supply }, "Config.V1.APIKey: set together with Config.V1.APIKeyFunc: want one of the two"},
		{"AccessToken twice", func(c *tokenpatch.Config) { c.V2.AccessToken, c.V2.AccessTokenFunc = "5ecret", supply }, "Config.V2.AccessToken: set together with Config.V2.AccessTokenFunc: want one of the two"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var config tokenpatch.Config
			test.change(&config)
			client, err := tokenpatch.NewClient(config)
			assert.Nil(t, client)
			assertAs[*tokenpatch.InputError](t, err)
			require.EqualError(t, err, "tokenpatch: "+test.text)
			assertHolds(t, err, "5ecret", false)
		})
	}
}

func TestConfigFromEnv(t *testing.T) {
	set := func(t *testing.T, key, url, token, host string) tokenpatch.Config {
		t.Setenv("DEEPSET_API_KEY", key)
		t.Setenv("DEEPSET_API_URL", url)
		t.Setenv("LAUNCHDARKLY_ACCESS_TOKEN", token)
		t.Setenv("LAUNCHDARKLY_API_HOST", host)
		return tokenpatch.ConfigFromEnv()
	}
	t.Run("nothing set", func(t *testing.T) {
		for _, name := range []string{"DEEPSET_API_KEY", "DEEPSET_API_URL", "LAUNCHDARKLY_ACCESS_TOKEN", "LAUNCHDARKLY_API_HOST"} {
			t.Setenv(name, "") // restores it after the test
			require.NoError(t, os.Unsetenv(name))
		}
		assert.Equal(t, tokenpatch.Config{}, tokenpatch.ConfigFromEnv())
	})
	t.Run("everything set", func(t *testing.T) {
		assert.Equal(t, tokenpatch.Config{
			V1: tokenpatch.V1Config{APIKey: "key", BaseURL: "https://api.us.deepset.ai"},
			V2: tokenpatch.V2Config{AccessToken: "token", BaseURL: "https://app.launchdarkly.us"},
		}, set(t, "key", "https://api.us.deepset.ai", "token", "https://app.launchdarkly.us"))
	})
	t.Run("a host without a scheme", func(t *testing.T) {
		config := set(t, "", "", "token", "app.eu.launchdarkly.com:443")
		assert.Equal(t, "https://app.eu.launchdarkly.com:443", config.V2.BaseURL)
		_, err := tokenpatch.NewClient(config)
		require.NoError(t, err)
	})
	t.Run("user info is refused", func(t *testing.T) {
		_, err := tokenpatch.NewClient(set(t, "", "", "", "user:5ecret@app.launchdarkly.com"))
		assertHolds(t, err, "5ecret", false)
		assertAs[*tokenpatch.InputError](t, err)
	})
}

func TestUserAgent(t *testing.T) {
	for _, test := range []struct{ agent, want string }{
		{"", "tokenpatch/" + tokenpatch.Version},
		{"fleet/1.4", "fleet/1.4 tokenpatch/" + tokenpatch.Version},
		{"fleet/1.4 (ci; linux)", "fleet/1.4 (ci; linux) tokenpatch/" + tokenpatch.Version},
	} {
		service, client := newPair(t, func(c *tokenpatch.Config) { c.UserAgent = test.agent })
		for _, a := range apis {
			require.NoError(t, a.Call(t.Context(), client))
		}
		for _, r := range service.Requests() {
			assert.Equal(t, []string{test.want}, r.Header.Values("User-Agent"))
		}
	}
}

// A service without a credential is an error of the call, not of NewClient.
func TestCallWithoutCredential(t *testing.T) {
	for i, a := range apis {
		service, client := newPair(t, func(c *tokenpatch.Config) {
			if i == 0 {
				c.V1.APIKey = ""
			} else {
				c.V2.AccessToken = ""
			}
		})
		field := map[string]string{"V1": "Config.V1.APIKey", "V2": "Config.V2.AccessToken"}[a.Name]
		err := a.Call(t.Context(), client)
		assert.Equal(t, field, assertAs[*tokenpatch.InputError](t, err).Field)
		require.EqualError(t, err, "tokenpatch: "+field+": not set: want a credential for this service")
		assertOutcome(t, notApplied, err)
		assert.Zero(t, service.RequestCount())
	}
}

// NewClient refuses a Config with which no call could be made.
func TestNewClientWithoutCredential(t *testing.T) {
	client, err := tokenpatch.NewClient(tokenpatch.Config{})
	assert.Nil(t, client)
	assert.Equal(t, "Config", assertAs[*tokenpatch.InputError](t, err).Field)
	require.EqualError(t, err, "tokenpatch: Config: no credential: want V1.APIKey, V2.AccessToken, or a function that supplies one of them; ConfigFromEnv reads DEEPSET_API_KEY and LAUNCHDARKLY_ACCESS_TOKEN")
}

func TestCallWithoutContext(t *testing.T) {
	service, client := newPair(t)
	for _, a := range apis {
		var none context.Context
		err := a.Call(none, client)
		require.EqualError(t, err, "tokenpatch: ctx: nil: want a context")
		assertAs[*tokenpatch.InputError](t, err)
		assertOutcome(t, notApplied, err)
	}
	assert.Zero(t, service.RequestCount())
}

// The calls of a zero client return an error about it.
func TestZeroClient(t *testing.T) {
	for name, client := range map[string]*tokenpatch.Client{
		"zero":            {},
		"zero V1 and V2":  {V1: new(tokenpatch.V1Tokens), V2: new(tokenpatch.V2Tokens)},
		"zero, by itself": new(tokenpatch.Client),
	} {
		t.Run(name, func(t *testing.T) {
			for _, a := range apis {
				err := a.Call(t.Context(), client)
				require.EqualError(t, err, "tokenpatch: Client: zero: want a client made by NewClient")
				assertOutcome(t, notApplied, err)
			}
			assert.NotPanics(t, client.CloseIdleConnections)
		})
	}
	assert.NotPanics(t, (*tokenpatch.Client)(nil).CloseIdleConnections)
}

// Every attempt asks for the credential anew.
func TestCredentialFuncPerAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		calls := 0
		supply := func(ctx context.Context, _ tokenpatch.Secret) (tokenpatch.Secret, error) {
			assert.Equal(t, "caller", ctx.Value(key{}))
			calls++
			return tokenpatch.Secret(fmt.Sprintf("rotated-%d", calls)), nil
		}
		service, client := newPair(t, func(c *tokenpatch.Config) {
			c.V1.APIKey, c.V1.APIKeyFunc = "", supply
			c.V2.AccessToken, c.V2.AccessTokenFunc = "", supply
		})
		assert.Zero(t, calls, "NewClient calls nothing")
		ctx := context.WithValue(t.Context(), key{}, "caller")

		service.SetCredentials("rotated-2", "rotated-4")
		service.Inject(tokenpatchtest.Fault{API: tokenpatchtest.V1, Status: 503}, tokenpatchtest.Fault{API: tokenpatchtest.V2, Status: 503})
		for _, a := range apis {
			require.NoError(t, a.Call(ctx, client))
		}

		var sent []string
		for _, r := range service.Requests() {
			sent = append(sent, r.Header.Get("Authorization"))
		}
		assert.Equal(t, []string{"Bearer rotated-1", "Bearer rotated-2", "rotated-3", "rotated-4"}, sent)
	})
}

func TestCredentialFuncFails(t *testing.T) {
	vault := errors.New("the vault is sealed")
	tests := []struct {
		name   string
		secret tokenpatch.Secret
		err    error
		v1, v2 string
	}{
		{"error", "", vault, "Config.V1.APIKeyFunc: the vault is sealed", "Config.V2.AccessTokenFunc: the vault is sealed"},
		{"error with what it returns", "5ecret-5ecret", errors.New("bad 5ecret-5ecret"), "Config.V1.APIKeyFunc: bad [redacted]", "Config.V2.AccessTokenFunc: bad [redacted]"},
		{"empty", "", nil, "Config.V1.APIKeyFunc: want printable ASCII", "Config.V2.AccessTokenFunc: want printable ASCII"},
		{"line end", "5ecret\n", nil, "Config.V1.APIKeyFunc: want printable ASCII", "Config.V2.AccessTokenFunc: want printable ASCII"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			calls := 0
			supply := func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) {
				calls++
				return test.secret, test.err
			}
			service, client := newPair(t, func(c *tokenpatch.Config) {
				c.V1 = tokenpatch.V1Config{APIKeyFunc: supply}
				c.V2 = tokenpatch.V2Config{AccessTokenFunc: supply}
			})
			for _, a := range apis {
				err := a.Call(t.Context(), client)
				assert.Zero(t, assertAs[*tokenpatch.NotSentError](t, err).Attempts)
				text := map[string]string{"V1": test.v1, "V2": test.v2}[a.Name]
				assert.Contains(t, err.Error(), "tokenpatch: PATCH "+a.Target()+": request not sent: "+text)
				if errors.Is(test.err, vault) {
					require.ErrorIs(t, err, test.err)
				}
				assertHolds(t, err, "5ecret", false)
				assertOutcome(t, notApplied, err)
			}
			assert.Zero(t, service.RequestCount())
			assert.Equal(t, 2, calls, "once a call: it is not tried again")
		})
	}
}

// A slow credential function, still busy when the context ends or an attempt's time is up, keeps
// the request from being sent.
func TestCredentialFuncIsSlow(t *testing.T) {
	for name, test := range map[string]struct {
		fails   bool // the function, once its context has ended
		cancel  time.Duration
		took    time.Duration
		outcome tokenpatch.Outcome
	}{
		"the context ends":                   {true, 3 * time.Second, 3 * time.Second, notApplied},
		"the context ends, with the result":  {false, 3 * time.Second, 3 * time.Second, notApplied},
		"the attempt ends":                   {true, time.Hour, 30 * time.Second, notApplied},
		"a result at the end of the attempt": {false, time.Hour, 30 * time.Second, applied},
	} {
		for _, a := range apis {
			t.Run(name+"/"+a.Name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					supply := func(secret tokenpatch.Secret) func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) {
						return func(ctx context.Context, _ tokenpatch.Secret) (tokenpatch.Secret, error) {
							<-ctx.Done()
							if test.fails {
								return "", ctx.Err()
							}
							return secret, nil
						}
					}
					service, client := newPair(t, grace(time.Minute), func(c *tokenpatch.Config) {
						c.V1 = tokenpatch.V1Config{APIKeyFunc: supply(tokenpatchtest.APIKey)}
						c.V2 = tokenpatch.V2Config{AccessTokenFunc: supply(tokenpatchtest.AccessToken)}
					})
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(test.cancel, cancel)
					began := time.Now()
					err := a.Call(ctx, client)
					assert.Equal(t, test.took, time.Since(began))
					assertOutcome(t, test.outcome, err)
					if test.outcome == notApplied {
						assertAs[*tokenpatch.NotSentError](t, err)
						assert.Zero(t, service.RequestCount())
					}
				})
			})
		}
	}
}

// A 401 is tried once more if the function then supplies another credential.
func TestUnauthorizedWithAnotherCredential(t *testing.T) {
	for name, test := range map[string]struct {
		supplied []tokenpatch.Secret // one after the other, the last for ever
		err      error               // of the function, after the first time
		sent     []string
		outcome  tokenpatch.Outcome
	}{
		"another, which is right":       {[]tokenpatch.Secret{"old-old-old", "new-new-new"}, nil, []string{"old-old-old", "new-new-new"}, applied},
		"another, which is wrong":       {[]tokenpatch.Secret{"old-old-old", "odd-odd-odd", "new-new-new"}, nil, []string{"old-old-old", "odd-odd-odd"}, notApplied},
		"the same":                      {[]tokenpatch.Secret{"old-old-old"}, nil, []string{"old-old-old"}, notApplied},
		"an error":                      {[]tokenpatch.Secret{"old-old-old", "new-new-new"}, io.EOF, []string{"old-old-old"}, notApplied},
		"another, which cannot be sent": {[]tokenpatch.Secret{"old-old-old", "new new new"}, nil, []string{"old-old-old"}, notApplied},
	} {
		for _, a := range apis {
			t.Run(name+"/"+a.Name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					calls := 0
					supply := func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) {
						calls++
						if calls > 1 && test.err != nil {
							return "", test.err
						}
						return test.supplied[min(calls, len(test.supplied))-1], nil
					}
					service, client := newPair(t, retries(tokenpatch.RetryPolicy{MaxAttempts: 2}), func(c *tokenpatch.Config) {
						c.V1 = tokenpatch.V1Config{APIKeyFunc: supply}
						c.V2 = tokenpatch.V2Config{AccessTokenFunc: supply}
					})
					service.SetCredentials("new-new-new", "new-new-new")
					began := time.Now()

					err := a.Call(t.Context(), client)

					assert.Zero(t, time.Since(began), "at once")
					assertOutcome(t, test.outcome, err)
					if test.outcome == notApplied {
						assertAs[*tokenpatch.UnauthorizedError](t, err)
					}
					var sent []string
					for _, r := range service.Requests() {
						sent = append(sent, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
					}
					assert.Equal(t, test.sent, sent)
					assert.LessOrEqual(t, calls, 2)
				})
			})
		}
	}
}

// If the function has no credential, the call uses up no permit of the rate limit.
func TestCredentialFuncThatFailsCostsNoPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fail error
		service, client := newPair(t, func(c *tokenpatch.Config) {
			c.V2.AccessToken = ""
			c.V2.AccessTokenFunc = func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) {
				return tokenpatchtest.AccessToken, fail
			}
		})
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 2, Floating: true})
		began := time.Now()
		require.NoError(t, patchName(t.Context(), client))
		fail = io.EOF
		require.ErrorIs(t, patchName(t.Context(), client), io.EOF)
		fail = nil
		require.NoError(t, patchName(t.Context(), client))
		assert.Zero(t, time.Since(began))
	})
}

// The caller's HTTP client is not changed, and its redirect policy is not used.
func TestHTTPClientIsNotChanged(t *testing.T) {
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	given := service.Client()
	given.Timeout = time.Minute
	followed := false
	given.CheckRedirect = func(*http.Request, []*http.Request) error { followed = true; return nil }
	transport := given.Transport
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V1: tokenpatch.V1Config{APIKey: tokenpatchtest.APIKey}, V2: tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: given,
	})
	require.NoError(t, err)
	service.Inject(tokenpatchtest.Fault{Status: 307, Header: http.Header{"Location": {"https://evil.example/"}}, Times: -1})

	for _, a := range apis {
		require.Error(t, a.Call(t.Context(), client))
	}

	assert.False(t, followed)
	assert.Same(t, transport, given.Transport)
	assert.Equal(t, time.Minute, given.Timeout)
	require.NoError(t, given.CheckRedirect(nil, nil))
	assert.True(t, followed, "the policy is the one that was given")
	assert.Equal(t, 2, service.RequestCount())
}

// net/http must not send a request again by itself. To do so it asks for the body
// between the request's header and the response, and is refused. Who asks before or
// after, to sign the body or to authenticate by a digest, gets it.
func TestGetBodyIsRefusedToNetHTTP(t *testing.T) {
	for name, test := range map[string]struct {
		report  func(*httptrace.ClientTrace)
		refused bool
	}{
		"before":     {func(*httptrace.ClientTrace) {}, false},
		"in between": {func(trace *httptrace.ClientTrace) { trace.WroteHeaders() }, true},
		"after":      {func(trace *httptrace.ClientTrace) { trace.WroteHeaders(); trace.GotFirstResponseByte() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := newPair(t, through(func(r *http.Request) (*http.Response, error) {
				assert.Empty(t, r.Header.Values("Idempotency-Key"))
				test.report(httptrace.ContextClientTrace(r.Context()))
				body, err := r.GetBody()
				require.NoError(t, err)
				content, err := io.ReadAll(body)
				if test.refused {
					require.Error(t, err, "a body that cannot be sent")
					require.ErrorIs(t, r.Context().Err(), context.Canceled, "the attempt is over")
				} else {
					require.NoError(t, err)
					assert.Len(t, content, int(r.ContentLength))
					require.NoError(t, r.Context().Err())
				}
				return respond(400, "", ""), r.Body.Close()
			}))
			for _, a := range apis {
				require.Error(t, a.Call(t.Context(), client))
			}
		})
	}
}

func TestCallsOverHTTP1AndHTTP2(t *testing.T) {
	service, _ := newPair(t)
	plain, err := service.Listen()
	require.NoError(t, err)
	secure, trusting, err := service.ListenTLS()
	require.NoError(t, err)
	for name, config := range map[string]tokenpatch.Config{
		"HTTP/1": {V1: tokenpatch.V1Config{BaseURL: plain}, V2: tokenpatch.V2Config{BaseURL: plain}},
		"HTTP/2": {V1: tokenpatch.V1Config{BaseURL: secure}, V2: tokenpatch.V2Config{BaseURL: secure}, HTTPClient: trusting},
	} {
		t.Run(name, func(t *testing.T) {
			config.V1.APIKey, config.V2.AccessToken = tokenpatchtest.APIKey, tokenpatchtest.AccessToken
			client, err := tokenpatch.NewClient(config)
			require.NoError(t, err)
			defer client.CloseIdleConnections()
			for _, a := range apis {
				require.NoError(t, a.Call(t.Context(), client))
			}
		})
	}
	assert.Equal(t, 2, service.Changes(idV1))
	assert.Equal(t, 2, service.Changes(idV2))
}

// Goroutines share a client, a patch and an update.
func TestClientIsShared(t *testing.T) {
	const goroutines = 50
	service, client := newPair(t)
	patch := tokenpatch.NewPatch().AddCustomRoleID("qa")
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			_, err := client.V2.PatchToken(t.Context(), idV2, patch)
			assert.NoError(t, err)
			assert.NoError(t, updateName(t.Context(), client))
			_ = client.V2.RateLimit()
		})
	}
	group.Wait()
	assert.Equal(t, goroutines, service.Changes(idV1))
	assert.Equal(t, goroutines, service.Changes(idV2))
	assert.Equal(t, 2*goroutines, service.RequestCount())
}

// record collects what is reported to hooks.
type record struct {
	attempts []tokenpatch.AttemptResult
	waits    []tokenpatch.WaitInfo
}

func (r *record) hooks(c *tokenpatch.Config) {
	c.Hooks = tokenpatch.Hooks{
		AttemptEnd: func(_ context.Context, a tokenpatch.AttemptResult) { r.attempts = append(r.attempts, a) },
		WaitEnd:    func(_ context.Context, w tokenpatch.WaitInfo) { r.waits = append(r.waits, w) },
	}
}

func TestHooksReportAttemptsAndWaits(t *testing.T) {
	for _, a := range apis {
		t.Run(a.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r record
				service, client := newPair(t, r.hooks)
				service.SetLatency(40 * time.Millisecond)
				service.Inject(
					tokenpatchtest.Fault{Cut: tokenpatchtest.CutBefore},
					tokenpatchtest.Fault{Status: 503},
					tokenpatchtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"2"}}},
				)

				require.NoError(t, a.Call(t.Context(), client))

				success := map[string]int{"V1": 204, "V2": 200}[a.Name]
				require.Len(t, r.attempts, 4)
				for i, want := range []struct {
					status  int
					outcome tokenpatch.Outcome
					failed  bool
					took    time.Duration

					code, message, retryAfter string
				}{
					{0, unknown, true, 20 * time.Millisecond, "", "", ""},
					{503, unknown, false, 40 * time.Millisecond, "service_unavailable", "response without a body", ""},
					{429, notApplied, false, 40 * time.Millisecond, "too_many_requests", "response without a body", "2"},
					{success, applied, false, 40 * time.Millisecond, "", "", ""},
				} {
					got := r.attempts[i]
					assert.Equal(t, want.failed, got.Err != nil, "attempt %d: %v", i+1, got.Err)
					assert.Equal(t, want.failed, got.ResponseHeader == nil)
					assert.Equal(t, want.retryAfter, got.ResponseHeader.Get("Retry-After"))
					got.Err, got.ResponseHeader = nil, nil
					got.RateLimit = tokenpatch.RateLimit{}
					assert.Equal(t, tokenpatch.AttemptResult{
						AttemptInfo: tokenpatch.AttemptInfo{CallInfo: a.Info(), Number: i + 1, URL: a.URL()},
						Status:      want.status, Code: want.code, Message: want.message, Outcome: want.outcome, Duration: want.took,
					}, got)
				}
				require.Len(t, r.waits, 3)
				for i, want := range []struct {
					reason      tokenpatch.WaitReason
					least, most time.Duration
				}{
					{tokenpatch.WaitBackoff, 125 * time.Millisecond, 250 * time.Millisecond},
					{tokenpatch.WaitBackoff, 250 * time.Millisecond, 500 * time.Millisecond},
					{tokenpatch.WaitRetryAfter, 2 * time.Second, 2200 * time.Millisecond},
				} {
					got := r.waits[i]
					assert.GreaterOrEqual(t, got.Duration, want.least)
					assert.LessOrEqual(t, got.Duration, want.most)
					got.Duration = 0
					assert.Equal(t, tokenpatch.WaitInfo{CallInfo: a.Info(), Reason: want.reason}, got)
				}
			})
		})
	}
}

// The records of a logger, as slog's JSON handler writes them, have no credential, even if a server
// echoes one.
func TestLoggerReportsAttemptsAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		service, client := newPair(t, func(c *tokenpatch.Config) {
			c.Logger = slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		service.Inject(
			tokenpatchtest.Fault{Status: 503, Body: tokenpatchtest.AccessToken},
			tokenpatchtest.Fault{Status: 503, Body: tokenpatchtest.AccessToken + tokenpatchtest.AccessToken, Cut: tokenpatchtest.CutMiddle},
		)

		require.NoError(t, patchName(t.Context(), client))

		type line struct {
			Level, Msg, API, Host, Method, Route, Outcome, Reason, Code, Message string

			TokenID         string `json:"token_id"`
			Attempt, Status int
		}
		var lines []line
		for text := range strings.Lines(logged.String()) {
			var l line
			require.NoError(t, json.Unmarshal([]byte(text), &l), text)
			lines = append(lines, l)
		}
		call := line{Level: "DEBUG", API: "V2", Host: apiV2.Host(), Method: "PATCH", Route: "/api/v2/tokens/{id}", TokenID: idV2}
		attempt := call
		attempt.Level, attempt.Msg, attempt.Outcome, attempt.Attempt = "WARN", "tokenpatch: attempt failed", "unknown", 1
		attempt.Status, attempt.Code, attempt.Message = 503, "service_unavailable", `unexpected response (text/plain; charset=utf-8): "[redacted]"`
		second, third, wait := attempt, call, call
		second.Attempt = 2
		third.Msg, third.Outcome, third.Attempt, third.Status = "tokenpatch: attempt succeeded", "applied", 3, 200
		wait.Msg, wait.Reason = "tokenpatch: wait", "backoff"
		assert.Equal(t, []line{attempt, wait, second, wait, third}, lines)
		assert.NotContains(t, logged.String(), tokenpatchtest.AccessToken)
	})
}

// Without a logger nothing is written, to stderr least of all.
func TestSilentWithoutLogger(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	stderr, logged := os.Stderr, log.Writer()
	os.Stderr = write
	log.SetOutput(write)
	defer func() { os.Stderr = stderr; log.SetOutput(logged) }()

	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.Inject(tokenpatchtest.Fault{Status: 503}, tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter})
		require.NoError(t, patchName(t.Context(), client))
	})
	_, client := newPair(t, retries(tokenpatch.RetryPolicy{MaxAttempts: 1}), through(func(*http.Request) (*http.Response, error) {
		return respond(200, "", "{}"), io.EOF // net/http complains of it
	}))
	require.Error(t, patchName(t.Context(), client))

	require.NoError(t, write.Close())
	written, err := io.ReadAll(read)
	require.NoError(t, err)
	assert.Empty(t, string(written))
}

// Whatever a response points to, nothing is sent there.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var elsewhere, requests atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer target.Close()
	host := strings.TrimPrefix(target.URL, "http://")
	for _, location := range []string{target.URL + "/x", "//" + host, "HTTP://user:5ecret@" + host + "/?5ecret"} {
		for _, status := range []int{300, 301, 302, 303, 304, 305, 307, 308, 399} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				requests.Add(1)
				w.Header().Set("Location", location)
				w.Header().Set("Refresh", "0; url="+target.URL)
				w.Header().Set("Alt-Svc", `h2="`+host+`"`)
				w.WriteHeader(status)
			}))
			client := newClientAt(t, server.URL, &http.Transport{}, 3)
			for _, a := range apis {
				requests.Store(0)
				err := a.Call(t.Context(), client)
				assert.Contains(t, err.Error(), "redirect to "+host+", not followed", "%d to %s", status, location)
				assertHolds(t, err, "5ecret", false)
				assertOutcome(t, outcomeOfRedirect(status), err)
				assert.Equal(t, int64(1), requests.Load())
			}
			client.CloseIdleConnections()
			server.Close()
		}
	}
	assert.Zero(t, elsewhere.Load())
}

// The client's own transport offers TLS 1.2 and newer, and speaks no older one.
func TestTLSIsNewEnough(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			var requests atomic.Int64
			var offered []uint16
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				requests.Add(1)
				w.WriteHeader(http.StatusForbidden)
			}))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.TLS = &tls.Config{
				MinVersion: tls.VersionTLS10, MaxVersion: version,
				GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					offered = append(offered, hello.SupportedVersions...)
					return nil, nil
				},
			}
			server.StartTLS()
			defer server.Close()
			own, err := tokenpatch.NewClient(tokenpatch.Config{
				V2:    tokenpatch.V2Config{BaseURL: server.URL, AccessToken: "x"},
				Retry: tokenpatch.RetryPolicy{MaxAttempts: 1},
			})
			require.NoError(t, err)
			assertAs[*tokenpatch.NotSentError](t, patchName(t.Context(), own)) // it trusts no test's certificate
			require.NotEmpty(t, offered)
			for _, v := range offered {
				assert.GreaterOrEqual(t, v, uint16(tls.VersionTLS12))
			}

			trusting := newClientAt(t, server.URL, server.Client().Transport, 1)
			err = patchName(t.Context(), trusting)
			if version >= tls.VersionTLS12 {
				assertAs[*tokenpatch.ForbiddenError](t, err)
			} else {
				assertAs[*tokenpatch.NotSentError](t, err)
				assert.Zero(t, requests.Load())
			}
		})
	}
}

// A transport with an older TLS is refused.
func TestTransportWithOldTLSIsRefused(t *testing.T) {
	for version, allowed := range map[uint16]bool{
		0: true, tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true,
	} {
		_, err := tokenpatch.NewClient(tokenpatch.Config{
			V1:         tokenpatch.V1Config{APIKey: "x"},
			HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: version}}},
		})
		if allowed {
			require.NoError(t, err)
			continue
		}
		require.EqualError(t, err, "tokenpatch: Config.HTTPClient: a transport that allows TLS 1.1: want TLS 1.2 or newer")
		assertAs[*tokenpatch.InputError](t, err)
	}
}

// A proxy of https sees the host, and nothing else.
func TestProxySeesNoCredential(t *testing.T) {
	var seen []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, fmt.Sprint(r.Method, " ", r.Host, " ", r.Header["Authorization"]))
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer proxy.Close()
	via, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	client := newClientAt(t, "https://service.invalid", &http.Transport{Proxy: http.ProxyURL(via)}, 1)
	for _, a := range apis {
		assertAs[*tokenpatch.NotSentError](t, a.Call(t.Context(), client))
	}
	assert.Equal(t, []string{"CONNECT service.invalid:443 []", "CONNECT service.invalid:443 []"}, seen)
}

// Hosts that look like this machine, but may be another.
func TestInsecureHTTPIsRefused(t *testing.T) {
	for _, host := range []string{
		"host.example", "10.0.0.1", "localhost.example", "127.0.0.1.example", "localhost.", "127.1", "2130706433", "0x7f000001", "0177.0.0.1",
		"0.0.0.0", "[::]", "[::ffff:10.0.0.1]", "[fe80::1]", "[::1%25lo]", "loopback", "xn--lcalhost-1bd", "app.launchdarkly.com", "128.0.0.1",
	} {
		base := "http://" + host + ":8080/x"
		for field, config := range map[string]tokenpatch.Config{
			"Config.V1.BaseURL": {V1: tokenpatch.V1Config{BaseURL: base}},
			"Config.V2.BaseURL": {V2: tokenpatch.V2Config{BaseURL: base}},
		} {
			_, err := tokenpatch.NewClient(config)
			require.Error(t, err, base)
			assert.Equal(t, field, assertAs[*tokenpatch.InputError](t, err).Field)
			assert.Contains(t, err.Error(), "AllowInsecureHTTP")
			config.AllowInsecureHTTP, config.V1.APIKey = true, "x"
			_, err = tokenpatch.NewClient(config)
			require.NoError(t, err, base)
		}
	}
	for _, host := range []string{"localhost", "127.0.0.1", "127.255.255.254", "[::1]", "[::ffff:127.0.0.1]"} {
		_, err := tokenpatch.NewClient(tokenpatch.Config{V1: tokenpatch.V1Config{BaseURL: "http://" + host, APIKey: "x"}, V2: tokenpatch.V2Config{BaseURL: "http://" + host + ":1"}})
		require.NoError(t, err, host)
	}
}

// Malicious base URLs: each is refused, or appears unchanged in the request line.
func TestBaseURLsKeepTheirHost(t *testing.T) {
	for _, test := range []struct{ after, line string }{ // behind http://127.0.0.1:port
		{"", ""},
		{"/", ""},
		{"//", ""},
		{"/a//b", "/a//b"},
		{"//evil.example", "//evil.example"},
		{"/a b", "/a%20b"},
		{"/\u00e9", "/%C3%A9"},
		{"/a;b=c", "/a;b=c"},
		{"/%2f", "/%2f"},
		{"/%252e%252e", "/%252e%252e"},
		{`/\..\x`, "/%5C..%5Cx"},
		{"/..;/x", "/..;/x"},
		{"/...", "/..."},
		{"/%00", "/%00"},
		{"/%0d%0aX:%20y", "/%0d%0aX:%20y"},
		{"/" + strings.Repeat("x", 8<<10), "/" + strings.Repeat("x", 8<<10)},
		{"/..", "refused"},
		{"/.", "refused"},
		{"/a/../b", "refused"},
		{"/%2e%2e", "refused"},
		{"/%2E./b", "refused"},
		{"/..%2fb", "refused"},
		{"/a%2f..", "refused"},
		{"?x", "refused"},
		{"#x", "refused"},
		{"/\r\nX: y", "refused"},
		{"/\x00", "refused"},
		{"/\x7f", "refused"},
		{"/%", "refused"},
		{"@evil.example", "refused"},
		{`\@evil.example`, "refused"},
		{"%2f@evil.example", "refused"},
		{".evil.example", "refused"}, // an invalid port
	} {
		t.Run(fmt.Sprintf("%.40q", test.after), func(t *testing.T) {
			var lines []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				lines = append(lines, r.RequestURI)
				w.WriteHeader(http.StatusForbidden)
			}))
			defer server.Close()
			base := server.URL + test.after
			config := tokenpatch.Config{
				V1:                tokenpatch.V1Config{BaseURL: base, APIKey: "x"},
				V2:                tokenpatch.V2Config{BaseURL: base, AccessToken: "x"},
				AllowInsecureHTTP: true,
			}
			client, err := tokenpatch.NewClient(config)
			if test.line == "refused" {
				assertAs[*tokenpatch.InputError](t, err)
				assert.NotEmpty(t, assertAs[*tokenpatch.InputError](t, err).Want)
				return
			}
			require.NoError(t, err)
			for _, a := range apis {
				assertAs[*tokenpatch.ForbiddenError](t, a.Call(t.Context(), client))
			}
			client.CloseIdleConnections()
			assert.Equal(t, []string{test.line + pathV1, test.line + pathV2}, lines)
		})
	}
}

// An id is refused, or is one segment of the path, which decodes to itself. It
// changes nothing else of the request.
func FuzzID(f *testing.F) {
	for _, id := range []string{"..", "a/../b", "%2e%2e", "?q#f", "\\", "a\r\nb", "@evil.example", "\u2028", "\xff", strings.Repeat("/", 256)} {
		f.Add(id, "/gateway")
		f.Add(id, "/a%2Fb")
	}
	f.Fuzz(func(t *testing.T, id, path string) {
		var sent *http.Request
		config := tokenpatch.Config{V2: tokenpatch.V2Config{BaseURL: "https://host.example" + path, AccessToken: "x"}}
		through(func(r *http.Request) (*http.Response, error) { sent = r; return respond(403, "", ""), nil })(&config)
		client, err := tokenpatch.NewClient(config)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		_, err = client.V2.PatchToken(t.Context(), id, tokenpatch.NewPatch().SetName("x"))
		if sent == nil {
			require.Equal(t, "id", assertAs[*tokenpatch.InputError](t, err).Field)
			return
		}
		require.True(t, utf8.ValidString(id))
		require.Equal(t, "https", sent.URL.Scheme)
		require.Equal(t, "host.example", sent.URL.Host)
		require.Equal(t, "host.example", sent.Host)
		line := sent.URL.RequestURI()
		last := line[strings.LastIndexByte(line, '/')+1:]
		require.NotContains(t, last, "?")
		decoded, err := url.PathUnescape(last)
		require.NoError(t, err)
		require.Equal(t, id, decoded)
		require.True(t, strings.HasSuffix(strings.TrimSuffix(line, last), "/api/v2/tokens/"), line)
		parsed, err := url.ParseRequestURI(line)
		require.NoError(t, err)
		require.Empty(t, parsed.RawQuery)
		require.Equal(t, sent.URL.Path, parsed.Path)
	})
}

// A base URL may end in the path of its own API, which is how some programs write it. Any other such path is refused: something
// of it would be there twice.
func TestBaseURLWithThePathOfTheAPI(t *testing.T) {
	for _, a := range apis {
		own := "/api/" + strings.ToLower(a.Name)
		for _, end := range []string{own, own + "/", "/gateway" + own} {
			t.Run(a.Name+end, func(t *testing.T) {
				var sent string
				_, client := newPair(t, func(c *tokenpatch.Config) {
					base := "https://host.example" + end
					if a.Name == "V1" {
						c.V1.BaseURL = base
					} else {
						c.V2.BaseURL = base
					}
				}, through(func(r *http.Request) (*http.Response, error) { sent = r.URL.String(); return respond(400, "", ""), nil }))
				_ = a.Call(t.Context(), client)
				assert.Equal(t, "https://host.example"+strings.TrimSuffix(strings.TrimSuffix(end, "/"), own)+a.Path, sent)
			})
		}
	}
	for _, end := range []string{"/api", "/api/", "/gateway/api", "/api/v1", "/api/v3"} {
		_, err := tokenpatch.NewClient(tokenpatch.Config{V2: tokenpatch.V2Config{BaseURL: "https://host.example" + end, AccessToken: "x"}})
		require.ErrorContains(t, err, "want the path in front of /api/v2, or none", end)
	}
	t.Setenv("LAUNCHDARKLY_API_HOST", "https:/app.launchdarkly.com")
	t.Setenv("LAUNCHDARKLY_ACCESS_TOKEN", "x")
	_, err := tokenpatch.NewClient(tokenpatch.ConfigFromEnv())
	require.ErrorContains(t, err, "Config.V2.BaseURL: a URL without a scheme or a host")
}

// An OAuth access token is sent with V2's scheme word.
func TestOAuth(t *testing.T) {
	service, client := newPair(t, func(c *tokenpatch.Config) { c.V2 = tokenpatch.V2Config{AccessToken: "of-oauth", OAuth: true} })
	service.AddCredential(tokenpatchtest.Credential{AccessToken: "of-oauth", OAuth: true})
	require.NoError(t, patchName(t.Context(), client))
	assert.Equal(t, "Bearer of-oauth", service.Requests()[0].Header.Get("Authorization"))
}

// What both services know is shown by neither.
func TestCredentialsOfOneServiceAreKnownToTheOther(t *testing.T) {
	_, client := newPair(t, func(c *tokenpatch.Config) {
		c.V1 = tokenpatch.V1Config{APIKeyFunc: func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) { return marker + "-v1", nil }}
	}, through(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return respond(400, "text/plain", "the other is "+marker+"-v1"), nil
	}))
	_ = updateName(t.Context(), client)
	assertHolds(t, patchName(t.Context(), client), marker, false)
	_, err := client.V2.GetToken(t.Context(), marker+"-v1")
	require.EqualError(t, err, "tokenpatch: id: a credential: want the id of an access token, not its value")
}

// With a caching function, ten thousand calls read the vault only as often as the service refuses a
// credential.
func TestCredentialFuncThatKeepsWhatItHasRead(t *testing.T) {
	reads := 0
	var kept tokenpatch.Secret
	service, client := newPair(t, func(c *tokenpatch.Config) {
		c.V2 = tokenpatch.V2Config{AccessTokenFunc: func(_ context.Context, refused tokenpatch.Secret) (tokenpatch.Secret, error) {
			if kept == "" || kept == refused {
				reads++
				kept = tokenpatch.Secret(fmt.Sprint("token-number-", reads))
			}
			return kept, nil
		}}
	})
	for n := range 10_000 {
		if n%2500 == 0 { // it rotates
			service.SetCredentials(tokenpatchtest.APIKey, fmt.Sprint("token-number-", 1+n/2500))
		}
		_, err := client.V2.GetToken(t.Context(), idV2)
		require.NoError(t, err)
	}
	assert.Equal(t, 4, reads)
}

// dying is a connection of a server that passes nothing after its death.
type dying struct {
	net.Conn
	dead atomic.Bool
}

func (d *dying) Read(p []byte) (int, error) {
	for {
		n, err := d.Conn.Read(p)
		if err != nil || !d.dead.Load() {
			return n, err
		}
	}
}

func (d *dying) Write(p []byte) (int, error) {
	if d.dead.Load() {
		return len(p), nil
	}
	return d.Conn.Write(p)
}

// conns is a listener for connections from a channel.
type conns chan net.Conn

func (c conns) Accept() (net.Conn, error) {
	conn, ok := <-c
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (conns) Close() error   { return nil }
func (conns) Addr() net.Addr { return &net.TCPAddr{} }

// A dead HTTP/2 connection is given up after the ping timeout: the next attempt uses a new one.
func TestHTTP2ConnectionThatDiesSilently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, _ := newPair(t)
		var opened []*dying
		accept := make(conns, 10)
		transport := tokenpatch.NewTransport()
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			opened = append(opened, &dying{Conn: server})
			accept <- opened[len(opened)-1]
			return client, nil
		}
		server := &http.Server{Handler: service, Protocols: transport.Protocols}
		go func() { _ = server.Serve(accept) }()
		client := newClientAt(t, "http://localhost", transport, 4)
		require.NoError(t, patchName(t.Context(), client))

		opened[0].dead.Store(true)
		began := time.Now()
		require.NoError(t, patchName(t.Context(), client))
		assert.Len(t, opened, 2)
		assert.LessOrEqual(t, time.Since(began), 20*time.Second)

		transport.CloseIdleConnections()
		close(accept)
		for _, conn := range opened {
			_ = conn.Close()
		}
		_ = server.Close()
	})
}
