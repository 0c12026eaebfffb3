package tokenpatch_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func ExampleV2Tokens_GetToken() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()

	token, err := client.V2.GetToken(context.Background(), "61095542756dba551110ae21")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(token.Name.Or(""), token.Role.Or(""))
	// Output: ci writer
}

func ExampleV2Tokens_Tokens() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()

	for token, err := range client.V2.Tokens(context.Background(), tokenpatch.TokensOptions{ShowAll: true}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(token.ID, token.Name.Or(""))
	}
	// Output: 61095542756dba551110ae21 ci
}

// Adding a missing role, and removing an existing one, takes a line each. The connection breaks
// after the change was applied, and the call still reports the outcome.
func ExampleV2Tokens_EditToken() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()
	service.Inject(tokenpatchtest.Fault{}, tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter})

	options := tokenpatch.EditOptions{Comment: "quarterly review"}
	token, err := client.V2.EditToken(context.Background(), "61095542756dba551110ae21", options, func(token *tokenpatch.Token) error {
		roles := slices.DeleteFunc(token.CustomRoleIDs.Or(nil), func(id string) bool { return id == "qa" || id == "deploy" })
		token.CustomRoleIDs = tokenpatch.Set(append(roles, "qa"))
		return nil
	})
	if err != nil {
		fmt.Println(tokenpatch.OutcomeOf(err), err)
		return
	}
	fmt.Println(token.CustomRoleIDs.Or(nil))
	fmt.Println("changes:", service.Changes("61095542756dba551110ae21"))
	// Output:
	// [qa]
	// changes: 1
}

// The response to a guarded patch is lost, and the patch is refused when it is sent again: was it
// applied, or was somebody else quicker? A read decides.
func ExampleV2Tokens_Settle() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()
	ctx := context.Background()
	before, err := client.V2.GetToken(ctx, "61095542756dba551110ae21")
	if err != nil {
		fmt.Println(err)
		return
	}
	patch := tokenpatch.NewPatch().AddCustomRoleID("qa").Guard(*before)

	service.Inject(tokenpatchtest.Fault{Status: 502, Apply: true})
	_, err = client.V2.PatchToken(ctx, before.ID, patch)
	fmt.Println(tokenpatch.OutcomeOf(err))

	outcome, token, err := client.V2.Settle(ctx, *before, patch)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(outcome, token.CustomRoleIDs.Or(nil))
	// Output:
	// unknown
	// applied [qa]
}
