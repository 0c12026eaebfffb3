// Ratelimit runs a fleet of goroutines against a rate limit, in fair weather and foul, on loopback and in
// real time, with this library and with what a program would use without it. All
// of them run at the same time, each against a service of its own.
//
//	go run ./ratelimit
package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const (
	tokenID = "61095542756dba551110ae21"
	token   = `{"_id": "` + tokenID + `", "ownerId": "569f514156e003339cfd3917", "memberId": "569f514183f2164430000002",
		"name": "ci", "creationDate": 1628001602644, "lastModified": 1628001602644, "_links": {}}`
	body = `[{"op":"replace","path":"/name","value":"ci"}]`

	window    = time.Second
	roundTrip = 50 * time.Millisecond
	caseLimit = 3 * time.Minute // for each case: calls still running by then have failed
)

// fleet is a number of calls from a number of goroutines, in fair weather or foul.
type fleet struct {
	name                       string
	calls, goroutines, clients int
	limit                      int // calls a window
	latency                    time.Duration
	spoil                      func(*tokenpatchtest.Service) // nil in fair weather
}

// caller makes one call.
type caller func(context.Context) error

// contestants make a caller for a base URL. Callers share nothing except the budget, if they use
// it.
var contestants = []struct {
	name   string
	shared bool // whether it is only for several programs
	make   func(baseURL string, budget tokenpatch.Budget) caller
}{
	{"tokenpatch", false, func(baseURL string, _ tokenpatch.Budget) caller { return newTokenpatch(baseURL, nil) }},
	{"tokenpatch, one `Budget`", true, newTokenpatch},
	{"go-retryablehttp, defaults", false, func(baseURL string, _ tokenpatch.Budget) caller {
		return newRetryable(baseURL, func(*retryablehttp.Client) {})
	}},
	{"go-retryablehttp, waits for the reset, 12 retries", false, func(baseURL string, _ tokenpatch.Budget) caller {
		return newRetryable(baseURL, func(c *retryablehttp.Client) { c.RetryMax, c.Backoff = 12, untilReset })
	}},
	{"net/http", false, newPlain},
}

func main() {
	calls := flag.Int("calls", 1000, "calls of each contestant in each case of fair weather, and half of them in foul")
	flag.Parse()
	fair := []fleet{
		{name: "%d calls from 200 goroutines, 10 a second", calls: *calls, goroutines: 200, clients: 1, limit: 10},
		{name: "%d calls from 4 programs of 50 goroutines that spend from the same 40 a second", calls: *calls, goroutines: 200, clients: 4, limit: 40},
	}
	for _, f := range append(fair, foul(*calls/2)...) {
		f.run()
	}
}

// foul is the cases in which something goes wrong.
func foul(calls int) []fleet {
	one := func(name string, spoil func(*tokenpatchtest.Service)) fleet {
		return fleet{name: "%d calls from 200 goroutines, 40 a second: " + name, calls: calls, goroutines: 200, clients: 1, limit: 40, spoil: spoil}
	}
	long := one("round trips of one second", nil)
	long.latency = time.Second
	return []fleet{
		one("three responses in ten are lost", sometimes(0.3, tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter})),
		one("one response in a hundred hangs for 5 s", sometimes(0.01, tokenpatchtest.Fault{DelayAfter: 5 * time.Second})),
		one("half of the responses have no limit headers", sometimes(0.5, tokenpatchtest.Fault{Header: http.Header{
			"X-Ratelimit-Route-Remaining": nil, "X-Ratelimit-Reset": nil,
		}})),
		one("one response in twenty is a 503 without headers", sometimes(0.05, tokenpatchtest.Fault{Status: 503, Header: http.Header{
			"X-Ratelimit-Route-Remaining": nil, "X-Ratelimit-Reset": nil,
		}})),
		one("the service's clock is 25 h ahead", func(s *tokenpatchtest.Service) { s.SetClockOffset(25 * time.Hour) }),
		long,
	}
}

// sometimes lets a part of the requests meet a fault.
func sometimes(part float64, fault tokenpatchtest.Fault) func(*tokenpatchtest.Service) {
	fault.Times, fault.Match = -1, func(*http.Request) bool { return rand.Float64() < part }
	return func(s *tokenpatchtest.Service) { s.Inject(fault) }
}

// run prints a table with a line for every contestant.
func (f fleet) run() {
	fmt.Printf("\n"+f.name+"\n\n| client | failed | responses with 429 | time / least possible |\n|---|---|---|---|\n", f.calls)
	lines := make([]string, len(contestants))
	var wg sync.WaitGroup
	for i, c := range contestants {
		if c.shared && f.clients == 1 {
			continue
		}
		wg.Go(func() { lines[i] = fmt.Sprintf("| %s | %s |\n", c.name, f.measure(c.make)) })
	}
	wg.Wait()
	for _, line := range lines {
		fmt.Print(line)
	}
}

func (f fleet) measure(newCaller func(string, tokenpatch.Budget) caller) string {
	service := tokenpatchtest.New()
	defer service.Close()
	if err := service.AddV2(token); err != nil {
		log.Fatal(err)
	}
	latency := cmp.Or(f.latency, roundTrip)
	service.SetLatency(latency)
	service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: window, Route: f.limit})
	baseURL, err := service.Listen()
	if err != nil {
		log.Fatal(err)
	}
	if f.spoil != nil {
		f.spoil(service)
	}
	// The least possible time counts from the beginning of a window.
	time.Sleep(time.Until(time.Now().Truncate(window).Add(window)))
	began := time.Now()
	failed := f.send(baseURL, newCaller)
	took := time.Since(began)

	admitted, refused := 0, 0
	for _, w := range service.Windows(tokenpatchtest.V2) {
		admitted += w.Admitted
		refused += w.Refused
	}
	// By the requests the service admitted: a lost response has cost a request.
	least := time.Duration((max(admitted, f.calls)+f.limit-1)/f.limit-1)*window + latency
	return fmt.Sprintf("%d | %d | %.2f", failed, refused, float64(took)/float64(least))
}

func (f fleet) send(baseURL string, newCaller func(string, tokenpatch.Budget) caller) (failures int64) {
	var begun, failed atomic.Int64
	var wg sync.WaitGroup
	budget := new(tokenpatchtest.Budget)
	// A client that believes a clock a day ahead would wait for a day.
	ctx, cancel := context.WithTimeout(context.Background(), caseLimit)
	defer cancel()
	for range f.clients {
		call := newCaller(baseURL, budget)
		for range f.goroutines / f.clients {
			wg.Go(func() {
				for begun.Add(1) <= int64(f.calls) {
					if call(ctx) != nil {
						failed.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	return failed.Load()
}

func newTokenpatch(baseURL string, budget tokenpatch.Budget) caller {
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V2:     tokenpatch.V2Config{BaseURL: baseURL, AccessToken: tokenpatchtest.AccessToken, Account: "acme"},
		Retry:  tokenpatch.RetryPolicy{MaxAttempts: 12},
		Budget: budget,
	})
	if err != nil {
		log.Fatal(err)
	}
	patch := tokenpatch.NewPatch().SetName("ci")
	return func(ctx context.Context) error {
		_, err := client.V2.PatchToken(ctx, tokenID, patch)
		return err
	}
}

func newRetryable(baseURL string, change func(*retryablehttp.Client)) caller {
	client := retryablehttp.NewClient()
	client.Logger = nil
	change(client)
	return func(ctx context.Context) error {
		request, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPatch, baseURL+"/api/v2/tokens/"+tokenID, []byte(body))
		if err != nil {
			return err
		}
		setHeader(request.Header)
		return finish(client.Do(request))
	}
}

// untilReset waits for the reset of a 429, as consumers of the API do.
func untilReset(low, high time.Duration, attempt int, response *http.Response) time.Duration {
	if response != nil && response.StatusCode == http.StatusTooManyRequests {
		reset, err := strconv.ParseInt(response.Header.Get("X-Ratelimit-Reset"), 10, 64)
		if wait := time.Until(time.UnixMilli(reset)); err == nil && wait > 0 {
			return wait
		}
	}
	return retryablehttp.DefaultBackoff(low, high, attempt, response)
}

func newPlain(baseURL string, _ tokenpatch.Budget) caller {
	client := &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPatch, baseURL+"/api/v2/tokens/"+tokenID, bytes.NewReader([]byte(body)))
		if err != nil {
			return err
		}
		setHeader(request.Header)
		return finish(client.Do(request))
	}
}

func setHeader(header http.Header) {
	header.Set("Authorization", tokenpatchtest.AccessToken)
	header.Set("LD-API-Version", "20240415")
	header.Set("Content-Type", "application/json")
}

func finish(response *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}
