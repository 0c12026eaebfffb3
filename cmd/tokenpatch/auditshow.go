package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/audit"
)

// writeAudit writes a report in the requested format.
func (a *app) writeAudit(w io.Writer, r *audit.Report) error {
	switch a.format {
	case "csv":
		return writeAuditCSV(w, r)
	case "json":
		return writeAuditJSON(w, r)
	case "html":
		return r.WritePage(printableWriter{w})
	case "sarif":
		return r.WriteSARIF(escapingWriter{w}, version())
	}
	t := auditTable{w: w, r: r, paint: a.paint()}
	if file, ok := a.stdout.Writer.(*os.File); ok && a.out == "" {
		t.width = columns(file)
	}
	t.write()
	return nil
}

// writeAuditJSON writes a header, and a line for each finding: what -baseline reads.
func writeAuditJSON(w io.Writer, r *audit.Report) error {
	err := writeJSON(w, map[string]any{"audit": r.Header()})
	for f := range r.All() {
		if err != nil {
			return err
		}
		err = writeJSON(w, f)
	}
	return err
}

func writeAuditCSV(w io.Writer, r *audit.Report) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"rule", "severity", "id", "name", "owner", "evidence", "since", "firstSeen", "state", "suggestion", "exception", "until"})
	for f := range r.All() {
		row := []string{
			f.Rule, f.Severity.String(), f.ID, f.Name, f.Owner, f.Evidence, dateOf(f.Since), dateOf(f.FirstSeen), string(f.State), f.Suggestion, "", "",
		}
		if x := f.Exception; x != nil {
			row[10], row[11] = x.Reason, dateOf(x.Until)
		}
		_ = c.Write(safeCells(row...))
	}
	c.Flush()
	return c.Error()
}

func dateOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}

// auditTable shows a report to people: a summary, and a table for each rule.
type auditTable struct {
	w     io.Writer // keeps its first error
	r     *audit.Report
	paint paint
	width int // of the terminal; 0 is any
}

func (t *auditTable) line(format string, args ...any) { fmt.Fprintf(t.w, format+"\n", args...) }

// auditCounts are the counts of a report.
func auditCounts(r *audit.Report) string {
	text := fmt.Sprintf("%s, %d of them service tokens: findings: %d high, %d medium, %d low",
		count(r.Tokens, "token"), r.Service, r.Count(audit.High), r.Count(audit.Medium), r.Count(audit.Low))
	if n := r.Excepted(); n > 0 {
		text += fmt.Sprintf("; %d excepted", n)
	}
	return text
}

func (t *auditTable) write() {
	where := t.r.Host
	if t.r.Account != "" {
		where += ", account " + t.r.Account
	}
	t.line("%s: %s", printable(where), t.paint.bold(auditCounts(t.r)))
	if !t.r.Baseline.IsZero() {
		t.line("compared with %s: %d new, %d gone, %d still there", dateOf(t.r.Baseline), t.r.CountState(audit.StateNew), t.r.CountState(audit.StateGone), t.r.CountState(audit.StateSame))
	}
	if t.r.Quarantined > 0 {
		t.line("%s in quarantine", count(t.r.Quarantined, "token"))
	}
	t.line("tokens of deepset (V1) cannot be read, so they are not in this audit")
	for _, note := range t.r.Notes {
		t.line("note: %s", printable(note))
	}
	for _, g := range t.r.Groups() {
		t.line("\n%s  %s", t.severity(g.Severity), t.paint.bold(fmt.Sprintf("%s: %d", g.Name, g.Count)))
		t.line("        %s. %s", g.Finds, g.Advice)
		t.rows(g.Findings)
	}
	if n := t.r.CountState(audit.StateGone); n > 0 {
		t.line("\n%s", t.paint.bold(fmt.Sprintf("gone: %d", n)))
		t.rows(t.r.Gone())
	}
}

func (t *auditTable) severity(s audit.Severity) string {
	text := fmt.Sprintf("%-6s", s)
	switch s {
	case audit.High:
		return t.paint.red(text)
	case audit.Medium:
		return t.paint.yellow(text)
	}
	return text
}

const maxColumn = 32 // characters of a name or an owner

// cells are the columns of a finding before its evidence.
func (t *auditTable) cells(f *audit.Finding) []string {
	found := string(f.State)
	if f.State == audit.StateSame {
		found = dateOf(f.FirstSeen)
	}
	return []string{printable(f.ID), fit(printable(f.Name), maxColumn), fit(printable(f.Owner), maxColumn), dateOf(f.Since), found}
}

// rows writes findings in columns. They are read twice, the first time for the width of each column.
func (t *auditTable) rows(findings iter.Seq[*audit.Finding]) {
	header := []string{"token", "name", "owner", "since", "found"}
	widths := make([]int, len(header))
	for f := range findings {
		for i, text := range t.cells(f) {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	for i, width := range widths {
		if width > 0 { // of a non-empty column
			widths[i] = max(width, len(header[i]))
		}
	}
	t.row(header, widths, "evidence")
	for f := range findings {
		evidence := printable(f.Evidence)
		if f.State == audit.StateGone {
			evidence = f.Rule + ": " + evidence
		}
		t.row(t.cells(f), widths, evidence)
	}
}

// row writes a finding. If the line is longer than the terminal is wide, its evidence is on a line of its own.
func (t *auditTable) row(cells []string, widths []int, evidence string) {
	line := "       "
	for i, text := range cells {
		if widths[i] > 0 {
			line += fmt.Sprintf(" %-*s ", widths[i], text)
		}
	}
	if t.width > 0 && utf8.RuneCountInString(line+" "+evidence) > t.width {
		line = strings.TrimRight(line, " ") + "\n         "
	}
	t.line("%s %s", line, evidence)
}
