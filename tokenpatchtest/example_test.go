package tokenpatchtest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// The examples change this token.
const exampleID = "61095542756dba551110ae21"

// exampleService returns a service with one token of V2, named "ci".
func exampleService() *tokenpatchtest.Service {
	service := tokenpatchtest.New()
	if err := service.AddV2(`{"_id": "61095542756dba551110ae21", "name": "ci"}`); err != nil {
		panic(err) // the document is right
	}
	return service
}

// renameRequest is what a program under test would send.
func renameRequest(baseURL, name string) *http.Request {
	request, err := http.NewRequest(http.MethodPatch, baseURL+"/api/v2/tokens/"+exampleID,
		strings.NewReader(`[{"op": "replace", "path": "/name", "value": "`+name+`"}]`))
	if err != nil {
		panic(err) // the base URL is right
	}
	request.Header.Set("Authorization", tokenpatchtest.AccessToken)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("LD-API-Version", "20240415")
	return request
}

// do sends a request and prints the status of the response, or the error.
func do(client *http.Client, request *http.Request) {
	response, err := client.Do(request)
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	fmt.Println(response.Status)
}

// readRequest is a GET of V2.
func readRequest(path string) *http.Request {
	request, err := http.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		panic(err) // the path is right
	}
	request.Header.Set("Authorization", tokenpatchtest.AccessToken)
	request.Header.Set("LD-API-Version", "20240415")
	return request
}

// show sends a request and prints the status, and the body of a success.
func show(client *http.Client, request *http.Request) {
	response, err := client.Do(request)
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		body = nil
	}
	fmt.Println(strings.TrimSpace(fmt.Sprintf("%d %s", response.StatusCode, body)))
}

// A program sends an update, and the connection breaks after the service has applied it. What does
// the program report?
func Example() {
	service := tokenpatchtest.New()
	defer service.Close()
	if err := service.AddV2(`{"_id": "61095542756dba551110ae21", "name": "ci"}`); err != nil {
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

func ExampleNew() {
	service := tokenpatchtest.New()
	defer service.Close()
	_, found := service.V2(exampleID)
	fmt.Println(found, service.RequestCount())
	// Output: false 0
}

// A token with only an id has null for everything else.
func ExampleService_AddV1() {
	service := tokenpatchtest.New()
	fmt.Println(service.AddV1(`{"id": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "name": "ci"}`))
	fmt.Println(service.AddV1(`{"id": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "organization_role": "OWNER"}`))
	// Output:
	// <nil>
	// tokenpatchtest: token: organization_role: OWNER: Input should be 'ADMIN', 'MEMBER' or 'EXTERNAL'
}

func ExampleService_V1() {
	service := tokenpatchtest.New()
	if err := service.AddV1(`{"id": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "name": "ci"}`); err != nil {
		fmt.Println(err)
		return
	}
	token, found := service.V1("3fa85f64-5717-4562-b3fc-2c963f66afa6")
	fmt.Println(string(token), found)
	// Output: {"id":"3fa85f64-5717-4562-b3fc-2c963f66afa6","name":"ci","organization_role":null,"personal":null,"role_id":null} true
}

// What the schema requires and the document lacks is filled in.
func ExampleService_AddV2() {
	service := tokenpatchtest.New()
	fmt.Println(service.AddV2(`{"_id": "61095542756dba551110ae21"}`))
	fmt.Println(service.AddV2(`{"_id": "61095542756dba551110ae21", "customRoleIds": "ci"}`))
	// Output:
	// <nil>
	// tokenpatchtest: token: customRoleIds: want an array
}

// What was added stays as it was written.
func ExampleService_V2() {
	service := tokenpatchtest.New()
	if err := service.AddV2(`{"_id": "61095542756dba551110ae21", "creationDate": 1443652232590, "future": 1.50}`); err != nil {
		fmt.Println(err)
		return
	}
	token, found := service.V2("61095542756dba551110ae21")
	fmt.Println(strings.ReplaceAll(string(token), ",", ",\n"), found)
	// Output:
	// {"_id": "61095542756dba551110ae21",
	//  "creationDate": 1443652232590,
	//  "future": 1.50,
	// "_links":{},
	// "ownerId":"569f183514f4432160000007",
	// "memberId":"569f183514f4432160000007",
	// "lastModified":1443652232590} true
}

// Somebody else deletes the token.
func ExampleService_Remove() {
	service := exampleService()
	defer service.Close()
	service.Remove(exampleID)
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	// Output: 404 Not Found
}

func ExampleService_Changes() {
	service := exampleService()
	defer service.Close()
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	fmt.Println(service.Changes(exampleID))
	// Output:
	// 200 OK
	// 200 OK
	// 2
}

func ExampleService_History() {
	service := exampleService()
	defer service.Close()
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	for _, change := range service.History(exampleID) {
		fmt.Printf("request %d: %s\n", change.Request, change.Body)
	}
	// Output:
	// 200 OK
	// request 0: [{"op": "replace", "path": "/name", "value": "deployer"}]
}

func ExampleService_Requests() {
	service := exampleService()
	defer service.Close()
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	for _, request := range service.Requests() {
		fmt.Println(request.Route, request.Status, request.Applied)
	}
	// Output:
	// 200 OK
	// PATCH /api/v2/tokens/{id} 200 true
}

func ExampleService_RequestCount() {
	service := exampleService()
	defer service.Close()
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	fmt.Println(service.RequestCount())
	// Output:
	// 200 OK
	// 1
}

// The first request finds the service busy.
func ExampleService_Inject() {
	service := exampleService()
	defer service.Close()
	service.Inject(tokenpatchtest.Fault{Status: http.StatusServiceUnavailable, Body: `{"code": "unavailable", "message": "busy"}`})
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	// Output:
	// 503 Service Unavailable
	// 200 OK
}

// The connection breaks, and the request is applied a moment later.
func ExampleService_Inject_late() {
	service := exampleService()
	defer service.Close()
	service.Inject(tokenpatchtest.Fault{Late: 50 * time.Millisecond})
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	for service.Changes(exampleID) == 0 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("changes:", service.Changes(exampleID))
	// Output:
	// error: Patch "http://localhost/api/v2/tokens/61095542756dba551110ae21": EOF
	// changes: 1
}

// A proxy sends the request twice, and the program sees one response.
func ExampleService_Inject_duplicate() {
	service := exampleService()
	defer service.Close()
	service.Inject(tokenpatchtest.Fault{Duplicate: true})
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	fmt.Println("changes:", service.Changes(exampleID))
	// Output:
	// 200 OK
	// changes: 2
}

func ExampleService_ClearFaults() {
	service := exampleService()
	defer service.Close()
	service.Inject(tokenpatchtest.Fault{Times: -1, Status: http.StatusBadGateway})
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	service.ClearFaults()
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	// Output:
	// 502 Bad Gateway
	// 200 OK
}

// One request in three meets a fault, and always the same ones.
func ExampleService_SetSeed() {
	service := exampleService()
	defer service.Close()
	service.SetSeed(7)
	service.Inject(tokenpatchtest.Fault{Chance: 1. / 3, Times: -1, Status: http.StatusBadGateway})
	for range 4 {
		do(service.Client(), renameRequest("http://localhost", "deployer"))
	}
	// Output:
	// 200 OK
	// 200 OK
	// 502 Bad Gateway
	// 502 Bad Gateway
}

// An undocumented member is refused, unless a test allows it.
func ExampleService_SetOptions() {
	service, config := tokenpatchtest.Start(example{}, `{"_id": "61095542756dba551110ae21"}`)
	client, err := tokenpatch.NewClient(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, members := range [][]string{nil, {"expiry"}} {
		service.SetOptions(tokenpatchtest.Options{Members: members})
		_, err = client.V2.PatchToken(context.Background(), exampleID, tokenpatch.NewPatch().Add("/expiry", 1798761600000))
		fmt.Println(members, tokenpatch.OutcomeOf(err))
	}
	// Output:
	// [] not applied
	// [expiry] applied
}

func ExampleService_SetCredentials() {
	service := exampleService()
	defer service.Close()
	service.SetCredentials("rotated key", "rotated token")
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	// Output: 401 Unauthorized
}

// A second credential, which may not read custom roles.
func ExampleService_AddCredential() {
	service := exampleService()
	defer service.Close()
	service.AddCredential(tokenpatchtest.Credential{AccessToken: "second", TokenID: exampleID, NoRoles: true})
	for _, path := range []string{"/api/v2/caller-identity", "/api/v2/roles"} {
		request := readRequest(path)
		request.Header.Set("Authorization", "second")
		show(service.Client(), request)
	}
	// Output:
	// 200 {"accountId":"569f183514f4432160000001","authKind":"token","memberId":"569f183514f4432160000007","serviceToken":false,"tokenId":"61095542756dba551110ae21","tokenKind":"auth","tokenName":"ci"}
	// 403
}

// A token has a custom role by its id. Its key is refused.
func ExampleService_AddRole() {
	service, config := tokenpatchtest.Start(example{}, `{"_id": "61095542756dba551110ae21"}`)
	fmt.Println(service.AddRole(`{"_id": "5f0c1f2e3d4b5a6978879601", "key": "ops"}`))
	show(config.HTTPClient, readRequest("/api/v2/roles/ops"))

	client, err := tokenpatch.NewClient(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, role := range []string{"ops", "5f0c1f2e3d4b5a6978879601"} {
		_, err = client.V2.PatchToken(context.Background(), exampleID, tokenpatch.NewPatch().SetCustomRoleIDs(role))
		fmt.Println(role, tokenpatch.OutcomeOf(err))
	}
	// Output:
	// <nil>
	// 200 {"_id":"5f0c1f2e3d4b5a6978879601","key":"ops","_links":{},"name":"ops","policy":[]}
	// ops not applied
	// 5f0c1f2e3d4b5a6978879601 applied
}

func ExampleService_SetLatency() {
	service := exampleService()
	defer service.Close()
	service.SetLatency(20 * time.Millisecond)
	start := time.Now()
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	fmt.Println(time.Since(start) >= 20*time.Millisecond)
	// Output:
	// 200 OK
	// true
}

func ExampleService_SetClockOffset() {
	service := exampleService()
	defer service.Close()
	service.SetClockOffset(-24 * time.Hour)
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	behind := time.Since(service.History(exampleID)[0].Time)
	fmt.Println(behind.Round(time.Hour))
	// Output:
	// 200 OK
	// 24h0m0s
}

// Ten requests a window. Another program has spent eight of them.
func ExampleService_SetLimits() {
	service := exampleService()
	defer service.Close()
	service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 10, Window: time.Hour, Floating: true})
	service.Spend(tokenpatchtest.V2, 8)

	client := service.Client()
	for range 3 {
		response, err := client.Do(renameRequest("http://localhost", "deployer"))
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = response.Body.Close()
		fmt.Println(response.StatusCode, response.Header.Get("X-Ratelimit-Global-Remaining"))
	}
	// Output:
	// 200 1
	// 200 0
	// 429 0
}

// Another program leaves nothing of the window.
func ExampleService_Spend() {
	service := exampleService()
	defer service.Close()
	service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Route: 5, Window: time.Hour, Floating: true})
	service.Spend(tokenpatchtest.V2, 5)
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	// Output: 429 Too Many Requests
}

func ExampleService_RefuseFor() {
	service := exampleService()
	defer service.Close()
	service.RefuseFor(tokenpatchtest.V2, time.Hour)
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	service.RefuseFor(tokenpatchtest.V2, 0)
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	// Output:
	// 429 Too Many Requests
	// 200 OK
}

func ExampleService_Windows() {
	service := exampleService()
	defer service.Close()
	service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 1, Window: time.Hour, Floating: true})
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	do(service.Client(), renameRequest("http://localhost", "deployer"))
	for _, w := range service.Windows(tokenpatchtest.V2) {
		fmt.Println(w.Reset.Sub(w.Start), w.Admitted, w.Refused)
	}
	// Output:
	// 200 OK
	// 429 Too Many Requests
	// 1h0m0s 1 1
}

// The client reaches the service whatever the base URL.
func ExampleService_Client() {
	service := exampleService()
	defer service.Close()
	do(service.Client(), renameRequest("https://app.launchdarkly.com", "deployer"))
	// Output: 200 OK
}

func ExampleService_Listen() {
	service := exampleService()
	defer service.Close()
	baseURL, err := service.Listen()
	if err != nil {
		fmt.Println(err)
		return
	}
	do(http.DefaultClient, renameRequest(baseURL, "deployer"))
	// Output: 200 OK
}

// Over TLS the service speaks HTTP/2.
func ExampleService_ListenTLS() {
	service := exampleService()
	defer service.Close()
	baseURL, client, err := service.ListenTLS()
	if err != nil {
		fmt.Println(err)
		return
	}
	response, err := client.Do(renameRequest(baseURL, "deployer"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	fmt.Println(response.Proto, response.Status)
	// Output: HTTP/2.0 200 OK
}

func ExampleService_ServeHTTP() {
	service := exampleService()
	recorder := httptest.NewRecorder()
	service.ServeHTTP(recorder, renameRequest("", "deployer"))
	fmt.Println(recorder.Code)
	// Output: 200
}

// A closed service still returns its tokens.
func ExampleService_Close() {
	service := exampleService()
	client := service.Client()
	do(client, renameRequest("http://localhost", "deployer"))
	service.Close()
	do(client, renameRequest("http://localhost", "late"))
	fmt.Println(service.Changes(exampleID))
	// Output:
	// 200 OK
	// error: Patch "http://localhost/api/v2/tokens/61095542756dba551110ae21": tokenpatchtest: the service is closed: use of closed network connection
	// 1
}
