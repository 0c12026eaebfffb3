package main_test

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	t.Parallel()
	s := newShell(t)
	s.mixed()
	e := s.run(3, "apply", "mixed.jsonl")
	assert.Equal(t, "mixed: 6 changes: 5 applied, 1 not applied, 0 unknown, 0 pending\nnext: tokenpatch report -run mixed, for the reasons and what to do\n", e.stdout)
	for id, changes := range map[string]int{"token0": 1, "token1": 1, v1Token: 1, "token2": 1, "token3": 0} {
		assert.Equal(t, changes, s.service.Changes(id), id)
	}
	token, _ := s.service.V2("token2")
	assert.JSONEq(t, `["`+opsID+`"]`, string(members(t, token)["customRoleIds"]))
	assert.Regexp(t, `^{"comment":"quarterly review","patch":\[{"op":"test","path":"/role","value":"writer"},.*{"op":"replace","path":"/role","value":"reader"}\]}$`,
		string(s.service.History("token0")[0].Body))

	records, err := csv.NewReader(strings.NewReader(s.run(0, "report", "-format", "csv").stdout)).ReadAll()
	require.NoError(t, err)
	assert.Equal(t, strings.Split("api,id,name,outcome,change,comment,attempts,reason,status,code,error,started,ended", ","), records[0])
	var ids []string
	for _, record := range records[1:] {
		ids = append(ids, record[1])
		_, err := time.Parse(time.RFC3339, record[12])
		assert.NoError(t, err)
	}
	assert.Equal(t, []string{"token0", "token1", v1Token, "token2", "token3", "nobody"}, ids)
	assert.Equal(t, []string{"v2", "token3", "", "applied", "", "", "0", ""}, records[5][:8])
	assert.Equal(t, []string{"v2", "nobody", "", "not_applied", `role: (not known) → "reader"`, "", "0", "no such token", "404", "not_found"}, records[6][:10])
	assert.Equal(t, []string{"v2", "token0", "ci 0", "applied", `role: "writer" → "reader"`, "quarterly review", "1", ""}, records[1][:8])

	lines := strings.Split(strings.TrimSpace(s.run(0, "report", "-format", "json").stdout), "\n")
	require.Len(t, lines, 6)
	var first struct{ API, ID, Outcome string }
	require.NoError(t, json.Unmarshal([]byte(lines[2]), &first))
	assert.Equal(t, "v1 "+v1Token+" applied", first.API+" "+first.ID+" "+first.Outcome)
	assert.Contains(t, s.run(3, "report", "-detailed-exitcode").stdout, "not applied  v2  nobody  no such token  20")
	assert.Contains(t, s.run(0, "status").stdout, "5 applied, 1 not applied")

	before := s.service.RequestCount()
	e = s.run(3, "apply", "mixed.jsonl")
	assert.Contains(t, e.stderr, "mixed is finished since 20")
	assert.Contains(t, e.stdout, "5 applied, 1 not applied")
	assert.Equal(t, before, s.service.RequestCount(), "nothing is sent again")
}

func members(t testing.TB, object []byte) (m map[string]json.RawMessage) {
	t.Helper()
	require.NoError(t, json.Unmarshal(object, &m))
	return m
}

// A change that would fail again stays as it is, unless -all is given.
func TestRetry(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.mixed()
	s.service.Inject(tokenpatchtest.Fault{
		Match: func(r *http.Request) bool {
			return r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "token0")
		}, Status: http.StatusForbidden,
	})
	s.run(3, "apply", "mixed.jsonl")
	assert.Equal(t, "mixed: left out 1 change that would fail again, as the report explains; -all includes them\n"+
		"mixed: 1 change is pending again; next: tokenpatch apply -run mixed\n", s.run(0, "retry").stdout)
	assert.Contains(t, s.run(3, "apply", "-run", "mixed").stdout, "5 applied, 1 not applied")
	require.NoError(t, s.service.AddV2(`{"_id":"nobody","name":"late","role":"writer"}`))
	assert.Contains(t, s.run(0, "retry").stdout, "mixed: there is nothing to retry\n")
	assert.Contains(t, s.run(0, "retry", "-all").stdout, "1 change is pending again")
	assert.Contains(t, s.run(0, "apply", "-run", "mixed").stdout, "6 applied")
	assert.Equal(t, 1, s.service.Changes("nobody"))
	assert.Equal(t, 1, s.service.Changes("token0"))
}

func TestStandardInputNeedsARun(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(1)
	assert.Contains(t, s.run(2, "apply", "-").stderr, "want -run")
	change := `{"api":"v2","id":"token0","want":{"role":"reader"}}`
	e := s.start(change, "apply", "-", "-run", "x").end()
	require.Equal(t, 0, e.status, e.stderr)
	assert.Equal(t, 1, s.service.Changes("token0"))

	command := exec.Command("bash", "-c", binary+` apply -run y <(echo id,role; echo token0,admin) && `+binary+` plan <(echo id,role; echo token0,admin)`)
	command.Dir, command.Env = s.dir, s.env
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, 2, s.service.Changes("token0"))
	assert.Contains(t, string(out), ": 0 of 1 token would change\n")
}

// What is wrong with a file is told before anything is sent, stored or made.
func TestMistakesInAFile(t *testing.T) {
	t.Parallel()
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

// An unknown custom role is a mistake in FILE. The file can be corrected, and applied by its name.
func TestUnknownCustomRoles(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(3)
	require.NoError(t, s.service.AddRole(`{"_id":"`+opsID+`","key":"ops"}`))
	const text = "id,addCustomRoleIds\ntoken0,opss\ntoken1,ops\ntoken2,opss\n"
	s.file("k.csv", text)
	const want = `addCustomRoleIds: "opss": want the key or the id of a custom role of the account; did you mean ops?`
	assert.Contains(t, s.run(1, "plan", "-o", "k.jsonl", "k.csv").stderr, "\ntokenpatch plan: k.csv: lines 2, 4: "+want+"\n")
	assert.NoFileExists(t, filepath.Join(s.dir, "k.jsonl"))
	e := s.run(1, "apply", "k.csv")
	assert.Contains(t, e.stderr, "\ntokenpatch apply: k.csv: "+want+"\ntokenpatch apply: 2 changes of k.csv, the first of token token0, cannot be made: nothing was sent\n")
	assert.NoFileExists(t, filepath.Join(s.dir, "k.csv.started"))
	s.file("k.csv", strings.ReplaceAll(text, "opss", "ops"))
	assert.Contains(t, s.run(0, "apply", "k.csv").stdout, "k: 3 changes: 3 applied")
	assert.Contains(t, s.run(0, "report").stdout, "customRoleIds: + ops ("+opsID+")\n")
}

// The name of a finished run is free for other changes; an unfinished run keeps it.
func TestNamesOfRuns(t *testing.T) {
	onlyText(t)
	t.Parallel()
	s := newShell(t)
	s.tokens(4)
	change := func(id, role string) string { return `{"api":"v2","id":"` + id + `","want":{"role":"` + role + `"}}` }
	s.file("a.jsonl", change("token0", "reader"))
	s.run(0, "apply", "a.jsonl")
	e := s.run(0, "apply", "a.jsonl")
	assert.Regexp(t, `^a is finished since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d; -again checks each token, and changes what has drifted\n$`, e.stderr)
	assert.Equal(t, "a: 1 change: 1 applied, 0 not applied, 0 unknown, 0 pending\n", e.stdout)

	s.file("a.jsonl", change("token1", "reader"))
	e = s.run(0, "apply", "a.jsonl")
	assert.Contains(t, e.stderr, "run a is finished and has other changes: this run is a-2\n")
	assert.Contains(t, e.stdout, "a-2: 1 change: 1 applied")
	assert.Equal(t, 1, s.service.Changes("token1"))
	assert.Contains(t, s.run(0, "apply", "a.jsonl").stderr, "a-2 is finished since")
	assert.Equal(t, "run a-2, the newest; -run names another\n", s.run(0, "report").stderr)
	assert.Contains(t, s.run(2, "retry").stderr, "want -run with one of a, a-2")

	s.service.Inject(tokenpatchtest.Fault{Match: patches, Times: -1, Delay: time.Hour})
	s.file("a.jsonl", change("token3", "admin"))
	p := s.start("", "apply", "-run", "b", "a.jsonl")
	s.until(func() bool {
		return slices.ContainsFunc(s.service.Requests(), func(r tokenpatchtest.Request) bool { return r.Status == 0 })
	})
	require.NoError(t, p.Process.Kill())
	_ = p.Wait()
	s.file("a.jsonl", change("token2", "reader"))
	assert.Contains(t, s.run(1, "apply", "-run", "b", "a.jsonl").stderr, `run "b" has other changes than a.jsonl, and is not finished: want another name with -run, or -add to add to it`)
	s.service.ClearFaults()
	assert.Contains(t, s.run(0, "apply", "-add", "-run", "b", "-timeout", "1s", "a.jsonl").stdout, "b: 2 changes: 2 applied")
	s.file("a.jsonl", change("token2", "admin"))
	assert.Contains(t, s.run(1, "apply", "-add", "-run", "b", "a.jsonl").stderr, "token2")
}

// A finished run is checked again if requested: tokens that were changed since are changed again.
func TestAgain(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(2)
	s.file("a.jsonl", `{"id":"token0","want":{"role":"reader"}}{"id":"token1","want":{"role":"reader"}}`)
	s.run(0, "plan", "-o", "approved.jsonl", "a.jsonl")
	s.run(0, "apply", "a.jsonl")
	require.NoError(t, s.service.AddV2(`{"_id":"token1","name":"ci","role":"admin"}`))
	e := s.run(0, "apply", "-again", "a.jsonl")
	assert.Contains(t, e.stderr, "a: checking 2 changes again\n")
	assert.Equal(t, []int{1, 2}, []int{s.service.Changes("token0"), s.service.Changes("token1")})
	s.run(3, "apply", "approved.jsonl")
	assert.Contains(t, s.run(1, "apply", "-again", "approved.jsonl").stderr, "there is nothing to check again: patches are for the tokens as they were; plan again")
}

// What is applied is what was approved, and no more than expected.
func TestApplyChecksWhatItIsGiven(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(4)
	s.run(0, "plan", "-o", "approved.jsonl", "many.jsonl")
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(s.text("approved.jsonl"))))
	e := s.run(1, "apply", "-digest", strings.Repeat("0", 64), "approved.jsonl")
	assert.Contains(t, e.stderr, "approved.jsonl has the sha256 "+sum+", not the one of -digest: it is not what was approved")
	assert.Contains(t, s.run(1, "apply", "-max-changes", "3", "approved.jsonl").stderr, "4 changes are more than -max-changes 3: nothing was saved or sent")
	assert.Contains(t, s.run(1, "apply", "-max-percent", "50%", "approved.jsonl").stderr, "4 changes of 4 rows are more than -max-percent 50%")
	assert.NoFileExists(t, filepath.Join(s.dir, "tokenpatch.db"))
	assert.Equal(t, 5, s.service.RequestCount(), "the plan's, which asks whose credential it is too")
	e = s.run(0, "apply", "-digest", strings.ToUpper(sum), "-max-changes", "4", "-share", "50%", "approved.jsonl")
	assert.Contains(t, e.stderr, "approved.jsonl: 4 changes (sha256 "+sum+")\n")
}

// On a terminal apply asks once.
func TestApplyAsks(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(2)
	for answer, status := range map[string]int{"n\r": 1, "\r": 1, "\x03": 130} {
		written, got := s.answered(answer, "apply", "many.jsonl")
		assert.Equal(t, status, got, written)
		assert.Contains(t, written, "Apply 2 changes to account "+tokenpatchtest.AccountID+" as tokenpatchtest? [y/N] ")
		assert.Zero(t, s.changed(2))
		assert.NoFileExists(t, filepath.Join(s.dir, "many.jsonl.started"))
	}
	written, status := s.answered("Yes\r", "apply", "many.jsonl")
	assert.Zero(t, status, written)
	assert.Equal(t, 1, strings.Count(written, "credential tokenpatchtest"))
	assert.Equal(t, 2, s.changed(2))
	s.terminal("apply", "-yes", "-run", "other", "many.jsonl") // nobody answers
}

// What is to be typed next works in a shell, also with names that have blanks, and in another database.
func TestWhatToTypeNext(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(1)
	s.file("it's mine.csv", "id,role\ntoken0,reader\nnobody,reader\n")
	e := s.run(3, "apply", "-db", "my runs.db", "it's mine.csv")
	assert.Contains(t, e.stdout, `next: tokenpatch report -run 'it'\''s mine' -db 'my runs.db', for`)
	s.run(0, "plan", "-o", "approved now.jsonl", "it's mine.csv")
	found := regexp.MustCompile(`next: (tokenpatch apply .*)\n`).FindStringSubmatch(s.run(0, "plan", "-o", "approved now.jsonl", "it's mine.csv").stderr)
	require.NotNil(t, found)
	command := exec.Command("sh", "-c", found[1])
	command.Dir, command.Env = s.dir, append(s.env, "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// A database that is missing is noticed: some of the changes may have been made.
func TestAMissingDatabase(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(2)
	s.run(0, "plan", "-o", "approved.jsonl", "many.jsonl")
	s.run(0, "apply", "approved.jsonl")
	assert.FileExists(t, filepath.Join(s.dir, "approved.jsonl.started"))
	in := func(name string) string { return filepath.Join(s.dir, name) }
	require.NoError(t, os.Rename(in("tokenpatch.db"), in("moved.db")))
	lost := regexp.MustCompile(`approved.jsonl.started: the changes were started before, at 20\d\d-.*, and the run "approved" is not in .*; some of them may have been made: want the database as it was, or -fresh`)
	assert.Regexp(t, lost, s.run(1, "apply", "approved.jsonl").stderr)
	assert.Regexp(t, `want -db /.*/tokenpatch.db, or -fresh`, s.run(1, "apply", "-db", "another.db", "approved.jsonl").stderr)
	assert.NoFileExists(t, in("tokenpatch.db"), "no other database is made in its place")
	s.file("other.jsonl", `{"id":"token0","want":{"role":"admin"}}`)
	s.run(0, "apply", "other.jsonl")
	assert.Regexp(t, lost, s.run(1, "apply", "approved.jsonl").stderr, "a database without the run")
	assert.Contains(t, s.run(0, "apply", "-db", "moved.db", "approved.jsonl").stderr, "approved is finished since")
	before := s.changed(2)
	s.run(3, "apply", "-fresh", "approved.jsonl") // the patches are guarded
	assert.Equal(t, before, s.changed(2))
	s.file("approved.jsonl.started", "nonsense")
	assert.Contains(t, s.run(1, "apply", "approved.jsonl").stderr, "want what tokenpatch apply wrote, or -fresh")
}

// A run made again after its deletion shows nothing of the one before.
func TestADeletedRunIsForgotten(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(1)
	s.file("a.jsonl", `{"api":"v2","id":"token0","want":{"role":"reader"}}`)
	s.service.Inject(tokenpatchtest.Fault{Match: patches, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}})
	s.run(0, "apply", "a.jsonl")
	assert.Contains(t, s.run(0, "report", "-format", "html").stdout, `"refused":1`)

	store, err := fleet.Open(t.Context(), filepath.Join(s.dir, "tokenpatch.db"))
	require.NoError(t, err)
	require.NoError(t, store.Delete(t.Context(), "a"))
	require.NoError(t, store.Close())
	s.run(0, "apply", "-fresh", "a.jsonl")
	assert.Contains(t, s.run(0, "report", "-format", "html").stdout, `"refused":0`)
}

func TestCredentials(t *testing.T) {
	t.Parallel()
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
	assert.Contains(t, e.stdout, "stopped: the credential was refused 5 times in a row")
	assert.Contains(t, e.stdout, "next: tokenpatch retry -run many && tokenpatch apply -run many, to resume with what was refused\n")
	assert.Less(t, s.service.RequestCount(), 30)
	s.service.SetCredentials(tokenpatchtest.APIKey, tokenpatchtest.AccessToken)
	s.run(0, "retry")
	all, s.env = s.env, s.env[:3]
	assert.Contains(t, s.run(1, "apply", "-run", "many").stderr, `run "many" has changes of V2: want LAUNCHDARKLY_ACCESS_TOKEN`)
	s.env = all
	s.run(0, "apply", "many.jsonl")
}

func TestUsage(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for want, args := range map[string][]string{
		"no such command; did you mean apply?":            {"aply"},
		"no such command: want one of plan, apply, retry": {"delete"},
		"no such flag: -worker; did you mean -workers?":   {"apply", "-worker", "3", "a"},
		`-format "cvs"; did you mean csv?`:                {"report", "-format", "cvs"},
		"-stop-after: want a part of the whole, such as":  {"apply", "-stop-after", "110%", "a"},
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
	onlyText(t)
	t.Parallel()
	s := newShell(t)
	all := [][]string{{}, {"-h"}, {"help"}}
	for _, command := range []string{"plan", "apply", "status", "report", "retry", "list", "demo"} {
		all = append(all, []string{command, "-h"})
	}
	for _, args := range all {
		e := s.run(0, args...)
		lines := strings.Split(strings.TrimSuffix(e.stdout, "\n"), "\n")
		assert.LessOrEqual(t, len(lines), 28, args)
		for _, line := range lines {
			assert.LessOrEqual(t, len(line), 80, "%v: %s", args, line)
		}
		if len(args) == 2 {
			assert.Contains(t, e.stdout, "Example:\n  tokenpatch "+args[0])
		}
	}
}

// An interrupt waits for what was sent; the same command then resumes.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(60)
	s.service.SetLatency(200 * time.Millisecond)
	p := s.start("", "apply", "-workers", "4", "many.jsonl")
	s.until(func() bool { return s.changed(60) > 6 })
	require.NoError(t, p.Process.Signal(os.Interrupt))
	e := p.end()
	assert.Equal(t, 130, e.status, e.stderr)
	assert.Contains(t, e.stderr, "tokenpatch apply: stopping: waiting for requests in flight; interrupt again to stop at once")
	assert.Contains(t, e.stdout, "next: tokenpatch apply -run many, to resume\n")
	assert.Contains(t, e.stdout, fmt.Sprintf("%d applied, 0 not applied, 0 unknown, %d pending", s.changed(60), 60-s.changed(60)), "the report is true at once")
	s.service.SetLatency(0)
	s.run(0, "apply", "many.jsonl")
	for i := range 60 {
		assert.Equal(t, 1, s.service.Changes(fmt.Sprint("token", i)))
	}
}

func TestSecondInterrupt(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(1)
	s.service.Inject(tokenpatchtest.Fault{Times: -1, Delay: time.Minute})
	p := s.start("", "apply", "many.jsonl")
	s.until(func() bool { return s.service.RequestCount() > 0 })
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
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
	require.Eventually(s.t, done, 2*time.Minute, 5*time.Millisecond)
}
