package tokenpatch_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// exampleAccess is a token with all rights, whatever its base role is.
const exampleAccess = `{"role": "writer", "customRoleIds": ["5f0c1f2e3d4b5a6978879601"], "inlineRole": [{"effect": "allow", "resources": ["*"], "actions": ["*"]}]}`

// access shows what a change of exampleAccess does.
func access(change func(*tokenpatch.Token)) {
	var before tokenpatch.Token
	if err := json.Unmarshal([]byte(exampleAccess), &before); err != nil {
		fmt.Println(err)
		return
	}
	after := before.Clone()
	change(&after)
	fmt.Println(tokenpatch.Diff(before, after))
}

func ExampleToken_UseRole() {
	access(func(token *tokenpatch.Token) { token.UseRole(tokenpatch.RoleReader) })
	// Output:
	// replace /role "reader"
	// remove /customRoleIds
	// remove /inlineRole
}

func ExampleToken_UseCustomRoles() {
	access(func(token *tokenpatch.Token) { token.UseCustomRoles("5f0c1f2e3d4b5a6978879602") })
	// Output:
	// remove /role
	// replace /customRoleIds ["5f0c1f2e3d4b5a6978879602"]
	// remove /inlineRole
}

func ExampleToken_UseInlineRole() {
	access(func(token *tokenpatch.Token) {
		token.UseInlineRole(tokenpatch.Statement{Effect: tokenpatch.EffectDeny, Resources: []string{"*"}, Actions: []string{"*"}})
	})
	// Output:
	// remove /role
	// remove /customRoleIds
	// replace /inlineRole [{"resources":["*"],"actions":["*"],"effect":"deny"}]
}

// customRoleIds holds ids, and people know the keys.
func ExampleV2Tokens_CustomRoles() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()
	if err := service.AddRole(`{"_id": "5f0c1f2e3d4b5a6978879601", "key": "ops", "name": "Operations"}`); err != nil {
		fmt.Println(err)
		return
	}
	for role, err := range client.V2.CustomRoles(context.Background()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(role.Key, role.ID, role.Name)
	}
	// Output: ops 5f0c1f2e3d4b5a6978879601 Operations
}

func ExampleV2Tokens_Identity() {
	service, client, err := exampleService()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()
	identity, err := client.V2.Identity(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(identity.AccountID == tokenpatchtest.AccountID, identity.TokenName, identity.ServiceToken)
	// Output: true tokenpatchtest false
}
