package tokenpatchtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// MemberID is the member that the access token belongs to: an administrator, who
// may see every token. Another member's personal token is listed only where
// showAll asks for it.
const MemberID = "569f183514f4432160000007"

// A page has defaultPage tokens where no limit is asked for, and never more than
// largestPage: how large a page may be is not documented.
const (
	defaultPage = 25
	largestPage = 100
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

// listV2 is GET /api/v2/tokens. Its links are empty: only the number of items
// and totalCount show where the list ends.
func (s *Service) listV2(c *call) response {
	query, err := readQuery(c, "showAll", "limit", "offset")
	var p page
	if err == nil {
		p, err = newPage(query, version(c.request))
	}
	if err != nil {
		return refusal(V2, http.StatusBadRequest, err.Error())
	}
	items, total := s.list(p, s.seen())
	return respond(http.StatusOK, map[string]any{"items": items, "totalCount": total, "_links": struct{}{}})
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

// page is a part of the list of tokens.
type page struct {
	all           bool
	offset, limit int
}

// newPage reads the parameters of a list. Before version 20240415 it is not
// paged.
func newPage(query map[string]string, version string) (page, error) {
	p := page{all: query["showAll"] == "true", limit: defaultPage}
	if all, set := query["showAll"]; set && all != "true" && all != "false" {
		return p, fmt.Errorf("showAll %q: want true or false", all)
	}
	if version < apiVersions[0] {
		if query["limit"]+query["offset"] != "" {
			return p, fmt.Errorf("limit and offset need LD-API-Version %s", apiVersions[0])
		}
		p.limit = math.MaxInt
		return p, nil
	}
	err := readNumber(query, "limit", &p.limit, 1)
	if err == nil {
		err = readNumber(query, "offset", &p.offset, 0)
	}
	p.limit = min(p.limit, largestPage)
	return p, err
}

// readNumber reads a parameter into n, where it is there.
func readNumber(query map[string]string, name string, n *int, least int) (err error) {
	text, set := query[name]
	if !set {
		return nil
	}
	*n, err = strconv.Atoi(text)
	if err != nil || *n < least || strconv.Itoa(*n) != text {
		return fmt.Errorf("%s %q: want a number of at least %d", name, text, least)
	}
	return nil
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

// list returns the tokens of a page as they were at a moment, in the order in
// which they were added, and how many there are on all pages.
func (s *Service) list(p page, when time.Time) (items []json.RawMessage, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items = []json.RawMessage{} // so that an empty page is encoded as one
	for _, t := range s.added {
		document := t.at(when)
		if t.api != V2 || document == nil || t.private && !p.all {
			continue
		}
		if total >= p.offset && len(items) < p.limit {
			items = append(items, document)
		}
		total++
	}
	return items, total
}
