//go:build unix

package fleet_test

import (
	"context"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A process is frozen with changes in flight, for longer than any of its steps may take. Another
// one takes its work over, and then the first continues.
func TestFrozen(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		t.Parallel()
		s := newScene(t, source, *killChanges, "append", "want", "V1", "guarded", "idempotent")
		s.service.SetLatency(20 * time.Millisecond)
		frozen := start(t, s.child)
		time.Sleep(700 * time.Millisecond)
		s.freeze(t, frozen)
		began := time.Now()
		start(t, s.child).wait(t)
		t.Logf("another process was done after %v", time.Since(began).Round(time.Second))
		time.Sleep(*freezeFor - time.Since(began))
		requests := s.service.RequestCount()
		require.NoError(t, frozen.cmd.Process.Signal(syscall.SIGCONT))
		frozen.wait(t)
		late := 0
		for _, request := range s.service.Requests()[requests:] {
			if request.Method == http.MethodPatch {
				late++
			}
		}
		// A worker can be frozen between its look at the clock and the socket, which is rare.
		assert.LessOrEqual(t, late, 2, "sent by a process that had been replaced")
		s.judgeAllApplied(t, "append")
	})
}

// freeze freezes a process between two transactions: within one it would hold a SQLite file until
// it continues.
func (s *scene) freeze(t *testing.T, p *process) {
	for {
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGSTOP))
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		err := s.store.SetLabel(ctx, "kill", "frozen")
		cancel()
		if err == nil {
			return
		}
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGCONT))
		time.Sleep(5 * time.Millisecond)
	}
}
