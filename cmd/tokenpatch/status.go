package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/tokenpatch/tokenpatch/fleet"
)

// status tells how far the runs are.
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
	if len(runs) == 0 {
		fmt.Fprintf(a.stdout, "there is no run in %s\n", printable(a.db))
	}
	var all fleet.Progress
	for _, run := range runs {
		writeProgress(a.stdout, run)
		all.Pending += run.Pending
		all.NotApplied += run.NotApplied
		all.Unknown += run.Unknown
	}
	return exitOf(all)
}

// writeProgress writes how far a run is.
func writeProgress(w io.Writer, p fleet.Progress) {
	fmt.Fprintf(w, "%s: %d changes: %d applied, %d not applied, %d unknown, %d pending\n",
		printable(p.Run), p.Total(), p.Applied, p.NotApplied, p.Unknown, p.Pending)
	if p.Stopped != "" && p.Pending > 0 {
		fmt.Fprintf(w, "it stopped: %s\n", printable(p.Stopped))
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
