package fleet_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/fleet/internal/postgrestest"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// However the database hangs, a stopped run ends, with all of its workers.
func TestAnEndBesideADatabaseThatHangs(t *testing.T) {
	t.Parallel()
	relay := postgrestest.NewRelay(t, postgrestest.URL(t))
	b := newBench(t, relay.URL)
	b.options.Client.HTTPClient.Timeout = 2 * time.Second
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), ofRun{}, "mine"))
	var stopped time.Time
	b.appends(200, 40, func() {
		relay.Hang()
		time.Sleep(500 * time.Millisecond)
		stopped = time.Now()
		cancel()
	})
	var working atomic.Int64
	b.options.Hooks.ChangeStart = func(ctx context.Context, _ fleet.ChangeInfo) context.Context { working.Add(1); return ctx }
	b.options.Hooks.ChangeEnd = func(context.Context, fleet.ChangeResult) { working.Add(-1) }
	b.service.SetLatency(20 * time.Millisecond)
	require.ErrorIs(t, b.store.Run(ctx, "run", b.options), context.Canceled)
	ran := time.Since(stopped)
	assert.Zero(t, working.Load(), "workers that were left behind")
	t.Logf("Run ended after %v", ran)
	assert.Less(t, ran, 15*time.Second)
	relay.Resume()
	b.store = open(t, relay.URL)
	b.options.ServiceTime = 100 * time.Millisecond
	require.NoError(t, b.run("run"))
	b.onceEach(200)
}

// lines counts what is logged.
type lines struct {
	io.Writer
	n atomic.Int64
}

func (l *lines) Write(line []byte) (int, error) {
	l.n.Add(1)
	return l.Writer.Write(line)
}

// A store that is away is one line in the log, not one for each failure.
func TestAStoreThatIsAwayIsOneLine(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	b := newBench(t, server.URL)
	b.options.Client.HTTPClient.Timeout = 2 * time.Second
	var text bytes.Buffer
	log := &lines{Writer: &text}
	b.options.Logger = slog.New(slog.NewTextHandler(log, nil))
	b.appends(200, 40, func() {
		assert.NoError(t, server.Stop())
		time.Sleep(3 * time.Second)
		assert.NoError(t, server.Start())
	})
	require.NoError(t, b.run("run"))
	b.onceEach(200)
	assert.Equal(t, int64(1), log.n.Load(), text.String())
	assert.Contains(t, text.String(), "store operation failed")
}

// As long as it is away, there is a line a minute with how often it failed. Time is virtual.
func TestAStoreThatStaysAwayIsALineAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := filepath.Join(t.TempDir(), "run.db")
		b := newBench(t, source)
		var text bytes.Buffer
		log := &lines{Writer: &text}
		b.options.Logger = slog.New(slog.NewTextHandler(log, nil))
		b.add("run", rename(b.token("a"), "new"))
		db, err := sql.Open("sqlite", "file:"+source+"?_txlock=immediate")
		require.NoError(t, err)
		defer db.Close()
		locked, err := db.Begin()
		require.NoError(t, err)
		ended := make(chan error)
		go func() { ended <- b.store.Run(t.Context(), "run", b.options) }()
		time.Sleep(150 * time.Second)
		require.NoError(t, locked.Rollback())
		require.NoError(t, <-ended)
		assert.Equal(t, int64(3), log.n.Load(), text.String())
		assert.Equal(t, 1, strings.Count(text.String(), "failures=1\n"), "the first; the others count: %s", text.String())
	})
}

// The named file has all commits older than about a second, for whoever moves it without the log
// beside it.
func TestTheFileAloneHasTheRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := filepath.Join(dir, "run.db")
	b := newBench(t, source)
	b.add("run", rename(b.token("a"), "new"), rename(b.token("b"), "new"))
	alone := func() *fleet.Store {
		content, err := os.ReadFile(source)
		require.NoError(t, err)
		moved := filepath.Join(t.TempDir(), "moved.db")
		require.NoError(t, os.WriteFile(moved, content, 0o600))
		return open(t, moved)
	}
	assert.Equal(t, 2, total(t, alone(), "run"), "after adding")

	release := make(chan struct{})
	b.options.Client.Hooks.AttemptStart = func(ctx context.Context, attempt *tokenpatch.AttemptInfo) context.Context {
		if attempt.Method == http.MethodPatch && strings.HasSuffix(attempt.URL, "/b") {
			<-release
		}
		return ctx
	}
	ended := make(chan error)
	go func() { ended <- b.run("run") }()
	assert.Eventually(t, func() bool {
		p, err := alone().Progress(context.Background(), "run")
		return err == nil && p.Applied == 1
	}, patience, 100*time.Millisecond)
	close(release)
	require.NoError(t, <-ended)

	copied := filepath.Join(t.TempDir(), "copied.db") // with its log: as after a crash
	for _, end := range []string{"", "-wal"} {
		content, err := os.ReadFile(source + end)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(copied+end, content, 0o600))
	}
	require.NoError(t, openAndLeave(copied))
	content, err := os.ReadFile(copied)
	require.NoError(t, err)
	moved := filepath.Join(t.TempDir(), "moved.db")
	require.NoError(t, os.WriteFile(moved, content, 0o600))
	p, err := open(t, moved).Progress(context.Background(), "run")
	require.NoError(t, err)
	assert.Equal(t, 2, p.Applied, "after opening")
}

// openAndLeave opens a store and does not close it, as if the process was killed.
func openAndLeave(source string) error {
	_, err := fleet.Open(context.Background(), source)
	return err
}

// A clock set back by an hour delays a change by its wait once more, and not by an hour. Setting it
// back is the same as moving all times ahead.
func TestAClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	const hour = int64(time.Hour / time.Microsecond)
	source := filepath.Join(t.TempDir(), "run.db")
	b := newBench(t, source)
	b.options.Client.HTTPClient.Timeout = 2 * time.Second
	b.options.Client.Retry.MaxAttempts = 1
	b.options.ServiceTime = 100 * time.Millisecond
	b.add("run",
		fleet.Change{ID: b.token("unknown"), Patch: tokenpatch.NewPatch().AddCustomRoleID("second")},
		rename(b.token("put off"), "new"),
		rename(b.token("taken by a process that is dead"), "new"),
		rename(b.token("never taken"), "new"))
	b.service.Inject(tokenpatchtest.Fault{Match: isPatch("unknown"), Cut: tokenpatchtest.CutAfter})
	db, err := sql.Open("sqlite", "file:"+source+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	defer db.Close()
	ctx, cancel := context.WithCancel(context.Background())
	b.options.Workers = 1
	b.options.Hooks.ChangeEnd = func(context.Context, fleet.ChangeResult) { cancel() } // the first was sent
	require.ErrorIs(t, b.store.Run(ctx, "run", b.options), context.Canceled)
	for _, statement := range []string{
		"UPDATE fleet_attempt SET started = started + %d",
		"UPDATE fleet_change SET job = NULL, put_off = unixepoch() * 1000000 + %[1]d, due = unixepoch() * 1000000 + %[1]d + 1000000 WHERE seq < 3",
		// The process with the third change was killed, and the fourth waits for River.
		"INSERT INTO fleet_process (id, seen) VALUES ('killed', unixepoch() * 1000000 + %d)",
		"UPDATE river_job SET state = 'running', attempted_by = jsonb_array('killed') WHERE state = 'available' AND args ->> 'seq' = 3",
		"UPDATE river_job SET created_at = datetime(created_at, '+1 hour'), scheduled_at = datetime(scheduled_at, '+1 hour') WHERE state = 'available'",
	} {
		if strings.Contains(statement, "%") {
			statement = fmt.Sprintf(statement, hour)
		}
		_, err := db.Exec(statement)
		require.NoError(t, err, statement)
	}
	b.options.Hooks.ChangeEnd = nil
	b.options.Workers = 0
	require.NoError(t, b.run("run"))
	for id, result := range b.results("run") {
		assert.Equal(t, fleet.StateApplied, result.State, id)
		assert.Equal(t, 1, b.changes(id), id)
	}
}

// Session pooling works. Transaction pooling cannot, and returns a clear error.
func TestPgBouncer(t *testing.T) {
	server := postgrestest.URL(t)
	t.Run("session", func(t *testing.T) {
		pooler := postgrestest.Pooler(t, server, "pool_mode = session")
		b := newBench(t, pooler)
		b.appends(100, 1000, nil)
		require.NoError(t, b.run("run"))
		b.onceEach(100)
	})
	t.Run("transaction", func(t *testing.T) {
		pooler := postgrestest.Pooler(t, server, "pool_mode = transaction", "server_round_robin = 1")
		ctx := context.Background()
		store, err := fleet.Open(ctx, pooler)
		for i := 0; i < 10 && err == nil; i++ { // two backends, and the next one has not prepared what this one has
			err = store.Update(ctx, "key", func([]byte, time.Time) ([]byte, time.Duration, error) {
				_, err := store.Runs(ctx)
				return nil, time.Minute, err
			})
		}
		require.ErrorContains(t, err, "want session pooling")
		if store != nil {
			require.NoError(t, store.Close())
		}
	})
	t.Run("transaction, nothing prepared", func(t *testing.T) { // only the backends tell
		pooler := postgrestest.Pooler(t, server, "pool_mode = transaction", "default_pool_size = 4")
		b := newBench(t, server)
		b.store = open(t, pooler+"&default_query_exec_mode=exec")
		b.service.SetLatency(50 * time.Millisecond)
		_, err := b.store.Add(context.Background(), "run", renames(500), fleet.AddOptions{})
		require.ErrorContains(t, errors.Join(err, b.run("run")), "want session pooling")
		b.store = open(t, server)
		assert.Zero(t, b.progress("run").Unknown)
	})
}

// A list of settings, as libpq takes it, may contain a password, and is no file.
func TestAListOfSettingsIsRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, source := range []string{"host=db.example.com password=hunter2", "user=postgres", "dbname=test  host=/tmp"} {
		for _, open := range []func(context.Context, string) (*fleet.Store, error){fleet.Open, fleet.OpenReadOnly} {
			_, err := open(context.Background(), source)
			require.ErrorContains(t, err, "not a list of settings")
			assert.NotContains(t, err.Error(), "hunter2")
		}
	}
	assert.Empty(t, folder(t, "."))
}

// An update of V1 may always be sent again: after a crash and a refused credential it waits for
// another credential.
func TestAnUpdateStaysPendingWithoutACredential(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"V1", "Want"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t, filepath.Join(t.TempDir(), "run.db"))
			b.options.Client.HTTPClient.Timeout = 2 * time.Second
			b.options.Client.Retry.MaxAttempts = 1
			b.options.ServiceTime = 100 * time.Millisecond
			var changes []fleet.Change
			for i := range 6 {
				id := fmt.Sprintf("6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a%02d", i)
				if kind == "V1" {
					require.NoError(t, b.service.AddV1(`{"id": "`+id+`", "name": "old"}`))
					changes = append(changes, renameV1(id, "new"))
				} else {
					changes = append(changes, rename(b.token(id), "new"))
				}
			}
			b.add("run", changes...)
			b.service.Inject(tokenpatchtest.Fault{Times: 6, Cut: tokenpatchtest.CutAfter, Match: func(r *http.Request) bool {
				if r.Method != http.MethodPatch {
					return false
				}
				b.service.SetCredentials("another", "another")
				return true
			}})
			require.ErrorAs(t, b.run("run"), new(*fleet.StoppedError))
			pending := b.progress("run").Pending
			assert.Positive(t, pending)
			assert.Zero(t, b.progress("run").Unknown)
			b.service.ClearFaults()
			b.service.SetCredentials(tokenpatchtest.APIKey, tokenpatchtest.AccessToken)
			_, err := b.store.Retry(context.Background(), "run", nil, fleet.StateNotApplied)
			require.NoError(t, err)
			require.NoError(t, b.run("run"))
			assert.Equal(t, 6, b.progress("run").Applied)
		})
	}
}
