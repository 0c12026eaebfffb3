package main_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/audit"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// token adds a token without findings, except for its other members. nil removes one.
func (s *shell) token(id string, other map[string]any) {
	s.t.Helper()
	ago := func(days int) int64 { return time.Now().AddDate(0, 0, -days).UnixMilli() }
	token := map[string]any{
		"_id": id, "name": "name of " + id, "description": "what it is for", "role": "reader", "serviceToken": true,
		"creationDate": ago(500), "lastModified": ago(300), "lastUsed": ago(1),
	}
	for name, value := range other {
		token[name] = value
		if value == nil {
			delete(token, name)
		}
	}
	document, err := json.Marshal(token)
	require.NoError(s.t, err)
	require.NoError(s.t, s.service.AddV2(string(document)))
}

func daysAgo(days int) time.Time { return time.Now().AddDate(0, 0, -days) }

func TestAudit(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.token("a", map[string]any{"role": "admin", "name": "deployer"})
	s.token("b", map[string]any{"description": nil, "serviceToken": false, "memberId": "569f183514f4432160000099"})
	s.token("c", map[string]any{"lastUsed": daysAgo(51).UnixMilli()})
	e := s.run(5, "audit")
	assert.Contains(t, e.stdout, s.url+", account "+tokenpatchtest.AccountID+": 3 tokens, 2 of them service tokens: findings: 1 high, 0 medium, 1 low\n", "another member's personal token, too")
	assert.Contains(t, e.stdout, "tokens of deepset (V1) cannot be read, so they are not in this audit\n")
	assert.Contains(t, e.stdout, "\nhigh    admin: 1\n        base role admin or owner. Give it the least role that does its work, such as reader.\n"+
		"        token  name      owner                     since       evidence\n        a      deployer  "+tokenpatchtest.MemberID+"  "+daysAgo(300).UTC().Format(time.DateOnly)+"  base role admin\n")
	assert.Contains(t, e.stdout, "\nlow     no-description: 1\n")
	assert.Empty(t, e.stderr)

	assert.Contains(t, s.run(5, "audit", "-unused", "50d", "-service-only", "-limit", "2").stdout, "findings: 1 high, 2 medium, 2 low")
	for failOn, status := range map[string]int{"high": 5, "medium": 5, "low": 5, "none": 0} {
		s.run(status, "audit", "-fail-on", failOn)
	}
	s.service.Remove("a")
	s.run(0, "audit")
	s.run(0, "audit", "-fail-on", "high")
	s.run(5, "audit", "-fail-on", "low")
	for _, r := range s.service.Requests() {
		assert.Equal(t, http.MethodGet, r.Method)
	}
}

func TestAuditIsCalledWrongly(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.token("a", nil)
	s.file("audit.toml", "[rules.unused]\nafter = \"90\"\n[rules.unusd]\n")
	e := s.run(1, "audit")
	assert.Equal(t, "tokenpatch audit: audit.toml: line 2: rules.unused.after: \"90\": want days such as \"90d\"\n"+
		"tokenpatch audit: audit.toml: line 3: rules.unusd: no such rule; did you mean unused?\n", e.stderr)
	assert.Contains(t, s.run(1, "audit", "-init").stderr, "audit.toml: file exists")
	assert.Contains(t, s.run(1, "audit", "-config", "missing.toml").stderr, "open missing.toml: no such file")
	s.run(0, "audit", "-init", "-config", "mine.toml")
	mine := s.text("mine.toml")
	for _, args := range [][]string{
		{"-fail-on", "always"}, {"-unused", "90"}, {"-limit", "-1"}, {"-suggest", "role=admin"}, {"-format", "xml"}, {"-write", "-"},
		{"-write", "mine.toml"}, {"-o", "mine.toml"}, {"-o", "x.json", "-write", "x.json"}, {"-baseline", "y.json", "-write", "./y.json"}, {"FILE"},
	} {
		assert.NotEmpty(t, s.run(2, append([]string{"audit", "-config", "mine.toml"}, args...)...).stderr, args)
	}
	assert.Equal(t, mine, s.text("mine.toml"))
	s.file("last.json", "{}")
	assert.Equal(t, "tokenpatch audit: -baseline last.json: line 1: want a report of tokenpatch audit -format json\n",
		s.run(1, "audit", "-config", "mine.toml", "-baseline", "last.json").stderr)
	s.env = append(s.env, "LAUNCHDARKLY_ACCESS_TOKEN=")
	assert.Contains(t, s.run(1, "audit", "-config", "mine.toml").stderr, "those of V1 cannot be read: want LAUNCHDARKLY_ACCESS_TOKEN in the environment")
}

// Custom roles are looked up once. A credential without the right to list them can still audit.
func TestAuditOfRoles(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	require.NoError(t, s.service.AddRole(`{"_id":"5f0c00000000000000000001","key":"ops"}`))
	s.token("a", map[string]any{"role": nil, "customRoleIds": []string{"5f0c00000000000000000001", "5f0c0000000000000000dead"}})
	e := s.run(5, "audit", "-write", "changes.jsonl")
	assert.Contains(t, e.stdout, "  the account has no custom role 5f0c0000000000000000dead\n")
	s.run(0, "plan", "-o", "approved.jsonl", "changes.jsonl")
	s.run(0, "apply", "approved.jsonl")
	token, _ := s.service.V2("a")
	assert.JSONEq(t, `["5f0c00000000000000000001"]`, string(members(t, token)["customRoleIds"]))
	s.run(0, "audit")

	const limited = "xkq7d1mU3Rr0PzW2vYt8LfE5hNbAo6Gs4cJiDyMu"
	s.service.AddCredential(tokenpatchtest.Credential{AccessToken: limited, NoRoles: true})
	s.env = append(s.env, "LAUNCHDARKLY_ACCESS_TOKEN="+limited)
	assert.Contains(t, s.run(0, "audit").stdout, "note: unknown-role was not looked for: the custom roles cannot be listed: tokenpatch: GET ")
	s.env = append(s.env, "LAUNCHDARKLY_ACCESS_TOKEN=wrong0U3Rr0PzW2vYt8LfE5hNbAo6Gs4cJiDyMu")
	assert.Contains(t, s.run(1, "audit").stderr, "401")
}

// An incomplete list is no audit: the earlier file stays.
func TestAuditThatBreaksOff(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for i := range 60 {
		s.token(fmt.Sprint(i), map[string]any{"lastUsed": nil})
	}
	s.file("findings.csv", "yesterday")
	s.file("changes.jsonl", "yesterday")
	s.service.Inject(tokenpatchtest.Fault{
		Match: func(r *http.Request) bool {
			return strings.Contains(r.URL.RawQuery, "offset=25") && strings.HasSuffix(r.URL.Path, "/tokens")
		}, Times: -1, Status: 403, Body: `{"code":"forbidden"}`,
	})
	e := s.run(1, "audit", "-o", "findings.csv", "-write", "changes.jsonl")
	assert.Contains(t, e.stderr, "403")
	assert.NotContains(t, e.stderr, "-write")
	assert.Equal(t, "yesterday", s.text("findings.csv"))
	assert.Equal(t, "yesterday", s.text("changes.jsonl"))
	files, err := os.ReadDir(s.dir)
	require.NoError(t, err)
	assert.Len(t, files, 2)
}

// Texts of a service do nothing to a terminal or a spreadsheet, in any format.
func TestAuditOfHostileTexts(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.token("a", map[string]any{"name": "=HYPERLINK(\"http://evil\")\x1b[31m\u202e", "role": "admin"})
	s.token("b", map[string]any{"name": "b", "inlineRole": []any{map[string]any{"effect": "allow", "resources": []string{"*", "x\x1b]0;x\a\nhigh"}, "actions": []string{"*"}}}})
	for _, format := range []string{"text", "csv", "json", "html", "sarif"} {
		e := s.run(5, "audit", "-format", format)
		assert.NotContains(t, e.stdout, "\x1b", format)
		assert.NotContains(t, e.stdout, "\u202e", format)
		assert.NotContains(t, e.stdout, "\a", format)
		assert.NotContains(t, e.stdout, "\nhigh\n", format)
	}
	rows, err := csv.NewReader(strings.NewReader(s.run(5, "audit", "-format", "csv").stdout)).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 4)
	assert.True(t, strings.HasPrefix(rows[1][3], "'=HYPERLINK"), rows[1])
}

// TestAuditEachNight compares with the night before. The output can be the next baseline.
func TestAuditEachNight(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.token("a", map[string]any{"role": "admin"})
	s.token("b", map[string]any{"role": "admin"})
	s.run(5, "audit", "-o", "last.json")
	s.service.Remove("a")
	s.token("c", map[string]any{"role": "owner"})
	e := s.run(5, "audit", "-baseline", "last.json")
	assert.Contains(t, e.stdout, "compared with "+time.Now().UTC().Format(time.DateOnly)+": 1 new, 1 gone, 1 still there\n")
	assert.Contains(t, e.stdout, "\ngone: 1\n")
	assert.Contains(t, e.stdout, "  gone   admin: base role admin\n")

	s.run(5, "audit", "-baseline", "last.json", "-o", "last.json")
	assert.Contains(t, s.text("last.json"), `"state":"gone"`)
	s.service.Remove("b")
	s.service.Remove("c")
	assert.Contains(t, s.run(0, "audit", "-baseline", "last.json").stdout, ": 0 new, 2 gone, 0 still there\n")

	for _, name := range []string{"findings.csv", "findings.html", "findings.sarif"} {
		assert.Equal(t, "1 token, 1 of them service tokens: findings: 0 high, 0 medium, 0 low; saved to "+name+"\n", func() string {
			s.token("z", nil)
			return s.run(0, "audit", "-o", name).stderr
		}())
	}
	assert.True(t, strings.HasPrefix(s.text("findings.csv"), "rule,severity,id,"))
	assert.True(t, strings.HasPrefix(s.text("findings.html"), "<!DOCTYPE html>"))
	assert.True(t, strings.HasPrefix(s.text("findings.sarif"), `{"$schema":`))
}

// TestScreamTest puts tokens in quarantine and restores a missed one exactly.
func TestScreamTest(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	policy := []any{map[string]any{"effect": "allow", "resources": []string{"proj/*"}, "actions": []string{"viewProject"}}}
	s.token("old", map[string]any{"role": "admin", "lastUsed": daysAgo(200).UnixMilli()})
	s.token("mixed", map[string]any{"role": "writer", "customRoleIds": []string{"5f0c", "5f0d"}, "inlineRole": policy, "description": nil, "lastUsed": nil})
	s.token("policy", map[string]any{"role": nil, "inlineRole": policy, "lastUsed": nil})
	s.token("roles", map[string]any{"role": nil, "customRoleIds": []string{"5f0d", "5f0c"}, "lastUsed": nil})
	s.token("in use", nil)
	ids := []string{"old", "mixed", "policy", "roles"}
	// document is a token without the time of its last change, which each write raises.
	document := func(id string) string {
		token, _ := s.service.V2(id)
		has := members(t, token)
		delete(has, "lastModified")
		encoded, err := json.Marshal(has)
		require.NoError(t, err)
		return string(encoded)
	}
	before := map[string]string{}
	for _, id := range ids {
		before[id] = document(id)
	}

	recipe := s.recipe("Find tokens that nobody needs")
	require.Len(t, recipe, 2)
	assert.Contains(t, s.sh(recipe[0]), "saved 4 suggested changes to changes.jsonl; next: tokenpatch plan -o approved.jsonl changes.jsonl\n")
	for _, id := range ids {
		token, _ := s.service.V2(id)
		is := members(t, token)
		assert.JSONEq(t, `[{"effect":"deny","resources":["*"],"actions":["*"]}]`, string(is["inlineRole"]), id)
		assert.NotContains(t, is, "role", id)
		assert.Subset(t, []string{"", "[]"}, []string{string(is["customRoleIds"])}, id)
		assert.Contains(t, string(is["description"]), "[quarantine from "+time.Now().UTC().Format(time.DateOnly)+" until ", id)
	}
	assert.Zero(t, s.service.Changes("in use"))
	e := s.run(0, "audit", "-write", "changes.jsonl", "-fail-on", "medium")
	assert.Contains(t, e.stdout, "4 tokens in quarantine\n")
	assert.Contains(t, e.stderr, "saved 0 suggested changes", "those in quarantine are left alone")

	s.sh(strings.ReplaceAll(recipe[1], "61095542756dba551110ae21", "mixed"))
	assert.JSONEq(t, before["mixed"], document("mixed"))
	assert.Equal(t, 1, s.service.Changes("old"))

	s.run(0, "plan", "-revert", "quarantine", "-o", "undo.jsonl")
	s.run(0, "apply", "-run", "undo", "undo.jsonl")
	for _, id := range ids {
		assert.JSONEq(t, before[id], document(id), id)
	}
}

// recipe is the shell blocks of a recipe.
func (s *shell) recipe(heading string) (blocks []string) {
	s.t.Helper()
	_, section, found := strings.Cut(s.document("../../docs/recipes.md"), "\n## "+heading+"\n")
	require.True(s.t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, block[1])
	}
	return blocks
}

// sh runs a script, and returns what it prints.
func (s *shell) sh(script string) string {
	s.t.Helper()
	command := exec.Command("sh", "-ec", script)
	command.Dir, command.Env = s.dir, append(s.env, "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	output, err := command.CombinedOutput()
	require.NoError(s.t, err, "%s\n%s", script, output)
	return string(output)
}

// docs/audit.md has each rule with its severity, and shows what the command prints.
func TestAuditInTheDocument(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	text := s.document("../../docs/audit.md")
	for _, rule := range audit.Rules {
		assert.Contains(t, text, fmt.Sprintf("\n| `%s` | %s | ", rule.Name, rule.Severity))
	}
	screen := regexp.MustCompile("(?s)```console\n(.*?)```").FindStringSubmatch(text)
	require.NotNil(t, screen)
	s.token("a", map[string]any{"role": "owner"})
	s.token("b", map[string]any{"lastUsed": daysAgo(412).UnixMilli()})
	printed := s.run(5, "audit").stdout
	for line := range strings.Lines(printed) {
		if strings.HasPrefix(line, "        ") && strings.Contains(line, ". ") || strings.HasPrefix(line, "tokens of") {
			assert.Contains(t, screen[1], line)
		}
	}
}
