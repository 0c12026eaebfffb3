package tokenpatchtest_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func TestEveryWayToReachAService(t *testing.T) {
	eachWay(t, func(t *testing.T, service *tokenpatchtest.Service, client *http.Client, baseURL string) {
		for range 3 {
			assert.Equal(t, 200, send(t, client, baseURL+v2Path, rename(v2Path, "after")).status)
			assert.Equal(t, 204, send(t, client, baseURL+v1Path, rename(v1Path, "after")).status)
		}
		response, err := client.Get(baseURL)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		wantProtocol := "HTTP/1.1"
		if response.TLS != nil {
			wantProtocol = "HTTP/2.0"
		}
		assert.Equal(t, wantProtocol, response.Proto)

		service.Close()
		service.Close()
		_, err = attempt(client, baseURL+v2Path, rename(v2Path, "late"))
		require.Error(t, err)
		assert.Equal(t, 3, service.Changes(tokenID), "a closed service can still be asked")
	})
}

func TestTLSIsTrustedByItsClientOnly(t *testing.T) {
	service, _ := newService(t)
	baseURL, _, err := service.ListenTLS()
	require.NoError(t, err)
	_, err = http.Get(baseURL)
	require.ErrorContains(t, err, "certificate")
}

func TestListenAfterClose(t *testing.T) {
	service := tokenpatchtest.New()
	service.Close()
	baseURL, err := service.Listen()
	require.NoError(t, err)
	_, err = http.Get(baseURL)
	require.Error(t, err)
	_, err = service.Client().Get("http://a")
	require.ErrorIs(t, err, net.ErrClosed)
	service.Close()
}

// A service from outside of any bubble works in several: each has its own connections, and none is
// left when it ends.
func TestServiceWorksInSeveralBubbles(t *testing.T) {
	service, outside := newService(t)
	require.Equal(t, 200, send(t, outside, "http://a"+v2Path, rename(v2Path, "outside")).status)
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			client := service.Client()
			service.SetLatency(time.Minute)
			start := time.Now()
			var group sync.WaitGroup
			for range 10 {
				group.Go(func() {
					_, err := attempt(client, "https://a"+v2Path, rename(v2Path, "inside"))
					assert.NoError(t, err)
				})
			}
			group.Wait()
			assert.Equal(t, time.Minute, time.Since(start))
		})
	}
	service.SetLatency(0)
	require.Equal(t, 200, send(t, outside, "http://a"+v2Path, rename(v2Path, "outside")).status)
	assert.Equal(t, 22, service.Changes(tokenID))
}

// The runtime ends the process if a bubble's connection is used from outside of it. Each of these
// is an error or a panic before that.
func TestMisuseOfBubblesIsNoticed(t *testing.T) {
	service, outside := newService(t)
	patch := func(client *http.Client) error {
		_, err := attempt(client, "https://a"+v2Path, rename(v2Path, "after"))
		return err
	}
	require.NoError(t, patch(outside))
	var inside *http.Client
	synctest.Test(t, func(t *testing.T) {
		require.ErrorContains(t, patch(outside), "synctest bubble")
		assert.Panics(t, service.Close, "outside's connection is open")
		_, err := service.Listen()
		require.ErrorContains(t, err, "use Service.Client")
		_, _, err = service.ListenTLS()
		require.ErrorContains(t, err, "use Service.Client")

		inside = service.Client()
		require.NoError(t, patch(inside))
	})
	require.ErrorContains(t, patch(inside), "synctest bubble")
	synctest.Test(t, func(t *testing.T) {
		require.ErrorContains(t, patch(inside), "synctest bubble")
	})
	require.NoError(t, patch(outside))
	outside.CloseIdleConnections()
}

// A connection of a running bubble cannot be closed from outside of it.
func TestCloseOutsideOfABubble(t *testing.T) {
	service, _ := newService(t)
	opened, closed := make(chan struct{}), make(chan any)
	go func() {
		<-opened
		defer func() { closed <- recover() }()
		service.Close()
	}()
	synctest.Test(t, func(t *testing.T) {
		conn := dial(t, service)
		close(opened)
		assert.Contains(t, <-closed, "a connection of another synctest bubble")
		require.NoError(t, conn.Close())
	})
}

func TestClientsAreIndependent(t *testing.T) {
	service, one := newService(t)
	two := service.Client()
	send(t, one, "http://a"+v2Path, rename(v2Path, "one"))
	send(t, two, "http://a"+v2Path, rename(v2Path, "two"))
	one.CloseIdleConnections()
	assert.NotSame(t, one.Transport, two.Transport)
	assert.Equal(t, 200, send(t, two, "http://a"+v2Path, rename(v2Path, "two")).status)
}

// dial returns a raw connection to a service.
func dial(t *testing.T, service *tokenpatchtest.Service) net.Conn {
	t.Helper()
	transport, ok := service.Client().Transport.(*http.Transport)
	require.True(t, ok)
	conn, err := transport.DialContext(context.Background(), "tcp", "anywhere:443")
	require.NoError(t, err)
	return conn
}

func TestConnectionBehavesAsASocketDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := tokenpatchtest.New()
		defer service.Close()
		conn := dial(t, service)
		assert.Equal(t, "memory", conn.LocalAddr().Network())
		assert.Equal(t, "memory", conn.RemoteAddr().String())

		n, err := conn.Read(nil)
		require.NoError(t, err)
		assert.Zero(t, n)
		start := time.Now()
		require.NoError(t, conn.SetDeadline(start.Add(time.Second)))
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
		require.NoError(t, conn.SetDeadline(start.Add(time.Minute)))
		require.NoError(t, conn.SetDeadline(time.Time{}))
		require.NoError(t, conn.SetWriteDeadline(start))

		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		response, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(string(response), "HTTP/1.1 404 "))

		_, err = conn.Write([]byte("x"))
		require.ErrorIs(t, err, io.ErrClosedPipe)
		require.NoError(t, conn.Close())
		_, err = conn.Write([]byte("x"))
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

// An idle connection ends with the service.
func TestCloseWakesAReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := tokenpatchtest.New()
		conn := dial(t, service)
		go func() {
			time.Sleep(time.Hour)
			service.Close()
		}()
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
}
