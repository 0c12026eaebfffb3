package tokenpatch_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
)

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
				err := a.call(t.Context(), client)
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

// A transport that was told to speak an older TLS is refused.
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
		assertAs[*tokenpatch.NotSentError](t, a.call(t.Context(), client))
	}
	assert.Equal(t, []string{"CONNECT service.invalid:443 []", "CONNECT service.invalid:443 []"}, seen)
}

// Hosts that look like this machine and need not be it.
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

// Base URLs that try to be something else: each is refused, or means what it
// says, in the request line that a server reads.
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
		{".evil.example", "refused"}, // a port that is none
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
				assertAs[*tokenpatch.ForbiddenError](t, a.call(t.Context(), client))
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
