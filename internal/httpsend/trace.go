package httpsend

import (
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// trace records how far net/http got with one attempt. It also keeps net/http from sending the request
// again by itself. Its hooks run in goroutines of the transport, some of which outlive the attempt.
type trace struct {
	attempt *attempt
	client  httptrace.ClientTrace
	bits    atomic.Uint32

	mu   sync.Mutex
	conn net.Conn // the latest that the attempt was given
}

const (
	traced       = 1 << iota // the transport reports what it does
	wroteHeaders             // the request's header was handed to a connection
	wroteRequest             // the whole request was written to one
	responding               // a response to what was written has begun
	wantedReplay             // net/http wanted to send the request again
	sameConn                 // and would have used the same connection
	connected                // there was a connection
)

func (t *trace) hooks() *httptrace.ClientTrace {
	t.client = httptrace.ClientTrace{
		GetConn: func(string) { t.bits.Or(traced) },
		GotConn: t.gotConn,
		WroteHeaders: func() {
			t.bits.And(^uint32(responding))
			t.bits.Or(wroteHeaders)
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				t.bits.Or(wroteRequest)
			}
		},
		GotFirstResponseByte: func() { t.bits.Or(responding) },
	}
	return &t.client
}

func (t *trace) gotConn(info httptrace.GotConnInfo) {
	t.attempt.connected()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bits.Or(connected)
	if t.replayRefused() && t.conn == info.Conn {
		t.bits.Or(sameConn)
	}
	t.conn = info.Conn
}

// errReplay is why an attempt ended that net/http wanted to send again.
// Whether to send a request again is decided in one place only.
var errReplay = errors.New("the connection or the stream broke, and net/http was kept from sending the request again")

// refusesReplay reports whether whoever asks for the body now is net/http, to
// send the request again, and ends the attempt if so.
func (t *trace) refusesReplay() bool {
	if t.bits.Load()&(wroteHeaders|responding) != wroteHeaders {
		return false
	}
	t.bits.Or(wantedReplay)
	t.attempt.cancel(errReplay)
	return true
}

func (t *trace) replayRefused() bool { return t.bits.Load()&wantedReplay != 0 }

// reported reports whether the transport reports what it does. A protocol that
// was registered with net/http's own does not.
func (t *trace) reported() bool { return t.bits.Load()&traced != 0 }

// waitsForConnection reports whether the transport looks for a connection and has none so far.
func (t *trace) waitsForConnection() bool { return t.bits.Load()&(traced|connected) == traced }

// provesNotSent reports whether it is certain that no server can have acted on
// an attempt that was reported, and ended without a response.
//
// net/http sends a request again after it wrote nothing of it, and over HTTP/2
// also after the server refused its stream, reset it for a protocol error, or
// went away. A request that was not complete cannot have been acted on. Of one
// that was, only the refusal is proof (RFC 9113 section 8.7), and of the three
// only the refusal leaves the connection fit to be used again.
func (t *trace) provesNotSent() bool {
	switch bits := t.bits.Load(); {
	case bits&wroteHeaders == 0:
		return true
	case bits&wantedReplay == 0:
		return false
	default:
		return bits&wroteRequest == 0 || bits&sameConn != 0
	}
}
