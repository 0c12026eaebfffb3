package main_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// postgres makes a new database in the server of DATABASE_URL, or in the one at the usual address.
// Without a server the test is skipped, loudly, or fails if services are required.
func postgres(t *testing.T, s *shell) (source string) {
	t.Helper()
	server := os.Getenv("DATABASE_URL")
	if server == "" {
		server = "postgres://postgres@127.0.0.1:5432/test?sslmode=disable"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	db, err := pgx.Connect(ctx, server)
	if err != nil {
		if os.Getenv("REQUIRE_SERVICES") != "" {
			require.NoError(t, err, "REQUIRE_SERVICES is set")
		}
		t.Skipf("SKIPPED: there is no Postgres: %v", err)
	}
	name := fmt.Sprintf("tokenpatch_test_%d", time.Now().UnixNano())
	_, err = db.Exec(ctx, "CREATE DATABASE "+name)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
		assert.NoError(t, err)
		assert.NoError(t, db.Close(context.Background()))
	})
	u, err := url.Parse(server)
	require.NoError(t, err)
	if password, given := u.User.Password(); given {
		s.env = append(s.env, "PGPASSWORD="+password)
		u.User = url.User(u.User.Username())
	}
	u.Path = "/" + name
	return u.String()
}

// Two processes share a run on Postgres. One of them is killed.
func TestTwoProcessesOnPostgres(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	source := postgres(t, s)
	const n = 200
	s.many(n)
	s.service.SetLatency(50 * time.Millisecond)
	apply := []string{"apply", "-db", source, "-timeout", "1s", "-workers", "4", "many.jsonl"}
	first, second := s.start("", apply...), s.start("", apply...)
	s.until(func() bool { return s.changed(n) > n/3 })
	require.NoError(t, first.Process.Kill())
	_ = first.Wait()
	e := second.end()
	assert.Equal(t, 0, e.status, e.stderr)
	assert.Contains(t, e.stdout, "200 applied, 0 not applied, 0 unknown, 0 pending")
	for i := range n {
		assert.Equal(t, 1, s.service.Changes(fmt.Sprint("token", i)), i)
	}
	s.run(0, "status", "-db", source)
	s.run(0, "report", "-db", source)
}

// Processes on one Postgres share a rate limit, whether they work on one run or on several: all use
// one state in the database. In real time the machine decides how many requests are refused; the
// packages below test in virtual time that none are.
func TestProcessesOnPostgresShareARateLimit(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	source := postgres(t, s)
	s.many(60)
	s.service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: 2 * time.Second, Global: 60})
	apply := []string{"apply", "-db", source, "many.jsonl"}
	first, second, other := s.start("", apply...), s.start("", apply...), s.start("", append(apply, "-run", "other")...)
	assert.Equal(t, 0, first.end().status)
	assert.Equal(t, 0, second.end().status)
	assert.Equal(t, 0, other.end().status)
	assert.Equal(t, 60, s.changed(60))
	t.Logf("%d requests were refused", len(s.refused()))

	db, err := pgx.Connect(t.Context(), source)
	require.NoError(t, err)
	defer db.Close(context.Background())
	var states int
	err = db.QueryRow(t.Context(), "SELECT count(*) FROM fleet_budget WHERE name LIKE 'tokenpatch/ratelimit/%' AND length(state) > 0").Scan(&states)
	require.NoError(t, err)
	assert.Equal(t, 1, states)
}
