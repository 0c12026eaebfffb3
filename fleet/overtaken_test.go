package fleet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// hasty shortens how long an attempt may take, and what is waited for after it.
func (b *bench) hasty() {
	b.options.Client.HTTPClient.Timeout = 300 * time.Millisecond
	b.options.Client.Retry.MaxAttempts = 1
	b.options.ServiceTime = 100 * time.Millisecond
}

// cutAfter breaks the connections of n changes after they were applied.
func (b *bench) cutAfter(n int) tokenpatchtest.Fault {
	return tokenpatchtest.Fault{Times: n, Cut: tokenpatchtest.CutAfter, Match: func(r *http.Request) bool { return r.Method == http.MethodPatch }}
}

// A read is repeated for no longer than a worker may take.
func TestARepeatedReadEnds(t *testing.T) {
	defer fleet.SetTimes(300*time.Millisecond, time.Second)()
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.hasty()
	b.add("run", fleet.Change{ID: b.token("a"), Patch: tokenpatch.NewPatch().AddCustomRoleID("second")})
	b.service.Inject(tokenpatchtest.Fault{Match: isPatch("a"), Cut: tokenpatchtest.CutBefore})
	require.NoError(t, b.run("run"))
	assert.Equal(t, fleet.StateUnknown, b.results("run")["a"].State)
}

// theirs has somebody else write the token at the first read after n attempts.
func (b *bench) theirs(n int) tokenpatchtest.Fault {
	return tokenpatchtest.Fault{Match: func(r *http.Request) bool {
		return r.Method == http.MethodGet && b.patches() == n && assert.NoError(b, b.service.AddV2(`{"_id": "a", "name": "theirs"}`))
	}}
}

// If somebody overtakes an approved patch while its response is lost, the first refusal settles it.
// A Want is made again. Neither is sent again and again.
func TestWhatIsOvertakenIsSentTwiceAtMost(t *testing.T) {
	old := tokenpatch.Token{ID: "a", Name: tokenpatch.Set("old"), LastModified: 1}
	approved := tokenpatch.NewPatch().SetName("new").Guard(old).Test("/lastModified", 1)
	for name, c := range map[string]struct {
		change fleet.Change
		cut    tokenpatchtest.Cut
		state  fleet.State
	}{
		"approved patch that did not arrive": {fleet.Change{ID: "a", Patch: approved}, tokenpatchtest.CutBefore, fleet.StateUnknown},
		"approved patch that was applied":    {fleet.Change{ID: "a", Patch: approved}, tokenpatchtest.CutAfter, fleet.StateUnknown},
		"want that did not arrive":           {rename("a", "new"), tokenpatchtest.CutBefore, fleet.StateApplied},
		"want that was applied":              {rename("a", "new"), tokenpatchtest.CutAfter, fleet.StateApplied},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
			b.hasty()
			defer fleet.SetPauses(time.Second, time.Second)()
			require.NoError(t, b.service.AddV2(`{"_id": "a", "name": "old", "lastModified": 1}`))
			b.add("run", c.change)
			b.service.Inject(tokenpatchtest.Fault{Match: isPatch("a"), Cut: c.cut}, b.theirs(1))
			require.NoError(t, b.run("run"))
			assert.Equal(t, c.state, b.results("run")["a"].State, b.results("run")["a"].Err)
			assert.Equal(t, 2, b.patches())
		})
	}
}

// An applied patch with a lost response and an old first read is settled as applied.
func TestASettlingReadThatLags(t *testing.T) {
	for name, change := range map[string]fleet.Change{
		"guarded": {ID: "a", Patch: tokenpatch.NewPatch().Test(tokenpatch.PathName, "old").SetName("new")},
		"append":  {ID: "a", Patch: tokenpatch.NewPatch().AddCustomRoleID("second")},
		"want":    {ID: "a", Want: &fleet.Want{AddCustomRoleIDs: []string{"second"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
			b.hasty()
			b.service.SetOptions(tokenpatchtest.Options{ReplicaLag: 5 * time.Second})
			b.add("run", func() fleet.Change { b.token("a"); return change }())
			b.service.Inject(tokenpatchtest.Fault{Match: isPatch("a"), Cut: tokenpatchtest.CutAfter})
			require.NoError(t, b.run("run"))
			result := b.results("run")["a"]
			assert.Equal(t, fleet.StateApplied, result.State, result.Err)
			assert.Equal(t, 1, b.service.Changes("a"))
			assert.LessOrEqual(t, b.patches(), 2)
		})
	}
}

// After an unknown outcome a change is never not applied: here somebody has it sent again, and it
// is refused.
func TestOnceUnknownNeverNotApplied(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.hasty()
	defer fleet.SetPauses(time.Second, 200*time.Millisecond)()
	b.add("run", fleet.Change{ID: b.token("a"), Patch: tokenpatch.NewPatch().AddCustomRoleID("second")})
	b.service.Inject(tokenpatchtest.Fault{Match: isPatch("a"), Cut: tokenpatchtest.CutAfter}, b.theirs(1))
	require.NoError(t, b.run("run"))
	require.Equal(t, fleet.StateUnknown, b.results("run")["a"].State)
	n, err := b.store.RetryEvenIfApplied(context.Background(), "run", fleet.StateUnknown)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	b.service.Inject(tokenpatchtest.Fault{Match: isPatch("a"), Status: http.StatusForbidden})
	require.NoError(t, b.run("run"))
	assert.Equal(t, 2, b.patches())
	assert.Equal(t, fleet.StateUnknown, b.results("run")["a"].State)
}

// A token whose read always fails ends its change, and the report has the reason.
func TestAReadThatAlwaysFails(t *testing.T) {
	defer fleet.SetPauses(time.Millisecond, time.Second)()
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.hasty()
	b.add("run", rename(b.token("not sent"), "new"), rename(b.token("sent"), "new"), rename(b.token("other"), "new"))
	failing := func(end string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, end) }
	}
	reads := 0
	b.service.Inject(
		tokenpatchtest.Fault{Match: failing("/not sent"), Times: -1, Status: http.StatusInternalServerError, Body: "out of order"},
		tokenpatchtest.Fault{Match: isPatch("sent"), Cut: tokenpatchtest.CutAfter},
		tokenpatchtest.Fault{Match: func(r *http.Request) bool {
			if !failing("/sent")(r) {
				return false
			}
			reads++
			return reads > 1
		}, Times: -1, Status: http.StatusInternalServerError, Body: "out of order"})
	require.NoError(t, b.run("run"))
	results := b.results("run")
	assert.Equal(t, fleet.StateNotApplied, results["not sent"].State)
	assert.Equal(t, fleet.StateUnknown, results["sent"].State)
	assert.Equal(t, fleet.StateApplied, results["other"].State)
	for _, id := range []string{"not sent", "sent"} {
		assert.Equal(t, "ServerError", results[id].ErrType, results[id].Err)
		assert.Equal(t, http.StatusInternalServerError, results[id].Status)
	}
	assert.LessOrEqual(t, b.service.RequestCount(), 2*34+4)
}

// A service that cannot test lastModified refuses each guard with this test. The change is sent
// without it, which is remembered and logged once.
func TestAServiceThatCannotTestLastModified(t *testing.T) {
	defer fleet.SetPauses(time.Second, 300*time.Millisecond)()
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.service.SetOptions(tokenpatchtest.Options{RefuseLastModifiedTest: true})
	var text bytes.Buffer
	b.options.Logger = slog.New(slog.NewTextHandler(&text, nil))
	b.options.Workers = 1
	const n = 5
	describe := &fleet.Want{Description: tokenpatch.Set("ours")} // which the tokens do not have
	for i := range n {
		b.add("run", fleet.Change{ID: b.token(string(rune('a' + i))), Want: describe})
	}
	b.add("run", fleet.Change{ID: b.token("refused"), Patch: tokenpatch.NewPatch().SetName("new").Test("/lastModified", 1)})
	require.NoError(t, b.run("run"))
	assert.Equal(t, n, b.progress("run").Applied)
	assert.Equal(t, fleet.StateNotApplied, b.results("run")["refused"].State, "an approved patch is sent as it is")
	assert.Equal(t, n+2, b.patches(), "one was refused before it was known")
	assert.Equal(t, 1, strings.Count(text.String(), "cannot test /lastModified"), text.String())
	var token tokenpatch.Token
	document, _ := b.service.V2("a")
	require.NoError(t, json.Unmarshal(document, &token))
	assert.Equal(t, "ours", token.Description.Or(""))
}
