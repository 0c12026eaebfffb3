// Ratelimit runs a fleet of goroutines against a rate limit, on loopback and in
// real time, with this library and with what a program would use without it. All
// of them run at the same time, each against a service of its own.
//
//	go run ./ratelimit
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
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
)

// fleet is a number of calls from a number of goroutines.
type fleet struct {
	name                       string
	calls, goroutines, clients int
	limit                      int // calls a window
}

// caller makes one call.
type caller func(context.Context) error

// contestants make a caller for a base URL. Callers share nothing.
var contestants = []struct {
	name string
	make func(baseURL string) caller
}{
	{"tokenpatch", newTokenpatch},
	{"go-retryablehttp, defaults", func(baseURL string) caller { return newRetryable(baseURL, func(*retryablehttp.Client) {}) }},
	{"go-retryablehttp, waits for the reset, 12 retries", func(baseURL string) caller {
		return newRetryable(baseURL, func(c *retryablehttp.Client) { c.RetryMax, c.Backoff = 12, untilReset })
	}},
	{"net/http", newPlain},
}

func main() {
	calls := flag.Int("calls", 1000, "calls of each contestant in each case")
	flag.Parse()
	for _, f := range []fleet{
		{fmt.Sprintf("%d calls from 200 goroutines, 10 a second", *calls), *calls, 200, 1, 10},
		{fmt.Sprintf("%d calls from 4 programs of 50 goroutines that share 40 a second", *calls), *calls, 200, 4, 40},
	} {
		run(f)
	}
}

// run prints a table with a line for every contestant.
func run(f fleet) {
	fmt.Printf("\n%s\n\n| client | calls | failed | answers 429 | time / least possible |\n|---|---|---|---|---|\n", f.name)
	lines := make([]string, len(contestants))
	var wg sync.WaitGroup
	for i, c := range contestants {
		wg.Go(func() { lines[i] = fmt.Sprintf("| %s | %s |", c.name, f.run(c.make)) })
	}
	wg.Wait()
	for _, line := range lines {
		fmt.Println(line)
	}
}

func (f fleet) run(newCaller func(string) caller) string {
	service := tokenpatchtest.New()
	defer service.Close()
	if err := service.AddV2(token); err != nil {
		log.Fatal(err)
	}
	service.SetLatency(roundTrip)
	service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: window, Route: f.limit})
	baseURL, err := service.Listen()
	if err != nil {
		log.Fatal(err)
	}
	// The least possible time counts from the beginning of a window.
	time.Sleep(time.Until(time.Now().Truncate(window).Add(window)))
	began := time.Now()
	failed := f.send(baseURL, newCaller)
	took := time.Since(began)

	refused := 0
	for _, w := range service.Windows(tokenpatchtest.V2) {
		refused += w.Refused
	}
	least := time.Duration((f.calls+f.limit-1)/f.limit-1)*window + roundTrip
	return fmt.Sprintf("%d | %d | %d | %.2f", f.calls, failed, refused, float64(took)/float64(least))
}

func (f fleet) send(baseURL string, newCaller func(string) caller) (failures int64) {
	var begun, failed atomic.Int64
	var wg sync.WaitGroup
	for range f.clients {
		call := newCaller(baseURL)
		for range f.goroutines / f.clients {
			wg.Go(func() {
				for begun.Add(1) <= int64(f.calls) {
					if call(context.Background()) != nil {
						failed.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	return failed.Load()
}

func newTokenpatch(baseURL string) caller {
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V2: tokenpatch.V2Config{BaseURL: baseURL, AccessToken: tokenpatchtest.AccessToken},
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

// untilReset waits for the reset that a 429 names, as consumers of the API do.
func untilReset(low, high time.Duration, attempt int, response *http.Response) time.Duration {
	if response != nil && response.StatusCode == http.StatusTooManyRequests {
		reset, err := strconv.ParseInt(response.Header.Get("X-Ratelimit-Reset"), 10, 64)
		if wait := time.Until(time.UnixMilli(reset)); err == nil && wait > 0 {
			return wait
		}
	}
	return retryablehttp.DefaultBackoff(low, high, attempt, response)
}

func newPlain(baseURL string) caller {
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
