package page_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
)

func listen(t *testing.T) *page.Server {
	t.Helper()
	server, err := page.Listen(t.Context(), "127.0.0.1:0", "r")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	return server
}

func ask(t *testing.T, method, url, host string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	if host != "" {
		r.Host = host
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response, string(body)
}

func TestForeignHostsAreRefused(t *testing.T) {
	server := listen(t)
	_, port, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(server.URL, "http://"), "/"), ":")
	for host, status := range map[string]int{
		"": 200, "localhost": 200, "localhost:" + port: 200, "127.0.0.1": 200,
		"evil.example": 421, "evil.example:" + port: 421, "127.0.0.2": 421, "127.0.0.1.evil.example": 421, "[::1]": 421, "[": 421, "localhost.evil.example": 421,
	} {
		for _, path := range []string{"", "nothing"} {
			response, body := ask(t, "GET", server.URL+path, host)
			if want := status; path != "" && want == 200 {
				assert.Equal(t, 404, response.StatusCode, host)
			} else {
				assert.Equal(t, want, response.StatusCode, host)
			}
			if status != 200 {
				assert.NotContains(t, body, "<html")
			}
		}
	}
}

func TestNothingChangesAnything(t *testing.T) {
	server := listen(t)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		for _, path := range []string{"", "events"} {
			response, _ := ask(t, method, server.URL+path, "")
			assert.Equal(t, http.StatusMethodNotAllowed, response.StatusCode, method)
			assert.Empty(t, response.Header.Get("Access-Control-Allow-Origin"))
		}
	}
}

func TestHeaders(t *testing.T) {
	server := listen(t)
	response, _ := ask(t, "GET", server.URL, "")
	policy := response.Header.Get("Content-Security-Policy")
	for _, directive := range []string{"default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'"} {
		assert.Contains(t, policy, directive)
	}
	assert.NotContains(t, policy, "unsafe")
	for name, value := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		"Cross-Origin-Resource-Policy": "same-origin", "Content-Type": "text/html; charset=utf-8",
	} {
		assert.Equal(t, value, response.Header.Get(name), name)
	}
}

const hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u2028"

func hostileList(run *page.Run) page.List {
	return page.List{
		Title: hostile, Total: 1, Run: run, Facts: []page.Fact{{Name: hostile, Value: hostile}}, Groups: []page.Group{{Count: 1, Text: hostile, Advice: hostile, Command: hostile}},
		States: []page.State{{Name: hostile, Words: hostile}}, Rows: func(yield func(page.Row) bool) {
			yield(page.Row{API: hostile, ID: hostile, Name: hostile, State: hostile, Words: hostile, Lines: []page.Line{{Sign: hostile, Text: hostile}}, Comment: hostile, Reason: hostile, Error: hostile, When: hostile})
		},
	}
}

// Text from elsewhere stays text, also for a browser without Content-Security-Policy.
func TestMarkupIsText(t *testing.T) {
	var live, list bytes.Buffer
	run := page.Run{
		Name: hostile, NotApplied: 1, Waiting: hostile, Stopped: hostile, Windows: []page.Window{{Quota: hostile}},
		Failures: []page.Change{{API: hostile, ID: hostile, Outcome: hostile, Code: hostile, Error: hostile}},
	}
	require.NoError(t, page.Write(&live, run))
	require.NoError(t, page.WriteList(&list, hostileList(&run)))
	for _, document := range []string{live.String(), list.String()} {
		assert.NotContains(t, document, "<script>alert")
		assert.NotContains(t, document, "<img")
		assert.Equal(t, 2, strings.Count(document, "</script>"))
	}
}

func TestAListNeedsNothingElse(t *testing.T) {
	for _, run := range []*page.Run{nil, {Name: "x"}} {
		var b bytes.Buffer
		list := sampleList(3)
		list.Run = run
		require.NoError(t, page.WriteList(&b, list))
		for _, reference := range []string{"http:", "https:", "src=", "@import", "url("} {
			assert.NotContains(t, b.String(), reference)
		}
		assert.Contains(t, b.String(), "connect-src &#39;none&#39;")
	}
}

// A reader is told of what happens, once, and of the end.
func TestEvents(t *testing.T) {
	server := listen(t)
	server.Publish(page.Run{Name: "r", Live: true, Pending: 2})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"events", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	lines := bufio.NewScanner(response.Body)
	next := func() string {
		for lines.Scan() {
			if name, found := strings.CutPrefix(lines.Text(), "event: "); found {
				lines.Scan()
				return name + " " + strings.TrimPrefix(lines.Text(), "data: ")
			}
		}
		require.NoError(t, lines.Err())
		return "end"
	}
	assert.Equal(t, "failures null", next())
	assert.Contains(t, next(), `run {"name":"r","live":true,"pending":2,`)
	server.Publish(page.Run{Name: "r", Live: true, Pending: 1, Applied: 1})
	assert.Contains(t, next(), `"applied":1,"notApplied":0`, "the failures are as they were")
	server.Publish(page.Run{Name: "r", Applied: 1, NotApplied: 1, Failures: []page.Change{{ID: "a", Error: "b"}}})
	assert.Contains(t, next(), `failures [{"api":"","id":"a"`)
	assert.Contains(t, next(), `"live":false`)
	assert.Equal(t, "end", next())
}

func TestCloseWithReaders(t *testing.T) {
	server, err := page.Listen(t.Context(), "127.0.0.1:0", "r")
	require.NoError(t, err)
	response, err := http.Get(server.URL + "events")
	require.NoError(t, err)
	defer response.Body.Close()
	began := time.Now()
	_ = server.Close()
	assert.Less(t, time.Since(began), 5*time.Second)
}
