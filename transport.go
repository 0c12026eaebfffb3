package tokenpatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"time"
)

// heedful is a transport of the caller's that may not know what a context is.
// What it does, reading the answer included, it does in another goroutine, and
// is left behind there when the request's context has ended and it does not
// come back. net/http's own transport needs none of this.
type heedful struct {
	next  http.RoundTripper
	limit int64 // bytes to read of an answer
}

func (t heedful) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	response, err := await(ctx, func() (*http.Response, error) { return t.next.RoundTrip(request) }, closeBody)
	if err != nil || response == nil || response.Body == nil {
		return response, err
	}
	body := response.Body
	response.Body, err = await(ctx, func() (io.ReadCloser, error) { return readAhead(body, t.limit), nil }, nil)
	if err != nil {
		response.Body = io.NopCloser(failing{err})
	}
	return response, nil
}

func closeBody(response *http.Response) {
	if response != nil && response.Body != nil {
		_ = response.Body.Close()
	}
}

func (t heedful) CloseIdleConnections() {
	(&http.Client{Transport: t.next}).CloseIdleConnections()
}

// readAhead reads a body up to a limit, closes it, and returns one that gives
// the same bytes and ends as that reading did.
func readAhead(body io.ReadCloser, limit int64) io.ReadCloser {
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, limit))
	if err == nil {
		err = io.EOF
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(b), failing{err}))
}

// failing is a reader of nothing but an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// errLeftBehind is why something ended that did not come back. A transport may
// still send its request, whatever it has reported so far.
var errLeftBehind = errors.New("it did not heed its context")

// grace is how much longer than its context something may take to come back.
const grace = time.Second

// await returns what f returns, or errLeftBehind where f goes on for longer
// than ctx and a moment; late, if it is not nil, gets what f returns after that.
// A panic of f, and the end of its goroutine, is that of the goroutine that waits.
func await[T any](ctx context.Context, f func() (T, error), late func(T)) (T, error) {
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
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case e := <-done:
		return e.result()
	case <-timer.C:
	}
	if late != nil {
		go func() { late((<-done).value) }()
	}
	return *new(T), fmt.Errorf("%w: %w", errLeftBehind, ctx.Err())
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
