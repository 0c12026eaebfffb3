package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// stateSkipped is the outcome of a row of FILE for which nothing was to be done.
const stateSkipped fleet.State = "skipped"

// outcome is what a report has of one row of FILE.
type outcome struct {
	API         string            `json:"api"`
	ID          string            `json:"id"`
	Name        string            `json:"name,omitempty"`
	Outcome     fleet.State       `json:"outcome"`
	Differences []difference      `json:"differences,omitempty"`
	Roles       map[string]string `json:"roles,omitempty"` // keys of the custom roles in them, by id
	Comment     string            `json:"comment,omitempty"`
	Attempts    int               `json:"attempts"` // to change the token
	Reason      string            `json:"reason,omitempty"`
	Status      int               `json:"status,omitempty"`
	Code        string            `json:"code,omitempty"`
	Error       string            `json:"error,omitempty"`
	Started     *time.Time        `json:"started,omitempty"`
	Ended       *time.Time        `json:"ended,omitempty"`
}

// newOutcome is the outcome of a change, with what FILE has of it. roles are those of the run, by id and by key.
func newOutcome(r fleet.Result, n note, roles map[string]tokenpatch.CustomRole) (outcome, error) {
	found, err := resultDifferences(r)
	if err != nil {
		return outcome{}, err
	}
	keys := rolesIn(found, roles)
	maps.Copy(keys, n.Roles)
	found = append(found, notThere(rolesNotThere(r, roles))...)
	if r.Before != nil && n.Name == "" {
		n.Name = r.Before.Name.Or("")
	}
	return outcome{
		API: apiOf(r.Change), ID: r.Change.ID, Name: n.Name, Outcome: r.State, Differences: found, Roles: keys, Comment: cmp.Or(n.Comment, commentOf(r.Change)),
		Attempts: r.Attempts, Reason: reasonOf(r).text, Status: r.Status, Code: r.Code, Error: r.Err, Started: utc(r.Started), Ended: utc(r.Ended),
	}, nil
}

func apiOf(change fleet.Change) string {
	if change.Update != nil {
		return "v1"
	}
	return "v2"
}

// commentOf is a change's comment for the audit log.
func commentOf(change fleet.Change) string {
	if change.Want != nil {
		return change.Want.Comment
	}
	if change.Patch == nil {
		return ""
	}
	var commented struct{ Comment string }
	encoded, err := json.Marshal(change.Patch)
	if err != nil || json.Unmarshal(encoded, &commented) != nil { // an array has no comment
		return ""
	}
	return commented.Comment
}

// utc is a time in UTC; nil for the zero time.
func utc(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// outcomes iterates over the rows of a run's files, in their order.
func outcomes(ctx context.Context, store *fleet.Store, p fleet.Progress) iter.Seq2[outcome, error] {
	return func(yield func(outcome, error) bool) {
		roles, err := rolesOf(ctx, store, p.Run)
		if err != nil {
			yield(outcome{}, err)
			return
		}
		next, stop := iter.Pull2(store.Results(ctx, p.Run))
		defer stop()
		result, err, more := next()
		one := func(n note) bool {
			o, decodeErr := newOutcome(result, n, roles)
			if err := cmp.Or(err, decodeErr); err != nil {
				yield(outcome{}, err)
				return false
			}
			result, err, more = next()
			return yield(o, nil)
		}
		for _, digest := range aboutRun(p).Digests {
			for n, noteErr := range keptNotes(ctx, store, p.Run, digest) {
				switch {
				case noteErr != nil:
					yield(outcome{}, noteErr)
					return
				case n.Skip != "":
					if !yield(outcome{API: n.API, ID: n.ID, Name: n.Name, Comment: n.Comment, Outcome: stateSkipped, Reason: n.Skip}, nil) {
						return
					}
				case more && err == nil && (n.ID != result.Change.ID || n.API != apiOf(result.Change)): // the run had it already
				case more && !one(n):
					return
				}
			}
		}
		for more && one(note{}) {
		}
	}
}

// writeReport reports the outcome of each row.
func writeReport(ctx context.Context, a *app) error {
	if err := a.checkOutput(); err != nil {
		return err
	}
	a.newest = true
	store, run, err := a.openRun(ctx, a.readStore)
	if err != nil {
		return err
	}
	defer store.Close()
	p, err := store.Progress(ctx, run)
	if err == nil {
		err = a.checkSources(aboutRun(p))
	}
	if err != nil {
		return err
	}
	err = a.output(func(w io.Writer) error {
		if a.format == "csv" || a.format == "json" {
			return writeRows(w, a.format, outcomes(ctx, store, p))
		}
		s, err := summarize(ctx, store, p)
		if err != nil {
			return err
		}
		s.options = &a.options
		if a.format == "html" {
			return s.writePage(ctx, printableWriter{w}, store)
		}
		return s.writeText(w, a.paint(), outcomes(ctx, store, p))
	})
	if err != nil || !a.detailed {
		return err
	}
	return exitOf(p)
}

// checkSources refuses a -o that would destroy a file of the run.
func (a *app) checkSources(about about) error {
	if err := a.checkOutput(about.Source); err != nil {
		return err
	}
	if info, err := os.Stat(a.out); err != nil || !info.Mode().IsRegular() {
		return nil //nolint:nilerr // what is not there cannot be destroyed
	}
	content, err := os.ReadFile(a.out)
	if err == nil && slices.Contains(about.Digests, fmt.Sprintf("%x", sha256.Sum256(content))) {
		err = usageError{fmt.Sprintf("-o %s: want another file: the run was made from this one, which would be lost", a.out)}
	}
	return err
}

// writeRows writes a line for each row, for programs.
func writeRows(w io.Writer, format string, rows iter.Seq2[outcome, error]) error {
	table := csv.NewWriter(w)
	write := func(o outcome) error { return writeJSON(w, o) }
	if format == "csv" {
		write = func(o outcome) error { return table.Write(cells(o)) }
		_ = table.Write([]string{"api", "id", "name", "outcome", "change", "comment", "attempts", "reason", "status", "code", "error", "started", "ended"}) // Error has it
	}
	for o, err := range rows {
		if err == nil {
			err = write(o)
		}
		if err != nil {
			return err
		}
	}
	table.Flush()
	return table.Error()
}

// formula is the start of a formula: at the start of a cell, or behind what some spreadsheets take for a separator.
var formula = regexp.MustCompile(`(^|[;|])([\s"']*)([=+\-@＝＋－＠])`)

// cells are a row of CSV.
func cells(o outcome) []string {
	status := ""
	if o.Status != 0 {
		status = strconv.Itoa(o.Status)
	}
	var change []string
	for _, d := range o.Differences {
		for _, l := range d.lines(o.Roles) {
			change = append(change, l.Text)
		}
	}
	return safeCells(
		o.API, o.ID, o.Name, string(o.Outcome), strings.Join(change, "; "), o.Comment, strconv.Itoa(o.Attempts), o.Reason, status, o.Code, o.Error,
		moment(o.Started), moment(o.Ended),
	)
}

// safeCells are cells no spreadsheet executes: a possible formula begins with an apostrophe.
func safeCells(cells ...string) []string {
	for i, cell := range cells {
		cells[i] = formula.ReplaceAllString(printable(cell), "$1$2'$3")
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
	_, err = escapingWriter{w}.Write(encoded)
	return err
}

// escapingWriter escapes in JSON whatever a terminal would obey. Each Write has whole characters.
type escapingWriter struct{ io.Writer }

func (w escapingWriter) Write(text []byte) (int, error) {
	out := make([]byte, 0, len(text))
	for _, r := range string(text) {
		if unicode.IsPrint(r) || r == '\n' {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	if _, err := w.Writer.Write(out); err != nil {
		return 0, err
	}
	return len(text), nil
}

// reportSummary is what a report has in front of its rows.
type reportSummary struct {
	options  *options // of the command
	progress fleet.Progress
	about    about
	total    int
	states   map[fleet.State]int
	reasons  map[reason]int
}

// summarize counts the rows of a run by outcome, and the failed ones by reason.
func summarize(ctx context.Context, store *fleet.Store, p fleet.Progress) (*reportSummary, error) {
	s := &reportSummary{progress: p, about: aboutRun(p), states: map[fleet.State]int{}, reasons: map[reason]int{}}
	for result, err := range store.Results(ctx, p.Run) {
		if err != nil {
			return nil, err
		}
		s.count(result.State, reasonOf(result))
	}
	for _, digest := range s.about.Digests {
		for n, err := range keptNotes(ctx, store, p.Run, digest) {
			if err != nil {
				return nil, err
			}
			if n.Skip != "" {
				s.count(stateSkipped, skipReason(n.Skip))
			}
		}
	}
	return s, nil
}

func (s *reportSummary) count(state fleet.State, why reason) {
	s.total++
	s.states[state]++
	if _, known := s.reasons[why]; why.text != "" && (known || len(s.reasons) < maxKinds) {
		s.reasons[why]++
	}
}

// failures are the reasons, the most frequent first, of maxGroups at most.
func (s *reportSummary) failures() []reason {
	sorted := slices.SortedFunc(maps.Keys(s.reasons), func(a, b reason) int {
		return cmp.Or(s.reasons[b]-s.reasons[a], strings.Compare(a.text, b.text))
	})
	return sorted[:min(len(sorted), maxGroups)]
}

func (s *reportSummary) writeText(w io.Writer, paint paint, rows iter.Seq2[outcome, error]) error {
	writeProgress(w, s.progress)
	if len(s.reasons) > 0 {
		fmt.Fprintf(w, "\n%s\n", paint.bold("What did not work, and what to do:"))
	}
	for _, why := range s.failures() {
		fmt.Fprintf(w, "%6d  %s: %s\n", s.reasons[why], printable(why.text), why.advice)
		if command := why.command(s.options, s.progress.Run, s.about); command != "" {
			fmt.Fprintf(w, "        %s\n", command)
		}
	}
	fmt.Fprintln(w)
	for o, err := range rows {
		if err != nil {
			return err
		}
		o.writeText(w, paint)
	}
	return nil
}

var stateWords = strings.NewReplacer("_", " ")

func (o outcome) writeText(w io.Writer, paint paint) {
	word := fmt.Sprintf("%-11s", stateWords.Replace(string(o.Outcome)))
	switch o.Outcome {
	case fleet.StateApplied:
		word = paint.green(word)
	case fleet.StateNotApplied, fleet.StateUnknown:
		word = paint.red(word)
	}
	fmt.Fprintf(w, "%s  %s  %s", word, o.API, printable(o.ID))
	for _, part := range []string{o.Name, o.Reason, moment(o.Ended), o.attempts()} {
		if part != "" {
			fmt.Fprintf(w, "  %s", printable(part))
		}
	}
	fmt.Fprintln(w)
	for _, d := range o.Differences {
		for _, l := range d.lines(o.Roles) {
			fmt.Fprintf(w, "    %s\n", paint.line(l))
		}
	}
	for _, detail := range []struct{ name, text string }{{"comment: ", shownComment(o.API, o.Comment)}, {"", o.Error}} {
		if detail.text != "" {
			fmt.Fprintf(w, "    %s%s\n", detail.name, printable(detail.text))
		}
	}
}

func (o outcome) attempts() string {
	if o.Attempts == 0 {
		return ""
	}
	return count(o.Attempts, "attempt")
}

// writePage writes the report as a page.
func (s *reportSummary) writePage(ctx context.Context, w io.Writer, store *fleet.Store) error {
	run, err := details(ctx, store, s.progress.Run)
	if err != nil {
		return err
	}
	if run.Windows, run.Refused, err = keptRequests(ctx, store, s.progress.Run); err != nil {
		return err
	}
	fill(&run, s.progress)
	run.Failures = nil
	list := page.List{Title: run.Name, Run: &run, Total: s.total, Facts: s.facts()}
	for _, why := range s.failures() {
		list.Groups = append(list.Groups, page.Group{Count: s.reasons[why], Text: why.text, Advice: why.advice, Command: why.command(s.options, run.Name, s.about)})
	}
	for _, state := range []fleet.State{fleet.StateApplied, fleet.StateNotApplied, fleet.StateUnknown, fleet.StatePending, stateSkipped} {
		if n := s.states[state]; n > 0 {
			list.States = append(list.States, page.State{Name: string(state), Words: stateWords.Replace(string(state)), Count: n})
		}
	}
	var rowsErr error
	list.Rows = func(yield func(page.Row) bool) {
		for o, err := range outcomes(ctx, store, s.progress) {
			if rowsErr = err; err != nil || !yield(o.row()) {
				return
			}
		}
	}
	return cmp.Or(page.WriteList(w, list), rowsErr)
}

func (s *reportSummary) facts() []page.Fact {
	facts := []page.Fact{{Name: "created", Value: s.progress.Created.UTC().Format(time.RFC3339)}}
	if !s.progress.Ended.IsZero() {
		facts = append(facts, page.Fact{Name: "ended", Value: s.progress.Ended.UTC().Format(time.RFC3339)})
	}
	if s.about.Source != "" {
		facts = append(facts, page.Fact{Name: "from", Value: s.about.Source})
	}
	for _, digest := range s.about.Digests {
		facts = append(facts, page.Fact{Name: "sha256 of what was applied", Value: digest})
	}
	return facts
}

// row is an outcome on a page.
func (o outcome) row() page.Row {
	return page.Row{
		API: o.API, ID: o.ID, Name: o.Name, State: string(o.Outcome), Words: stateWords.Replace(string(o.Outcome)), Lines: pageLines(o.Differences, o.Roles),
		Comment: shownComment(o.API, o.Comment), Reason: o.Reason, Error: o.Error, When: moment(o.Ended), Attempts: o.Attempts,
	}
}

func pageLines(differences []difference, roles map[string]string) (lines []page.Line) {
	for _, d := range differences {
		for _, l := range d.lines(roles) {
			lines = append(lines, page.Line(l))
		}
	}
	return lines
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
	return page.Change{
		API: apiOf(r.Change), ID: r.Change.ID, Outcome: string(r.State), Attempts: r.Attempts, Status: r.Status, Code: r.Code, Error: r.Err,
		Seconds: max(0, r.Ended.Sub(r.Started).Seconds()),
	}
}
