package main_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// On a terminal of unknown width, or too narrow for a bar, progress is plain lines. A terminal that
// becomes narrow during a run does no harm either.
func TestNarrowTerminals(t *testing.T) {
	t.Parallel()
	for columns, bar := range map[uint16]bool{0: false, 1: false, 2: false, 19: false, 20: true} {
		s := newShell(t)
		s.many(60)
		s.service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: time.Second, Global: 60})
		written := s.terminalOf(columns, "apply", "-yes", "many.jsonl")
		assert.Contains(t, written, "60 applied", columns)
		assert.Equal(t, bar, strings.Contains(written, "\x1b["), "%d columns: %q", columns, written)
	}
}

func TestATerminalThatBecomesNarrow(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(60)
	s.service.SetLatency(100 * time.Millisecond)
	cmd := exec.Command(binary, "apply", "-yes", "-workers", "4", "many.jsonl")
	cmd.Dir, cmd.Env = s.dir, append(s.env, "TERM=xterm")
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	require.NoError(t, err)
	defer file.Close()
	go func() { _, _ = io.Copy(io.Discard, file) }()
	for i, columns := range []uint16{3, 2, 1, 0} {
		s.until(func() bool { return s.changed(60) > 5+10*i })
		require.NoError(t, pty.Setsize(file, &pty.Winsize{Rows: 24, Cols: columns}))
	}
	require.NoError(t, cmd.Wait())
	assert.Equal(t, 60, s.changed(60))
}

// The message after an interrupt stays on the screen, above the bar.
func TestInterruptOnATerminal(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(60)
	s.service.SetLatency(200 * time.Millisecond)
	cmd := exec.Command(binary, "apply", "-yes", "-workers", "4", "many.jsonl")
	cmd.Dir, cmd.Env = s.dir, append(s.env, "TERM=xterm")
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 100})
	require.NoError(t, err)
	defer file.Close()
	written := make(chan string)
	go func() {
		all, _ := io.ReadAll(file)
		written <- string(all)
	}()
	s.until(func() bool { return s.changed(60) > 6 })
	_, err = file.WriteString("\x03") // which the terminal shows as ^C, behind the bar
	require.NoError(t, err)
	assert.Error(t, cmd.Wait())
	assert.Equal(t, 130, cmd.ProcessState.ExitCode())
	all := <-written
	assert.NotRegexp(t, `[^\r]\x1b\[\d+A`, all, "what is left of ^C moves the bar")
	assert.Contains(t, screenOf(strings.ReplaceAll(all, "^C", "")), "tokenpatch apply: stopping: waiting for requests in flight; interrupt again to stop at once\n")
}

// screenOf is what is on a screen in the end: the bar moves the cursor up by lines, and erases what is below.
func screenOf(written string) string {
	var lines []string
	current := ""
	for text := strings.ReplaceAll(written, "\r", ""); text != ""; {
		var up int
		switch n, _ := fmt.Sscanf(text, "\x1b[%dA\x1b[J", &up); {
		case n == 1:
			lines, current = lines[:max(0, len(lines)-up)], ""
			text = text[strings.Index(text, "J")+1:]
		case text[0] == '\n':
			lines, current, text = append(lines, current), "", text[1:]
		default:
			current, text = current+text[:1], text[1:]
		}
	}
	return strings.Join(append(lines, current), "\n")
}

// What a command reads is never its output: the input, and the files of the database.
func TestOutputIsNotInput(t *testing.T) {
	onlyText(t)
	t.Parallel()
	s := newShell(t)
	s.many(3)
	s.run(0, "apply", "many.jsonl")
	s.file("many.csv", "id,role\ntoken0,reader\n")
	require.NoError(t, os.Symlink("many.csv", filepath.Join(s.dir, "link")))
	require.NoError(t, os.Link(filepath.Join(s.dir, "many.csv"), filepath.Join(s.dir, "hard")))
	changes, database := s.text("many.csv"), s.text("tokenpatch.db")
	for _, args := range [][]string{
		{"plan", "-o", "many.csv", "many.csv"}, {"plan", "-o", "link", "many.csv"}, {"plan", "-o", "hard", "many.csv"},
		{"plan", "-o", "./many.csv", "many.csv"}, {"plan", "-o", "tokenpatch.db", "many.csv"}, {"plan", "-o", "new.db", "-db", "./new.db", "many.csv"},
		{"report", "-o", "tokenpatch.db"}, {"report", "-o", "tokenpatch.db-wal"}, {"report", "-o", "other.db", "-db", "other.db"},
	} {
		assert.Contains(t, s.run(2, args...).stderr, "want another file: this one is ", args)
	}
	s.file("other.csv", "id,role\ntoken1,reader\ntoken2,admin\n")
	s.run(0, "plan", "-o", "approved.jsonl", "other.csv")
	s.run(0, "apply", "-db", "second.db", "approved.jsonl")
	for _, source := range []string{"other.csv", "approved.jsonl"} { // a report on what its run was made from
		before := s.text(source)
		assert.Contains(t, s.run(2, "report", "-db", "second.db", "-o", source).stderr, "which would be lost")
		assert.Equal(t, before, s.text(source))
	}
	assert.Equal(t, changes, s.text("many.csv"))
	assert.Equal(t, database, s.text("tokenpatch.db"))
}

// A symbolic link stays one, a mode stays as it is, and a pipe gets the text.
func TestOutputKeepsItsKind(t *testing.T) {
	onlyText(t)
	t.Parallel()
	s := newShell(t)
	s.many(2)
	s.run(0, "apply", "many.jsonl")
	in := func(name string) string { return filepath.Join(s.dir, name) }
	s.file("target.csv", "before")
	require.NoError(t, os.Chmod(in("target.csv"), 0o644))
	require.NoError(t, os.Symlink("target.csv", in("link.csv")))
	require.NoError(t, os.Symlink("later.csv", in("dangling.csv")))
	for link, target := range map[string]string{"link.csv": "target.csv", "dangling.csv": "later.csv"} {
		s.run(0, "report", "-format", "csv", "-o", link)
		to, err := os.Readlink(in(link))
		require.NoError(t, err, "%s is a link no more", link)
		assert.Equal(t, target, to)
		assert.Contains(t, s.text(target), "token1")
	}
	info, err := os.Stat(in("target.csv"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), info.Mode().Perm())

	require.NoError(t, syscall.Mkfifo(in("pipe"), 0o600))
	p := s.start("", "report", "-format", "csv", "-o", "pipe")
	assert.Contains(t, s.text("pipe"), "token1")
	assert.Equal(t, 0, p.end().status)
	info, err = os.Stat(in("pipe"))
	require.NoError(t, err)
	assert.Equal(t, os.ModeNamedPipe, info.Mode().Type())
	assert.Contains(t, s.run(1, "report", "-o", "/dev/full").stderr, "-o /dev/full: ")
	assert.Contains(t, s.run(0, "report", "-o", "-").stdout, "token1")
	s.noneLeft()
}

// noneLeft looks for temporary files.
func (s *shell) noneLeft() {
	s.t.Helper()
	left, err := filepath.Glob(filepath.Join(s.dir, "*tokenpatch-*"))
	require.NoError(s.t, err)
	hidden, err := filepath.Glob(filepath.Join(s.dir, ".tokenpatch-*"))
	require.NoError(s.t, err)
	assert.Empty(s.t, append(left, hidden...))
}

func TestAFullDevice(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(2)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	for _, args := range [][]string{{"list"}, {"plan", "many.jsonl"}, {"help"}, {"help", "file"}, {"plan", "-h"}, {"version"}, {"apply", "many.jsonl"}, {"status"}, {"report"}} {
		cmd := exec.Command(binary, args...)
		cmd.Dir, cmd.Env, cmd.Stdout = s.dir, s.env, full
		var stderr strings.Builder
		cmd.Stderr = &stderr
		assert.Error(t, cmd.Run())
		assert.Equal(t, 1, cmd.ProcessState.ExitCode(), args)
		assert.Contains(t, stderr.String(), "standard output: ", args)
	}
}

// An interrupted plan leaves an approved file as it is, and no temporary files.
func TestAnInterruptedPlanWritesNothing(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		s := newShell(t)
		s.many(300)
		s.file("approved.jsonl", "approved before")
		s.service.SetLatency(50 * time.Millisecond)
		p := s.start("", "plan", "-o", "approved.jsonl", "many.jsonl")
		s.until(func() bool { return s.service.RequestCount() > 40 })
		require.NoError(t, p.Process.Signal(sig))
		e := p.end()
		assert.Equal(t, 130, e.status, e.stderr)
		assert.Contains(t, e.stderr, "tokenpatch plan: interrupted\n")
		assert.Equal(t, "approved before", s.text("approved.jsonl"))
		s.noneLeft()
	}
}

// A closed pipe leaves no temporary files either, and is no reason to end a run.
func TestAReaderThatIsGone(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(300)
	s.file("approved.jsonl", "approved before")
	gone := func(args ...string) *exec.Cmd {
		read, write, err := os.Pipe()
		require.NoError(t, err)
		require.NoError(t, read.Close())
		cmd := exec.Command(binary, args...)
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, write, write
		t.Cleanup(func() { _ = write.Close() })
		return cmd
	}
	assert.Error(t, gone("list").Run())
	cmd := gone("plan", "-o", "approved.jsonl", "many.jsonl")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	assert.Error(t, cmd.Run())
	assert.Contains(t, stderr.String(), "saved 300 changes to approved.jsonl (sha256 ")
	assert.NotEqual(t, "approved before", s.text("approved.jsonl"))
	assert.Error(t, gone("apply", "-progress", "plain", "many.jsonl").Run(), "the summary was not read")
	assert.Equal(t, 300, s.changed(300))
	s.noneLeft()
}
