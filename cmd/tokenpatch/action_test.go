package main_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// github is as much of GitHub as the scripts of the action need: comments, and what a runner has in its environment.
type github struct {
	*shell
	comments []map[string]any
	methods  []string // of writes
}

func newGithub(t *testing.T) *github {
	if _, err := os.Stat("../../action/action.yml"); err != nil {
		t.Skip("SKIPPED: the module is alone")
	}
	for _, program := range []string{"bash", "jq", "curl", "shasum"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("SKIPPED: there is no ", program)
		}
	}
	g := &github{shell: newShell(t), comments: []map[string]any{}}
	server := httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(server.Close)
	g.file("event.json", `{"pull_request":{"number":7}}`)
	g.env = append(g.env, "RUNNER_TEMP="+g.dir, "GITHUB_OUTPUT="+g.dir+"/output", "GITHUB_STEP_SUMMARY="+g.dir+"/summary",
		"GITHUB_EVENT_PATH="+g.dir+"/event.json", "GITHUB_API_URL="+server.URL, "GITHUB_SERVER_URL=https://github.com",
		"GITHUB_REPOSITORY=o/r", "GITHUB_RUN_ID=1", "GITHUB_TOKEN=xyzzy", "DB=tokenpatch.db",
		"PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	return g
}

func (g *github) serve(w http.ResponseWriter, r *http.Request) {
	assert.Equal(g.t, "Bearer xyzzy", r.Header.Get("Authorization"))
	if r.Method == http.MethodGet {
		assert.Equal(g.t, "/repos/o/r/issues/7/comments", r.URL.Path)
		assert.NoError(g.t, json.NewEncoder(w).Encode(g.comments))
		return
	}
	g.methods = append(g.methods, r.Method+" "+r.URL.Path)
	text, err := io.ReadAll(r.Body)
	assert.NoError(g.t, err)
	comment := map[string]any{"id": 99, "user": map[string]string{"type": "Bot"}}
	assert.NoError(g.t, json.Unmarshal(text, &comment))
	g.comments = append([]map[string]any{}, comment)
	assert.NoError(g.t, json.NewEncoder(w).Encode(comment))
}

// script runs a script of the action, and wants it to end with this status.
func (g *github) script(status int, name string, variables ...string) string {
	g.t.Helper()
	path, err := filepath.Abs("../../action/" + name)
	require.NoError(g.t, err)
	command := exec.Command(path)
	command.Dir, command.Env = g.dir, append(slices.Clip(g.env), variables...)
	output, _ := command.CombinedOutput()
	require.Equal(g.t, status, command.ProcessState.ExitCode(), "%s", output)
	return string(output)
}

// A pull request gets one comment with the plan. What was approved is applied, and nothing else.
func TestActionPlansAndApplies(t *testing.T) {
	g := newGithub(t)
	const id = "61095542756dba551110ae21"
	require.NoError(t, g.service.AddV2(`{"_id":"`+id+`","name":"</pre>@all","role":"writer"}`))
	g.file("tokens.csv", "id,role\n"+id+",reader\n")
	g.script(0, "plan", "FILE=tokens.csv")
	plan := g.text("tokenpatch-plan/approved.jsonl")
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(plan)))
	assert.Equal(t, "digest="+digest+"\n", g.text("output"))
	assert.Contains(t, g.text("tokenpatch-plan/plan.html"), "<html")
	require.Len(t, g.comments, 1)
	body := g.comments[0]["body"].(string)
	assert.Contains(t, body, digest)
	assert.Contains(t, body, "&lt;/pre&gt;@all")
	assert.Equal(t, 1, strings.Count(body, "</pre>"), "a name is text")
	assert.Equal(t, body, strings.TrimSuffix(g.text("summary"), "\n"))
	g.script(0, "plan", "FILE=tokens.csv")
	assert.Equal(t, []string{"POST /repos/o/r/issues/7/comments", "PATCH /repos/o/r/issues/comments/99"}, g.methods)
	assert.Zero(t, g.service.Changes(id))

	g.file("approved.jsonl", plan)
	assert.Contains(t, g.script(2, "apply", "FILE=approved.jsonl"), "::error::digest")
	g.script(1, "apply", "FILE=approved.jsonl", "DIGEST="+strings.Repeat("0", 64))
	assert.Zero(t, g.service.Changes(id))
	g.script(0, "apply", "FILE=approved.jsonl", "DIGEST="+digest)
	assert.Equal(t, 1, g.service.Changes(id))
	assert.Contains(t, g.text("tokenpatch-apply/report.html"), id)
	assert.FileExists(t, g.dir+"/tokenpatch-apply/tokenpatch.db")
	assert.Contains(t, g.text("summary"), "1 applied")
}

// A push has no pull request to comment on.
func TestActionOfAPush(t *testing.T) {
	g := newGithub(t)
	g.tokens(1)
	g.file("event.json", `{"ref":"refs/heads/main"}`)
	g.file("tokens.csv", "id,api,role\ntoken0,v2,reader\n")
	g.script(0, "plan", "FILE=tokens.csv")
	assert.Empty(t, g.methods)
}

// Findings fail the job, and are its artifact.
func TestActionAudits(t *testing.T) {
	g := newGithub(t)
	require.NoError(t, g.service.AddV2(`{"_id":"61095542756dba551110ae21","name":"ci","role":"admin"}`))
	g.script(5, "audit")
	assert.Contains(t, g.text("tokenpatch-audit/findings.html"), "61095542756dba551110ae21")
	assert.Contains(t, g.text("summary"), "1 high")
}

// What is not attested is not installed.
func TestActionInstalls(t *testing.T) {
	onlyText(t)
	t.Parallel()
	g := newGithub(t)
	content, err := os.ReadFile(binary)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(g.dir+"/tokenpatch", content, 0o700))
	archive := "tokenpatch_0.1.0_linux_amd64.tar.gz"
	output, err := exec.Command("tar", "-czf", g.dir+"/"+archive, "-C", g.dir, "tokenpatch").CombinedOutput()
	require.NoError(t, err, "%s", output)
	sum := fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(g.text(archive))), archive)
	g.file("checksums.txt", sum)
	files := httptest.NewServer(http.StripPrefix("/tokenpatch/tokenpatch/releases/download/cmd/tokenpatch/v0.1.0/", http.FileServer(http.Dir(g.dir))))
	defer files.Close()
	gh := func(status string) string {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(dir+"/gh", []byte("#!/bin/sh\necho \"$@\"\nexit "+status+"\n"), 0o700))
		return "PATH=" + dir + ":" + os.Getenv("PATH")
	}
	variables := []string{"RUNNER_OS=Linux", "RUNNER_ARCH=X64", "VERSION=0.1.0", "GITHUB_SERVER_URL=" + files.URL, "GITHUB_PATH=" + g.dir + "/path"}
	g.script(1, "install", append(variables, gh("1"))...)
	assert.NoFileExists(t, g.dir+"/path")
	asked := g.script(0, "install", append(variables, gh("0"))...)
	assert.Contains(t, asked, "attestation verify "+archive+" --repo tokenpatch/tokenpatch")
	assert.FileExists(t, strings.TrimSpace(g.text("path"))+"/tokenpatch")
	g.file("checksums.txt", strings.Repeat("0", 64)+sum[64:])
	require.NoError(t, os.Remove(g.dir+"/path"))
	g.script(1, "install", append(variables, gh("0"))...)
	assert.NoFileExists(t, g.dir+"/path")
}
