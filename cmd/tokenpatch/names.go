package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/changefile"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// about is what the store keeps with a run for the command, as its label.
type about struct {
	Digests []string `json:"digests"`          // of its files
	Source  string   `json:"source,omitempty"` // the FILE behind the last one
	Skipped int      `json:"skipped,omitempty"`
}

// aboutRun decodes a label. An empty one is of a process that was killed before it set it.
func aboutRun(p fleet.Progress) (about about) {
	_ = json.Unmarshal([]byte(p.Label), &about)
	return about
}

func (b about) label() string {
	encoded, _ := json.Marshal(b) // texts and numbers
	return string(encoded)
}

// with is what to keep once a file was added.
func (b about) with(file *changefile.File) about {
	if !slices.Contains(b.Digests, file.Digest) {
		b.Digests = append(b.Digests, file.Digest)
		b.Skipped += file.Rows - file.Changes
	}
	b.Source = file.Name
	if file.Plan != nil {
		b.Source = file.Plan.Source
	}
	return b
}

// target is the run of a file.
type target struct {
	name     string
	instead  string // a finished run whose name was wanted
	exists   bool
	known    bool // it has the changes of the file
	progress fleet.Progress
	about    about
}

// findTarget finds the run of a file, or a name for a new one: that of -run, or of the file without its ending. The name of
// a finished run with other changes gets a number.
func (a *app) findTarget(ctx context.Context, store *fleet.Store, file *changefile.File) (target, error) {
	base := cmp.Or(a.runName, strings.TrimSuffix(filepath.Base(file.Name), filepath.Ext(file.Name)), file.Name)
	for n := 1; ; n++ {
		t := target{name: base}
		if n > 1 {
			t.name, t.instead = fmt.Sprintf("%s-%d", base, n), base
		}
		var err error
		t.progress, err = store.Progress(ctx, t.name)
		if errors.As(err, new(*fleet.UnknownRunError)) {
			return t, nil
		}
		if err != nil {
			return t, err
		}
		t.exists, t.about = true, aboutRun(t.progress)
		switch {
		case slices.Contains(t.about.Digests, file.Digest):
			t.known, t.instead = true, ""
			return t, nil
		case a.add, len(t.about.Digests) == 0: // the store compares digests
			return t, nil
		case t.progress.Pending > 0:
			return t, otherChanges(t.name, file.Name)
		}
	}
}

func otherChanges(run, file string) error {
	return fmt.Errorf("run %q has other changes than %s, and is not finished: want another name with -run, or -add to add to it", run, file)
}

// knows reports whether a store has a run made from a file with a digest.
func knows(ctx context.Context, store *fleet.Store, digest string) (bool, error) {
	runs, err := store.Runs(ctx)
	return slices.ContainsFunc(runs, func(p fleet.Progress) bool { return slices.Contains(aboutRun(p).Digests, digest) }), err
}
