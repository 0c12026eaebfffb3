// Package httpsend sends an HTTP request once, and says how far it came and what
// that proves. It never sends a request twice, and keeps net/http from doing so.
package httpsend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/redact"
)

// Request is what to send. Nothing in it is changed, and neither it nor what it
// points to may be changed before [Sender.Send] returns; a URL, a Header and a
// Body not after that either, since a transport may keep them.
type Request struct {
	Method        string
	URL           *url.URL
	Header        http.Header
	Authorization string // the header of this name, if Header has none
	Body          []byte // nil for none
	Secrets       *redact.Secrets
	Observer      Observer // may be nil
}

// Observer gets the status and the header of a response as soon as they were read.
type Observer interface {
	Observe(status int, header http.Header)
}

// Result is how an attempt ended.
type Result struct {
	Status  int         // of the response; 0 where there was none
	Header  http.Header // of the response, as it came: it may hold a credential
	Body    []byte      // of the response, as much as could be read; as it came too
	Err     error       // why there was no response, or why its body could not be read whole
	NotSent bool        // whether it is certain that no server can have acted on the request
}

// Options are the bounds of attempts, and what carries them.
type Options struct {
	Transport http.RoundTripper
	Timeout   time.Duration // of one attempt, from the connection to the last byte of the response
	Grace     time.Duration // how much longer than its caller's context an attempt may last, within Timeout
	MaxBody   int64         // bytes of a response's body that are read
}

// Sender makes attempts.
type Sender struct {
	Options
	foreign bool // whether the transport is not net/http's own
}

// NewSender returns a sender. A transport that is not an [*http.Transport] may
// ignore its context: it is abandoned in a goroutine of its own a second after
// the attempt's end.
func NewSender(o Options) *Sender {
	_, own := o.Transport.(*http.Transport)
	return &Sender{Options: o, foreign: !own}
}

// CloseIdleConnections closes the transport's connections that are not in use.
func (s *Sender) CloseIdleConnections() {
	(&http.Client{Transport: s.Transport}).CloseIdleConnections()
}

// attempt is what one call of Send needs until the transport is done with it.
type attempt struct {
	body  requestBody
	trace trace
}

// Send makes one attempt. A panic of the transport goes through it.
func (s *Sender) Send(caller context.Context, r *Request) Result {
	if err := caller.Err(); err != nil {
		return Result{Err: err, NotSent: true}
	}
	ctx, cancel := s.bound(caller)
	defer cancel()
	a := &attempt{body: requestBody{content: r.Body}}
	a.trace.cancel = cancel
	defer a.body.end()
	response, err := s.roundTrip(s.prepare(ctx, a, r))
	if err != nil {
		notSent := s.provesNotSent(a) && !errors.As(err, new(statusError))
		return Result{Err: r.Secrets.CleanError(s.explain(a, err, caller)), NotSent: notSent}
	}
	if r.Observer != nil {
		r.Observer.Observe(response.StatusCode, response.Header)
	}
	result := Result{Status: response.StatusCode, Header: response.Header}
	if result.Body, err = s.readBody(ctx, response); err != nil {
		result.Err = r.Secrets.CleanError(err)
	}
	return result
}

// bound returns the context of one attempt.
func (s *Sender) bound(caller context.Context) (context.Context, context.CancelFunc) {
	if s.Grace == 0 {
		return context.WithTimeout(caller, s.Timeout)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(caller), s.Timeout)
	stop := context.AfterFunc(caller, func() {
		timer := time.AfterFunc(s.Grace, cancel)
		context.AfterFunc(ctx, func() { timer.Stop() })
	})
	return ctx, func() { stop(); cancel() }
}

// prepare returns the request as net/http wants it.
func (s *Sender) prepare(ctx context.Context, a *attempt, r *Request) *http.Request {
	request := http.Request{
		Method: r.Method, URL: r.URL, Host: r.URL.Host, Header: r.Header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if r.Authorization != "" && r.Header["Authorization"] == nil {
		request.Header = maps.Clone(r.Header)
		request.Header["Authorization"] = []string{r.Authorization}
	}
	if len(r.Body) == 0 {
		a.body.touch() // there is nothing that could be missing
		request.Header = withoutContentType(request.Header)
	} else {
		request.ContentLength = int64(len(r.Body))
		request.Body, request.GetBody = a.body.first(s.foreign), a.getBody
	}
	ctx = httptrace.WithClientTrace(ctx, a.trace.hooks())
	if s.foreign {
		return request.Clone(ctx) // which may change what it should not
	}
	return request.WithContext(ctx)
}

// withoutContentType returns the headers of a request that has no content.
func withoutContentType(header http.Header) http.Header {
	if header["Content-Type"] == nil {
		return header
	}
	header = maps.Clone(header)
	delete(header, "Content-Type")
	return header
}

// roundTrip returns a response with a status, or an error. net/http itself
// lets a server respond with the status 000.
func (s *Sender) roundTrip(request *http.Request) (*http.Response, error) {
	response, err := s.callTransport(request)
	switch {
	case err != nil:
		return nil, err
	case response == nil:
		return nil, errors.New("the transport returned neither a response nor an error")
	case response.StatusCode < 100:
		closeBody(response)
		return nil, statusError(response.StatusCode)
	}
	return response, nil
}

// statusError is a status that is none.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("invalid status code %d in the response", int(e))
}

// explain says why an attempt's context ended, where err does not.
func (s *Sender) explain(a *attempt, err error, caller context.Context) error {
	switch {
	case a.trace.replayRefused():
		return errReplay
	case s.Grace > 0 && caller.Err() != nil && errors.Is(err, context.Canceled):
		return fmt.Errorf("no response within %v after the end of the context: %w", s.Grace, caller.Err())
	case (s.Grace > 0 || caller.Err() == nil) && errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no response within %v: %w", s.Timeout, err)
	default:
		return err
	}
}

// provesNotSent reports whether no server can have acted on an attempt that
// ended without a response. net/http's own transport reports what it did, except
// where it refuses a request at once, or where a protocol was registered with
// it. Of any other all that is known is whether it took the body: without one a
// request is incomplete, and after its end an attempt gives none away.
func (s *Sender) provesNotSent(a *attempt) bool {
	switch {
	case s.foreign:
		return a.body.end()
	case a.trace.reported():
		return a.trace.provesNotSent()
	default:
		return a.body.unread()
	}
}
