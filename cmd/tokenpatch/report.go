package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// outcomeRow is what a report says of one change.
type outcomeRow struct {
	API      string      `json:"api"`
	ID       string      `json:"id"`
	Outcome  fleet.State `json:"outcome"`
	Attempts int         `json:"attempts"` // to change the token
	Status   int         `json:"status,omitempty"`
	Code     string      `json:"code,omitempty"`
	Error    string      `json:"error,omitempty"`
	Started  *time.Time  `json:"started,omitempty"`
	Ended    *time.Time  `json:"ended,omitempty"`
}

func newLine(r fleet.Result) outcomeRow {
	api := "v2"
	if r.Change.Update != nil {
		api = "v1"
	}
	return outcomeRow{
		API: api, ID: r.Change.ID, Outcome: r.State, Attempts: r.Attempts, Status: r.Status, Code: r.Code, Error: r.Err,
		Started: utc(r.Started), Ended: utc(r.Ended),
	}
}

// utc is a time in UTC; nil for the zero time.
func utc(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// writeReport tells what became of each change.
func writeReport(ctx context.Context, a *app) error {
	if err := a.checkOutput(); err != nil {
		return err
	}
	store, run, err := a.openRun(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	p, err := store.Progress(ctx, run)
	if err != nil {
		return err
	}
	err = a.output(func(w io.Writer) error {
		if a.format == "html" {
			return writePage(ctx, printableWriter{w}, store, p)
		}
		write, flush := formats[a.format](w)
		for result, err := range store.Results(ctx, run) {
			if err != nil {
				return err
			}
			if err := write(newLine(result)); err != nil {
				return err
			}
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return exitOf(p)
}

// formats are the reports that have a line for each change.
var formats = map[string]func(io.Writer) (write func(outcomeRow) error, flush func() error){
	"text": func(w io.Writer) (func(outcomeRow) error, func() error) {
		return func(l outcomeRow) error { return writeText(w, l) }, func() error { return nil }
	},
	"csv": func(w io.Writer) (func(outcomeRow) error, func() error) {
		c := csv.NewWriter(w)
		_ = c.Write([]string{"api", "id", "outcome", "attempts", "status", "code", "error", "started", "ended"}) // Flush tells
		return func(l outcomeRow) error { return c.Write(cells(l)) }, func() error { c.Flush(); return c.Error() }
	},
	"json": func(w io.Writer) (func(outcomeRow) error, func() error) {
		return func(l outcomeRow) error { return writeJSON(w, l) }, func() error { return nil }
	},
}

func writeText(w io.Writer, l outcomeRow) error {
	var why string
	if l.Error != "" {
		why = "  " + printable(l.Error)
	}
	attempts := "attempts"
	if l.Attempts == 1 {
		attempts = "attempt"
	}
	_, err := fmt.Fprintf(w, "%-11s  %s  %-24s  %d %s%s\n", strings.ReplaceAll(string(l.Outcome), "_", " "), l.API, printable(l.ID), l.Attempts, attempts, why)
	return err
}

// cells are a line of CSV. What a spreadsheet would run as a formula begins with an apostrophe, which makes it a text.
func cells(l outcomeRow) []string {
	status := ""
	if l.Status != 0 {
		status = strconv.Itoa(l.Status)
	}
	cells := []string{l.API, l.ID, string(l.Outcome), strconv.Itoa(l.Attempts), status, l.Code, l.Error, moment(l.Started), moment(l.Ended)}
	for i, cell := range cells {
		cell = printable(cell)
		if cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
			cell = "'" + cell
		}
		cells[i] = cell
	}
	return cells
}

func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339)
}

// encodeJSON encodes a value as a line of JSON in which &, < and > stand as themselves.
func encodeJSON(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return b.Bytes(), err
}

// writeJSON writes a value as a line of JSON in which whatever a terminal would obey is escaped.
func writeJSON(w io.Writer, value any) error {
	encoded, err := encodeJSON(value)
	if err != nil {
		return err
	}
	out := make([]byte, 0, len(encoded))
	for _, r := range string(encoded) {
		if unicode.IsPrint(r) || r == '\n' {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	_, err = w.Write(out)
	return err
}

// writePage writes the page of a run, frozen.
func writePage(ctx context.Context, w io.Writer, store *fleet.Store, p fleet.Progress) error {
	run, err := details(ctx, store, p.Run)
	if err != nil {
		return err
	}
	if run.Windows, run.Refused, err = keptRequests(ctx, store, p.Run); err != nil {
		return err
	}
	fill(&run, p)
	return page.Write(w, run)
}

// details are the failures of a run, and the slowest of its changes.
func details(ctx context.Context, store *fleet.Store, name string) (run page.Run, err error) {
	for result, err := range store.Results(ctx, name, fleet.StateNotApplied, fleet.StateUnknown) {
		if err != nil {
			return run, err
		}
		if run.Failures = append(run.Failures, newChange(result)); len(run.Failures) == page.MaxFailures {
			break
		}
	}
	slowest, err := store.Slowest(ctx, name, page.MaxSlowest)
	for _, result := range slowest {
		run.Slowest = append(run.Slowest, newChange(result))
	}
	return run, err
}

func newChange(r fleet.Result) page.Change {
	l := newLine(r)
	return page.Change{
		API: l.API, ID: l.ID, Outcome: string(l.Outcome), Attempts: l.Attempts, Status: l.Status, Code: l.Code, Error: l.Error,
		Seconds: max(0, r.Ended.Sub(r.Started).Seconds()),
	}
}
