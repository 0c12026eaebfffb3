package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A release names what it was built from.
func TestVersion(t *testing.T) {
	onlyText(t)
	t.Parallel()
	s := newShell(t)
	released := filepath.Join(s.dir, "tokenpatch")
	build := exec.Command("go", "build", "-o", released, "-ldflags",
		"-X main.releaseVersion=0.1.0 -X main.releaseCommit=2f0efbd -X main.releaseDate=2026-11-30T08:15:31Z", ".")
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)
	output, err = exec.Command(released, "version").CombinedOutput()
	require.NoError(t, err)
	assert.Equal(t, "tokenpatch 0.1.0\ncommit     2f0efbd\ndate       2026-11-30T08:15:31Z\nbuilt with "+
		runtime.Version()+" "+runtime.GOOS+"/"+runtime.GOARCH+"\n", string(output))
	assert.Regexp(t, `^tokenpatch \S+\ncommit     \S+\ndate       \S+\n`, s.run(0, "version").stdout)
}

// The manual pages show the help of each command, and groff has nothing to say against them.
func TestManualPages(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	require.NoError(t, os.Mkdir(s.dir+"/man", 0o700))
	s.run(0, "man", "man")
	pages, err := filepath.Glob(s.dir + "/man/*")
	require.NoError(t, err)
	assert.Len(t, pages, 12)
	plan := s.text("man/tokenpatch-plan.1")
	assert.Contains(t, plan, "tokenpatch\\-plan \\- show and save what would change; send no change\n")
	assert.Contains(t, plan, "\n  \\-detailed\\-exitcode")
	assert.Contains(t, s.run(2, "man").stderr, "want the FOLDER")
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("SKIPPED: there is no groff")
	}
	words := regexp.MustCompile(`\s+`)
	for _, page := range pages {
		output, err := exec.Command(groff, "-man", "-ww", "-Tascii", "-P-c", page).CombinedOutput()
		require.NoError(t, err, "%s", output)
		assert.NotContains(t, string(output), "warning", page)
		if filepath.Base(page) == "tokenpatch-plan.1" {
			help := s.run(0, "help", "plan").stdout
			assert.Contains(t, words.ReplaceAllString(string(output), " "), words.ReplaceAllString(help, " ")[:200])
		}
	}
}
