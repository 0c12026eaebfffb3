package faulttest_test

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

var (
	faultCalls = flag.Int("faults.calls", 2000, "calls of the fault run")
	faultSeed  = flag.Uint64("faults.seed", 1, "seed of the fault run")
)

const (
	attemptTimeout = 250 * time.Millisecond
	faulty         = 0.3 // of the requests
)

// randomByAttempt returns the random numbers of a request by its call and its attempt: they are the
// same in every run.
func randomByAttempt() func(*http.Request) *rand.Rand {
	var mu sync.Mutex
	attempts := make(map[string]uint64) // by path
	return func(r *http.Request) *rand.Rand {
		mu.Lock()
		n := attempts[r.URL.Path]
		attempts[r.URL.Path]++
		mu.Unlock()
		hash := fnv.New64a()
		_, _ = io.WriteString(hash, r.URL.Path)
		return rand.New(rand.NewPCG(*faultSeed, hash.Sum64()+n))
	}
}

// refuseDials sends some of a transport's dials to an unused port.
func refuseDials(t *testing.T, transport *http.Transport) {
	nobody := refusingAddress(t)
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(*faultSeed, 2))
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		refuse := random.Float64() < faulty
		mu.Unlock()
		if refuse {
			address = nobody
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
}

// faultCall is one call of the fault run, on a token of its own.
type faultCall struct {
	kind string
	id   string
	want string       // what a change leaves in the token
	call func() error // the call itself
	body string       // of the request, for a client without patches
	api  tokenpatchtest.API
	max  int // how often it may take effect
}

var faultKinds = []string{"idempotent", "guarded", "unsafe", "refused", "V1"}

// newFaultCall seeds a token for call number n and returns the call. The
// client may be nil.
func newFaultCall(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client, n int) faultCall {
	c := faultCall{kind: faultKinds[n%len(faultKinds)], id: fmt.Sprintf("token-%d", n), api: tokenpatchtest.V2, max: 1}
	if c.kind == "V1" {
		id := uuid.NewSHA1(uuid.NameSpaceURL, []byte(c.id))
		require.NoError(t, service.AddV1(`{"id": "`+id.String()+`"}`))
		c.id, c.api, c.max, c.want = id.String(), tokenpatchtest.V1, 1<<30, `"name":"new"`
		c.body = `{"name":"new"}`
		c.call = func() error {
			return client.V1.UpdateToken(context.Background(), id, tokenpatch.TokenUpdate{Name: tokenpatch.Set("new")})
		}
		return c
	}
	require.NoError(t, service.AddV2(strings.Replace(tokenJSON, idV2, c.id, 1)))
	patch := tokenpatch.NewPatch()
	switch c.kind {
	case "idempotent":
		patch.SetName("new")
		c.max, c.want = 1<<30, `"name":"new"`
	case "guarded":
		patch.Test(tokenpatch.PathName, "Example reader token").SetName("new").AddCustomRoleID("added")
		c.want = `"added"`
	case "unsafe":
		patch.AddCustomRoleID("added")
		c.want = `"added"`
	case "refused":
		patch.Test(tokenpatch.PathName, "somebody else's").SetName("new")
		c.max = 0
	}
	body, err := patch.MarshalJSON()
	require.NoError(t, err)
	c.body = string(body)
	c.call = func() error {
		_, err := client.V2.PatchToken(context.Background(), c.id, patch)
		return err
	}
	return c
}

// tally is the outcomes of the calls of one kind.
type tally struct {
	calls, applied, notApplied, unknown int
	twice                               int // took effect more often than may be
	wrong                               int // returned what is not true
}

func (y tally) String() string {
	return fmt.Sprintf("%6d calls: %6d applied, %5d not applied, %5d unknown (%.2f %%); %d applied twice, %d reported wrongly",
		y.calls, y.applied, y.notApplied, y.unknown, 100*float64(y.unknown)/float64(max(1, y.calls)), y.twice, y.wrong)
}

// judge compares what a call returned with the token's own history.
func (y *tally) judge(service *tokenpatchtest.Service, c faultCall, outcome tokenpatch.Outcome) string {
	history := service.History(c.id)
	y.calls++
	verdict := ""
	if len(history) > c.max {
		y.twice++
		verdict = fmt.Sprintf("%s took effect %d times", c.id, len(history))
	}
	took := len(history) > 0 && strings.Contains(string(history[len(history)-1].After), c.want)
	switch outcome {
	case tokenpatch.OutcomeApplied:
		y.applied++
		if !took {
			y.wrong++
			verdict = c.id + " is said to be applied, and was not"
		}
	case tokenpatch.OutcomeNotApplied:
		y.notApplied++
		if len(history) > 0 {
			y.wrong++
			verdict = c.id + " is said not to be applied, and was"
		}
	default:
		y.unknown++
	}
	return verdict
}

// faultRun makes calls of every kind through an intermediary, and returns the tallies by kind. It
// logs mistakes. The timeout is for an attempt.
func faultRun(t *testing.T, calls int, timeout time.Duration, http2 bool, faults []func(*exchange), run func(*tokenpatchtest.Service, *http.Client, string, int) (faultCall, tokenpatch.Outcome)) map[string]*tally {
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	between := &intermediary{origin: service, random: randomByAttempt(), faulty: faulty, hold: 2 * timeout, faults: faults}
	server, transport := serve(t, between, http2, nil)
	refuseDials(t, transport)
	client := &http.Client{Transport: transport, Timeout: timeout}

	made := make([]faultCall, calls)
	outcomes := make([]tokenpatch.Outcome, calls)
	var wg sync.WaitGroup
	numbers := make(chan int)
	for range 64 {
		wg.Go(func() {
			for n := range numbers {
				made[n], outcomes[n] = run(service, client, server.URL, n)
			}
		})
	}
	for n := range calls {
		numbers <- n
	}
	close(numbers)
	wg.Wait()
	between.late.Wait()

	tallies := make(map[string]*tally)
	for _, kind := range faultKinds {
		tallies[kind] = new(tally)
	}
	for n, call := range made {
		if verdict := tallies[call.kind].judge(service, call, outcomes[n]); verdict != "" && testing.Verbose() {
			t.Log(verdict)
		}
	}
	for _, kind := range faultKinds {
		t.Logf("%-10s %v", kind, tallies[kind])
	}
	return tallies
}

// withOurClient makes the calls of a fault run with one client of this package.
func withOurClient(t *testing.T) func(*tokenpatchtest.Service, *http.Client, string, int) (faultCall, tokenpatch.Outcome) {
	var client *tokenpatch.Client
	var once sync.Once
	return func(service *tokenpatchtest.Service, carrier *http.Client, server string, n int) (faultCall, tokenpatch.Outcome) {
		once.Do(func() {
			var err error
			client, err = tokenpatch.NewClient(tokenpatch.Config{
				V1:         tokenpatch.V1Config{BaseURL: server, APIKey: tokenpatchtest.APIKey},
				V2:         tokenpatch.V2Config{BaseURL: server, AccessToken: tokenpatchtest.AccessToken},
				HTTPClient: carrier,
				Retry:      tokenpatch.RetryPolicy{MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond},
			})
			require.NoError(t, err)
		})
		c := newFaultCall(t, service, client, n)
		return c, tokenpatch.OutcomeOf(c.call())
	}
}

func TestNothingIsAppliedTwice(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		for between, faults := range map[string][]func(*exchange){
			"a broken network": brokenNetwork,
			"odd proxies":      slices.Concat(brokenNetwork, oddIntermediaries, oddIntermediaries),
		} {
			t.Run(name+"/"+between, func(t *testing.T) {
				tallies := faultRun(t, *faultCalls, attemptTimeout, http2, faults, withOurClient(t))
				for kind, y := range tallies {
					assert.Zero(t, y.twice, kind)
					assert.Zero(t, y.wrong, kind)
					assert.Equal(t, kind == "refused", y.applied == 0, kind)
				}
				assert.Positive(t, tallies["refused"].notApplied, "the run refuses calls")
				assert.Positive(t, tallies["unsafe"].unknown, "the run breaks calls in ways that nothing can settle")
			})
		}
	}
}

// No client can see a proxy that sends a request twice. Changes that may be applied any number of
// times come out right; SECURITY.md describes the others.
func TestProxyThatDuplicates(t *testing.T) {
	twice := []func(*exchange){
		func(e *exchange) { e.forward(); e.respond(e.forward()) },
		func(e *exchange) { response := e.forward(); e.forward(); e.respond(response) },
	}
	tallies := faultRun(t, 1000, time.Minute, false, twice, withOurClient(t))
	for _, kind := range []string{"idempotent", "V1"} {
		assert.Zero(t, tallies[kind].wrong, kind)
		assert.Equal(t, tallies[kind].calls, tallies[kind].applied, kind)
	}
	assert.Zero(t, tallies["guarded"].twice)
	assert.Zero(t, tallies["refused"].applied)
	assert.Positive(t, tallies["guarded"].wrong, "a second one is refused because of the first")
	assert.Positive(t, tallies["unsafe"].twice)
}

// What the default policy of go-retryablehttp makes of the same faults, for comparison.
// It runs with -faults.calls of 100,000 or more.
func TestFaultsWithRetryablehttp(t *testing.T) {
	if *faultCalls < 100_000 {
		t.Skip("a comparison, not a test: run it with -faults.calls=100000 -v")
	}
	client := retryablehttp.NewClient()
	client.Logger, client.RetryWaitMin, client.RetryWaitMax = nil, time.Millisecond, 10*time.Millisecond
	var once sync.Once
	faultRun(t, *faultCalls, attemptTimeout, false, brokenNetwork, func(service *tokenpatchtest.Service, carrier *http.Client, server string, n int) (faultCall, tokenpatch.Outcome) {
		once.Do(func() { client.HTTPClient = carrier })
		c := newFaultCall(t, service, nil, n)
		return c, sendRetryable(client, server, c)
	})
}

// sendRetryable makes a call, and returns the outcome a program would assume.
func sendRetryable(client *retryablehttp.Client, server string, c faultCall) tokenpatch.Outcome {
	target, authorization := "/api/v2/tokens/", tokenpatchtest.AccessToken
	if c.api == tokenpatchtest.V1 {
		target, authorization = "/api/v1/token/", "Bearer "+tokenpatchtest.APIKey
	}
	request, err := retryablehttp.NewRequest(http.MethodPatch, server+path.Join(target, c.id), []byte(c.body))
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", authorization)
	request.Header.Set("LD-API-Version", "20240415")
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return tokenpatch.OutcomeNotApplied
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	if err != nil || response.StatusCode >= 300 {
		return tokenpatch.OutcomeNotApplied
	}
	return tokenpatch.OutcomeApplied
}
