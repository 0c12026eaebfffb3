package tokenpatchotel_test

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// The trace explains a call with a conflict at its first attempt.
func TestTraceRecipe(t *testing.T) {
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	require.NoError(t, service.AddV2(`{"_id": "a1", "role": "writer"}`))
	service.Inject(tokenpatchtest.Fault{}, tokenpatchtest.Fault{Status: 409})
	base, err := service.Listen()
	require.NoError(t, err)
	command := exec.Command("go", "run", "./examples/trace", "a1")
	command.Env = append(os.Environ(), "LAUNCHDARKLY_API_HOST="+base, "LAUNCHDARKLY_ACCESS_TOKEN="+tokenpatchtest.AccessToken)
	command.Stderr = os.Stderr
	printed, err := command.Output()
	require.NoError(t, err)
	assert.Equal(t, `GET /api/v2/tokens/{id}
tokenpatch GET /api/v2/tokens/{id}
PATCH /api/v2/tokens/{id}  failed
tokenpatch wait
PATCH /api/v2/tokens/{id}
tokenpatch PATCH /api/v2/tokens/{id}
`, regexp.MustCompile(`(?m)^ *[0-9.]+(m?s)  `).ReplaceAllString(string(printed), ""))
}
