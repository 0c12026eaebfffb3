package tokenpatchtest

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// connect returns the two ends of a connection in memory. Unlike net.Pipe, and like a socket with
// room, a write never waits for a read: each end may write before it reads.
func connect() (near, far net.Conn) {
	there, back := newFlow(), newFlow()
	return &conn{in: back, out: there}, &conn{in: there, out: back}
}

// conn is one end of a connection in memory.
type conn struct{ in, out *flow }

func (c *conn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.write(p) }

func (c *conn) Close() error {
	c.out.end()
	c.in.abandon()
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return memoryAddr{} }
func (c *conn) RemoteAddr() net.Addr { return memoryAddr{} }

func (c *conn) SetDeadline(t time.Time) error     { return c.SetReadDeadline(t) }
func (c *conn) SetReadDeadline(t time.Time) error { c.in.setDeadline(t); return nil }
func (c *conn) SetWriteDeadline(time.Time) error  { return nil } // a write never waits

// memoryAddr is the address of either end.
type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "memory" }

// flow carries bytes one way. It waits on a sync.Cond, which a bubble of
// testing/synctest knows to be idle.
type flow struct {
	mu        sync.Mutex
	changed   sync.Cond
	data      bytes.Buffer
	ended     bool // nothing more will be written
	abandoned bool // nothing more will be read
	deadline  time.Time
	timer     *time.Timer // wakes the reader at the deadline
}

func newFlow() *flow {
	f := &flow{}
	f.changed.L = &f.mu
	return f
}

func (f *flow) read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.abandoned:
			return 0, net.ErrClosed
		case !f.deadline.IsZero() && !time.Now().Before(f.deadline):
			return 0, os.ErrDeadlineExceeded
		case f.data.Len() > 0 || len(p) == 0:
			return f.data.Read(p)
		case f.ended:
			return 0, io.EOF
		}
		f.changed.Wait()
	}
}

func (f *flow) write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ended:
		return 0, net.ErrClosed
	case f.abandoned:
		return 0, io.ErrClosedPipe
	}
	f.changed.Broadcast()
	return f.data.Write(p)
}

func (f *flow) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.changed.Broadcast()
}

func (f *flow) abandon() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.abandoned = true
	f.stopTimer()
	f.changed.Broadcast()
}

func (f *flow) setDeadline(t time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopTimer()
	f.deadline = t
	if d := time.Until(t); d > 0 {
		f.timer = time.AfterFunc(d, f.wake)
	}
	f.changed.Broadcast()
}

func (f *flow) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed.Broadcast()
}

func (f *flow) stopTimer() {
	if f.timer != nil {
		f.timer.Stop()
	}
}

// single is a listener for one connection.
type single struct {
	conn net.Conn
}

func (l *single) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, io.EOF
	}
	c := l.conn
	l.conn = nil
	return c, nil
}

func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return memoryAddr{} }
