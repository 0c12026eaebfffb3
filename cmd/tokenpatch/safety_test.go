package main_test

import (
	"database/sql"
	"encoding/csv"
	"errors"
	"fmt"
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

// Texts of a service are shown, and executed by nobody: not by a terminal, a spreadsheet or a
// browser.
func TestHostileTexts(t *testing.T) {
	onlyText(t)
	t.Parallel()
	s := newShell(t)
	const evil = "=cmd|' /C calc'!A0 \x1b]0;owned\a\u202e\u009b31m<script>alert(1)</script>"
	s.file("x.jsonl", `{"api":"v2","id":"=1+1","want":{"role":"reader"}}
{"api":"v2","id":"<script>alert(1)</script>","want":{"role":"reader"}}`)
	body := fmt.Sprintf(`{"code":%q,"message":%q}`, "=code", evil)
	body = strings.NewReplacer(`\a`, `\u0007`, `\x1b`, `\u001b`).Replace(body)
	s.service.Inject(tokenpatchtest.Fault{Times: -1, Status: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/json"}}, Body: body})
	e := s.run(3, "apply", "x.jsonl")
	texts := e.stdout + e.stderr + s.run(0, "plan", "x.jsonl").stdout
	s.service.ClearFaults()
	require.NoError(t, s.service.AddV2(`{"_id":"named","name":"=a \u001b]0;b\u0007\u202e\u009b31m","role":"writer"}`))
	s.file("named.jsonl", `{"id":"named","want":{"role":"reader"},"comment":"=c \u001b]0;d\u0007\u202e\u009b31m"}`)
	for _, command := range [][]string{{"plan", "named.jsonl"}, {"list"}, {"list", "-format", "csv"}, {"list", "-format", "json"}, {"audit"}} {
		texts += s.run(0, command...).stdout
	}
	for _, format := range []string{"text", "csv", "json"} {
		texts += s.run(0, "report", "-format", format).stdout
	}
	assert.Contains(t, texts, "=a")
	for _, control := range []string{"\x1b", "\a", "\u202e", "\u009b"} {
		assert.NotContains(t, texts, control)
	}
	records, err := csv.NewReader(strings.NewReader(s.run(0, "report", "-format", "csv").stdout)).ReadAll()
	require.NoError(t, err)
	assert.Equal(t, "'=1+1", records[1][1])
	assert.Equal(t, "'=code", records[1][9])
	for _, record := range records {
		for _, cell := range record {
			assert.False(t, cell != "" && strings.ContainsRune("=+-@", rune(cell[0])), cell)
		}
	}
	page := s.run(0, "report", "-format", "html").stdout
	assert.NotContains(t, page, "<script>alert")
	assert.Contains(t, page, `\u003cscript\u003ealert(1)`)
}

// A spreadsheet set to semicolons finds other cells in a report: none of them is a formula either.
func TestFormulasBehindSeparators(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	const evil = "x;=1+1; ＝2+2;+3;\t-4;@5|=6"
	require.NoError(t, s.service.AddV2(`{"_id":"a","name":"`+strings.ReplaceAll(evil, "\t", `\t`)+`","role":"writer"}`))
	s.file("x.jsonl", `{"id":"a","want":{"role":"reader"},"comment":"＝7"}`)
	s.run(0, "apply", "x.jsonl")
	report := s.run(0, "report", "-format", "csv").stdout
	for _, separator := range ",;|" {
		for line := range strings.SplitSeq(report, "\n") {
			for cell := range strings.SplitSeq(line, string(separator)) {
				cell = strings.TrimLeft(cell, "\" ")
				assert.False(t, cell != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(cell)[0]), "%q in %q", cell, line)
			}
		}
	}
}

// The four outcomes have an exit status each, and what may not be sent twice is not.
func TestUnknown(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(2)
	require.NoError(t, s.service.AddV2(`{"_id":"token0","name":"ci 0","customRoleIds":["qa"]}`))
	s.file("x.jsonl", `{"api":"v2","id":"token0","patch":[{"op":"add","path":"/customRoleIds/-","value":"ops"}]}
{"api":"v2","id":"nobody","want":{"role":"reader"}}`)
	s.service.Inject(tokenpatchtest.Fault{Match: patches, Cut: tokenpatchtest.CutBefore, Times: -1})
	e := s.run(4, "apply", "-timeout", "1s", "x.jsonl")
	assert.Contains(t, e.stdout, "0 applied, 1 not applied, 1 unknown")
	for _, command := range []string{"report", "status"} {
		s.run(0, command)
		s.run(4, command, "-detailed-exitcode")
	}
	s.service.ClearFaults()

	assert.Contains(t, s.run(0, "retry", "-outcome", "unknown").stdout, "1 change is pending again")
	s.run(4, "apply", "-timeout", "1s", "-run", "x")
	assert.Zero(t, s.service.Changes("token0"), "it may have been applied, and is not sent again")
	s.run(0, "retry", "-outcome", "unknown", "-even-if-applied")
	s.run(3, "apply", "-timeout", "1s", "-run", "x")
	assert.Equal(t, 1, s.service.Changes("token0"))
}

func patches(r *http.Request) bool { return r.Method == http.MethodPatch }

// A file of the database is its owner's alone, and holds no secret.
func TestTheDatabaseHoldsNoSecret(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	require.NoError(t, s.service.AddV2(`{"_id":"a","name":"a","role":"writer","token":"Xyzzy12345"}`))
	s.file("x.jsonl", `{"api":"v2","id":"a","want":{"role":"reader"}}`)
	s.run(0, "apply", "x.jsonl")
	entries, err := os.ReadDir(s.dir)
	require.NoError(t, err)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "tokenpatch.db") {
			continue
		}
		info, err := entry.Info()
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), entry.Name())
		content := s.text(entry.Name())
		for _, secret := range []string{"2345", tokenpatchtest.AccessToken, tokenpatchtest.APIKey} {
			assert.NotContains(t, content, `"`+secret)
			assert.NotContains(t, content, secret+`"`)
		}
	}
}

// Looking at a run writes nothing: neither the database nor its mode changes.
func TestLookingWritesNothing(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(3)
	s.run(0, "plan", "-o", "approved.jsonl", "many.jsonl")
	s.run(0, "apply", "approved.jsonl")
	path := filepath.Join(s.dir, "tokenpatch.db")
	require.NoError(t, os.Chmod(path, 0o444))
	before := s.text("tokenpatch.db")
	for _, args := range [][]string{{"status"}, {"report"}, {"report", "-format", "html"}, {"__complete", "report", "-run", ""}} {
		assert.Contains(t, s.run(0, args...).stdout, "approved", args)
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o444), info.Mode().Perm())
	assert.Equal(t, before, s.text("tokenpatch.db"))
}

// A database of something else is refused by those who look, and stays as it is.
func TestLookingAtAnotherDatabase(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	db, err := sql.Open("sqlite", filepath.Join(s.dir, "theirs.db"))
	require.NoError(t, err)
	_, err = db.Exec("CREATE TABLE theirs (x)")
	require.NoError(t, errors.Join(err, db.Close()))
	require.NoError(t, os.Chmod(filepath.Join(s.dir, "theirs.db"), 0o644))
	before := s.text("theirs.db")
	for _, command := range []string{"status", "report"} {
		assert.Contains(t, s.run(1, command, "-db", "theirs.db").stderr, "want a database with runs")
	}
	info, err := os.Stat(filepath.Join(s.dir, "theirs.db"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), info.Mode().Perm())
	assert.Equal(t, before, s.text("theirs.db"))
}

// Too many failures stop a run by themselves.
func TestStopAfter(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(200)
	for i := range 200 {
		if i%2 == 0 {
			s.service.Remove(fmt.Sprint("token", i))
		}
	}
	e := s.run(3, "apply", "-stop-after", "0.2", "-workers", "2", "many.jsonl")
	assert.Regexp(t, `stopped: \d+ of \d+ changes failed`, e.stdout)
	assert.Less(t, s.changed(200), 40)
}

// Without a terminal there is a line now and then, and the page if requested.
func TestProgressAndPage(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(40)
	s.service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: time.Second, Global: 20})
	p := s.start("", "apply", "-http", "127.0.0.1:0", "many.jsonl")
	var url string
	s.until(func() bool {
		_, after, found := strings.Cut(p.stderr.String(), "the page is at ")
		url, _, _ = strings.Cut(after, "\n")
		return found && url != ""
	})
	response, err := http.Get(url)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, 200, response.StatusCode)
	e := p.end()
	assert.Equal(t, 0, e.status, e.stderr)
	assert.Regexp(t, `(?m)^\d\d:\d\d:\d\d  \d+/40 0 not applied, 0 unknown`, e.stderr)
	assert.Empty(t, s.refused(), "the budget is kept to")
	assert.NotContains(t, s.run(0, "apply", "-progress", "none", "many.jsonl").stderr, "not applied,")
}

// refused are the requests refused by the rate limit.
func (s *shell) refused() (refused []string) {
	for _, request := range s.service.Requests() {
		if request.Status == http.StatusTooManyRequests {
			refused = append(refused, request.Route)
		}
	}
	return refused
}
