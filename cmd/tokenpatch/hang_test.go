package main_test

import (
	"net"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// way is a way to a Postgres on which nothing arrives once hangs is set.
type way struct {
	url       string
	hangs     atomic.Bool
	swallowed atomic.Int64 // bytes
}

func newWay(t *testing.T, source string) *way {
	t.Helper()
	w := new(way)
	u, err := url.Parse(source)
	require.NoError(t, err)
	target := u.Host
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	pass := func(to, from net.Conn) {
		defer to.Close()
		text := make([]byte, 32<<10)
		for {
			n, err := from.Read(text)
			if w.hangs.Load() {
				w.swallowed.Add(int64(n))
			} else if err == nil {
				_, err = to.Write(text[:n])
			}
			if err != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			go pass(server, client)
			go pass(client, server)
		}
	}()
	u.Host = l.Addr().String()
	w.url = u.String()
	return w
}

// However Postgres hangs, an interrupt ends the command within seconds of what was sent.
func TestInterruptWhilePostgresHangs(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]int{"at the beginning": 0, "in the middle": 20} {
		t.Run(name, func(t *testing.T) {
			s := newShell(t)
			way := newWay(t, postgres(t, s))
			s.many(400)
			s.service.SetLatency(20 * time.Millisecond)
			way.hangs.Store(after == 0)
			p := s.start("", "apply", "-db", way.url, "-timeout", "1s", "many.jsonl")
			s.until(func() bool { return s.changed(400) >= after })
			way.hangs.Store(true)
			s.until(func() bool { return way.swallowed.Load() > 0 })
			require.NoError(t, p.Process.Signal(os.Interrupt))
			began := time.Now()
			e := p.end()
			took := time.Since(began)
			t.Logf("ended after %v: %s%s", took, e.stdout, e.stderr)
			assert.Equal(t, 130, e.status)
			assert.Less(t, took, 15*time.Second)
		})
	}
}
