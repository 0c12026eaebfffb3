package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/audit"
)

// writeAudit writes a report in the format that was asked for.
func (a *app) writeAudit(w io.Writer, r *audit.Report) error {
	switch a.format {
	case "csv":
		return writeAuditCSV(w, r)
	case "json":
		return writeAuditJSON(w, r)
	case "html":
		return r.WritePage(printableWriter{w})
	case "sarif":
		return writeJSON(w, r.SARIF(version()))
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
	for _, f := range slices.Concat(r.Findings, r.Gone) {
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
	for _, f := range slices.Concat(r.Findings, r.Gone) {
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
		t.line("compared with %s: %d new, %d gone, %d still there", dateOf(t.r.Baseline), t.r.CountState(audit.StateNew), len(t.r.Gone), t.r.CountState(audit.StateSame))
	}
	if t.r.Quarantined > 0 {
		t.line("%s in quarantine", count(t.r.Quarantined, "token"))
	}
	t.line("tokens of deepset (V1) cannot be read, so they are not in this audit")
	for _, note := range t.r.Notes {
		t.line("note: %s", printable(note))
	}
	open := slices.DeleteFunc(slices.Clone(t.r.Findings), func(f audit.Finding) bool { return f.Exception != nil })
	for len(open) > 0 {
		n := slices.IndexFunc(open, func(f audit.Finding) bool { return f.Rule != open[0].Rule })
		if n < 0 {
			n = len(open)
		}
		t.rule(open[:n])
		open = open[n:]
	}
	if len(t.r.Gone) > 0 {
		t.line("\n%s", t.paint.bold(fmt.Sprintf("gone: %d", len(t.r.Gone))))
		t.rows(t.r.Gone)
	}
}

// rule writes the findings of a rule.
func (t *auditTable) rule(found []audit.Finding) {
	i := slices.IndexFunc(audit.Rules, func(r audit.Rule) bool { return r.Name == found[0].Rule })
	rule := audit.Rules[i]
	t.line("\n%s  %s", t.severity(found[0].Severity), t.paint.bold(fmt.Sprintf("%s: %d", rule.Name, len(found))))
	t.line("        %s. %s", rule.Finds, rule.Advice)
	t.rows(found)
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
func (t *auditTable) cells(f audit.Finding) []string {
	found := string(f.State)
	if f.State == audit.StateSame {
		found = dateOf(f.FirstSeen)
	}
	return []string{printable(f.ID), shorten(printable(f.Name), maxColumn), shorten(printable(f.Owner), maxColumn), dateOf(f.Since), found}
}

// rows writes findings in columns. If a line is longer than the terminal is wide, its evidence is on a line of its own.
func (t *auditTable) rows(findings []audit.Finding) {
	table := [][]string{{"token", "name", "owner", "since", "found"}}
	for _, f := range findings {
		table = append(table, t.cells(f))
	}
	widths := make([]int, len(table[0]))
	for _, row := range table[1:] {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	for i, row := range table {
		line := "       "
		for column, text := range row {
			if width := widths[column]; width > 0 { // of a column that is not empty
				line += fmt.Sprintf(" %-*s ", max(width, len(table[0][column])), text)
			}
		}
		evidence := "evidence"
		if i > 0 {
			evidence = printable(findings[i-1].Evidence)
			if findings[i-1].State == audit.StateGone {
				evidence = findings[i-1].Rule + ": " + evidence
			}
		}
		if t.width > 0 && utf8.RuneCountInString(line+" "+evidence) > t.width {
			line = strings.TrimRight(line, " ") + "\n         "
		}
		t.line("%s %s", line, evidence)
	}
}
