package main_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	s := newShell(t)
	began := time.Now()
	e := s.run(0, "demo")
	t.Logf("it took %v", time.Since(began).Round(time.Second))
	assert.Contains(t, e.stdout, "\nkilled\n")
	assert.Contains(t, e.stdout, "changes: 150 changes: 149 applied, 1 not applied, 0 unknown, 0 pending\n")
	assert.Contains(t, e.stdout, "\n149 tokens were changed once, 0 twice or more, 1 not at all;\n")
	assert.Zero(t, s.service.RequestCount(), "it is by itself")
}
