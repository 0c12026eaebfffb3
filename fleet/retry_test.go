package fleet_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// Retry makes the selected changes pending again, and only failed ones.
func TestRetryPicks(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		b, ctx := newBench(t, source), context.Background()
		b.add("run", rename(b.token("a"), "new"), rename("missing", "new"), rename("gone", "new"))
		require.NoError(t, b.run("run"))
		n, err := b.store.Retry(ctx, "run", func(r fleet.Result) bool { return r.Change.ID != "missing" }, fleet.StateNotApplied, fleet.StateUnknown)
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		results := b.results("run")
		assert.Equal(t, []fleet.State{fleet.StateApplied, fleet.StateNotApplied, fleet.StatePending},
			[]fleet.State{results["a"].State, results["missing"].State, results["gone"].State})
		for _, state := range []fleet.State{fleet.StateApplied, fleet.StatePending} {
			_, err = b.store.Retry(ctx, "run", func(fleet.Result) bool { return true }, state)
			require.ErrorAs(t, err, new(*tokenpatch.InputError))
		}
		_, err = b.store.Retry(ctx, "none", nil, fleet.StateUnknown)
		require.ErrorAs(t, err, new(*fleet.UnknownRunError))
	})
}

// More changes than one transaction takes are all put back.
func TestRetryOfManyChanges(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("many changes")
	}
	onEach(t, func(t *testing.T, source string) {
		const n = 1200
		b, ctx := newBench(t, source), context.Background()
		changes := make([]fleet.Change, n)
		for i := range changes {
			changes[i] = rename(fmt.Sprint("missing-", i), "new")
		}
		b.add("run", changes...)
		require.NoError(t, b.run("run"))
		require.Equal(t, n, b.progress("run").NotApplied)
		for _, want := range []int{n, 0} {
			again, err := b.store.Retry(ctx, "run", nil, fleet.StateNotApplied)
			require.NoError(t, err)
			assert.Equal(t, want, again)
			assert.Equal(t, n, b.progress("run").Pending)
		}
	})
}
