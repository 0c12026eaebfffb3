package tokenpatchtest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Credentials that a new [Service] accepts.
const (
	APIKey      = "tokenpatchtest-api-key"      // of V1: "Authorization: Bearer " before it
	AccessToken = "tokenpatchtest-access-token" // of V2: bare in the Authorization header
)

// maxBody is the longest request body that the service reads, in bytes. A
// longer one is answered 413.
const maxBody = 1 << 20

// API is one of the two APIs, or neither. The methods of a [Service] that take
// one want V1 or V2, and panic otherwise.
type API int

const (
	AnyAPI API = iota // in a [Fault], every request; in a [Request], a path of neither API
	V1                // deepset, PATCH /api/v1/token/{api_token_id}
	V2                // LaunchDarkly, PATCH /api/v2/tokens/{id}
)

// Service implements both APIs in memory. Make one with [New], and [Service.Close]
// it when its clients are done.
type Service struct {
	script   script
	limiters [V2 + 1]limiter // indexed by API
	conns    *connections

	mu       sync.Mutex // guards what follows
	keys     [V2 + 1]string
	latency  time.Duration
	offset   time.Duration
	tokens   map[string]*token
	requests []*Request
}

// New returns a service without tokens, limits or faults, which accepts
// [APIKey] and [AccessToken].
func New() *Service {
	s := &Service{tokens: make(map[string]*token), conns: newConnections()}
	s.SetCredentials(APIKey, AccessToken)
	return s
}

// SetCredentials replaces the credentials that the service accepts, from the
// next request on: an API key of V1, an access token of V2. An empty one
// accepts nobody.
func (s *Service) SetCredentials(apiKey, accessToken string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[V1], s.keys[V2] = apiKey, accessToken
}

// SetLatency makes every request take a round trip of d longer: half of it
// before the service counts and handles the request, half before its answer
// goes out. Zero, the default, is no delay.
func (s *Service) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// SetClockOffset makes the service's clock run ahead of [time.Now] by d, or
// behind it where d is negative. The clock gives the Date header, the windows
// of the rate limits and their resets, lastModified, and every time that the
// service reports.
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

// halfway is how long a request or an answer travels.
func (s *Service) halfway() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latency / 2
}

// ServeHTTP answers one request. Where a [Fault] cuts the connection, or the
// client has gone, it panics with [http.ErrAbortHandler], as net/http asks of
// handlers: a server of net/http takes that as the end of the connection.
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
	var a answer
	if fault.Status == 0 || fault.Apply {
		a = s.handle(c)
	}
	a = fault.alter(a)
	if !wait(r.Context(), fault.DelayAfter) {
		panic(http.ErrAbortHandler)
	}
	if _, set := a.header["Date"]; !set {
		a.header.Set("Date", s.now().Format(http.TimeFormat))
	}
	if !wait(r.Context(), s.halfway()) || fault.Cut.silences(a) {
		panic(http.ErrAbortHandler)
	}
	s.note(c, func(r *Request) { r.Status = a.status })
	a.write(w, fault.Cut)
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

// call is one request on its way through the service.
type call struct {
	api     API
	id      string // of the token, decoded; empty where the path is not a token's
	request *http.Request
	body    []byte
	index   int // of the request in the log
}

// route finds the API and the token that an escaped path names.
func route(path string) (api API, id string) {
	var rest string
	switch {
	case strings.HasPrefix(path, "/api/v1/"):
		api, rest = V1, strings.TrimPrefix(path, "/api/v1/token/")
	case strings.HasPrefix(path, "/api/v2/"):
		api, rest = V2, strings.TrimPrefix(path, "/api/v2/tokens/")
	}
	if rest == path || strings.Contains(rest, "/") {
		return api, ""
	}
	id, err := url.PathUnescape(rest)
	if err != nil {
		return api, ""
	}
	return api, id
}

// handle is what the service does when nothing goes wrong on purpose.
func (s *Service) handle(c *call) answer {
	if c.id == "" {
		return refusal(c.api, http.StatusNotFound, "there is nothing at this path")
	}
	if c.request.Method != http.MethodPatch {
		a := refusal(c.api, http.StatusMethodNotAllowed, "the method must be PATCH")
		a.header.Set("Allow", http.MethodPatch)
		return a
	}
	limits := s.limiter(c.api)
	if seconds := limits.penalty(); seconds > 0 {
		a := refusal(c.api, http.StatusTooManyRequests, "too many requests from this address")
		a.header.Set("Retry-After", strconv.FormatInt(seconds, 10))
		return a
	}
	if !s.authorized(c) {
		return unauthorized(c.api)
	}
	header, admitted := limits.admit(s.now())
	a := refusal(c.api, http.StatusTooManyRequests, "the rate limit of this window is used up")
	if admitted {
		a = s.update(c)
	}
	maps.Copy(a.header, header)
	return a
}

// authorized reports whether the request has the one credential of its API.
func (s *Service) authorized(c *call) bool {
	s.mu.Lock()
	want := s.keys[c.api]
	s.mu.Unlock()
	if want == "" {
		return false
	}
	if c.api == V1 {
		want = "Bearer " + want
	}
	got := c.request.Header.Values("Authorization")
	return len(got) == 1 && got[0] == want
}

func unauthorized(api API) answer {
	if api == V2 {
		return refusal(V2, http.StatusUnauthorized, "invalid access token")
	}
	a := refusal(V1, http.StatusUnauthorized, "Not authenticated")
	a.header.Set("WWW-Authenticate", "Bearer")
	return a
}

// update handles a request that was let in.
func (s *Service) update(c *call) answer {
	if len(c.body) > maxBody {
		return refusal(c.api, http.StatusRequestEntityTooLarge, "the body is too large")
	}
	if c.api == V1 {
		return s.updateV1(c)
	}
	return s.updateV2(c)
}

// errNoToken is the error for an id that no token has.
var errNoToken = errors.New("there is no token with this id")

// answer is a response before it is sent.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// reply is an answer with v as its JSON body, or with none where v is nil.
func reply(status int, v any) answer {
	a := answer{status: status, header: make(http.Header)}
	if v != nil {
		a.body = encode(v)
		a.header.Set("Content-Type", "application/json")
	}
	return a
}

// codes are what V2 calls the statuses in its error bodies.
var codes = map[int]string{
	http.StatusBadRequest:            "invalid_request",
	http.StatusUnauthorized:          "unauthorized",
	http.StatusNotFound:              "not_found",
	http.StatusMethodNotAllowed:      "method_not_allowed",
	http.StatusRequestEntityTooLarge: "request_too_large",
	http.StatusUnsupportedMediaType:  "unsupported_media_type",
	http.StatusUnprocessableEntity:   "patch_failed",
	http.StatusTooManyRequests:       "rate_limited",
}

// refusal is an error answer in the shape of its API.
func refusal(api API, status int, message string) answer {
	if api != V2 {
		return reply(status, map[string]string{"detail": message})
	}
	return reply(status, map[string]string{
		"code": codes[status], "message": message, "id": uuid.NewString(),
	})
}

// write sends the answer, or half of its body where cut says so.
func (a answer) write(w http.ResponseWriter, cut Cut) {
	maps.Copy(w.Header(), a.header)
	if _, set := a.header["Content-Length"]; !set && len(a.body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if cut != CutMiddle {
		_, _ = w.Write(a.body) // a client that has gone cannot be told
		return
	}
	_, _ = w.Write(a.body[:len(a.body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// encode returns v as JSON, without the escapes that only HTML needs.
func encode(v any) json.RawMessage {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic("tokenpatchtest: " + err.Error()) // v is always ours, and made of JSON
	}
	return json.RawMessage(strings.TrimSuffix(b.String(), "\n"))
}
