package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/changefile"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// started is the content of FILE.started: some of the changes may have been made, and this database
// knows them.
type started struct {
	SHA256   string    `json:"sha256"` // of the file
	Run      string    `json:"run"`    // its name
	Database string    `json:"database"`
	At       time.Time `json:"at"`
	path     string
}

// startedBefore reads FILE.started; nil if there is none, or -fresh is given. A missing SQLite
// database is an error before another one is made in its place.
func (a *app) startedBefore(file *changefile.File) (*started, error) {
	if a.fresh || !file.HasName() {
		return nil, nil
	}
	s := &started{path: file.Name + ".started"}
	text, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && json.Unmarshal(text, s) != nil {
		err = fmt.Errorf("%s: want what tokenpatch apply wrote, or -fresh", s.path)
	}
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(a.db); !isPostgres(a.db) && errors.Is(err, fs.ErrNotExist) {
		return nil, s.lost(a.db)
	}
	return s, nil
}

// check returns an error if the store does not know the file's run.
func (s *started) check(ctx context.Context, a *app, store *fleet.Store) error {
	if s == nil {
		return nil
	}
	known, err := knows(ctx, store, s.SHA256)
	if err == nil && !known {
		err = s.lost(a.db)
	}
	return err
}

func (s *started) lost(database string) error {
	want := "-db " + shellWord(s.Database)
	if place, err := placeOf(database); err == nil && place == s.Database { // its run was deleted, or the database itself
		want = "the database as it was"
	}
	return fmt.Errorf("%s: the changes were started before, at %s, and the run %q is not in %s; some of them may have been made: "+
		"want %s, or -fresh to start again from the beginning", s.path, s.At.Local().Format(time.DateTime), s.Run, database, want)
}

// placeOf is a database by a name that is good in any folder.
func placeOf(database string) (string, error) {
	if isPostgres(database) {
		return database, nil
	}
	return filepath.Abs(database)
}

// writeStarted writes FILE.started, before anything is sent.
func (a *app) writeStarted(file *changefile.File, t target) error {
	if !file.HasName() {
		return nil
	}
	database, err := placeOf(a.db)
	if err != nil {
		return err
	}
	s := started{SHA256: file.Digest, Run: t.name, Database: database, At: time.Now().UTC()}
	return a.replace(file.Name+".started", func(w io.Writer) error { return writeJSON(w, s) })
}
