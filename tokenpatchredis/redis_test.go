package tokenpatchredis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// redisServer is the address of a Redis: that of REDIS_URL, the usual one, or a new server for the
// test.
func redisServer(t testing.TB) string {
	t.Helper()
	if url := os.Getenv("REDIS_URL"); url != "" {
		options, err := redis.ParseURL(url)
		require.NoError(t, err)
		return options.Addr
	}
	const usual = "127.0.0.1:6379"
	if listens(usual) {
		return usual
	}
	server := newServer(t)
	server.start(t)
	return server.address
}

func listens(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// server is a Redis of the test's own.
type server struct {
	address, folder string
	command         *exec.Cmd
}

// newServer needs a redis-server or a valkey-server on this machine.
func newServer(t testing.TB) *server {
	t.Helper()
	if binary() == "" {
		if os.Getenv("REQUIRE_SERVICES") != "" {
			t.Fatal("no Redis: neither REDIS_URL, nor 127.0.0.1:6379, nor a redis-server to start")
		}
		t.Skip("SKIPPED: no Redis: neither REDIS_URL, nor 127.0.0.1:6379, nor a redis-server to start")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return &server{address: listener.Addr().String(), folder: t.TempDir()}
}

func binary() string {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

func (s *server) start(t testing.TB) {
	t.Helper()
	_, port, err := net.SplitHostPort(s.address)
	require.NoError(t, err)
	s.command = exec.Command(binary(), "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", s.folder)
	require.NoError(t, s.command.Start())
	t.Cleanup(s.stop)
	require.Eventually(t, func() bool { return listens(s.address) }, 5*time.Minute, 10*time.Millisecond)
}

func (s *server) stop() {
	if s.command == nil {
		return
	}
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
	s.command = nil
}

// client returns a client, and an unused key.
func client(t testing.TB) (*redis.Client, string) {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: redisServer(t)})
	key := fmt.Sprintf("test/%s/%d", t.Name(), time.Now().UnixNano())
	t.Cleanup(func() {
		_ = c.Del(context.Background(), key).Err()
		_ = c.Close()
	})
	return c, key
}
