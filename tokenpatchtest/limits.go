package tokenpatchtest

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// windowReset is the header with the end of the window of an API and of its
// routes, as net/http spells it.
const windowReset = "X-Ratelimit-Reset"

// Limits are the rate limits of one API. The zero value limits nothing.
//
// A request with a valid credential counts when it arrives, whatever its
// response is. It is refused with 429 if one of the limits has nothing left, and
// then takes nothing from any of them.
type Limits struct {
	// Window is the length of a window; zero is ten seconds. It is cut to whole
	// milliseconds, the unit of X-Ratelimit-Reset.
	Window time.Duration
	// Floating starts a window with the first request after the last one has
	// ended. Otherwise windows start at the multiples of Window since the Unix
	// epoch, by the service's clock.
	Floating bool

	// Global limits the requests of a window in all, Route those of each route ([Request.Route]),
	// and Credential those of each credential. Zero is no limit, and no headers of it:
	// X-Ratelimit-Global-Limit and X-Ratelimit-Global-Remaining have the limit and what is left,
	// and so do those of Route and Auth-Token.
	Global, Route, Credential int
	// CredentialOffset is how much later than the others the windows of
	// credentials start. They end by X-Ratelimit-Auth-Token-Reset, the others by
	// X-Ratelimit-Reset.
	CredentialOffset time.Duration

	// NoLimitHeaders omits the headers with the limit of a window.
	NoLimitHeaders bool
	// HideHeaders leaves all of these headers out of every response.
	HideHeaders bool
	// RetryAfter adds Retry-After to a refusal: the seconds until the window
	// ends, rounded up.
	RetryAfter bool
}

// WindowStats is what happened in one window of an API's rate limits. The windows
// of credentials are left aside.
type WindowStats struct {
	Start, Reset time.Time // by the service's clock; the window ends just before Reset
	Limit        int       // the lowest of Global, Route and Credential, as they were last in the window; 0 is none
	Admitted     int       // requests let in, on all routes
	Refused      int       // requests refused with 429
	Spent        int       // taken by [Service.Spend]
}

// SetLimits replaces the rate limits of V1 or V2, from the next request on. Requests of the current
// window count against the new ones. If Window or Floating changes, the current window ends by the
// new length: at its next multiple or, with Floating, one length from now. V1 documents no limits;
// with limits it sends the headers of V2.
func (s *Service) SetLimits(api API, limits Limits) {
	s.limiter(api).set(s.now(), limits)
}

func (s *Service) limiter(api API) *limiter {
	if api != V1 && api != V2 {
		panic("tokenpatchtest: rate limits are those of V1 or of V2")
	}
	return &s.limiters[api]
}

// Spend takes n from what the current window of an API has left, of the global
// limit and of every route's, as another program with the same account would.
func (s *Service) Spend(api API, n int) {
	s.limiter(api).spend(s.now(), n)
}

// RefuseFor refuses every request to an API within d with 429, with the remaining seconds, rounded
// up, in Retry-After: the limit by address. It needs no credential, and counts in no window. Zero
// ends it.
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
	mu          sync.Mutex
	limits      Limits
	windows     []*window
	credentials map[string]*credentialWindow // by Authorization header
	refused     time.Time                    // until when everything is refused, on the real clock
}

// window is what happened in one window, and on each route of it.
type window struct {
	WindowStats
	admitted map[string]int // by route
}

// credentialWindow is the current window of one credential.
type credentialWindow struct {
	start, reset time.Time
	admitted     int
}

func (l *limiter) set(now time.Time, limits Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.limits
	changed := limits.length() != before.length() || limits.Floating != before.Floating
	l.limits = limits
	if w := l.current(now); w != nil && changed {
		w.Reset = limits.start(now).Add(limits.length())
	}
	if changed || limits.CredentialOffset != before.CredentialOffset {
		clear(l.credentials)
	}
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
	var stats []WindowStats
	for _, w := range l.windows {
		stats = append(stats, w.WindowStats)
	}
	return stats
}

// admit counts a request on a route, and returns whether it is let in and the
// headers of the response to it.
func (l *limiter) admit(now time.Time, route, authorization string) (http.Header, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, c := l.window(now), l.credential(now, authorization)
	here := has(l.limits.Global, w.Admitted+w.Spent) && has(l.limits.Route, w.admitted[route]+w.Spent)
	admitted := here && has(l.limits.Credential, c.admitted)
	if admitted {
		w.Admitted++
		w.admitted[route]++
		c.admitted++
	} else {
		w.Refused++
	}
	h := make(http.Header)
	if !admitted && l.limits.RetryAfter {
		until := w.Reset
		if here {
			until = c.reset
		}
		h.Set("Retry-After", strconv.FormatInt(ceilSeconds(until.Sub(now)), 10))
	}
	l.limits.setHeaders(h, windowReset, w.Reset, "Global", l.limits.Global, w.Admitted+w.Spent)
	l.limits.setHeaders(h, windowReset, w.Reset, "Route", l.limits.Route, w.admitted[route]+w.Spent)
	l.limits.setHeaders(h, "X-Ratelimit-Auth-Token-Reset", c.reset, "Auth-Token", l.limits.Credential, c.admitted)
	return h, admitted
}

// has reports whether a limit leaves anything. Zero is no limit.
func has(limit, used int) bool { return limit == 0 || used < limit }

// setHeaders sets the headers of one limit, if there is such a limit.
func (l Limits) setHeaders(h http.Header, resetHeader string, reset time.Time, name string, limit, used int) {
	if l.HideHeaders || limit == 0 {
		return
	}
	h.Set(resetHeader, strconv.FormatInt(reset.UnixMilli(), 10))
	h.Set("X-Ratelimit-"+name+"-Remaining", strconv.Itoa(max(limit-used, 0)))
	if !l.NoLimitHeaders {
		h.Set("X-Ratelimit-"+name+"-Limit", strconv.Itoa(limit))
	}
}

// credential returns the current window of a credential.
func (l *limiter) credential(now time.Time, authorization string) *credentialWindow {
	c := l.credentials[authorization]
	if c == nil || now.Before(c.start) || !now.Before(c.reset) {
		start := l.limits.start(now.Add(-l.limits.CredentialOffset)).Add(l.limits.CredentialOffset)
		if l.limits.Floating {
			start = l.limits.start(now)
		}
		c = &credentialWindow{start: start, reset: start.Add(l.limits.length())}
		if l.credentials == nil {
			l.credentials = make(map[string]*credentialWindow)
		}
		l.credentials[authorization] = c
	}
	return c
}

// window returns the current window, and starts one if necessary.
func (l *limiter) window(now time.Time) *window {
	w := l.current(now)
	if w == nil {
		start := l.limits.start(now)
		w = &window{WindowStats{Start: start, Reset: start.Add(l.limits.length())}, make(map[string]int)}
		l.windows = append(l.windows, w)
	}
	w.Limit = l.limits.lowest()
	return w
}

// current returns the current window, or nil: a clock that was set back may be before the last one.
func (l *limiter) current(now time.Time) *window {
	if len(l.windows) == 0 {
		return nil
	}
	w := l.windows[len(l.windows)-1]
	if now.Before(w.Start) || !now.Before(w.Reset) {
		return nil
	}
	return w
}

func (l Limits) length() time.Duration {
	return cmp.Or(max(l.Window.Truncate(time.Millisecond), 0), 10*time.Second)
}

// start returns when the window around now starts.
func (l Limits) start(now time.Time) time.Time {
	since := now.UnixMilli()
	if !l.Floating {
		since -= since % l.length().Milliseconds()
	}
	return time.UnixMilli(since).UTC()
}

// lowest is the first limit to refuse if one route and one credential have all the requests.
func (l Limits) lowest() int {
	lowest := 0
	for _, limit := range []int{l.Global, l.Route, l.Credential} {
		if limit > 0 && (lowest == 0 || limit < lowest) {
			lowest = limit
		}
	}
	return lowest
}

// rateLimitHeaders returns the headers about rate limits.
func rateLimitHeaders(h http.Header) http.Header {
	kept := make(http.Header)
	for name, values := range h {
		if strings.HasPrefix(name, "X-Ratelimit-") {
			kept[name] = slices.Clone(values)
		}
	}
	return kept
}

// ceilSeconds rounds up to whole seconds; what is past is zero.
func ceilSeconds(d time.Duration) int64 {
	return int64((max(d, 0) + time.Second - 1) / time.Second)
}
