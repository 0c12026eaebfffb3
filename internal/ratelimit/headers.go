package ratelimit

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// response is what one response says of the rate limit, in the headers that V2
// documents: those of the global quota, those of the route's, and Retry-After.
// Times of the server are times since 1970.
type response struct {
	status        int
	global, route parsed
	reset         time.Duration // the server's clock when the window ends; 0 where there is none that can be used
	date          time.Duration // the server's clock, in whole seconds; 0 likewise
	retryAfter    time.Duration // 0 likewise
}

// parsed is a Remaining header; the zero value is one that was not there.
type parsed struct {
	n       int
	present bool
}

// Numbers beyond these are nonsense, and would overflow what is computed from them.
const (
	maxRemaining = 1 << 28
	maxReset     = 9e12 // ms: in the year 2255
	maxSeconds   = 9e9
)

func parseResponse(status int, header http.Header) response {
	r := response{
		status: status,
		global: parseRemaining(header["X-Ratelimit-Global-Remaining"]),
		route:  parseRemaining(header["X-Ratelimit-Route-Remaining"]),
	}
	if !r.limited() && header["X-Ratelimit-Reset"] == nil && header["Retry-After"] == nil {
		return r // reading a Date costs more than all the rest
	}
	date, err := http.ParseTime(header.Get("Date"))
	if ms := date.UnixMilli(); err == nil && ms > 0 && ms < maxReset {
		r.date = time.Duration(ms) * time.Millisecond
	}
	if ms, ok := largest(header["X-Ratelimit-Reset"], parseNumber); ok {
		r.reset = time.Duration(min(ms, maxReset)) * time.Millisecond
	}
	seconds := func(value string) (float64, bool) {
		if at, err := http.ParseTime(value); err == nil && r.date > 0 {
			return at.Sub(date).Seconds(), true
		}
		return parseNumber(value)
	}
	if s, ok := largest(header["Retry-After"], seconds); ok && s > 0 {
		r.retryAfter = time.Duration(min(s, maxSeconds) * float64(time.Second))
	}
	return r
}

// limited reports whether the response says what remains.
func (r response) limited() bool { return r.global.present || r.route.present }

// refused reports whether the rate limit refused the request.
func (r response) refused() bool { return r.status == http.StatusTooManyRequests }

// parseRemaining reads a Remaining header. Of several values the smallest counts.
func parseRemaining(values []string) parsed {
	negated := func(value string) (float64, bool) {
		n, ok := parseNumber(value)
		return -n, ok
	}
	n, ok := largest(values, negated)
	if !ok {
		return parsed{}
	}
	return parsed{n: int(min(-n, maxRemaining)), present: true}
}

// largest reads the first few values of a header, and returns the largest one
// that can be read.
func largest(values []string, parse func(string) (float64, bool)) (float64, bool) {
	largest, found := math.Inf(-1), false
	for _, value := range values[:min(len(values), 16)] {
		if n, ok := parse(strings.TrimSpace(value)); ok {
			largest, found = max(largest, n), true
		}
	}
	return largest, found
}

// parseNumber reads a number that is not negative. Fractions are read too,
// since servers send them.
func parseNumber(value string) (float64, bool) {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) || n < 0 {
		return 0, false
	}
	return n, true
}
