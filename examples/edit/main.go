// Edit adds a custom role to an access token of V2 and removes another one, whatever happens
// meanwhile. It runs against a service inside this program. A second writer gets in the way, and a
// connection breaks. It needs no account and no network.
//
//	go run ./examples/edit
//	go run ./examples/edit -add qa -remove deploy
//
// With LAUNCHDARKLY_ACCESS_TOKEN in the environment (see tokenpatch.ConfigFromEnv) and an id, it
// edits a token on the real service:
//
//	go run ./examples/edit -id 61095542756dba551110ae21 -add qa
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func main() {
	id := flag.String("id", "", "id of a token of the real service; empty for the embedded one")
	add := flag.String("add", "qa", "id of a custom role to add; empty for none")
	remove := flag.String("remove", "ci", "id of a custom role to remove; empty for none")
	flag.Parse()
	run := embedded
	if *id != "" {
		run = func(ctx context.Context, add, remove string) error { return remote(ctx, *id, add, remove) }
	}
	if err := run(context.Background(), *add, *remove); err != nil {
		fmt.Fprintln(os.Stderr, "edit:", err)
		os.Exit(1)
	}
}

// remote edits a token of the real service.
func remote(ctx context.Context, id, add, remove string) error {
	client, err := tokenpatch.NewClient(tokenpatch.ConfigFromEnv())
	if err != nil {
		return err
	}
	return edit(ctx, client, id, add, remove, func() error { return nil })
}

// edit makes the change. Its function modifies the token into the desired state, and is called
// again if somebody else was quicker. meanwhile runs between the read and the change.
func edit(ctx context.Context, client *tokenpatch.Client, id, add, remove string, meanwhile func() error) error {
	options := tokenpatch.EditOptions{Comment: "quarterly review"}
	token, err := client.V2.EditToken(ctx, id, options, func(token *tokenpatch.Token) error {
		before := token.Clone()
		roles := slices.DeleteFunc(token.CustomRoleIDs.Or(nil), func(role string) bool { return role == remove })
		if add != "" && !slices.Contains(roles, add) {
			roles = append(roles, add)
		}
		if len(roles) > 0 || token.CustomRoleIDs.IsSet() {
			token.CustomRoleIDs = tokenpatch.Set(roles)
		}
		fmt.Printf("Read %s, with the roles %s\n", before.ID, strings.Join(before.CustomRoleIDs.Or(nil), ", "))
		showDifference(before, *token)
		return meanwhile()
	})
	if err != nil {
		return err
	}
	fmt.Printf("It has the roles %s\n", strings.Join(token.CustomRoleIDs.Or(nil), ", "))
	return nil
}

func showDifference(before, after tokenpatch.Token) {
	patch := tokenpatch.Diff(before, after)
	if patch.Len() == 0 {
		fmt.Println("   is as it should be: there is nothing to change")
		return
	}
	fmt.Println("   " + strings.ReplaceAll(patch.String(), "\n", "\n   "))
}

// The token of the embedded service.
const tokenID = "61095542756dba551110ae21"

// embedded edits a token while a second writer changes it too. The connection breaks after the
// change was applied.
func embedded(ctx context.Context, add, remove string) error {
	service := tokenpatchtest.New()
	defer service.Close()
	if err := service.AddV2(`{"_id": "61095542756dba551110ae21", "name": "deployer", "customRoleIds": ["ci", "deploy"]}`); err != nil {
		return err
	}
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: service.Client(), // reaches the embedded service, whatever the base URL
	})
	if err != nil {
		return err
	}
	done := false
	err = edit(ctx, client, tokenID, add, remove, func() error {
		if done {
			return nil
		}
		done = true
		return interfere(ctx, client, service)
	})
	if err != nil {
		return err
	}
	showRequests(service)
	token, err := client.V2.GetToken(ctx, tokenID)
	if err != nil {
		return err
	}
	return check(*token, add, remove)
}

// interfere is the second writer, and the broken connection.
func interfere(ctx context.Context, client *tokenpatch.Client, service *tokenpatchtest.Service) error {
	fmt.Println("A second writer adds the role audit meanwhile")
	if _, err := client.V2.PatchToken(ctx, tokenID, tokenpatch.NewPatch().AddCustomRoleID("audit")); err != nil {
		return err
	}
	isChange := func(r *http.Request) bool { return r.Method == http.MethodPatch }
	service.Inject(tokenpatchtest.Fault{Match: isChange}, // for the second writer's change
		tokenpatchtest.Fault{Match: isChange, Cut: tokenpatchtest.CutAfter})
	return nil
}

func showRequests(service *tokenpatchtest.Service) {
	fmt.Println("The requests, the second writer's included")
	for _, request := range service.Requests() {
		status := http.StatusText(request.Status)
		if request.Status == 0 {
			status = "connection broken"
		}
		if request.Applied {
			status += ", applied"
		}
		fmt.Printf("   %-26s %s\n", request.Route, status)
	}
}

// check holds the token against what was asked for by both writers.
func check(token tokenpatch.Token, add, remove string) error {
	roles := token.CustomRoleIDs.Or(nil)
	switch {
	case add != "" && !slices.Contains(roles, add), slices.Contains(roles, remove):
		return fmt.Errorf("the edit was lost: %q", roles)
	case remove != "audit" && !slices.Contains(roles, "audit"):
		return errors.New("the second writer's change was lost")
	}
	return nil
}
