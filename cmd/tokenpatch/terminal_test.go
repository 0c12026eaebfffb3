package main_test

import (
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// terminal runs the command on a terminal of 80 columns, and returns its output there.
func (s *shell) terminal(args ...string) string {
	s.t.Helper()
	return s.terminalOf(80, args...)
}

func (s *shell) terminalOf(columns uint16, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Env = s.dir, append(s.env, "TERM=xterm")
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: columns})
	require.NoError(s.t, err)
	defer file.Close()
	written, _ := io.ReadAll(file) // ends with an error if the terminal is gone, on Linux
	require.NoError(s.t, cmd.Wait(), "%s", written)
	return string(written)
}

// answered runs the command on a terminal, and types an answer when it asks.
func (s *shell) answered(answer string, args ...string) (written string, status int) {
	s.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Env = s.dir, append(s.env, "TERM=xterm")
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	require.NoError(s.t, err)
	defer file.Close()
	part, typed := make([]byte, 4096), false
	for {
		n, err := file.Read(part)
		written += string(part[:n])
		if !typed && strings.Contains(written, "[y/N] ") {
			typed = true
			_, err := file.WriteString(answer)
			require.NoError(s.t, err)
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait()
	return written, cmd.ProcessState.ExitCode()
}

var escape = regexp.MustCompile(`\x1b\[[0-9]*[A-Z]`)

// On a terminal there is a bar, which shows the reason for waiting, fits the screen and is gone in
// the end.
func TestBar(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(60)
	s.service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: 2 * time.Second, Global: 40})
	written := s.terminal("apply", "-yes", "many.jsonl")
	assert.Regexp(t, `\d+/60 +\[=*>?-*\] +0 not applied, 0 unknown`, written)
	assert.Regexp(t, `waits for the rate limit, opens in \d s`, written)
	assert.Regexp(t, `\d+\.\d/s, \d+s left`, written)
	for _, line := range strings.FieldsFunc(written, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if strings.Contains(line, "/60 ") {
			assert.LessOrEqual(t, len(escape.ReplaceAllString(line, "")), 80, line)
		}
	}
	assert.True(t, strings.HasSuffix(written, "\x1b[Jmany: 60 changes: 60 applied, 0 not applied, 0 unknown, 0 pending\r\n"), "%q", written[max(0, len(written)-200):])
}
