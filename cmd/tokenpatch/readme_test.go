package main_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The files in the README are right, and the wrong one gets the errors that it shows.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	fences := regexp.MustCompile("(?s)```(json|csv|text)\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	require.Len(t, fences, 4)
	s := newShell(t)
	s.file("changes.jsonl", fences[0][2])
	s.file("right.csv", fences[1][2])
	s.file("changes.csv", fences[2][2])
	assert.Contains(t, s.run(3, "plan", "changes.jsonl").stdout, "0 would change, 0 are as wanted, 1 of V1 cannot be read, 3 cannot be done", "there are no such tokens")
	assert.Contains(t, s.run(3, "plan", "right.csv").stdout, "2 cannot be done")
	assert.Equal(t, fences[3][2], strings.ReplaceAll(s.run(1, "apply", "changes.csv").stderr, "tokenpatch apply: ", ""))
}
