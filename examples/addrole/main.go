// Addrole adds a custom role to every service token of the account without it.
//
//	LAUNCHDARKLY_ACCESS_TOKEN=... go run github.com/tokenpatch/tokenpatch/examples/addrole@latest ops
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"

	"github.com/tokenpatch/tokenpatch"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("want one argument: the key of a custom role")
	}
	if err := addRole(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func addRole(ctx context.Context, key string) error {
	client, err := tokenpatch.NewClient(tokenpatch.ConfigFromEnv())
	if err != nil {
		return err
	}
	role, err := idOf(ctx, client, key)
	if err != nil {
		return err
	}
	options := tokenpatch.EditOptions{Comment: "every service token gets " + key}
	for token, err := range client.V2.Tokens(ctx, tokenpatch.TokensOptions{}) {
		if err != nil {
			return err
		}
		if !token.ServiceToken.Or(false) {
			continue
		}
		_, err = client.V2.EditToken(ctx, token.ID, options, func(token *tokenpatch.Token) error {
			roles := token.CustomRoleIDs.Or(nil)
			if !slices.Contains(roles, role) {
				token.CustomRoleIDs = tokenpatch.Set(append(roles, role))
			}
			return nil
		})
		fmt.Printf("%s: %s\n", token.ID, tokenpatch.OutcomeOf(err))
		if err != nil {
			return err
		}
	}
	return nil
}

// idOf returns the id of a custom role, which is what tokens hold, by its key.
func idOf(ctx context.Context, client *tokenpatch.Client, key string) (string, error) {
	for role, err := range client.V2.CustomRoles(ctx) {
		if err != nil {
			return "", err
		}
		if role.Key == key {
			return role.ID, nil
		}
	}
	return "", fmt.Errorf("no custom role has the key %q", key)
}
