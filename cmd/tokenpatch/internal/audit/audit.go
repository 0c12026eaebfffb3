// Package audit finds access tokens of V2 that deserve attention. Its rules are pure functions of a token, a list of tokens,
// a configuration and the time. It changes nothing, and calls no service.
package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// Severity is how much a finding matters. Zero is not at all: the rule is off.
type Severity int

// The severities.
const (
	None Severity = iota
	Low
	Medium
	High
)

var severities = []string{"none", "low", "medium", "high"}

func (s Severity) String() string { return severities[s] }

// MarshalText returns the severity's name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name of a severity, or "off", which is none.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(severities, string(text))
	if i < 0 {
		return fmt.Errorf("%q: want high, medium, low or none", text)
	}
	*s = Severity(i)
	return nil
}

// State is how a finding compares with those of an earlier audit.
type State string

// The states of a finding, if there is an earlier audit.
const (
	StateNew  State = "new"
	StateSame State = "same" // it was there already
	StateGone State = "gone" // it is not there any more
)

// Finding is something that deserves attention. Its texts come from the service, and are cut so that its size is bounded.
type Finding struct {
	Rule       string     `json:"rule"`
	Severity   Severity   `json:"severity"`
	ID         string     `json:"id,omitempty"`   // of the token; empty if the finding is about the account
	Name       string     `json:"name,omitempty"` // of the token
	Owner      string     `json:"owner,omitempty"`
	Evidence   string     `json:"evidence"`
	Since      time.Time  `json:"since,omitzero"` // since when it is so, at the latest; zero if that is not known
	FirstSeen  time.Time  `json:"firstSeen"`      // by this audit or by those before it
	State      State      `json:"state,omitempty"`
	Suggestion string     `json:"suggestion,omitempty"` // the change that the audit suggests
	Exception  *Exception `json:"exception,omitempty"`  // that accepts the finding
}

// key identifies a finding across audits.
func (f *Finding) key() string { return f.Rule + " " + f.ID }

// Facts are what the rules know besides a token.
type Facts struct {
	Config   Config
	Now      time.Time
	Account  string                  // its id; empty if it is not known
	Self     string                  // id of the token that the audit runs with, likewise
	Roles    []tokenpatch.CustomRole // of the account
	RolesErr string                  // why Roles is not known; empty if it is

	byID, byKey map[string]*tokenpatch.CustomRole
}

// Auditor applies the rules to one token after another. Make one with [New].
type Auditor struct {
	facts       Facts
	findings    []Finding
	seen        []seen
	used        []bool // by exception, whether it accepts a finding
	service     int
	quarantined int
	changes     int
	self        bool // a change to the audit's own token was left out
}

// New returns an Auditor that has seen no token.
func New(facts Facts) *Auditor {
	facts.byID, facts.byKey = map[string]*tokenpatch.CustomRole{}, map[string]*tokenpatch.CustomRole{}
	for i := range facts.Roles {
		role := &facts.Roles[i]
		facts.byID[role.ID], facts.byKey[role.Key] = role, role
	}
	return &Auditor{facts: facts, used: make([]bool, len(facts.Config.Exceptions))}
}

// Add looks at a token, and returns the change that its findings suggest, or nil.
func (a *Auditor) Add(t *tokenpatch.Token) *fleet.Change {
	s := newSeen(t)
	a.seen = append(a.seen, s)
	if s.service {
		a.service++
	}
	if _, ok := quarantineOf(t); ok {
		a.quarantined++
	}
	var found []Finding
	for _, rule := range Rules {
		if rule.token == nil || a.facts.Config.Severity(rule.Name) == None {
			continue
		}
		if evidence, ok := rule.token(t, &a.facts); ok {
			found = append(found, a.finding(rule.Name, s, evidence))
		}
	}
	change := suggestChange(t, &a.facts, found)
	if change != nil && t.ID == a.facts.Self {
		a.self, change = true, nil
		for i := range found {
			found[i].Suggestion = ""
		}
	}
	if change != nil {
		a.changes++
	}
	a.findings = append(a.findings, found...)
	return change
}

// finding is what a rule found in a token.
func (a *Auditor) finding(rule string, s seen, e evidence) Finding {
	f := Finding{
		Rule: rule, Severity: a.facts.Config.Severity(rule), ID: s.id, Name: s.name, Owner: s.owner,
		Evidence: cut(e.text, maxEvidence), Since: e.since, FirstSeen: a.facts.Now,
	}
	for i := range a.facts.Config.Exceptions {
		if x := &a.facts.Config.Exceptions[i]; x.accepts(&f, a.facts.Now) {
			a.used[i] = true
			f.Exception = x
			break
		}
	}
	return f
}

// Report is the result of an audit.
type Report struct {
	Host        string
	Account     string // its id; empty if it is not known
	At          time.Time
	Baseline    time.Time // of the audit that it was compared with; zero if there was none
	FailOn      Severity
	Tokens      int
	Service     int // service tokens
	Quarantined int
	Changes     int       // that are suggested
	Findings    []Finding // the most severe first, then by rule; those that an exception accepts, too
	Gone        []Finding
	Notes       []string // what the reader has to know about the audit itself
}

// Report applies the rules that look at all tokens, and returns the result.
func (a *Auditor) Report() *Report {
	r := &Report{
		Account: a.facts.Account, At: a.facts.Now, FailOn: a.facts.Config.FailOn, Tokens: len(a.seen), Service: a.service, Quarantined: a.quarantined,
		Changes: a.changes, Findings: a.findings, Notes: a.notes(),
	}
	for _, rule := range Rules {
		if rule.list == nil || a.facts.Config.Severity(rule.Name) == None {
			continue
		}
		for _, one := range rule.list(a.seen, &a.facts) {
			r.Findings = append(r.Findings, a.finding(rule.Name, one.seen, one.evidence))
		}
	}
	r.Findings = mergeFindings(r.Findings)
	return r
}

// mergeFindings sorts findings, and makes one of two that the same rule has about the same token.
func mergeFindings(findings []Finding) []Finding {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(b.Severity, a.Severity), cmp.Compare(place(a.Rule), place(b.Rule)),
			strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID),
		)
	})
	merged := findings[:0]
	for _, f := range findings {
		if last := len(merged) - 1; last >= 0 && merged[last].key() == f.key() {
			merged[last].Evidence += "; " + f.Evidence
			continue
		}
		merged = append(merged, f)
	}
	return merged
}

// place is the place of a rule in the list of rules.
func place(name string) int {
	return slices.IndexFunc(Rules, func(r Rule) bool { return r.Name == name })
}

// notes are what the reader has to know about the audit itself.
func (a *Auditor) notes() (notes []string) {
	if a.facts.RolesErr != "" {
		notes = append(notes, "unknown-role was not looked for: the custom roles cannot be listed: "+cut(a.facts.RolesErr, maxName))
	}
	if a.self {
		notes = append(notes, "no change is suggested for "+a.facts.Self+": the audit runs with that token")
	}
	for i, x := range a.facts.Config.Exceptions {
		switch {
		case x.expired(a.facts.Now):
			notes = append(notes, fmt.Sprintf("the exception in line %d (%s) has expired on %s", x.line, x.Reason, date(x.Until)))
		case !a.used[i]:
			notes = append(notes, fmt.Sprintf("the exception in line %d (%s) matches no finding", x.line, x.Reason))
		}
	}
	return notes
}

// Count returns how many findings of a severity no exception accepts.
func (r *Report) Count(severity Severity) (n int) {
	for _, f := range r.Findings {
		if f.Exception == nil && f.Severity == severity {
			n++
		}
	}
	return n
}

// Excepted returns how many findings an exception accepts.
func (r *Report) Excepted() int {
	return len(r.Findings) - r.Count(High) - r.Count(Medium) - r.Count(Low)
}

// Fails reports whether a finding is at least as severe as the configuration tolerates.
func (r *Report) Fails() bool {
	return r.FailOn != None && slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Exception == nil && f.Severity >= r.FailOn
	})
}
