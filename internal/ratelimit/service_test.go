package ratelimit_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

const (
	patchRoute   = "PATCH /api/v2/tokens/{id}"
	windowLength = 10 * time.Second
)

// service has limits in windows of ten seconds, in virtual time.
type service struct {
	account, route, credential int                                          // limits; 0 is none
	announces                  bool                                         // whether it sends Limit headers
	hidden                     int                                          // a limit without headers
	rtt                        time.Duration                                // half of it each way
	jitter                     float64                                      // of each way
	ahead                      time.Duration                                // its clock
	credentialPhase            time.Duration                                // of the credential's windows against the others
	date                       func(now time.Time) string                   // nil for the service's own clock
	fault                      func(n int) fault                            // what happens to the nth request, from 1; nil for nothing
	refusal                    func(header http.Header, left time.Duration) // changes a 429 of the hidden limit

	random   *rand.Rand
	mu       sync.Mutex
	n        int
	windows  map[string]*count
	firsts   map[string][]*count // the first two windows of each limit
	total    int                 // admitted
	refused  int
	refusals map[time.Time]int // by window
	sent     []time.Time
}

// fault is what goes wrong with one request.
type fault struct {
	status   int           // instead of 200, without limit headers
	headless bool          // without limit headers
	lose     bool          // the response never comes
	never    bool          // nor does the request arrive
	hang     time.Duration // it comes so much later
}

// count is what one limit has admitted in its current window.
type count struct {
	reset time.Time
	n     int
}

const (
	ok = iota
	lost
)

func (s *service) init() {
	s.windows, s.firsts, s.refusals = make(map[string]*count), make(map[string][]*count), make(map[time.Time]int)
}

func (s *service) now() time.Time { return time.Now().Add(s.ahead) }

// window returns the current window of a limit.
func (s *service) window(name string, phase time.Duration) *count {
	now := s.now()
	reset := now.Add(-phase).Truncate(windowLength).Add(windowLength + phase)
	c := s.windows[name]
	if c == nil || !c.reset.Equal(reset) {
		c = &count{reset: reset}
		s.windows[name] = c
		if len(s.firsts[name]) < 2 {
			s.firsts[name] = append(s.firsts[name], c)
		}
	}
	return c
}

// handle is one request.
func (s *service) handle(route, credential string) (int, http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limits := []struct {
		of     *count
		size   int
		header string
	}{
		{s.window("account", 0), s.account, "X-Ratelimit-Global-"},
		{s.window(route, 0), s.route, "X-Ratelimit-Route-"},
		{s.window("credential "+credential, s.credentialPhase), s.credential, "X-Ratelimit-Auth-Token-"},
		{s.window("hidden", 0), s.hidden, ""},
	}
	status, header := http.StatusOK, http.Header{}
	for _, l := range limits {
		if l.size > 0 && l.of.n >= l.size {
			status = http.StatusTooManyRequests
		}
	}
	for _, l := range limits {
		if status == http.StatusOK {
			l.of.n++
		}
		if l.size == 0 || l.header == "" {
			continue
		}
		header.Set(l.header+"Remaining", strconv.Itoa(l.size-l.of.n))
		if s.announces {
			header.Set(l.header+"Limit", strconv.Itoa(l.size))
		}
		name := "X-Ratelimit-Reset"
		if l.header == "X-Ratelimit-Auth-Token-" {
			name = "X-Ratelimit-Auth-Token-Reset"
		}
		header.Set(name, strconv.FormatInt(l.of.reset.UnixMilli(), 10))
	}
	if status == http.StatusOK {
		s.total++
	} else {
		s.refused++
		s.refusals[limits[0].of.reset]++
		if h := limits[3]; h.size > 0 && h.of.n >= h.size && s.refusal != nil {
			s.refusal(header, h.of.reset.Sub(s.now()))
		}
	}
	if s.date == nil {
		header.Set("Date", s.now().UTC().Format(http.TimeFormat))
	} else if text := s.date(s.now()); text != "" {
		header.Set("Date", text)
	}
	return status, header
}

// way is how long one way of a round trip takes.
func (s *service) way() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(float64(s.rtt) / 2 * (1 + s.jitter*(2*s.random.Float64()-1)))
}

// attempt sends one request, and settles its permit.
func (s *service) attempt(p *ratelimit.Permit, route, credential string) (status int) {
	p.Use(credential)
	s.mu.Lock()
	s.n++
	s.sent = append(s.sent, time.Now())
	var f fault
	if s.fault != nil {
		f = s.fault(s.n)
	}
	s.mu.Unlock()
	time.Sleep(s.way())
	header := http.Header{}
	if !f.never {
		status, header = s.handle(route, credential)
	}
	if f.lose || f.never {
		time.Sleep(f.hang)
		p.Abandon()
		return lost
	}
	if f.headless || f.status != 0 && status == http.StatusOK {
		clear(header)
	}
	if f.status != 0 && status == http.StatusOK {
		status = f.status
	}
	time.Sleep(s.way() + f.hang)
	p.Observe(status, header)
	p.Abandon()
	return status
}

// work is what programs do.
type work struct {
	calls, callers, programs int // callers are those of all programs
	options                  ratelimit.Options
	options1                 func(program int) ratelimit.Options // instead, if not nil
	credential               func(program int, now time.Duration) string
	route                    func(caller int) string
	until                    time.Duration // instead of calls
	retries                  bool          // of lost calls and errors
	reborn                   bool          // whether each call is made by a new program
	during                   func(s *service)
}

// result is what came of it.
type result struct {
	took    time.Duration
	began   time.Time
	failed  int
	silence time.Duration // the longest time in which nothing was sent
	calls   []int         // by program
	callers int
	waited  time.Duration // the longest wait of a call
	service *service
}

func (r result) mostRefused() (n int) {
	for _, refused := range r.service.refusals {
		n = max(n, refused)
	}
	return n
}

func (w work) run(t *testing.T, s *service) (r result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { r = w.inBubble(t, s) })
	return r
}

// inBubble does the work. Windows begin with the multiples of ten seconds by the service's clock.
func (w work) inBubble(t *testing.T, s *service) (r result) {
	if s.random == nil {
		s.random = rand.New(rand.NewPCG(1, 2))
	}
	s.init()
	r.service, r.began, r.calls, r.callers = s, time.Now(), make([]int, max(1, w.programs)), w.callers
	if w.during != nil {
		go w.during(s)
	}
	var mu sync.Mutex
	var begun, failed atomic.Int64
	var done sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), w.until+time.Hour) // no call waits for ever
	defer cancel()
	for program := range r.calls {
		options := w.options
		if w.options1 != nil {
			options = w.options1(program)
		}
		if options.MaxWait == 0 {
			options.MaxWait = 5 * time.Minute
		}
		l := ratelimit.New(options)
		next := func() *ratelimit.Limiter {
			if w.reborn {
				return ratelimit.New(options)
			}
			return l
		}
		for caller := range w.callers / len(r.calls) {
			done.Go(func() {
				for w.until > 0 && time.Since(r.began) < w.until || w.until == 0 && begun.Add(1) <= int64(w.calls) {
					began := time.Now()
					if err := w.call(ctx, next(), s, program, caller, r.began); err != nil {
						failed.Add(1)
						t.Log(err)
					}
					mu.Lock()
					r.calls[program]++
					r.waited = max(r.waited, time.Since(began))
					mu.Unlock()
				}
			})
		}
	}
	done.Wait()
	slices.SortFunc(s.sent, time.Time.Compare)
	r.took, r.failed = s.sent[len(s.sent)-1].Sub(r.began)+s.rtt, int(failed.Load())
	for i, at := range s.sent[1:] {
		r.silence = max(r.silence, at.Sub(s.sent[i]))
	}
	time.Sleep(2 * time.Hour) // for what still asks a store
	return r
}

func (w work) call(ctx context.Context, l *ratelimit.Limiter, s *service, program, caller int, began time.Time) error {
	var p ratelimit.Permit
	route, credential := patchRoute, "token"
	if w.route != nil {
		route = w.route(caller)
	}
	for {
		if _, err := l.Wait(ctx, route, &p); err != nil {
			return err
		}
		if w.credential != nil {
			credential = w.credential(program, time.Since(began))
		}
		status := s.attempt(&p, route, credential)
		if status == http.StatusTooManyRequests || w.retries && status != http.StatusOK {
			continue
		}
		return nil
	}
}

// ratio is how long the work took, in multiples of the least time in which what was admitted can be. What the first window
// admitted is left aside, and with round trips of a second the second one too: nothing is known of the limit then. Each
// further window of the tightest limit admits as many as it can, from its beginning.
func (r result) ratio() float64 {
	s := r.service
	name, limit := s.tightest()
	skipped := s.firsts[name]
	rest, began := s.total, skipped[0].reset.Sub(r.began.Add(s.ahead))
	for i := range min(len(skipped), 1+int(s.rtt/time.Second)) {
		rest -= skipped[i].n
		began = skipped[i].reset.Sub(r.began.Add(s.ahead))
	}
	if rest <= 0 {
		return 1
	}
	windows := (rest + limit - 1) / limit
	last := rest - (windows-1)*limit
	least := began + time.Duration(windows-1)*windowLength + time.Duration((last+r.callers-1)/r.callers)*s.rtt
	return float64(r.took) / float64(least)
}

// tightest returns the first limit to refuse.
func (s *service) tightest() (name string, limit int) {
	for _, l := range []struct {
		name string
		size int
	}{{"account", s.account}, {patchRoute, s.route}, {"credential token", s.credential}, {"hidden", s.hidden}} {
		if l.size > 0 && (limit == 0 || l.size < limit) {
			name, limit = l.name, l.size
		}
	}
	return name, limit
}

func (s *service) String() string {
	return fmt.Sprintf("account %d, route %d, credential %d, announces %v, rtt %v, ahead %v", s.account, s.route, s.credential, s.announces, s.rtt, s.ahead)
}
