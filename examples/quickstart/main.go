// Quickstart changes a token through each API, asks for one that does not exist, and makes more
// changes at once than the rate limit allows. It runs against a service inside this program,
// without an account and without a network.
//
//	go run ./examples/quickstart
//
// With credentials in the environment (see tokenpatch.ConfigFromEnv) and ids as flags, it makes the
// first two changes on the real services, and nothing else:
//
//	go run ./examples/quickstart -v1 6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11 -v2 61095542756dba551110ae21
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func main() {
	log.SetFlags(0)
	v1 := flag.String("v1", "", "UUID of a token of the real deepset API to rename, its role set to null")
	v2 := flag.String("v2", "", "id of a token of the real LaunchDarkly API to rename and to make read-only")
	flag.Parse()
	ctx := context.Background()
	if *v1 == "" && *v2 == "" {
		service, err := newService()
		if err != nil {
			log.Fatal(err)
		}
		defer service.Close()
		if err := demonstrate(ctx, service); err != nil {
			log.Fatal(err)
		}
		return
	}
	client, err := tokenpatch.NewClient(tokenpatch.ConfigFromEnv())
	if err != nil {
		log.Fatal(err)
	}
	if err := errors.Join(renameV1(ctx, client, *v1), renameV2(ctx, client, *v2)); err != nil {
		log.Fatal(err)
	}
}

// renameV1 gives the token a new name and takes its role away. What the update does not name stays as it is.
func renameV1(ctx context.Context, client *tokenpatch.Client, token string) error {
	if token == "" {
		return nil
	}
	id, err := uuid.Parse(token)
	if err != nil {
		return fmt.Errorf("-v1: %w", err)
	}
	err = client.V1.UpdateToken(ctx, id, tokenpatch.TokenUpdate{
		Name:   tokenpatch.Set("ci"),
		RoleID: tokenpatch.Null[uuid.UUID](),
	})
	fmt.Printf("V1 %s: %s\n", id, tokenpatch.OutcomeOf(err))
	return err
}

// renameV2 gives the token a new name and makes it read-only, whatever it could do before. The comment is for the audit log.
func renameV2(ctx context.Context, client *tokenpatch.Client, id string) error {
	if id == "" {
		return nil
	}
	options := tokenpatch.EditOptions{Comment: "quarterly review"}
	token, err := client.V2.EditToken(ctx, id, options, func(token *tokenpatch.Token) error {
		token.Name = tokenpatch.Set("deployer")
		token.UseRole(tokenpatch.RoleReader)
		return nil
	})
	fmt.Printf("V2 %s: %s\n", id, tokenpatch.OutcomeOf(err))
	if err != nil {
		return err
	}
	fmt.Printf("   now %q with the role %q\n", token.Name.Or(""), token.Role.Or(""))
	return nil
}

// The tokens of the service inside this program.
const (
	v1Token = "6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11"
	v2Token = "61095542756dba551110ae21"
)

// newService has one token of each API, and allows five changes of V2 a second.
func newService() (*tokenpatchtest.Service, error) {
	service := tokenpatchtest.New()
	service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: time.Second, Route: 5})
	return service, errors.Join(
		service.AddV1(`{"id": "`+v1Token+`", "name": "ci-old", "role_id": "0b9f8a52-0b0f-4c1e-8c7e-3f2b1a6d5c4e"}`),
		service.AddV2(`{"_id": "`+v2Token+`", "name": "deployer-old", "role": "writer"}`),
	)
}

func demonstrate(ctx context.Context, service *tokenpatchtest.Service) error {
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V1:         tokenpatch.V1Config{APIKey: tokenpatchtest.APIKey},
		V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: service.Client(), // reaches the service, whatever the base URL
	})
	if err != nil {
		return err
	}
	if err := errors.Join(renameV1(ctx, client, v1Token), renameV2(ctx, client, v2Token)); err != nil {
		return err
	}
	var notFound *tokenpatch.NotFoundError
	if err := renameV2(ctx, client, "no-such-token"); errors.As(err, &notFound) {
		fmt.Printf("   %s\n", notFound.Message)
	} else if err != nil {
		return err
	}
	return renameAtOnce(ctx, client, 12)
}

// renameAtOnce makes several changes at once. The client delays them by the rate limit, so none is
// refused.
func renameAtOnce(ctx context.Context, client *tokenpatch.Client, calls int) error {
	errs := make([]error, calls)
	var group sync.WaitGroup
	for i := range calls {
		group.Go(func() {
			_, errs[i] = client.V2.PatchToken(ctx, v2Token, tokenpatch.NewPatch().SetName(fmt.Sprint("deployer-", i)))
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Printf("V2 %s: %d changes at once, where 5 a second are allowed: applied\n", v2Token, calls)
	return nil
}
