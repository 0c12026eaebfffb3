package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
)

// progressView is the view that -progress asks for. On a terminal auto is a bar.
func (a *app) progressView() view {
	how := a.progress
	if file, ok := a.stderr.(*os.File); how == "auto" {
		how = "plain"
		if ok && isatty.IsTerminal(file.Fd()) {
			how = "bar"
		}
	}
	switch how {
	case "bar":
		return newBar(a.stderr)
	case "plain":
		return &plain{w: a.stderr}
	default:
		return none{}
	}
}

// none shows nothing.
type none struct{}

func (none) show(page.Run) {}
func (none) end(page.Run)  {}

// plain writes a line now and then.
type plain struct {
	w    io.Writer
	last time.Time
}

const between = 10 * time.Second // lines

func (p *plain) show(run page.Run) {
	if time.Since(p.last) < between {
		return
	}
	p.last = time.Now()
	fmt.Fprintf(p.w, "%s  %d of %d: %d applied, %d not applied, %d unknown  %s\n",
		p.last.Format(time.TimeOnly), run.Decided(), run.Total(), run.Applied, run.NotApplied, run.Unknown, paceText(run))
}

func (p *plain) end(page.Run) {}

// bar is drawn again and again in the same place. What is written to it goes above.
type bar struct {
	*mpb.Progress
	bar *mpb.Bar
	run chan page.Run // holds what is shown
}

func newBar(w io.Writer) *bar {
	b := &bar{Progress: mpb.New(mpb.WithOutput(w), mpb.WithRefreshRate(200*time.Millisecond), mpb.WithAutoRefresh()), run: make(chan page.Run, 1)}
	b.run <- page.Run{}
	b.bar = b.AddBar(0, // a total that may be set later
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(b.text(func(run page.Run) string { return fmt.Sprintf("%d/%d ", run.Decided(), run.Total()) })),
		mpb.AppendDecorators(b.text(func(run page.Run) string {
			return fmt.Sprintf(" %d not applied, %d unknown", run.NotApplied, run.Unknown)
		})),
		mpb.BarExtender(mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
			run := <-b.run
			b.run <- run
			_, err := fmt.Fprintln(w, shorten(paceText(run), s.AvailableWidth))
			return err
		}), false),
	)
	return b
}

// text shows something of the run.
func (b *bar) text(of func(page.Run) string) decor.Decorator {
	return decor.Any(func(decor.Statistics) string {
		run := <-b.run
		b.run <- run
		return of(run)
	})
}

func (b *bar) show(run page.Run) {
	<-b.run
	b.run <- run
	b.bar.SetTotal(int64(max(run.Total(), 1)), false)
	b.bar.SetCurrent(int64(run.Decided()))
}

func (b *bar) end(page.Run) {
	b.bar.Abort(true)
	b.Wait()
}
