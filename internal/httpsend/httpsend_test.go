package httpsend_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/faulttest/pair"
	"github.com/tokenpatch/tokenpatch/internal/httpsend"
)

type roundTripper = pair.RoundTripper

func request(t *testing.T, base, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, base+"/path", strings.NewReader(body))
	require.NoError(t, err)
	r.Header = http.Header{"X-Own": {"own"}, "Content-Type": {"text/plain"}, "Authorization": {"Bearer k"}}
	return r
}

func over(transport http.RoundTripper) *httpsend.Transport {
	return &httpsend.Transport{Sender: &httpsend.Sender{Transport: transport, Timeout: 5 * time.Second, MaxBody: 100}}
}

// send makes one attempt, and checks the result against the response.
func send(t *testing.T, transport *httpsend.Transport, r *http.Request) httpsend.Result {
	t.Helper()
	response, err := transport.RoundTrip(r)
	result := transport.Result
	if err != nil {
		assert.Equal(t, result.Err, err)
		assert.Zero(t, result.Status)
		return result
	}
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err, "the body is in memory")
	assert.Equal(t, string(result.Body), string(body))
	assert.Equal(t, result.Status, response.StatusCode)
	assert.Equal(t, result.Header, response.Header)
	return result
}

// observed is an Observer with a record of its calls.
type observed struct {
	status int
	header http.Header
}

func (o *observed) Observe(status int, header http.Header) { o.status, o.header = status, header }

// What is sent is what was asked for, over every kind of transport, and what
// comes back is as the server sent it.
func TestSend(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", fmt.Sprint(r.Method, r.URL.Path, r.Header["X-Own"], r.Header["Authorization"], r.Header["Content-Type"], r.ContentLength))
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(bytes.ToUpper(body))
	}))
	defer server.Close()
	own := server.Client().Transport
	for name, transport := range map[string]http.RoundTripper{"net/http's own": own, "another": roundTripper(own.RoundTrip)} {
		t.Run(name, func(t *testing.T) {
			r, o := request(t, server.URL, "text"), new(observed)
			sender := over(transport)
			sender.Observer = o
			header := r.Header.Clone()
			result := send(t, sender, r)
			require.NoError(t, result.Err)
			assert.Equal(t, http.StatusTeapot, result.Status)
			assert.Equal(t, "TEXT", string(result.Body))
			assert.Equal(t, "PATCH/path[own] [Bearer k] [text/plain] 4", result.Header.Get("X-Seen"))
			assert.False(t, result.NotSent)
			assert.Equal(t, &observed{result.Status, result.Header}, o)
			assert.Equal(t, header, r.Header, "headers are shared")

			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/path", nil)
			require.NoError(t, err)
			result = send(t, sender, r)
			assert.Equal(t, "GET/path[] [] [] 0", result.Header.Get("X-Seen"))
		})
	}
}

// A body is read up to the limit, whatever its length is said to be.
func TestResponseBodyIsBounded(t *testing.T) {
	for _, test := range []struct {
		length, says int64
		err          string
	}{
		{0, 0, ""}, {0, -1, ""}, {99, -1, ""}, {100, -1, ""}, {100, 100, ""}, {100, 5, ""}, {100, 1 << 60, ""},
		{101, -1, "the response body is longer than 100 bytes"}, {5000, 10, "the response body is longer than 100 bytes"},
	} {
		t.Run(fmt.Sprint(test.length, " said to be ", test.says), func(t *testing.T) {
			transport := roundTripper(func(*http.Request) (*http.Response, error) {
				body := io.NopCloser(strings.NewReader(strings.Repeat("x", int(test.length))))
				return &http.Response{StatusCode: http.StatusOK, Body: body, ContentLength: test.says}, nil
			})
			result := send(t, over(transport), request(t, "http://host", "text"))
			assert.Len(t, result.Body, int(min(test.length, 100)))
			if test.err == "" {
				require.NoError(t, result.Err)
			} else {
				require.EqualError(t, result.Err, test.err)
			}
			assert.Equal(t, 200, result.Status)
		})
	}
}

// Once an attempt is over, its body cannot be sent any more, by any reader.
func TestBodyEndsWithTheAttempt(t *testing.T) {
	var kept *http.Request
	var first io.ReadCloser
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		kept = r
		reader, err := r.GetBody()
		first = reader
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	})
	result := send(t, over(transport), request(t, "http://host", "text"))
	assert.False(t, result.NotSent, "it took a reader")
	for _, body := range []io.Reader{kept.Body, first} {
		n, err := body.Read(make([]byte, 10))
		assert.Zero(t, n)
		require.Error(t, err)
		copied, err := io.Copy(io.Discard, body)
		assert.Zero(t, copied)
		require.Error(t, err)
	}
	_, err := kept.GetBody()
	require.Error(t, err)
}

// With a done context, the transport is not called.
func TestEndedContextSendsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	result := send(t, over(nil), request(t, "http://host", "text").WithContext(ctx))
	assert.Equal(t, httpsend.Result{Err: context.Canceled, NotSent: true}, result)
}

// What http.Transport refuses by itself was not sent.
func TestRequestsThatNetHTTPRefuses(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"header": func(r *http.Request) { r.Header["X-Bad"] = []string{"a\nb"} },
		"scheme": func(r *http.Request) { r.URL.Scheme = "gopher" },
		"host":   func(r *http.Request) { r.URL.Host = "" },
	} {
		t.Run(name, func(t *testing.T) {
			r := request(t, "http://localhost", "text")
			change(r)
			result := send(t, over(&http.Transport{}), r)
			require.Error(t, result.Err)
			assert.True(t, result.NotSent)
		})
	}
}

// A protocol registered with http.Transport reports nothing: it is trusted like any other
// transport.
func TestRegisteredProtocol(t *testing.T) {
	for name, takes := range map[string]bool{"takes the body": true, "takes nothing": false} {
		t.Run(name, func(t *testing.T) {
			transport := &http.Transport{}
			transport.RegisterProtocol("own", roundTripper(func(r *http.Request) (*http.Response, error) {
				if takes {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				return nil, io.ErrUnexpectedEOF
			}))
			result := send(t, over(transport), request(t, "own://host", "text"))
			require.ErrorIs(t, result.Err, io.ErrUnexpectedEOF)
			assert.Equal(t, !takes, result.NotSent)
		})
	}
}

// A function that ignores its context may return up to a second after the context's end.
func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for took, want := range map[time.Duration]error{0: nil, time.Second: nil, 1999 * time.Millisecond: nil, 3 * time.Second: context.DeadlineExceeded} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			late := make(chan int, 1)
			got, err := httpsend.Await(ctx, func() (int, error) { time.Sleep(took); return 7, nil }, func(n int) { late <- n })
			if want == nil {
				require.NoError(t, err)
				assert.Equal(t, 7, got)
			} else {
				require.ErrorIs(t, err, want)
				assert.Equal(t, 7, <-late)
			}
			cancel()
		}
	})
}
