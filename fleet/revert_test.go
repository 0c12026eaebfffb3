package fleet_test

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// reverted plans how to undo a run, by the token's id.
func (b *bench) reverted(run string) map[string]fleet.Planned {
	b.Helper()
	client, err := tokenpatch.NewClient(b.options.Client)
	require.NoError(b, err)
	all := make(map[string]fleet.Planned)
	for p, err := range b.store.Revert(context.Background(), client, run) {
		require.NoError(b, err)
		all[p.Change.ID] = p
	}
	return all
}

// A plan to undo a run sets back the run's writes, and nothing else, and reports what it cannot set
// back.
func TestRevert(t *testing.T) {
	t.Parallel()
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	require.NoError(t, b.service.AddV1(`{"id": "`+uuidV1+`", "name": "old"}`))
	patch := tokenpatch.NewPatch().AddCustomRoleID("second")
	b.add("run",
		fleet.Change{ID: b.token("want"), Want: &fleet.Want{Name: tokenpatch.Set("new"), Description: tokenpatch.Set("ours"), Comment: "why"}},
		fleet.Change{ID: b.token("patch"), Patch: patch},
		fleet.Change{ID: b.token("described since"), Patch: patch},
		fleet.Change{ID: b.token("changed since"), Patch: patch},
		fleet.Change{ID: b.token("set back since"), Patch: patch},
		fleet.Change{ID: b.token("deleted since"), Patch: patch},
		fleet.Change{ID: b.token("as wanted"), Want: &fleet.Want{Name: tokenpatch.Set("old")}},
		fleet.Change{ID: b.token("unknown"), Patch: patch},
		renameV1(uuidV1, "new"),
		rename("missing", "new"))
	b.options.Client.HTTPClient.Timeout = 2 * time.Second
	b.options.Client.Retry.MaxAttempts = 1
	b.options.ServiceTime = 100 * time.Millisecond
	b.service.Inject(tokenpatchtest.Fault{Match: isPatch("unknown"), Cut: tokenpatchtest.CutBefore})
	require.NoError(t, b.run("run"))
	client, err := tokenpatch.NewClient(b.options.Client)
	require.NoError(t, err)
	for id, change := range map[string]*tokenpatch.Patch{
		"described since": tokenpatch.NewPatch().SetDescription("theirs"),
		"changed since":   tokenpatch.NewPatch().AddCustomRoleID("theirs"),
		"set back since":  tokenpatch.NewPatch().SetCustomRoleIDs("first"),
	} {
		_, err := client.V2.PatchToken(context.Background(), id, change)
		require.NoError(t, err)
	}
	b.service.Remove("deleted since")

	plans := b.reverted("run")
	for id, want := range map[string]string{
		"changed since": "customRoleIds has been changed since",
		"deleted since": "404", "unknown": "not known whether", uuidV1: "V1 cannot be read",
	} {
		require.ErrorContains(t, plans[id].Err, want, id)
		assert.Nil(t, plans[id].Patch, id)
		delete(plans, id)
	}
	var undo []fleet.Change
	for id, p := range plans {
		require.NoError(t, p.Err, id)
		if id == "set back since" {
			assert.Zero(t, p.Patch.Len())
			continue
		}
		assert.Equal(t, p.Patch, p.Change.Patch, id)
		assert.Equal(t, p.Before.LastModified, p.After.LastModified, "it is not set back")
		undo = append(undo, p.Change)
	}
	require.Len(t, undo, 3, "those that the run did not change need no plan")
	sent, err := plans["want"].Patch.MarshalJSON()
	require.NoError(t, err)
	assert.Contains(t, string(sent), `"comment":"revert of run: why"`)
	b.add("undo", undo...)
	require.NoError(t, b.run("undo"))
	assert.Equal(t, 3, b.progress("undo").Applied)
	for id, description := range map[string]string{"want": "", "patch": "", "described since": "theirs"} {
		token, err := client.V2.GetToken(context.Background(), id)
		require.NoError(t, err)
		assert.Equal(t, "old", token.Name.Or(""), id)
		assert.Equal(t, description, token.Description.Or(""), id)
		assert.Equal(t, []string{"first"}, token.CustomRoleIDs.Or(nil), id)
	}
}

// A token renamed by somebody between two attempts is set back to its value before the first one,
// which may have been applied.
func TestRevertOfSeveralAttempts(t *testing.T) {
	t.Parallel()
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.options.Client.HTTPClient.Timeout = 2 * time.Second
	b.options.Client.Retry.MaxAttempts = 1
	b.options.ServiceTime = 100 * time.Millisecond
	b.add("run", fleet.Change{ID: b.token("a"), Want: &fleet.Want{Name: tokenpatch.Set("new"), AddCustomRoleIDs: []string{"second"}}})
	b.service.Inject(
		tokenpatchtest.Fault{Match: isPatch("a"), Cut: tokenpatchtest.CutAfter},
		tokenpatchtest.Fault{Match: func(r *http.Request) bool { // the settling read
			return b.service.Changes("a") == 1 && assert.NoError(t, b.service.AddV2(`{"_id": "a", "name": "theirs", "customRoleIds": ["first", "second"]}`))
		}})
	require.NoError(t, b.run("run"))
	result := b.results("run")["a"]
	assert.Equal(t, fleet.StateApplied, result.State)
	assert.Equal(t, 2, result.Attempts)
	p := b.reverted("run")["a"]
	require.NoError(t, p.Err)
	assert.Equal(t, []string{"first"}, p.After.CustomRoleIDs.Or(nil))
	assert.Equal(t, "old", p.After.Name.Or(""))
}
