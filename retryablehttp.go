package tokenpatch

import (
	"context"
	"io"
	"math"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// The retry loop is go-retryablehttp's: it asks for one attempt after the other for
// as long as our policy wants another one, and waits between them as long as our
// policy says or until the context ends. It sees neither requests nor responses,
// since it would log, drain, close or forget them: what it takes for the body of a
// request, and of a response, is the call, which keeps what it needs.

// newRetryLoop returns the loop that all calls share. Every hook is set: what is
// left out here falls back to defaults that log to stderr, sleep as long as a
// server likes, or throw a response away.
func newRetryLoop() *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient: &http.Client{Transport: attempter{}},
		RetryMax:   math.MaxInt, // CheckRetry counts
		CheckRetry: func(ctx context.Context, response *http.Response, _ error) (bool, error) {
			return response.Body.(*loopedCall).again(ctx), nil
		},
		Backoff: func(_, _ time.Duration, _ int, response *http.Response) time.Duration {
			return response.Body.(*loopedCall).pause
		},
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// run makes attempts for as long as one is due.
func (c *call) run(ctx context.Context) {
	p := &loopedCall{call: c}
	var r http.Request
	r.Method, r.URL, r.Header, r.Body = c.request.endpoint.method, &c.url, noHeader, p
	p.request = *r.WithContext(ctx)
	p.retryable.Request = &p.request
	if _, err := c.service.retries.Do(&p.retryable); err != nil { // the context's, which ended between two attempts
		c.endWait(ctx)
		c.stopped = err
	}
}

var noHeader = http.Header{} // never written: http.Client copies what it changes

// attempter is the transport below the retry loop.
type attempter struct{}

func (attempter) RoundTrip(request *http.Request) (*http.Response, error) {
	p := request.Body.(*loopedCall)
	p.attempt(request.Context())
	p.response = http.Response{StatusCode: http.StatusOK, Body: p}
	return &p.response, nil
}

// loopedCall is a call in the form of an empty body, with what the loop takes for
// its requests and responses.
type loopedCall struct {
	*call
	request   http.Request
	retryable retryablehttp.Request
	response  http.Response
}

func (*loopedCall) Read([]byte) (int, error) { return 0, io.EOF }
func (*loopedCall) Close() error             { return nil }
