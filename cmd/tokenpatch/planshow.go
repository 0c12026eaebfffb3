package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/term"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
)

// save writes the plan file, and notes its digest.
func (p *planning) save(ctx context.Context, w io.Writer) error {
	digest := sha256.New()
	w = io.MultiWriter(w, digest)
	p.plan.Run = uuid.NewString()
	if err := writeJSON(w, map[string]any{"plan": p.plan}); err != nil {
		return err
	}
	for row, err := range p.all() {
		if err == nil {
			err = writeJSON(w, row.fileRow)
		}
		if err := errors.Join(ctx.Err(), err); err != nil {
			return err
		}
	}
	p.digest = hex.EncodeToString(digest.Sum(nil))
	return nil
}

// next prints what to do next.
func (p *planning) next(a *app) {
	switch changes := count(p.count[actionChange], "change"); {
	case a.out != "":
		fmt.Fprintf(a.stderr, "saved %s to %s (sha256 %s); next: %s\n", changes, printable(a.out), p.digest, a.next("apply", a.out))
	case p.source.isPlan:
		fmt.Fprintf(a.stderr, "%s has %s (sha256 %s); next: %s\n", printable(p.source.name), changes, p.source.digest, a.next("apply", p.source.name))
	case p.count[actionChange] > 0:
		fmt.Fprintf(a.stderr, "nothing was saved: -o approved.jsonl saves %s for apply\n", changes)
	}
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// show writes the plan for people, or for programs.
func (p *planning) show(a *app) error {
	return flushed(a.stdout, func(w io.Writer) error {
		switch a.format {
		case "json":
			return p.writeJSON(w)
		case "html":
			return p.writePage(printableWriter{w})
		default:
			return p.writeText(w, a.paint(), a.all)
		}
	})
}

// writeJSON writes a summary, and a line for each row.
func (p *planning) writeJSON(w io.Writer) error {
	summary := map[string]any{
		"plan": p.plan, "host": p.host, "rows": p.rows(), "change": p.count[actionChange], "unchanged": p.count[actionUnchanged],
		"cannot": p.count[actionCannot], "kinds": p.kinds, "reasons": p.cannot,
	}
	if p.digest != "" {
		summary["sha256"] = p.digest
	}
	if err := writeJSON(w, summary); err != nil {
		return err
	}
	for row, err := range p.all() {
		if err == nil {
			err = writeJSON(w, row)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writePage writes the plan as a page: what one sends to whoever approves it.
func (p *planning) writePage(w io.Writer) error {
	list := page.List{Title: "Plan of " + p.source.name, Total: p.rows()}
	for _, fact := range []page.Fact{
		{Name: "tokens", Value: fmt.Sprintf("%d of %d would change", p.count[actionChange], p.rows())},
		{Name: "account", Value: p.plan.Account}, {Name: "credential", Value: p.credential()}, {Name: "host", Value: p.host},
		{Name: "sha256 of the plan file", Value: p.digest}, {Name: "sha256 of " + p.source.name, Value: p.source.digest},
	} {
		if fact.Value != "" {
			list.Facts = append(list.Facts, fact)
		}
	}
	for _, kind := range most(p.kinds, maxGroups) {
		list.Groups = append(list.Groups, page.Group{Count: p.kinds[kind], Text: kind})
	}
	for _, why := range most(p.cannot, maxGroups) {
		list.Groups = append(list.Groups, page.Group{Count: p.cannot[why], Text: why, Advice: actionWords[actionCannot]})
	}
	for _, action := range []string{actionChange, actionCannot, actionUnchanged} {
		if n := p.count[action]; n > 0 {
			list.States = append(list.States, page.State{Name: action, Words: actionWords[action], Count: n})
		}
	}
	var rowsErr error
	list.Rows = func(yield func(page.Row) bool) {
		for row, err := range p.all() {
			if rowsErr = err; err != nil || !yield(row.page()) {
				return
			}
		}
	}
	return cmp.Or(page.WriteList(w, list), rowsErr)
}

var actionWords = map[string]string{actionChange: "would change", actionCannot: "cannot be changed", actionUnchanged: asWanted}

// page is the row on a page.
func (r *plannedRow) page() page.Row {
	row := page.Row{API: r.API, ID: r.ID, Name: r.Name, State: r.Action, Words: actionWords[r.Action], Lines: pageLines(r.Differences, r.Roles), Comment: shownComment(r.API, r.Comment)}
	if r.Action == actionCannot {
		row.Reason = r.Skip
	}
	return row
}

// most are the most frequent of some kinds, at most n, in their order.
func most(kinds map[string]int, n int) []string {
	sorted := slices.SortedFunc(maps.Keys(kinds), func(a, b string) int { return cmp.Or(kinds[b]-kinds[a], strings.Compare(a, b)) })
	return sorted[:min(len(sorted), n)]
}

// credential is the credential of V2, by its name and its id.
func (p *planning) credential() string {
	if p.caller == nil || p.caller.TokenName == "" {
		return p.plan.Credential
	}
	return strings.TrimSpace(p.caller.TokenName + " " + p.plan.Credential)
}

// writeText writes the summary, what cannot be changed, and each change as a whole.
func (p *planning) writeText(w io.Writer, paint paint, all bool) error {
	p.writeSummary(w, paint)
	for _, action := range []string{actionCannot, actionChange, actionUnchanged} {
		if p.count[action] == 0 || action == actionUnchanged && !all {
			continue
		}
		heading := map[string]string{actionCannot: "Cannot be changed:", actionChange: "Changes:", actionUnchanged: "Already as wanted:"}[action]
		fmt.Fprintf(w, "\n%s\n", paint.bold(heading))
		for row, err := range p.all() {
			if err != nil {
				return err
			}
			if row.Action == action {
				row.writeText(w, paint)
			}
		}
	}
	return nil
}

const (
	shownKinds = 15 // as text
	maxGroups  = 50 // on a page
)

func (p *planning) writeSummary(w io.Writer, paint paint) {
	fmt.Fprintf(w, "%s: %s\n", printable(p.source.name), paint.bold(fmt.Sprintf("%d of %s would change", p.count[actionChange], count(p.rows(), "token"))))
	for _, fact := range []page.Fact{{Name: "account", Value: p.plan.Account}, {Name: "credential", Value: p.credential()}, {Name: "host", Value: p.host}} {
		if fact.Value != "" {
			fmt.Fprintf(w, "  %-12s%s\n", fact.Name, printable(fact.Value))
		}
	}
	for _, kind := range most(p.kinds, shownKinds) {
		fmt.Fprintf(w, "%6d  %s\n", p.kinds[kind], kind)
	}
	if more := len(p.kinds) - shownKinds; more > 0 {
		fmt.Fprintf(w, "        and %s more\n", count(more, "kind"))
	}
	for _, other := range []struct {
		n    int
		text string
	}{{p.v1, "of V1, which cannot be read first"}, {p.count[actionUnchanged], asWanted}, {p.count[actionCannot], "cannot be changed"}} {
		if other.n > 0 {
			fmt.Fprintf(w, "%6d  %s\n", other.n, other.text)
		}
	}
	for _, why := range most(p.cannot, shownKinds) {
		fmt.Fprintf(w, "%12d  %s\n", p.cannot[why], printable(why))
	}
}

// writeText writes a row with its whole change.
func (r *plannedRow) writeText(w io.Writer, paint paint) {
	heading := paint.bold(printable(r.ID))
	if r.Name != "" {
		heading += "  " + printable(r.Name)
	}
	if r.Skip != "" && r.Skip != asWanted {
		heading += "  " + paint.red(printable(r.Skip))
	}
	fmt.Fprintln(w, heading)
	for _, d := range r.Differences {
		for _, l := range d.lines(r.Roles) {
			fmt.Fprintf(w, "    %s\n", paint.line(l))
		}
	}
	if r.Comment != "" && r.Action == actionChange {
		fmt.Fprintf(w, "    comment: %s\n", printable(shownComment(r.API, r.Comment)))
	}
}

// shownComment is a comment for people.
func shownComment(api, comment string) string {
	if api == "v1" && comment != "" {
		comment += " (not sent: V1 has no comments)"
	}
	return comment
}

// paint colors text, or leaves it as it is.
type paint bool

// paint is on if standard output is a terminal, and NO_COLOR is not set.
func (a *app) paint() paint {
	file, ok := a.stdout.Writer.(*os.File)
	return paint(ok && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

func (p paint) in(code, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p paint) bold(text string) string   { return p.in("1", text) }
func (p paint) red(text string) string    { return p.in("31", text) }
func (p paint) green(text string) string  { return p.in("32", text) }
func (p paint) yellow(text string) string { return p.in("33", text) }

func (p paint) line(l line) string {
	switch l.Sign {
	case "-":
		return p.red(l.Text)
	case "+":
		return p.green(l.Text)
	}
	return p.yellow(l.Text)
}

// showReading shows how many tokens have been read, and what is waited for, until end is called.
func (a *app) showReading(seen *traffic, done *atomic.Int64, total int) (end func()) {
	shown := a.progressView()
	if lines, ok := shown.(*plain); ok {
		lines.last = time.Now() // a short plan needs none
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case now := <-ticker.C:
				shown.show(progress{int(done.Load()), total, "tokens read", waitsText(seen.waitsFor(now))})
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		shown.end()
	}
}
