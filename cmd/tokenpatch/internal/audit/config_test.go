package audit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/audit"
)

func TestExampleHasTheDefaults(t *testing.T) {
	config, err := audit.Parse("audit.toml", []byte(audit.Example))
	require.NoError(t, err)
	assert.Equal(t, audit.DefaultConfig(), config)
	for _, path := range audit.SettingPaths() {
		table, key := "", path
		if at := strings.LastIndexByte(path, '.'); at > 0 {
			table, key = "["+path[:at]+"]", path[at+1:]
		}
		_, rest, found := strings.Cut(audit.Example, table)
		assert.True(t, found, table)
		rest, _, _ = strings.Cut(rest, "\n[")
		assert.Contains(t, rest, "\n"+key+" = ", path)
	}
	var uncommented []string
	for line := range strings.Lines(audit.Example[strings.Index(audit.Example, "# [[exceptions]]"):]) {
		uncommented = append(uncommented, strings.TrimPrefix(line, "# "))
	}
	config, err = audit.Parse("audit.toml", []byte(strings.Join(uncommented, "")))
	require.NoError(t, err)
	assert.Len(t, config.Exceptions, 1)
}

func TestConfig(t *testing.T) {
	config, err := audit.Parse("audit.toml", []byte(`
fail-on = "low"
quarantine = "14d"
rules.many = { limit = 500, percent = 50 }
[rules.unused]
after = "365d"
[rules.old-api-version]
current = 20250101
severity = "none"
[rules.personal]
service-only = true
[[exceptions]]
rule = "admin"
name = "terraform*"
reason = "reviewed"
until = 2027-03-31
`))
	require.NoError(t, err)
	assert.Equal(t, audit.Low, config.FailOn)
	assert.Equal(t, []time.Duration{14 * 24 * time.Hour, 365 * 24 * time.Hour}, []time.Duration{config.Quarantine, config.Unused})
	assert.Equal(t, []int{500, 50, 20250101}, []int{config.Limit, config.Percent, config.CurrentAPIVersion})
	assert.True(t, config.ServiceOnly)
	assert.Equal(t, audit.None, config.Severity("old-api-version"))
	assert.Equal(t, audit.High, config.Severity("admin"))
	require.Len(t, config.Exceptions, 1)
	assert.Equal(t, time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC), config.Exceptions[0].Until)
}

// TestMistakesInConfig checks that each mistake names its line and its rule, and that all are found
// at once.
func TestMistakesInConfig(t *testing.T) {
	for text, want := range map[string]string{
		"[rules.unused]\nafter = 90":                         `line 2: rules.unused.after: 90: want days such as "90d"`,
		"[rules.unused]\n\nafter = \"90\"":                   `line 3: rules.unused.after: "90": want days such as "90d"`,
		"rules.unused.after = '0d'":                          `line 1: rules.unused.after: "0d": want days such as "90d"`,
		"rules = {unused = {\nafter = '-1d'}}":               `line 1: rules.unused.after: "-1d": want days such as "90d"`,
		"quarantine = '99999999d'":                           `line 1: quarantine: "99999999d": want days such as "90d"`,
		"fail-on = 'off'":                                    `line 1: fail-on: "off": want "high", "medium", "low" or "none"`,
		"fail_on = 'low'":                                    `line 1: fail_on: no such setting; did you mean fail-on?`,
		"[rules.unusd]\nafter = '90d'":                       `line 1: rules.unusd: no such rule; did you mean unused?`,
		"[rules.many]\nseverity = 'low'\nlimits = 200":       `line 3: rules.many.limits: no such setting; did you mean limit?`,
		"[rules.many]\nlimit = 0":                            `line 2: rules.many.limit: 0: want a number such as 200`,
		"[rules.many]\npercent = 101":                        `line 2: rules.many.percent: 101: want 1 to 100`,
		"[rules.admin]\nsuggest = 'role=owner'":              `line 2: rules.admin.suggest: "role=owner": want "role=reader" or "none"`,
		"[rules.admin]\nsuggest = 'quarantine'":              `line 2: rules.admin.suggest: "quarantine": want "role=reader" or "none"`,
		"[rules.unused]\nsuggest = ['none']":                 `line 2: rules.unused.suggest: a list: want "quarantine" or "none"`,
		"[rules.personal]\nservice-only = 'yes'":             `line 2: rules.personal.service-only: "yes": want true or false`,
		"[rules.old-api-version]\ncurrent = 2024-04-15":      `line 2: rules.old-api-version.current: 2024-04-15: want a version such as 20240415`,
		"[rules]\nadmin = 'high'":                            `line 2: rules.admin: "high": want a table: [rules.admin]`,
		"rules = 7":                                          `line 1: rules: 7: want a table: [rules]`,
		"[rules.admin]\nseverity = {high = true}":            `line 2: rules.admin.severity: a table: want "high", "medium", "low" or "none"`,
		"[rules.admin]\nseverity = high":                     `line 2: rules.admin: unexpected character U+0068 'h' at start of value`,
		"[rules.admin]\nseverity = 'low'\nseverity = 'high'": `line 3: rules.admin: key severity is already defined`,
		"[exceptions]\nrule = 'admin'":                       `line 1: exceptions: a table: want [[exceptions]], in two brackets, before each of them`,
		"exceptions = [7]":                                   `line 1: exceptions: 7: want tables`,

		"[[exceptions]]\nid = 'a'\nreason = 'x'\nuntil = 2027-01-01\n\n[[exceptions]]\nrule = 'admin'": "line 6: exceptions (admin): no reason: want why the findings are accepted\n" +
			"line 6: exceptions (admin): no until: want the last day, such as 2027-03-31",
		"[[exceptions]]\nreason = 'x'\nuntil = 2027-01-01":                "line 1: exceptions: it accepts everything: want at least one of rule, id and name",
		"[[exceptions]]\nrule = 'x'\nreason = 'x'\nuntil = 2027-01-01":    "line 2: exceptions.rule: \"x\": no such rule: want one of admin, wildcard, mixed-access, unknown-role, unused, never-used, quarantine, old-api-version, personal, many, no-description, duplicate-name",
		"[[exceptions]]\nid = 7\nreason = ' '\nuntil = '2027-01-01'":      "line 2: exceptions.id: 7: want a text\nline 3: exceptions.reason: \" \": want a text\nline 4: exceptions.until: \"2027-01-01\": want a day without quotation marks, such as 2027-03-31",
		"[[exceptions]]\nid = 'a'\nreason = 'x'\nuntil = 2027-02-30":      "line 4: exceptions: impossible date",
		"[[exceptions]]\nid = 'a'\nexpires = 2027-01-01":                  "line 3: exceptions.expires: no such setting: want one of id, name, reason, rule, until",
		"fail-on = 1\n[rules.x]\n[rules.many]\npercent = 0\nlimit = 'no'": "line 1: fail-on: 1: want \"high\", \"medium\", \"low\" or \"none\"\nline 2: rules.x: no such rule: want one of admin, duplicate-name, many, mixed-access, never-used, no-description, old-api-version, personal, quarantine, unknown-role, unused, wildcard\nline 4: rules.many.percent: 0: want 1 to 100\nline 5: rules.many.limit: \"no\": want a number such as 200",
	} {
		_, err := audit.Parse("audit.toml", []byte(text))
		var mistakes *audit.Mistakes
		if assert.ErrorAs(t, err, &mistakes, text) {
			assert.Equal(t, "audit.toml: "+strings.ReplaceAll(want, "\n", "\naudit.toml: "), err.Error(), text)
		}
	}
}

func TestExceptions(t *testing.T) {
	exception := func(what string) string { return "[[exceptions]]\nreason = 'r'\n" + what + "\n" }
	tokens := []map[string]any{
		with("a", map[string]any{"role": "admin", "name": "terraform/prod.1"}), with("b", map[string]any{"role": "admin", "lastUsed": millis(100)}),
	}
	for file, want := range map[string]struct {
		excepted []string
		notes    []string
	}{
		exception("until = 2026-11-02\nname = 'terraform*'"):               {[]string{"admin a"}, nil},
		exception("until = 2026-11-02\nname = '*.1'\nrule = 'admin'"):      {[]string{"admin a"}, nil},
		exception("until = 2026-11-01\nname = 'terraform*'"):               {nil, []string{"the exception in line 1 (r) has expired on 2026-11-01"}},
		exception("until = 2027-01-01\nname = 'terraform'"):                {nil, []string{"the exception in line 1 (r) matches no finding"}},
		exception("until = 2027-01-01\nname = 'TERRAFORM*'"):               {nil, []string{"the exception in line 1 (r) matches no finding"}},
		exception("until = 2027-01-01\nid = 'b'"):                          {[]string{"admin b", "unused b"}, nil},
		exception("until = 2027-01-01\nid = 'b'\nname = 'x'"):              {nil, []string{"the exception in line 1 (r) matches no finding"}},
		exception("until = 2027-01-01\nrule = 'admin'"):                    {[]string{"admin b", "admin a"}, nil},
		exception("until = 2027-01-01\nrule = 'unused'\nname = '*of b*'"):  {[]string{"unused b"}, nil},
		exception("until = 2027-01-01\nrule = 'unused'\nname = 'name[a]'"): {nil, []string{"the exception in line 1 (r) matches no finding"}},
	} {
		report, _ := look(t, facts(t, file), tokens...)
		var excepted []string
		for f := range report.Findings() {
			if f.Exception != nil {
				excepted = append(excepted, f.Rule+" "+f.ID)
				assert.Equal(t, "r", f.Exception.Reason)
			}
		}
		assert.Equal(t, want.excepted, excepted, file)
		assert.Equal(t, want.notes, report.Notes, file)
		assert.Equal(t, len(excepted), report.Excepted(), file)
		assert.Equal(t, 3, report.Excepted()+report.Count(audit.High)+report.Count(audit.Medium), file)
	}
	report, _ := look(t, facts(t, exception("until = 2027-01-01\nrule = 'admin'")), tokens[0])
	assert.False(t, report.Fails(), "what an exception accepts does not fail")
}

func FuzzParse(f *testing.F) {
	f.Add(audit.Example)
	f.Add("[[exceptions]]\nuntil = 2027-01-01\nname = '*'\n[[x.y]]\na.b = [{c = 1}]")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = audit.Parse("x", []byte(text))
	})
}
