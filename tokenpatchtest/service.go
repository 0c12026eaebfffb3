package tokenpatchtest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// maxBody is the longest accepted request body, in bytes. A longer one is refused with 413.
const maxBody = 1 << 20

// API is one of the two APIs, or neither. Methods of [Service] with an API panic unless it is V1 or
// V2.
type API int

// The APIs.
const (
	AnyAPI API = iota // in a [Fault], every request; in a [Request], a path of neither API
	V1                // deepset, PATCH /api/v1/token/{api_token_id}
	V2                // LaunchDarkly: tokens, which it reads and patches, custom roles, the caller's identity
)

// Service implements both APIs in memory. Make one with [New], and [Service.Close]
// it when its clients are done.
type Service struct {
	script   script
	limiters [V2 + 1]limiter // indexed by API
	conns    *connections
	home     string // the bubble of its maker

	mu          sync.Mutex // guards what follows
	apiKey      string
	credentials []Credential // of V2
	latency     time.Duration
	offset      time.Duration
	options     Options
	tokens      map[string]*token // by id
	added       []*token          // in order
	roles       []role            // in order
	requests    []*Request
}

// New returns a service without tokens, limits or faults, which accepts
// [APIKey] and [AccessToken].
func New() *Service {
	s := &Service{tokens: make(map[string]*token), conns: newConnections(), home: bubble()}
	s.SetCredentials(APIKey, AccessToken)
	s.SetSeed(0)
	return s
}

// SetLatency makes every request take a round trip of d longer: half of it
// before the service counts and handles the request, half before its response
// goes out. Zero, the default, is no delay.
func (s *Service) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// SetClockOffset sets the service's clock ahead of [time.Now] by d, or behind it if d is negative.
// The clock is used for the Date header, rate limit windows, lastModified, and every other time of
// the service.
func (s *Service) SetClockOffset(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset = d
}

// now is the service's clock. It has no monotonic reading: the offset may
// change between two of its times.
func (s *Service) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.offset).UTC().Round(0)
}

// halfway is how long a request or a response travels.
func (s *Service) halfway() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latency / 2
}

// ServeHTTP responds to one request. If a [Fault] cuts the connection, or the client has gone, it
// panics with [http.ErrAbortHandler], which ends the connection in net/http.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := read(r.Body)
	arrived := err == nil && wait(r.Context(), s.halfway())
	c := s.receive(r, body)
	if !arrived {
		panic(http.ErrAbortHandler)
	}

	fault := s.script.next(c)
	if !wait(r.Context(), fault.Delay) || fault.Cut == CutBefore {
		panic(http.ErrAbortHandler)
	}
	altered := fault.alter(s.deliver(c, fault))
	if !wait(r.Context(), fault.DelayAfter) {
		panic(http.ErrAbortHandler)
	}
	if _, set := altered.header["Date"]; !set {
		altered.header.Set("Date", s.now().Format(http.TimeFormat))
	}
	before := exchangeOf(r).swap(altered)
	if fault.OutOfStep && before.status != 0 {
		altered = before
	}
	if !wait(r.Context(), s.halfway()) || fault.silences(altered) {
		panic(http.ErrAbortHandler)
	}
	s.note(c, func(r *Request) { r.Status = altered.status })
	altered.write(w, s.script.part(fault, len(altered.body)))
}

// read reads a body as far as the service cares.
func read(body io.Reader) ([]byte, error) {
	if body == nil { // a client's request, handed to the handler directly
		return nil, nil
	}
	return io.ReadAll(io.LimitReader(body, maxBody+1))
}

// wait sleeps for d, and reports whether the client is still there.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// deliver handles the request as late and as often as the fault demands. The zero response means
// none.
func (s *Service) deliver(c *call, f Fault) response {
	switch {
	case f.Duplicate:
		first, again := s.handle(c), s.receive(c.request, c.body)
		if f.Late > 0 {
			s.conns.later(f.Late, func() { s.handleAgain(again) })
			return first
		}
		return s.handleAgain(again)
	case f.Late > 0:
		s.conns.later(f.Late, func() { s.handle(c) })
		return response{}
	case f.Status == 0 || f.Apply:
		return s.handle(c)
	default:
		return response{}
	}
}

// handleAgain handles the second of two equal requests. The client may get its response as that to
// the first.
func (s *Service) handleAgain(c *call) response {
	r := s.handle(c)
	s.note(c, func(entry *Request) { entry.Status = r.status })
	return r
}

// handle is what the service does when nothing goes wrong on purpose.
func (s *Service) handle(c *call) response {
	if c.resource == nil {
		return refusal(c.api, http.StatusNotFound, "no resource at this path")
	}
	do, found := c.resource.methods[c.request.Method]
	if !found {
		return c.resource.methodNotAllowed()
	}
	limits := s.limiter(c.api)
	if seconds := limits.penalty(); seconds > 0 {
		r := refusal(c.api, http.StatusTooManyRequests, "too many requests from this address")
		r.header.Set("Retry-After", strconv.FormatInt(seconds, 10))
		return r
	}
	if !s.authorized(c) {
		return unauthorized(c.api)
	}
	header, admitted := limits.admit(s.now(), c.route(), c.request.Header.Get("Authorization"))
	var r response
	switch {
	case !admitted:
		r = refusal(c.api, http.StatusTooManyRequests, "the rate limit of this window is used up")
	case len(c.body) > maxBody:
		r = refusal(c.api, http.StatusRequestEntityTooLarge, "the body is too large")
	default:
		r = do(s, c)
	}
	maps.Copy(r.header, header)
	return r
}

// errNoToken is the error for an unknown id.
var errNoToken = errors.New("no token with this id")

// response is a response before it is sent.
type response struct {
	status int
	header http.Header
	body   []byte
}

// respond returns a response with v as its JSON body, or without a body if v is nil.
func respond(status int, v any) response {
	r := response{status: status, header: make(http.Header)}
	if v != nil {
		r.body = encode(v)
		r.header.Set("Content-Type", "application/json")
	}
	return r
}

// codes are what V2 calls the statuses in its error bodies.
var codes = map[int]string{
	http.StatusBadRequest:            "invalid_request",
	http.StatusUnauthorized:          "unauthorized",
	http.StatusForbidden:             "forbidden",
	http.StatusNotFound:              "not_found",
	http.StatusMethodNotAllowed:      "method_not_allowed",
	http.StatusRequestEntityTooLarge: "request_too_large",
	http.StatusUnsupportedMediaType:  "unsupported_media_type",
	http.StatusUnprocessableEntity:   "patch_failed",
	http.StatusTooManyRequests:       "rate_limited",
}

// refusal is an error response in the shape of its API.
func refusal(api API, status int, message string) response {
	if api != V2 {
		return respond(status, map[string]string{"detail": message})
	}
	return respond(status, map[string]string{
		"code": codes[status], "message": message, "id": uuid.NewString(),
	})
}

// write sends the response with so many bytes of its body, and breaks the
// connection if these are not all.
func (r response) write(w http.ResponseWriter, part int) {
	maps.Copy(w.Header(), r.header)
	if _, set := r.header["Content-Length"]; !set && len(r.body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(r.body)))
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body[:part]) // the client may have gone
	if part < len(r.body) {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// encode returns v as JSON, without HTML escapes.
func encode(v any) json.RawMessage {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic("tokenpatchtest: " + err.Error()) // v is always ours, and made of JSON
	}
	return json.RawMessage(strings.TrimSuffix(b.String(), "\n"))
}
