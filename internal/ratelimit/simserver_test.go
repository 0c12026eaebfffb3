package ratelimit

import (
	"math/rand/v2"
	"net/http"
	"time"
)

// counter is a limit as a server keeps it. Times are on the server's clock.
type counter interface {
	left(now time.Duration) int
	take(now time.Duration)
	reset(now time.Duration) time.Duration
	windows(now time.Duration) int // that have passed
}

// fixedWindows begin at the multiples of their length.
type fixedWindows struct {
	limit  int
	length time.Duration
	number int64
	used   int
	passed int
}

func (c *fixedWindows) roll(now time.Duration) {
	if number := int64(now / c.length); number != c.number {
		c.number, c.used = number, 0
		c.passed++
	}
}

func (c *fixedWindows) left(now time.Duration) int    { c.roll(now); return c.limit - c.used }
func (c *fixedWindows) take(now time.Duration)        { c.roll(now); c.used++ }
func (c *fixedWindows) windows(now time.Duration) int { return c.passed }
func (c *fixedWindows) reset(now time.Duration) time.Duration {
	return time.Duration(c.number+1) * c.length
}

// floatingWindows begin with the first request after the last one has ended.
type floatingWindows struct {
	limit  int
	length time.Duration
	ends   time.Duration
	used   int
	passed int
}

func (c *floatingWindows) roll(now time.Duration) {
	if now >= c.ends || c.ends-now > c.length { // or the clock was set back
		c.ends, c.used = (now + c.length).Truncate(time.Millisecond), 0
		c.passed++
	}
}

func (c *floatingWindows) left(now time.Duration) int            { c.roll(now); return c.limit - c.used }
func (c *floatingWindows) take(now time.Duration)                { c.roll(now); c.used++ }
func (c *floatingWindows) windows(time.Duration) int             { return c.passed }
func (c *floatingWindows) reset(now time.Duration) time.Duration { c.roll(now); return c.ends }

// slidingLog admits a number of requests in any time of its length.
type slidingLog struct {
	limit  int
	length time.Duration
	taken  []time.Duration
	began  time.Duration
	oldest bool // whether the reset is when the oldest request is forgotten, or when all are
}

func (c *slidingLog) forget(now time.Duration) {
	if c.began == 0 {
		c.began = now
	}
	for len(c.taken) > 0 && (now-c.taken[0] >= c.length || c.taken[0] > now) {
		c.taken = c.taken[1:]
	}
}

func (c *slidingLog) left(now time.Duration) int { c.forget(now); return c.limit - len(c.taken) }
func (c *slidingLog) take(now time.Duration)     { c.taken = append(c.taken, now) }
func (c *slidingLog) windows(now time.Duration) int {
	if c.began == 0 {
		return 0
	}
	return int((now - c.began) / c.length)
}

func (c *slidingLog) reset(now time.Duration) time.Duration {
	c.forget(now)
	switch {
	case len(c.taken) == 0:
		return now
	case c.oldest:
		return c.taken[0] + c.length
	default:
		return c.taken[len(c.taken)-1] + c.length
	}
}

// tokenBucket fills steadily.
type tokenBucket struct {
	limit   int
	length  time.Duration // in which it fills
	level   float64
	updated time.Duration
	began   time.Duration
	next    bool // whether the reset is when the next token comes, or when it is full
}

func (c *tokenBucket) fill(now time.Duration) {
	if c.began == 0 {
		c.began, c.updated, c.level = now, now, float64(c.limit)
	}
	c.level = min(float64(c.limit), c.level+float64(max(now-c.updated, 0))/float64(c.length)*float64(c.limit))
	c.updated = now
}

func (c *tokenBucket) left(now time.Duration) int { c.fill(now); return int(c.level) }
func (c *tokenBucket) take(now time.Duration)     { c.fill(now); c.level-- }
func (c *tokenBucket) windows(now time.Duration) int {
	if c.began == 0 {
		return 0
	}
	return int((now - c.began) / c.length)
}

func (c *tokenBucket) reset(now time.Duration) time.Duration {
	c.fill(now)
	missing := float64(c.limit) - c.level
	if c.next {
		missing = min(missing, 1)
	}
	return now + time.Duration(missing/float64(c.limit)*float64(c.length))
}

// simServer is a service with random limits.
type simServer struct {
	w       world
	random  *rand.Rand
	ahead   time.Duration // its clock before that of the simulation
	global  counter
	routes  []counter
	handled int
	refused int
	pauses  instant // until when it refuses everybody by Retry-After
}

func newSimServer(w world, random *rand.Rand) *simServer {
	s := &simServer{w: w, random: random, ahead: w.Ahead}
	make := func(limit int) counter {
		switch w.Kind {
		case "floating":
			return &floatingWindows{limit: limit, length: w.Window}
		case "sliding", "sliding, oldest":
			return &slidingLog{limit: limit, length: w.Window, oldest: w.Kind != "sliding"}
		case "bucket", "bucket, next":
			return &tokenBucket{limit: limit, length: w.Window, next: w.Kind != "bucket"}
		default:
			return &fixedWindows{limit: limit, length: w.Window}
		}
	}
	if w.Global > 0 {
		s.global = make(w.Global)
	}
	for range w.Routes {
		if w.Route > 0 {
			s.routes = append(s.routes, make(w.Route))
		}
	}
	return s
}

// windows is how many windows have passed.
func (s *simServer) windows(now instant) int {
	switch {
	case s.global != nil:
		return s.global.windows(now + s.ahead)
	case len(s.routes) > 0:
		return s.routes[0].windows(now + s.ahead)
	default:
		return int(now / s.w.Window)
	}
}

// handle is one request.
func (s *simServer) handle(now instant, route int) response {
	r := response{status: http.StatusOK}
	at := now + s.ahead
	s.handled++
	if s.w.Date {
		r.date = at.Truncate(time.Second)
	}
	if now < s.pauses {
		r.status, r.retryAfter = http.StatusTooManyRequests, (s.pauses - now + time.Second - 1).Truncate(time.Second)
		return r
	}
	var counters []counter
	if s.global != nil {
		counters = append(counters, s.global)
	}
	if len(s.routes) > 0 {
		counters = append(counters, s.routes[route])
	}
	for _, c := range counters {
		if c.left(at) <= 0 {
			r.status = http.StatusTooManyRequests
		}
	}
	if r.status == http.StatusTooManyRequests {
		s.refused++
	}
	counted := s.w.Counts >= 1 || s.random.Float64() < s.w.Counts
	for _, c := range counters {
		if r.status == http.StatusOK && counted {
			c.take(at)
		}
	}
	if s.random.Float64() < s.w.Headers {
		s.setHeaders(&r, at, route)
	}
	return r
}

func (s *simServer) setHeaders(r *response, at time.Duration, route int) {
	remaining := func(c counter, limit int) parsed {
		n := min(limit, max(0, c.left(at))+s.w.Lag)
		if s.w.Constant {
			n = limit
		}
		if s.w.Reset {
			r.reset = c.reset(at).Truncate(time.Millisecond)
		}
		return parsed{n: n, present: true}
	}
	if s.global != nil {
		r.global = remaining(s.global, s.w.Global)
	}
	if len(s.routes) > 0 {
		r.route = remaining(s.routes[route], s.w.Route)
	}
}
