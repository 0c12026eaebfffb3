package main_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// The process is killed with kill -9 in the middle of a run, with requests in flight and broken
// connections. Then the same command resumes, and the report agrees with the service's own history.
func TestKillAndGoOn(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	const n = 120
	s.many(n)
	s.service.SetLatency(50 * time.Millisecond)
	s.service.SetSeed(rand.Uint64())
	s.service.Inject(
		tokenpatchtest.Fault{Match: patches, Times: -1, Chance: 0.05, Cut: tokenpatchtest.CutAfter},
		tokenpatchtest.Fault{Match: patches, Times: -1, Chance: 0.05, Status: http.StatusServiceUnavailable},
	)
	for killed := 1; killed <= 2; killed++ {
		p := s.start("", "apply", "-timeout", "1s", "-workers", "8", "many.jsonl")
		s.until(func() bool { return s.changed(n) >= 25*killed })
		require.NoError(t, p.Process.Kill())
		_ = p.Wait()
	}
	began := time.Now()
	written := s.terminal("apply", "-yes", "-timeout", "1s", "-workers", "8", "many.jsonl")
	t.Logf("the rest took %v", time.Since(began).Round(time.Second))
	assert.Contains(t, written, "many: resuming, ")
	assert.NotContains(t, written, "left; waits for what may still be on its way", "which takes longer than the rate says")
	assert.Contains(t, written, fmt.Sprintf("%d applied, 0 not applied, 0 unknown, 0 pending", n))
	for i := range n {
		assert.Equal(t, 1, s.service.Changes(fmt.Sprint("token", i)), i)
	}
}
