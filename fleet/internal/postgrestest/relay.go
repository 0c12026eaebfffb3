package postgrestest

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Relay is a way to a server on which nothing arrives for a while.
type Relay struct {
	URL string

	mu      sync.Mutex
	blocked chan struct{} // closed if nothing is held
}

// NewRelay makes a way to the server at this URL, and ends it after the test.
func NewRelay(t testing.TB, server string) *Relay {
	t.Helper()
	address, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	target := address.Host
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address.Host = l.Addr().String()
	r := &Relay{URL: address.String(), blocked: make(chan struct{})}
	close(r.blocked)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
	})
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(ctx, client, target)
		}
	}()
	return r
}

// Hang holds up whatever comes from now on, in both directions.
func (r *Relay) Hang() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocked = make(chan struct{})
}

// Resume ends Hang.
func (r *Relay) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.blocked)
}

func (r *Relay) serve(ctx context.Context, client net.Conn, target string) {
	defer client.Close()
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { _ = errors.Join(client.Close(), server.Close()) })()
	go r.copy(ctx, server, client)
	r.copy(ctx, client, server)
}

func (r *Relay) copy(ctx context.Context, to, from net.Conn) {
	defer func() { _ = errors.Join(to.Close(), from.Close()) }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		r.mu.Lock()
		blocked := r.blocked
		r.mu.Unlock()
		select {
		case <-blocked:
		case <-ctx.Done():
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
