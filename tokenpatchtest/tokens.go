package tokenpatchtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Change is one applied request.
type Change struct {
	Time    time.Time       // when it was applied, by the service's clock
	Request int             // its index in [Service.Requests]
	Body    []byte          // as it was received
	Before  json.RawMessage // the token before it
	After   json.RawMessage // the token after it; a request to V2 sets lastModified at least
}

// token is what the service knows of one token.
type token struct {
	api      API
	private  bool            // another member's personal token of V2
	document json.RawMessage // never changed in place, so a Change can keep it; nil if it was removed
	states   []state         // what document has been, the present one last
	history  []Change
}

// state is what a token has been since a moment.
type state struct {
	since    time.Time
	document json.RawMessage
}

func (t *token) set(document json.RawMessage) {
	t.document = document
	t.states = append(t.states, state{time.Now(), document})
}

// at returns the token as it was at a moment; zero is now. The first state counts
// for all the time before.
func (t *token) at(when time.Time) json.RawMessage {
	if when.IsZero() {
		return t.document
	}
	for _, past := range slices.Backward(t.states) {
		if !past.since.After(when) {
			return past.document
		}
	}
	return t.states[0].document
}

// put seeds a token, or gives the one with its id what is new.
func (s *Service) put(api API, id string, document json.RawMessage, private bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, found := s.tokens[id]
	if !found {
		t = &token{api: api}
		s.tokens[id] = t
		s.added = append(s.added, t)
	}
	if t.api != api {
		return fmt.Errorf("tokenpatchtest: %q is the id of a token of the other API", id)
	}
	t.private = private
	t.set(document)
	return nil
}

// Remove removes the token of either API, or the custom role, with this id, like another program
// that deletes it. A token's history stays, and so do the ids of custom roles in tokens. See
// [Service.Changes] for the id.
func (s *Service) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles = slices.DeleteFunc(s.roles, byID(id))
	if t, found := s.tokens[id]; found {
		t.set(nil)
	}
}

// document returns a token, or false if its API has none with this id.
func (s *Service) document(api API, id string) (json.RawMessage, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, found := s.tokens[id]
	if !found || t.api != api || t.document == nil {
		return nil, false
	}
	return bytes.Clone(t.document), true
}

// change replaces a token by the result of edit, or leaves it unchanged if edit fails. It returns
// the new document.
func (s *Service) change(c *call, id string, edit func(json.RawMessage) (json.RawMessage, error)) (json.RawMessage, error) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	t, found := s.tokens[id]
	if !found || t.api != c.api || t.document == nil {
		return nil, errNoToken
	}
	after, err := edit(t.document)
	if err != nil {
		return nil, err
	}
	t.history = append(t.history, Change{Time: now, Request: c.index, Body: c.body, Before: t.document, After: after})
	t.set(after)
	s.requests[c.index].Applied = true
	return after, nil
}

// Changes returns how many requests were applied to the token with this id, of either API,
// including requests without an effect. For V1 the id is the UUID in its canonical form, in lower
// case.
func (s *Service) Changes(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, found := s.tokens[id]; found {
		return len(t.history)
	}
	return 0
}

// History returns the requests applied to the token with this id, in order; see [Service.Changes]
// for the id. The changes must not be modified.
func (s *Service) History(id string) []Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, found := s.tokens[id]; found {
		return slices.Clone(t.history)
	}
	return nil
}
