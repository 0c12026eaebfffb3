package fleet_test

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/fleet/internal/postgrestest"
)

// folder is what a folder holds: the mode and the content of each file.
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	all := make(map[string]string)
	for _, file := range files {
		info, err := file.Info()
		require.NoError(t, err)
		content, err := os.ReadFile(filepath.Join(dir, file.Name()))
		require.NoError(t, err)
		all[file.Name()+" "+info.Mode().String()] = string(content)
	}
	return all
}

// look reads everything about a run.
func look(t *testing.T, store *fleet.Store, run string) {
	t.Helper()
	ctx := context.Background()
	runs, err := store.Runs(ctx)
	require.NoError(t, err)
	require.Len(t, runs, 1)
	n := 0
	for _, err := range store.Results(ctx, run) {
		require.NoError(t, err)
		n++
	}
	assert.Equal(t, runs[0].Total(), n)
	_, err = store.Slowest(ctx, run, 3)
	require.NoError(t, err)
}

// writes calls the writing methods. Each must fail.
func writes(store *fleet.Store, options fleet.Options) map[string]error {
	ctx, errs := context.Background(), map[string]error{}
	_, errs["Add"] = store.Add(ctx, "run", all(rename("b", "new")), fleet.AddOptions{})
	_, errs["Retry"] = store.Retry(ctx, "run", nil, fleet.StateNotApplied)
	_, errs["Again"] = store.Again(ctx, "run")
	errs["SetLabel"] = store.SetLabel(ctx, "run", "text")
	errs["Delete"] = store.Delete(ctx, "run")
	errs["Run"] = store.Run(ctx, "run", options)
	errs["Update"] = store.Update(ctx, "key", nil)
	return errs
}

func TestReadOnlyOnSQLite(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	source := filepath.Join(dir, "run.db")
	b := newBench(t, source)
	b.add("run", rename(b.token("a"), "new"))
	require.NoError(t, b.run("run"))

	live, err := fleet.OpenReadOnly(ctx, source) // beside a process with the store open
	require.NoError(t, err)
	look(t, live, "run")
	b.add("run", rename("b", "new"))
	look(t, live, "run")
	require.NoError(t, live.Close())

	require.NoError(t, b.store.Close())
	require.NoError(t, os.Chmod(source, 0o640))
	before := folder(t, dir)
	store, err := fleet.OpenReadOnly(ctx, source)
	require.NoError(t, err)
	look(t, store, "run")
	for name, err := range writes(store, b.options) {
		assert.ErrorContains(t, err, "opened for reading only", name)
	}
	look(t, store, "run")
	assert.Equal(t, before, folder(t, dir))

	writer := open(t, source)
	_, err = store.Runs(ctx)
	require.ErrorContains(t, err, "begun to write", "it may have read half of a change")
	require.NoError(t, writer.Close())
	require.NoError(t, store.Close())
}

func TestReadOnlyLeavesOtherFilesAlone(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	for name, statements := range map[string]string{
		"foreign.db": "CREATE TABLE theirs (x)",
		"wal.db":     "PRAGMA journal_mode = WAL; CREATE TABLE theirs (x)",
	} {
		db, err := sql.Open("sqlite", filepath.Join(dir, name))
		require.NoError(t, err)
		_, err = db.Exec(statements)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		require.NoError(t, os.Chmod(filepath.Join(dir, name), 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "empty.db"), nil, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "text"), []byte("no database, but long enough"), 0o644))
	before := folder(t, dir)
	for name, want := range map[string]string{
		"foreign.db": "want a database with runs", "wal.db": "want a database with runs", "empty.db": "want a database with runs",
		"text": "not a SQLite database", "none.db": "no such file", ".": "not a regular file",
	} {
		_, err := fleet.OpenReadOnly(ctx, filepath.Join(dir, name))
		require.ErrorContains(t, err, want, name)
	}
	assert.Equal(t, before, folder(t, dir))
}

// A role with only SELECT can report, and looking makes no table.
func TestReadOnlyOnPostgres(t *testing.T) {
	source, ctx := postgrestest.URL(t), context.Background()
	_, err := fleet.OpenReadOnly(ctx, source)
	require.ErrorContains(t, err, "want a database with runs")
	db, err := sql.Open("pgx", source)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	var tables int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()").Scan(&tables))
	assert.Zero(t, tables)

	b := newBench(t, source)
	b.add("run", rename(b.token("a"), "new"))
	require.NoError(t, b.run("run"))
	address, err := url.Parse(source)
	require.NoError(t, err)
	schema := address.Query().Get("search_path")
	reader := "reader_" + strings.ToLower(schema)
	_, err = db.Exec("CREATE ROLE " + reader + " LOGIN; GRANT USAGE ON SCHEMA " + schema + " TO " + reader +
		"; GRANT SELECT ON fleet_schema, fleet_run, fleet_source, fleet_change, fleet_attempt TO " + reader)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.Exec("DROP OWNED BY " + reader + "; DROP ROLE " + reader)
		assert.NoError(t, err)
	})
	address.User = url.User(reader)
	for _, source := range []string{address.String(), source} {
		store, err := fleet.OpenReadOnly(ctx, source)
		require.NoError(t, err)
		look(t, store, "run")
		for name, err := range writes(store, b.options) {
			assert.ErrorContains(t, err, "opened for reading only", name)
		}
		require.NoError(t, store.Close())
	}
}

// Rows of an older format do not hold what is needed to resume an open change.
func TestTablesOfAnOlderFormat(t *testing.T) {
	ctx := context.Background()
	older := func(t *testing.T, outcome string) string {
		source := filepath.Join(t.TempDir(), "run.db")
		schema, err := os.ReadFile("schema.sql")
		require.NoError(t, err)
		db, err := sql.Open("sqlite", source)
		require.NoError(t, err)
		_, err = db.Exec(strings.NewReplacer("{id}", "INTEGER PRIMARY KEY AUTOINCREMENT", "{bytes}", "BLOB").Replace(string(schema)) +
			`; CREATE TABLE fleet_schema (version BIGINT PRIMARY KEY); INSERT INTO fleet_schema VALUES (1);
			INSERT INTO fleet_run (name, created) VALUES ('run', 1);
			INSERT INTO fleet_change (run, seq, api, token, body, outcome) VALUES (1, 1, 'v2', 'a', '{"api":"v2","id":"a","want":{"name":"new"}}', '` + outcome + `')`)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		return source
	}
	_, err := fleet.OpenReadOnly(ctx, older(t, "applied"))
	require.ErrorContains(t, err, "the tables are of version 1")
	_, err = fleet.Open(ctx, older(t, "pending"))
	require.ErrorContains(t, err, "1 changes are pending in tables of an older format")
	store := open(t, older(t, "applied"))
	look(t, store, "run")
}
