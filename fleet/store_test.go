package fleet_test

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/fleet/internal/postgrestest"
)

// onEach runs a test with a store of each kind. source is what opens it again.
func onEach(t *testing.T, test func(t *testing.T, source string)) {
	t.Run("SQLite", func(t *testing.T) { test(t, filepath.Join(t.TempDir(), "run.db")) })
	t.Run("Postgres", func(t *testing.T) { test(t, postgrestest.URL(t)) })
}

func open(t testing.TB, source string) *fleet.Store {
	t.Helper()
	store, err := fleet.Open(context.Background(), source)
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// all yields changes, and no error.
func all(changes ...fleet.Change) iter.Seq2[fleet.Change, error] {
	return func(yield func(fleet.Change, error) bool) {
		for _, c := range changes {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func TestTheFileIsReadableByItsOwnerOnly(t *testing.T) {
	source := filepath.Join(t.TempDir(), "a name with % and ?.db")
	store := open(t, source)
	_, err := store.Add(context.Background(), "run", all(rename("a", "new")), fleet.AddOptions{})
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(filepath.Dir(source), "*"))
	require.NoError(t, err)
	assert.Contains(t, files, source)
	for _, file := range files {
		info, err := os.Stat(file)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode(), file)
	}
	require.NoError(t, os.Chmod(source, 0o644))
	open(t, source)
	info, err := os.Stat(source)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	noDatabase := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(noDatabase, []byte(strings.Repeat("no database\n", 100)), 0o644))
	for source, want := range map[string]string{
		"":                                 "path",
		":memory:":                         "path",
		dir:                                "directory",
		filepath.Join(dir, "none", "a.db"): "no such file or directory",
		noDatabase:                         `fleet: open "` + noDatabase + `": not a SQLite database`,
		"postgres://%zz":                   "postgres",
		"postgres://user:hunter2@127.0.0.1:1/none?connect_timeout=1": "127.0.0.1",
	} {
		_, err := fleet.Open(context.Background(), source)
		require.ErrorContains(t, err, want, source)
		assert.NotContains(t, err.Error(), "hunter2")
	}
	info, err := os.Stat(noDatabase)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), info.Mode(), "a file that is something else is left as it is")
}

func TestOpenedByManyAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				store, err := fleet.Open(context.Background(), source)
				if assert.NoError(t, err) {
					_, err = store.Runs(context.Background())
					assert.NoError(t, errors.Join(err, store.Close()))
				}
			})
		}
		group.Wait()
	})
}

func TestTablesOfANewerProgram(t *testing.T) {
	source := filepath.Join(t.TempDir(), "run.db")
	require.NoError(t, open(t, source).Close())
	db, err := sql.Open("sqlite", source)
	require.NoError(t, err)
	_, err = db.Exec("INSERT INTO fleet_schema (version) VALUES (1000)")
	require.NoError(t, errors.Join(err, db.Close()))
	_, err = fleet.Open(context.Background(), source)
	require.ErrorContains(t, err, "newer program")
}

func TestRunsAreListedAndDeleted(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		store, ctx := open(t, source), context.Background()
		for _, run := range []string{"first", "second"} {
			_, err := store.Add(ctx, run, all(rename("a", "new"), rename("b", "new")), fleet.AddOptions{})
			require.NoError(t, err)
		}
		require.NoError(t, store.SetLabel(ctx, "second", "sha256:..."))
		runs, err := open(t, source).Runs(ctx)
		require.NoError(t, err)
		require.Len(t, runs, 2)
		assert.Equal(t, "first", runs[0].Run)
		assert.Equal(t, 2, runs[0].Pending)
		assert.WithinDuration(t, time.Now(), runs[0].Created, time.Minute)
		assert.Equal(t, "sha256:...", runs[1].Label)

		require.NoError(t, store.Delete(ctx, "first"))
		require.ErrorAs(t, store.Delete(ctx, "first"), new(*fleet.UnknownRunError))
		runs, err = store.Runs(ctx)
		require.NoError(t, err)
		require.Len(t, runs, 1)
		assert.Equal(t, 2, total(t, store, "second"))
		_, err = store.Add(ctx, "first", all(rename("a", "other")), fleet.AddOptions{})
		require.NoError(t, err, "its name is free again")
		assert.Equal(t, 1, total(t, store, "first"))
	})
}

func TestUpdateIsABudget(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		stores, ctx := []*fleet.Store{open(t, source), open(t, source)}, context.Background()
		const each = 50
		var group sync.WaitGroup
		for _, store := range stores {
			group.Go(func() {
				for range each {
					assert.NoError(t, store.Update(ctx, "counter", func(state []byte, now time.Time) ([]byte, time.Duration, error) {
						n := 0
						if state != nil {
							n = int(state[0])
						}
						return []byte{byte(n + 1)}, time.Minute, nil
					}))
				}
			})
		}
		group.Wait()
		refused := errors.New("refused")
		err := stores[0].Update(ctx, "counter", func(state []byte, now time.Time) ([]byte, time.Duration, error) {
			assert.Equal(t, []byte{2 * each}, state, "nobody's update is lost")
			assert.WithinDuration(t, time.Now(), now, time.Minute)
			return nil, 0, refused
		})
		require.ErrorIs(t, err, refused)
		for _, want := range [][]byte{{2 * each}, nil} { // the second time it has expired
			require.NoError(t, stores[1].Update(ctx, "counter", func(state []byte, _ time.Time) ([]byte, time.Duration, error) {
				assert.Equal(t, want, state)
				return state, -time.Second, nil
			}))
		}
		require.NoError(t, stores[1].Update(ctx, "another", func(state []byte, _ time.Time) ([]byte, time.Duration, error) {
			assert.Nil(t, state)
			return nil, time.Minute, nil
		}))
	})
}
