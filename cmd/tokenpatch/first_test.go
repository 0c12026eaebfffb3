package main_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// Whoever meets the command for the first time is told what to do next.
func TestFirstSteps(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(1)
	assert.Contains(t, s.run(0, "version").stdout, "tokenpatch ")
	assert.Equal(t, s.run(0, "plan", "-h").stdout, s.run(0, "help", "plan").stdout)
	assert.Equal(t, "tokenpatch status: there is no database tokenpatch.db here yet: tokenpatch apply makes it, and -db names another\n",
		s.run(1, "status").stderr)
	s.file("no.db", strings.Repeat("no database\n", 100))
	assert.Equal(t, "tokenpatch status: fleet: open \"no.db\": not a SQLite database\n", s.run(1, "status", "-db", "no.db").stderr)

	s.file("x.jsonl", `{"api":"v2","id":"token0","want":{"role":"reader"}}
{"api":"v2","id":"nobody","want":{"role":"reader"}}`)
	assert.Contains(t, s.run(3, "apply", "x.jsonl").stdout, "\nnext: tokenpatch report -run x, for the reasons and what to do\n")
	assert.Contains(t, s.run(0, "report", "-run", "x").stdout, "404")
	assert.Contains(t, s.run(1, "report", "-o", "none/x.html").stderr, "-o none/x.html: no such file or directory")
	s.env = append(s.env, "LAUNCHDARKLY_API_HOST=http://example.com")
	assert.Contains(t, s.run(1, "list").stderr, `tokenpatch list: LAUNCHDARKLY_API_HOST: "http://example.com": want https`)
	s.env[len(s.env)-1] = `LAUNCHDARKLY_ACCESS_TOKEN="api-quoted"`
	assert.Equal(t, "tokenpatch list: LAUNCHDARKLY_ACCESS_TOKEN: a credential in quotes: want the credential without the quotes around it\n",
		s.run(1, "list").stderr)
	s.env[len(s.env)-1] = "LAUNCHDARKLY_ACCESS_TOKEN=another"
	assert.Regexp(t, `^tokenpatch list: GET \S+: 401 .*; check LAUNCHDARKLY_ACCESS_TOKEN\n$`, s.run(1, "list").stderr)
	s.env = s.env[:len(s.env)-1]
	s.run(0, "retry", "-all")
	s.run(3, "apply", "-run", "x")
	assert.Equal(t, "x: there is nothing to retry\n", s.run(0, "retry", "-outcome", "unknown").stdout)
}

// An unreachable service is named while the run waits for it.
func TestTheReasonForWaiting(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(1)
	s.service.Inject(tokenpatchtest.Fault{ // the call waits for longer than it takes to say so
		Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/token0") },
		Times: -1, Status: http.StatusInternalServerError, Header: http.Header{"Retry-After": {"25"}},
	})
	s.file("x.jsonl", `{"api":"v2","id":"token0","want":{"role":"reader"}}`)
	p := s.start("", "apply", "-progress", "plain", "x.jsonl")
	s.until(func() bool { return strings.Contains(p.stderr.String(), "waits for another attempt: status 500 ") })
	require.NoError(t, p.Process.Kill())
	_ = p.Wait()
}
