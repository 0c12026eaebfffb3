package httpsend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"time"
)

// callTransport calls the transport. One that may ignore its context is called
// in another goroutine, and abandoned there when the request's context has
// ended and it does not return.
func (s *Sender) callTransport(request *http.Request) (*http.Response, error) {
	if !s.foreign {
		return s.Transport.RoundTrip(request)
	}
	return Await(request.Context(), func() (*http.Response, error) { return s.Transport.RoundTrip(request) }, closeBody)
}

// errAbandoned is why something ended that did not return.
var errAbandoned = errors.New("abandoned: it ignored the end of its context")

// abandonAfter is how much longer than its context something may take to return.
const abandonAfter = time.Second

// Await returns what f returns, or an error where f goes on for a second longer
// than ctx; late, if it is not nil, gets what f returns after that. A panic of
// f, and the end of its goroutine, is that of the goroutine that waits.
func Await[T any](ctx context.Context, f func() (T, error), late func(T)) (T, error) {
	done := make(chan ending[T], 1)
	go func() {
		var e ending[T]
		defer func() {
			if !e.returned {
				e.panicked = recover()
			}
			done <- e
		}()
		e.value, e.err = f()
		e.returned = true
	}()
	select {
	case e := <-done:
		return e.result()
	case <-ctx.Done():
	}
	timer := time.NewTimer(abandonAfter)
	defer timer.Stop()
	select {
	case e := <-done:
		return e.result()
	case <-timer.C:
	}
	if late != nil {
		go func() { late((<-done).value) }()
	}
	return *new(T), fmt.Errorf("%w: %w", errAbandoned, ctx.Err())
}

// ending is how a function came to its end.
type ending[T any] struct {
	value    T
	err      error
	returned bool
	panicked any // nil where it neither returned nor panicked: runtime.Goexit
}

func (e ending[T]) result() (T, error) {
	switch {
	case e.returned:
	case e.panicked != nil:
		panic(e.panicked)
	default:
		runtime.Goexit()
	}
	return e.value, e.err
}

func closeBody(response *http.Response) {
	if response != nil && response.Body != nil {
		_ = response.Body.Close()
	}
}
