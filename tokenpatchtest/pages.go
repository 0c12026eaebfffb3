package tokenpatchtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// Paging is how V2's lists are cut into pages. The zero value is the documented way: totalCount is
// exact, and links are empty, so only the number of items and totalCount show the end of a list.
type Paging struct {
	// TotalCount returns the totalCount of a page; nil is the number of all items.
	TotalCount func(all, onPage int) int
	// Links returns what a page has as _links, for encoding/json: nil is null.
	// next is the path and query of the next page, or empty on the last one.
	Links func(next string) any
	// IgnoreOffset makes every page the first one.
	IgnoreOffset bool
	// FilterLate cuts the pages first, and then omits the tokens the caller may not see. A page can
	// be short or empty although others follow it, and totalCount counts omitted tokens too.
	FilterLate bool
	// NullItems makes the items of an empty page null.
	NullItems bool
}

// largestPage is how many items a page has at most: how large one may be is not
// documented.
const largestPage = 100

// page is which part of a list is asked for.
type page struct{ offset, limit int }

// item is an element of a list.
type item struct {
	document json.RawMessage
	hidden   bool // from the caller
}

// read reads the parameters of a page.
func (p *page) read(query map[string]string) error {
	err := readNumber(query, "limit", &p.limit, 1)
	if err == nil {
		err = readNumber(query, "offset", &p.offset, 0)
	}
	p.limit = min(p.limit, largestPage)
	return err
}

// readNumber reads a parameter into n, if it is there.
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

// respondPage returns a page of a list.
func (s *Service) respondPage(c *call, p page, list []item) response {
	s.mu.Lock()
	paging := s.options.Paging
	s.mu.Unlock()
	if paging.IgnoreOffset {
		p.offset = 0
	}
	if !paging.FilterLate {
		list = slices.DeleteFunc(list, func(i item) bool { return i.hidden })
	}
	start := min(p.offset, len(list))
	end := min(start+p.limit, len(list))
	items := make([]json.RawMessage, 0, end-start) // not nil, which is encoded as null
	for _, i := range list[start:end] {
		if !i.hidden {
			items = append(items, i.document)
		}
	}
	body := map[string]any{"items": items, "totalCount": len(list), "_links": struct{}{}}
	if paging.TotalCount != nil {
		body["totalCount"] = paging.TotalCount(len(list), len(items))
	}
	if paging.Links != nil {
		body["_links"] = paging.Links(c.next(p, end < len(list)))
	}
	if paging.NullItems && len(items) == 0 {
		body["items"] = nil
	}
	return respond(http.StatusOK, body)
}

// next returns the path and query of the page after p, or nothing if there is none.
func (c *call) next(p page, more bool) string {
	if !more {
		return ""
	}
	query := c.request.URL.Query()
	query.Set("limit", strconv.Itoa(p.limit))
	query.Set("offset", strconv.Itoa(p.offset+p.limit))
	return c.request.URL.EscapedPath() + "?" + query.Encode()
}
