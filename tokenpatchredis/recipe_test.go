package tokenpatchredis_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// Two programs, one after the other: the second one knows from Redis what the first one has used of the window's quota.
func TestShareRecipe(t *testing.T) {
	redisAddress := redisServer(t)
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	require.NoError(t, service.AddV2(`{"_id": "a1", "role": "writer"}`))
	require.NoError(t, service.AddV2(`{"_id": "a2", "role": "writer"}`))
	service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: time.Second, Route: 10})
	base, err := service.Listen()
	require.NoError(t, err)
	for _, id := range []string{"a1", "a2"} {
		command := exec.Command("go", "run", "./examples/share", id)
		command.Env = append(os.Environ(), "REDIS="+redisAddress, "LAUNCHDARKLY_API_HOST="+base, "LAUNCHDARKLY_ACCESS_TOKEN="+tokenpatchtest.AccessToken)
		command.Stderr = os.Stderr
		printed, err := command.Output()
		require.NoError(t, err)
		assert.Equal(t, id+" applied\n", string(printed))
	}
	store, _ := client(t)
	keys, err := store.Keys(t.Context(), "tokenpatch/ratelimit/2/"+base+"/acme*").Result()
	require.NoError(t, err)
	assert.NotEmpty(t, keys, "what both have used is in Redis")
}
