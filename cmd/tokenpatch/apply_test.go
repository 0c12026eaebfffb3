package main_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const mixed = `{"api":"v2","id":"token0","want":{"role":"reader","description":null},"comment":"quarterly review"}
{"api":"v2","id":"token1","patch":[{"op":"replace","path":"/name","value":"deployer"}],"comment":"c"}
{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","update":{"name":"ci","role_id":null}}
{"api":"v2","id":"token2","want":{"addCustomRoleIds":["ops"],"removeCustomRoleIds":["qa"]}}
{"api":"v2","id":"token3","want":{"role":"writer"}}
{"api":"v2","id":"nobody","want":{"role":"reader"}}
`

const v1Token = "6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11"

// Custom roles.
const (
	opsID = "5f0c00000000000000000001"
	qaID  = "5f0c00000000000000000002"
)

func (s *shell) mixed() {
	s.t.Helper()
	s.tokens(4)
	require.NoError(s.t, s.service.AddRole(`{"_id":"`+opsID+`","key":"ops"}`))
	require.NoError(s.t, s.service.AddRole(`{"_id":"`+qaID+`","key":"qa"}`))
	require.NoError(s.t, s.service.AddV2(`{"_id":"token2","name":"ci 2","customRoleIds":["`+qaID+`"]}`))
	require.NoError(s.t, s.service.AddV1(`{"id":"`+v1Token+`","name":"old","role_id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a12"}`))
	s.file("mixed.jsonl", mixed)
}

func TestApplyAndReport(t *testing.T) {
	s := newShell(t)
	s.mixed()
	e := s.run(3, "apply", "mixed.jsonl")
	assert.Equal(t, "mixed.jsonl: 6 changes: 5 applied, 1 not applied, 0 unknown, 0 pending\ntokenpatch report -run mixed.jsonl tells why\n", e.stdout)
	for id, changes := range map[string]int{"token0": 1, "token1": 1, v1Token: 1, "token2": 1, "token3": 0} {
		assert.Equal(t, changes, s.service.Changes(id), id)
	}
	token, _ := s.service.V2("token2")
	assert.JSONEq(t, `["`+opsID+`"]`, string(members(t, token)["customRoleIds"]))
	assert.Regexp(t, `^{"comment":"quarterly review","patch":\[{"op":"test","path":"/role","value":"writer"},.*{"op":"replace","path":"/role","value":"reader"}\]}$`,
		string(s.service.History("token0")[0].Body))

	records, err := csv.NewReader(strings.NewReader(s.run(3, "report", "-format", "csv").stdout)).ReadAll()
	require.NoError(t, err)
	assert.Equal(t, strings.Split("api,id,outcome,attempts,status,code,error,started,ended", ","), records[0])
	var ids []string
	for _, record := range records[1:] {
		ids = append(ids, record[1])
		_, err := time.Parse(time.RFC3339, record[8])
		assert.NoError(t, err)
	}
	assert.Equal(t, []string{"token0", "token1", v1Token, "token2", "token3", "nobody"}, ids)
	assert.Equal(t, []string{"v2", "token3", "applied", "0"}, records[5][:4])
	assert.Equal(t, []string{"v2", "nobody", "not_applied", "0", "404", "not_found"}, records[6][:6])

	lines := strings.Split(strings.TrimSpace(s.run(3, "report", "-format", "json").stdout), "\n")
	require.Len(t, lines, 6)
	var first struct{ API, ID, Outcome string }
	require.NoError(t, json.Unmarshal([]byte(lines[2]), &first))
	assert.Equal(t, "v1 "+v1Token+" applied", first.API+" "+first.ID+" "+first.Outcome)
	assert.Contains(t, s.run(3, "report").stdout, "not applied  v2  nobody ")
	assert.Contains(t, s.run(3, "status").stdout, "5 applied, 1 not applied")

	before := s.service.RequestCount()
	e = s.run(3, "apply", "mixed.jsonl")
	assert.Contains(t, e.stderr, "going on, 6 of 6 are decided")
	assert.Equal(t, before, s.service.RequestCount(), "nothing is sent again")
}

func members(t testing.TB, object []byte) (m map[string]json.RawMessage) {
	t.Helper()
	require.NoError(t, json.Unmarshal(object, &m))
	return m
}

func TestRetry(t *testing.T) {
	s := newShell(t)
	s.mixed()
	s.run(3, "apply", "mixed.jsonl")
	require.NoError(t, s.service.AddV2(`{"_id":"nobody","name":"late","role":"writer"}`))
	assert.Contains(t, s.run(0, "retry").stdout, "1 changes are pending again")
	s.run(3, "status")
	assert.Contains(t, s.run(0, "apply", "-run", "mixed.jsonl").stdout, "6 applied")
	assert.Equal(t, 1, s.service.Changes("nobody"))
	assert.Equal(t, 1, s.service.Changes("token0"))
}

func TestStandardInputNeedsARun(t *testing.T) {
	s := newShell(t)
	s.tokens(1)
	assert.Contains(t, s.run(2, "apply", "-").stderr, "want -run")
	change := `{"api":"v2","id":"token0","want":{"role":"reader"}}`
	e := s.start(change, "apply", "-", "-run", "x").end()
	require.Equal(t, 0, e.status, e.stderr)
	assert.Equal(t, 1, s.service.Changes("token0"))
}

// What is wrong with a file is told before anything is sent, stored or made.
func TestMistakesInAFile(t *testing.T) {
	s := newShell(t)
	s.file("wrong.csv", "id,name\na,x\na,y\nb,\n")
	e := s.run(1, "apply", "wrong.csv")
	assert.Equal(t, `tokenpatch apply: wrong.csv: line 3: id: "a": want each token once: line 2 has it too
tokenpatch apply: wrong.csv: line 4: no setting in this row: want a value in at least one column, or null to remove what is there
`, e.stderr)
	assert.Zero(t, s.service.RequestCount())
	assert.NoFileExists(t, filepath.Join(s.dir, "tokenpatch.db"))
	s.run(1, "plan", "wrong.csv")
	s.run(1, "apply", "none.csv")
	s.run(1, "status")
	assert.NoFileExists(t, filepath.Join(s.dir, "tokenpatch.db"))
}

func TestARunKeepsItsFile(t *testing.T) {
	s := newShell(t)
	s.tokens(3)
	s.file("a.jsonl", `{"api":"v2","id":"token0","want":{"role":"reader"}}`)
	s.run(0, "apply", "a.jsonl")
	s.file("a.jsonl", `{"api":"v2","id":"token1","want":{"role":"reader"}}`)
	e := s.run(1, "apply", "a.jsonl")
	assert.Contains(t, e.stderr, `run "a.jsonl" holds other changes than those of a.jsonl as it is now`)
	assert.Zero(t, s.service.Changes("token1"))
	s.run(0, "apply", "-add", "a.jsonl")
	assert.Equal(t, 1, s.service.Changes("token1"))
	s.run(0, "apply", "a.jsonl")
	s.file("a.jsonl", `{"api":"v2","id":"token1","want":{"role":"admin"}}`)
	assert.Contains(t, s.run(1, "apply", "-add", "a.jsonl").stderr, "token1")
	s.file("a.jsonl", `{"api":"v2","id":"token2","want":{"role":"admin"}}`)
	s.run(0, "apply", "a.jsonl", "-run", "b")
	assert.Contains(t, s.run(2, "report").stderr, "want -run with one of a.jsonl, b")
}

// A run that is made again after it was deleted shows nothing of the one before.
func TestADeletedRunIsForgotten(t *testing.T) {
	s := newShell(t)
	s.tokens(1)
	s.file("a.jsonl", `{"api":"v2","id":"token0","want":{"role":"reader"}}`)
	s.service.Inject(tokenpatchtest.Fault{Match: patches, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}})
	s.run(0, "apply", "a.jsonl")
	assert.Contains(t, s.run(0, "report", "-format", "html").stdout, `"refused":1`)

	store, err := fleet.Open(t.Context(), filepath.Join(s.dir, "tokenpatch.db"))
	require.NoError(t, err)
	require.NoError(t, store.Delete(t.Context(), "a.jsonl"))
	require.NoError(t, store.Close())
	s.run(0, "apply", "a.jsonl")
	assert.Contains(t, s.run(0, "report", "-format", "html").stdout, `"refused":0`)
}

func TestCredentials(t *testing.T) {
	s := newShell(t)
	s.mixed()
	all := s.env
	s.env = all[:5]
	assert.Contains(t, s.run(1, "apply", "mixed.jsonl").stderr, "mixed.jsonl: line 3 is about a token of V1: want DEEPSET_API_KEY in the environment")
	s.env = append(all[:3:3], all[5:]...)
	assert.Contains(t, s.run(1, "plan", "mixed.jsonl").stderr, "line 1 is about a token of V2: want LAUNCHDARKLY_ACCESS_TOKEN in the environment")
	assert.NoFileExists(t, filepath.Join(s.dir, "tokenpatch.db"))
	assert.Zero(t, s.service.RequestCount())

	s.env = all
	s.service.SetCredentials("other", "other")
	s.tokens(40)
	var many strings.Builder
	for i := range 40 {
		fmt.Fprintf(&many, `{"api":"v2","id":"token%d","want":{"role":"reader"}}`+"\n", i)
	}
	s.file("many.jsonl", many.String())
	e := s.run(3, "apply", "many.jsonl")
	assert.Contains(t, e.stdout, "it stopped: the credential was refused 5 times in a row")
	assert.Less(t, s.service.RequestCount(), 30)
	s.service.SetCredentials(tokenpatchtest.APIKey, tokenpatchtest.AccessToken)
	s.run(0, "retry")
	all, s.env = s.env, s.env[:3]
	assert.Contains(t, s.run(1, "apply", "-run", "many.jsonl").stderr, ` of run "many.jsonl" is a token of V2: want LAUNCHDARKLY_ACCESS_TOKEN`)
	s.env = all
	s.run(0, "apply", "many.jsonl")
}

func TestUsage(t *testing.T) {
	s := newShell(t)
	for want, args := range map[string][]string{
		"no such command; did you mean apply?":             {"aply"},
		"no such command: want one of plan, apply, status": {"delete"},
		"no such flag: -worker; did you mean -workers?":    {"apply", "-worker", "3", "a"},
		`-format "cvs"; did you mean csv?`:                 {"report", "-format", "cvs"},
		"-stop-after: want a part of the whole, such as":   {"apply", "-stop-after", "110%", "a"},
		"want a FILE":                                               {"apply"},
		"want either a FILE or -revert":                             {"plan"},
		`"b": want FILE after the flags`:                            {"apply", "a", "b"},
		`"a": want nothing after the flags`:                         {"status", "a"},
		"no such flag: -x; tokenpatch apply -h lists them":          {"apply", "-x"},
		"-workers 2000: want 1 to 1000":                             {"apply", "-workers", "2000", "a"},
		"-workers 0: want 1 to 1000":                                {"apply", "-workers", "0", "a"},
		"-timeout 0s: want a time such as 30s":                      {"plan", "-timeout", "0", "a"},
		`-progress "fast": want one of auto, bar, plain, none`:      {"apply", "-progress", "fast", "a"},
		`-format "xml": want one of text, csv, json, html`:          {"report", "-format", "xml"},
		`-outcome "applied": want one of not_applied, unknown`:      {"retry", "-outcome", "applied"},
		"-stop-after 100%: want less than all, such as 10%":         {"apply", "-stop-after", "100%", "a"},
		"-http \":8080\": want a loopback address":                  {"apply", "-http", ":8080", "a"},
		"-http \"example.com:80\": want a loopback address":         {"apply", "-http", "example.com:80", "a"},
		"-db mysql://...: want a file, or a URL that begins with p": {"status", "-db", "mysql://a/b"},
		"-db: the URL has a password: want it in PGPASSWORD":        {"status", "-db", "postgres://a:Xyzzy@b/c"},
		"-db: the URL has a password: want it in PGPASSWORD, or ":   {"status", "-db", "postgres://a@b/c?password=Xyzzy"},
		"-db: want a file, or a URL such as postgres://user@host":   {"status", "-db", "postgres://a:Xyzzy@b:c"},
	} {
		e := s.run(2, args...)
		assert.Contains(t, e.stderr, want, args)
		assert.NotContains(t, e.stderr, "Xyzzy")
		assert.Empty(t, e.stdout)
	}
}

func TestHelpFitsAScreen(t *testing.T) {
	s := newShell(t)
	all := [][]string{{}, {"-h"}, {"help"}}
	for _, command := range []string{"plan", "apply", "status", "report", "retry", "list", "demo"} {
		all = append(all, []string{command, "-h"})
	}
	for _, args := range all {
		e := s.run(0, args...)
		lines := strings.Split(strings.TrimSuffix(e.stdout, "\n"), "\n")
		assert.LessOrEqual(t, len(lines), 24, args)
		for _, line := range lines {
			assert.LessOrEqual(t, len(line), 80, "%v: %s", args, line)
		}
		if len(args) == 2 {
			assert.Contains(t, e.stdout, "Example:\n  tokenpatch "+args[0])
		}
	}
}

// An interrupt waits for what was sent; the same command then goes on.
func TestInterrupt(t *testing.T) {
	s := newShell(t)
	s.many(60)
	s.service.SetLatency(200 * time.Millisecond)
	p := s.start("", "apply", "-workers", "4", "many.jsonl")
	s.until(func() bool { return s.changed(60) > 6 })
	require.NoError(t, p.Process.Signal(os.Interrupt))
	e := p.end()
	assert.Equal(t, 130, e.status, e.stderr)
	assert.Contains(t, e.stderr, "tokenpatch apply: stopping: waiting for requests in flight; interrupt again to stop at once")
	assert.Contains(t, e.stdout, "the same command goes on with what is pending")
	assert.Contains(t, e.stdout, fmt.Sprintf("%d applied, 0 not applied, 0 unknown, %d pending", s.changed(60), 60-s.changed(60)), "the report is true at once")
	s.service.SetLatency(0)
	s.run(0, "apply", "many.jsonl")
	for i := range 60 {
		assert.Equal(t, 1, s.service.Changes(fmt.Sprint("token", i)))
	}
}

func TestSecondInterrupt(t *testing.T) {
	s := newShell(t)
	s.many(1)
	s.service.Inject(tokenpatchtest.Fault{Times: -1, Delay: time.Minute})
	p := s.start("", "apply", "many.jsonl")
	s.until(func() bool { return s.service.RequestCount() > 0 })
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	time.Sleep(300 * time.Millisecond)
	require.NoError(t, p.Process.Signal(syscall.SIGINT))
	began := time.Now()
	assert.Equal(t, 130, p.end().status)
	assert.Less(t, time.Since(began), 5*time.Second)
}

// many adds n tokens, and the file many.jsonl with a change for each.
func (s *shell) many(n int) {
	s.t.Helper()
	s.tokens(n)
	var changes strings.Builder
	for i := range n {
		fmt.Fprintf(&changes, `{"api":"v2","id":"token%d","want":{"role":"reader","name":"ci %d, reviewed"},"comment":"quarterly review"}`+"\n", i, i)
	}
	s.file("many.jsonl", changes.String())
}

// changed is how many changes were made to the first n tokens.
func (s *shell) changed(n int) (changes int) {
	for i := range n {
		changes += s.service.Changes(fmt.Sprint("token", i))
	}
	return changes
}

func (s *shell) until(done func() bool) {
	s.t.Helper()
	require.Eventually(s.t, done, time.Minute, 5*time.Millisecond)
}
