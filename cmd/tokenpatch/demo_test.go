package main_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes a while")
	}
	s := newShell(t)
	began := time.Now()
	e := s.run(0, "demo")
	t.Logf("it took %v", time.Since(began).Round(time.Second))
	assert.Contains(t, e.stdout, "\nkilled\n")
	assert.Contains(t, e.stdout, "changes.csv: 149 of 150 tokens would change\n")
	assert.Contains(t, e.stdout, "  role: \"writer\" → \"reader\"\n")
	assert.Contains(t, e.stdout, "approved: 149 changes: 148 applied, 1 not applied, 0 unknown, 0 pending\n  and 1 row of FILE skipped\n")
	assert.Contains(t, e.stdout, "     1  somebody changed this token after the plan: plan again\n")
	assert.Contains(t, e.stdout, "\n148 tokens were changed once, 0 twice or more, 2 not at all;\n")
	assert.Regexp(t, `(?s)\n\.\.\.\n.*saved 149 changes to approved.jsonl`, e.stdout)
	assert.NotContains(t, e.stderr, "could not be read", "its rate limit is waited for")
	assert.Zero(t, s.service.RequestCount(), "it is by itself")
}
