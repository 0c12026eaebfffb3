package httpsend

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
)

// requestBody gives a transport the body of a request, for as long as the
// attempt lasts, and knows whether the transport took any of it.
type requestBody struct {
	content []byte
	state   atomic.Uint32
	plain   bytes.Reader
}

const (
	touched = 1 << iota // something was read, or asked for another reader
	ended               // the attempt is over
)

var errEnded = errors.New("the attempt is over: its body must not be sent any more")

// end stops all sending, and reports whether nothing can have been sent.
func (b *requestBody) end() bool { return b.state.Or(ended)&touched == 0 }

// touch reports whether the body may be taken.
func (b *requestBody) touch() bool { return b.state.Or(touched)&ended == 0 }

// first returns the body of the request. net/http gives header and body to the connection at once
// only for readers it knows.
func (b *requestBody) first(foreign bool) io.ReadCloser {
	if foreign {
		return b.open()
	}
	b.plain.Reset(b.content)
	return io.NopCloser(&b.plain)
}

// unread reports whether nothing of a plain body was read.
func (b *requestBody) unread() bool { return b.plain.Len() > 0 && b.plain.Len() == len(b.content) }

func (b *requestBody) open() io.ReadCloser {
	r := &bodyReader{body: b}
	r.Reset(b.content)
	return r
}

// bodyReader reads a request's body once.
type bodyReader struct {
	bytes.Reader
	body *requestBody
}

func (r *bodyReader) Read(p []byte) (int, error) {
	if !r.body.touch() {
		return 0, errEnded
	}
	return r.Reader.Read(p)
}

// WriteTo is what io.Copy prefers.
func (r *bodyReader) WriteTo(w io.Writer) (int64, error) {
	if !r.body.touch() {
		return 0, errEnded
	}
	return r.Reader.WriteTo(w)
}

func (r *bodyReader) Close() error { return nil }

// getBody is http.Request.GetBody. With it net/http can use another connection if nothing could be
// written to an idle one of HTTP/1. A transport with signatures or digest authentication reads the
// body more than once. Between the request's header and the response, only net/http calls it, to
// send the request again: then the attempt ends, with an unusable body.
func (a *attempt) getBody() (io.ReadCloser, error) {
	if a.trace.refusesReplay() {
		return io.NopCloser(failing{errReplay}), nil
	}
	if !a.body.touch() {
		return nil, errEnded
	}
	return a.body.open(), nil
}

// failing is a reader of nothing but an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// readBody reads a response's body and closes it. net/http's own transport ends a read with the attempt's context, unless a
// protocol was registered with it.
func (a *attempt) readBody(response *http.Response) ([]byte, error) {
	if response.Body == nil || response.Body == http.NoBody {
		return nil, nil
	}
	if response.StatusCode == http.StatusSwitchingProtocols { // its body is the connection, which nothing bounds
		closeBody(response)
		return nil, nil
	}
	if !a.foreign && a.trace.reported() {
		return a.read(response)
	}
	type read struct {
		body []byte
		err  error
	}
	r, err := Await(a.request.Context(), func() (read, error) {
		body, err := a.read(response)
		return read{body, err}, nil
	}, nil)
	if err != nil {
		return nil, a.explain(err)
	}
	return r.body, r.err
}

// maxTrusted is how many bytes make room for themselves by a Content-Length
// alone, which can lie.
const maxTrusted = 64 << 10

// read reads up to MaxBody bytes. A longer body is an error, with the part read so far.
func (a *attempt) read(response *http.Response) ([]byte, error) {
	defer closeBody(response)
	limit := a.sender.MaxBody
	room := min(response.ContentLength, limit, maxTrusted)
	if room < 0 {
		room = bytes.MinRead
	}
	b := make([]byte, 0, room+1) // one more shows the end
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, cap(b))
		}
		n, err := response.Body.Read(b[len(b):min(int64(cap(b)), limit+1)])
		b = b[:len(b)+n]
		switch {
		case int64(len(b)) > limit:
			return b[:limit], fmt.Errorf("the response body is longer than %d bytes", limit)
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, fmt.Errorf("the response body ended after %d bytes: %w", len(b), a.explain(err))
		}
	}
}
