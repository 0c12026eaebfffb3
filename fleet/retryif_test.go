package fleet_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/fleet"
)

// RetryIf makes those changes pending again that are picked, and only if they failed.
func TestRetryIf(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		b, ctx := newBench(t, source), context.Background()
		b.add("run", rename(b.token("a"), "new"), rename("missing", "new"), rename("gone", "new"))
		require.NoError(t, b.run("run"))
		n, err := b.store.RetryIf(ctx, "run", func(r fleet.Result) bool { return r.Change.ID != "missing" }, fleet.StateNotApplied)
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		results := b.results("run")
		assert.Equal(t, []fleet.State{fleet.StateApplied, fleet.StateNotApplied, fleet.StatePending},
			[]fleet.State{results["a"].State, results["missing"].State, results["gone"].State})
		n, err = b.store.RetryIf(ctx, "run", func(fleet.Result) bool { return true }, fleet.StateApplied, fleet.StatePending)
		require.NoError(t, err)
		assert.Zero(t, n, "neither what was applied nor what is pending")
		_, err = b.store.RetryIf(ctx, "none", nil)
		require.ErrorAs(t, err, new(*fleet.UnknownRunError))
	})
}
