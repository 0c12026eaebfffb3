package fleet

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/riverqueue/river/riverdriver/riversqlite"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

var (
	// SQLite itself would write to a deleted file as if nothing had happened.
	errFileReplaced = errors.New("the database file was deleted or replaced while it was in use")

	errFileChanged = errors.New("another program has begun to write to the database file: open it again")
)

var sqliteDialect = strings.NewReplacer(
	"{now}", "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
	"{made}", "CAST(unixepoch(j.created_at, 'subsec') * 1000000 AS INTEGER)",
	"{instant}", "datetime('now', 'subsec')",
	"{past}", "datetime(0, 'unixepoch')",
	"{worker}", "j.attempted_by ->> -1",
	"{lock}", "",
	"$", "?",
)

// openSQLite opens the file at path. All writing uses one connection: SQLite has
// one writer at a time, and a queue for one connection is fair, which SQLite's own
// busy handler is not.
func openSQLite(path string) (*Store, error) {
	path, err := filePath(path)
	if err != nil {
		return nil, err
	}
	opened, err := makePrivate(path)
	if err != nil {
		return nil, err
	}
	db, err := openPrepared(sqliteSource(path, "_txlock", "immediate", "journal_mode(WAL)", "synchronous(FULL)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	reads, err := openPrepared(sqliteSource(path, "_txlock", "deferred", "query_only(1)"))
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s := &Store{db: db, reads: reads, driver: riversqlite.New(db), dialect: sqliteDialect, committers: 1}
	s.intact = func() error { return sameFile(path, opened) }
	s.checkpoint = func(ctx context.Context) error {
		ctx, cancel := bounded(ctx)
		defer cancel()
		_, err := db.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)")
		return err
	}
	return s, nil
}

// readSQLite opens the file at path for reading only. Nothing appears beside it if
// nobody writes to it: then SQLite does not even look for a writer, and we do.
func readSQLite(path string) (*Store, error) {
	path, err := filePath(path)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer file.Close()
	opened, err := checkDatabase(file)
	if err != nil {
		return nil, err
	}
	source := sqliteSource(path, "mode", "ro", "query_only(1)")
	s := &Store{dialect: sqliteDialect, intact: func() error { return sameFile(path, opened) }}
	if !hasLog(path) {
		source += "&immutable=1"
		s.intact = func() error {
			now, err := os.Stat(path)
			if err != nil || hasLog(path) || !now.ModTime().Equal(opened.ModTime()) || now.Size() != opened.Size() {
				return errFileChanged
			}
			return sameFile(path, opened)
		}
	}
	s.reads, err = sql.Open("sqlite", source)
	return s, err
}

// hasLog reports whether there is a write-ahead log beside a database, which holds
// what was committed last.
func hasLog(path string) bool {
	_, err := os.Stat(path + "-wal")
	return err == nil
}

func sameFile(path string, opened os.FileInfo) error {
	if now, err := os.Stat(path); err != nil || !os.SameFile(opened, now) {
		return errFileReplaced
	}
	return nil
}

func filePath(path string) (string, error) {
	if path == "" || strings.HasPrefix(path, ":") {
		return "", errors.New("want the path of a file")
	}
	return filepath.Abs(path)
}

// makePrivate creates a database that only its owner can read, before anything is in it, or makes
// an existing one private. It leaves any other file unchanged. SQLite gives the mode to the files
// beside it.
func makePrivate(path string) (os.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, errors.Unwrap(err) // Open names the path
	}
	defer file.Close()
	info, err := checkDatabase(file)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = file.Chmod(0o600)
	}
	return info, err
}

// checkDatabase returns an error if a file is neither empty nor a database, by how
// it begins: https://sqlite.org/fileformat.html.
func checkDatabase(file *os.File) (os.FileInfo, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if info.Size() == 0 {
		return info, nil
	}
	const magic = "SQLite format 3\x00"
	begins := make([]byte, len(magic))
	if _, err := io.ReadFull(file, begins); err != nil || string(begins) != magic {
		return nil, errors.New("not a SQLite database")
	}
	return info, nil
}

// sqliteSource is a file's URL with one option and some pragmas. Each connection keeps 500 KiB of pages, not 2 MB: several are
// open, and more makes nothing faster.
func sqliteSource(path, option, value string, pragmas ...string) string {
	query := url.Values{option: {value}, "_pragma": append([]string{"busy_timeout(10000)", "cache_size(-500)"}, pragmas...)}
	source := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}
	return source.String()
}
