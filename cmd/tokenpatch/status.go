package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch/fleet"
)

// status shows the progress of the runs.
func status(ctx context.Context, a *app) error {
	store, err := a.readStore(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	runs, err := store.Runs(ctx)
	if a.runName != "" {
		var one fleet.Progress
		one, err = store.Progress(ctx, a.runName)
		runs = []fleet.Progress{one}
	}
	if err != nil {
		return err
	}
	if len(runs) == 0 && a.format == "text" {
		fmt.Fprintf(a.stdout, "there is no run in %s\n", printable(a.db))
	}
	var all fleet.Progress
	for _, run := range runs {
		if a.format == "json" {
			err = errors.Join(err, writeJSON(a.stdout, newRunStatus(run)))
		} else {
			writeProgress(a.stdout, run)
		}
		all.Pending += run.Pending
		all.NotApplied += run.NotApplied
		all.Unknown += run.Unknown
	}
	if err != nil || !a.detailed {
		return err
	}
	return exitOf(all)
}

// runStatus is the progress of a run, for programs.
type runStatus struct {
	Run        string     `json:"run"`
	Created    *time.Time `json:"created"`
	Ended      *time.Time `json:"ended,omitempty"`
	Changes    int        `json:"changes"`
	Applied    int        `json:"applied"`
	NotApplied int        `json:"not_applied"`
	Unknown    int        `json:"unknown"`
	Pending    int        `json:"pending"`
	Skipped    int        `json:"skipped"`
	Stopped    string     `json:"stopped,omitempty"`
}

func newRunStatus(p fleet.Progress) runStatus {
	return runStatus{p.Run, utc(p.Created), utc(p.Ended), p.Total(), p.Applied, p.NotApplied, p.Unknown, p.Pending, aboutRun(p).Skipped, p.Stopped}
}

// writeProgress writes the progress of a run.
func writeProgress(w io.Writer, p fleet.Progress) {
	fmt.Fprintf(w, "%s: %s: %d applied, %d not applied, %d unknown, %d pending\n",
		printable(p.Run), count(p.Total(), "change"), p.Applied, p.NotApplied, p.Unknown, p.Pending)
	if skipped := aboutRun(p).Skipped; skipped > 0 {
		fmt.Fprintf(w, "  and %s of FILE skipped\n", count(skipped, "row"))
	}
	if p.Stopped != "" && p.Pending > 0 {
		fmt.Fprintf(w, "  stopped: %s\n", printable(p.Stopped))
	}
}

// retry makes failed changes pending again, except those that would fail again.
func retry(ctx context.Context, a *app) error {
	store, run, err := a.openRun(ctx, a.openStore)
	if err != nil {
		return err
	}
	defer store.Close()
	var states []fleet.State
	for one := range strings.SplitSeq(a.outcome, ",") {
		states = append(states, fleet.State(one))
	}
	var n, left int
	if a.evenIfApplied {
		n, err = store.RetryEvenIfApplied(ctx, run, states...)
	} else {
		n, err = store.Retry(ctx, run, func(r fleet.Result) bool {
			if a.all || reasonOf(r).next == nextRetry {
				return true
			}
			left++
			return false
		}, states...)
	}
	if err != nil {
		return err
	}
	if left > 0 {
		fmt.Fprintf(a.stdout, "%s: left out %s that would fail again, as the report explains; -all includes them\n", printable(run), count(left, "change"))
	}
	if n == 0 {
		fmt.Fprintf(a.stdout, "%s: there is nothing to retry\n", printable(run))
		return nil
	}
	fmt.Fprintf(a.stdout, "%s: %s pending again; next: %s\n", printable(run), areNow(n), a.next("apply", "-run", run))
	return nil
}

func areNow(n int) string {
	if n == 1 {
		return "1 change is"
	}
	return fmt.Sprintf("%d changes are", n)
}
