package fleet_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/fleet"
)

// unread fails if it is iterated over.
func unread(t *testing.T) func(func(fleet.Change, error) bool) {
	return func(func(fleet.Change, error) bool) { assert.Fail(t, "the changes were read") }
}

func TestAddDecidesByTheDigest(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		store, ctx := open(t, source), context.Background()
		first := fleet.AddOptions{Digest: "first"}
		added, err := store.Add(ctx, "run", all(rename("a", "new")), first)
		require.NoError(t, err)
		assert.Equal(t, 1, added)
		added, err = store.Add(ctx, "run", unread(t), first)
		require.NoError(t, err)
		assert.Zero(t, added)

		_, err = store.Add(ctx, "run", unread(t), fleet.AddOptions{Digest: "second"})
		var other *fleet.OtherChangesError
		require.ErrorAs(t, err, &other)
		assert.Equal(t, fleet.OtherChangesError{Run: "run", Digest: "second"}, *other)
		assert.Equal(t, 1, total(t, store, "run"))

		more := fleet.AddOptions{Digest: "second", More: true}
		added, err = store.Add(ctx, "run", all(rename("b", "new")), more)
		require.NoError(t, err)
		assert.Equal(t, 1, added)
		for _, options := range []fleet.AddOptions{first, more, {Digest: "second"}} {
			added, err = store.Add(ctx, "run", unread(t), options)
			require.NoError(t, err)
			assert.Zero(t, added)
		}
		added, err = store.Add(ctx, "run", all(rename("c", "new")), fleet.AddOptions{})
		require.NoError(t, err)
		assert.Equal(t, 1, added, "without a digest nothing is compared")

		require.NoError(t, store.Delete(ctx, "run"))
		added, err = store.Add(ctx, "run", all(rename("b", "new")), fleet.AddOptions{Digest: "second"})
		require.NoError(t, err)
		assert.Equal(t, 1, added, "a run that was deleted leaves no digest")
	})
}

// A second file under the name of a run whose changes are still being added is not merged into it.
func TestAddOfTwoFilesAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		ctx, begun, second := context.Background(), make(chan struct{}), make(chan error)
		go func() {
			<-begun
			_, err := open(t, source).Add(ctx, "run", all(rename("of the second", "new")), fleet.AddOptions{Digest: "second"})
			second <- err
		}()
		added, err := open(t, source).Add(ctx, "run", func(yield func(fleet.Change, error) bool) {
			for change := range renames(3000) {
				if !yield(change, nil) {
					return
				}
			}
			close(begun)
			runtime.Gosched()
		}, fleet.AddOptions{Digest: "first"})
		require.NoError(t, err)
		assert.Equal(t, 3000, added)
		require.ErrorAs(t, <-second, new(*fleet.OtherChangesError))
		assert.Equal(t, 3000, total(t, open(t, source), "run"))
	})
}

// Memory is bounded by bytes, however long the changes are.
func TestLongChangesAreNotKeptInMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("what it measures is the memory of a plain build")
	}
	const n, size = 24, 1 << 20
	onEach(t, func(t *testing.T, source string) {
		store := open(t, source)
		var before, now runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		grown := func() uint64 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			return max(now.HeapAlloc, before.HeapAlloc) - before.HeapAlloc
		}
		var adding, reading uint64
		_, err := store.Add(context.Background(), "run", func(yield func(fleet.Change, error) bool) {
			for i := range n {
				if i == n-1 {
					adding = grown()
				}
				if !yield(rename(strings.Repeat("a", i+1), strings.Repeat("x", size)), nil) {
					return
				}
			}
		}, fleet.AddOptions{})
		require.NoError(t, err)
		seen := 0
		for result, err := range store.Results(context.Background(), "run") {
			require.NoError(t, err)
			assert.Len(t, result.Change.Want.Name.Or(""), size)
			assert.Len(t, result.Change.ID, seen+1)
			if seen++; seen == n/2 {
				reading = grown()
			}
		}
		assert.Equal(t, n, seen)
		t.Logf("adding keeps %d MB, reading %d MB", adding>>20, reading>>20)
		assert.Less(t, adding, uint64(16<<20))
		assert.Less(t, reading, uint64(32<<20))
	})
}

// Long changes are worked on one at a time, however many workers there are.
func TestLongChangesAreNotWorkedOnAtOnce(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	for i := range 6 {
		b.add("run", rename(b.token(fmt.Sprint("token-", i)), strings.Repeat("x", 600<<10)))
	}
	var now, most atomic.Int64
	b.options.Hooks.ChangeStart = func(ctx context.Context, _ fleet.ChangeInfo) context.Context {
		most.Store(max(most.Load(), now.Add(1)))
		return ctx
	}
	b.options.Hooks.ChangeEnd = func(context.Context, fleet.ChangeResult) { now.Add(-1) }
	require.NoError(t, b.run("run"))
	assert.Equal(t, int64(1), most.Load())
	assert.Equal(t, 6, b.progress("run").Applied)
}

func TestAFinishedRunSaysWhenItEnded(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
	b.add("run", rename(b.token("a"), "new"))
	assert.Zero(t, b.progress("run").Ended)
	require.NoError(t, b.run("run"))
	p := b.progress("run")
	assert.Equal(t, b.results("run")["a"].Ended, p.Ended)
	require.NoError(t, b.run("run"))
	assert.Equal(t, p, b.progress("run"), "it stays as it is")
}
