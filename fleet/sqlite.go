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

// errFileReplaced is why a store's file is not written to any more. SQLite itself
// would go on writing to a deleted file, as if nothing had happened.
var errFileReplaced = errors.New("the database file was deleted or replaced while it was in use")

// openSQLite opens the file at path. All writing goes through one connection:
// SQLite has one writer at a time, and waiting for it in line here is fair,
// which its own busy handler is not.
func openSQLite(_ context.Context, path string) (*Store, error) {
	if path == "" || strings.HasPrefix(path, ":") {
		return nil, errors.New("want the path of a file")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	opened, err := makePrivate(path)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", sqliteSource(path, "immediate", "journal_mode(WAL)", "synchronous(FULL)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	reads, err := sql.Open("sqlite", sqliteSource(path, "deferred", "query_only(1)"))
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Store{
		db: db, reads: reads, driver: riversqlite.New(db),
		now:        "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
		worker:     "j.attempted_by ->> -1",
		committers: 1,
		rebind:     func(statement string) string { return strings.ReplaceAll(statement, "$", "?") },
		intact: func() error {
			if now, err := os.Stat(path); err != nil || !os.SameFile(opened, now) {
				return errFileReplaced
			}
			return nil
		},
	}, nil
}

// makePrivate makes a database that only its owner can read, before anything is in
// it, or makes one that is there private. It leaves any other file as it is. SQLite
// gives the mode to the files beside it.
func makePrivate(path string) (os.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, errors.Unwrap(err) // Open names the path
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if info.Size() > 0 && !isDatabase(file) {
		return nil, errors.New("not a SQLite database")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return info, file.Chmod(0o600)
	}
	return info, nil
}

// isDatabase reports whether a file begins as https://sqlite.org/fileformat.html says.
func isDatabase(file io.Reader) bool {
	const magic = "SQLite format 3\x00"
	begins := make([]byte, len(magic))
	_, err := io.ReadFull(file, begins)
	return err == nil && string(begins) == magic
}

func sqliteSource(path, lock string, pragmas ...string) string {
	query := url.Values{"_txlock": {lock}, "_pragma": append([]string{"busy_timeout(10000)"}, pragmas...)}
	source := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}
	return source.String()
}
