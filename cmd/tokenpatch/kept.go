package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// kept is what the store keeps of a run for this command: what the processes that worked on it saw of the rate limit, so its
// page can be written after they have ended. It outlives a run that is deleted; a run that is made again under its name
// begins anew.
type kept struct {
	Windows map[string][]page.Window `json:"windows"` // by process
	Refused map[string]int           `json:"refused"`
	Account string                   `json:"account,omitempty"` // of V2, that the run changes tokens of
}

func newKept() kept {
	return kept{Windows: map[string][]page.Window{}, Refused: map[string]int{}}
}

func keptKey(run string) string { return "cmd/tokenpatch: run " + run }

const forever = 100 * 365 * 24 * time.Hour

// updateKept changes what is kept of a run, unless change returns an error. A store keeps small states under keys, and
// updates them atomically.
func updateKept(ctx context.Context, store *fleet.Store, run string, change func(*kept) error) error {
	var refused error
	err := store.Update(ctx, keptKey(run), func(state []byte, _ time.Time) ([]byte, time.Duration, error) {
		k := newKept()
		if len(state) > 0 {
			if err := json.Unmarshal(state, &k); err != nil {
				return nil, 0, err
			}
		}
		if refused = change(&k); refused != nil {
			return nil, 0, refused
		}
		next, err := json.Marshal(k)
		return next, forever, err
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
	state, err := store.State(ctx, keptKey(run))
	if err == nil && len(state) > 0 {
		err = json.Unmarshal(state, &k)
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
