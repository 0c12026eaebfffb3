package httpsend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"time"
)

// errAbandoned is why something that did not return was given up.
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
		go dispose(done, late)
	}
	return *new(T), fmt.Errorf("%w: %w", errAbandoned, ctx.Err())
}

// dispose hands what came too late to late. Nobody is left to whom a panic of it could go: it must not end the process.
func dispose[T any](done <-chan ending[T], late func(T)) {
	defer func() { _ = recover() }()
	late((<-done).value)
}

// ending is how a function ended.
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
