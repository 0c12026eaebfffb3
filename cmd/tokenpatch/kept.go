package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// kept is the command's data about a run in the store: the rate limit as seen by its processes, so
// the page can be written after their end.
type kept struct {
	Windows map[string][]page.Window `json:"windows"` // by process
	Refused map[string]int           `json:"refused"`
	Account string                   `json:"account,omitempty"` // of V2, with the run's tokens
}

func newKept() kept {
	return kept{Windows: map[string][]page.Window{}, Refused: map[string]int{}}
}

const keptName = "kept"

// updateKept changes what is kept of a run, unless change returns an error.
func updateKept(ctx context.Context, store *fleet.Store, run string, change func(*kept) error) error {
	var refused error
	err := store.UpdateNote(ctx, run, keptName, func(note []byte) ([]byte, error) {
		k := newKept()
		if len(note) > 0 {
			if err := json.Unmarshal(note, &k); err != nil {
				return nil, err
			}
		}
		if refused = change(&k); refused != nil {
			return nil, refused
		}
		return json.Marshal(k)
	})
	return cmp.Or(refused, err)
}

// keep keeps what this process has seen so far. Of the windows of all processes it keeps the last page.MaxWindows.
func (t *traffic) keep(ctx context.Context, store *fleet.Store, run string) error {
	return updateKept(ctx, store, run, func(k *kept) error {
		k.Windows[t.process], k.Refused[t.process] = t.snapshot()
		all, _ := k.all()
		if len(all) <= page.MaxWindows {
			return nil
		}
		oldest := all[len(all)-page.MaxWindows].Ends
		for process, windows := range k.Windows {
			k.Windows[process] = slices.DeleteFunc(windows, func(w page.Window) bool { return w.Ends.Before(oldest) })
		}
		return nil
	})
}

// keptRequests is what all processes have written down of the rate limit.
func keptRequests(ctx context.Context, store *fleet.Store, run string) (windows []page.Window, refused int, err error) {
	k := newKept()
	note, err := store.Note(ctx, run, keptName)
	if err == nil && len(note) > 0 {
		err = json.Unmarshal(note, &k)
	}
	windows, refused = k.all()
	return windows, refused, err
}

// all is what all processes have seen, in the order of time.
func (k *kept) all() (windows []page.Window, refused int) {
	for process := range k.Windows {
		windows = append(windows, k.Windows[process]...)
		refused += k.Refused[process]
	}
	slices.SortFunc(windows, func(a, b page.Window) int { return cmp.Or(a.Ends.Compare(b.Ends), cmp.Compare(a.Quota, b.Quota)) })
	return windows, refused
}
