package tokenpatch_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// The examples talk to a service in memory. A program has no HTTPClient to
// set: leave it nil.
func exampleService() (*tokenpatchtest.Service, *tokenpatch.Client, error) {
	service := tokenpatchtest.New()
	err := errors.Join(
		service.AddV1(`{"id": "3fa85f64-5717-4562-b3fc-2c963f66afa6"}`),
		service.AddV2(`{
			"_id": "61095542756dba551110ae21",
			"_links": {},
			"ownerId": "569f514156e003339cfd3917",
			"memberId": "569f514183f2164430000002",
			"name": "ci",
			"role": "writer",
			"customRoleIds": [],
			"creationDate": 1443652232590,
			"lastModified": 1469326565348
		}`))
	if err != nil {
		return nil, nil, err
	}
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V1:         tokenpatch.V1Config{APIKey: tokenpatchtest.APIKey},
		V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: service.Client(),
	})
	return service, client, err
}

// One client for both services, with credentials from the environment.
func ExampleNewClient() {
	config := tokenpatch.ConfigFromEnv()
	config.V2.AccessToken = "api-..." // or LAUNCHDARKLY_ACCESS_TOKEN
	config.UserAgent = "fleet/1.4"
	config.V2.BaseURL = tokenpatch.V2BaseURLEU

	client, err := tokenpatch.NewClient(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	fmt.Println(client.V1 != nil, client.V2 != nil)

	// What cannot be right is an error at once.
	config.V2.BaseURL = "http://app.launchdarkly.com"
	_, err = tokenpatch.NewClient(config)
	fmt.Println(err)
	// Output:
	// true true
	// tokenpatch: Config.V2.BaseURL: "http://app.launchdarkly.com": want https, which hides the credential; http is for loopback hosts, or with AllowInsecureHTTP
}

// Name the token and take its role away. What is not named stays as it is.
func ExampleV1Tokens_UpdateToken() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()

	id := uuid.MustParse("3fa85f64-5717-4562-b3fc-2c963f66afa6")
	err = client.V1.UpdateToken(context.Background(), id, tokenpatch.TokenUpdate{
		Name:   tokenpatch.Set("ci"),
		RoleID: tokenpatch.Null[uuid.UUID](),
	})
	fmt.Println(err)
	fmt.Printf("%s\n", service.Requests()[0].Body)
	// Output:
	// <nil>
	// {"name":"ci","role_id":null}
}

// Change two settings at once, with a comment for the audit log.
func ExampleV2Tokens_PatchToken() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()

	token, err := client.V2.PatchToken(context.Background(), "61095542756dba551110ae21",
		tokenpatch.NewPatch().SetName("deployer").SetRole(tokenpatch.RoleReader).Comment("quarterly review"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(token.Name, token.Role)
	// Output:
	// deployer reader
}

// The connection breaks after the service has added a role. Adding it again could add it twice, so
// the call ends with an unknown outcome.
func ExampleOutcomeOf() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()
	patch := tokenpatch.NewPatch().AddCustomRoleID("qa")
	report := func(id string) {
		_, err := client.V2.PatchToken(context.Background(), id, patch)
		switch tokenpatch.OutcomeOf(err) {
		case tokenpatch.OutcomeApplied:
			fmt.Println("done")
		case tokenpatch.OutcomeNotApplied:
			fmt.Println("nothing has changed:", err)
		case tokenpatch.OutcomeUnknown:
			fmt.Println("look before trying again:", err)
		}
	}

	report("61095542756dba551110ae21")
	report("")
	service.Inject(tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter})
	report("61095542756dba551110ae21")
	// Output:
	// done
	// nothing has changed: tokenpatch: id: "": want the id of an access token
	// look before trying again: tokenpatch: PATCH app.launchdarkly.com/api/v2/tokens/61095542756dba551110ae21: outcome unknown: EOF
}

// Every status has a type, and each of them is an *APIError as well.
func ExampleAPIError() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()
	service.Inject(tokenpatchtest.Fault{
		Status: http.StatusForbidden,
		Body:   `{"code": "forbidden", "message": "Your role does not allow this.", "id": "93f6f2ae"}`,
	})

	_, err = client.V2.PatchToken(context.Background(), "61095542756dba551110ae21", tokenpatch.NewPatch().SetName("x"))

	var forbidden *tokenpatch.ForbiddenError
	if errors.As(err, &forbidden) {
		fmt.Println("ask for a better token:", forbidden.Message)
	}
	var response *tokenpatch.APIError
	if errors.As(err, &response) {
		fmt.Println("status", response.StatusCode, "tell support", response.SupportID)
	}
	fmt.Println(err)
	// Output:
	// ask for a better token: Your role does not allow this.
	// status 403 tell support 93f6f2ae
	// tokenpatch: PATCH app.launchdarkly.com/api/v2/tokens/61095542756dba551110ae21: 403 forbidden: Your role does not allow this. (support id 93f6f2ae)
}

// V1 returns a message for each wrong field.
func ExampleValidationError() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()
	service.Inject(tokenpatchtest.Fault{
		Status: http.StatusUnprocessableEntity,
		Body:   `{"detail": [{"loc": ["body", "name"], "msg": "String should have at least 1 character", "type": "string_too_short"}]}`,
	})

	id := uuid.MustParse("3fa85f64-5717-4562-b3fc-2c963f66afa6")
	err = client.V1.UpdateToken(context.Background(), id, tokenpatch.TokenUpdate{Name: tokenpatch.Set("")})

	var invalid *tokenpatch.ValidationError
	if errors.As(err, &invalid) {
		for _, detail := range invalid.Details {
			fmt.Println(detail.Loc[len(detail.Loc)-1], "-", detail.Msg)
		}
	}
	// Output:
	// name - String should have at least 1 character
}

// A program's own test gives the program a client for a service in memory, injects a fault, and
// reads the token from the service.
func Example_testing() {
	// promote is the code under test.
	promote := func(ctx context.Context, client *tokenpatch.Client, id string) string {
		_, err := client.V2.PatchToken(ctx, id, tokenpatch.NewPatch().SetRole(tokenpatch.RoleAdmin))
		return tokenpatch.OutcomeOf(err).String()
	}
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()

	service.Inject(tokenpatchtest.Fault{Status: http.StatusForbidden})
	fmt.Println(promote(context.Background(), client, "61095542756dba551110ae21"), service.Changes("61095542756dba551110ae21"))
	fmt.Println(promote(context.Background(), client, "61095542756dba551110ae21"), service.Changes("61095542756dba551110ae21"))
	// Output:
	// not applied 0
	// applied 1
}
