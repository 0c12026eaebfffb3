package tokenpatch_test

import (
	"encoding/json"
	"fmt"

	"github.com/tokenpatch/tokenpatch"
)

// The setters are for what a token has; the six operations of RFC 6902 are for everything else.
func ExamplePatch_SetName() {
	fmt.Println(tokenpatch.NewPatch().SetName("deployer"))
	// Output:
	// replace /name "deployer"
}

func ExamplePatch_SetDescription() {
	fmt.Println(tokenpatch.NewPatch().SetDescription("deploys to production"))
	// Output:
	// replace /description "deploys to production"
}

func ExamplePatch_SetRole() {
	fmt.Println(tokenpatch.NewPatch().SetRole(tokenpatch.RoleReader))
	// Output:
	// replace /role "reader"
}

func ExamplePatch_SetCustomRoleIDs() {
	fmt.Println(tokenpatch.NewPatch().SetCustomRoleIDs("qa", "release"))
	// Output:
	// replace /customRoleIds ["qa","release"]
}

// Sending this patch twice would add the role twice: see [tokenpatch.Patch.Replay].
func ExamplePatch_AddCustomRoleID() {
	patch := tokenpatch.NewPatch().AddCustomRoleID("qa")
	fmt.Println(patch)
	fmt.Println(patch.Replay())
	// Output:
	// add /customRoleIds/- "qa"
	// unsafe
}

func ExamplePatch_SetInlineRole() {
	body, err := json.Marshal(tokenpatch.NewPatch().SetInlineRole(tokenpatch.Statement{
		Effect:    tokenpatch.EffectAllow,
		Resources: []string{"proj/*:env/production:flag/*"},
		Actions:   []string{"updateOn"},
	}))
	fmt.Println(string(body), err)
	// Output:
	// [{"op":"replace","path":"/inlineRole","value":[{"resources":["proj/*:env/production:flag/*"],"actions":["updateOn"],"effect":"allow"}]}] <nil>
}

func ExamplePatch_SetDefaultAPIVersion() {
	fmt.Println(tokenpatch.NewPatch().SetDefaultAPIVersion(20240415))
	// Output:
	// replace /defaultApiVersion 20240415
}

// The comment goes to the audit log. With one, the body of the request is an object.
func ExamplePatch_Comment() {
	body, err := json.Marshal(tokenpatch.NewPatch().SetName("ci").Comment("quarterly review"))
	fmt.Println(string(body), err)
	// Output:
	// {"comment":"quarterly review","patch":[{"op":"replace","path":"/name","value":"ci"}]} <nil>
}

func ExamplePatch_Add() {
	fmt.Println(tokenpatch.NewPatch().Add(tokenpatch.PathCustomRoleIDs.Append("0"), "qa"))
	// Output:
	// add /customRoleIds/0 "qa"
}

func ExamplePatch_Remove() {
	fmt.Println(tokenpatch.NewPatch().Remove(tokenpatch.PathDescription))
	// Output:
	// remove /description
}

// Text shows the values of known settings, and of nothing else: it may go to a log.
func ExamplePatch_Replace() {
	patch := tokenpatch.NewPatch().Replace(tokenpatch.PathRole, tokenpatch.RoleReader).Replace("/expiry", int64(1790000000000))
	fmt.Println(patch)
	// Output:
	// replace /role "reader"
	// replace /expiry [redacted]
}

func ExamplePatch_Move() {
	fmt.Println(tokenpatch.NewPatch().Move(tokenpatch.PathCustomRoleIDs.Append("2"), tokenpatch.PathCustomRoleIDs.Append("0")))
	// Output:
	// move /customRoleIds/2 /customRoleIds/0
}

func ExamplePatch_Copy() {
	fmt.Println(tokenpatch.NewPatch().Copy(tokenpatch.PathName, tokenpatch.PathDescription))
	// Output:
	// copy /name /description
}

func ExamplePatch_Len() {
	fmt.Println(tokenpatch.NewPatch().SetName("ci").SetRole(tokenpatch.RoleReader).Len())
	// Output:
	// 2
}

func ExamplePointer_Append() {
	fmt.Println(tokenpatch.PathInlineRole.Append("0", "actions", "-"))
	// Output:
	// /inlineRole/0/actions/-
}
