package tokenpatchtest

import (
	"cmp"
	"net/http"
	"time"
)

// Request is one received request.
type Request struct {
	Time    time.Time   // when it arrived, by the service's clock
	API     API         // whose path it has
	Route   string      // method and path template, such as "GET /api/v2/tokens/{id}"; empty if the APIs have no such path
	Method  string      // as received
	Path    string      // as received: escaped, with the query if there is one
	Header  http.Header // must not be modified
	Body    []byte      // must not be modified; at most a little over 1 MiB
	Status  int         // of the response; 0 if there is none, or not yet
	Applied bool        // whether it was applied to a token, whatever the response
}

// Requests returns every request so far, in order of arrival, including those not handled because
// of a [Fault].
func (s *Service) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([]Request, len(s.requests))
	for i, r := range s.requests {
		requests[i] = *r
	}
	return requests
}

// RequestCount returns how many requests were received so far. It costs less
// than len(s.Requests()), which copies them.
func (s *Service) RequestCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// call is one request on its way through the service.
type call struct {
	api        API
	resource   *resource // nil if the path has none
	id         string    // the last element of the path, decoded; empty if the path has no id
	request    *http.Request
	body       []byte
	index      int        // of the request in the log
	credential Credential // of V2
}

// route is what the log and the rate limits know a request by.
func (c *call) route() string {
	if c.resource == nil {
		return ""
	}
	return c.request.Method + " " + c.resource.template
}

// receive enters a request into the log.
func (s *Service) receive(r *http.Request, body []byte) *call {
	c := &call{request: r, body: body}
	c.api, c.resource, c.id = find(r.URL.EscapedPath())
	entry := &Request{
		Time:   s.now(),
		API:    c.api,
		Route:  c.route(),
		Method: r.Method,
		Path:   cmp.Or(r.RequestURI, r.URL.RequestURI()), // the former is a server's
		Header: r.Header.Clone(),
		Body:   body,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.index = len(s.requests)
	s.requests = append(s.requests, entry)
	return c
}

// note records a request's outcome in the log.
func (s *Service) note(c *call, write func(*Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	write(s.requests[c.index])
}
