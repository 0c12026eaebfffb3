package engine

import (
	"context"
	"net/http"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
)

// Observer is told of the waits and attempts of a call, in the call's goroutine.
type Observer interface {
	// WaitStart gets the length of the wait; 0 if unknown.
	WaitStart(ctx context.Context, reason Reason, length time.Duration)
	WaitEnd(ctx context.Context, reason Reason, took time.Duration)

	// AttemptStart may change the header of the request. The attempt continues with the returned
	// context.
	AttemptStart(ctx context.Context, number int, request *http.Request) context.Context
	AttemptEnd(ctx context.Context, attempt *Attempt)
}

// Attempt is a finished attempt.
type Attempt struct {
	*httpsend.Result
	Number int // within its call, from 1
	Effect Effect
	Took   time.Duration
}

// observe counts and judges attempts, and reports them to the Observer if there is one.
type observe struct {
	*call
	next *httpsend.Transport
}

func (o *observe) RoundTrip(r *http.Request) (*http.Response, error) {
	o.Attempts++
	observer, ctx, began := o.request.Observer, r.Context(), time.Time{}
	if observer != nil {
		ctx = observer.AttemptStart(ctx, o.Attempts, r)
		r = r.WithContext(ctx)
		began = time.Now()
	}
	response, err := o.next.RoundTrip(r)
	o.judge(&o.next.Result)
	if observer != nil {
		observer.AttemptEnd(ctx, &Attempt{Result: &o.Result.Result, Number: o.Attempts, Effect: o.Effect, Took: time.Since(began)})
	}
	return response, err
}

// judge records how an attempt ended, its proof, and whether another one may follow.
func (c *call) judge(r *httpsend.Result) {
	if r.Err != nil {
		r.Err = c.request.Secrets.CleanError(r.Err)
	}
	c.Result.Result = *r
	c.Invalid = nil
	c.Effect, c.next = classify(r)
	if IsSuccess(r.Status) {
		c.Effect, c.Invalid = c.request.Rules.Read(r)
	}
	if c.Effect == Applied {
		c.next = never
	}
	if c.Effect == Unknown && c.request.Method == http.MethodGet { // a read changes nothing
		c.Effect = NotApplied
	}
	if c.Invalid != nil {
		c.Invalid = c.request.Secrets.CleanError(c.Invalid)
	}
	c.Result.Unknown = c.Result.Unknown || c.Effect == Unknown
	c.count()
}
