package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/changefile"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// note is what the store keeps of a row of FILE besides its change.
type note struct {
	API     string            `json:"api"`
	ID      string            `json:"id"`
	Name    string            `json:"name,omitempty"`
	Comment string            `json:"comment,omitempty"`
	Roles   map[string]string `json:"roles,omitempty"`
	Skip    string            `json:"skip,omitempty"`
}

const notesAtOnce = 1000 // under one key

// notesName is under which name a part of the notes of a file is kept.
func notesName(file string, part int) string { return fmt.Sprintf("rows of %s, %d", file, part) }

// keepNotes keeps the notes of a file, in its order.
func keepNotes(ctx context.Context, store *fleet.Store, run, id string, rows iter.Seq2[changefile.Row, error]) error {
	var notes []note
	part := 0
	flush := func() error {
		encoded, err := json.Marshal(notes)
		if err != nil {
			return err
		}
		err = store.UpdateNote(ctx, run, notesName(id, part), func([]byte) ([]byte, error) { return encoded, nil })
		notes, part = notes[:0], part+1
		return err
	}
	for row, err := range rows {
		if err != nil {
			return err
		}
		notes = append(notes, note{API: row.API, ID: row.ID, Name: row.Name, Comment: row.Comment, Roles: row.Roles, Skip: row.Skip})
		if len(notes) == notesAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush() // which may be empty, and is the end
}

// keptNotes iterates over the notes of a file.
func keptNotes(ctx context.Context, store *fleet.Store, run, id string) iter.Seq2[note, error] {
	return func(yield func(note, error) bool) {
		for part := 0; ; part++ {
			var notes []note
			state, err := store.Note(ctx, run, notesName(id, part))
			if err == nil && len(state) > 0 {
				err = json.Unmarshal(state, &notes)
			}
			if err != nil {
				yield(note{}, err)
				return
			}
			for _, n := range notes {
				if !yield(n, nil) {
					return
				}
			}
			if len(notes) < notesAtOnce {
				return
			}
		}
	}
}
