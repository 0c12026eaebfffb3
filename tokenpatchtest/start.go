package tokenpatchtest

import (
	"strings"

	"github.com/tokenpatch/tokenpatch"
)

// TB is the part of testing.TB that [Start] needs. It keeps package testing out of programs without
// tests.
type TB interface {
	Helper()
	Cleanup(f func())
	Fatalf(format string, args ...any)
}

// Start returns a service with these tokens, and the Config of a client for it. The service is
// closed when the test ends. Each token is a JSON document for [Service.AddV2] or [Service.AddV1]:
// one with the member _id is of V2, any other of V1. A mistake in a document ends the test.
//
//	service, config := tokenpatchtest.Start(t, `{"_id": "61095542756dba551110ae21", "name": "ci"}`)
//	client, err := tokenpatch.NewClient(config)
//
// In a bubble of testing/synctest, call Start in the bubble.
func Start(t TB, tokens ...string) (*Service, tokenpatch.Config) {
	t.Helper()
	service := New()
	t.Cleanup(service.Close)
	for _, document := range tokens {
		add := service.AddV1
		if strings.Contains(document, `"_id"`) { // which V1 would refuse
			add = service.AddV2
		}
		if err := add(document); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return service, tokenpatch.Config{
		V1:         tokenpatch.V1Config{APIKey: APIKey},
		V2:         tokenpatch.V2Config{AccessToken: AccessToken},
		HTTPClient: service.Client(),
	}
}
