//go:build unix

package fleet_test

import (
	"context"
	"database/sql"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/fleet/internal/postgrestest"
)

// connect opens connections beside those of a store.
func connect(t *testing.T, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", source)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// A server that acknowledges commits before they are on disk is told not to: the record of a
// request is still there after a crash. Here the process that would soon write it to disk does
// nothing.
func TestACrashLosesNoAttempt(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, "synchronous_commit=off")
	b := newBench(t, server.URL)
	b.options.ServiceTime = 100 * time.Millisecond
	b.options.Client.HTTPClient.Timeout = 2 * time.Second
	var writer int
	require.NoError(t, connect(t, server.URL).QueryRow("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'").Scan(&writer))
	done := make(chan struct{})
	b.appends(200, 120, func() { // most of them recorded
		defer close(done)
		assert.NoError(t, server.Stop())
		assert.NoError(t, server.Start())
	})
	b.service.SetLatency(20 * time.Millisecond)
	require.NoError(t, syscall.Kill(writer, syscall.SIGSTOP))
	require.NoError(t, b.run("run"))
	<-done
	b.onceEach(200)
}

// Whatever happens to a Postgres in mid-run, the run ends, and no token is changed
// twice.
func TestAPostgresInTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		settings []string
		trouble  func(t *testing.T, db *sql.DB)
	}{
		"a backend is killed": {trouble: func(t *testing.T, db *sql.DB) {
			var pid int
			assert.NoError(t, db.QueryRow("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1").Scan(&pid))
			assert.NoError(t, syscall.Kill(pid, syscall.SIGKILL)) // the server restarts all of them
		}},
		"a table is locked": {trouble: func(t *testing.T, db *sql.DB) {
			tx, err := db.Begin()
			if assert.NoError(t, err) {
				_, err = tx.Exec("LOCK TABLE fleet_change IN ACCESS EXCLUSIVE MODE")
				assert.NoError(t, err)
				time.Sleep(12 * time.Second) // longer than a transaction may take
				assert.NoError(t, tx.Rollback())
			}
		}},
		"connections are exhausted": {settings: []string{"max_connections=20", "superuser_reserved_connections=0"}, trouble: func(t *testing.T, db *sql.DB) {
			_, err := db.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
			assert.NoError(t, err)
			var taken []*sql.Conn
			for range 30 {
				if conn, err := db.Conn(context.Background()); err == nil {
					taken = append(taken, conn)
				}
			}
			time.Sleep(3 * time.Second)
			for _, conn := range taken {
				_ = conn.Raw(func(any) error { return nil })
				_ = conn.Close()
			}
			db.SetMaxIdleConns(1)
		}},
		"all is serializable": {settings: []string{"default_transaction_isolation=serializable"}, trouble: func(*testing.T, *sql.DB) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := postgrestest.Start(t, c.settings...)
			b := newBench(t, server.URL)
			b.options.Client.HTTPClient.Timeout = 2 * time.Second
			b.options.ServiceTime = 100 * time.Millisecond
			db := connect(t, server.URL)
			done := make(chan struct{})
			b.appends(150, 50, func() { c.trouble(t, db); close(done) })
			b.service.SetLatency(10 * time.Millisecond)
			other := open(t, server.URL)
			var both sync.WaitGroup
			both.Go(func() { assert.NoError(t, other.Run(t.Context(), "run", b.options)) })
			require.NoError(t, b.run("run"))
			both.Wait()
			<-done
			b.onceEach(150)
		})
	}
}

// The clocks of the machines and of the store may be an hour apart: all waits use the store's.
func TestClocksThatAreAnHourApart(t *testing.T) {
	t.Parallel()
	for _, hour := range []string{"1 hour", "-1 hour"} {
		t.Run(hour, func(t *testing.T) {
			source := postgrestest.URL(t)
			address, err := url.Parse(source)
			require.NoError(t, err)
			query := address.Query()
			schema := query.Get("search_path")
			for _, clock := range []string{"now", "clock_timestamp"} {
				_, err := connect(t, source).Exec("CREATE FUNCTION " + schema + "." + clock + "() RETURNS timestamptz VOLATILE LANGUAGE sql AS $$ SELECT pg_catalog." +
					clock + "() + interval '" + hour + "' $$")
				require.NoError(t, err)
			}
			query.Set("search_path", schema+", pg_catalog") // so its functions come first
			address.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
			b := newBench(t, address.String())
			b.hasty()
			b.appends(50, 1000, nil)
			b.service.Inject(b.cutAfter(10))
			require.NoError(t, b.run("run"))
			b.onceEach(50)
			p := b.progress("run")
			assert.Equal(t, 50, p.Applied)
			assert.Greater(t, time.Since(p.Ended).Abs(), 50*time.Minute, "the store's clock is another one")
		})
	}
}
