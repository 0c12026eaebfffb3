package tokenpatchtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// readV2 is GET /api/v2/tokens/{id}.
func (s *Service) readV2(c *call) response {
	if _, err := readQuery(c); err != nil {
		return refusal(V2, http.StatusBadRequest, err.Error())
	}
	document := s.read(c.id, s.seen())
	if document == nil {
		return refusal(V2, http.StatusNotFound, errNoToken.Error())
	}
	return respond(http.StatusOK, document)
}

// listV2 is GET /api/v2/tokens. Before version 20240415 it is not paged.
func (s *Service) listV2(c *call) response {
	query, err := readQuery(c, "showAll", "limit", "offset")
	all := query["showAll"] == "true"
	if showAll, set := query["showAll"]; set && showAll != "true" && showAll != "false" {
		err = fmt.Errorf("showAll %q: want true or false", showAll)
	}
	paged := version(c.request) >= apiVersions[0]
	if err == nil && !paged && query["limit"]+query["offset"] != "" {
		err = fmt.Errorf("limit and offset need LD-API-Version %s", apiVersions[0])
	}
	p := page{limit: 25}
	if err == nil {
		err = p.read(query)
	}
	if err != nil {
		return refusal(V2, http.StatusBadRequest, err.Error())
	}
	tokens := s.list(all, s.seen())
	if !paged {
		p.limit = len(tokens)
	}
	return s.respondPage(c, p, tokens)
}

// readQuery checks what every read has in common, and returns the query, in
// which each of the names may stand once, and nothing else.
func readQuery(c *call, names ...string) (map[string]string, error) {
	if version(c.request) == "" {
		return nil, errNoVersion
	}
	if len(c.body) > 0 {
		return nil, errors.New("a read has no body")
	}
	values, err := url.ParseQuery(c.request.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the query is malformed: %w", err)
	}
	query := make(map[string]string)
	for _, name := range names {
		if len(values[name]) == 1 {
			query[name] = values[name][0]
			delete(values, name)
		}
	}
	for name := range values {
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("%s: want it once", name)
		}
		return nil, fmt.Errorf("%q is not a parameter of this read", name)
	}
	return query, nil
}

// seen returns the moment whose tokens the next read sees; zero is now.
func (s *Service) seen() time.Time {
	s.mu.Lock()
	lag := s.options.ReplicaLag
	s.mu.Unlock()
	if lag <= 0 {
		return time.Time{}
	}
	return time.Now().Add(-s.script.lag(lag))
}

// read returns a token of V2 as it was at a moment, or nil.
func (s *Service) read(id string, when time.Time) json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, found := s.tokens[id]; found && t.api == V2 {
		return t.at(when)
	}
	return nil
}

// list returns the tokens as they were at a moment, in the order in which they
// were added. Those of other members are hidden unless all is set.
func (s *Service) list(all bool, when time.Time) (items []item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.added {
		if document := t.at(when); t.api == V2 && document != nil {
			items = append(items, item{document, t.private && !all})
		}
	}
	return items
}
