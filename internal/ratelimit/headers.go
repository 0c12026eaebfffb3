package ratelimit

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The limits that a request spends from.
const (
	account = iota
	route
	credential
	kinds
)

// response is what one response says of the rate limit. Times of the server are counted from 1970.
type response struct {
	status     int
	limits     [kinds]header
	date       time.Duration // the server's clock, in whole seconds; 0 if it is missing
	retryAfter time.Duration // 0 if it is missing
}

// header is what a response says of one limit.
type header struct {
	present   bool          // whether it says what remains
	refused   bool          // whether the status is 429
	remaining int           // in the current window
	limit     int           // what a window admits; 0 if it is missing
	reset     time.Duration // the server's clock when the window ends; 0 if it is missing
}

// Numbers beyond these make no sense, and would overflow what is computed from them.
const (
	maxNumber  = 1 << 28
	maxReset   = 9e12 // ms: in the year 2255
	maxSeconds = 9e9
)

func parseResponse(status int, h http.Header) response {
	r := response{status: status}
	reset := 0.0
	date := ""
	retryAfter := []string(nil)
	for name, values := range h {
		switch http.CanonicalHeaderKey(name) {
		case "X-Ratelimit-Global-Remaining":
			r.limits[account].setRemaining(values)
		case "X-Ratelimit-Route-Remaining":
			r.limits[route].setRemaining(values)
		case "X-Ratelimit-Auth-Token-Remaining":
			r.limits[credential].setRemaining(values)
		case "X-Ratelimit-Global-Limit":
			r.limits[account].setLimit(values)
		case "X-Ratelimit-Route-Limit":
			r.limits[route].setLimit(values)
		case "X-Ratelimit-Auth-Token-Limit":
			r.limits[credential].setLimit(values)
		case "X-Ratelimit-Reset":
			_, reset, _ = numbers(values)
		case "X-Ratelimit-Auth-Token-Reset":
			_, ms, _ := numbers(values)
			r.limits[credential].reset = milliseconds(ms)
		case "Retry-After":
			retryAfter = values
		case "Date":
			date = strings.Join(values, ",")
		}
	}
	r.limits[account].reset, r.limits[route].reset = milliseconds(reset), milliseconds(reset)
	for i := range r.limits {
		r.limits[i].refused = r.refused()
	}
	if r.refused() && reset > 0 && !r.limited() {
		r.limits[route].present = true // something is used up until then, most likely the route's limit
	}
	if r.limited() || retryAfter != nil { // reading a Date costs more than all the rest
		r.setTimes(date, retryAfter)
	}
	return r
}

// refused reports whether the rate limit refused the request.
func (r *response) refused() bool { return r.status == http.StatusTooManyRequests }

// limited reports whether the response says what remains of any limit.
func (r *response) limited() bool {
	return r.limits[account].present || r.limits[route].present || r.limits[credential].present
}

// explained reports whether one of the limits in the response is used up.
func (r *response) explained() bool {
	for _, h := range r.limits {
		if h.present && h.remaining == 0 {
			return true
		}
	}
	return false
}

// good reports whether the response shows that the service handled the request: an error of a gateway does not.
func (r *response) good() bool {
	return r.status < http.StatusBadRequest || r.limited() && !r.refused()
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

func (h *header) setRemaining(values []string) {
	smallest, _, found := numbers(values)
	h.present, h.remaining = found, int(min(smallest, maxNumber))
}

func (h *header) setLimit(values []string) {
	smallest, _, _ := numbers(values)
	h.limit = int(min(smallest, maxNumber))
}

func milliseconds(n float64) time.Duration {
	return time.Duration(min(n, maxReset)) * time.Millisecond
}

// numbers returns the smallest and the largest number of a header. Header lines of one name may be combined as "49, 1000".
func numbers(values []string) (smallest, largest float64, found bool) {
	const most = 16
	for _, line := range values[:min(len(values), most)] {
		for _, text := range strings.SplitN(line, ",", most) {
			n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil || math.IsNaN(n) || math.IsInf(n, 0) || n < 0 {
				continue
			}
			if !found || n < smallest {
				smallest = n
			}
			largest, found = max(largest, n), true
		}
	}
	return smallest, largest, found
}
