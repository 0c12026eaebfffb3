package readonly_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/examples/readonly"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// The connection of the first change breaks after it was made, and there is no third token. In a bubble of synctest the client's
// waits take no time.
func TestMake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := tokenpatchtest.New()
		defer service.Close()
		for _, token := range []string{`{"_id": "a1", "role": "writer"}`, `{"_id": "a2", "role": "admin", "customRoleIds": ["5f0c1f2e3d4b5a6978879601"]}`} {
			if err := service.AddV2(token); err != nil {
				t.Fatal(err)
			}
		}
		service.Inject(tokenpatchtest.Fault{}, tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter})
		client, err := tokenpatch.NewClient(tokenpatch.Config{
			V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
			HTTPClient: service.Client(), // reaches the service, whatever the base URL
		})
		if err != nil {
			t.Fatal(err)
		}

		err = readonly.Make(context.Background(), client, "a1", "a2", "a3")

		if err == nil || !strings.HasPrefix(err.Error(), "a3 is not applied: ") {
			t.Errorf("want an error of a3 alone, got: %v", err)
		}
		for _, id := range []string{"a1", "a2"} {
			if token, _ := service.V2(id); !strings.Contains(string(token), `"role":"reader"`) || strings.Contains(string(token), "customRoleIds") {
				t.Errorf("%s is no reader: %s", id, token)
			}
		}
	})
}
