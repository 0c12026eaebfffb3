package faulttest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const (
	// A credential with everything JSON, HTML and Go escape.
	credential = `k"<&>/` + marker + `+=`
	tokenValue = "lead-t0ken-lead"
)

// spill is all output of the library, in every printable form.
type spill struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (s *spill) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

// print writes values as fmt and slog print them.
func (s *spill) print(values ...any) {
	logger := s.logger()
	for _, v := range values {
		fmt.Fprintf(s, "%v\n%+v\n%#v\n%s\n%q\n%x\n%d\n", v, v, v, v, v, v, v)
		logger.Error("printed", "value", v)
		if err, ok := v.(error); ok && err != nil {
			wrapped := fmt.Errorf("wrapped: %w", err)
			joined := errors.Join(io.EOF, err)
			fmt.Fprintf(s, "%v\n%+v\n%#v\n%v\n%+v\n%#v\n", wrapped, wrapped, wrapped, joined, joined, joined)
			logger.Error(err.Error(), "wrapped", wrapped, "joined", joined)
		}
	}
}

// dump writes every text reachable from values, exported or not.
func (s *spill) dump(values ...any) {
	s.print(values...)
	for _, v := range values {
		if encoded, err := json.Marshal(v); err == nil {
			_, _ = s.Write(encoded)
		}
		reach(reflect.ValueOf(v), map[uintptr]bool{}, s)
	}
}

func reach(v reflect.Value, seen map[uintptr]bool, to io.Writer) {
	switch v.Kind() {
	case reflect.String:
		_, _ = fmt.Fprintln(to, v.String())
	case reflect.Interface:
		reach(v.Elem(), seen, to)
	case reflect.Pointer:
		if !v.IsNil() && !seen[v.Pointer()] {
			seen[v.Pointer()] = true
			reach(v.Elem(), seen, to)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			reach(v.Field(i), seen, to)
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			reach(entries.Key(), seen, to)
			reach(entries.Value(), seen, to)
		}
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
			_, _ = to.Write(append(v.Bytes(), '\n'))
			return
		}
		for i := range v.Len() {
			reach(v.Index(i), seen, to)
		}
	}
}

// logger writes every record as text and as JSON.
func (s *spill) logger() *slog.Logger {
	all := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}
	return slog.New(tee{slog.NewTextHandler(s, all), slog.NewJSONHandler(s, all)})
}

type tee [2]slog.Handler

func (h tee) Enabled(context.Context, slog.Level) bool { return true }
func (h tee) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h tee) WithGroup(string) slog.Handler            { return h }

func (h tee) Handle(ctx context.Context, r slog.Record) error {
	return errors.Join(h[0].Handle(ctx, r), h[1].Handle(ctx, r))
}

var escapes = regexp.MustCompile(`\\*\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})`)

// unescape undoes what JSON and Go make of a byte.
func unescape(text string) string {
	return escapes.ReplaceAllStringFunc(text, func(e string) string {
		c, _ := strconv.ParseUint(strings.TrimLeft(e, `\ux`), 16, 16)
		return string(rune(c))
	})
}

// assertClean looks for the credential and the token's value, in the forms in
// which they can hide.
func (s *spill) assertClean(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.out.String()
	assert.NotEmpty(t, out, "nothing came out")
	forms := []string{out, strings.ReplaceAll(unescape(out), `\`, "")}
	for _, secret := range []string{marker, tokenValue} {
		for _, hidden := range []string{secret, hex.EncodeToString([]byte(secret)), strings.Trim(fmt.Sprint([]byte(secret)), "[]")} {
			for _, form := range forms {
				if at := strings.Index(form, hidden); at >= 0 {
					t.Errorf("%s came out: %s", hidden, form[max(0, at-200):min(len(form), at+200)])
					return
				}
			}
		}
	}
}

// tap adds a client's hooks and logger to the spill, and its credential to the secrets.
func (s *spill) tap(c *tokenpatch.Config) {
	c.V1.APIKey, c.V2.AccessToken = credential, credential
	c.Logger = s.logger()
	c.Hooks = tokenpatch.Hooks{
		AttemptEnd: func(_ context.Context, a tokenpatch.AttemptResult) { s.dump(a, a.Err) },
		WaitEnd:    func(_ context.Context, w tokenpatch.WaitInfo) { s.dump(w) },
	}
}

// client returns a client with two attempts a call.
func (s *spill) client(t *testing.T, base string, change ...func(*tokenpatch.Config)) *tokenpatch.Client {
	t.Helper()
	config := tokenpatch.Config{
		V1: tokenpatch.V1Config{BaseURL: base}, V2: tokenpatch.V2Config{BaseURL: base},
		Retry: tokenpatch.RetryPolicy{MaxAttempts: 2, MinBackoff: 1, MaxBackoff: 1, MaxRateLimitWait: 1},
	}
	s.tap(&config)
	for _, f := range change {
		f(&config)
	}
	client, err := tokenpatch.NewClient(config)
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// call makes a failing call, on each of the two APIs.
func (s *spill) call(t *testing.T, client *tokenpatch.Client) {
	t.Helper()
	for _, a := range apis {
		err := a.Call(t.Context(), client)
		require.Error(t, err)
		s.dump(err)
	}
}

// Ways to write a text inside a JSON string.
var encodings = map[string]func(string) string{
	"plain":         func(text string) string { return text },
	"as Go does":    quoted,
	"twice":         func(text string) string { return quoted(quoted(text)) },
	"five times":    func(text string) string { return quoted(quoted(quoted(quoted(quoted(text))))) },
	"as bytes":      func(text string) string { return codeUnits(text, `0x%02x, `) },
	"every slash":   func(text string) string { return strings.ReplaceAll(quoted(text), "/", `\/`) },
	"as code units": func(text string) string { return codeUnits(text, `\u%04x`) },
	"in capitals":   func(text string) string { return codeUnits(text, `\u%04X`) },
	"partly":        func(text string) string { return codeUnits(text[:9], `\u%04X`) + quoted(text[9:]) },
}

func quoted(text string) string {
	encoded, _ := json.Marshal(text)
	return string(encoded[1 : len(encoded)-1])
}

func codeUnits(text, format string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

// Bodies with an echo of the request in place of each §.
var echoes = map[string]string{
	"message": `{"code":"§","message":"bad §","id":"§"}`,
	"detail":  `{"detail":"bad §"}`,
	"details": `{"detail":[{"loc":["header","§",0],"msg":"bad §","type":"§","input":{"§":"§"},"ctx":{"a":"§"}}]}`,
	"members": `{"§":"§","code":5,"detail":{"§":1}}`,
	"a token": `{"_id":5,"token":"§","name":"§"}`,
	"links":   `{"_id":"` + idV2 + `","_links":{"§":5}}`,
	"HTML":    `<html>§</html>`,
	"text":    `§`,
	"at 4096": strings.Repeat("x", 4090) + `§`,
	"many":    strings.Repeat(`§`, 60),
}

// Servers, and proxies in front of them, echo what they were sent: in every
// status, in every member, in headers, escaped or not, and cut off.
func TestNoSecretFromResponses(t *testing.T) {
	var status int
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		for _, name := range []string{"Content-Type", "Server", "Www-Authenticate", "Set-Cookie", "Retry-After", "X-Ratelimit-Reset", "X-Ratelimit-Global-Remaining"} {
			w.Header().Set(name, sent)
		}
		w.Header().Set("Location", "https://"+marker+".example/"+sent)
		if status == 302 {
			w.Header().Set("Location", "/"+sent)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for name, echo := range echoes {
		t.Run(name, func(t *testing.T) {
			var s spill
			for encoding, encode := range encodings {
				body = strings.ReplaceAll(echo, "§", encode(credential))
				statuses := []int{422, 503}
				if encoding == "as code units" {
					statuses = []int{200, 202, 302, 403, 429}
				}
				for _, status = range statuses {
					s.call(t, s.client(t, server.URL, func(c *tokenpatch.Config) { c.HTTPClient = &http.Client{Transport: transport} }))
				}
			}
			s.assertClean(t)
		})
	}
}

// A redirect's host is named, so it must not be a credential.
func TestNoSecretFromRedirects(t *testing.T) {
	var s spill
	_, client := newPair(t, s.tap, func(c *tokenpatch.Config) { c.V1.APIKey, c.V2.AccessToken = marker, marker },
		through(func(*http.Request) (*http.Response, error) {
			response := respond(307, "text/plain", "")
			response.Header.Set("Location", "https://"+marker+".example/")
			return response, nil
		}))
	s.call(t, client)
	s.assertClean(t)
}

// A response can break off in the middle of what it echoes.
func TestNoSecretFromResponsesThatBreakOff(t *testing.T) {
	var s spill
	for n := range len(credential) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9999")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"message":"`+credential[:n])
		}))
		s.call(t, s.client(t, server.URL))
		s.call(t, s.client(t, server.URL, func(c *tokenpatch.Config) { c.MaxResponseBytes = int64(len(`{"message":"`) + n) }))
		server.Close()
	}
	assert.NotContains(t, s.out.String(), credential[:8])
	s.assertClean(t)
}

// What is no HTTP at all ends in errors of net/http, which quote it.
func TestNoSecretFromTransports(t *testing.T) {
	for name, reply := range map[string]string{
		"no HTTP":           "§\r\n\r\n",
		"status code":       "HTTP/1.1 § OK\r\n\r\n",
		"status line":       "HTTP/1.1 200§\r\n\r\n",
		"reason":            "HTTP/1.1 403 §\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		"protocol":          "§/1.1 200 OK\r\n\r\n",
		"header line":       "HTTP/1.1 200 OK\r\n§\r\n\r\n",
		"header name":       "HTTP/1.1 200 OK\r\n§ : x\r\n\r\n",
		"content length":    "HTTP/1.1 200 OK\r\nContent-Length: §\r\n\r\n",
		"content lengths":   "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: §\r\n\r\n",
		"transfer encoding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: §\r\n\r\n",
		"chunk":             "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n§\r\n",
		"trailer":           "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\nTrailer: §\r\n\r\n0\r\n§\r\n\r\n",
		"gzip":              "HTTP/1.1 403 No\r\nContent-Encoding: gzip\r\nContent-Length: 999\r\n\r\n§",
		"upgrade":           "HTTP/1.1 101 §\r\nUpgrade: §\r\nConnection: upgrade\r\n\r\n",
		"long":              "HTTP/1.1 " + strings.Repeat("§", 500) + "\r\n\r\n",
		"control":           "\x1b[31m§\x1b[0m\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var s spill
			base := newEchoServer(t, func(conn net.Conn, sent string) { _, _ = io.WriteString(conn, strings.ReplaceAll(reply, "§", sent)) })
			client := s.client(t, base)
			for _, a := range apis {
				err := a.Call(t.Context(), client)
				require.Error(t, err)
				assert.Less(t, len(err.Error()), 3<<10)
				assert.NotContains(t, err.Error(), "\x1b")
				s.dump(err)
			}
			s.assertClean(t)
		})
	}
	t.Run("an error that quotes the request", func(t *testing.T) {
		var s spill
		s.call(t, s.client(t, "http://localhost", through(func(r *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("sending %q: %w", r.Header, io.ErrUnexpectedEOF)
		})))
		s.assertClean(t)
	})
}

// newEchoServer reads the request of each connection, and gives serve its credential. It returns
// the base URL.
func newEchoServer(t *testing.T, serve func(conn net.Conn, sent string)) string {
	t.Helper()
	return "http://" + serveRaw(t, func(conn net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, request.Body)
		serve(conn, strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer "))
	})
}

// Calls without a complete response.
func TestNoSecretWithoutResponses(t *testing.T) {
	t.Run("a certificate that nobody trusts", func(t *testing.T) {
		var s spill
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(&s, "", 0)
		server.StartTLS()
		defer server.Close()
		s.call(t, s.client(t, server.URL))
		s.assertClean(t)
	})
	t.Run("a certificate of another host", func(t *testing.T) {
		var s spill
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(&s, "", 0)
		server.StartTLS()
		defer server.Close()
		elsewhere := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
		s.call(t, s.client(t, elsewhere, func(c *tokenpatch.Config) { c.HTTPClient = server.Client() }))
		s.assertClean(t)
	})
	t.Run("a refused connection", func(t *testing.T) {
		var s spill
		s.call(t, s.client(t, "http://"+refusingAddress(t)))
		s.assertClean(t)
	})
	t.Run("timeouts", func(t *testing.T) {
		var s spill
		base := newEchoServer(t, func(conn net.Conn, sent string) {
			_, _ = io.WriteString(conn, "HTTP/1.1 503 "+sent+"\r\nContent-Length: 9999\r\n\r\n"+sent)
			_, _ = conn.Read(make([]byte, 1)) // until the client hangs up
		})
		s.call(t, s.client(t, base, func(c *tokenpatch.Config) { c.HTTPClient = &http.Client{Timeout: 30 * time.Millisecond} }))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		for _, a := range apis {
			s.dump(a.Call(ctx, s.client(t, base)))
		}
		s.assertClean(t)
	})
	t.Run("a rate limit", func(t *testing.T) {
		var s spill
		service := tokenpatchtest.New()
		defer service.Close()
		service.SetCredentials(credential, credential)
		service.RefuseFor(tokenpatchtest.V1, time.Hour)
		service.RefuseFor(tokenpatchtest.V2, time.Hour)
		client := s.client(t, "", func(c *tokenpatch.Config) { c.HTTPClient = service.Client() })
		s.call(t, client)
		s.call(t, client) // turned away
		s.dump(client.V2.RateLimit())
		s.assertClean(t)
	})
}

// A token's value, which V2 returns, is not shown.
func TestNoSecretFromTokens(t *testing.T) {
	var s spill
	body := `{"_id":"` + idV2 + `","ownerId":"o","memberId":"m","token":"` + tokenValue + `","creationDate":1,"lastModified":1,` +
		`"unknown":"` + tokenValue + `","_links":{},"_member":{"_id":"m","unknown":"` + tokenValue + `"}}`
	send := func(status int, body string) {
		client := s.client(t, "http://localhost", through(func(*http.Request) (*http.Response, error) {
			return respond(status, "application/json", body), nil
		}))
		patch := tokenpatch.NewPatch().Test("/token", tokenValue).SetName("x")
		fmt.Fprintf(&s, "%v\n%+v\n%s\n%q\n", patch, patch, patch, patch)
		s.logger().Info("sending", "patch", patch)
		token, err := client.V2.PatchToken(t.Context(), idV2, patch)
		s.print(token, err)
		if token != nil {
			s.print(*token, token.Token, token.Extra)
			fmt.Fprintf(&s, "%v %+v %#v", []tokenpatch.Token{*token}, []*tokenpatch.Token{token}, struct{ T tokenpatch.Token }{*token})
			return
		}
		s.dump(err)
	}
	send(200, body)
	for _, status := range []int{200, 201, 202, 204, 206} {
		for _, broken := range []string{
			strings.Replace(body, `"_id":"`+idV2+`"`, `"_id":5`, 1), strings.Replace(body, `"token":`, `"token":[`, 1), body[:len(body)-1],
			strings.Replace(body, `"creationDate":1`, `"creationDate":"`+tokenValue+`"`, 1),
			strings.Replace(body, `"_links":{}`, `"_links":"`+tokenValue+`"`, 1),
			strings.Replace(body, `"ownerId":"o"`, `"inlineRole":[{"effect":["`+tokenValue+`"]}]`, 1),
			`"` + tokenValue + `"`, tokenValue, `[` + body + `]`,
		} {
			send(status, broken)
		}
	}
	s.assertClean(t)
}

// A Config and a Client show no credential when they are printed or logged.
func TestNoSecretFromConfig(t *testing.T) {
	var s spill
	config := tokenpatch.Config{HTTPClient: http.DefaultClient}
	s.tap(&config)
	config.Logger = nil // it would print what has been printed
	client, err := tokenpatch.NewClient(config)
	require.NoError(t, err)
	s.print(config, &config, config.V1, &config.V1, config.V2, &config.V2, []tokenpatch.Config{config}, struct{ C tokenpatch.Config }{config})
	s.print(client, *client, client.V1, client.V2)
	t.Setenv("DEEPSET_API_KEY", credential)
	t.Setenv("LAUNCHDARKLY_ACCESS_TOKEN", credential)
	s.print(tokenpatch.ConfigFromEnv())

	for _, base := range []string{
		"https://" + marker + "@host.example", "https://user:" + marker + "@host.example", "https://host.example/?" + marker, "https://host.example/#" + marker,
		"https://user:" + marker + "%zz@host.example", "https:" + marker, marker, "https://host.example\n" + marker, "://" + marker, "%" + marker,
	} {
		for _, config := range []tokenpatch.Config{{V1: tokenpatch.V1Config{BaseURL: base}}, {V2: tokenpatch.V2Config{BaseURL: base}}} {
			_, err := tokenpatch.NewClient(config)
			require.Error(t, err, base)
			s.dump(err)
		}
	}
	supply := func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) { return credential, nil }
	for _, secret := range []tokenpatch.Secret{marker + "\n", marker + " x", marker + "\u00e9", "Bearer " + marker} {
		for _, config := range []tokenpatch.Config{
			{V1: tokenpatch.V1Config{APIKey: secret}}, {V2: tokenpatch.V2Config{AccessToken: secret}},
			{V1: tokenpatch.V1Config{APIKey: marker, APIKeyFunc: supply}}, {V2: tokenpatch.V2Config{AccessToken: marker, AccessTokenFunc: supply}},
		} {
			_, err := tokenpatch.NewClient(config)
			require.Error(t, err)
			s.dump(err)
		}
	}
	s.assertClean(t)
}

// A credential function may return a credential with an error, or an invalid one.
func TestNoSecretFromCredentialFuncs(t *testing.T) {
	var s spill
	for _, supply := range []func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error){
		func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) {
			return marker, errors.New("cannot use " + marker)
		},
		func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) { return marker + "\n", nil },
		func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) { return marker + " x", nil },
	} {
		s.call(t, s.client(t, "", func(c *tokenpatch.Config) {
			c.V1.APIKey, c.V2.AccessToken = "", ""
			c.V1.APIKeyFunc, c.V2.AccessTokenFunc = supply, supply
		}))
	}
	s.assertClean(t)
}

// A panic passes through the library and is recovered, with its stack.
func TestNoSecretFromPanics(t *testing.T) {
	var s spill
	for name, change := range map[string]func(*tokenpatch.Config){
		"transport": through(func(*http.Request) (*http.Response, error) { panic("broken") }),
		"response": through(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: panics{}}, nil
		}),
		"hook": func(c *tokenpatch.Config) {
			c.Hooks.AttemptEnd = func(context.Context, tokenpatch.AttemptResult) { panic("broken") }
		},
		"supply": func(c *tokenpatch.Config) {
			c.V1.APIKey, c.V2.AccessToken = "", ""
			c.V1.APIKeyFunc = func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) { panic("broken") }
			c.V2.AccessTokenFunc = c.V1.APIKeyFunc
		},
	} {
		_, client := newPair(t, s.tap, change)
		for _, a := range apis {
			func() {
				defer func() {
					recovered := recover()
					assert.NotNil(t, recovered, name)
					s.dump(recovered, string(debug.Stack()))
				}()
				_ = a.Call(t.Context(), client)
			}()
		}
	}
	s.assertClean(t)
}

// panics is a body with a panic.
type panics struct{}

func (panics) Read([]byte) (int, error) { panic("broken") }
func (panics) Close() error             { return nil }

// The quickstart prints no credential, neither the embedded service's nor the
// environment's.
func TestNoSecretFromTheQuickstart(t *testing.T) {
	command, err := exec.LookPath("go")
	if err != nil || testing.Short() {
		t.Skip("it builds the quickstart")
	}
	t.Parallel()
	program := filepath.Join(t.TempDir(), "quickstart.exe")
	built, err := exec.Command(command, "build", "-o", program, "../../examples/quickstart").CombinedOutput()
	require.NoError(t, err, string(built))

	t.Run("against the embedded service", func(t *testing.T) {
		t.Parallel()
		out, err := exec.Command(program).CombinedOutput()
		require.NoError(t, err, string(out))
		assert.Contains(t, string(out), "12 changes at once")
		assert.NotContains(t, string(out), tokenpatchtest.APIKey)
		assert.NotContains(t, string(out), tokenpatchtest.AccessToken)
	})
	var s spill
	base := newEchoServer(t, func(conn net.Conn, sent string) {
		body := `{"message":"` + quoted(sent) + `","detail":"` + quoted(sent) + `"}`
		fmt.Fprintf(conn, "HTTP/1.1 401 No\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	})
	for _, args := range [][]string{{"-v1", idV1}, {"-v2", idV2}} {
		quickstart := exec.Command(program, args...)
		quickstart.Env = append(os.Environ(), "DEEPSET_API_KEY="+credential, "LAUNCHDARKLY_ACCESS_TOKEN="+credential,
			"DEEPSET_API_URL="+base, "LAUNCHDARKLY_API_HOST="+base)
		out, err := quickstart.CombinedOutput()
		require.Error(t, err)
		assert.Contains(t, string(out), "401")
		_, _ = s.Write(out)
	}
	s.assertClean(t)
}

// Whatever stands around an echo, and however it is escaped, it is taken out.
func FuzzEcho(f *testing.F) {
	f.Add([]byte("secretive-one"), uint64(0), `{"message":"`, `"}`, 403)
	f.Add([]byte("a/b+c=d-e/f+g"), uint64(5), `\`, `\u00`, 422)
	f.Fuzz(func(t *testing.T, seed []byte, escaped uint64, before, after string, status int) {
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ+/-=" // shares nothing with [redacted], nor with what escapes are made of
		if len(seed) < 12 || status < 300 || status > 599 {
			return
		}
		var secret, echo strings.Builder
		for i, b := range seed {
			c := alphabet[int(b)%len(alphabet)]
			secret.WriteByte(c)
			if escaped>>(i%64)&1 == 1 {
				fmt.Fprintf(&echo, `\u%04x`, c)
			} else {
				echo.WriteByte(c)
			}
		}
		_, client := newPair(t, retries(tokenpatch.RetryPolicy{MaxAttempts: 1, MaxRateLimitWait: 1}),
			func(c *tokenpatch.Config) { c.V2.AccessToken = tokenpatch.Secret(secret.String()) },
			through(func(*http.Request) (*http.Response, error) {
				return respond(status, "text/"+echo.String(), before+echo.String()+after), nil
			}))
		err := patchName(t.Context(), client)
		var api *tokenpatch.APIError
		require.ErrorAs(t, err, &api)
		for _, text := range []string{err.Error(), string(api.Body), api.Message} {
			require.NotContains(t, text, secret.String())
			require.NotContains(t, unescape(text), secret.String())
		}
	})
}

// No attempt's credential is printed if each has another.
func TestNoSecretFromRotatedCredentials(t *testing.T) {
	var s spill
	client := s.client(t, "http://localhost", func(c *tokenpatch.Config) {
		n := 0
		supply := func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) {
			n++
			return tokenpatch.Secret([]string{marker + "-one", marker + "-two"}[n%2]), nil
		}
		c.V1 = tokenpatch.V1Config{APIKeyFunc: supply}
		c.V2 = tokenpatch.V2Config{AccessTokenFunc: supply}
	}, through(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return respond(503, "text/plain", r.Header.Get("Authorization")+" "+marker+"-one "+marker+"-two"), nil
	}))
	s.call(t, client)
	s.assertClean(t)
}

// A credential passed as an id by mistake is never printed.
func TestNoSecretFromIDs(t *testing.T) {
	var s spill
	client := s.client(t, "http://localhost", through(func(*http.Request) (*http.Response, error) {
		return respond(404, "application/json", `{"code":"not_found","message":"no `+marker+`"}`), nil
	}))
	supplied := s.client(t, "http://localhost", through(func(*http.Request) (*http.Response, error) {
		return respond(404, "application/json", ""), nil
	}), func(c *tokenpatch.Config) {
		c.V2.AccessToken = ""
		c.V2.AccessTokenFunc = func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) { return marker, nil }
	})
	_ = patchName(t.Context(), supplied) // from here on it knows the credential
	for _, id := range []string{credential, marker, marker + "\n", strings.Repeat(marker, 20), "x" + marker, strings.ToUpper(marker)} {
		for _, c := range []*tokenpatch.Client{client, supplied} {
			_, err := c.V2.PatchToken(t.Context(), id, tokenpatch.NewPatch().SetName("x"))
			require.Error(t, err)
			s.dump(err)
		}
	}
	s.assertClean(t)
}
