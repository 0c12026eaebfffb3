package tokenpatchtest_test

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// A program sends an update, and the connection breaks after the service has
// applied it. What does the program report, and what became of the token?
func Example() {
	service := tokenpatchtest.New()
	defer service.Close()
	err := service.AddV2(`{
		"_id": "61095542756dba551110ae21",
		"_links": {},
		"ownerId": "569f183514f4432160000007",
		"memberId": "569f183514f4432160000007",
		"name": "ci",
		"creationDate": 1443652232590,
		"lastModified": 1443652232590
	}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	service.Inject(tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter})

	request, err := http.NewRequest(http.MethodPatch,
		"https://app.launchdarkly.com/api/v2/tokens/61095542756dba551110ae21",
		strings.NewReader(`[{"op": "replace", "path": "/name", "value": "deployer"}]`))
	if err != nil {
		fmt.Println(err)
		return
	}
	request.Header.Set("Authorization", tokenpatchtest.AccessToken)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("LD-API-Version", "20240415")

	_, err = service.Client().Do(request) // the program under test goes here
	fmt.Println(err)
	fmt.Println("changes:", service.Changes("61095542756dba551110ae21"))
	// Output:
	// Patch "https://app.launchdarkly.com/api/v2/tokens/61095542756dba551110ae21": EOF
	// changes: 1
}

// Ten requests a window, of which another program has spent eight.
func ExampleService_SetLimits() {
	service := tokenpatchtest.New()
	defer service.Close()
	service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 10})
	service.Spend(tokenpatchtest.V2, 8)

	client := service.Client()
	for range 3 {
		request, err := http.NewRequest(http.MethodPatch, "http://localhost/api/v2/tokens/unknown", http.NoBody)
		if err != nil {
			fmt.Println(err)
			return
		}
		request.Header.Set("Authorization", tokenpatchtest.AccessToken)
		response, err := client.Do(request)
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = response.Body.Close()
		fmt.Println(response.StatusCode, response.Header.Get("X-Ratelimit-Global-Remaining"))
	}
	// Output:
	// 400 1
	// 400 0
	// 429 0
}
