package fleet_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// The whole of a limit is used, and nothing is wasted on a 429. The bound counts
// requests, reads too. Time is virtual.
func TestARunUsesTheWholeLimit(t *testing.T) {
	source := filepath.Join(t.TempDir(), "run.db")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, source)
		b.service.SetLatency(20 * time.Millisecond)
		limits := tokenpatchtest.Limits{Window: 10 * time.Second, Global: 100, Floating: true}
		b.service.SetLimits(tokenpatchtest.V2, limits)
		const n = 980
		changes := make([]fleet.Change, n)
		for i := range changes {
			changes[i] = rename(b.token(fmt.Sprint("token-", i)), "new")
		}
		b.add("run", changes...)
		began := time.Now()
		require.NoError(t, b.store.Run(context.Background(), "run", b.options))
		took := time.Since(began)
		bound := time.Duration((2*n-1)/limits.Global) * limits.Window
		refused := 0
		for _, w := range b.service.Windows(tokenpatchtest.V2) {
			refused += w.Refused
		}
		t.Logf("%d changes in %v: %.3f of the bound; %d responses with 429", n, took, took.Seconds()/bound.Seconds(), refused)
		assert.Zero(t, refused)
		assert.LessOrEqual(t, took, bound*103/100)
		assert.Equal(t, n, b.progress("run").Applied)
	})
}
