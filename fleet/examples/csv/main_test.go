package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const asProgram = "TOKENPATCH_TEST_CSV"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Three hundred tokens; the program is interrupted in the middle, and started again.
func TestStopAndResume(t *testing.T) {
	const tokens = 300
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	list := "id,name,role\n"
	for i := range tokens {
		require.NoError(t, service.AddV2(fmt.Sprintf(`{"_id": "a%d", "name": "old", "role": "admin"}`, i)))
		list += fmt.Sprintf("a%d,deployer-%d,reader\n", i, i)
	}
	base, err := service.Listen()
	require.NoError(t, err)
	service.SetLatency(50 * time.Millisecond)
	file := filepath.Join(t.TempDir(), "tokens.csv")
	require.NoError(t, os.WriteFile(file, []byte(list), 0o600))
	program := func() *exec.Cmd {
		command := exec.Command(os.Args[0], file)
		command.Env = append(os.Environ(), asProgram+"=1", "LAUNCHDARKLY_API_HOST="+base, "LAUNCHDARKLY_ACCESS_TOKEN="+tokenpatchtest.AccessToken)
		return command
	}

	first := program()
	require.NoError(t, first.Start())
	require.Eventually(t, func() bool { return changed(service, tokens) >= 10 }, 10*time.Minute, time.Millisecond)
	require.NoError(t, first.Process.Signal(os.Interrupt))
	require.Error(t, first.Wait())
	require.Less(t, changed(service, tokens), tokens, "it was to be interrupted in the middle")

	second := program()
	var progress strings.Builder
	second.Stderr = &progress
	printed, err := second.Output()
	require.NoError(t, err, progress.String())
	assert.Contains(t, progress.String(), " 0 of 300 are pending, 0 were not applied, 0 are unknown\n")
	assert.Equal(t, tokens, strings.Count(string(printed), " applied "))
	for i := range tokens {
		assert.Equal(t, 1, service.Changes(fmt.Sprint("a", i)), "changes of a%d", i)
	}
}

// changed counts the changed tokens.
func changed(service *tokenpatchtest.Service, tokens int) (count int) {
	for i := range tokens {
		count += service.Changes(fmt.Sprint("a", i))
	}
	return count
}
