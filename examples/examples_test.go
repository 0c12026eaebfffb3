// Package examples_test runs the programs of the recipes as their readers do, against a service on the loopback interface.
package examples_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// The ids of the custom roles, which tokens hold. Their keys are their names here.
const (
	ci  = "5f0c1f2e3d4b5a6978879601"
	ops = "5f0c1f2e3d4b5a6978879602"
	qa  = "5f0c1f2e3d4b5a6978879603"
)

// newService has three tokens, the first two of them service tokens, and what a program needs in its environment to reach it.
func newService(t *testing.T) (*tokenpatchtest.Service, []string) {
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	for _, token := range []string{
		`{"_id": "a1", "serviceToken": true, "customRoleIds": ["` + ci + `"]}`,
		`{"_id": "a2", "serviceToken": true, "customRoleIds": ["` + ops + `", "` + ci + `"]}`,
		`{"_id": "a3", "serviceToken": false, "customRoleIds": ["` + qa + `"]}`,
	} {
		require.NoError(t, service.AddV2(token))
	}
	for key, id := range map[string]string{"ci": ci, "ops": ops, "qa": qa} {
		require.NoError(t, service.AddRole(`{"_id": "`+id+`", "key": "`+key+`"}`))
	}
	base, err := service.Listen()
	require.NoError(t, err)
	return service, append(os.Environ(), "LAUNCHDARKLY_API_HOST="+base, "LAUNCHDARKLY_ACCESS_TOKEN="+tokenpatchtest.AccessToken)
}

func goRun(t *testing.T, environment []string, arguments ...string) string {
	command := exec.Command("go", append([]string{"run"}, arguments...)...)
	command.Env, command.Stderr = environment, os.Stderr
	printed, err := command.Output()
	require.NoError(t, err)
	return string(printed)
}

func TestAddRole(t *testing.T) {
	service, environment := newService(t)
	assert.Equal(t, "a1: applied\na2: applied\n", goRun(t, environment, "./addrole", "ops"))
	assertRoles(t, service, "a1", 1, ci, ops)
	assertRoles(t, service, "a2", 0, ops, ci)
	assertRoles(t, service, "a3", 0, qa)
}

func TestTakeRole(t *testing.T) {
	service, environment := newService(t)
	assert.Equal(t, "a1: applied\na2: applied\n", goRun(t, environment, "./takerole", "ci"))
	assertRoles(t, service, "a1", 1)
	assertRoles(t, service, "a2", 1, ops)
	assertRoles(t, service, "a3", 0, qa)
}

func assertRoles(t *testing.T, service *tokenpatchtest.Service, id string, changes int, roles ...string) {
	t.Helper()
	document, _ := service.V2(id)
	var token struct {
		CustomRoleIDs []string `json:"customRoleIds"`
	}
	require.NoError(t, json.Unmarshal(document, &token))
	assert.ElementsMatch(t, roles, token.CustomRoleIDs, id)
	assert.Equal(t, changes, service.Changes(id), "changes of %s", id)
}

// The other programs bring their service along. Edit and review print the same each time.
func TestEmbeddedExamples(t *testing.T) {
	environment := append(os.Environ(), "LAUNCHDARKLY_ACCESS_TOKEN=")
	edited := goRun(t, environment, "./edit")
	assert.Contains(t, edited, "\nIt has the roles deploy, audit, qa\n")
	assert.Equal(t, 1, strings.Count(edited, "connection broken, applied\n"), "applied once, although its connection broke")
	assert.Contains(t, goRun(t, environment, "./edit", "-add", "deploy", "-remove", ""), "is as it should be: there is nothing to change")
	reviewed := goRun(t, environment, "./review")
	assert.Contains(t, reviewed, "\nSent\n   applied\n")
	assert.Regexp(t, `\n   not applied: operation 0: test "/role": test failed: .*\n$`, reviewed)
	assert.NotContains(t, goRun(t, environment, "./review", "-dry-run"), "\nSent\n")
	assert.Contains(t, goRun(t, environment, "./review", "-want", `{"name": "other"}`), "replace /name \"other\"")
}

// Ctrl-C leaves no outcome unknown.
func TestStoppingExample(t *testing.T) {
	program := filepath.Join(t.TempDir(), "stopping")
	built, err := exec.Command("go", "build", "-o", program, "./stopping").CombinedOutput()
	require.NoError(t, err, "%s", built)
	command := exec.Command(program)
	printed, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	lines := bufio.NewScanner(printed)
	require.True(t, lines.Scan())
	first := lines.Text()
	require.NoError(t, command.Process.Signal(os.Interrupt))
	var rest strings.Builder
	for lines.Scan() {
		rest.WriteString(lines.Text() + "\n")
	}
	require.NoError(t, command.Wait())
	t.Log(first + "\n" + rest.String())
	assert.Contains(t, rest.String(), "0 unknown")
}
