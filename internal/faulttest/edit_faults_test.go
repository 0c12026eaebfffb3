package faulttest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

var (
	editCalls = flag.Int("edits.calls", 100, "calls of each kind of the fault run of EditToken")
	editLate  = flag.Duration("edits.late", 200*time.Millisecond, "how late a request may arrive in its runs over sockets")
	editLag   = flag.Duration("edits.lag", 500*time.Millisecond, "how old a read may be in its runs over sockets, if replicas lag")
	editSeed  = flag.Uint64("edits.seed", 1, "seed of its faults")
)

// weather is what a service does besides breaking requests.
type weather struct {
	name    string
	options tokenpatchtest.Options
	faults  []tokenpatchtest.Fault
}

var weathers = []weather{
	{name: "broken requests"},
	{
		name:    "also lag, normalization, pages, connections out of step",
		options: tokenpatchtest.Options{ReplicaLag: 5 * time.Second, Normalize: true},
		faults:  slices.Concat(pages(), []tokenpatchtest.Fault{{OutOfStep: true}, {OutOfStep: true}, {OutOfStep: true}}),
	},
}

// pages are pages of a gateway, whole and cut anywhere, and tokens cut anywhere.
func pages() (faults []tokenpatchtest.Fault) {
	const page = `{"status": "ok", "session": {"_id": "expired", "user": null}, "message": "Please sign in"}`
	for _, end := range []int{1, 10, 30, 50, len(page) - 1, len(page)} {
		faults = append(faults, tokenpatchtest.Fault{Status: 200, Body: page[:end]}, tokenpatchtest.Fault{Status: 200, Body: page[:end], Apply: true})
	}
	for _, end := range []int{1, 8, 15, 25, 40, 100, -40, -1} {
		faults = append(faults, tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle, CutAt: end})
	}
	return faults
}

// brokenRequests returns the faults of the run: all are equally likely, and together
// they meet three requests in ten.
func brokenRequests(timeout, late time.Duration, more []tokenpatchtest.Fault) []tokenpatchtest.Fault {
	faults := append([]tokenpatchtest.Fault{
		{Cut: tokenpatchtest.CutBefore},
		{Cut: tokenpatchtest.CutAfter},
		{Cut: tokenpatchtest.CutMiddle},
		{Status: 502}, {Status: 503, Apply: true}, {Status: 504, Apply: true, Body: "<html>"},
		{DelayAfter: 2 * timeout},
		{Late: late / 1000}, {Late: late / 100}, {Late: late / 10}, {Late: late},
		{Late: late / 30, Status: 504}, {Late: late / 3, Status: 502},
	}, more...)
	share := faulty / float64(len(faults))
	for i := range faults {
		faults[i].Times = -1
		faults[i].Chance = share / (1 - float64(i)*share) // of those without an earlier fault
		faults[i].Match = isOurs
	}
	return faults
}

// editKind is one row of the run's table.
type editKind struct {
	name     string
	attempts int     // of RetryPolicy
	unknown  float64 // the largest share of calls whose outcome may be unknown
	failed   float64 // the largest share of reads with an error
	other    bool    // whether another program changes the same token, in half of the calls
	again    bool    // whether the call may send its change again
	call     func(ctx context.Context, client *tokenpatch.Client, id string, meanwhile func()) tokenpatch.Outcome
	want     string // in the token, once the call was applied
}

func editName(ctx context.Context, client *tokenpatch.Client, id string, _ func()) tokenpatch.Outcome {
	_, err := client.V2.EditToken(ctx, id, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
		token.Name = tokenpatch.Set("added")
		return nil
	})
	return tokenpatch.OutcomeOf(err)
}

// editBlanks sets a name, whose blanks the service may remove.
func editBlanks(ctx context.Context, client *tokenpatch.Client, id string, _ func()) tokenpatch.Outcome {
	_, err := client.V2.EditToken(ctx, id, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
		token.Name = tokenpatch.Set(" added ")
		return nil
	})
	return tokenpatch.OutcomeOf(err)
}

func editRoles(ctx context.Context, client *tokenpatch.Client, id string, meanwhile func()) tokenpatch.Outcome {
	add := addRole("added")
	_, err := client.V2.EditToken(ctx, id, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
		meanwhile()
		return add(token)
	})
	return tokenpatch.OutcomeOf(err)
}

// patchAndSettle reads once after a patch whose outcome is unknown.
func patchAndSettle(ctx context.Context, client *tokenpatch.Client, id string, _ func()) tokenpatch.Outcome {
	before, err := client.V2.GetToken(ctx, id)
	if err != nil {
		return tokenpatch.OutcomeOf(err)
	}
	patch := tokenpatch.NewPatch().AddCustomRoleID("added").Guard(*before)
	_, err = client.V2.PatchToken(ctx, id, patch)
	// On a connection that is out of step, a refusal can belong to another request.
	if outcome := tokenpatch.OutcomeOf(err); outcome != unknown && !errors.As(err, new(*tokenpatch.PatchFailedError)) {
		return outcome
	}
	outcome, _, _ := client.V2.Settle(ctx, *before, patch) // unknown if the read fails
	return outcome
}

func readOnly(ctx context.Context, client *tokenpatch.Client, id string, _ func()) tokenpatch.Outcome {
	_, err := client.V2.GetToken(ctx, id)
	return tokenpatch.OutcomeOf(err)
}

var editKinds = []editKind{
	{name: "guarded patch through EditToken", unknown: 0.001, call: editName, want: `"name":"added"`},
	{name: "'add this role' through EditToken", unknown: 0.001, call: editRoles, want: `["added"]`},
	{name: "the same beside another writer", unknown: 0.005, other: true, call: editRoles, want: `"added"`},
	{name: "a name with blanks", unknown: 0.005, again: true, call: editBlanks, want: `added`},
	{name: "guarded patch, settled by one read", unknown: 1, call: patchAndSettle, want: `["added"]`},
	{name: "reads, 4 attempts", failed: 0.02, call: readOnly},
	{name: "reads, 12 attempts", attempts: 12, failed: 0.0005, call: readOnly},
}

// editTally is the outcomes of the calls of one kind.
type editTally struct {
	calls, applied, notApplied, unknown int
	twice, wrong, lost                  int
	requests                            int
}

func (y editTally) String() string {
	return fmt.Sprintf("%6d calls: %6d applied, %4d not applied, %3d unknown (%.3f %%); %d applied twice, %d false, %d lost; %.3f requests a call",
		y.calls, y.applied, y.notApplied, y.unknown, 100*float64(y.unknown)/float64(y.calls), y.twice, y.wrong, y.lost, float64(y.requests)/float64(y.calls))
}

// editCall is one call of the run, on a token of its own.
type editCall struct {
	id      string
	outcome tokenpatch.Outcome
	other   bool // whether another writer changed the token meanwhile
}

// judge compares what a call returned with the token's own history, once nothing is
// on its way any more.
func (y *editTally) judge(service *tokenpatchtest.Service, kind editKind, c editCall) {
	own, others := 0, 0
	for _, change := range service.History(c.id) {
		if strings.Contains(string(change.Body), `"other"`) && !strings.Contains(string(change.Body), `"added"`) {
			others++
		} else {
			own++
		}
	}
	token, _ := service.V2(c.id)
	there := strings.Contains(string(token), kind.want)
	y.calls++
	if own > 1 && !kind.again {
		y.twice++
	}
	if others != strings.Count(string(token), `"other"`) || c.other != (others > 0) {
		y.lost++
	}
	switch c.outcome {
	case tokenpatch.OutcomeApplied:
		y.applied++
		if !there {
			y.wrong++
		}
	case tokenpatch.OutcomeNotApplied:
		y.notApplied++
		if own > 0 {
			y.wrong++
		}
	default:
		y.unknown++
	}
}

// runEdits makes the calls of one kind, waits until nothing can arrive any more,
// and judges them.
func runEdits(t *testing.T, service *tokenpatchtest.Service, carrier *http.Client, baseURL string, kind editKind, w weather, late time.Duration) editTally {
	const timeout = 250 * time.Millisecond
	carrier.Timeout = timeout
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V2:         tokenpatch.V2Config{BaseURL: baseURL, AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: carrier,
		Retry:      tokenpatch.RetryPolicy{MaxAttempts: kind.attempts, MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond},
	})
	require.NoError(t, err)
	service.ClearFaults()
	service.SetSeed(*editSeed)
	service.Inject(brokenRequests(timeout, late, w.faults)...)
	service.SetOptions(w.options)
	before := service.RequestCount()

	calls := make([]editCall, *editCalls)
	numbers := make(chan int)
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for n := range numbers {
				calls[n] = makeEdit(t, service, client, kind, n)
			}
		})
	}
	for n := range calls {
		numbers <- n
	}
	close(numbers)
	group.Wait()
	time.Sleep(late + timeout)

	y := editTally{requests: service.RequestCount() - before}
	for _, c := range calls {
		y.judge(service, kind, c)
	}
	return y
}

// makeEdit makes one call. Another writer, if any, writes either between the read and the change,
// or at any time.
func makeEdit(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client, kind editKind, n int) editCall {
	c := editCall{id: fmt.Sprintf("%s %d", kind.name, n)}
	assert.NoError(t, service.AddV2(`{"_id": "`+c.id+`", "name": "old", "customRoleIds": []}`))
	var once sync.Once
	write := func() {
		once.Do(func() {
			writeAsOther(t, service, c.id, `[{"op": "add", "path": "/customRoleIds/-", "value": "other"}]`)
			c.other = true
		})
	}
	meanwhile := func() {}
	var group sync.WaitGroup
	switch {
	case kind.other && n%4 == 0:
		meanwhile = write
	case kind.other && n%4 == 1:
		group.Go(func() {
			time.Sleep(time.Duration(rand.Int64N(int64(40 * time.Millisecond))))
			write()
		})
	}
	c.outcome = kind.call(context.Background(), client, c.id, meanwhile)
	group.Wait()
	return c
}

func (kind editKind) check(t *testing.T, y editTally) {
	t.Helper()
	t.Logf("%-34s %v", kind.name, y)
	assert.Zero(t, y.twice, "applied twice")
	assert.Zero(t, y.wrong, "false")
	assert.Zero(t, y.lost, "changes of the other writer that were lost")
}

// checkShares is for runs of many calls, and for those in virtual time: a busy
// machine breaks requests of its own.
func (kind editKind) checkShares(t *testing.T, y editTally) {
	t.Helper()
	assert.LessOrEqual(t, float64(y.unknown), kind.unknown*float64(y.calls))
	if kind.want != "" {
		return // its first read may have failed
	}
	most := kind.failed * float64(y.calls)
	if most > 0 && y.calls < 10_000 {
		most += 8 // too few to measure a share
	}
	assert.LessOrEqual(t, float64(y.notApplied), most)
}

// In virtual time a request arrives up to a minute after its connection broke.
func TestEditsThroughFaults(t *testing.T) {
	for _, w := range weathers {
		for _, kind := range editKinds {
			t.Run(w.name+"/"+kind.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					service := tokenpatchtest.New()
					defer service.Close()
					carrier := service.Client()
					failDials(carrier.Transport.(*http.Transport))
					y := runEdits(t, service, carrier, "https://app.example.com", kind, w, time.Minute)
					kind.check(t, y)
					kind.checkShares(t, y)
				})
			})
		}
	}
}

func TestEditsThroughFaultsOverSockets(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		for _, w := range weathers {
			w.options.ReplicaLag = min(w.options.ReplicaLag, *editLag)
			for _, kind := range editKinds {
				t.Run(protocol+" "+w.name+"/"+kind.name, func(t *testing.T) {
					t.Parallel()
					service := tokenpatchtest.New()
					t.Cleanup(service.Close)
					baseURL, err := service.Listen()
					carrier := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
					if protocol == "HTTP/2" {
						baseURL, carrier, err = service.ListenTLS()
					}
					require.NoError(t, err)
					t.Cleanup(carrier.CloseIdleConnections)
					failDials(carrier.Transport.(*http.Transport))
					y := runEdits(t, service, carrier, baseURL, kind, w, *editLate)
					kind.check(t, y)
					if *editCalls >= 10_000 {
						kind.checkShares(t, y)
					}
				})
			}
		}
	}
}

// failDials makes three dials in ten fail, also in a bubble, without a socket.
func failDials(transport *http.Transport) {
	dial := transport.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	refuse := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	unreliable := func(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			if rand.Float64() < faulty {
				return nil, refuse
			}
			return dial(ctx, network, address)
		}
	}
	transport.DialContext = unreliable(dial)
	if transport.DialTLSContext != nil {
		transport.DialTLSContext = unreliable(transport.DialTLSContext)
	}
}
