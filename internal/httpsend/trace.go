package httpsend

import (
	"errors"
	"net/http/httptrace"
	"sync/atomic"
)

// trace records how far net/http got with one attempt. It also keeps net/http from sending the
// request again by itself. Its hooks run in goroutines of the transport, some of which outlive the
// attempt.
type trace struct {
	attempt *attempt
	client  httptrace.ClientTrace
	bits    atomic.Uint32
}

const (
	traced       = 1 << iota // the transport reports what it does
	wroteHeaders             // the request's header was handed to a connection
	wroteRequest             // the whole request was written to one
	responding               // a response to what was written has begun
	wantedReplay             // net/http wanted to send the request again
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

func (t *trace) gotConn(httptrace.GotConnInfo) {
	t.attempt.connected()
	t.bits.Or(connected)
}

// errReplay ends an attempt that net/http wanted to send again. Only the engine decides about
// repetitions.
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

// reported reports whether the transport reports its steps. A protocol registered with net/http's
// own does not.
func (t *trace) reported() bool { return t.bits.Load()&traced != 0 }

// waitsForConnection reports whether the transport looks for a connection and has none so far.
func (t *trace) waitsForConnection() bool { return t.bits.Load()&(traced|connected) == traced }

// provesNotSent reports whether certainly no server has acted on a reported attempt without a
// response: nothing of it was handed to a connection, or net/http wanted to send an incomplete
// request again.
func (t *trace) provesNotSent() bool {
	bits := t.bits.Load()
	return bits&wroteHeaders == 0 || bits&wantedReplay != 0 && bits&wroteRequest == 0
}
