package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress is how much of the work is done, and what it waits for.
type progress struct {
	done, total int
	detail      string // "3 not applied, 0 unknown"
	pace        string // "9.8/s, 42s left"
}

// count is how much is done, and of how much if known.
func (p progress) count() string {
	if p.total == 0 {
		return fmt.Sprintf("%d ", p.done)
	}
	return fmt.Sprintf("%d/%d ", p.done, p.total)
}

// view shows progress.
type view interface {
	show(progress)
	end()
}

const narrowest = 20 // columns of a terminal for a bar

// progressView is the view of -progress. On a terminal auto is a bar.
func (a *app) progressView() view {
	how := a.progress
	if how == "auto" {
		how = "plain"
		if a.terminal != nil && columns(a.terminal) >= narrowest {
			how = "bar"
		}
	}
	switch how {
	case "bar":
		b := newBar(a.stderr.stderr)
		a.stderr.drawBar(b)
		return b
	case "plain":
		return &plain{w: a.stderr}
	default:
		return none{}
	}
}

// columns is the width of a terminal; 0 if the file is none, or does not know.
func columns(file *os.File) int {
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// none shows nothing.
type none struct{}

func (none) show(progress) {}
func (none) end()          {}

// plain writes a line now and then.
type plain struct {
	w    io.Writer
	last time.Time
}

const between = 10 * time.Second // lines

func (p *plain) show(now progress) {
	if time.Since(p.last) < between {
		return
	}
	p.last = time.Now()
	fmt.Fprintf(p.w, "%s  %s%s  %s\n", p.last.Format(time.TimeOnly), now.count(), now.detail, now.pace)
}

func (p *plain) end() {}

// bar is drawn again and again in the same place. Other text goes above it.
type bar struct {
	*mpb.Progress
	bar *mpb.Bar
	now chan progress // holds what is shown
}

// atStart moves the cursor to the start of its line before it moves up: keys that somebody presses, such as Ctrl-C, are
// shown where it was.
type atStart struct{ io.Writer }

func (w atStart) Write(text []byte) (int, error) {
	if bytes.HasPrefix(text, []byte("\x1b[")) {
		if _, err := io.WriteString(w.Writer, "\r"); err != nil {
			return 0, err
		}
	}
	return w.Writer.Write(text)
}

func newBar(w io.Writer) *bar {
	console := cupwriter.New(atStart{w}, false)
	if file, isFile := w.(*os.File); isFile {
		console.SetTermFd(int(file.Fd()))
	}
	b := &bar{
		Progress: mpb.New(mpb.WithConsoleWriter(console), mpb.WithRefreshRate(200*time.Millisecond), mpb.WithAutoRefresh()), now: make(chan progress, 1),
	}
	b.now <- progress{}
	b.bar = b.AddBar(0, // the total may be set later
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(b.text(progress.count)),
		mpb.AppendDecorators(b.text(func(p progress) string { return " " + p.detail })),
		mpb.BarExtender(mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
			_, err := fmt.Fprintln(w, fit(b.get().pace, s.AvailableWidth))
			return err
		}), false),
	)
	return b
}

func (b *bar) get() progress {
	now := <-b.now
	b.now <- now
	return now
}

// text shows something of the progress.
func (b *bar) text(of func(progress) string) decor.Decorator {
	return decor.Any(func(decor.Statistics) string { return of(b.get()) })
}

func (b *bar) show(now progress) {
	<-b.now
	b.now <- now
	b.bar.SetTotal(int64(max(now.total, 1)), false)
	b.bar.SetCurrent(int64(now.done))
}

func (b *bar) end() {
	b.bar.Abort(true)
	b.Wait()
}
