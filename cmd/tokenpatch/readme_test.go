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
	require.Len(t, fences, 5)
	s := newShell(t)
	table, columns, object, wrong, mistakes := fences[0][2], fences[1][2], fences[2][2], fences[3][2], fences[4][2]
	s.file("right.csv", table)
	s.file("changes.json", object)
	s.file("changes.csv", wrong)
	help := s.run(0, "help", "file").stdout
	assert.Contains(t, help, columns)
	assert.Contains(t, help, strings.ReplaceAll("  "+table, "\n", "\n  ")[:len(table)])
	assert.Contains(t, s.run(0, "plan", "changes.json").stdout, "changes.json: 1 of 4 tokens would change", "there are no such tokens of V2")
	assert.Contains(t, s.run(0, "plan", "right.csv").stdout, "right.csv: 1 of 2 tokens would change")
	assert.Equal(t, mistakes, strings.ReplaceAll(s.run(1, "apply", "changes.csv").stderr, "tokenpatch apply: ", ""))
}
