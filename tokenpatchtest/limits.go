package tokenpatchtest

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// The rate limit headers, as net/http spells them.
const (
	globalRemaining = "X-Ratelimit-Global-Remaining"
	routeRemaining  = "X-Ratelimit-Route-Remaining"
	windowReset     = "X-Ratelimit-Reset"
)

// Limits are the rate limits of one API. The zero value limits nothing.
//
// A request with a valid credential counts when it arrives, whatever becomes of
// it. It is refused with 429 where either family has nothing left, and then
// takes nothing from the other.
type Limits struct {
	// Window is how long a window is; zero is ten seconds. It is cut to whole
	// milliseconds, since that is what a reset is told in.
	Window time.Duration
	// Floating starts a window with the first request after the last one has
	// ended. Otherwise windows start at the multiples of Window since the Unix
	// epoch, by the service's clock.
	Floating bool

	// Global and Route are how many requests a window admits by either family,
	// told by X-Ratelimit-Global-Remaining and X-Ratelimit-Route-Remaining.
	// Zero is no such limit, and no such header.
	Global, Route int

	// ConstantRemaining makes both headers tell the limit, not what remains of it.
	ConstantRemaining bool
	// HideHeaders leaves the three headers out of every answer.
	HideHeaders bool
	// RetryAfter adds Retry-After to a refusal: the seconds until the window
	// ends, rounded up.
	RetryAfter bool
}

// WindowStats is what happened in one window of an API's rate limits.
type WindowStats struct {
	Start, Reset time.Time // by the service's clock; the window ends just before Reset
	Limit        int       // the lower of the limits, as they were last in the window; 0 is none
	Admitted     int       // requests let in
	Refused      int       // requests answered 429
	Spent        int       // taken by [Service.Spend]
}

// SetLimits replaces the rate limits of V1 or V2, from the next request on: what
// the current window has admitted counts against the new ones. V1 documents no
// limits; with some set it tells them as V2 does.
func (s *Service) SetLimits(api API, limits Limits) {
	s.limiter(api).set(limits)
}

func (s *Service) limiter(api API) *limiter {
	if api != V1 && api != V2 {
		panic("tokenpatchtest: rate limits are those of V1 or of V2")
	}
	return &s.limiters[api]
}

// Spend takes n from what the current window of an API has left, of both
// families, as another program with the same account would.
func (s *Service) Spend(api API, n int) {
	s.limiter(api).spend(s.now(), n)
}

// RefuseFor answers 429 to every request to an API that arrives within d, with
// the seconds that are left, rounded up, in Retry-After: the limit by address.
// It needs no credential, and counts in no window. Zero ends it.
func (s *Service) RefuseFor(api API, d time.Duration) {
	s.limiter(api).refuseFor(d)
}

// Windows returns the windows of an API in which anything happened, the current
// one last. Windows are kept whether or not there are limits.
func (s *Service) Windows(api API) []WindowStats {
	return s.limiter(api).stats()
}

// limiter keeps the windows of one API. Its methods take the time on the
// service's clock.
type limiter struct {
	mu      sync.Mutex
	limits  Limits
	windows []WindowStats
	refused time.Time // until when everything is refused, on the real clock
}

func (l *limiter) set(limits Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limits = limits
}

func (l *limiter) spend(now time.Time, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.window(now).Spent += n
}

func (l *limiter) refuseFor(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = time.Now().Add(d)
}

// penalty returns for how many seconds everything is refused, rounded up.
func (l *limiter) penalty() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ceilSeconds(time.Until(l.refused))
}

func (l *limiter) stats() []WindowStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.windows)
}

// admit counts a request, and returns whether it is let in and the headers to
// answer it with.
func (l *limiter) admit(now time.Time) (http.Header, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.window(now)
	admitted := w.Limit == 0 || w.Admitted+w.Spent < w.Limit
	if admitted {
		w.Admitted++
	} else {
		w.Refused++
	}
	return l.headers(w, now, admitted), admitted
}

// window returns the window that now is in, begun if need be.
func (l *limiter) window(now time.Time) *WindowStats {
	start, length := l.aligned(now)
	last := len(l.windows) - 1
	if last < 0 || !l.windows[last].holds(start, now, l.limits.Floating) {
		l.windows = append(l.windows, WindowStats{Start: start, Reset: start.Add(length)})
		last++
	}
	w := &l.windows[last]
	w.Limit = l.limits.lowest()
	return w
}

// aligned returns the start of a window that now could begin or be in, and its length.
func (l *limiter) aligned(now time.Time) (time.Time, time.Duration) {
	length := max(l.limits.Window.Truncate(time.Millisecond), 0)
	if length == 0 {
		length = 10 * time.Second
	}
	since := now.UnixMilli()
	if !l.limits.Floating {
		since -= since % length.Milliseconds()
	}
	return time.UnixMilli(since).UTC(), length
}

// holds reports whether now is in the window. An aligned window is known by its
// start, so that a clock that is set back, or a new length, begins another one.
func (w WindowStats) holds(start, now time.Time, floating bool) bool {
	if floating {
		return !now.Before(w.Start) && now.Before(w.Reset)
	}
	return w.Start.Equal(start)
}

// lowest is the limit that refuses first: both families count the same requests.
func (l Limits) lowest() int {
	if l.Global == 0 || l.Route == 0 {
		return max(l.Global, l.Route)
	}
	return min(l.Global, l.Route)
}

func (l *limiter) headers(w *WindowStats, now time.Time, admitted bool) http.Header {
	h := make(http.Header)
	if !admitted && l.limits.RetryAfter {
		h.Set("Retry-After", strconv.FormatInt(ceilSeconds(w.Reset.Sub(now)), 10))
	}
	if l.limits.HideHeaders || w.Limit == 0 {
		return h
	}
	l.tell(h, globalRemaining, l.limits.Global, w)
	l.tell(h, routeRemaining, l.limits.Route, w)
	h.Set(windowReset, strconv.FormatInt(w.Reset.UnixMilli(), 10))
	return h
}

// tell sets the header of one family, if there is such a family.
func (l *limiter) tell(h http.Header, name string, limit int, w *WindowStats) {
	if limit == 0 {
		return
	}
	remaining := max(limit-w.Admitted-w.Spent, 0)
	if l.limits.ConstantRemaining {
		remaining = limit
	}
	h.Set(name, strconv.Itoa(remaining))
}

// rateLimitHeaders returns those of the headers that tell about rate limits.
func rateLimitHeaders(h http.Header) http.Header {
	kept := make(http.Header)
	for _, name := range []string{globalRemaining, routeRemaining, windowReset} {
		if values, set := h[name]; set {
			kept[name] = values
		}
	}
	return kept
}

// ceilSeconds rounds up to whole seconds; what is past is zero.
func ceilSeconds(d time.Duration) int64 {
	return int64((max(d, 0) + time.Second - 1) / time.Second)
}
