package fleet_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/fleet/internal/postgrestest"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

var (
	killSeed    = flag.Uint64("kill.seed", uint64(time.Now().UnixNano()), "seed of the kill tests")
	killChanges = flag.Int("kill.changes", unlessRace(600, 120), "changes of each kill test")
	killTimes   = flag.Int("kill.times", unlessRace(8, 4), "how often a process is killed in each kill test")
	freezeFor   = flag.Duration("kill.freeze", 12*time.Second, "how long a process is frozen")
)

func unlessRace(n, race int) int {
	if underRace {
		return race
	}
	return n
}

// scene is a service with tokens, and a run with a change for each.
type scene struct {
	service *tokenpatchtest.Service
	child   child
	store   *fleet.Store
	kinds   map[string]string // of the change, by the token's id
	random  *rand.Rand
}

const attemptTimeout = 1500 * time.Millisecond

// newScene adds n changes to a run, of these kinds in turn.
func newScene(t *testing.T, source string, n int, kinds ...string) *scene {
	if testing.Short() {
		t.Skip("processes that are killed take half a minute")
	}
	t.Logf("-kill.seed=%d", *killSeed)
	s := &scene{service: tokenpatchtest.New(), store: open(t, source), kinds: make(map[string]string), random: rand.New(rand.NewPCG(*killSeed, 0))}
	t.Cleanup(s.service.Close)
	addRoles(t, s.service)
	url, err := s.service.Listen()
	require.NoError(t, err)
	s.child = child{Source: source, Run: "kill", URL: url, Workers: 16, Timeout: attemptTimeout, Service: time.Second,
		Wait: 15 * time.Second, Record: 2 * time.Second}
	changes := make([]fleet.Change, n)
	for i := range changes {
		changes[i] = s.change(t, kinds[i%len(kinds)], i)
	}
	added, err := s.store.Add(context.Background(), "kill", all(changes...), fleet.AddOptions{})
	require.NoError(t, err)
	require.Equal(t, n, added)
	return s
}

// change makes a token, and a change of it to the name "new" and, of V2, to the custom role
// "added".
func (s *scene) change(t *testing.T, kind string, n int) fleet.Change {
	c := fleet.Change{ID: fmt.Sprintf("token-%d", n)}
	if kind == "V1" {
		c.ID = uuid.NewSHA1(uuid.NameSpaceURL, []byte(c.ID)).String()
		c.Update = &tokenpatch.TokenUpdate{Name: tokenpatch.Set("new")}
		require.NoError(t, s.service.AddV1(fmt.Sprintf(`{"id": %q, "name": "old"}`, c.ID)))
		s.kinds[c.ID] = kind
		return c
	}
	require.NoError(t, s.service.AddV2(fmt.Sprintf(`{"_id": %q, "name": "old", "customRoleIds": ["first"]}`, c.ID)))
	switch kind {
	case "want":
		c.Want = &fleet.Want{Name: tokenpatch.Set("new"), AddCustomRoleIDs: []string{"added"}}
	case "guarded":
		c.Patch = tokenpatch.NewPatch().Test(tokenpatch.PathName, "old").Test(tokenpatch.PathCustomRoleIDs, []string{"first"}).SetName("new").AddCustomRoleID("added")
		require.Equal(t, tokenpatch.ReplayGuarded, c.Patch.Replay())
	case "idempotent":
		c.Patch = tokenpatch.NewPatch().SetName("new").SetCustomRoleIDs("first", "added")
	case "append":
		c.Patch = tokenpatch.NewPatch().SetName("new").AddCustomRoleID("added")
	}
	s.kinds[c.ID] = kind
	return c
}

// breakThings makes the service and the network as bad as they get: about three
// requests in ten go wrong.
func (s *scene) breakThings() {
	s.service.SetSeed(*killSeed)
	s.service.SetOptions(tokenpatchtest.Options{ReplicaLag: 5 * time.Second})
	for _, fault := range []tokenpatchtest.Fault{
		{Cut: tokenpatchtest.CutBefore},
		{Cut: tokenpatchtest.CutAfter},
		{Cut: tokenpatchtest.CutMiddle},
		{Status: http.StatusBadGateway, Body: "<html>"},
		{Status: http.StatusServiceUnavailable, Body: "<html>", Apply: true},
		{Status: http.StatusGatewayTimeout, Late: 300 * time.Millisecond},
		{Late: 300 * time.Millisecond},
		{DelayAfter: 2 * attemptTimeout},
	} {
		fault.Chance, fault.Times = 0.045, -1
		s.service.Inject(fault)
	}
}

// judge compares the report with the service's own history, and returns how many
// changes ended in each state, by kind.
func (s *scene) judge(t *testing.T) map[string]map[fleet.State]int {
	t.Helper()
	seen := 0
	tally := make(map[string]map[fleet.State]int)
	for result, err := range s.store.Results(context.Background(), "kill") {
		require.NoError(t, err)
		seen++
		kind := s.kinds[result.Change.ID]
		if tally[kind] == nil {
			tally[kind] = make(map[fleet.State]int)
		}
		tally[kind][result.State]++
		if result.State != fleet.StateApplied {
			t.Logf("%s %s: %s: %s: %s", kind, result.Change.ID, result.State, result.ErrType, result.Err)
		}
		s.compare(t, kind, result)
	}
	assert.Len(t, s.kinds, seen)
	for kind, states := range tally {
		t.Logf("%-10s %v", kind, states)
	}
	return tally
}

// compare compares one result with the history of its token.
func (s *scene) compare(t *testing.T, kind string, result fleet.Result) {
	history := s.service.History(result.Change.ID)
	switch result.State {
	case fleet.StateApplied:
		if assert.NotEmpty(t, history, "%s %s is said to be applied", kind, result.Change.ID) {
			after := history[len(history)-1].After
			assert.Equal(t, 1, bytes.Count(after, []byte(`"new"`)), "%s %s: %s", kind, result.Change.ID, after)
			assert.Equal(t, kind != "V1", bytes.Contains(after, []byte(`"added"`)), "%s %s: %s", kind, result.Change.ID, after)
		}
	case fleet.StateNotApplied:
		assert.Empty(t, history, "%s %s is said not to be applied: %s", kind, result.Change.ID, result.Err)
	case fleet.StateUnknown:
		assert.Empty(t, history, "%s %s is said to be unknown, and a read would have shown it: %s", kind, result.Change.ID, result.Err)
	case fleet.StatePending:
		assert.Fail(t, "pending", result.Change.ID)
	}
	switch kind {
	case "V1", "idempotent":
		for _, change := range history {
			assert.Equal(t, history[0].Body, change.Body, "%s %s was repeated, and not unchanged", kind, result.Change.ID)
		}
	default:
		assert.LessOrEqual(t, len(history), 1, "%s %s was applied twice: %s", kind, result.Change.ID, bodies(history))
	}
	if kind != "V1" && result.State == fleet.StateApplied {
		if assert.NotNil(t, result.Before) {
			assert.Equal(t, "old", result.Before.Name.Or(""), "%s %s", kind, result.Change.ID)
		}
		if result.After != nil { // nil if the response broke off, and a read after it failed as well
			assert.Equal(t, []string{"first", "added"}, result.After.CustomRoleIDs.Or(nil), "%s %s", kind, result.Change.ID)
		}
	}
}

// judgeAllApplied judges, and wants every change to be applied, except those of one
// kind.
func (s *scene) judgeAllApplied(t *testing.T, except string) {
	t.Helper()
	for kind, states := range s.judge(t) {
		if kind != except {
			assert.Equal(t, []fleet.State{fleet.StateApplied}, slices.Collect(maps.Keys(states)), kind)
		}
	}
}

func bodies(history []tokenpatchtest.Change) string {
	var texts []string
	for _, change := range history {
		texts = append(texts, change.Time.Format("05.000 ")+string(change.Body))
	}
	return fmt.Sprint(texts)
}

// killed starts a process again and again, kills it each time, and lets the last
// one end by itself.
func (s *scene) killed(t *testing.T) {
	began, kills := time.Now(), 0
	for kills < *killTimes {
		if !start(t, s.child).killAfter(t, time.Duration(150+s.random.IntN(1000))*time.Millisecond) {
			break // it was quicker
		}
		kills++
	}
	start(t, s.child).wait(t)
	t.Logf("%d changes, killed %d times, %v", len(s.kinds), kills, time.Since(began).Round(time.Second))
}

func TestKilledOnSQLite(t *testing.T) {
	t.Parallel()
	s := newScene(t, filepath.Join(t.TempDir(), "run.db"), *killChanges, "want", "guarded", "V1", "want", "idempotent", "V1")
	s.breakThings()
	s.killed(t)
	s.judgeAllApplied(t, "")
}

func TestKilledWithAppends(t *testing.T) {
	t.Parallel()
	s := newScene(t, filepath.Join(t.TempDir(), "run.db"), *killChanges, "append", "want", "V1", "guarded", "idempotent")
	s.breakThings()
	s.killed(t)
	s.judgeAllApplied(t, "append")
}

// Four processes share a run. One is killed at random every second or two, and
// Postgres itself crashes twice.
func TestKilledOnPostgres(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	s := newScene(t, server.URL, *killChanges, "want", "guarded", "V1", "want", "idempotent", "V1")
	s.breakThings()
	began, kills, restarts := time.Now(), 0, 0
	processes := make([]*process, 4)
	for i := range processes {
		processes[i] = start(t, s.child)
	}
	for kills < *killTimes {
		victim := s.random.IntN(len(processes))
		if !processes[victim].killAfter(t, time.Duration(200+s.random.IntN(1200))*time.Millisecond) {
			break
		}
		kills++
		if kills%(*killTimes/2) == *killTimes/4 {
			restarts++
			require.NoError(t, server.Stop())
			time.Sleep(time.Duration(s.random.IntN(1000)) * time.Millisecond)
			require.NoError(t, server.Start())
		}
		processes[victim] = start(t, s.child)
	}
	for _, p := range processes {
		p.wait(t)
	}
	t.Logf("%d changes, killed %d times, Postgres restarted %d times, %v", len(s.kinds), kills, restarts, time.Since(began).Round(time.Second))
	s.judgeAllApplied(t, "")
}

// Two processes work on the same run in the same file.
func TestTwoProcessesOnOneFile(t *testing.T) {
	t.Parallel()
	s := newScene(t, filepath.Join(t.TempDir(), "run.db"), *killChanges, "append", "want", "V1", "guarded", "idempotent")
	s.child.Timeout = 30 * time.Second // so no attempt is given up on a slow machine
	processes := []*process{start(t, s.child), start(t, s.child)}
	for _, p := range processes {
		p.wait(t)
	}
	s.judgeAllApplied(t, "")
	for id := range s.kinds {
		assert.Equal(t, 1, s.service.Changes(id), id)
	}
}
