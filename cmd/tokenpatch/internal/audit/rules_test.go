package audit_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/audit"
	"github.com/tokenpatch/tokenpatch/fleet"
)

var now = time.Date(2026, 11, 2, 3, 0, 0, 0, time.UTC)

// millis is a time some days before now, as the API has it.
func millis(daysAgo int) int64 { return now.AddDate(0, 0, -daysAgo).UnixMilli() }

// plain is a token without findings.
func plain(id string) map[string]any {
	return map[string]any{
		"_id": id, "name": "name of " + id, "description": "what it is for", "role": "reader", "serviceToken": true,
		"memberId": "569f183514f4432160000007", "creationDate": millis(400), "lastModified": millis(200), "lastUsed": millis(1),
	}
}

// with is a plain token with other members. nil takes one away.
func with(id string, members map[string]any) map[string]any {
	token := plain(id)
	for name, value := range members {
		token[name] = value
		if value == nil {
			delete(token, name)
		}
	}
	return token
}

func decode(t testing.TB, document map[string]any) *tokenpatch.Token {
	t.Helper()
	encoded, err := json.Marshal(document)
	require.NoError(t, err)
	token := new(tokenpatch.Token)
	require.NoError(t, json.Unmarshal(encoded, token))
	return token
}

// facts are those of an account with two custom roles.
func facts(t testing.TB, file string) audit.Facts {
	t.Helper()
	config, err := audit.Parse("audit.toml", []byte(file))
	require.NoError(t, err)
	return audit.Facts{Config: config, Now: now, Roles: []tokenpatch.CustomRole{
		{ID: "5f0c00000000000000000001", Key: "ops", Name: "Operations"}, {ID: "5f0c00000000000000000002", Key: "qa", Name: "Quality"},
	}}
}

func look(t testing.TB, f audit.Facts, tokens ...map[string]any) (*audit.Report, []*fleet.Change) {
	t.Helper()
	auditor := audit.New(f)
	var changes []*fleet.Change
	for _, token := range tokens {
		if change := auditor.Add(decode(t, token)); change != nil {
			changes = append(changes, change)
		}
	}
	return auditor.Report(), changes
}

// found are the findings as "rule: evidence".
func found(r *audit.Report) (texts []string) {
	for f := range r.Findings() {
		texts = append(texts, f.Rule+": "+f.Evidence)
	}
	return texts
}

// all are the findings at once.
func all(r *audit.Report) []*audit.Finding { return slices.Collect(r.Findings()) }

func TestNothingToFind(t *testing.T) {
	report, changes := look(t, facts(t, ""), plain("a"), plain("b"))
	assert.Empty(t, found(report))
	assert.Empty(t, changes)
	assert.False(t, report.Fails())
	assert.Equal(t, 2, report.Tokens)
	assert.Equal(t, 2, report.Service)
}

// TestRules has a case for each rule: what it finds and what it does not.
func TestRules(t *testing.T) {
	statement := func(effect string, resources, actions []string) map[string]any {
		return map[string]any{"effect": effect, "resources": resources, "actions": actions}
	}
	list := func(statements ...map[string]any) []map[string]any { return statements }
	star := []string{"*"}
	for name, test := range map[string]struct {
		members map[string]any
		want    []string
	}{
		"unused":             {map[string]any{"lastUsed": millis(90)}, []string{"unused: last used on 2026-08-04, 90 days ago"}},
		"used 89 days ago":   {map[string]any{"lastUsed": millis(89)}, nil},
		"used in the future": {map[string]any{"lastUsed": millis(-400)}, nil},
		"never used":         {map[string]any{"lastUsed": nil}, []string{"never-used: created on 2025-09-28, 400 days ago, and never used"}},
		"never used, zero":   {map[string]any{"lastUsed": 0}, []string{"never-used: created on 2025-09-28, 400 days ago, and never used"}},
		"new":                {map[string]any{"lastUsed": nil, "creationDate": millis(89)}, nil},
		"no creation date":   {map[string]any{"lastUsed": nil, "creationDate": nil}, nil},
		"admin":              {map[string]any{"role": "admin"}, []string{"admin: base role admin"}},
		"owner":              {map[string]any{"role": "owner"}, []string{"admin: base role owner"}},
		"writer":             {map[string]any{"role": "writer"}, nil},

		"everything": {
			map[string]any{"role": nil, "inlineRole": list(statement("allow", star, star))}, []string{"wildcard: allow * on *"},
		},
		"everything of a kind, but": {
			map[string]any{"role": nil, "inlineRole": list(statement("deny", []string{"proj/x"}, []string{"deleteProject"}), statement("allow", []string{"proj/a", "proj/*:env/*"}, star))},
			[]string{"wildcard: allow * on proj/a, proj/*:env/*; deny deleteProject on proj/x"},
		},
		"all actions but one": {
			map[string]any{"role": nil, "inlineRole": []map[string]any{{"effect": "allow", "resources": star, "notActions": []string{"deleteProject"}}}},
			[]string{"wildcard: allow all but deleteProject on *"},
		},
		"all resources but one": {
			map[string]any{"role": nil, "inlineRole": []map[string]any{{"effect": "Allow", "notResources": []string{"proj/x"}, "actions": star}}},
			[]string{"wildcard: Allow * on all but proj/x"},
		},
		"the account": {
			map[string]any{"role": nil, "inlineRole": list(statement("allow", []string{"acct"}, star))}, []string{"wildcard: allow * on acct"},
		},
		"one project": {
			map[string]any{"role": nil, "inlineRole": list(statement("allow", []string{"proj/x:env/*", "proj/*;tag", "member"}, star))}, nil,
		},
		"one action":        {map[string]any{"role": nil, "inlineRole": list(statement("allow", star, []string{"viewProject"}))}, nil},
		"denies everything": {map[string]any{"role": nil, "inlineRole": list(statement("allow", star, star), statement("Deny", star, star))}, nil},

		"all three": {
			map[string]any{
				"role": "writer", "customRoleIds": []string{"5f0c00000000000000000001"}, "inlineRole": list(statement("allow", []string{"proj/x"}, []string{"viewProject"})),
			},
			[]string{"mixed-access: role writer; custom roles ops (5f0c00000000000000000001); inline policy: allow viewProject on proj/x"},
		},
		"two empty ones": {map[string]any{"customRoleIds": []string{}, "inlineRole": []any{}}, nil},
		"unknown role": {
			map[string]any{"role": nil, "customRoleIds": []string{"5f0c00000000000000000001", "5f0c0000000000000000dead"}},
			[]string{"unknown-role: the account has no custom role 5f0c0000000000000000dead"},
		},
		"only an unknown role": {
			map[string]any{"role": nil, "customRoleIds": []string{"5f0c0000000000000000dead"}},
			[]string{"unknown-role: the account has no custom role 5f0c0000000000000000dead, and the token has no other access"},
		},
		"a key for an id": {
			map[string]any{"role": nil, "customRoleIds": []string{"ops"}},
			[]string{"unknown-role: ops is the key of a custom role, not its id, which is 5f0c00000000000000000001"},
		},
		"old version": {
			map[string]any{"defaultApiVersion": 20220603},
			[]string{"old-api-version: default API version 20220603, which ends on 2026-12-31; the current one is 20240415"},
		},
		"older version":   {map[string]any{"defaultApiVersion": 20191212}, []string{"old-api-version: default API version 20191212; the current one is 20240415"}},
		"current version": {map[string]any{"defaultApiVersion": 20240415}, nil},
		"no description":  {map[string]any{"description": " "}, []string{"no-description: no description"}},
		"nothing said":    {map[string]any{"description": nil, "name": nil}, []string{"no-description: neither a name nor a description"}},
		"personal":        {map[string]any{"serviceToken": false}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			report, _ := look(t, facts(t, ""), with("a", test.members))
			assert.Equal(t, test.want, found(report))
		})
	}
}

func TestSince(t *testing.T) {
	report, _ := look(t, facts(t, ""), with("a", map[string]any{"lastUsed": millis(100), "role": "admin"}))
	require.Len(t, all(report), 2)
	assert.Equal(t, now.AddDate(0, 0, -200), all(report)[0].Since, "admin: since the last change, at the latest")
	assert.Equal(t, now.AddDate(0, 0, -100), all(report)[1].Since, "unused: since the last use")
	assert.Equal(t, now, all(report)[0].FirstSeen)
}

func TestPersonal(t *testing.T) {
	member := map[string]any{"_id": "569f183514f4432160000007", "email": "ana@example.com", "role": "writer"}
	tokens := []map[string]any{
		with("a", map[string]any{"serviceToken": false, "_member": member}),
		with("b", map[string]any{"memberId": "569f183514f4432160000008"}),
		with("c", map[string]any{"memberId": "569f183514f4432160000008", "serviceToken": nil}),
	}
	report, _ := look(t, facts(t, "[rules.personal]\nservice-only = true"), tokens...)
	gone := "the list has no member 569f183514f4432160000008, who created it"
	assert.Equal(t, []string{"personal: a personal token", "personal: " + gone, "personal: a personal token; " + gone}, found(report))
	assert.Equal(t, "ana@example.com", all(report)[0].Owner)
	assert.Equal(t, "569f183514f4432160000008", all(report)[1].Owner)

	report, _ = look(t, facts(t, ""), tokens[1:]...)
	assert.Empty(t, found(report), "this list shows no members at all")
}

func TestMany(t *testing.T) {
	tokens := []map[string]any{with("personal", map[string]any{"serviceToken": false})}
	for i := range 8 {
		tokens = append(tokens, plain(fmt.Sprint(i)))
	}
	f := facts(t, "[rules.many]\nlimit = 10\npercent = 80")
	report, _ := look(t, f, tokens...)
	assert.Empty(t, found(report), "8 of 10 are not more than 80 %")
	report, _ = look(t, f, append(tokens, plain("8"))...)
	assert.Equal(t, []string{"many: 9 service tokens; the account may have 10"}, found(report))
	assert.Empty(t, all(report)[0].ID)
}

func TestDuplicateName(t *testing.T) {
	report, _ := look(t, facts(t, ""), with("a", map[string]any{"name": "ci"}), plain("b"), with("c", map[string]any{"name": " CI "}))
	assert.Equal(t, []string{"duplicate-name: 2 tokens have this name: also a", "duplicate-name: 2 tokens have this name: also c"}, found(report))

	var tokens []map[string]any
	for i := range 100 {
		tokens = append(tokens, with(fmt.Sprintf("t%02d", i), map[string]any{"name": "ci"}))
	}
	report, _ = look(t, facts(t, ""), tokens...)
	require.Len(t, all(report), 100)
	for f := range report.Findings() {
		assert.True(t, strings.HasPrefix(f.Evidence, "100 tokens have this name: also t0"), f.Evidence)
		assert.True(t, strings.HasSuffix(f.Evidence, " and 79 more"), f.Evidence)
		assert.NotContains(t, f.Evidence[26:], f.ID)
	}
}

func TestRolesThatCannotBeListed(t *testing.T) {
	f := facts(t, "")
	f.Roles, f.RolesErr = nil, "403 Forbidden"
	report, changes := look(t, f, with("a", map[string]any{"role": nil, "customRoleIds": []string{"x"}}))
	assert.Empty(t, found(report))
	assert.Empty(t, changes)
	assert.Equal(t, []string{"unknown-role was not looked for: the custom roles cannot be listed: 403 Forbidden"}, report.Notes)
}

// A change to the audit's own token would be its last.
func TestOwnToken(t *testing.T) {
	f := facts(t, "rules.admin.suggest = 'role=reader'")
	f.Self = "a"
	report, changes := look(t, f, with("a", map[string]any{"role": "admin"}), with("b", map[string]any{"role": "admin"}))
	require.Len(t, changes, 1)
	assert.Equal(t, "b", changes[0].ID)
	assert.Equal(t, 1, report.Changes)
	assert.Empty(t, all(report)[0].Suggestion)
	assert.Equal(t, []string{"no change is suggested for a: the audit runs with that token"}, report.Notes)
}

func TestTextsAreBounded(t *testing.T) {
	long := strings.Repeat("é", 100_000)
	var roles []string
	var policy []map[string]any
	for i := range 1000 {
		roles = append(roles, fmt.Sprint(long, i))
		policy = append(policy, map[string]any{"effect": "allow", "resources": []string{"*"}, "actions": []string{"*"}})
	}
	report, _ := look(t, facts(t, ""), with("a", map[string]any{"name": long, "customRoleIds": roles[:30], "inlineRole": policy}))
	require.Len(t, all(report), 3)
	for f := range report.Findings() {
		assert.LessOrEqual(t, len([]rune(f.Evidence)), 2000, f.Rule)
		assert.Len(t, []rune(f.Name), 200)
	}
	assert.Contains(t, all(report)[0].Evidence, " and 980 more")
}

func TestOrderAndExit(t *testing.T) {
	tokens := []map[string]any{
		with("a", map[string]any{"name": "b", "description": nil}), with("b", map[string]any{"name": "a", "description": nil, "role": "admin"}),
		with("c", map[string]any{"lastUsed": nil}),
	}
	for failOn, want := range map[string]bool{"high": true, "low": true, "none": false} {
		report, _ := look(t, facts(t, fmt.Sprintf("fail-on = %q", failOn)), tokens...)
		assert.Equal(t, want, report.Fails(), failOn)
		var order []string
		for f := range report.Findings() {
			order = append(order, f.Rule+" "+f.ID)
		}
		assert.Equal(t, []string{"admin b", "never-used c", "no-description b", "no-description a"}, order)
		assert.Equal(t, []int{1, 1, 2}, []int{report.Count(audit.High), report.Count(audit.Medium), report.Count(audit.Low)})
	}
	report, _ := look(t, facts(t, "fail-on = 'high'"), tokens[0], tokens[2])
	assert.False(t, report.Fails())
	report, _ = look(t, facts(t, "[rules.no-description]\nseverity = 'high'\n[rules.never-used]\nseverity = 'none'"), tokens[0], tokens[2])
	assert.Equal(t, []string{"no-description: no description"}, found(report))
	assert.True(t, report.Fails())
}
