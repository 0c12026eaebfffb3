package main_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func TestPlanAndApprove(t *testing.T) {
	s := newShell(t)
	s.mixed()
	e := s.run(3, "plan", "-o", "approved.jsonl", "mixed.jsonl")
	assert.Equal(t, `token0  "ci 0"
    role: "writer" -> "reader"
token1  "ci 1"
    name: "ci 1" -> "deployer"
6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11  V1 cannot be read; would send {"name":"ci","role_id":null}
token2  "ci 2"
    customRoleIds: ["qa"] -> ["ops"]
token3  is as wanted
`, e.stdout[:strings.Index(e.stdout, "nobody")])
	assert.Contains(t, e.stdout, "\n3 would change, 1 are as wanted, 1 of V1 cannot be read, 1 cannot be done\n")
	for _, request := range s.service.Requests() {
		assert.Equal(t, http.MethodGet, request.Method)
	}
	assert.NoFileExists(t, filepath.Join(s.dir, "tokenpatch.db"))
	lines := strings.Split(strings.TrimSpace(s.text("approved.jsonl")), "\n")
	require.Len(t, lines, 4)
	token, _ := s.service.V2("token0")
	unchanged := `{"op":"test","path":"/lastModified","value":` + string(members(t, token)["lastModified"]) + `}`
	assert.JSONEq(t, `{"api":"v2","id":"token0","comment":"quarterly review","patch":[{"op":"test","path":"/role","value":"writer"},`+unchanged+`,
		{"op":"replace","path":"/role","value":"reader"},`+unchanged+`]}`, lines[0])

	s.run(0, "apply", "approved.jsonl")
	for _, id := range []string{"token0", "token1", "token2", v1Token} {
		assert.Equal(t, 1, s.service.Changes(id), id)
	}
	s.run(3, "plan", "mixed.jsonl") // of nobody

	e = s.run(3, "plan", "-revert", "approved.jsonl", "-o", "undo.jsonl")
	assert.Contains(t, e.stdout, "token2  \"ci 2\"\n    customRoleIds: [\"ops\"] -> [\"qa\"]\n")
	assert.Contains(t, e.stdout, v1Token+"  cannot be done: V1 cannot be read")
	s.run(0, "apply", "undo.jsonl")
	for _, id := range []string{"token0", "token1", "token2"} {
		history := s.service.History(id)
		before, after := members(t, history[0].Before), members(t, history[1].After)
		delete(before, "lastModified")
		delete(after, "lastModified")
		assert.Equal(t, before, after, id)
	}
}

// What was approved is what is done, or it fails: also where somebody has changed something else, or has added a member that
// no test can guard.
func TestApprovedChangesFailWhereATokenHasChanged(t *testing.T) {
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

// A response that is lost is settled, although the token's lastModified is another one by then.
func TestApprovedChangesSettle(t *testing.T) {
	s := newShell(t)
	s.tokens(1)
	s.file("x.jsonl", `{"api":"v2","id":"token0","want":{"role":"reader"}}`)
	s.run(0, "plan", "-o", "approved.jsonl", "x.jsonl")
	s.service.Inject(tokenpatchtest.Fault{Match: func(r *http.Request) bool { return r.Method == http.MethodPatch }, Cut: tokenpatchtest.CutAfter})
	s.run(0, "apply", "-timeout", "1s", "approved.jsonl")
	assert.Equal(t, 1, s.service.Changes("token0"))
}

func TestList(t *testing.T) {
	s := newShell(t)
	s.tokens(60)
	require.NoError(t, s.service.AddV2(`{"_id":"other","name":"\u001b[31mred\u009b","memberId":"569f183514f4432160000008","token":"Xyzzy12345"}`))
	require.NoError(t, s.service.AddV2(`{"_id":"mine","name":"a","token":"Xyzzy12345"}`))
	assert.Equal(t, 61, strings.Count(s.run(0, "list").stdout, "\n"))
	all := s.run(0, "list", "-all").stdout
	assert.NotContains(t, all, "2345")
	assert.NotContains(t, all, "\x1b")
	assert.NotContains(t, all, "\u009b")
	lines := strings.Split(strings.TrimSpace(all), "\n")
	assert.Len(t, lines, 62)
	for _, line := range lines {
		assert.True(t, json.Valid([]byte(line)), line)
	}
	s.service.SetCredentials("", "")
	assert.Contains(t, s.run(1, "list").stderr, "401")
}
