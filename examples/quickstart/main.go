// Quickstart changes tokens through both APIs and meets every typed error once,
// against a service inside this program: no account, no network.
//
//	go run ./examples/quickstart
//
// With credentials in the environment (see tokenpatch.ConfigFromEnv) and ids as
// flags, it makes the same two changes on the real services, and nothing else:
//
//	go run ./examples/quickstart -v1 6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11 -v2 61095542756dba551110ae21
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func main() {
	v1 := flag.String("v1", "", "UUID of a token of the real deepset API to rename, its role set to null")
	v2 := flag.String("v2", "", "id of a token of the real LaunchDarkly API to rename, its role set to reader")
	flag.Parse()
	run := embedded
	if *v1 != "" || *v2 != "" {
		run = func(ctx context.Context) error { return real(ctx, *v1, *v2) }
	}
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// real makes the two changes on the real services, each where its id is given.
func real(ctx context.Context, v1, v2 string) error {
	client, err := tokenpatch.NewClient(tokenpatch.ConfigFromEnv())
	if err != nil {
		return err
	}
	if v1 != "" {
		id, err := uuid.Parse(v1)
		if err != nil {
			return fmt.Errorf("-v1: %w", err)
		}
		if err := rename(ctx, client, id); err != nil {
			return err
		}
	}
	if v2 != "" {
		return patch(ctx, client, v2)
	}
	return nil
}

// The tokens of the embedded service.
var deepsetToken = uuid.MustParse("6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11")

const launchDarklyToken = "61095542756dba551110ae21"

func embedded(ctx context.Context) error {
	service, err := newService()
	if err != nil {
		return err
	}
	defer service.Close()
	config := tokenpatch.Config{
		V1:         tokenpatch.V1Config{APIKey: tokenpatchtest.APIKey},
		V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: service.Client(), // reaches the embedded service, whatever the base URL
		Retry:      tokenpatch.RetryPolicy{MinBackoff: time.Millisecond},
	}
	client, err := tokenpatch.NewClient(config)
	if err != nil {
		return err
	}
	if err := rename(ctx, client, deepsetToken); err != nil {
		return err
	}
	if err := patch(ctx, client, launchDarklyToken); err != nil {
		return err
	}
	const want = `{"id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","name":"ci","organization_role":null,"personal":null,"role_id":null}`
	if token, _ := service.V1(deepsetToken.String()); string(token) != want {
		return fmt.Errorf("the service has another V1 token than was asked for: %s", token)
	}
	if err := refusals(ctx, client, config, service); err != nil {
		return err
	}
	return rateLimit(ctx, config, service)
}

func newService() (*tokenpatchtest.Service, error) {
	service := tokenpatchtest.New()
	return service, errors.Join(
		service.AddV1(`{
			"id": "6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11", "name": "ci-old",
			"role_id": "0b9f8a52-0b0f-4c1e-8c7e-3f2b1a6d5c4e"
		}`),
		service.AddV2(`{"_id": "61095542756dba551110ae21", "name": "deployer-old", "role": "writer"}`),
	)
}

// rename is V1: a field that is set, one that is null, and two that stay.
func rename(ctx context.Context, client *tokenpatch.Client, id uuid.UUID) error {
	fmt.Println("V1: a new name, and no role any more")
	err := client.V1.UpdateToken(ctx, id, tokenpatch.TokenUpdate{
		Name:   tokenpatch.Set("ci"),
		RoleID: tokenpatch.Null[uuid.UUID](),
	})
	fmt.Printf("   %s: %s\n", id, tokenpatch.OutcomeOf(err))
	return err
}

// patch is V2: a JSON Patch, built step by step, with a comment for the audit log.
func patch(ctx context.Context, client *tokenpatch.Client, id string) error {
	fmt.Println("V2: a patch with a comment")
	patch := tokenpatch.NewPatch().
		SetName("deployer").
		SetRole(tokenpatch.RoleReader).
		Comment("quarterly review")
	fmt.Println("   " + strings.ReplaceAll(patch.String(), "\n", "\n   "))
	token, err := client.V2.PatchToken(ctx, id, patch)
	if err != nil {
		return err
	}
	fmt.Printf("   %s: applied, now %q with the role %q\n", token.ID, token.Name.Or(""), token.Role.Or(""))
	return nil
}

// refusals meets every typed error once.
func refusals(ctx context.Context, client *tokenpatch.Client, config tokenpatch.Config, service *tokenpatchtest.Service) error {
	fmt.Println("Every refusal has a type, and tells what became of the token")
	config.V2.AccessToken = "not-the-token"
	stranger, err := tokenpatch.NewClient(config)
	if err != nil {
		return err
	}
	name := tokenpatch.NewPatch().SetName("renamed")
	stale := tokenpatch.NewPatch().Test(tokenpatch.PathName, "somebody else's").SetName("mine")
	v1 := func() error {
		return client.V1.UpdateToken(ctx, deepsetToken, tokenpatch.TokenUpdate{Name: tokenpatch.Set("taken")})
	}
	v2 := func(client *tokenpatch.Client, id string, patch *tokenpatch.Patch) func() error {
		return func() error {
			_, err := client.V2.PatchToken(ctx, id, patch)
			return err
		}
	}
	renamed := v2(client, launchDarklyToken, name)
	return errors.Join(
		refusal[*tokenpatch.InvalidRequestError](service, badRequest, renamed),
		refusal[*tokenpatch.UnauthorizedError](service, nothing, v2(stranger, launchDarklyToken, name)),
		refusal[*tokenpatch.ForbiddenError](service, forbidden, renamed),
		refusal[*tokenpatch.NotFoundError](service, nothing, v2(client, "no-such-token", name)),
		refusal[*tokenpatch.ConflictError](service, conflict, renamed),
		refusal[*tokenpatch.ValidationError](service, nameTaken, v1),
		refusal[*tokenpatch.PatchFailedError](service, nothing, v2(client, launchDarklyToken, stale)),
		refusal[*tokenpatch.ServerError](service, unavailable, renamed),
		refusal[*tokenpatch.RateLimitedError](service, anHourOff, v2(stranger, launchDarklyToken, name)),
	)
}

// What the service is told to respond, where it would not refuse by itself. A conflict on V2 and a service that is down
// pass, as a rule, so that the client tries again: four attempts in all.
var (
	nothing    tokenpatchtest.Fault
	badRequest = tokenpatchtest.Fault{Status: 400, Body: `{"code": "invalid_request", "message": "the request is not understood"}`}
	forbidden  = tokenpatchtest.Fault{Status: 403, Body: `{"code": "forbidden", "message": "the token may not do this"}`}
	conflict   = tokenpatchtest.Fault{Status: 409, Times: 4,
		Body: `{"code": "optimistic_locking_error", "message": "conflicts with a concurrent API request"}`}
	nameTaken   = tokenpatchtest.Fault{Status: 422, Body: `{"detail": [{"loc": ["body", "name"], "msg": "Name is taken", "type": "value_error"}]}`}
	unavailable = tokenpatchtest.Fault{Status: 503, Times: 4, Body: `{"code": "unavailable", "message": "try again later"}`}
	anHourOff   = tokenpatchtest.Fault{Status: 429, Header: map[string][]string{"Retry-After": {"3600"}},
		Body: `{"code": "rate_limited", "message": "try again in an hour"}`}
)

// refusal makes a call, for which the service does what fault says, and expects an error of type E.
func refusal[E error](service *tokenpatchtest.Service, fault tokenpatchtest.Fault, call func() error) error {
	if fault.Status != 0 {
		service.Inject(fault)
	}
	return expect[E](call())
}

// expect prints an error of the type E, and fails for any other.
func expect[E error](err error) error {
	var typed E
	if !errors.As(err, &typed) {
		return fmt.Errorf("want an error of type %T, got: %w", typed, err)
	}
	var api *tokenpatch.APIError
	if !errors.As(err, &api) {
		return fmt.Errorf("want an API error, got: %w", err)
	}
	fmt.Printf("   %d %-32T %-12s %s\n", api.StatusCode, typed, tokenpatch.OutcomeOf(err), api.Code)
	return nil
}

// rateLimit makes more calls than a window allows, all at once, with a client
// that knows nothing of the limit yet.
func rateLimit(ctx context.Context, config tokenpatch.Config, service *tokenpatchtest.Service) error {
	const calls, limit = 12, 5
	fmt.Printf("%d calls at once, where the account has %d a second\n", calls, limit)
	service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: time.Second, Route: limit})
	client, err := tokenpatch.NewClient(config)
	if err != nil {
		return err
	}
	before := service.RequestCount()
	done := make(chan error)
	for i := range calls {
		go func() {
			patch := tokenpatch.NewPatch().SetName(fmt.Sprint("deployer-", i))
			_, err := client.V2.PatchToken(ctx, launchDarklyToken, patch)
			done <- err
		}()
	}
	var errs []error
	for range calls {
		errs = append(errs, <-done)
	}
	refused := 0
	for _, request := range service.Requests()[before:] {
		if request.Status == 429 {
			refused++
		}
	}
	applied := service.Changes(launchDarklyToken) - 1
	fmt.Printf("   %d applied, %d refused with 429\n", applied, refused)
	if applied != calls || refused != 0 {
		errs = append(errs, fmt.Errorf("want %d calls applied, and none refused with 429", calls))
	}
	return errors.Join(errs...)
}
