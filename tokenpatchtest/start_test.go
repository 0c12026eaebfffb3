package tokenpatchtest_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// example is the testing.TB of an Example, which has none.
type example struct{}

func (example) Helper()                           {}
func (example) Cleanup(func())                    {}
func (example) Fatalf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func ExampleStart() {
	var t example // in a test, its *testing.T
	service, config := tokenpatchtest.Start(t, `{"_id": "61095542756dba551110ae21", "name": "ci"}`)
	client, err := tokenpatch.NewClient(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := client.V2.PatchToken(context.Background(), "61095542756dba551110ae21", tokenpatch.NewPatch().SetName("deployer"))
	fmt.Println(token.Name.Or(""), err)
	fmt.Println("changes:", service.Changes("61095542756dba551110ae21"))
	// Output:
	// deployer <nil>
	// changes: 1
}

func TestStartReachesBothServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, config := tokenpatchtest.Start(t, document, `{"id": "`+v1ID+`"}`)
		client, err := tokenpatch.NewClient(config)
		require.NoError(t, err)
		service.SetLatency(time.Minute)
		_, err = client.V2.GetToken(t.Context(), tokenID)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		service.SetLatency(0)
		require.NoError(t, client.V1.UpdateToken(t.Context(), uuid.MustParse(v1ID), tokenpatch.TokenUpdate{Name: tokenpatch.Set("after")}))
		assert.Equal(t, 1, service.Changes(v1ID))
	})
}

// failing is a test double for a testing.TB.
type failing struct {
	example
	failures []string
	cleanup  []func()
}

func (f *failing) Cleanup(clean func()) { f.cleanup = append(f.cleanup, clean) }
func (f *failing) Fatalf(format string, args ...any) {
	f.failures = append(f.failures, fmt.Sprintf(format, args...))
}

func TestStartEndsWithItsTest(t *testing.T) {
	test := new(failing)
	_, config := tokenpatchtest.Start(test, `{"_id": 1}`, `{"name": "no id"}`)
	assert.Len(t, test.failures, 2)
	_, err := attempt(config.HTTPClient, "http://a"+v2Path, "[]")
	require.NoError(t, err)
	for _, clean := range test.cleanup {
		clean()
	}
	_, err = attempt(config.HTTPClient, "http://a"+v2Path, "[]")
	require.ErrorContains(t, err, "the service is closed")
}
