package httpsend_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
)

// A server that switches protocols and goes silent delays nobody.
func TestSwitchingProtocolsEndsAtOnce(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		<-release
	}))
	defer server.Close()
	defer close(release)
	own := server.Client().Transport
	for name, transport := range map[string]http.RoundTripper{"net/http's own": own, "another": roundTripper(own.RoundTrip)} {
		t.Run(name, func(t *testing.T) {
			result := send(t, over(transport), request(t, server.URL, "text"))
			assert.Equal(t, http.StatusSwitchingProtocols, result.Status)
			assert.Empty(t, result.Body)
		})
	}
}

// Functions of the caller's inside an http.Transport may ignore the context.
func TestTransportThatBlocksIsAbandoned(t *testing.T) {
	for name, configure := range map[string]func(*http.Transport, func()){
		"Proxy": func(transport *http.Transport, block func()) {
			transport.Proxy = func(*http.Request) (*url.URL, error) { block(); return nil, nil }
		},
		"RegisterProtocol": func(transport *http.Transport, block func()) {
			transport.RegisterProtocol("http", roundTripper(func(*http.Request) (*http.Response, error) { block(); return nil, io.EOF }))
		},
		"the body of a registered protocol": func(transport *http.Transport, block func()) {
			transport.RegisterProtocol("http", roundTripper(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusOK, Body: blocking(block)}, nil
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				over := over(&http.Transport{})
				release := make(chan struct{})
				configure(over.Transport.(*http.Transport), func() { <-release })
				began := time.Now()
				result := send(t, over, request(t, "http://host", "text"))
				assert.Equal(t, 6*time.Second, time.Since(began), "the timeout, and a second")
				require.ErrorIs(t, result.Err, context.DeadlineExceeded)
				require.ErrorContains(t, result.Err, "it ignored the end of its context")
				assert.False(t, result.NotSent, "it may still be about to send")
				close(release)
			})
		})
	}
}

// blocking is a body whose Read blocks.
type blocking func()

func (b blocking) Read([]byte) (int, error) { b(); return 0, io.EOF }
func (blocking) Close() error               { return nil }

// A late response is closed. A panic of its Close does not end the process.
func TestLateBodyThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, closed := make(chan struct{}), atomic.Bool{}
		transport := over(roundTripper(func(*http.Request) (*http.Response, error) {
			<-release
			return &http.Response{StatusCode: http.StatusOK, Body: panicking{&closed}}, nil
		}))
		result := send(t, transport, request(t, "http://host", "text"))
		require.ErrorIs(t, result.Err, context.DeadlineExceeded)
		close(release)
		synctest.Wait()
		assert.True(t, closed.Load())
	})
}

type panicking struct{ closed *atomic.Bool }

func (panicking) Read([]byte) (int, error) { return 0, io.EOF }
func (p panicking) Close() error           { p.closed.Store(true); panic("closed") }

// Waiting for a connection has its own timeout: a request with a late start has as much time as any
// other.
func TestTimeoutStartsWithTheConnection(t *testing.T) {
	for name, test := range map[string]struct {
		connects, responds time.Duration
		err                string
		notSent            bool
		took               time.Duration
	}{
		"both in time":         {4 * time.Second, 4 * time.Second, "", false, 8 * time.Second},
		"no connection":        {6 * time.Second, 0, "no connection within 5s: context deadline exceeded", true, 5 * time.Second},
		"a late response":      {4 * time.Second, 6 * time.Second, "no response within 5s: context deadline exceeded", false, 9 * time.Second},
		"a connection at once": {0, 6 * time.Second, "no response within 5s: context deadline exceeded", false, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					select {
					case <-time.After(test.connects):
					case <-ctx.Done():
						return nil, ctx.Err()
					}
					client, server := net.Pipe()
					go respondAfter(server, test.responds)
					return client, nil
				}}
				defer transport.CloseIdleConnections()
				began := time.Now()
				result := send(t, over(transport), request(t, "http://host", "text"))
				assert.Equal(t, test.took, time.Since(began))
				assert.Equal(t, test.notSent, result.NotSent)
				if test.err != "" {
					require.EqualError(t, result.Err, test.err)
					require.ErrorIs(t, result.Err, context.DeadlineExceeded)
				} else {
					require.NoError(t, result.Err)
				}
				time.Sleep(10 * time.Second) // in which the server ends
			})
		})
	}
}

// respondAfter reads a request of a connection and responds to it after some time.
func respondAfter(conn net.Conn, delay time.Duration) {
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 4096)); err != nil {
		return
	}
	time.Sleep(delay)
	_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
}

var _ http.RoundTripper = (*httpsend.Transport)(nil)
