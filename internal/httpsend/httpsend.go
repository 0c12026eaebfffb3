// Package httpsend sends an HTTP request once, and reports how far it got and what this proves. It
// never sends a request twice, and keeps net/http from doing so.
package httpsend

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// Sender bounds the attempts of one server, and names what carries them.
type Sender struct {
	Transport http.RoundTripper
	Trusted   bool          // whether Transport heeds contexts for certain; any other is called in a goroutine, to be abandoned
	Timeout   time.Duration // until there is a connection, and again from then to the last byte of the response
	Grace     time.Duration // how much longer than its caller's context an attempt may last, within Timeout
	MaxBody   int64         // bytes read of a response's body

	http1 atomic.Bool // whether the server has responded over HTTP/1
}

// CloseIdleConnections closes the transport's unused connections.
func (s *Sender) CloseIdleConnections() {
	(&http.Client{Transport: s.Transport}).CloseIdleConnections()
}

// Observer gets the status and the header of a response before its body is read.
type Observer interface {
	Observe(status int, header http.Header)
}

// Result is how an attempt ended.
type Result struct {
	Status  int         // of the response; 0 if there was none
	Header  http.Header // of the response, as received: it may contain a credential
	Body    []byte      // of the response, as much as could be read, as received
	Err     error       // why there was no response, or why its body could not be read whole
	NotSent bool        // whether certainly no server has acted on the request
}

// Transport makes one attempt for each request and keeps its result. Each call has its own: it is
// not for concurrent use.
type Transport struct {
	*Sender
	Observer Observer // nil if there is none
	NoGrace  bool     // whether an attempt ends with its caller's context at once
	Result   Result   // of the latest attempt

	response http.Response
	body     memory
}

// RoundTrip makes one attempt. It sends a copy of the request. The response is valid until the next attempt; its body is in
// memory. What could be read of it, and why the rest could not, is in Result. A panic of the transport propagates.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	a, err := t.begin(request)
	if err != nil {
		t.Result = Result{Err: err, NotSent: true}
		return nil, err
	}
	defer a.end()
	var response *http.Response
	if t.Trusted {
		response, err = t.Sender.Transport.RoundTrip(a.request)
	} else {
		response, err = a.ending.await(a.request.Context(), a.roundTrip, closeBody)
	}
	if err == nil {
		err = checkResponse(response)
	}
	if err != nil {
		t.Result = Result{Err: a.explain(err), NotSent: a.provesNotSent(err)}
		return nil, t.Result.Err
	}
	if t.Observer != nil {
		t.Observer.Observe(response.StatusCode, response.Header)
	}
	if response.ProtoMajor == 1 && !a.foreign {
		t.http1.Store(true)
	}
	t.Result = Result{Status: response.StatusCode, Header: response.Header}
	t.Result.Body, t.Result.Err = a.readBody(response)
	return t.received(request), nil
}

// memory is a body in memory.
type memory struct{ bytes.Reader }

func (*memory) Close() error { return nil }

// received returns the result as a response.
func (t *Transport) received(request *http.Request) *http.Response {
	r := &t.Result
	t.body.Reset(r.Body)
	t.response = http.Response{
		Status: http.StatusText(r.Status), StatusCode: r.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.Header, Body: &t.body, ContentLength: int64(len(r.Body)), Request: request,
	}
	return &t.response
}

// checkResponse returns why what a transport returned is no response. net/http itself lets a server respond with the
// status 000.
func checkResponse(response *http.Response) error {
	switch {
	case response == nil:
		return errors.New("the transport returned neither a response nor an error")
	case response.StatusCode < 100:
		closeBody(response)
		return statusError(response.StatusCode)
	}
	return nil
}

// statusError is an invalid status code, below 100.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("invalid status code %d in the response", int(e))
}
