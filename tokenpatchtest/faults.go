package tokenpatchtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Cut is the moment at which a [Fault] breaks the connection: with HTTP/1 by closing it, with
// HTTP/2 by resetting the request's stream.
type Cut int

// The moments, in the order of a request's life.
const (
	NoCut       Cut = iota // the response arrives
	CutBefore              // the request is never handled
	CutAfter               // the request is handled, and no byte of the response is sent
	CutMiddle              // the response's status, headers and half its body are sent, or as much as CutAt gives; one without a body is cut as by CutAfter
	CutAnywhere            // as CutMiddle, but so much of its body as is drawn by chance
)

// Fault is a failure of one request, or of several. Its zero value changes nothing; the fields
// combine.
type Fault struct {
	API   API                      // the requests it is for; zero is [AnyAPI]
	Match func(*http.Request) bool // which of them; nil is all. It may read the body, and must not touch the script
	// Chance is the probability of the fault for each request it applies to, from 0 to 1: see
	// [Service.SetSeed]. Zero is 1: every request.
	Chance float64
	Times  int // how many requests meet it; zero is one, negative is every one

	Delay      time.Duration // waited before the request is looked at
	DelayAfter time.Duration // waited after it was handled, before the response

	// Status responds with this status, Header and Body instead of handling the
	// request. Zero leaves both to the service.
	Status int
	Body   string // used with Status only
	// Header replaces headers of the response, also if Status is zero. A name without values
	// removes that header.
	Header http.Header
	// Apply handles the request even though Status is set: what the service
	// would have responded is lost, except for its rate limit headers.
	Apply bool

	// Late delays the request on its way: it is handled so much later, even if Status is set. If
	// Status is zero the connection breaks at once. [Service.Close] drops a delayed request.
	Late time.Duration
	// Duplicate handles the request twice, like a proxy that sends it twice, even if Status is set.
	// Both are in the log. The client gets the second response; with Late, which delays only the
	// second request, the first.
	Duplicate bool

	Cut Cut // when the connection breaks; the zero value is [NoCut]
	// CutAt is how many bytes of the body CutMiddle lets through; zero is half of
	// them, and of a negative number all but so many. At least one is missing.
	CutAt int

	// OutOfStep sends the response to the previous request on the same connection, like a proxy
	// that has lost count. The first request of a connection gets its own. With Times: -1, each
	// gets the one before. A request to [Service.ServeHTTP] without a connection gets its own too.
	OutOfStep bool
}

// Inject appends faults to the script. Each request meets at most one: the first that applies to it
// and is selected by its chance. A fault is removed after the last of its Times. Inject panics if a
// Chance is not from 0 to 1.
//
// A malformed response to an applied change is Fault{Status: 200, Body: "<html>", Apply: true}.
func (s *Service) Inject(faults ...Fault) {
	for _, f := range faults {
		if !(f.Chance >= 0 && f.Chance <= 1) { // refuses NaN too
			panic(fmt.Sprintf("tokenpatchtest: Fault.Chance: %v: want a number from 0 to 1", f.Chance))
		}
	}
	s.script.add(faults)
}

// ClearFaults empties the script of faults. Requests in flight keep theirs.
func (s *Service) ClearFaults() { s.script.clear() }

// SetSeed seeds the random numbers of [Fault.Chance], [CutAnywhere] and [Options.ReplicaLag]. A new
// service starts from 0. Requests in the same order meet the same faults again.
func (s *Service) SetSeed(seed uint64) { s.script.seed(seed) }

// script is the faults to come.
type script struct {
	mu     sync.Mutex
	faults []Fault
	random *rand.Rand
}

func (s *script) add(faults []Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

func (s *script) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (s *script) seed(seed uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.random = rand.New(rand.NewPCG(seed, 0))
}

// next removes this request's fault from the script, or returns the zero Fault.
func (s *script) next(c *call) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.faults, func(f Fault) bool { return f.isFor(c) && s.draw(f.Chance) })
	if i < 0 {
		return Fault{}
	}
	f := s.faults[i]
	switch {
	case f.Times > 1:
		s.faults[i].Times--
	case f.Times >= 0:
		s.faults = slices.Delete(s.faults, i, i+1)
	}
	return f
}

// draw decides by chance.
func (s *script) draw(chance float64) bool {
	return chance == 0 || s.random.Float64() < chance
}

// lag draws a duration from zero to longest.
func (s *script) lag(longest time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.random.Int64N(int64(longest) + 1))
}

// part returns how many bytes of a body a fault lets through.
func (s *script) part(f Fault, length int) int {
	if !f.cutsBody() || length == 0 {
		return length
	}
	if f.Cut == CutAnywhere {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.random.IntN(length)
	}
	part := f.CutAt
	if part == 0 {
		part = length / 2
	}
	if part < 0 {
		part += length
	}
	return min(max(part, 0), length-1)
}

func (f Fault) cutsBody() bool { return f.Cut == CutMiddle || f.Cut == CutAnywhere }

func (f Fault) isFor(c *call) bool {
	if f.API != AnyAPI && f.API != c.api {
		return false
	}
	if f.Match == nil {
		return true
	}
	c.request.Body = io.NopCloser(bytes.NewReader(c.body))
	return f.Match(c.request)
}

// silences reports whether no byte of the response is to be sent.
func (f Fault) silences(r response) bool {
	return r.status == 0 || f.Cut == CutAfter || f.cutsBody() && len(r.body) == 0
}

// alter applies the fault to a response, which is the zero response if the request was not handled.
func (f Fault) alter(r response) response {
	if f.Status != 0 {
		r = response{status: f.Status, header: rateLimitHeaders(r.header), body: []byte(f.Body)}
		if json.Valid(r.body) { // net/http would take it for plain text
			r.header.Set("Content-Type", "application/json")
		}
	}
	if r.header == nil {
		r.header = make(http.Header)
	}
	for name, values := range f.Header {
		r.header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	return r
}
