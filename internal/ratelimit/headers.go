package ratelimit

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The limits of a request.
const (
	account = iota
	route
	credential
	kinds
)

var kindOf = map[string]int{"Global": account, "Route": route, "Auth-Token": credential}

// response is what one response reports of the limits. Times of the server are counted from 1970,
// and are 0 if missing.
type response struct {
	status     int
	refused    bool // whether the status is 429
	limited    bool // whether it reports what remains of any limit
	explained  bool // whether any of these is used up
	good       bool // whether the service handled the request: an error of a gateway does not show it
	limits     [kinds]header
	date       time.Duration // the server's clock, in whole seconds
	retryAfter time.Duration
}

// header is what a response reports of one limit.
type header struct {
	present   bool          // whether it reports what remains
	remaining int           // in the current window
	size      int           // what a window admits; 0 if missing
	reset     time.Duration // when the window ends
}

// Numbers beyond these make no sense, and would overflow what is computed from them.
const (
	maxNumber  = 1 << 28
	maxReset   = 9e12 // ms: in the year 2255
	maxSeconds = 9e9
)

func parseResponse(status int, h http.Header) response {
	r := response{status: status, refused: status == http.StatusTooManyRequests}
	var date, retryAfter []string
	for name, values := range h {
		name = http.CanonicalHeaderKey(name)
		if field, ok := strings.CutPrefix(name, "X-Ratelimit-"); ok {
			r.setLimit(field, values)
		} else if name == "Date" {
			date = values
		} else if name == "Retry-After" {
			retryAfter = values
		}
	}
	for _, h := range r.limits {
		r.limited = r.limited || h.present
		r.explained = r.explained || h.present && h.remaining == 0
	}
	if r.refused && r.limits[route].reset > 0 && !r.limited { // something is used up until then, most likely the route's limit
		r.limits[route].present, r.limited, r.explained = true, true, true
	}
	r.good = status > 0 && status < http.StatusBadRequest || r.limited && !r.refused
	if r.limited || retryAfter != nil { // reading a Date costs more than all the rest
		r.setTimes(strings.Join(date, ","), retryAfter)
	}
	return r
}

// RetryAfterOf returns how long the header of a response asks to wait (RFC 9110, section 10.2.3); 0 if it does not.
func RetryAfterOf(header http.Header) time.Duration { return parseResponse(0, header).retryAfter }

// setLimit reads a header whose name is X-Ratelimit- and field. Header lines of one name may be combined as "49, 1000": the
// smallest number counts, and of resets the latest.
func (r *response) setLimit(field string, values []string) {
	smallest, largest, found := numbers(values)
	number, reset := int(min(smallest, maxNumber)), time.Duration(min(largest, maxReset))*time.Millisecond
	if field == "Reset" {
		r.limits[account].reset, r.limits[route].reset = reset, reset
	}
	for name, kind := range kindOf {
		h := &r.limits[kind]
		switch of, _ := strings.CutPrefix(field, name); of {
		case "-Remaining":
			h.present, h.remaining = found, number
		case "-Limit":
			h.size = number
		case "-Reset":
			h.reset = reset
		}
	}
}

func (r *response) setTimes(dateText string, retryAfter []string) {
	date, err := http.ParseTime(dateText)
	if ms := date.UnixMilli(); err == nil && ms > 0 && ms < maxReset {
		r.date = time.Duration(ms) * time.Millisecond
	}
	_, seconds, _ := numbers(retryAfter)
	if at, err := http.ParseTime(strings.Join(retryAfter, ",")); err == nil && r.date > 0 {
		seconds = at.Sub(date).Seconds()
	}
	r.retryAfter = time.Duration(max(0, min(seconds, maxSeconds)) * float64(time.Second))
}

// numbers returns the smallest and the largest number of a header.
func numbers(values []string) (smallest, largest float64, found bool) {
	const most = 16
	for _, line := range values[:min(len(values), most)] {
		for more, n := true, 0; more && n < most; n++ {
			var text string
			text, line, more = strings.Cut(line, ",")
			number, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err == nil && number >= 0 && !math.IsInf(number, 0) {
				if !found || number < smallest {
					smallest = number
				}
				largest, found = max(largest, number), true
			}
		}
	}
	return smallest, largest, found
}
