package audit_test

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/audit"
)

// TestSuggestions has a case for each suggested change.
func TestSuggestions(t *testing.T) {
	const denied = `"inlineRole":[{"resources":["*"],"actions":["*"],"effect":"deny"}]`
	for name, test := range map[string]struct {
		file    string
		members map[string]any
		want    string
	}{
		"unused": {"", map[string]any{"lastUsed": millis(100)}, `{"api":"v2","id":"a","want":{` +
			`"description":"[quarantine from 2026-11-02 until 2026-12-02] what it is for","role":null,` + denied + `},"comment":"tokenpatch audit: unused"}`},
		"never used, with all kinds of access": {
			"quarantine = '7d'",
			map[string]any{"lastUsed": nil, "role": "admin", "description": nil, "customRoleIds": []string{"5f0c00000000000000000001"}, "inlineRole": []map[string]any{{"effect": "allow", "resources": []string{"*"}, "actions": []string{"*"}}}},
			`{"api":"v2","id":"a","want":{"description":"[quarantine from 2026-11-02 until 2026-11-09]","role":null,"customRoleIds":null,` + denied + `},"comment":"tokenpatch audit: never-used"}`,
		},
		"quarantined before, and restored by hand": {
			"", map[string]any{"lastUsed": millis(100), "description": "[quarantine from 2026-01-02 until 2026-02-01] mine"}, `{"api":"v2","id":"a","want":{` +
				`"description":"[quarantine from 2026-11-02 until 2026-12-02] mine","role":null,` + denied + `},"comment":"tokenpatch audit: unused"}`,
		},
		"quarantine wins": {
			"rules.admin.suggest = 'role=reader'", map[string]any{"lastUsed": millis(100), "role": "admin"},
			`{"api":"v2","id":"a","want":{"description":"[quarantine from 2026-11-02 until 2026-12-02] what it is for","role":null,` + denied + `},"comment":"tokenpatch audit: admin, unused"}`,
		},
		"admin": {"", map[string]any{"role": "admin"}, ""},
		"admin, asked for": {
			"rules.admin.suggest = 'role=reader'", map[string]any{"role": "admin"}, `{"api":"v2","id":"a","want":{"role":"reader"},"comment":"tokenpatch audit: admin"}`,
		},
		"a role takes the place of the rest": {
			"rules.admin.suggest = 'role=writer'",
			map[string]any{"role": "owner", "customRoleIds": []string{"gone"}, "inlineRole": []map[string]any{{"effect": "allow", "resources": []string{"x"}, "actions": []string{"y"}}}},
			`{"api":"v2","id":"a","want":{"role":"writer","customRoleIds":null,"inlineRole":null},"comment":"tokenpatch audit: admin, unknown-role"}`,
		},
		"unknown roles": {
			"", map[string]any{"role": nil, "customRoleIds": []string{"gone", "5f0c00000000000000000001", "also gone", "gone"}},
			`{"api":"v2","id":"a","want":{"removeCustomRoleIds":["also gone","gone"]},"comment":"tokenpatch audit: unknown-role"}`,
		},
		"nothing but an unknown role": {"", map[string]any{"role": nil, "customRoleIds": []string{"gone"}}, ""},
		"a key is not removed":        {"", map[string]any{"role": nil, "customRoleIds": []string{"ops"}}, ""},
		"none": {
			"rules.unused.suggest = 'none'\nrules.unknown-role.suggest = 'none'",
			map[string]any{"lastUsed": millis(100), "role": nil, "customRoleIds": []string{"gone"}}, "",
		},
		"excepted": {"[[exceptions]]\nid = 'a'\nreason = 'yearly'\nuntil = 2026-12-31", map[string]any{"lastUsed": millis(100)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			report, changes := look(t, facts(t, test.file), with("a", test.members))
			if test.want == "" {
				assert.Empty(t, changes)
				assert.Zero(t, report.Changes)
				return
			}
			require.Len(t, changes, 1)
			assert.Equal(t, 1, report.Changes)
			encoded, err := json.Marshal(changes[0])
			require.NoError(t, err)
			assert.JSONEq(t, test.want, string(encoded))
		})
	}
}

func TestSuggest(t *testing.T) {
	members := map[string]any{"lastUsed": millis(100), "role": "admin"}
	for list, want := range map[string]string{"none": "", "none,role=reader": "role=reader", "role=reader": "quarantine", "none,quarantine": "quarantine", "none,remove": ""} {
		f := facts(t, "")
		require.NoError(t, f.Config.Suggest(list))
		report, _ := look(t, f, with("a", members))
		got := ""
		for finding := range report.Findings() {
			got = max(got, finding.Suggestion)
		}
		assert.Equal(t, want, got, list)
	}
	config := audit.DefaultConfig()
	for _, list := range []string{"", "role=admin", "role=Owner", "role=", "quarantine, remove", "delete"} {
		assert.Error(t, config.Suggest(list), list)
	}
}

// TestQuarantine follows a token through a quarantine.
func TestQuarantine(t *testing.T) {
	in := func(members map[string]any) map[string]any {
		token := with("a", map[string]any{
			"role": nil, "description": "[quarantine from 2026-10-01 until 2026-11-01] what it is for", "lastModified": millis(31), "lastUsed": millis(300),
			"inlineRole": []map[string]any{{"effect": "deny", "resources": []string{"*"}, "actions": []string{"*"}}},
		})
		maps.Copy(token, members)
		return token
	}
	for name, test := range map[string]struct {
		members map[string]any
		want    []string
		in      int
	}{
		"it lasts":             {map[string]any{"description": "[quarantine from 2026-10-01 until 2026-11-02] "}, nil, 1},
		"over":                 {nil, []string{"quarantine: in quarantine from 2026-10-01 until 2026-11-01, and not used"}, 1},
		"over, and never used": {map[string]any{"lastUsed": 0}, []string{"quarantine: in quarantine from 2026-10-01 until 2026-11-01, and not used"}, 1},
		"used in it": {map[string]any{"lastUsed": millis(10), "description": "[quarantine from 2026-10-01 until 2026-12-01] "}, []string{
			"quarantine: last used on 2026-10-23, in quarantine since 2026-10-01: somebody misses it"}, 1},
		"no such day":      {map[string]any{"description": "[quarantine from 2026-10-01 until 2026-13-02] "}, []string{"unused: last used on 2026-01-06, 300 days ago"}, 0},
		"access came back": {map[string]any{"role": "reader"}, []string{"mixed-access: role reader; inline policy: deny * on *", "unused: last used on 2026-01-06, 300 days ago"}, 0},
		"no policy":        {map[string]any{"inlineRole": []any{}}, []string{"unused: last used on 2026-01-06, 300 days ago"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			report, changes := look(t, facts(t, ""), in(test.members))
			assert.Equal(t, test.want, found(report))
			assert.Equal(t, test.in, report.Quarantined)
			assert.Len(t, changes, 1-test.in)
		})
	}
}
