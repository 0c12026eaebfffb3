package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// watcher asks the store for the progress of a run, and has it shown.
type watcher struct {
	store   *fleet.Store
	run     string
	traffic *traffic
	view    view
	pages   []*page.Server
	samples []sample
	earlier page.Run // with the requests of earlier processes
	details page.Run // of it the failures and the slowest, which cost more to find
	again   time.Time
	kept    time.Time // when the requests were written down
}

// sample is how many changes were decided at a time.
type sample struct {
	at      time.Time
	decided int
}

const (
	tick    = 500 * time.Millisecond
	recent  = 30 * time.Second // over which a rate is taken
	keeping = 5 * time.Second  // between two records of the requests
)

// watch shows how far the run is until done is called, which shows how it ended.
func (w *watcher) watch(interrupted context.Context) (done func() error) {
	ended := make(chan struct{})
	if run, err := w.look(interrupted, true); err == nil {
		w.show(run)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(interrupted)) // what is still in flight is of interest too
	go func() {
		defer close(ended)
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if run, err := w.look(ctx, true); err == nil { // fleet reports an unreachable store
				w.show(run)
			}
			if time.Since(w.kept) > keeping {
				w.kept = time.Now()
				_ = w.traffic.keep(ctx, w.store, w.run) // the next time, or in the end
			}
		}
	}()
	return func() error {
		cancel()
		<-ended
		ctx, cancel := ending(interrupted)
		defer cancel()
		return w.end(ctx)
	}
}

// endTime is how long a command that was interrupted waits for the store.
const endTime = 2 * time.Second

// ending is a context for what is left to do at the end of a run, which may have been interrupted.
func ending(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(context.WithoutCancel(ctx), endTime)
}

func (w *watcher) show(run page.Run) {
	w.view.show(progress{run.Decided(), run.Total(), fmt.Sprintf("%d not applied, %d unknown", run.NotApplied, run.Unknown), paceText(run)})
	for _, p := range w.pages {
		p.Publish(run)
	}
}

func (w *watcher) end(ctx context.Context) error {
	w.again = time.Time{}
	err := w.traffic.keep(ctx, w.store, w.run)
	run, lookErr := w.look(ctx, false)
	err = errors.Join(err, lookErr)
	w.view.end()
	for _, p := range w.pages {
		p.Publish(run)
	}
	return err
}

// look returns how far the run is.
func (w *watcher) look(ctx context.Context, live bool) (page.Run, error) {
	p, err := w.store.Progress(ctx, w.run)
	if err != nil {
		return page.Run{Name: w.run}, err
	}
	now := time.Now()
	if len(w.pages) > 0 && now.After(w.again) {
		if w.details, err = details(ctx, w.store, w.run); err != nil {
			return page.Run{Name: w.run}, err
		}
		w.again = now.Add(max(time.Second, 20*time.Since(now))) // however long the run is, it costs a twentieth of the time
	}
	run := w.details
	fill(&run, p)
	run.Live = live
	windows, refused := w.traffic.snapshot()
	run.Windows, run.Refused = append(slices.Clone(w.earlier.Windows), windows...), w.earlier.Refused+refused
	if live {
		run.Waiting = w.traffic.waitsFor(now)
		run.Rate, run.Left = w.pace(now, w.traffic.opensAt(now), run)
	}
	if run.Waiting == waitsForLost { // for longer than the rate would say
		run.Rate, run.Left = 0, 0
	}
	return run, nil
}

// fill fills in how far a run is.
func fill(run *page.Run, p fleet.Progress) {
	run.Name = p.Run
	run.Pending, run.Applied, run.NotApplied, run.Unknown = p.Pending, p.Applied, p.NotApplied, p.Unknown
	run.Skipped = aboutRun(p).Skipped
	if p.Pending > 0 {
		run.Stopped = p.Stopped
	}
}

// pace is the recent number of decided changes a second, and the seconds for the rest at this pace.
// The time until a window opens belongs to the decided changes: it cannot be left out, and the rest
// cannot begin before its end.
func (w *watcher) pace(now, opens time.Time, run page.Run) (rate, left float64) {
	w.samples = append(w.samples, sample{now, run.Decided()})
	for len(w.samples) > 2 && now.Sub(w.samples[1].at) > recent {
		w.samples = w.samples[1:]
	}
	waits := max(0, opens.Sub(now).Seconds())
	if opens.IsZero() {
		waits = 0
	}
	first := w.samples[0]
	seconds := now.Sub(first.at).Seconds() + waits
	if seconds < 1 || run.Decided() <= first.decided {
		return 0, 0
	}
	rate = float64(run.Decided()-first.decided) / seconds
	return rate, waits + float64(run.Pending)/rate
}

// paceText is how fast a run goes, and what it waits for.
func paceText(run page.Run) string {
	var text string
	if run.Rate > 0 {
		text = fmt.Sprintf("%.1f/s, %v left", run.Rate, time.Duration(run.Left*float64(time.Second)).Round(time.Second))
	}
	if text != "" && run.Waiting != "" {
		text += "; "
	}
	return text + waitsText(run.Waiting)
}

func waitsText(waits string) string {
	if waits == "" {
		return ""
	}
	return "waits for " + waits
}
