package faulttest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
)

// hostile is a client of a server with the same response to every request: a head and, for as long
// as the client listens, a body.
func hostile(t *testing.T, head string, body func(w io.Writer) error) *tokenpatch.Client {
	t.Helper()
	base := newEchoServer(t, func(conn net.Conn, _ string) {
		_, err := io.WriteString(conn, head)
		if err == nil && body != nil {
			_ = body(conn)
		}
	})
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V1:    tokenpatch.V1Config{BaseURL: base, APIKey: "key"},
		V2:    tokenpatch.V2Config{BaseURL: base, AccessToken: "token"},
		Retry: tokenpatch.RetryPolicy{MaxAttempts: 1, MaxRateLimitWait: time.Minute},
	})
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// measured is how long a function took, and how much it allocated.
func measured(f func()) (time.Duration, uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	f()
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	return took, after.TotalAlloc - before.TotalAlloc
}

func times(text string, n int) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, strings.Repeat(text, n)); return err }
}

func forever(chunk string) func(io.Writer) error {
	return func(w io.Writer) error {
		big := []byte(strings.Repeat(chunk, 64<<10/len(chunk)))
		for {
			if _, err := w.Write(big); err != nil {
				return err
			}
		}
	}
}

// gzipBomb is a body of zeros, a thousand times as long when unpacked.
func gzipBomb() string {
	var b strings.Builder
	packed := gzip.NewWriter(&b)
	_, _ = packed.Write(make([]byte, 16<<20))
	_ = packed.Close()
	return b.String()
}

const (
	closed  = "Connection: close\r\n\r\n"
	chunked = "Transfer-Encoding: chunked\r\n\r\n"
)

// Bodies can be too long, too deep or broken. A success that only the service can have made stays a
// success, and a refusal a refusal, in bounded memory and at once.
func TestHostileBodies(t *testing.T) {
	deep, digits := strings.Repeat(`[`, 10_000), strings.Repeat("9", 10_000)
	whole := strings.Repeat(`{"a":`, 10_001) + "1" + strings.Repeat("}", 10_001)
	tests := []struct {
		name    string
		head    string // behind the status
		body    func(io.Writer) error
		fine    bool   // whether a token can be read of it
		applied string // "V2" if a status 200 with it still proves success
	}{
		{"a gzip bomb", "Content-Encoding: gzip\r\n" + closed, times(gzipBomb(), 1), false, ""},
		{"a body that never ends", closed, forever("x"), false, ""},
		{"chunks that never end", chunked, forever("400\r\n" + strings.Repeat("x", 1<<10) + "\r\n"), false, ""},
		{"a chunk's extension that never ends", chunked, forever("1;x"), false, ""},
		{"a trailer that never ends", chunked + "0\r\n", forever("X: y\r\n"), false, ""},
		{"less than the content length", "Content-Length: 1000000\r\n\r\n", times(`{"_id":"`+idV2+`",`, 1), false, "V2"},
		{"a content length beyond all bounds", "Content-Length: 9223372036854775807\r\n\r\n", times(`{"_id":"`+idV2+`",`, 1), false, "V2"},
		{"invalid UTF-8", closed, times("{\"_id\":\""+idV2+"\",\"message\":\"\xc3\x28\",\"\xed\xa0\x80\":\"\xff\"}", 1), true, ""},
		{"duplicate members", closed, times(`{"_id":"a","_id":"`+idV2+`","code":"a","code":"c","detail":"a","detail":[],"message":"a"}`, 1), true, ""},
		{"many members", closed, times(`{"_id":"`+idV2+`"`+strings.Repeat(`,"a":1,"b":2`, 40_000)+`}`, 1), true, ""},
		{"as many other members", closed, func(w io.Writer) error {
			b := []byte(`{"_id":"` + idV2 + `"`)
			for i := range 60_000 {
				b = fmt.Appendf(b, `,"%d":%d`, i, i)
			}
			_, err := w.Write(append(b, '}'))
			return err
		}, true, ""},
		{"nesting", closed, times(`{"_id":"`+idV2+`","detail":`+deep, 1), false, "V2"},
		{"nesting that ends", closed, times(whole, 1), false, ""},
		{"nesting within a token", closed, times(`{"_id":"`+idV2+`","detail":`+strings.Repeat(`[`, 9_000)+strings.Repeat(`]`, 9_000)+`}`, 1), true, ""},
		{"a number", closed, times(digits, 1), false, ""},
		{"a number for a time", closed, times(`{"_id":"`+idV2+`","creationDate":`+digits+`,"detail":[{"loc":[`+digits+`]}]}`, 1), false, "V2"},
		{"a number for what is not known", closed, times(`{"_id":"`+idV2+`","detail":[{"loc":[],"input":`+digits+`}],"new":`+digits+`.5e-`+digits+`}`, 1), true, ""},
		{"a name", closed, times(`{"_id":"`+idV2+`","_links":{"`+strings.Repeat("n", 500_000)+`":5}}`, 1), false, "V2"},
		{"details", closed, times(`{"detail":[`+strings.Repeat(`{},`, 300_000)+`{}]}`, 1), false, ""},
		{"HTML", "Content-Type: text/html\r\n" + closed, times("<!doctype html><h1>\x1b[2J</h1>\n", 1), false, ""},
		{"brackets", closed, times(`}{][`, 10_000), false, ""},
		{"NUL", closed, times("\x00", 10_000), false, ""},
		{"a byte order mark", closed, times("\xef\xbb\xbf{}", 1), false, ""},
	}
	for _, test := range tests {
		for _, status := range []int{200, 422} {
			t.Run(fmt.Sprint(test.name, "/", status), func(t *testing.T) {
				client := hostile(t, fmt.Sprintf("HTTP/1.1 %d X\r\n%s", status, test.head), test.body)
				for _, a := range apis {
					var err error
					took, allocated := measured(func() { err = a.Call(t.Context(), client) })
					assert.Less(t, took, 5*time.Second)
					assert.Less(t, allocated, uint64(64<<20), "with what the server allocates")
					if a.Name == "V2" && status == 200 && test.fine {
						require.NoError(t, err)
						continue
					}
					require.Error(t, err)
					assert.Less(t, len(err.Error()), 4<<10)
					assert.NotContains(t, err.Error(), "\x1b")
					got := assertAs[*tokenpatch.APIError](t, err)
					assert.LessOrEqual(t, len(got.Body), 4<<10)
					assert.Equal(t, status, got.StatusCode)
					if status == 200 && strings.Contains(test.applied, a.Name) {
						assertOutcome(t, applied, err)
						assert.Empty(t, typesOf(err))
						continue
					}
					if status == 200 {
						assertOutcome(t, unknown, err)
						assert.Equal(t, []string{"OutcomeUnknown"}, typesOf(err))
						continue
					}
					assertOutcome(t, notApplied, err)
					assert.Equal(t, map[string][]string{"V1": {"Validation"}, "V2": {"PatchFailed"}}[a.Name], typesOf(err))
					if v := new(tokenpatch.ValidationError); a.Name == "V1" {
						require.ErrorAs(t, err, &v)
						assert.LessOrEqual(t, len(v.Details), 100)
					}
				}
			})
		}
	}
}

// The body of a 204 is ignored.
func TestHostileBodyOfNoContent(t *testing.T) {
	client := hostile(t, "HTTP/1.1 204 No Content\r\nContent-Length: 17\r\n"+closed+"{\"status\":\"evil\"}", nil)
	for range 3 {
		require.NoError(t, updateName(t.Context(), client))
		err := patchName(t.Context(), client)
		assert.Equal(t, 204, assertAs[*tokenpatch.APIError](t, err).StatusCode)
		assertOutcome(t, unknown, err)
	}
}

// Bytes beyond the Content-Length are no part of the body.
func TestHostileContentLengthTooShort(t *testing.T) {
	client := hostile(t, "HTTP/1.1 200 OK\r\nContent-Length: 34\r\n"+closed+"{\"_id\":\""+idV2+"\"}HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", nil)
	for range 3 {
		require.NoError(t, patchName(t.Context(), client))
	}
}

// The limit is the caller's to set, and reading stops there.
func TestMaxResponseBytes(t *testing.T) {
	for _, limit := range []int64{1, 1 << 10, 4 << 20} {
		_, client := newPair(t, func(c *tokenpatch.Config) { c.MaxResponseBytes = limit },
			through(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusForbidden, Body: &endless{t: t, left: limit + 1}}, nil
			}))
		for _, a := range apis {
			err := a.Call(t.Context(), client)
			assert.Contains(t, err.Error(), fmt.Sprintf("longer than %d bytes", limit))
			assertOutcome(t, notApplied, err)
		}
	}
}

// endless is a body with a limit on how much may be read.
type endless struct {
	t    *testing.T
	left int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := int(min(int64(len(p)), e.left))
	assert.Positive(e.t, n, "it is read beyond the limit")
	e.left -= int64(n)
	return n, nil
}

func (e *endless) Close() error { return nil }

// If a server sends a byte a second, of the head or of the body, the attempt ends with its timeout.
func TestHostileSlowness(t *testing.T) {
	const head = "HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000\r\n\r\n"
	for name, quick := range map[string]string{"head": "", "body": head} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
					near, far := net.Pipe()
					go func() {
						_, _ = far.Read(make([]byte, 4<<10)) // the request, or most of it
						go func() { _, _ = io.Copy(io.Discard, far) }()
						trickle(far, quick, head+strings.Repeat("x", 1000))
					}()
					return near, nil
				}}
				client := newClientAt(t, "http://localhost", transport, 1)
				for _, a := range apis {
					began := time.Now()
					err := a.Call(t.Context(), client)
					assert.Equal(t, 5*time.Second, time.Since(began))
					require.ErrorIs(t, err, context.DeadlineExceeded)
					if name == "head" {
						assertOutcome(t, unknown, err)
					} else {
						assert.Equal(t, "xxxx", string(assertAs[*tokenpatch.ForbiddenError](t, err).Body)[:4])
						assertOutcome(t, notApplied, err)
					}
				}
				time.Sleep(2 * time.Second) // until the servers have noticed the closed connections
			})
		})
	}
}

func trickle(w io.WriteCloser, quick, slow string) {
	defer w.Close()
	if _, err := io.WriteString(w, quick); err != nil {
		return
	}
	for i := range slow[len(quick):] {
		time.Sleep(time.Second)
		if _, err := io.WriteString(w, slow[len(quick)+i:][:1]); err != nil {
			return
		}
	}
}

// Headers beyond all bounds: the client's own transport takes 256 KiB.
func TestHostileHeaders(t *testing.T) {
	date := "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
	reset := "X-Ratelimit-Global-Remaining: 5\r\nX-Ratelimit-Reset: 10000\r\n"
	tests := []struct {
		name   string
		status int
		header string
		body   func(io.Writer) error
		want   string // the type; "OutcomeUnknown" if the headers were too long
	}{
		{"megabytes of one", 403, "X: " + strings.Repeat("x", 5<<20) + "\r\n", nil, "OutcomeUnknown"},
		{"megabytes of many", 403, strings.Repeat("X: x\r\n", 1<<20), nil, "OutcomeUnknown"},
		{"headers that never end", 403, "", forever("X: y\r\n"), "OutcomeUnknown"},
		{"a header that never ends", 403, "X: ", forever("y"), "OutcomeUnknown"},
		{"early responses that never end", 103, "\r\n", forever("HTTP/1.1 103 Early\r\nX: y\r\n\r\n"), "OutcomeUnknown"},
		{"200 KiB", 403, strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 200), nil, "Forbidden"},
		{"thousands of Retry-After", 403, strings.Repeat("Retry-After: 3600\r\n", 5000), nil, "Forbidden"},
		{"thousands of Retry-After with a refusal", 429, strings.Repeat("Retry-After: 3600\r\n", 5000), nil, "RateLimited"},
		{"thousands of Remaining", 403, strings.Repeat("X-Ratelimit-Global-Remaining: 7\r\n", 4000), nil, "Forbidden"},
		{"thousands of digits", 429, "Retry-After: " + strings.Repeat("9", 10_000) + "\r\n", nil, "RateLimited"},
		{"a Date of 1970", 403, date, nil, "Forbidden"},
		{"a window of 1970", 403, date + reset, nil, "Forbidden"},
		{"a refusal of 1970", 429, date + reset + "Retry-After: Thu, 01 Jan 1970 01:00:00 GMT\r\n", nil, "RateLimited"},
		{"a Date of 9999", 403, "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n" + reset, nil, "Forbidden"},
		{"a Location", 301, "Location: https://" + strings.Repeat("x", 200_000) + ".example/\r\n", nil, "OutcomeUnknown"},
		{"a Content-Type", 403, "Content-Type: " + strings.Repeat("x", 200_000) + "\r\n", nil, "Forbidden"},
		{"control characters", 403, "Content-Type: \x1b[2J" + strings.Repeat("x", 200_000) + "\r\n", nil, "OutcomeUnknown"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			head := fmt.Sprintf("HTTP/1.1 %d X\r\n%s", test.status, test.header)
			if test.body == nil {
				head += "Content-Length: 0\r\n" + closed
			}
			client := hostile(t, head, test.body)
			for _, a := range []api{{Name: "V1", Call: updateName}, {Name: "V2", Call: appendRole}} {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				var err error
				took, allocated := measured(func() { err = a.Call(ctx, client) })
				cancel()
				assert.Less(t, took, 5*time.Second)
				assert.Less(t, allocated, uint64(64<<20), "with what the server allocates")
				require.Error(t, err)
				assert.Less(t, len(err.Error()), 4<<10)
				assert.NotContains(t, err.Error(), "\x1b")
				want := []string{test.want}
				if test.want == "" {
					want = nil
				}
				assert.Equal(t, want, typesOf(err), "%v", err)
			}
			assert.Less(t, time.Until(client.V2.RateLimit().Global.Reset), time.Minute)
		})
	}
}

// Headers with times of 1970 do not stop the calls of the next windows.
func TestHostileClockDoesNotStopCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		header := http.Header{"Date": {"Thu, 01 Jan 1970 00:00:00 GMT"}, "X-Ratelimit-Reset": {"10000"}, "X-Ratelimit-Global-Remaining": {"1"}}
		_, client := newPair(t, through(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(bytes.NewReader([]byte(tokenJSON)))}, nil
		}))
		began := time.Now()
		for range 10 {
			require.NoError(t, patchName(t.Context(), client))
		}
		assert.Less(t, time.Since(began), time.Minute)
	})
}
