package tokenpatch_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// What the environment does not have is left at its zero value, which means the
// default; a program sets the rest as it likes.
func ExampleConfigFromEnv() {
	os.Setenv("LAUNCHDARKLY_ACCESS_TOKEN", "api-0c9f4f6a-1f0e")
	os.Setenv("LAUNCHDARKLY_API_HOST", "app.eu.launchdarkly.com")
	defer os.Unsetenv("LAUNCHDARKLY_ACCESS_TOKEN")
	defer os.Unsetenv("LAUNCHDARKLY_API_HOST")

	config := tokenpatch.ConfigFromEnv()
	config.UserAgent = "reviews/2.0"
	fmt.Println(config.V2.BaseURL, config.V2.AccessToken)
	// Output:
	// https://app.eu.launchdarkly.com [redacted]
}

// A program that continues without its client closes the idle connections.
func ExampleClient_CloseIdleConnections() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()
	_, err = client.V2.PatchToken(context.Background(), "61095542756dba551110ae21", tokenpatch.NewPatch().SetName("ci"))
	client.CloseIdleConnections()
	fmt.Println(err)
	// Output:
	// <nil>
}

// The service asks for three minutes without requests, and the context ends earlier.
func ExampleV1Tokens_RateLimit() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()
	service.RefuseFor(tokenpatchtest.V1, 3*time.Minute)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	id := uuid.MustParse("3fa85f64-5717-4562-b3fc-2c963f66afa6")
	err = client.V1.UpdateToken(ctx, id, tokenpatch.TokenUpdate{Name: tokenpatch.Set("ci")})
	var limited *tokenpatch.RateLimitedError
	fmt.Println(errors.As(err, &limited))
	fmt.Println(time.Until(client.V1.RateLimit().PausedUntil).Round(time.Minute))
	// Output:
	// true
	// 3m0s
}

func ExampleV2Tokens_RateLimit() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()
	service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: time.Hour, Floating: true, Global: 10, Route: 5})

	fmt.Println(client.V2.RateLimit().Global.Remaining.IsSet())
	_, err = client.V2.PatchToken(context.Background(), "61095542756dba551110ae21", tokenpatch.NewPatch().SetName("ci"))
	if err != nil {
		fmt.Println(err)
		return
	}
	now := client.V2.RateLimit()
	fmt.Println(now.Global.Remaining, now.Routes["PATCH /api/v2/tokens/{id}"].Remaining)
	// Output:
	// false
	// 9 4
}

// A route opens when each limit that is used up has been reset.
func ExampleRateLimit_Opens() {
	now := time.Now()
	limit := tokenpatch.RateLimit{
		Global: tokenpatch.Quota{Remaining: tokenpatch.Set(0), Reset: now.Add(time.Second)},
		Routes: map[string]tokenpatch.Quota{"PATCH /api/v2/tokens/{id}": {Remaining: tokenpatch.Set(0), Reset: now.Add(4 * time.Second)}},
	}
	fmt.Println(limit.Opens("PATCH /api/v2/tokens/{id}").Sub(now), limit.Opens("GET /api/v2/tokens").Sub(now))
	// Output: 4s 1s
}

// Several parts of a program can listen to the same calls.
func ExampleJoinHooks() {
	service := tokenpatchtest.New()
	defer service.Close()
	if err := service.AddV2(`{"_id": "61095542756dba551110ae21"}`); err != nil {
		log.Fatal(err)
	}
	named := func(name string) tokenpatch.Hooks {
		return tokenpatch.Hooks{
			CallStart: func(ctx context.Context, call tokenpatch.CallInfo) context.Context {
				fmt.Println(name, "begins:", call.Method, call.TokenID)
				return ctx
			},
			CallEnd: func(_ context.Context, call tokenpatch.CallResult) { fmt.Println(name, "ends:", call.Outcome) },
		}
	}
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: service.Client(),
		Hooks:      tokenpatch.JoinHooks(named("metrics"), named("audit")),
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.V2.PatchToken(context.Background(), "61095542756dba551110ae21", tokenpatch.NewPatch().SetName("ci")); err != nil {
		log.Fatal(err)
	}
	// Output:
	// metrics begins: PATCH 61095542756dba551110ae21
	// audit begins: PATCH 61095542756dba551110ae21
	// audit ends: applied
	// metrics ends: applied
}

// The value of a token, passed as an id, is not sent, logged or stored.
func ExampleCheckTokenID() {
	fmt.Println(tokenpatch.CheckTokenID("61095542756dba551110ae21"))
	fmt.Println(tokenpatch.CheckTokenID("api-01234567-89ab-cdef-0123-456789abcdef"))
	// Output:
	// <nil>
	// tokenpatch: id: a credential: want the id of an access token, not its value
}

// A credential function reads the vault only after the service has refused the cached credential.
func ExampleV2Config_accessTokenFunc() {
	readVault := func(context.Context) (tokenpatch.Secret, error) {
		fmt.Println("the vault is read")
		return tokenpatchtest.AccessToken, nil
	}
	var mu sync.Mutex
	var kept tokenpatch.Secret
	cached := func(ctx context.Context, refused tokenpatch.Secret) (_ tokenpatch.Secret, err error) {
		mu.Lock()
		defer mu.Unlock()
		if kept == "" || kept == refused {
			kept, err = readVault(ctx)
		}
		return kept, err
	}

	service := tokenpatchtest.New()
	defer service.Close()
	if err := service.AddV2(`{"_id": "61095542756dba551110ae21"}`); err != nil {
		log.Fatal(err)
	}
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V2:         tokenpatch.V2Config{AccessTokenFunc: cached},
		HTTPClient: service.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	for range 1000 {
		if _, err := client.V2.GetToken(context.Background(), "61095542756dba551110ae21"); err != nil {
			log.Fatal(err)
		}
	}
	// Output: the vault is read
}

// An API key of V1 contains a JWT, which has its expiry.
func ExampleSecret_Expires() {
	key := tokenpatch.Secret("api_eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE3OTg3NjE2MDB9.c2ln")
	expiry, known := key.Expires()
	fmt.Println(expiry.UTC().Format(time.DateOnly), known)
	// Output: 2027-01-01 true
}
