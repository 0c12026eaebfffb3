package fleet_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// Again checks what was applied, and changes only what has drifted.
func TestAgain(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		b, ctx := newBench(t, source), context.Background()
		require.NoError(t, b.service.AddV1(`{"id": "`+uuidV1+`", "name": "old"}`))
		b.add("run",
			rename(b.token("drifts"), "new"),
			rename(b.token("stays"), "new"),
			fleet.Change{ID: b.token("idempotent"), Patch: tokenpatch.NewPatch().SetName("new")},
			fleet.Change{ID: b.token("guarded"), Patch: tokenpatch.NewPatch().Test(tokenpatch.PathName, "old").SetName("new")},
			renameV1(uuidV1, "new"),
			rename("missing", "new"))
		require.NoError(t, b.run("run"))
		before := b.results("run")
		require.NoError(t, b.service.AddV2(`{"_id": "drifts", "name": "theirs", "customRoleIds": ["first"]}`))

		n, err := b.store.Again(ctx, "run")
		require.NoError(t, err)
		assert.Equal(t, 4, n, "what was applied and may be sent again")
		n, err = b.store.Again(ctx, "run")
		require.NoError(t, err)
		assert.Zero(t, n, "the rest is pending or stays")
		require.NoError(t, b.run("run"))
		after := b.results("run")
		for id, result := range after {
			assert.Equal(t, before[id].State, result.State, id)
		}
		assert.Equal(t, map[string]int{"drifts": 2, "stays": 1, "idempotent": 2, "guarded": 1, uuidV1: 2},
			map[string]int{"drifts": b.changes("drifts"), "stays": b.changes("stays"), "idempotent": b.changes("idempotent"), "guarded": b.changes("guarded"), uuidV1: b.changes(uuidV1)})
		assert.Equal(t, "old", after["drifts"].Before.Name.Or(""), "before the run's first attempt")
		assert.Equal(t, "new", after["drifts"].After.Name.Or(""))
		assert.Equal(t, 2, after["drifts"].Attempts)
		assert.Equal(t, before["guarded"], after["guarded"])

		_, err = b.store.Again(ctx, "none")
		require.ErrorAs(t, err, new(*fleet.UnknownRunError))
	})
}

// What was applied long ago does not make a later refusal uncertain.
func TestAgainThatIsRefused(t *testing.T) {
	b := newBench(t, t.TempDir()+"/run.db")
	b.add("run", rename(b.token("a"), "new"))
	require.NoError(t, b.run("run"))
	require.NoError(t, b.service.AddV2(`{"_id": "a", "name": "theirs"}`))
	_, err := b.store.Again(context.Background(), "run")
	require.NoError(t, err)
	b.service.Inject(tokenpatchtest.Fault{Match: isPatch("a"), Times: -1, Status: http.StatusForbidden})
	require.NoError(t, b.run("run"))
	assert.Equal(t, fleet.StateNotApplied, b.results("run")["a"].State)
}

// changes is how often the token of an id was changed.
func (b *bench) changes(id string) int { return len(b.service.History(id)) }
