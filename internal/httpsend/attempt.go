package httpsend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"
)

// attempt is what one request needs until the transport is done with it.
type attempt struct {
	sender  *Sender
	request *http.Request // as it is sent
	body    requestBody
	trace   trace
	grace   time.Duration
	foreign bool // whether the transport is not net/http's own
	timer   *time.Timer
	cancel  context.CancelCauseFunc
	release func() bool // of the caller's context
	ending  ending[*http.Response]
}

// errDone is the cancel cause of a finished attempt's context.
var errDone = errors.New("the attempt is over")

// limitError is why the context of an attempt ended before its caller's.
type limitError struct {
	text  string
	cause error
}

func (e *limitError) Error() string { return e.text + ": " + e.cause.Error() }
func (e *limitError) Unwrap() error { return e.cause }

// begin returns an attempt with its own copy of a request. Its errors are why nothing was sent.
func (t *Transport) begin(request *http.Request) (*attempt, error) {
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	content, err := contentOf(request)
	if err != nil {
		return nil, err
	}
	_, own := t.Sender.Transport.(*http.Transport)
	a := &attempt{sender: t.Sender, body: requestBody{content: content}, foreign: !own}
	a.trace.attempt = a
	if !t.NoGrace {
		a.grace = t.Grace
	}
	ctx := httptrace.WithClientTrace(a.bound(request.Context()), a.trace.hooks())
	if own {
		a.request = request.WithContext(ctx)
	} else {
		a.request = request.Clone(ctx) // since it may change what it should not
	}
	if len(content) == 0 {
		a.body.touch() // there is nothing whose absence could be proof
		a.request.Body, a.request.GetBody = nil, nil
		return a, nil
	}
	a.request.Body, a.request.GetBody = a.body.first(a.foreign), nil
	if a.foreign || t.http1.Load() {
		a.request.GetBody = a.getBody
	}
	return a, nil
}

// contentOf reads the body of a request, and closes it.
func contentOf(request *http.Request) ([]byte, error) {
	if request.Body == nil || request.Body == http.NoBody {
		return nil, nil
	}
	defer request.Body.Close()
	content := make([]byte, request.ContentLength)
	_, err := io.ReadFull(request.Body, content)
	return content, err
}

// bound returns the context of the attempt.
func (a *attempt) bound(caller context.Context) context.Context {
	if a.grace == 0 {
		ctx, cancel := context.WithCancelCause(caller)
		a.cancel = cancel
		a.timer = time.AfterFunc(a.sender.Timeout, a.timedOut)
		return ctx
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(caller))
	a.cancel = cancel
	a.timer = time.AfterFunc(a.sender.Timeout, a.timedOut)
	a.release = context.AfterFunc(caller, func() {
		timer := time.AfterFunc(a.grace, func() {
			cancel(&limitError{fmt.Sprintf("no response within %v after the end of the context", a.grace), caller.Err()})
		})
		context.AfterFunc(ctx, func() { timer.Stop() })
	})
	return ctx
}

func (a *attempt) timedOut() {
	what := "response"
	if a.trace.waitsForConnection() {
		what = "connection"
	}
	a.cancel(&limitError{fmt.Sprintf("no %s within %v", what, a.sender.Timeout), context.DeadlineExceeded})
}

// connected starts the timeout anew: waiting for a connection has a timeout of its own.
func (a *attempt) connected() { a.timer.Reset(a.sender.Timeout) }

// end stops all sending and reading.
func (a *attempt) end() {
	a.timer.Stop()
	if a.release != nil {
		a.release()
	}
	a.cancel(errDone)
	a.body.end()
}

func (a *attempt) roundTrip() (*http.Response, error) { return a.sender.Transport.RoundTrip(a.request) }

// explain returns err, or why the attempt was cut off if err is about its context.
func (a *attempt) explain(err error) error {
	switch {
	case a.trace.replayRefused():
		return errReplay
	case isUnprocessed(err):
		return errUnprocessed
	}
	var limit *limitError
	if !errors.As(context.Cause(a.request.Context()), &limit) || !errors.Is(err, context.Canceled) && !errors.Is(err, limit) {
		return err
	}
	if errors.Is(err, errAbandoned) {
		return fmt.Errorf("%w: %w", errAbandoned, limit)
	}
	return limit
}

// provesNotSent reports whether no server can have acted on an attempt without a response, which
// ended with err. net/http's own transport reports its steps, unless it refuses a request at once
// or a protocol was registered with it. For any other transport only its use of the body is known:
// without a body a request is incomplete, and a finished attempt gives none away.
func (a *attempt) provesNotSent(err error) bool {
	switch {
	case errors.As(err, new(statusError)):
		return false
	case a.foreign:
		return a.body.end()
	case errors.Is(err, errAbandoned): // it may still be about to send
		return false
	case a.trace.reported():
		return a.trace.provesNotSent() || isUnprocessed(err)
	default:
		return a.body.unread()
	}
}

var errUnprocessed = errors.New("the server did not process the request: it refused the HTTP/2 stream, or went away")

// isUnprocessed reports whether, according to net/http, an HTTP/2 server did not process the
// request: it refused the stream, or went away before it (RFC 9113, sections 6.8 and 8.7). net/http
// has no type for this. It says so only of a request without GetBody, which it could otherwise send
// again. A server cannot write the beginning of an error.
func isUnprocessed(err error) bool {
	text := err.Error()
	if strings.HasPrefix(text, "http2: Transport received GOAWAY from server") {
		return true
	}
	cause, found := strings.CutPrefix(text, "http2: Transport: cannot retry err [")
	return found && (strings.HasPrefix(cause, "http2: Transport received Server's graceful shutdown GOAWAY]") ||
		strings.HasPrefix(cause, "stream error: ") && strings.Contains(cause, "; REFUSED_STREAM; "))
}
