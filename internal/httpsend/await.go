package httpsend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"time"
)

// errAbandoned is the error of an abandoned function or transport.
var errAbandoned = errors.New("abandoned: it ignored the end of its context")

// abandonAfter is how much longer than its context something may take to return.
const abandonAfter = time.Second

// Await returns the result of f, or an error if f takes a second longer than ctx. A later result
// goes to late, unless late is nil. A panic of f, and the end of its goroutine, is passed on to the
// waiting goroutine.
func Await[T any](ctx context.Context, f func() (T, error), late func(T)) (T, error) {
	return new(ending[T]).await(ctx, f, late)
}

func (e *ending[T]) await(ctx context.Context, f func() (T, error), late func(T)) (T, error) {
	e.done = make(chan struct{})
	go e.run(f)
	select {
	case <-e.done:
		return e.result()
	case <-ctx.Done():
	}
	timer := time.NewTimer(abandonAfter)
	defer timer.Stop()
	select {
	case <-e.done:
		return e.result()
	case <-timer.C:
	}
	if late != nil {
		go e.dispose(late)
	}
	return *new(T), fmt.Errorf("%w: %w", errAbandoned, ctx.Err())
}

// ending is how a function ended.
type ending[T any] struct {
	done     chan struct{} // closed at the end
	value    T
	err      error
	returned bool
	panicked any // nil if it neither returned nor panicked: runtime.Goexit
}

func (e *ending[T]) run(f func() (T, error)) {
	defer func() {
		if !e.returned {
			e.panicked = recover()
		}
		close(e.done)
	}()
	e.value, e.err = f()
	e.returned = true
}

func (e *ending[T]) result() (T, error) {
	if !e.returned && e.panicked == nil {
		runtime.Goexit()
	}
	if !e.returned {
		panic(e.panicked)
	}
	return e.value, e.err
}

// dispose hands what came too late to late. Nobody is left to whom a panic of it could go: it must not end the process.
func (e *ending[T]) dispose(late func(T)) {
	defer func() { _ = recover() }()
	<-e.done
	late(e.value)
}

func closeBody(response *http.Response) {
	if response != nil && response.Body != nil {
		_ = response.Body.Close()
	}
}
