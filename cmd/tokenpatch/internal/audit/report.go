package audit

import (
	"cmp"
	"encoding/json"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch"
)

// Report is the result of an audit. Its findings are sorted, so all of them are kept, but as [record]; whatever writes the
// report makes one [Finding] at a time.
type Report struct {
	Host        string
	Account     string // its id; empty if it is not known
	At          time.Time
	Baseline    time.Time // of the earlier audit; zero if there was none
	FailOn      Severity
	Tokens      int
	Service     int // service tokens
	Quarantined int
	Changes     int      // suggested ones
	Notes       []string // what the reader has to know about the audit itself

	facts   *Facts
	seen    []seen
	records []record
	gone    []record
}

// record is a [Finding] in little memory.
type record struct {
	token            int32 // its index among all tokens, or account
	rule             uint8 // its place in Rules
	severity         Severity
	since, firstSeen tokenpatch.UnixMillis
	evidence         string
	state            State
	suggestion       string
	exception        *Exception
}

// millis is a time in little memory.
func millis(t time.Time) tokenpatch.UnixMillis {
	if t.IsZero() {
		return 0
	}
	return tokenpatch.UnixMillis(t.UnixMilli())
}

// seenAt is what is known of the token of a record.
func seenAt(all []seen, token int32) seen {
	if token == account {
		return seen{}
	}
	return all[token]
}

// finding is a record in full.
func (r *Report) finding(one *record) *Finding {
	s := seenAt(r.seen, one.token)
	return &Finding{
		Rule: Rules[one.rule].Name, Severity: one.severity, ID: s.id, Name: s.name, Owner: s.owner, Evidence: one.evidence,
		Since: moment(one.since), FirstSeen: moment(one.firstSeen), State: one.state, Suggestion: one.suggestion, Exception: one.exception,
	}
}

func (r *Report) findings(records []record) iter.Seq[*Finding] {
	return func(yield func(*Finding) bool) {
		for i := range records {
			if !yield(r.finding(&records[i])) {
				return
			}
		}
	}
}

// Findings are the findings, the most severe first, then by rule, including those with an
// exception.
func (r *Report) Findings() iter.Seq[*Finding] { return r.findings(r.records) }

// Gone are the disappeared findings of the baseline, in its order.
func (r *Report) Gone() iter.Seq[*Finding] { return r.findings(r.gone) }

// All are the findings, and then the gone ones.
func (r *Report) All() iter.Seq[*Finding] {
	return func(yield func(*Finding) bool) {
		for _, records := range [][]record{r.records, r.gone} {
			for f := range r.findings(records) {
				if !yield(f) {
					return
				}
			}
		}
	}
}

// Group is the findings of a rule without an exception.
type Group struct {
	Rule
	Severity Severity
	Count    int
	Findings iter.Seq[*Finding]
}

// Groups are the findings by rule, the most severe first. A rule without findings has none.
func (r *Report) Groups() (groups []Group) {
	for rest := r.records; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(one record) bool { return one.rule != rest[0].rule })
		if n < 0 {
			n = len(rest)
		}
		of := rest[:n]
		g := Group{Rule: Rules[of[0].rule], Severity: of[0].severity}
		g.Findings = func(yield func(*Finding) bool) {
			for f := range r.findings(of) {
				if f.Exception == nil && !yield(f) {
					return
				}
			}
		}
		for range g.Findings {
			g.Count++
		}
		if g.Count > 0 {
			groups = append(groups, g)
		}
		rest = rest[n:]
	}
	return groups
}

// sort sorts the findings, and merges two of the same rule and token.
func (r *Report) sort() {
	slices.SortStableFunc(r.records, func(a, b record) int {
		s, t := seenAt(r.seen, a.token), seenAt(r.seen, b.token)
		return cmp.Or(cmp.Compare(b.severity, a.severity), cmp.Compare(a.rule, b.rule), strings.Compare(s.name, t.name), strings.Compare(s.id, t.id))
	})
	merged := r.records[:0]
	for _, one := range r.records {
		if last := len(merged) - 1; last >= 0 && merged[last].rule == one.rule && merged[last].token == one.token {
			merged[last].evidence += "; " + one.evidence
			continue
		}
		merged = append(merged, one)
	}
	r.records = merged
}

// key identifies a finding across audits.
func (f *Finding) key() string { return f.Rule + " " + f.ID }

// index finds records by what identifies a finding across audits. All are new until the baseline has them.
func (r *Report) index() map[string]int {
	known := make(map[string]int, len(r.records))
	for i := range r.records {
		r.records[i].state = StateNew
		known[r.finding(&r.records[i]).key()] = i
	}
	return known
}

// addGone records a disappeared finding of the baseline.
func (r *Report) addGone(rule int, old *Finding) {
	r.gone = append(r.gone, record{
		token: int32(len(r.seen)), rule: uint8(rule), severity: old.Severity, since: millis(old.Since), firstSeen: millis(old.FirstSeen), //nolint:gosec // both are small
		evidence: cut(old.Evidence, maxEvidence), state: StateGone,
	})
	r.seen = append(r.seen, seen{id: old.ID, name: cut(old.Name, maxName), owner: cut(old.Owner, maxName)})
}

// Count returns how many findings of a severity no exception accepts.
func (r *Report) Count(severity Severity) int {
	return r.count(func(one *record) bool { return one.severity == severity })
}

// CountState returns how many findings without an exception have a state.
func (r *Report) CountState(state State) int {
	if state == StateGone {
		return len(r.gone)
	}
	return r.count(func(one *record) bool { return one.state == state })
}

// count counts findings without an exception.
func (r *Report) count(counts func(*record) bool) (n int) {
	for i := range r.records {
		if one := &r.records[i]; one.exception == nil && counts(one) {
			n++
		}
	}
	return n
}

// Excepted returns how many findings an exception accepts.
func (r *Report) Excepted() int {
	return len(r.records) - r.count(func(*record) bool { return true })
}

// Fails reports whether a finding is at least as severe as the configuration tolerates.
func (r *Report) Fails() bool {
	return r.FailOn != None && r.count(func(one *record) bool { return one.severity >= r.FailOn }) > 0
}

// writeElements writes findings as the elements of a JSON array, one at a time. JSON as encoding/json writes it can be in a
// script of an HTML document.
func writeElements(w io.Writer, findings iter.Seq[*Finding], of func(*Finding) any) error {
	separator := ""
	for f := range findings {
		encoded, err := json.Marshal(of(f))
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, separator+string(encoded)); err != nil {
			return err
		}
		separator = ",\n"
	}
	return nil
}
