package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// binary is the command, built as its users get it, but with the race detector if the tests have it.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "tokenpatch-test-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "tokenpatch")
		if out, err := exec.Command("go", "build", fmt.Sprint("-race=", isRace()), "-o", binary, ".").CombinedOutput(); err != nil {
			panic(fmt.Sprintf("go build: %v\n%s", err, out))
		}
		return m.Run()
	}())
}

// isRace reports whether the tests run under the race detector: the program is then built with it too.
func isRace() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// onlyText keeps a test of texts and files out of the short run, which is there for the race detector: such
// a test starts a dozen processes, in which hardly anything happens at once.
func onlyText(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a dozen processes, for their texts")
	}
}

// shell is a place to run the command: a folder of its own, and a service.
type shell struct {
	t       testing.TB
	dir     string
	service *tokenpatchtest.Service
	url     string // of the service
	env     []string
}

func newShell(t testing.TB) *shell {
	t.Helper()
	s := &shell{t: t, dir: t.TempDir(), service: tokenpatchtest.New()}
	t.Cleanup(s.service.Close)
	url, err := s.service.Listen()
	require.NoError(t, err)
	s.url = url
	s.env = []string{
		"HOME=" + s.dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + s.dir,
		"LAUNCHDARKLY_API_HOST=" + url, "LAUNCHDARKLY_ACCESS_TOKEN=" + tokenpatchtest.AccessToken,
		"DEEPSET_API_URL=" + url, "DEEPSET_API_KEY=" + tokenpatchtest.APIKey,
	}
	return s
}

// file writes a file into the shell's folder.
func (s *shell) file(name, content string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600))
}

func (s *shell) text(name string) string {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join(s.dir, name))
	require.NoError(s.t, err)
	return string(content)
}

// tokens adds n tokens of V2, "token0" and so on.
func (s *shell) tokens(n int) {
	s.t.Helper()
	for i := range n {
		require.NoError(s.t, s.service.AddV2(fmt.Sprintf(`{"_id":"token%d","name":"ci %d","role":"writer"}`, i, i)))
	}
}

// ended is a finished process.
type ended struct {
	stdout, stderr string
	status         int
}

// process is a process of the command.
type process struct {
	*exec.Cmd
	t              testing.TB
	stdout, stderr buffer
}

// buffer may be read while a process writes to it.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (s *shell) start(stdin string, args ...string) *process {
	s.t.Helper()
	p := &process{Cmd: exec.Command(binary, args...), t: s.t}
	p.Dir, p.Env = s.dir, s.env
	p.Stdin, p.Stdout, p.Stderr = strings.NewReader(stdin), &p.stdout, &p.stderr
	require.NoError(s.t, p.Start())
	s.t.Cleanup(func() { _ = p.Process.Kill() }) // if the test has not waited for its end
	return p
}

// end waits for the process to end by itself.
func (p *process) end() ended {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	context.AfterFunc(ctx, func() {
		if ctx.Err() == context.DeadlineExceeded {
			_ = p.Process.Kill()
		}
	})
	_ = p.Wait()
	require.NoError(p.t, ctx.Err(), "%v did not end: %s", p.Args, p.stderr.String())
	e := ended{p.stdout.String(), p.stderr.String(), p.ProcessState.ExitCode()}
	for _, secret := range []string{tokenpatchtest.APIKey, tokenpatchtest.AccessToken} {
		assert.NotContains(p.t, e.stdout+e.stderr, secret)
	}
	return e
}

// run runs the command to its end, and wants it to have this exit status.
func (s *shell) run(status int, args ...string) ended {
	s.t.Helper()
	e := s.start("", args...).end()
	require.Equal(s.t, status, e.status, "%v\n%s%s", args, e.stdout, e.stderr)
	return e
}

func sorted(words []string) []string { return slices.Sorted(slices.Values(words)) }
