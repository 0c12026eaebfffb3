package fleet_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/fleet/internal/postgrestest"
)

// appends adds n appends, which may not be sent twice, and calls a function when
// so many of them have been sent.
func (b *bench) appends(n, after int, do func()) {
	for i := range n {
		b.add("run", fleet.Change{ID: b.token(fmt.Sprint("token-", i)), Patch: tokenpatch.NewPatch().AddCustomRoleID("second")})
	}
	var attempts atomic.Int64
	b.options.Client.Hooks.AttemptEnd = func(_ context.Context, attempt tokenpatch.AttemptResult) {
		if attempt.Method == http.MethodPatch && attempts.Add(1) == int64(after) {
			go do()
		}
	}
}

// onceEach checks that each of n tokens was changed once, and that the report agrees, except for
// recorded attempts without a recorded outcome.
func (b *bench) onceEach(n int) {
	b.Helper()
	for i := range n {
		assert.LessOrEqual(b, b.service.Changes(fmt.Sprint("token-", i)), 1)
	}
	for id, result := range b.results("run") {
		switch result.State {
		case fleet.StateApplied:
			assert.Equal(b, 1, b.service.Changes(id), id)
		default:
			assert.Equal(b, fleet.StateUnknown, result.State, id)
		}
	}
	p := b.progress("run")
	b.Logf("%+v", p)
	assert.GreaterOrEqual(b, p.Applied, n*9/10)
}

// While another program locks the file nothing is sent, and a worker whose attempt
// could be written down only much later does not send it.
func TestALockedFileIsWaitedFor(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "run.db")
	b := newBench(t, source)
	b.options.Client.HTTPClient.Timeout = 2 * time.Second
	b.options.ServiceTime = 100 * time.Millisecond
	db, err := sql.Open("sqlite", "file:"+source+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	defer db.Close()
	var before, after int
	unlocked := make(chan struct{})
	b.appends(200, 40, func() {
		defer close(unlocked)
		tx, err := db.Begin()
		if !assert.NoError(t, err) {
			return
		}
		time.Sleep(100 * time.Millisecond) // what was sent comes to its end
		before = b.service.RequestCount()
		time.Sleep(2500 * time.Millisecond) // longer than what may lie between writing an attempt down and sending it
		after = b.service.RequestCount()
		assert.NoError(t, tx.Rollback())
	})
	require.NoError(t, b.run("run"))
	<-unlocked
	assert.LessOrEqual(t, after-before, 32, "reads of tokens, and no change")
	b.onceEach(200)
	for id, result := range b.results("run") {
		assert.Equal(t, 1, result.Attempts, id)
	}
}

// A full disk is an error everywhere, and passes.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, not tested with a full disk: no small file system can be mounted: %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	b := newBench(t, filepath.Join(dir, "run.db"))
	b.options.ServiceTime = 100 * time.Millisecond
	b.options.Client.HTTPClient.Timeout = 2 * time.Second
	filler := filepath.Join(dir, "filler")
	b.appends(300, 50, func() {
		_ = os.WriteFile(filler, make([]byte, 8<<20), 0o600) // as much as there is
		time.Sleep(time.Second)
		assert.NoError(t, os.Remove(filler))
	})
	require.NoError(t, b.run("run"))
	b.onceEach(300)
}

// A Postgres that crashes during a run is waited for, also while a run begins.
func TestAPostgresThatCrashes(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	b := newBench(t, server.URL)
	b.options.ServiceTime = 100 * time.Millisecond
	b.appends(300, 50, func() {
		assert.NoError(t, server.Stop())
		time.Sleep(500 * time.Millisecond)
		assert.NoError(t, server.Start())
	})
	require.NoError(t, b.run("run"))
	b.onceEach(300)
}
