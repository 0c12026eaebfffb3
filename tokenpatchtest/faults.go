package tokenpatchtest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Cut is where a [Fault] breaks the connection: with HTTP/1 by closing it, with
// HTTP/2 by resetting the request's stream.
type Cut int

const (
	NoCut     Cut = iota // the answer arrives
	CutBefore            // the request is never handled
	CutAfter             // the request is handled, and no byte of the answer is sent
	CutMiddle            // the answer's status, headers and half its body are sent; one without a body is cut as by CutAfter
)

// silences reports whether no byte of the answer is to be sent.
func (c Cut) silences(a answer) bool {
	return c == CutAfter || c == CutMiddle && len(a.body) == 0
}

// Fault is something that goes wrong with one request, or with several. Its
// zero value changes nothing; the fields combine.
type Fault struct {
	API   API                      // the requests it is for; zero is [AnyAPI]
	Match func(*http.Request) bool // which of them; nil is all. It may read the body, and must not touch the script
	Times int                      // for how many requests; zero is one, negative is every one

	Delay      time.Duration // waited before the request is looked at
	DelayAfter time.Duration // waited after it was handled, before the answer

	// Status answers with this status, Header and Body instead of handling the
	// request. Zero leaves both to the service.
	Status int
	Body   string // used with Status only
	// Header is set in the answer over what is there, also where Status is
	// zero. A name without values removes that header.
	Header http.Header
	// Apply handles the request even though Status is set: what the service
	// would have answered is lost, save for its rate limit headers.
	Apply bool

	Cut Cut // where the connection breaks; the zero value is [NoCut]
}

// Inject appends to the script of faults. Each request consumes at most one:
// the first of the script that is for it. It is removed after the last of its
// Times.
//
// A malformed answer to a change that was made is
// Fault{Status: 200, Body: "<html>", Apply: true}.
func (s *Service) Inject(faults ...Fault) { s.script.add(faults) }

// ClearFaults empties the script of faults. Requests that are under way keep
// the fault that they have met.
func (s *Service) ClearFaults() { s.script.clear() }

// script is the faults to come.
type script struct {
	mu     sync.Mutex
	faults []Fault
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

// next takes the fault that is for this request out of the script, or returns
// the zero Fault.
func (s *script) next(c *call) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.faults, func(f Fault) bool { return f.isFor(c) })
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

// alter returns what the fault makes of an answer, which is the zero answer
// where the request was not handled.
func (f Fault) alter(a answer) answer {
	if f.Status != 0 {
		a = answer{status: f.Status, header: rateLimitHeaders(a.header), body: []byte(f.Body)}
		if json.Valid(a.body) { // net/http would take it for plain text
			a.header.Set("Content-Type", "application/json")
		}
	}
	for name, values := range f.Header {
		a.header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	return a
}
