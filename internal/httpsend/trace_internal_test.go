package httpsend

import (
	"errors"
	"net"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// What the trace of an attempt proves, by what net/http reported of it.
func TestTraceProvesNotSent(t *testing.T) {
	broken := errors.New("broken")
	one, another := net.Conn(&net.TCPConn{}), net.Conn(&net.UnixConn{})
	type event = func(*trace)
	getConn, headers := func(tr *trace) { tr.hooks().GetConn("") }, func(tr *trace) { tr.hooks().WroteHeaders() }
	got := func(c net.Conn) event {
		return func(tr *trace) { tr.hooks().GotConn(httptrace.GotConnInfo{Conn: c}) }
	}
	whole := func(tr *trace) { tr.hooks().WroteRequest(httptrace.WroteRequestInfo{}) }
	failed := func(tr *trace) { tr.hooks().WroteRequest(httptrace.WroteRequestInfo{Err: broken}) }
	first := func(tr *trace) { tr.hooks().GotFirstResponseByte() }
	replay := func(tr *trace) { tr.refusesReplay() }
	tests := []struct {
		name   string
		events []event
		want   bool
	}{
		{"no connection", []event{getConn}, true},
		{"no connection, asked for the body", []event{getConn, replay}, true},
		{"a connection", []event{getConn, got(one)}, true},
		{"headers", []event{getConn, got(one), headers}, false},
		{"headers, and another connection", []event{getConn, got(one), headers, got(another)}, false},
		{"headers, wanted to replay", []event{getConn, got(one), headers, replay}, true},
		{"body not written, wanted to replay", []event{getConn, got(one), headers, failed, replay}, true},
		{"body not written", []event{getConn, got(one), headers, failed}, false},
		{"all written", []event{getConn, got(one), headers, whole}, false},
		{"all written, wanted to replay", []event{getConn, got(one), headers, whole, replay}, false},
		{"a response, asked for the body", []event{getConn, got(one), headers, whole, first, replay}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := newTrace(func(error) {})
			for _, event := range test.events {
				event(tr)
			}
			assert.True(t, tr.reported())
			assert.Equal(t, test.want, tr.provesNotSent())
		})
	}
}

// Whoever asks for the body again before the header was written, or once a
// response has begun, is not net/http.
func TestTraceTellsReplaysFromOtherReaders(t *testing.T) {
	canceled := 0
	tr := newTrace(func(error) { canceled++ })
	hooks := tr.hooks()
	assert.False(t, tr.refusesReplay(), "before anything")
	assert.False(t, tr.reported())
	hooks.GetConn("")
	hooks.GotConn(httptrace.GotConnInfo{})
	assert.False(t, tr.refusesReplay(), "before the header")
	hooks.WroteHeaders()
	hooks.GotFirstResponseByte()
	assert.False(t, tr.refusesReplay(), "after a response, as digest authentication does")
	assert.Zero(t, canceled)
	assert.False(t, tr.replayRefused())
	hooks.WroteHeaders()
	assert.True(t, tr.refusesReplay(), "in between, of the second request")
	assert.Equal(t, 1, canceled)
	assert.True(t, tr.replayRefused())
}

// newTrace returns the trace of an attempt, which cancel ends.
func newTrace(cancel func(error)) *trace {
	a := &attempt{sender: &Sender{Timeout: time.Hour}, cancel: cancel, timer: time.NewTimer(time.Hour)}
	a.trace.attempt = a
	return &a.trace
}
