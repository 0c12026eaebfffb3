package main_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The files in docs/command.md are right, and the wrong one gets the errors shown there.
func TestFilesInTheDocument(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	require.NoError(t, s.service.AddRole(`{"_id":"`+opsID+`","key":"ops"}`))
	require.NoError(t, s.service.AddRole(`{"_id":"`+qaID+`","key":"qa"}`))
	require.NoError(t, s.service.AddRole(`{"_id":"5f0c1f2e3d4b5a6978870003","key":"deploy"}`))
	document := s.document("../../docs/command.md")
	fences := regexp.MustCompile("(?s)```(json|csv|text)\n(.*?)```").FindAllStringSubmatch(document, -1)
	require.Len(t, fences, 5)
	assert.Contains(t, s.document("README.md"), fences[0][0])
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
