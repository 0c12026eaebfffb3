package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHundredThousand prints the cost of a file of 100,000 changes, if MEASURE is set: time and
// memory of each command.
func TestHundredThousand(t *testing.T) {
	if os.Getenv("MEASURE") == "" {
		t.Skip("MEASURE is not set")
	}
	const n = 100_000
	s := newShell(t)
	s.many(n)
	s.measure([][]string{
		{"plan", "-o", "approved.jsonl", "many.jsonl"}, {"apply", "many.jsonl"}, {"apply", "many.jsonl"}, {"status"},
		{"report", "-format", "csv", "-o", "report.csv"}, {"report", "-format", "html", "-o", "report.html"},
	})
	assert.Equal(t, n, s.changed(n))
	for _, file := range []string{"report.csv", "report.html"} {
		t.Log(file, fmt.Sprintf("%.1f MB", float64(len(s.text(file)))/(1<<20)))
	}
}

// TestManyFindings prints the same of an audit of 10,000 tokens with four findings each.
func TestManyFindings(t *testing.T) {
	if os.Getenv("MEASURE") == "" {
		t.Skip("MEASURE is not set")
	}
	s := newShell(t)
	for i := range 10_000 {
		s.token(fmt.Sprintf("61095542756dba551110%04x", i), map[string]any{
			"role": "admin", "description": nil, "defaultApiVersion": 20220603, "lastUsed": daysAgo(100).UnixMilli(),
		})
	}
	s.measure([][]string{
		{"list", "-o", "list.json"}, {"audit", "-o", "last.json"}, {"audit", "-o", "findings.csv"}, {"audit", "-o", "findings.html"}, {"audit", "-o", "findings.sarif"},
		{"audit"}, {"audit", "-baseline", "last.json"},
	})
}

// measure runs commands, and prints what each takes.
func (s *shell) measure(commands [][]string) {
	for _, args := range commands {
		began := time.Now()
		p := s.start("", args...)
		memory := peak(p.Process.Pid)
		_ = p.Wait()
		s.t.Logf("%-45s exit %d, %6.1f s, %6.1f s of CPU, %s", strings.Join(args, " "), p.ProcessState.ExitCode(), time.Since(began).Seconds(),
			(p.ProcessState.UserTime() + p.ProcessState.SystemTime()).Seconds(), memory())
	}
}

// TestLongLines prints the memory that lines of 1 MB take, where MEASURE is set: to 1, or to how many lines.
func TestLongLines(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("MEASURE"))
	if err != nil {
		t.Skip("MEASURE is not set to a number")
	}
	if n == 1 {
		n = 50
	}
	s := newShell(t)
	s.tokens(n)
	file, err := os.Create(filepath.Join(s.dir, "long.jsonl"))
	require.NoError(t, err)
	long := strings.Repeat("x", 1<<20-300)
	for i := range n {
		_, err := fmt.Fprintf(file, `{"api":"v2","id":"token%d","want":{"description":%q}}`+"\n", i, long)
		require.NoError(t, err)
	}
	require.NoError(t, file.Close())
	p := s.start("", "apply", "long.jsonl")
	memory := peak(p.Process.Pid)
	require.NoError(t, p.Wait())
	t.Logf("%d lines of 1 MB: %s", n, memory())
}

// peak watches the peak memory of a process, on Linux, and how much of it is its own, beside the pages of its program.
func peak(pid int) func() string {
	ended, last := make(chan struct{}), make(chan string, 1)
	fields := regexp.MustCompile(`(?s)VmHWM:\s*(\d+) kB.*RssAnon:\s*(\d+) kB`)
	go func() {
		most, own := 0, 0
		for {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if found := fields.FindSubmatch(status); found != nil {
				total, _ := strconv.Atoi(string(found[1]))
				anonymous, _ := strconv.Atoi(string(found[2]))
				most, own = max(most, total), max(own, anonymous)
			}
			select {
			case <-ended:
				if most == 0 {
					last <- "unknown memory"
					return
				}
				last <- fmt.Sprintf("%d MB, %d of them its own", most>>10, own>>10)
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() string {
		close(ended)
		return <-last
	}
}
