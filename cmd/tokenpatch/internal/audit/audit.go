// Package audit finds access tokens of V2 that deserve attention. Its rules are pure functions of a token, a list of tokens,
// a configuration and the time. It changes nothing, and calls no service.
package audit

import (
	"fmt"
	"slices"
	"time"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// Severity is how much a finding matters. Zero is not at all: the rule is off.
type Severity int8

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

// Finding is a reason to look at a token. Its texts come from the service, and are cut, so its size
// is bounded.
type Finding struct {
	Rule       string     `json:"rule"`
	Severity   Severity   `json:"severity"`
	ID         string     `json:"id,omitempty"`   // of the token; empty if the finding is about the account
	Name       string     `json:"name,omitempty"` // of the token
	Owner      string     `json:"owner,omitempty"`
	Evidence   string     `json:"evidence"`
	Since      time.Time  `json:"since,omitzero"` // the latest possible beginning; zero if unknown
	FirstSeen  time.Time  `json:"firstSeen"`      // by this audit or by those before it
	State      State      `json:"state,omitempty"`
	Suggestion string     `json:"suggestion,omitempty"` // the suggested change
	Exception  *Exception `json:"exception,omitempty"`  // accepts the finding
}

// Facts are what the rules know besides a token.
type Facts struct {
	Config   Config
	Now      time.Time
	Account  string                  // its id; empty if it is not known
	Self     string                  // id of the audit's own token, likewise
	Roles    []tokenpatch.CustomRole // of the account
	RolesErr string                  // why Roles is not known; empty if it is

	byID, byKey map[string]*tokenpatch.CustomRole
}

// Auditor applies the rules to one token after another. Make one with [New].
type Auditor struct {
	facts       Facts
	records     []record
	seen        []seen
	used        []bool // by exception, whether it accepts a finding
	service     int
	quarantined int
	changes     int
	self        bool // a change to the audit's own token was left out
}

// New returns an Auditor without tokens.
func New(facts Facts) *Auditor {
	facts.byID, facts.byKey = map[string]*tokenpatch.CustomRole{}, map[string]*tokenpatch.CustomRole{}
	for i := range facts.Roles {
		role := &facts.Roles[i]
		facts.byID[role.ID], facts.byKey[role.Key] = role, role
	}
	return &Auditor{facts: facts, used: make([]bool, len(facts.Config.Exceptions))}
}

// Add looks at a token, and returns the change suggested by its findings, or nil.
func (a *Auditor) Add(t *tokenpatch.Token) *fleet.Change {
	s := newSeen(t)
	a.seen = append(a.seen, s)
	if s.service {
		a.service++
	}
	if _, ok := quarantineOf(t); ok {
		a.quarantined++
	}
	first := len(a.records)
	for rule := range Rules {
		if Rules[rule].token == nil || !a.facts.looksFor(rule) {
			continue
		}
		if evidence, ok := Rules[rule].token(t, &a.facts); ok {
			a.found(rule, len(a.seen)-1, evidence)
		}
	}
	change := suggestChange(t, &a.facts, a.records[first:])
	if change != nil && t.ID == a.facts.Self {
		a.self, change = true, nil
		for i := range a.records[first:] {
			a.records[first+i].suggestion = ""
		}
	}
	if change != nil {
		a.changes++
	}
	return change
}

// found records a rule's finding in one of the tokens, or in the account.
func (a *Auditor) found(rule, token int, e evidence) {
	r := record{
		rule: uint8(rule), severity: a.facts.Config.Severity(Rules[rule].Name), token: int32(token), //nolint:gosec // both are small
		evidence: cut(e.text, maxEvidence), since: millis(e.since), firstSeen: millis(a.facts.Now),
	}
	s := seenAt(a.seen, r.token)
	for i := range a.facts.Config.Exceptions {
		if x := &a.facts.Config.Exceptions[i]; x.accepts(Rules[rule].Name, s.id, s.name, a.facts.Now) {
			a.used[i] = true
			r.exception = x
			break
		}
	}
	a.records = append(a.records, r)
}

// Report applies the rules about all tokens, and returns the result. The Auditor is not used after
// it.
func (a *Auditor) Report() *Report {
	for rule := range Rules {
		if Rules[rule].list == nil || !a.facts.looksFor(rule) {
			continue
		}
		for _, one := range Rules[rule].list(a.seen, &a.facts) {
			a.found(rule, one.token, one.evidence)
		}
	}
	r := &Report{
		Account: a.facts.Account, At: a.facts.Now, FailOn: a.facts.Config.FailOn, Tokens: len(a.seen), Service: a.service, Quarantined: a.quarantined,
		Changes: a.changes, Notes: a.notes(), facts: &a.facts, seen: a.seen, records: a.records,
	}
	r.sort()
	return r
}

// looksFor reports whether a rule is on, and can be applied.
func (f *Facts) looksFor(rule int) bool {
	name := Rules[rule].Name
	return f.Config.Severity(name) != None && (name != "unknown-role" || f.RolesErr == "")
}

// place is the place of a rule in the list of rules, or -1.
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
