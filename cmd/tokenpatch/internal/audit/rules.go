package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch"
)

// Rule finds one kind of problem.
type Rule struct {
	Name     string
	Severity Severity // unless the configuration has another
	Finds    string   // in a line
	Advice   string

	token tokenRule // looks at each token
	list  listRule  // looks at all tokens
}

// evidence is why a rule has a finding, and since when it is so.
type evidence struct {
	text  string
	since time.Time
}

// A tokenRule reports whether it finds something in a token.
type tokenRule func(*tokenpatch.Token, *Facts) (evidence, bool)

// A listRule returns what it finds in the list of all tokens.
type listRule func([]seen, *Facts) []listed

// listed is what a list rule found in one of the tokens, or in the account.
type listed struct {
	token int
	evidence
}

const account = -1 // in the place of a token

// seen is what the rules need to know about a token after it has been looked at. Its size is bounded.
type seen struct {
	id, name, owner string
	service         bool
	creator         bool // has the id of the member who created the token
	member          bool // has that member
	modified        tokenpatch.UnixMillis
}

func newSeen(t *tokenpatch.Token) seen {
	_, member := t.Member.Get()
	return seen{
		id: t.ID, name: cut(t.Name.Or(""), maxName), owner: owner(t), service: t.ServiceToken.Or(false),
		creator: t.MemberID != "", member: member, modified: t.LastModified,
	}
}

// owner is the email of the member who created a token, or the member's id.
func owner(t *tokenpatch.Token) string {
	if member, ok := t.Member.Get(); ok && member.Email != "" {
		return cut(member.Email, maxName)
	}
	return cut(t.MemberID, maxName)
}

// Rules are all rules, in the order of reports.
var Rules = []Rule{
	{
		Name: "admin", Severity: High, token: admin, Finds: "base role admin or owner",
		Advice: "Give it the least role that does its work, such as reader.",
	},
	{
		Name: "wildcard", Severity: High, token: wildcard, Finds: "an inline policy that allows every action on everything, or on everything of a kind",
		Advice: "Name the resources and actions that it needs.",
	},
	{
		Name: "mixed-access", Severity: Medium, token: mixedAccess, Finds: "more than one of role, custom roles and inline policy",
		Advice: "The API does not document how they combine. Keep one of them.",
	},
	{
		Name: "unknown-role", Severity: Medium, token: unknownRole, Finds: "custom roles that the account does not have",
		Advice: "Remove them, unless the token has no other access: delete that by hand.",
	},
	{
		Name: "unused", Severity: Medium, token: unused, Finds: "not used for a long time",
		Advice: "Put it in quarantine; delete it if nobody misses it.",
	},
	{
		Name: "never-used", Severity: Medium, token: neverUsed, Finds: "created a long time ago and never used",
		Advice: "Put it in quarantine; delete it if nobody misses it.",
	},
	{
		Name: "quarantine", Severity: Medium, token: quarantined, Finds: "a quarantine that is over, or a token that was used in it",
		Advice: "Delete the token by hand, or restore it with tokenpatch plan -revert.",
	},
	{
		Name: "old-api-version", Severity: Medium, token: oldAPIVersion, Finds: "a default API version that is not the current one",
		Advice: "Send the header LD-API-Version in the client that uses it.",
	},
	{
		Name: "personal", Severity: Medium, token: personal, list: memberGone, Finds: "a personal token although only service tokens are allowed, or a token whose member is gone",
		Advice: "Replace it by a service token.",
	},
	{
		Name: "many", Severity: Low, list: many, Finds: "about as many service tokens as the account may have, or more",
		Advice: "Delete those that nobody needs, or ask the provider for more.",
	},
	{
		Name: "no-description", Severity: Low, token: noDescription, Finds: "no description",
		Advice: "Describe who uses it and for what.",
	},
	{
		Name: "duplicate-name", Severity: Low, list: duplicateName, Finds: "a name that other tokens have, too",
		Advice: "Give each its own name.",
	},
}

func unused(t *tokenpatch.Token, f *Facts) (evidence, bool) {
	used := moment(t.LastUsed.Or(0))
	if _, in := quarantineOf(t); in || used.IsZero() || f.Now.Sub(used) < f.Config.Unused {
		return evidence{}, false
	}
	return evidence{fmt.Sprintf("last used on %s, %s", date(used), ago(f.Now.Sub(used))), used}, true
}

func neverUsed(t *tokenpatch.Token, f *Facts) (evidence, bool) {
	created := moment(t.CreationDate)
	if _, in := quarantineOf(t); in || t.LastUsed.Or(0) > 0 || created.IsZero() || f.Now.Sub(created) < f.Config.Unused {
		return evidence{}, false
	}
	return evidence{fmt.Sprintf("created on %s, %s, and never used", date(created), ago(f.Now.Sub(created))), created}, true
}

func admin(t *tokenpatch.Token, _ *Facts) (evidence, bool) {
	role := t.Role.Or("")
	if !isAdmin(role) {
		return evidence{}, false
	}
	return evidence{"base role " + string(role), moment(t.LastModified)}, true
}

func isAdmin(role tokenpatch.Role) bool {
	return strings.EqualFold(string(role), "admin") || strings.EqualFold(string(role), "owner")
}

func wildcard(t *tokenpatch.Token, _ *Facts) (evidence, bool) {
	policy := t.InlineRole.Or(nil)
	if slices.ContainsFunc(policy, deniesAll) { // what one statement denies, no other allows
		return evidence{}, false
	}
	var broad, denials []tokenpatch.Statement
	for _, s := range policy {
		switch {
		case !allows(s):
			denials = append(denials, s)
		case everyAction(s) && everyResource(s):
			broad = append(broad, s)
		}
	}
	if len(broad) == 0 {
		return evidence{}, false
	}
	return evidence{policyText(append(broad, denials...)), moment(t.LastModified)}, true
}

func mixedAccess(t *tokenpatch.Token, f *Facts) (evidence, bool) {
	var has []string
	if role := t.Role.Or(""); role != "" {
		has = append(has, "role "+string(role))
	}
	if ids := t.CustomRoleIDs.Or(nil); len(ids) > 0 {
		has = append(has, "custom roles "+f.roleNames(ids))
	}
	if policy := t.InlineRole.Or(nil); len(policy) > 0 {
		has = append(has, "inline policy: "+policyText(policy))
	}
	return evidence{strings.Join(has, "; "), moment(t.LastModified)}, len(has) > 1
}

func unknownRole(t *tokenpatch.Token, f *Facts) (evidence, bool) {
	unknown, keys := f.unknownRoles(t)
	var texts []string
	if len(unknown) > 0 {
		text := "the account has no custom role " + few(unknown)
		if f.noOtherAccess(t) {
			text += ", and the token has no other access"
		}
		texts = append(texts, text)
	}
	for _, key := range keys {
		texts = append(texts, fmt.Sprintf("%s is the key of a custom role, not its id, which is %s", key, f.byKey[key].ID))
	}
	return evidence{strings.Join(texts, "; "), moment(t.LastModified)}, len(texts) > 0
}

// unknownRoles returns those custom roles of a token whose ids the account does not have. Those that are keys of its roles
// are apart: removing a key would remove the role itself.
func (f *Facts) unknownRoles(t *tokenpatch.Token) (unknown, keys []string) {
	if f.RolesErr != "" {
		return nil, nil
	}
	for _, id := range t.CustomRoleIDs.Or(nil) {
		switch {
		case f.byID[id] != nil:
		case f.byKey[id] != nil:
			keys = append(keys, id)
		default:
			unknown = append(unknown, id)
		}
	}
	return unknown, keys
}

// noOtherAccess reports whether a token has nothing except unknown custom roles.
func (f *Facts) noOtherAccess(t *tokenpatch.Token) bool {
	unknown, keys := f.unknownRoles(t)
	return len(unknown)+len(keys) == len(t.CustomRoleIDs.Or(nil)) && t.Role.Or("") == "" && len(t.InlineRole.Or(nil)) == 0
}

func quarantined(t *tokenpatch.Token, f *Facts) (evidence, bool) {
	q, in := quarantineOf(t)
	used := moment(t.LastUsed.Or(0))
	switch {
	case !in:
		return evidence{}, false
	case used.After(moment(t.LastModified)): // the change to the policy is the last one, or before that
		return evidence{fmt.Sprintf("last used on %s, in quarantine since %s: somebody misses it", date(used), date(q.since)), used}, true
	case f.Now.Before(dayAfter(q.until)):
		return evidence{}, false
	}
	return evidence{fmt.Sprintf("in quarantine from %s until %s, and not used", date(q.since), date(q.until)), q.until}, true
}

// ends are the API versions whose last day the provider has announced.
var ends = map[int]string{20220603: "2026-12-31"}

func oldAPIVersion(t *tokenpatch.Token, f *Facts) (evidence, bool) {
	version, ok := t.DefaultAPIVersion.Get()
	if !ok || version <= 0 || version >= f.Config.CurrentAPIVersion {
		return evidence{}, false
	}
	text := fmt.Sprintf("default API version %d", version)
	if end := ends[version]; end != "" {
		text += ", which ends on " + end
	}
	return evidence{fmt.Sprintf("%s; the current one is %d", text, f.Config.CurrentAPIVersion), moment(t.LastModified)}, true
}

func noDescription(t *tokenpatch.Token, _ *Facts) (evidence, bool) {
	text := "no description"
	if strings.TrimSpace(t.Name.Or("")) == "" {
		text = "neither a name nor a description"
	}
	return evidence{text, moment(t.LastModified)}, strings.TrimSpace(t.Description.Or("")) == ""
}

func personal(t *tokenpatch.Token, f *Facts) (evidence, bool) {
	found := f.Config.ServiceOnly && !t.ServiceToken.Or(false)
	return evidence{"a personal token", moment(t.CreationDate)}, found
}

// memberGone finds tokens whose member the list does not show, if it shows members at all.
func memberGone(all []seen, _ *Facts) (found []listed) {
	if !slices.ContainsFunc(all, func(s seen) bool { return s.member }) {
		return nil
	}
	for i, s := range all {
		if s.creator && !s.member {
			found = append(found, listed{i, evidence{text: "the list has no member " + s.owner + ", who created it"}})
		}
	}
	return found
}

func duplicateName(all []seen, _ *Facts) (found []listed) {
	same := map[string][]int{}
	for i, s := range all {
		if name := strings.ToLower(strings.TrimSpace(s.name)); name != "" {
			same[name] = append(same[name], i)
		}
	}
	for _, group := range same {
		for _, i := range group {
			if len(group) == 1 {
				break
			}
			var others []string
			for _, j := range group[:min(len(group), maxFew+2)] { // so many that few can count
				if j != i {
					others = append(others, all[j].id)
				}
			}
			text := fmt.Sprintf("%d tokens have this name: also %s", len(group), fewOf(others, len(group)-1))
			found = append(found, listed{i, evidence{text, moment(all[i].modified)}})
		}
	}
	return found
}

func many(all []seen, f *Facts) []listed {
	n := 0
	for _, s := range all {
		if s.service {
			n++
		}
	}
	if 100*n <= f.Config.Percent*f.Config.Limit {
		return nil
	}
	return []listed{{account, evidence{text: fmt.Sprintf("%d service tokens; the account may have %d", n, f.Config.Limit)}}}
}

// roleNames are custom roles as people know them: ops (5f0c...).
func (f *Facts) roleNames(ids []string) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = id
		if role := f.byID[id]; role != nil && role.Key != "" {
			names[i] = fmt.Sprintf("%s (%s)", role.Key, id)
		}
	}
	return few(names)
}

const (
	maxName     = 200  // characters of a name, or of whoever owns it
	maxEvidence = 2000 // characters
	maxFew      = 20   // listed things
)

// few lists things, and counts those after the first few.
func few(things []string) string { return fewOf(things, len(things)) }

// fewOf lists the first of n things.
func fewOf(things []string, n int) string {
	shown := things[:min(len(things), maxFew)]
	text := strings.Join(shown, ", ")
	if more := n - len(shown); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// cut limits a text to a number of characters.
func cut(text string, limit int) string {
	if len(text) <= limit || utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-3]) + "..."
}

// moment is a time of the API; the zero Time if it sent none.
func moment(m tokenpatch.UnixMillis) time.Time {
	if m <= 0 {
		return time.Time{}
	}
	return m.Time()
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// dayAfter is the beginning of the day after a day.
func dayAfter(day time.Time) time.Time { return day.AddDate(0, 0, 1) }

func ago(d time.Duration) string {
	days := int(d / day)
	if days == 1 {
		return "1 day ago"
	}
	return fmt.Sprintf("%d days ago", days)
}

const day = 24 * time.Hour
