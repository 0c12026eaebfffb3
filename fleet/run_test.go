package fleet_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// bench is a service, and a store with runs against it.
type bench struct {
	*testing.T
	service *tokenpatchtest.Service
	source  string
	store   *fleet.Store
	options fleet.Options
}

func newBench(t *testing.T, source string) *bench {
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	addRoles(t, service)
	return &bench{T: t, service: service, source: source, store: open(t, source), options: fleet.Options{
		ServiceTime: time.Second,
		Client: tokenpatch.Config{
			HTTPClient: service.Client(),
			V1:         tokenpatch.V1Config{APIKey: tokenpatchtest.APIKey},
			V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
		},
	}}
}

// token adds a token of V2 with this id.
func (b *bench) token(id string) string {
	require.NoError(b, b.service.AddV2(fmt.Sprintf(`{"_id": %q, "name": "old", "customRoleIds": ["first"], "token": "api-the-secret-value"}`, id)))
	return id
}

func (b *bench) add(run string, changes ...fleet.Change) {
	b.Helper()
	_, err := b.store.Add(context.Background(), run, all(changes...), fleet.AddOptions{})
	require.NoError(b, err)
}

// run works on a run.
func (b *bench) run(run string) error { return b.runWith(context.Background(), run) }

func (b *bench) runWith(ctx context.Context, run string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return b.store.Run(ctx, run, b.options)
}

// results are the results of a run by the id of the token.
func (b *bench) results(run string) map[string]fleet.Result {
	b.Helper()
	results := make(map[string]fleet.Result)
	for result, err := range b.store.Results(context.Background(), run) {
		require.NoError(b, err)
		results[result.Change.ID] = result
	}
	return results
}

func (b *bench) progress(run string) fleet.Progress {
	b.Helper()
	p, err := b.store.Progress(context.Background(), run)
	require.NoError(b, err)
	return p
}

// isPatch matches what changes a token.
func isPatch(id string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == http.MethodPatch && filepath.Base(r.URL.Path) == id }
}

// results of one change of each kind.
var resultsWanted = map[string]struct {
	state    fleet.State
	attempts int
	kind     string
	status   int
}{
	uuidV1:      {fleet.StateApplied, 1, "", 0},
	"want":      {fleet.StateApplied, 1, "", 0},
	"as wanted": {fleet.StateApplied, 0, "", 0},
	"patch":     {fleet.StateApplied, 1, "", 0},
	"refused":   {fleet.StateNotApplied, 1, "PatchFailedError", 422},
	"missing":   {fleet.StateNotApplied, 0, "NotFoundError", 404},
}

// oneOfEach runs one change of each kind.
func (b *bench) oneOfEach() map[string]fleet.Result {
	b.addOneOfEach()
	require.NoError(b, b.run("run"))
	return b.results("run")
}

func (b *bench) addOneOfEach() {
	require.NoError(b, b.service.AddV1(fmt.Sprintf(`{"id": %q, "name": "old"}`, uuidV1)))
	b.add("run",
		renameV1(uuidV1, "new"),
		fleet.Change{ID: b.token("want"), Want: &fleet.Want{Name: tokenpatch.Set("new"), AddCustomRoleIDs: []string{"second"}, Comment: "review"}},
		fleet.Change{ID: b.token("as wanted"), Want: &fleet.Want{Name: tokenpatch.Set("old"), AddCustomRoleIDs: []string{"first"}, RemoveCustomRoleIDs: []string{"none"}}},
		fleet.Change{ID: b.token("patch"), Patch: tokenpatch.NewPatch().SetName("new")},
		fleet.Change{ID: b.token("refused"), Patch: tokenpatch.NewPatch().Test(tokenpatch.PathName, "another").SetName("new")},
		fleet.Change{ID: "missing", Patch: tokenpatch.NewPatch().SetName("new")},
	)
}

// The result of one token is found by its id, whatever its letters, and a run counts what is pending of V1.
func TestResultOfOneToken(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		b, ctx := newBench(t, source), context.Background()
		b.addOneOfEach()
		assert.Equal(t, 1, b.progress("run").PendingV1)
		for _, id := range []string{uuidV1, strings.ToUpper(uuidV1), "want", "WANT"} {
			result, err := b.store.Result(ctx, "run", id)
			require.NoError(t, err)
			assert.Equal(t, strings.ToLower(id), result.Change.ID)
			assert.Equal(t, fleet.StatePending, result.State)
		}
		result, err := b.store.Result(ctx, "run", "nobody")
		require.NoError(t, err)
		assert.Nil(t, result)
		_, err = b.store.Result(ctx, "none", "want")
		require.ErrorAs(t, err, new(*fleet.UnknownRunError))
		require.NoError(t, b.run("run"))
		assert.Zero(t, b.progress("run").PendingV1)
	})
}

func TestResults(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		b, began := newBench(t, source), time.Now()
		results := b.oneOfEach()
		require.Len(t, results, len(resultsWanted))
		for id, want := range resultsWanted {
			r := results[id]
			assert.Equal(t, want.state, r.State, id)
			assert.Equal(t, want.attempts, r.Attempts, id)
			assert.Equal(t, want.kind, r.ErrType, id)
			assert.Equal(t, want.status, r.Status, id)
			assert.Equal(t, want.kind == "", r.Err == "", "%s: %s", id, r.Err)
			assert.WithinRange(t, r.Started, began.Add(-time.Second), time.Now().Add(time.Second), id)
			assert.False(t, r.Ended.Before(r.Started), id)
		}
		assert.Equal(t, "old", results["want"].Before.Name.Or(""))
		assert.Equal(t, "new", results["want"].After.Name.Or(""))
		assert.Equal(t, []string{"first", "second"}, results["want"].After.CustomRoleIDs.Or(nil))
		assert.Contains(t, string(b.service.History("want")[0].Body), `"comment":"review"`)
		assert.Empty(t, b.service.History("as wanted"), "it was not written")
		assert.Nil(t, results[uuidV1].Before)
	})
}

func TestSomeResults(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		b, ctx := newBench(t, source), context.Background()
		b.oneOfEach()
		p := b.progress("run")
		assert.WithinDuration(t, time.Now(), p.Ended, time.Minute)
		p.Created, p.Ended = time.Time{}, time.Time{}
		assert.Equal(t, fleet.Progress{Run: "run", Applied: 4, NotApplied: 2}, p)
		var failed []string
		for result, err := range b.store.Results(ctx, "run", fleet.StateNotApplied, fleet.StateUnknown) {
			require.NoError(t, err)
			failed = append(failed, result.Change.ID)
		}
		assert.Equal(t, []string{"refused", "missing"}, failed)
		slowest, err := b.store.Slowest(ctx, "run", 3)
		require.NoError(t, err)
		require.Len(t, slowest, 3)
		for i, result := range slowest[1:] {
			assert.LessOrEqual(t, result.Ended.Sub(result.Started), slowest[i].Ended.Sub(slowest[i].Started))
		}
	})
}

func TestATokensValueIsNotStored(t *testing.T) {
	source := filepath.Join(t.TempDir(), "run.db")
	b := newBench(t, source)
	b.add("run", rename(b.token("a"), "new"), fleet.Change{ID: b.token("b"), Patch: tokenpatch.NewPatch().SetName("new")})
	require.NoError(t, b.run("run"))
	for id, result := range b.results("run") {
		assert.True(t, result.Before.Token.IsZero(), id)
		assert.True(t, result.After.Token.IsZero(), id)
	}
	for _, file := range []string{source, source + "-wal"} {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.NotContains(t, string(content), "the-secret-value", file)
		assert.NotContains(t, string(content), tokenpatchtest.AccessToken, file)
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	require.EqualError(t, b.run("none"), `fleet: there is no run "none"`)
	require.EqualError(t, b.run(""), `fleet: run "": want a name`)
	b.add("run", rename("a", "new"))
	for field, change := range map[string]func(*fleet.Options){
		"Options.Workers":     func(o *fleet.Options) { o.Workers = -1 },
		"Options.StopAfter":   func(o *fleet.Options) { o.StopAfter = 1 },
		"Options.ServiceTime": func(o *fleet.Options) { o.ServiceTime = -1 },
		"Config.V2.BaseURL":   func(o *fleet.Options) { o.Client.V2.BaseURL = "nonsense" },
	} {
		options := b.options
		change(&options)
		err := b.store.Run(context.Background(), "run", options)
		var input *tokenpatch.InputError
		require.ErrorAs(t, err, &input, field)
		assert.Equal(t, field, input.Field)
	}
	assert.Zero(t, b.service.RequestCount())
}

// A refused credential costs a handful of requests.
func TestARefusedCredentialStopsTheRun(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	for i := range 200 {
		b.add("run", rename(b.token(fmt.Sprint("token-", i)), "new"))
	}
	b.service.SetCredentials("", "another")
	err := b.run("run")
	var stopped *fleet.StoppedError
	require.ErrorAs(t, err, &stopped)
	assert.Contains(t, stopped.Reason, "refused 5 times in a row")
	assert.LessOrEqual(t, b.service.RequestCount(), 32+5, "as many as were under way, and those that went one at a time")
	p := b.progress("run")
	assert.Equal(t, stopped.Reason, p.Stopped)
	assert.LessOrEqual(t, p.NotApplied, b.service.RequestCount())
	assert.Equal(t, 200, p.NotApplied+p.Pending)

	b.service.SetCredentials("", tokenpatchtest.AccessToken)
	n, err := b.store.Retry(context.Background(), "run", nil, fleet.StateNotApplied)
	require.NoError(t, err)
	assert.Equal(t, p.NotApplied, n)
	require.NoError(t, b.run("run"))
	assert.Equal(t, 200, b.progress("run").Applied)
}

// V2 also responds 401 if only this token may not be changed.
func TestATokenThatMayNotBeChangedDoesNotStopTheRun(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.service.Inject(tokenpatchtest.Fault{Times: -1, Status: http.StatusUnauthorized, Body: `{"code": "unauthorized", "message": "no permission"}`,
		Match: func(r *http.Request) bool { return r.URL.Path[len(r.URL.Path)-1] == '7' }})
	for i := range 100 {
		b.add("run", rename(b.token(fmt.Sprint("token-", i)), "new"))
	}
	require.NoError(t, b.run("run"))
	p := b.progress("run")
	assert.Equal(t, 90, p.Applied)
	assert.Equal(t, 10, p.NotApplied)
}

func TestTooManyFailuresStopTheRun(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	for i := range 300 {
		id := fmt.Sprint("token-", i)
		if i%2 == 0 {
			b.token(id)
		}
		b.add("run", rename(id, "new"))
	}
	b.options.StopAfter = 0.25
	err := b.run("run")
	require.ErrorAs(t, err, new(*fleet.StoppedError))
	require.ErrorContains(t, err, "changes failed, the last with: tokenpatch: GET")
	p := b.progress("run")
	assert.GreaterOrEqual(t, p.Applied+p.NotApplied, 20)
	assert.LessOrEqual(t, p.Applied+p.NotApplied, 20+2*32)

	b.options.StopAfter = 0
	require.NoError(t, b.run("run"))
	assert.Equal(t, 150, b.progress("run").NotApplied)
}

// Stopping begins nothing new, and waits for what was sent.
func TestADrainWaitsForWhatWasSent(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, source string) {
		b := newBench(t, source)
		b.service.SetLatency(300 * time.Millisecond)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		b.appends(100, 1, cancel)
		require.ErrorIs(t, b.store.Run(ctx, "run", b.options), context.Canceled)
		requests := b.service.RequestCount()
		p := b.progress("run")
		assert.Positive(t, p.Applied)
		assert.Positive(t, p.Pending)
		changed := 0
		for i := range 100 {
			changed += b.service.Changes(fmt.Sprint("token-", i))
		}
		assert.Equal(t, changed, p.Applied, "nothing was left without an outcome")
		time.Sleep(600 * time.Millisecond)
		assert.Equal(t, requests, b.service.RequestCount(), "nothing is sent after it")

		b.service.SetLatency(0)
		require.NoError(t, b.run("run"))
		assert.Equal(t, 100, b.progress("run").Applied)
	})
}

// River completes and forgets jobs without asking our rows.
func TestAJobThatIsLostIsMadeAgain(t *testing.T) {
	source := filepath.Join(t.TempDir(), "run.db")
	b := newBench(t, source)
	for i := range 50 {
		b.add("run", rename(b.token(fmt.Sprint("token-", i)), "new"))
	}
	db, err := sql.Open("sqlite", source)
	require.NoError(t, err)
	defer db.Close()
	b.service.SetLatency(50 * time.Millisecond)
	var lost atomic.Int64
	b.options.Client.Hooks.AttemptStart = func(ctx context.Context, _ *tokenpatch.AttemptInfo) context.Context {
		if n := lost.Add(1); n == 3 || n == 30 {
			statement := "DELETE FROM river_job WHERE state = 'available'"
			if n == 30 {
				statement = "UPDATE river_job SET state = 'discarded', finalized_at = CURRENT_TIMESTAMP WHERE state = 'available'"
			}
			_, err := db.Exec("PRAGMA busy_timeout = 10000; " + statement)
			assert.NoError(t, err)
		}
		return ctx
	}
	require.NoError(t, b.run("run"))
	assert.Equal(t, 50, b.progress("run").Applied)
}

func TestADeletedFileIsNotedBeforeAnythingIsSent(t *testing.T) {
	source := filepath.Join(t.TempDir(), "run.db")
	b := newBench(t, source)
	for i := range 300 {
		b.add("run", rename(b.token(fmt.Sprint("token-", i)), "new"))
	}
	b.service.SetLatency(20 * time.Millisecond)
	var requests atomic.Int64
	b.options.Client.Hooks.AttemptEnd = func(context.Context, tokenpatch.AttemptResult) {
		if requests.Add(1) == 20 {
			assert.NoError(t, os.Remove(source))
		}
	}
	require.ErrorContains(t, b.run("run"), "deleted or replaced")
	changed := 0
	for i := range 300 {
		changed += b.service.Changes(fmt.Sprint("token-", i))
	}
	assert.Less(t, changed, 20+2*32)
}

// Unknown is final for a patch that may not be sent twice, unless somebody allows it.
func TestRetry(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, source string) {
		t.Parallel()
		b, ctx := newBench(t, source), context.Background()
		b.options.Client.HTTPClient.Timeout = 2 * time.Second
		b.options.ServiceTime = 100 * time.Millisecond
		patch := tokenpatch.NewPatch().AddCustomRoleID("second")
		b.add("run", fleet.Change{ID: b.token("never arrives"), Patch: patch}, fleet.Change{ID: b.token("arrives"), Patch: patch}, rename("missing", "new"))
		b.service.Inject(tokenpatchtest.Fault{Match: isPatch("never arrives"), Cut: tokenpatchtest.CutBefore},
			tokenpatchtest.Fault{Match: isPatch("arrives"), Cut: tokenpatchtest.CutAfter})
		require.NoError(t, b.run("run"))
		results := b.results("run")
		assert.Equal(t, fleet.StateUnknown, results["never arrives"].State)
		assert.Contains(t, results["never arrives"].Err, "may not be sent again")
		assert.Equal(t, fleet.StateApplied, results["arrives"].State, "a read shows it")
		assert.Equal(t, fleet.StateNotApplied, results["missing"].State)

		_, err := b.store.Retry(ctx, "run", nil, fleet.StateApplied)
		require.ErrorContains(t, err, "not_applied or unknown")
		b.token("missing")
		n, err := b.store.Retry(ctx, "run", nil, fleet.StateUnknown, fleet.StateNotApplied)
		require.NoError(t, err)
		assert.Equal(t, 2, n)
		require.NoError(t, b.run("run"))
		assert.Equal(t, fleet.StateUnknown, b.results("run")["never arrives"].State)
		assert.Equal(t, fleet.StateApplied, b.results("run")["missing"].State)
		assert.Zero(t, b.service.Changes("never arrives"))

		n, err = b.store.RetryEvenIfApplied(ctx, "run", fleet.StateUnknown)
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		require.NoError(t, b.run("run"))
		assert.Equal(t, fleet.StateApplied, b.results("run")["never arrives"].State)
		assert.Equal(t, 1, b.service.Changes("never arrives"))
		assert.Equal(t, 1, b.service.Changes("arrives"))
	})
}

// A Want is made again on what somebody else has written in between.
func TestAWantYieldsToOtherWriters(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.add("run", fleet.Change{ID: b.token("a"), Want: &fleet.Want{AddCustomRoleIDs: []string{"mine"}}})
	b.service.Inject(tokenpatchtest.Fault{Match: func(r *http.Request) bool {
		if r.Method != http.MethodPatch {
			return false
		}
		return assert.NoError(t, b.service.AddV2(`{"_id": "a", "name": "theirs", "customRoleIds": ["first", "theirs"]}`))
	}})
	require.NoError(t, b.run("run"))
	document, _ := b.service.V2("a")
	var token tokenpatch.Token
	require.NoError(t, json.Unmarshal(document, &token))
	assert.Equal(t, []string{"first", "theirs", "mine"}, token.CustomRoleIDs.Or(nil))
	result := b.results("run")["a"]
	assert.Equal(t, fleet.StateApplied, result.State)
	assert.Equal(t, 2, result.Attempts)
	assert.Equal(t, []string{"first", "theirs"}, result.Before.CustomRoleIDs.Or(nil))
}

// What somebody else has written over since may have been applied before.
func TestAPatchThatWasOvertakenIsUnknown(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]fleet.Change{
		"guarded patch": {ID: "a", Patch: tokenpatch.NewPatch().Test(tokenpatch.PathName, "old").SetName("new")},
		"want":          rename("a", "new"),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
			b.options.Client.HTTPClient.Timeout = 2 * time.Second
			b.options.Client.Retry.MaxAttempts = 1
			b.options.ServiceTime = 100 * time.Millisecond
			b.token("a")
			b.add("run", change)
			b.service.Inject(
				tokenpatchtest.Fault{Match: isPatch("a"), Cut: tokenpatchtest.CutAfter},
				tokenpatchtest.Fault{Match: func(r *http.Request) bool { // the settling read
					return b.service.Changes("a") == 1 && assert.NoError(t, b.service.AddV2(`{"_id": "a", "name": "theirs"}`))
				}},
				tokenpatchtest.Fault{Match: isPatch("a"), Times: -1, Status: http.StatusForbidden},
			)
			require.NoError(t, b.run("run"))
			result := b.results("run")["a"]
			assert.Equal(t, fleet.StateUnknown, result.State)
			assert.NotEmpty(t, result.Err)
			assert.Equal(t, 1, b.service.Changes("a"))
		})
	}
}

func TestPlanSendsNoChange(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	client, err := tokenpatch.NewClient(b.options.Client)
	require.NoError(t, err)
	changes := []fleet.Change{
		renameV1(uuidV1, "new"),
		rename(b.token("a"), "new"),
		rename(b.token("b"), "old"),
		{ID: b.token("c"), Patch: tokenpatch.NewPatch().Test(tokenpatch.PathName, "another").SetName("new")},
		rename("missing", "new"),
	}
	for i := range 50 {
		changes = append(changes, rename(b.token(fmt.Sprint("token-", i)), "new"))
	}
	var plans []fleet.Planned
	for p, err := range fleet.Plan(context.Background(), client, all(changes...)) {
		require.NoError(t, err)
		assert.Equal(t, changes[len(plans)].ID, p.Change.ID, "in order")
		plans = append(plans, p)
	}
	require.Len(t, plans, len(changes))
	assert.Nil(t, plans[0].Before)
	require.NoError(t, plans[0].Err)
	assert.Equal(t, "old", plans[1].Before.Name.Or(""))
	assert.Equal(t, "new", plans[1].After.Name.Or(""))
	assert.Equal(t, 2, plans[1].Patch.Len(), "a guard, and the change")
	assert.Zero(t, plans[2].Patch.Len(), "it is as wanted")
	require.ErrorContains(t, plans[3].Err, "test")
	require.ErrorAs(t, plans[4].Err, new(*tokenpatch.NotFoundError))
	for _, request := range b.service.Requests() {
		assert.Equal(t, http.MethodGet, request.Method)
	}
	for range fleet.Plan(context.Background(), client, all(changes...)) {
		break // it waits for started reads
	}
}
