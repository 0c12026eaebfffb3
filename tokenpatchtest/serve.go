package tokenpatchtest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"sync"
	"time"
)

// Client returns an http.Client that sends every request to the service, whatever its host and
// scheme: HTTP/1.1 over connections in memory. Each call returns a client with its own connections.
//
// In a bubble of testing/synctest, call Client in the bubble: a connection and its goroutines
// belong to their bubble. A request through a client from elsewhere is an error. A service from the
// bubble must be closed there. With a service from elsewhere, each request has its own connection,
// so none is left when the bubble ends.
func (s *Service) Client() *http.Client {
	home := bubble()
	dial := func(context.Context, string, string) (net.Conn, error) {
		return s.dial()
	}
	return &http.Client{Transport: &http.Transport{
		// Called for every request, in the goroutine of the caller, before the transport uses any
		// channel: the runtime ends a process that uses channels of another bubble.
		Proxy: func(*http.Request) (*url.URL, error) {
			if bubble() != home {
				return nil, errors.New("tokenpatchtest: the client is of another synctest bubble, or of none: call Service.Client where it is used")
			}
			return nil, s.conns.refusal() // a connection may not have noticed yet that it is closed
		},
		DialContext:         dial,
		DisableKeepAlives:   home != s.home,
		DialTLSContext:      dial, // what crosses no wire needs no TLS
		MaxIdleConnsPerHost: 1 << 16,
	}}
}

// dial makes a connection and serves its other end.
func (s *Service) dial() (net.Conn, error) {
	if err := s.conns.refusal(); err != nil {
		return nil, err
	}
	near, far := connect()
	// Serve starts a goroutine for the one connection, then finds no other. Several bubbles cannot
	// share a server.
	_ = s.server().Serve(&single{conn: far})
	return near, nil
}

// Listen serves HTTP on a free port of the loopback interface until
// [Service.Close], and returns the base URL. In a bubble of testing/synctest,
// which a real socket would stall, it is an error: use [Service.Client] there.
func (s *Service) Listen() (baseURL string, err error) {
	l, err := s.listen()
	if err != nil {
		return "", err
	}
	s.serve(l, s.server().Serve)
	return "http://" + l.Addr().String(), nil
}

// ListenTLS is like [Service.Listen] with TLS and HTTP/2. The returned client trusts the service's
// certificate, and no other.
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

// Close stops every listener, closes every connection of [Service.Client], [Service.Listen] and
// [Service.ListenTLS], and waits until nothing serves them. Requests in flight are cut. Tokens and
// logs can still be read. Closing twice is harmless.
//
// Close panics if an open connection belongs to another bubble of testing/synctest than its caller:
// only its own bubble can close it.
func (s *Service) Close() { s.conns.close() }

func (s *Service) listen() (net.Listener, error) {
	if bubble() != "" {
		return nil, errors.New("tokenpatchtest: a synctest bubble cannot wait for a real socket: use Service.Client there")
	}
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
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, exchangeKey{}, new(exchange))
		},
	}
}

// exchange is the latest response on one connection.
type exchange struct {
	mu   sync.Mutex
	last response
}

type exchangeKey struct{}

// exchangeOf returns the exchange of a request's connection. A request without one has its own.
func exchangeOf(r *http.Request) *exchange {
	if e, found := r.Context().Value(exchangeKey{}).(*exchange); found {
		return e
	}
	return new(exchange)
}

// swap keeps a response, and returns the one before it or the zero response.
func (e *exchange) swap(r response) response {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.last
	e.last = r
	return before
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

// connections are the live listeners, connections and handlers.
type connections struct {
	mu     sync.Mutex
	idle   sync.Cond            // signaled when something ends
	open   map[io.Closer]string // by bubble
	held   map[*held]struct{}
	busy   int // requests being handled
	closed bool
}

// held is a delayed request, and the bubble of its timer.
type held struct {
	timer *time.Timer
	home  string
}

func newConnections() *connections {
	c := &connections{open: make(map[io.Closer]string), held: make(map[*held]struct{})}
	c.idle.L = &c.mu
	return c
}

// refusal is the error for a request to a closed service, else nil.
func (c *connections) refusal() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fmt.Errorf("tokenpatchtest: the service is closed: %w", net.ErrClosed)
	}
	return nil
}

// add registers something to close, and closes it at once if everything is closed.
func (c *connections) add(closer io.Closer) {
	c.mu.Lock()
	c.open[closer] = bubble()
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

// changed is a ConnState hook. A closed connection has no reading goroutine left.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.add(conn)
	case http.StateClosed, http.StateHijacked:
		c.remove(conn)
	case http.StateActive, http.StateIdle:
	}
}

// watch counts the requests in h: with HTTP/2 they can outlive their connection.
func (c *connections) watch(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.handling(1)
		defer c.handling(-1)
		h.ServeHTTP(w, r)
	})
}

// handling adds n to the number of requests in handlers.
func (c *connections) handling(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy += n
	c.idle.Broadcast()
}

func (c *connections) close() {
	for _, closer := range c.shut() {
		_ = closer.Close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.open) > 0 || c.busy > 0 {
		c.idle.Wait()
	}
}

// shut lets nothing more in, and returns what is open.
func (c *connections) shut() []io.Closer {
	here := bubble()
	c.mu.Lock()
	defer c.mu.Unlock()
	open := make([]io.Closer, 0, len(c.open))
	for closer, home := range c.open {
		if home != here {
			panic("tokenpatchtest: Close: a connection of another synctest bubble, or of none, is open: close the service, or its clients' idle connections, in the bubble that they belong to")
		}
		open = append(open, closer)
	}
	c.closed = true
	for h := range c.held {
		if h.home == here { // the runtime ends a process that stops another bubble's
			h.timer.Stop()
		}
	}
	clear(c.held)
	return open
}

// later runs f after d, unless everything is closed before.
func (c *connections) later(d time.Duration, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	h := &held{home: bubble()}
	c.held[h] = struct{}{}
	h.timer = time.AfterFunc(d, func() {
		if c.due(h) {
			defer c.handling(-1)
			f()
		}
	})
}

// due reports whether a delayed request is to be handled now.
func (c *connections) due(h *held) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, due := c.held[h]
	delete(c.held, h)
	if due {
		c.busy++
	}
	return due
}

// bubble names the caller's bubble of testing/synctest, or is empty outside of any. Only the header
// of a stack trace has it.
func bubble() string {
	var buffer [128]byte
	header, _, _ := bytes.Cut(buffer[:runtime.Stack(buffer[:], false)], []byte("\n"))
	_, name, _ := bytes.Cut(bytes.TrimSuffix(header, []byte("]:")), []byte("synctest bubble "))
	return string(name)
}
