// Package engine makes one call of an HTTP API: as many attempts as it needs and may make, at the pace of the rate limit. It
// knows no token and no endpoint.
//
// go-retryablehttp is the loop. Below it, each attempt passes through a chain of RoundTrippers: see [chain].
package engine

import (
	"context"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
	"github.com/tokenpatch/tokenpatch/internal/redact"
)

// Engine is what all calls of one service share.
type Engine struct {
	Sender  *httpsend.Sender
	Limiter *ratelimit.Limiter
	Policy  Policy

	// Credential returns the credential of the next attempt. refused is the one the service has
	// just refused in this call, else empty. Many goroutines call it at once.
	Credential func(ctx context.Context, refused string) (string, error)
	Scheme     string        // of the Authorization header, with the blank behind it
	Known      *redact.Known // credentials to hide

	RetryConflicts bool // whether a 409 is worth another attempt

	hostRetried atomic.Bool // whether an attempt was repeated although the host seemed wrong
}

// Request is what a call sends, again with each attempt.
type Request struct {
	Method string
	URL    *url.URL
	Header http.Header // without the credential; never changed
	Body   []byte      // nil for none
	Route  string      // of the rate limit, such as "PATCH /api/v2/tokens/{id}"

	Rules    Rules
	Observer Observer // nil if nobody listens
	NoGrace  bool     // whether attempts end with the context, whatever the Sender's Grace is

	// Secrets are the credentials to hide. The engine adds those it sends.
	Secrets *redact.Secrets
}

// Rules are what a call has to know of its endpoint.
type Rules interface {
	// Read judges a response with a status 2xx. Its error is how the response deviates from the API's documentation.
	Read(*httpsend.Result) (Effect, error)

	// Replayable reports whether the request may be sent again after it may have been applied. It
	// is called only if the answer matters.
	Replayable() bool
}

// Result is how a call ended.
type Result struct {
	httpsend.Result               // of the latest attempt
	Effect          Effect        // of the latest attempt alone; NotApplied if there was none
	Unknown         bool          // whether the effect of any attempt was unknown
	Invalid         error         // how a 2xx response deviates from the API's documentation
	Stopped         error         // why there was no further attempt although one was due; nil if none was
	Attempts        int           // made
	Waited          time.Duration // in all, if there is an Observer
}

// Do makes a call. A panic of a transport, an observer or a function of the request propagates.
func (e *Engine) Do(ctx context.Context, r *Request) Result {
	c := newCall(e, r)
	defer c.permit.Abandon() // a panic must not keep the permit
	// A call waiting here has allocated little.
	if c.Stopped = c.admit(ctx); c.Stopped != nil {
		return c.Result
	}
	request := &retryablehttp.Request{Request: (&http.Request{
		Method: r.Method, URL: r.URL, Host: r.URL.Host, Header: r.Header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)}
	if len(r.Body) > 0 {
		_ = request.SetBody(r.Body) // of bytes it has no error
	}
	//nolint:bodyclose // the Sender has read and closed it
	if _, err := c.loop(ctx).Do(request); c.due { // the context ended in a backoff
		c.endWait(ctx)
		c.Stopped = err
	}
	return c.Result
}
