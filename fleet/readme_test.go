package fleet_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const readmeEnv = "FLEET_TEST_README"

// readme is the program of the README, word for word.
func readme() {
	ctx := context.Background()
	store, err := fleet.Open(ctx, "review.db") // or postgres://..., which many machines share
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	changes := func(yield func(fleet.Change, error) bool) { // from a file, a query, a list of tokens
		yield(fleet.Change{ID: "61095542756dba551110ae21", Want: &fleet.Want{Role: tokenpatch.Set(tokenpatch.RoleReader)}}, nil)
	}
	if _, err := store.Add(ctx, "review", changes, fleet.AddOptions{}); err != nil { // all of them, or none
		log.Fatal(err)
	}
	if err := store.Run(ctx, "review", fleet.Options{Client: tokenpatch.ConfigFromEnv()}); err != nil {
		log.Fatal(err) // run it again to resume
	}
	for result, err := range store.Results(ctx, "review") {
		fmt.Println(result.Change.ID, result.State, result.Err, err)
	}
}

func TestTheReadmeRuns(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, block, _ := strings.Cut(string(text), "```go\n")
	block, _, _ = strings.Cut(block, "```")
	source, err := os.ReadFile("readme_test.go")
	require.NoError(t, err)
	indented := "\t" + strings.ReplaceAll(strings.TrimSpace(block), "\n", "\n\t")
	require.Contains(t, string(source), "func readme() {\n"+indented+"\n}\n", "the README and this file differ")

	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	require.NoError(t, service.AddV2(`{"_id": "61095542756dba551110ae21", "name": "ci", "role": "admin"}`))
	url, err := service.Listen()
	require.NoError(t, err)
	program := exec.Command(os.Args[0])
	program.Dir = t.TempDir()
	program.Env = append(os.Environ(), readmeEnv+"=1", "LAUNCHDARKLY_ACCESS_TOKEN="+tokenpatchtest.AccessToken, "LAUNCHDARKLY_API_HOST="+url)
	printed, err := program.CombinedOutput()
	require.NoError(t, err, string(printed))
	assert.Equal(t, "61095542756dba551110ae21 applied  <nil>\n", string(printed))
}
