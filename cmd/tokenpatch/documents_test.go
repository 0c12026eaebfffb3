package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The commands of the recipes, and of what replaces Terraform and curl, do what is said of them: each token is made
// read-only, once.
func TestCommandsOfTheDocuments(t *testing.T) {
	onlyText(t)
	t.Parallel()
	if _, err := exec.LookPath("jq"); err != nil {
		require.Empty(t, os.Getenv("REQUIRE_SERVICES"), "there is no jq, and REQUIRE_SERVICES is set")
		t.Skip("SKIPPED: there is no jq")
	}
	blocks := 0
	for _, document := range []string{"../../docs/recipes.md", "../../docs/migrating.md"} {
		text, err := os.ReadFile(document)
		if os.IsNotExist(err) {
			t.Skip("SKIPPED: the module is alone")
		}
		require.NoError(t, err)
		for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(block[1], "tokenpatch apply") || strings.Contains(block[1], "quarantine") { // TestScreamTest runs those
				continue
			}
			blocks++
			s := newShell(t)
			const id = "61095542756dba551110ae21"
			require.NoError(t, s.service.AddV2(`{"_id":"`+id+`","name":"ci","role":"writer"}`))
			s.file("ids.txt", id+"\n")
			command := exec.Command("sh", "-ec", block[1])
			command.Dir, command.Env = s.dir, append(s.env, "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
			output, err := command.CombinedOutput()
			require.NoError(t, err, "%s:\n%s\n%s", document, block[1], output)
			token, _ := s.service.V2(id)
			assert.JSONEq(t, `"reader"`, string(members(t, token)["role"]), block[1])
			assert.Equal(t, 1, s.service.Changes(id), block[1])
		}
	}
	assert.Equal(t, 4, blocks)
}
