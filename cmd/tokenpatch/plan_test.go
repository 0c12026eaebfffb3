package main_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// caller is what plan and apply print first.
const caller = "account " + tokenpatchtest.AccountID + "\ncredential tokenpatchtest (" + tokenpatchtest.CredentialID + ")\n"

// A plan shows custom roles to remove that are not there, instead of only that the token is as wanted; so does a report.
func TestRolesThatAreNotThere(t *testing.T) {
	onlyText(t)
	t.Parallel()
	s := newShell(t)
	s.mixed()
	const gone = "5f0c0000000000000000dead"
	s.file("x.jsonl", `{"id":"token1","want":{"removeCustomRoleIds":["`+gone+`"]}}
{"id":"token2","want":{"removeCustomRoleIds":["qa","`+gone+`"]}}`)
	e := s.run(0, "plan", "-o", "approved.jsonl", "x.jsonl")
	assert.Contains(t, e.stdout, "     2  removeCustomRoleIds: custom role "+gone+" is not there\n")
	assert.Contains(t, e.stdout, "token2  ci 2\n    customRoleIds: - qa ("+qaID+")\n    removeCustomRoleIds: custom role "+gone+" is not there\n")
	assert.Contains(t, s.text("approved.jsonl"), `"skip":"already as wanted: not there: `+gone+`"`)
	assert.Contains(t, s.run(0, "plan", "approved.jsonl").stdout, "1  already as wanted")
	assert.Contains(t, s.run(0, "plan", "-json", "x.jsonl").stdout, `{"setting":"removeCustomRoleIds","notThere":["`+gone+`"]}`)
	s.run(0, "apply", "approved.jsonl")
	assert.NotContains(t, s.run(0, "report", "-run", "approved").stdout, "plan again", "nothing has to be done about a role that is not there")
	require.NoError(t, s.service.AddV2(`{"_id":"token2","name":"ci 2","customRoleIds":["`+qaID+`"]}`))
	s.file("key.jsonl", `{"id":"token2","want":{"removeCustomRoleIds":["opss"]}}`)
	assert.Contains(t, s.run(1, "plan", "key.jsonl").stderr, `"opss": want the key or the id of a custom role of the account; did you mean ops?`)

	s.run(0, "apply", "x.jsonl")
	e = s.run(0, "report", "-run", "x")
	assert.Contains(t, e.stdout, "    customRoleIds: - qa ("+qaID+")\n    removeCustomRoleIds: custom role "+gone+" is not there\n")
	assert.Equal(t, 2, strings.Count(e.stdout, "custom role "+gone+" is not there\n"))
}

// A report shows custom roles by key and id: those that were changed, and those that were to be.
func TestReportNamesCustomRoles(t *testing.T) {
	onlyText(t)
	t.Parallel()
	s := newShell(t)
	s.mixed()
	require.NoError(t, s.service.AddV2(`{"_id":"token3","customRoleIds":["`+qaID+`"]}`))
	s.file("x.jsonl", `{"id":"token2","want":{"customRoleIds":["ops"]}}
{"id":"token3","want":{"role":"reader"}}
{"id":"nobody","want":{"customRoleIds":["ops","`+qaID+`"]}}
{"id":"token1","want":{"name":"ops"}}`)
	s.run(3, "apply", "x.jsonl")
	ops, qa := "ops ("+opsID+")", "qa ("+qaID+")"
	report := s.run(0, "report").stdout
	for _, line := range []string{"customRoleIds: - " + qa, "customRoleIds: + " + ops, "customRoleIds: (not known) → " + ops + ", " + qa, `name: "ci 1" → "ops"`} {
		assert.Contains(t, report, "    "+line+"\n")
		assert.Contains(t, html.UnescapeString(s.run(0, "report", "-format", "html").stdout), line)
	}
	assert.Equal(t, 2, strings.Count(report, "customRoleIds: - "+qa), "what a role removes, too")
	assert.Contains(t, s.run(0, "report", "-format", "csv").stdout, "- "+qa)
	assert.Contains(t, s.run(0, "report", "-json").stdout, `"roles":{"`+opsID+`":"ops","`+qaID+`":"qa"}`)
}

func TestPlanAndApprove(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.mixed()
	e := s.run(0, "plan", "-o", "approved.jsonl", "mixed.jsonl")
	assert.Equal(t, `mixed.jsonl: 4 of 6 tokens would change
  account     `+tokenpatchtest.AccountID+`
  credential  tokenpatchtest `+tokenpatchtest.CredentialID+`
  host        `+s.url+`
     2  name
     1  customRoleIds: + ops (5f0c00000000000000000001)
     1  customRoleIds: - qa (5f0c00000000000000000002)
     1  role: "writer" → "reader"
     1  role_id: (not known) → null
     1  of V1, which cannot be read first
     1  already as wanted
     1  cannot be changed
           1  no such token

Cannot be changed:
nobody  no such token

Changes:
token0  ci 0
    role: "writer" → "reader"
    comment: quarterly review
token1  ci 1
    name: "ci 1" → "deployer"
    comment: c
6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11
    name: (not known) → "ci"
    role_id: (not known) → null
token2  ci 2
    customRoleIds: - qa (5f0c00000000000000000002)
    customRoleIds: + ops (5f0c00000000000000000001)
`, e.stdout)
	for _, request := range s.service.Requests() {
		assert.Equal(t, http.MethodGet, request.Method)
	}
	assert.NoFileExists(t, filepath.Join(s.dir, "tokenpatch.db"))
	sum := sha256.Sum256([]byte(s.text("approved.jsonl")))
	assert.Equal(t, fmt.Sprintf(caller+"saved 4 changes to approved.jsonl (sha256 %x); next: tokenpatch apply approved.jsonl\n", sum), e.stderr)
	lines := strings.Split(strings.TrimSpace(s.text("approved.jsonl")), "\n")
	require.Len(t, lines, 7)
	assert.Regexp(t, `^{"plan":{"version":1,"run":"[-0-9a-f]{36}",.*"source":"mixed.jsonl","sha256":"[0-9a-f]{64}"}}$`, lines[0])
	token, _ := s.service.V2("token0")
	assert.JSONEq(t, `{"api":"v2","id":"token0","name":"ci 0","comment":"quarterly review","patch":[{"op":"test","path":"/role","value":"writer"},
		{"op":"test","path":"/lastModified","value":`+string(members(t, token)["lastModified"])+`},{"op":"replace","path":"/role","value":"reader"}]}`, lines[1])
	assert.Equal(t, `{"api":"v2","id":"token3","name":"ci 3","skip":"already as wanted"}`, lines[5])
	assert.Equal(t, `{"api":"v2","id":"nobody","skip":"no such token"}`, lines[6])

	e = s.run(0, "plan", "-format", "html", "approved.jsonl") // what is approved is what the page shows
	assert.Equal(t, fmt.Sprintf(caller+"approved.jsonl has 4 changes (sha256 %x); next: tokenpatch apply approved.jsonl\n", sum), e.stderr)
	for _, fact := range []string{fmt.Sprintf("%x", sum), tokenpatchtest.AccountID, "tokenpatchtest " + tokenpatchtest.CredentialID, s.url, ">no such token</a>"} {
		assert.Contains(t, e.stdout, fact)
	}

	s.run(0, "apply", "approved.jsonl")
	for _, id := range []string{"token0", "token1", "token2", v1Token} {
		assert.Equal(t, 1, s.service.Changes(id), id)
	}
	s.run(3, "plan", "-detailed-exitcode", "mixed.jsonl")

	e = s.run(0, "plan", "-revert", "approved", "-o", "undo.jsonl")
	assert.Contains(t, e.stdout, "token2  ci 2\n    customRoleIds: - ops ("+opsID+")\n    customRoleIds: + qa ("+qaID+")\n")
	assert.Contains(t, e.stdout, v1Token+"  V1 cannot be read, so it is not known what the token was like")
	assert.NotContains(t, e.stdout, "lastModified", "it is not set back")
	lines = strings.Split(strings.TrimSpace(s.text("undo.jsonl")), "\n")
	require.Len(t, lines, 5)
	token, _ = s.service.V2("token0")
	assert.JSONEq(t, `{"api":"v2","id":"token0","name":"ci 0","comment":"revert of approved: quarterly review","patch":[{"op":"test","path":"/role","value":"reader"},
		{"op":"test","path":"/lastModified","value":`+string(members(t, token)["lastModified"])+`},{"op":"replace","path":"/role","value":"writer"}]}`, lines[1])
	s.run(0, "apply", "undo.jsonl")
	for _, id := range []string{"token0", "token1", "token2"} {
		history := s.service.History(id)
		before, after := members(t, history[0].Before), members(t, history[1].After)
		delete(before, "lastModified")
		delete(after, "lastModified")
		assert.Equal(t, before, after, id)
	}
}

// Every difference is shown: the ninth custom role, and the statement that allows everything.
func TestPlanShowsAllThatDiffers(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.service.AddCredential(tokenpatchtest.Credential{AccessToken: tokenpatchtest.AccessToken, NoRoles: true}) // ids are enough
	var before, after []string
	for i := range 20 {
		before = append(before, fmt.Sprintf(`"5f0c000000000000000000%02d"`, i))
		after = append(after, fmt.Sprintf(`"5f0c000000000000000000%02d"`, i))
	}
	after[8] = `"5f0c000000000000000000ff"`
	const harmless, everything = `{"effect":"allow","resources":["proj/a:env/b:flag/c&d<e>"],"actions":["updateOn"]}`, `{"effect":"allow","resources":["*"],"actions":["*"]}`
	require.NoError(t, s.service.AddV2(`{"_id":"a","name":"a & <b>","role":"writer","customRoleIds":[`+strings.Join(before, ",")+`],"inlineRole":[`+harmless+`]}`))
	s.file("x.jsonl", `{"id":"a","want":{"role":"reader","customRoleIds":[`+strings.Join(after, ",")+`],"inlineRole":[`+harmless+`,`+everything+`]}}`)
	e := s.run(0, "plan", "x.jsonl")
	assert.Contains(t, e.stdout, `
a  a & <b>
    customRoleIds: - 5f0c00000000000000000008
    customRoleIds: + 5f0c000000000000000000ff
    inlineRole: + {"resources":["*"],"actions":["*"],"effect":"allow"}
    role: "writer" → "reader"
`)
	assert.Equal(t, caller+"nothing was saved: -o approved.jsonl saves 1 change for apply\n", e.stderr)

	lines := strings.Split(strings.TrimSpace(s.run(0, "plan", "-json", "x.jsonl").stdout), "\n")
	require.Len(t, lines, 2)
	var summary struct{ Rows, Change, Unchanged, Cannot int }
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &summary))
	assert.Equal(t, []int{1, 1, 0, 0}, []int{summary.Rows, summary.Change, summary.Unchanged, summary.Cannot})
	assert.Contains(t, lines[1], `"differences":[{"setting":"customRoleIds",`)
	assert.Contains(t, lines[1], `"name":"a & <b>"`)
}

// 340 rows in, 340 rows out: what needs no change or cannot have one stays in the plan, and in the plan of a plan.
func TestPlanKeepsItsRows(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.mixed()
	s.run(0, "plan", "-o", "first.jsonl", "mixed.jsonl")
	e := s.run(0, "plan", "-all", "-o", "second.jsonl", "first.jsonl")
	assert.Contains(t, e.stdout, "first.jsonl: 4 of 6 tokens would change\n")
	assert.Contains(t, e.stdout, "Already as wanted:\ntoken3  ci 3\n")
	first, second := strings.Split(s.text("first.jsonl"), "\n"), strings.Split(s.text("second.jsonl"), "\n")
	assert.Len(t, second, len(first))
	assert.Equal(t, first[5:], second[5:])
}

// A refused credential, and a service that does not respond, end a plan: the rest would be nothing
// to approve.
func TestAPlanNeedsItsTokens(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(300)
	s.service.SetCredentials("other", "other")
	e := s.run(1, "plan", "-o", "approved.jsonl", "many.jsonl")
	assert.Contains(t, e.stderr, "401")
	assert.Empty(t, e.stdout)
	assert.NoFileExists(t, filepath.Join(s.dir, "approved.jsonl"))
	assert.LessOrEqual(t, s.service.RequestCount(), 2*16)
	s.service.SetCredentials(tokenpatchtest.APIKey, tokenpatchtest.AccessToken)

	s.service.Inject(tokenpatchtest.Fault{Times: -1, Cut: tokenpatchtest.CutBefore})
	assert.Contains(t, s.run(1, "plan", "-o", "approved.jsonl", "many.jsonl").stderr, "EOF")
	assert.NoFileExists(t, filepath.Join(s.dir, "approved.jsonl"))

	s.service.ClearFaults()
	s.service.Inject(tokenpatchtest.Fault{Times: -1, Delay: time.Hour})
	for _, p := range []*process{s.start("", "plan", "many.jsonl"), s.start("", "list")} { // both at once: each takes forty seconds
		s.until(func() bool { return strings.Contains(p.stderr.String(), "; none for ") })
		require.NoError(t, p.Process.Signal(os.Interrupt))
		assert.Equal(t, 130, p.end().status)
	}
}

// What is more than expected is shown, and neither saved nor sent.
func TestMoreThanExpected(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(10)
	e := s.run(1, "plan", "-max-changes", "9", "-o", "approved.jsonl", "many.jsonl")
	assert.Contains(t, e.stdout, "10 of 10 tokens would change")
	assert.Contains(t, e.stderr, "10 changes are more than -max-changes 9: nothing was saved or sent")
	assert.NoFileExists(t, filepath.Join(s.dir, "approved.jsonl"))
	assert.Contains(t, s.run(1, "plan", "-max-percent", "99.5%", "many.jsonl").stderr, "10 changes of 10 rows are more than -max-percent 99.5%")
	s.run(0, "plan", "-max-changes", "10", "-max-percent", "1", "-o", "approved.jsonl", "many.jsonl")
	assert.Contains(t, s.run(2, "plan", "-o", "plan.html", "many.jsonl").stderr, "-o plan.html: want a name such as approved.jsonl")
}

// Colors are for terminals whose users want them.
func TestColors(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(1)
	assert.Contains(t, s.terminal("plan", "many.jsonl"), "\x1b[33mrole: \"writer\" → \"reader\"\x1b[0m")
	assert.NotContains(t, s.with("NO_COLOR=1").terminal("plan", "many.jsonl"), "\x1b[33m")
	assert.NotContains(t, s.run(0, "plan", "many.jsonl").stdout, "\x1b")
}

// Only the approved change is made, or it fails: also if somebody has changed something else, or
// has added a member no test can guard.
func TestApprovedChangesFailWhereATokenHasChanged(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(2)
	s.file("x.jsonl", `{"api":"v2","id":"token0","want":{"description":"ours"}}
{"api":"v2","id":"token1","want":{"description":"ours"}}`)
	s.run(0, "plan", "-o", "approved.jsonl", "x.jsonl")
	require.NoError(t, s.service.AddV2(`{"_id":"token1","name":"ci","role":"writer","description":"theirs","lastModified":1}`))
	e := s.run(3, "apply", "approved.jsonl")
	assert.Contains(t, e.stdout, "1 applied, 1 not applied")
	token, _ := s.service.V2("token1")
	assert.JSONEq(t, `"theirs"`, string(members(t, token)["description"]))
}

// A lost response is settled, although the token's lastModified is another one by then.
func TestApprovedChangesSettle(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(1)
	s.file("x.jsonl", `{"api":"v2","id":"token0","want":{"role":"reader"}}`)
	s.run(0, "plan", "-o", "approved.jsonl", "x.jsonl")
	s.service.Inject(tokenpatchtest.Fault{Match: func(r *http.Request) bool { return r.Method == http.MethodPatch }, Cut: tokenpatchtest.CutAfter})
	s.run(0, "apply", "-timeout", "1s", "approved.jsonl")
	assert.Equal(t, 1, s.service.Changes("token0"))
}

func TestList(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(60)
	require.NoError(t, s.service.AddV2(`{"_id":"other","name":"\u001b[31mred\u009b","memberId":"569f183514f4432160000008","token":"Xyzzy12345"}`))
	require.NoError(t, s.service.AddV2(`{"_id":"mine","name":"a","token":"Xyzzy12345"}`))
	assert.Equal(t, 61, strings.Count(s.run(0, "list", "-json").stdout, "\n"))
	all := s.run(0, "list", "-all", "-json").stdout
	for _, format := range []string{"csv", "text"} {
		text := s.run(0, "list", "-all", "-format", format).stdout
		assert.Equal(t, 63, strings.Count(text, "\n"), format)
		all += text
	}
	assert.NotContains(t, all, "2345")
	assert.NotContains(t, all, "\x1b")
	assert.NotContains(t, all, "\u009b")
	lines := strings.Split(strings.TrimSpace(all), "\n")[:62]
	for _, line := range lines {
		assert.True(t, json.Valid([]byte(line)), line)
	}
	s.service.SetCredentials("", "")
	assert.Contains(t, s.run(1, "list").stderr, "401")
}

// Tokens are selected by their members; all given flags count.
func TestListChooses(t *testing.T) {
	onlyText(t)
	t.Parallel()
	s := newShell(t)
	ago := func(days int) int64 { return time.Now().AddDate(0, 0, -days).UnixMilli() }
	require.NoError(t, s.service.AddRole(`{"_id":"5f0c00000000000000000001","key":"ops"}`))
	for _, token := range []string{
		fmt.Sprintf(`{"_id":"a","name":"ci-build","role":"admin","serviceToken":true,"creationDate":%d,"lastUsed":%d,"defaultApiVersion":20240415}`, ago(400), ago(100)),
		fmt.Sprintf(`{"_id":"b","name":"CI-test","role":"reader","serviceToken":true,"creationDate":%d,"lastUsed":%d,"customRoleIds":["5f0c00000000000000000001"]}`, ago(400), ago(1)),
		fmt.Sprintf(`{"_id":"c","name":"mine","role":"admin","creationDate":%d}`, ago(400)),
		fmt.Sprintf(`{"_id":"d","name":"new","role":"writer","serviceToken":true,"creationDate":%d,"inlineRole":[{"effect":"allow","resources":["proj/*"],"actions":["*"]}]}`, ago(2)),
	} {
		require.NoError(t, s.service.AddV2(token))
	}
	for flags, want := range map[string]string{
		"": "a b c d", "-role admin": "a c", "-service": "a b d", "-personal": "c", "-name ci-": "a b", "-name *-TEST": "b", "-name [c]i*": "a b", "-unused 90d": "a c",
		"-never-used": "c d", "-never-used -unused 30d": "c", "-api-version 20240415": "a", "-custom-role ops": "b", "-custom-role 5f0c00000000000000000001": "b",
		"-role admin -service": "a", "-owner " + tokenpatchtest.MemberID: "a b c d", "-owner nobody@example.com": "",
	} {
		var ids []string
		for line := range strings.Lines(s.run(0, append([]string{"list", "-json"}, strings.Fields(flags)...)...).stdout) {
			ids = append(ids, strings.Trim(string(members(t, []byte(line))["_id"]), `"`))
		}
		assert.Equal(t, want, strings.Join(sorted(ids), " "), flags)
	}
	assert.Contains(t, s.run(1, "list", "-custom-role", "opps").stderr, `-custom-role "opps": the account has no such custom role`)
	assert.Contains(t, s.run(2, "list", "-name", "[").stderr, "want a text, or a pattern such as ci-*")
	assert.Contains(t, s.run(2, "list", "-unused", "soon").stderr, "want days such as 90d")
	table := s.run(0, "list").stdout
	assert.Regexp(t, `(?m)^ID  NAME      ACCESS +KIND +OWNER +LAST USED$`, table)
	assert.Regexp(t, `(?m)^d   new       writer, policy +service +[0-9a-f]+ +never$`, table)
}

// A list as CSV is a FILE without changes, until somebody changes a cell.
func TestPlanReadsAList(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	require.NoError(t, s.service.AddRole(`{"_id":"5f0c00000000000000000001","key":"ops"}`))
	require.NoError(t, s.service.AddRole(`{"_id":"5f0c00000000000000000002","key":"qa"}`))
	require.NoError(t, s.service.AddV2(`{"_id":"a","name":"=1+1; +2","role":"writer","description":"x, \"y\"","customRoleIds":["5f0c00000000000000000001","5f0c00000000000000000002"],"defaultApiVersion":20240415}`))
	require.NoError(t, s.service.AddV2(`{"_id":"b","name":"policy","inlineRole":[{"effect":"allow","resources":["proj/*:env/a&b"],"actions":["*"]}]}`))
	s.run(0, "list", "-o", "tokens.csv")
	assert.Contains(t, s.text("tokens.csv"), "a,'=1+1; '+2,")
	e := s.run(0, "plan", "tokens.csv")
	assert.Contains(t, e.stdout, "tokens.csv: 0 of 2 tokens would change\n")
	s.file("tokens.csv", strings.Replace(s.text("tokens.csv"), ",writer,", ",reader,", 1))
	assert.Contains(t, s.run(0, "plan", "tokens.csv").stdout, "role: \"writer\" → \"reader\"\n")
}
