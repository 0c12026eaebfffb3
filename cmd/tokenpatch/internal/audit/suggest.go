package audit

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// The suggested changes of the rules.
const (
	suggestNone       = "none"
	suggestQuarantine = "quarantine"
	suggestRemove     = "remove"
	suggestRole       = "role=" // and a base role
)

// suggestChange returns the suggested change for the findings of a token, and notes it in each of
// them; nil if there is none. Quarantine removes all access, and a role replaces all other access,
// so only the strongest one is made.
func suggestChange(t *tokenpatch.Token, f *Facts, found []record) *fleet.Change {
	strongest := ""
	var with []*record // with a suggestion
	for i := range found {
		s := f.Config.suggestion(Rules[found[i].rule].Name)
		// What a token without any access may do is not documented: removing the last of its roles could give it some.
		if unknown, _ := f.unknownRoles(t); s == suggestRemove && (len(unknown) == 0 || f.noOtherAccess(t)) {
			continue
		}
		if s == suggestNone || found[i].exception != nil {
			continue
		}
		with = append(with, &found[i])
		if strength(s) > strength(strongest) {
			strongest = s
		}
	}
	if strongest == "" {
		return nil
	}
	rules := make([]string, len(with))
	for i, one := range with {
		one.suggestion = strongest
		rules[i] = Rules[one.rule].Name
	}
	want := f.want(t, strongest)
	want.Comment = "tokenpatch audit: " + strings.Join(rules, ", ") // for the service's audit log
	return &fleet.Change{ID: t.ID, Want: want}
}

func strength(suggestion string) int {
	switch suggestion {
	case "":
		return 0
	case suggestRemove:
		return 1
	case suggestQuarantine:
		return 3
	}
	return 2 // a role
}

// want is the desired token. It names the access to remove, so the change is explicit.
func (f *Facts) want(t *tokenpatch.Token, suggestion string) *fleet.Want {
	want := new(fleet.Want)
	switch suggestion {
	case suggestRemove:
		want.RemoveCustomRoleIDs, _ = f.unknownRoles(t)
		slices.Sort(want.RemoveCustomRoleIDs)
		want.RemoveCustomRoleIDs = slices.Compact(want.RemoveCustomRoleIDs)
		return want
	case suggestQuarantine:
		want.InlineRole = tokenpatch.Set(denyAll())
		want.Description = tokenpatch.Set(strings.TrimSpace(f.quarantineRecord() + " " + withoutRecord(t.Description.Or(""))))
		if t.Role.Or("") != "" {
			want.Role = tokenpatch.Null[tokenpatch.Role]()
		}
	default:
		want.Role = tokenpatch.Set(tokenpatch.Role(strings.TrimPrefix(suggestion, suggestRole)))
		if len(t.InlineRole.Or(nil)) > 0 {
			want.InlineRole = tokenpatch.Null[[]tokenpatch.Statement]()
		}
	}
	if len(t.CustomRoleIDs.Or(nil)) > 0 {
		want.CustomRoleIDs = tokenpatch.Null[[]string]()
	}
	return want
}

// quarantine is what the description of a token in quarantine records.
type quarantine struct{ since, until time.Time }

func (f *Facts) quarantineRecord() string {
	return fmt.Sprintf("[quarantine from %s until %s]", date(f.Now), date(f.Now.Add(f.Config.Quarantine)))
}

var quarantineText = regexp.MustCompile(`^\[quarantine from (\d{4}-\d\d-\d\d) until (\d{4}-\d\d-\d\d)\] ?`)

func withoutRecord(description string) string {
	return quarantineText.ReplaceAllString(description, "")
}

// quarantineOf reports whether a token is in quarantine: its description has a record of it, and
// nothing else gives it access.
func quarantineOf(t *tokenpatch.Token) (q quarantine, in bool) {
	found := quarantineText.FindStringSubmatch(t.Description.Or(""))
	if found == nil || t.Role.Or("") != "" || len(t.CustomRoleIDs.Or(nil)) > 0 || !slices.ContainsFunc(t.InlineRole.Or(nil), deniesAll) {
		return q, false
	}
	var errSince, errUntil error
	q.since, errSince = time.Parse(time.DateOnly, found[1])
	q.until, errUntil = time.Parse(time.DateOnly, found[2])
	return q, errSince == nil && errUntil == nil
}
