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
	store, err := a.openStore(ctx)
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

// retry puts changes back that failed.
func retry(ctx context.Context, a *app) error {
	store, run, err := a.openRun(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	var states []fleet.State
	for _, one := range strings.Split(a.outcome, ",") {
		states = append(states, fleet.State(one))
	}
	putBack := store.Retry
	if a.evenIfApplied {
		putBack = store.RetryEvenIfApplied
	}
	n, err := putBack(ctx, run, states...)
	if err != nil {
		return err
	}
	if n == 0 {
		fmt.Fprintf(a.stdout, "%s: there is nothing to put back\n", printable(run))
		return nil
	}
	fmt.Fprintf(a.stdout, "%s: %d changes are pending again: tokenpatch apply -run %[1]s goes on\n", printable(run), n)
	return nil
}
