package page

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server serves the page of one run, and sends its readers each new version. It changes nothing,
// whatever the request is.
type Server struct {
	URL string // of the page

	name     string // of the host to listen on
	http     *http.Server
	shutdown context.CancelFunc // ends what readers are told

	mu       sync.Mutex
	run      Run
	version  int
	failures int           // version in which they changed last
	changed  chan struct{} // closed when the next version is there
}

// Listen serves the page of the run with this name at address, host:port. Whoever reaches the
// address can read it.
func Listen(ctx context.Context, address, name string) (*Server, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{
		URL: "http://" + listener.Addr().String() + "/", name: host, shutdown: cancel,
		run: Run{Name: name, Live: true}, changed: make(chan struct{}),
	}
	s.http = &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	go func() { _ = s.http.Serve(listener) }() // until Close
	return s, nil
}

// Publish shows run from now on.
func (s *Server) Publish(run Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	if run.NotApplied != s.run.NotApplied || run.Unknown != s.run.Unknown || len(run.Failures) != len(s.run.Failures) {
		s.failures = s.version
	}
	s.run = run
	close(s.changed)
	s.changed = make(chan struct{})
}

// Close sends readers the rest, and ends the server.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	s.shutdown()
	if err != nil {
		err = s.http.Close()
	}
	return err
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /events", s.events)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.isOurs(r) {
			http.Error(w, "this host is not served here", http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", Policy(liveCode, style, true)+"; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// isOurs reports whether a request names a host of the page. Another name may belong to a page
// elsewhere, which made it point here to read data of this machine.
func (s *Server) isOurs(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host == "localhost" || host == s.name && s.name != "" {
		return true
	}
	ip := net.ParseIP(host)
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ip != nil && local != nil && ip.Equal(local.IP)
}

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	run := s.run
	s.mu.Unlock()
	var b bytes.Buffer
	if err := Write(&b, run); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}

const silence = 15 * time.Second // after it a reader gets a sign of life

// events sends a reader each version from now on, as server-sent events, until the run ends or
// either of them goes.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	told := 0
	for {
		s.mu.Lock()
		run, version, failures, changed := s.run, s.version, s.failures, s.changed
		s.mu.Unlock()
		if err := out.SetWriteDeadline(time.Now().Add(silence)); err != nil {
			return
		}
		if err := tell(w, run, failures > told || told == 0); err != nil || out.Flush() != nil {
			return
		}
		if told = version; !run.Live {
			return
		}
		if !s.wait(r.Context(), w, changed) {
			return
		}
	}
}

// wait waits for the next version, and reports whether there is one.
func (s *Server) wait(ctx context.Context, w http.ResponseWriter, changed <-chan struct{}) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-changed:
			return true
		case <-time.After(silence / 2):
			out := http.NewResponseController(w)
			if _, err := fmt.Fprint(w, ":\n\n"); err != nil || out.SetWriteDeadline(time.Now().Add(silence)) != nil || out.Flush() != nil {
				return false
			}
		}
	}
}

// tell writes a version. The failures, which may be many, go before the rest, and only if they have
// changed.
func tell(w http.ResponseWriter, run Run, failures bool) error {
	if failures {
		if err := event(w, "failures", run.Failures); err != nil {
			return err
		}
	}
	run.Failures = nil
	return event(w, "run", run)
}

func event(w http.ResponseWriter, name string, data any) error {
	encoded, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, encoded)
	return err
}
