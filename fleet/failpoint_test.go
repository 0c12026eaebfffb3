package fleet_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/fleet/internal/postgrestest"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

var allFailpoints = flag.Bool("failpoints", false, "kill a process at each failpoint with each kind of change on each store: go test -run TestKilledAt -failpoints -parallel 8 -v -timeout 1h")

// The moments at which a working process is killed.
var runFailpoints = []string{
	"feed: before commit", "feed: after commit", // making jobs
	"beat: before commit", "beat: after commit",
	"writing down", "before sending", // in the transaction before sending, and after it
	"after sending", "before recording", // after the response
	"recording", "after recording", // in the transaction with the outcome, and before River completes the job
	"work: before commit", "work: after commit",
	"putting off",
	"end beat: before commit",
}

var kinds = []string{"want", "guarded", "idempotent", "append", "V1"}

// A process is killed at one moment, exactly, and another one resumes. By the service's own history
// nothing is doubled by mistake, no result is false, and nothing stays pending.
func TestKilledAt(t *testing.T) {
	stores := map[string]func(*testing.T) string{
		"SQLite":   func(t *testing.T) string { return filepath.Join(t.TempDir(), "run.db") },
		"Postgres": func(t *testing.T) string { return postgrestest.URL(t) },
	}
	n := 0
	for _, name := range []string{"SQLite", "Postgres"} {
		for i, point := range runFailpoints {
			for j, kind := range kinds {
				// A sample: each failpoint on one of the stores, with another kind each time.
				if !*allFailpoints && (j != i%len(kinds) || (i%2 == 0) != (name == "SQLite")) {
					continue
				}
				n++
				t.Run(name+"/"+point+"/"+kind, func(t *testing.T) {
					t.Parallel()
					killedAt(t, stores[name](t), point, kind)
				})
			}
		}
	}
	t.Logf("%d of %d cases", n, 2*len(runFailpoints)*len(kinds))
}

func killedAt(t *testing.T, source, point, kind string) {
	s := newScene(t, source, 6, kind)
	s.child.Workers, s.child.Attempts = 3, 1
	s.child.Timeout, s.child.Service = 500*time.Millisecond, 200*time.Millisecond
	s.service.Inject(tokenpatchtest.Fault{Match: func(r *http.Request) bool { return r.Method == http.MethodPatch }, Cut: tokenpatchtest.CutAfter})
	killed := s.child
	killed.Fail, killed.FailAt = point, 1
	require.True(t, start(t, killed).killed(t), "it was not killed")
	start(t, s.child).wait(t)
	except := ""
	if kind == "append" {
		except = kind // it may be unknown whether it was applied
	}
	s.judgeAllApplied(t, except)
}

// Every other transaction is made whole, or not at all.
func TestKilledInOtherTransactions(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("processes that are killed take some seconds")
	}
	counts := func(b *bench) any { return b.counts() }
	failed := fleet.Progress{Applied: 2, NotApplied: 1}
	for name, c := range map[string]struct {
		call          string // empty works on the run
		look          func(*bench) any
		before, after any
	}{
		"add":    {"add", counts, failed, fleet.Progress{Pending: 3, Applied: 2, NotApplied: 1}},
		"retry":  {"retry", counts, failed, fleet.Progress{Applied: 2, Pending: 1}},
		"again":  {"again", counts, failed, fleet.Progress{Pending: 2, NotApplied: 1}},
		"delete": {"delete", counts, failed, fleet.Progress{}},
		"label":  {"label", func(b *bench) any { return b.progress("run").Label }, "", "new"},
		"note":   {"note", func(b *bench) any { return b.note() }, "", "new"},
		"budget": {"budget", func(b *bench) any { return b.state() }, "", "new"},
		"roles":  {"", func(b *bench) any { return b.knowsRoles() }, false, true},
		"halt":   {"", func(b *bench) any { return b.progress("run").Stopped != "" }, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, source string) {
				b := newBench(t, source)
				b.add("run", rename(b.token("a"), "new"), rename(b.token("b"), "new"), rename("missing", "new"))
				require.NoError(t, b.run("run"))
				url, err := b.service.Listen()
				require.NoError(t, err)
				switch name {
				case "roles":
					b.add("run", fleet.Change{ID: b.token("c"), Want: &fleet.Want{CustomRoleIDs: tokenpatch.Set([]string{"second"})}})
				case "halt":
					for i := range 20 {
						b.add("run", rename(b.token(fmt.Sprint("token-", i)), "new"))
					}
					b.service.SetCredentials("other", "other")
				}
				// One worker: others would go on while the first one writes down that the run stops, and leave too little to stop again.
				child := child{Source: source, Run: "run", URL: url, Workers: 1, Call: c.call, FailAt: 1, Wait: time.Minute, Record: time.Minute}
				child.Fail = name + ": before commit"
				require.True(t, start(t, child).killed(t))
				assert.Equal(t, c.before, c.look(b))
				child.Fail = name + ": after commit"
				require.True(t, start(t, child).killed(t))
				assert.Equal(t, c.after, c.look(b))
			})
		})
	}
}

// Tables that are made in part are made whole by the next process.
func TestKilledWhileTablesAreMade(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		for _, point := range []string{"migrate: before commit", "migrate: after commit"} {
			require.True(t, start(t, child{Source: source, Run: "run", Call: "add", Fail: point, FailAt: 1}).killed(t))
		}
		b := newBench(t, source)
		b.add("run", rename(b.token("a"), "new"))
		require.NoError(t, b.run("run"))
	})
}

// note is what the child notes.
func (b *bench) note() string {
	text, err := b.store.Note(context.Background(), "run", "note")
	require.NoError(b, err)
	return string(text)
}

// state is what the child keeps as a budget.
func (b *bench) state() (state string) {
	require.NoError(b, b.store.Update(context.Background(), "key", func(text []byte, _ time.Time) ([]byte, time.Duration, error) {
		state = string(text)
		return text, time.Hour, nil
	}))
	return state
}

func (b *bench) knowsRoles() bool {
	roles, err := b.store.Roles(context.Background(), "run")
	require.NoError(b, err)
	return len(roles) > 0
}

// counts is how many changes of the run are in each state; none if there is no run.
func (b *bench) counts() fleet.Progress {
	p, err := b.store.Progress(context.Background(), "run")
	if err != nil {
		require.ErrorAs(b, err, new(*fleet.UnknownRunError))
	}
	return fleet.Progress{Pending: p.Pending, Applied: p.Applied, NotApplied: p.NotApplied, Unknown: p.Unknown}
}
