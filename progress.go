package tokenpatch

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// progress is how far net/http came with one attempt, and keeps it from going
// further than that: net/http sends some requests again by itself. Its hooks
// run in goroutines of the transport, some of which outlive the attempt.
type progress struct {
	cancel context.CancelFunc // ends the attempt
	hooks  httptrace.ClientTrace
	bits   atomic.Uint32

	mu   sync.Mutex
	conn net.Conn // the latest that the attempt was given
}

const (
	traced       = 1 << iota // the transport reports what it does
	wroteHeaders             // the request's head was handed to a connection
	wroteRequest             // the whole request was written to one
	wantedReplay             // net/http wanted to send it again
	sameConn                 // and would have used the same connection
)

func (p *progress) trace() *httptrace.ClientTrace {
	p.hooks = httptrace.ClientTrace{
		GetConn:      func(string) { p.bits.Or(traced) },
		GotConn:      p.gotConn,
		WroteHeaders: func() { p.bits.Or(wroteHeaders) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				p.bits.Or(wroteRequest)
			}
		},
	}
	return &p.hooks
}

func (p *progress) gotConn(info httptrace.GotConnInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.replayRefused() && p.conn == info.Conn {
		p.bits.Or(sameConn)
	}
	p.conn = info.Conn
}

// errReplay is why an attempt ended that net/http wanted to send again.
// Whether to send a request again is decided in one place only.
var errReplay = errors.New("the connection or the stream broke, and net/http was kept from sending the request again")

// getBody is what net/http calls for the body of a request that it is about to
// send again. It ends the attempt, and returns a body that cannot be sent.
func (p *progress) getBody() (io.ReadCloser, error) {
	p.bits.Or(wantedReplay)
	p.cancel()
	return io.NopCloser(failing{errReplay}), nil
}

func (p *progress) replayRefused() bool { return p.bits.Load()&wantedReplay != 0 }

// provesNothingSent reports whether it is certain that no server can have
// acted on an attempt that ended with err.
//
// net/http sends a request again after it wrote nothing of it, and over HTTP/2
// also after the server refused its stream, reset it for a protocol error, or
// went away. A request that was not complete cannot have been acted on. Of one
// that was, only the refusal is proof (RFC 9113 section 8.7), and of the three
// only the refusal leaves the connection fit to be used again.
func (p *progress) provesNothingSent(err error) bool {
	switch bits := p.bits.Load(); {
	case errors.Is(err, errLeftBehind):
		return false
	case bits&traced == 0:
		return provesNothingSent(err)
	case bits&wroteHeaders == 0:
		return true
	case bits&wantedReplay == 0:
		return false
	default:
		return bits&wroteRequest == 0 || bits&sameConn != 0
	}
}
