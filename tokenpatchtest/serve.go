package tokenpatchtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"
)

// Client returns an http.Client whose every request, whatever its host and
// scheme, reaches the service: HTTP/1.1 over connections in memory. Each call
// returns a client with connections of its own.
//
// In a bubble of testing/synctest, call Client and [Service.Close] in the
// bubble: a connection and the goroutines that serve it belong to the bubble
// that first uses it.
func (s *Service) Client() *http.Client {
	dial := func(context.Context, string, string) (net.Conn, error) {
		return s.dial()
	}
	return &http.Client{Transport: &http.Transport{
		DialContext:         dial,
		DialTLSContext:      dial, // what crosses no wire needs no TLS
		MaxIdleConnsPerHost: 1 << 16,
	}}
}

// dial makes a connection and serves its other end.
func (s *Service) dial() (net.Conn, error) {
	if s.conns.isClosed() {
		return nil, fmt.Errorf("tokenpatchtest: the service is closed: %w", net.ErrClosed)
	}
	near, far := connect()
	// Serve starts a goroutine for the one connection, then finds no other. A
	// server that several bubbles share would not do.
	_ = s.server().Serve(&single{conn: far})
	return near, nil
}

// Listen serves HTTP on a free port of the loopback interface until
// [Service.Close], and returns the base URL. A real socket stalls a bubble of
// testing/synctest: use [Service.Client] there.
func (s *Service) Listen() (baseURL string, err error) {
	l, err := s.listen()
	if err != nil {
		return "", err
	}
	s.serve(l, s.server().Serve)
	return "http://" + l.Addr().String(), nil
}

// ListenTLS is like [Service.Listen] with TLS and HTTP/2. The client that it
// returns trusts the service's certificate, and no other.
func (s *Service) ListenTLS() (baseURL string, client *http.Client, err error) {
	certificate, err := selfSigned()
	if err != nil {
		return "", nil, fmt.Errorf("tokenpatchtest: certificate: %w", err)
	}
	l, err := s.listen()
	if err != nil {
		return "", nil, err
	}
	server := s.server()
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	s.serve(l, func(l net.Listener) error { return server.ServeTLS(l, "", "") })

	roots := x509.NewCertPool()
	roots.AddCert(certificate.Leaf)
	return "https://" + l.Addr().String(), &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 1 << 16,
	}}, nil
}

// Close stops every listener, closes every connection of [Service.Client],
// [Service.Listen] and [Service.ListenTLS], and waits until nothing serves them
// any more. Requests that are under way are cut. What the service knows can
// still be asked. Closing twice is harmless.
func (s *Service) Close() { s.conns.close() }

func (s *Service) listen() (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("tokenpatchtest: %w", err)
	}
	return l, nil
}

// serve accepts connections from l in the background.
func (s *Service) serve(l net.Listener, accept func(net.Listener) error) {
	s.conns.add(l)
	go func() {
		defer s.conns.remove(l)
		_ = accept(l) // ends when the listener is closed
	}()
}

// server returns a server of net/http whose connections are known.
func (s *Service) server() *http.Server {
	return &http.Server{
		Handler:   s.conns.watch(s),
		ErrorLog:  log.New(io.Discard, "", 0),
		ConnState: s.conns.changed,
	}
}

// selfSigned makes a certificate for the loopback address.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// connections are the listeners, connections and handlers that are alive.
type connections struct {
	mu     sync.Mutex
	idle   sync.Cond // signalled when something ends
	open   map[io.Closer]struct{}
	busy   int // requests being handled
	closed bool
}

func newConnections() *connections {
	c := &connections{open: make(map[io.Closer]struct{})}
	c.idle.L = &c.mu
	return c
}

func (c *connections) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// add takes note of something to close, and closes it at once where all is closed.
func (c *connections) add(closer io.Closer) {
	c.mu.Lock()
	c.open[closer] = struct{}{}
	closed := c.closed
	c.mu.Unlock()
	if closed {
		_ = closer.Close()
	}
}

func (c *connections) remove(closer io.Closer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, closer)
	c.idle.Broadcast()
}

// changed is a ConnState hook. A connection that is reported closed has no
// goroutine left that reads from it.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.add(conn)
	case http.StateClosed, http.StateHijacked:
		c.remove(conn)
	case http.StateActive, http.StateIdle:
	}
}

// watch counts the requests that h is handling: with HTTP/2 they can outlive
// their connection.
func (c *connections) watch(h http.Handler) http.Handler {
	count := func(n int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.busy += n
		c.idle.Broadcast()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count(1)
		defer count(-1)
		h.ServeHTTP(w, r)
	})
}

func (c *connections) close() {
	c.mu.Lock()
	c.closed = true
	open := make([]io.Closer, 0, len(c.open))
	for closer := range c.open {
		open = append(open, closer)
	}
	c.mu.Unlock()
	for _, closer := range open {
		_ = closer.Close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.open) > 0 || c.busy > 0 {
		c.idle.Wait()
	}
}
