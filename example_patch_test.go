package tokenpatch_test

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tokenpatch/tokenpatch"
)

func ExampleNewPatch() {
	patch := tokenpatch.NewPatch().
		SetName("deployer").
		SetRole(tokenpatch.RoleReader).
		Comment("quarterly review")

	body, err := json.Marshal(patch)
	fmt.Println(string(body), err)
	// Output:
	// {"comment":"quarterly review","patch":[{"op":"replace","path":"/name","value":"deployer"},{"op":"replace","path":"/role","value":"reader"}]} <nil>
}

func ExamplePatch_Test() {
	// The name is changed only if it is still the one that was seen.
	patch := tokenpatch.NewPatch().
		Test(tokenpatch.PathName, "deployer").
		SetName("deployer (retired)")

	fmt.Println(patch)
	// Output:
	// test /name "deployer"
	// replace /name "deployer (retired)"
}

func ExamplePatch_Err() {
	patch := tokenpatch.NewPatch().
		SetName("deployer").
		Replace("/_id", "61095542756dba551110ae21")

	var mistake *tokenpatch.PatchError
	if errors.As(patch.Err(), &mistake) {
		fmt.Println(mistake.Index, mistake.Op, mistake.Path)
	}
	fmt.Println(mistake)
	// Output:
	// 1 replace /_id
	// tokenpatch: patch: operation 1: replace "/_id": not editable: a name in the path begins with an underscore
}

func ExamplePatch_Clone() {
	base := tokenpatch.NewPatch().SetRole(tokenpatch.RoleReader)
	for _, name := range []string{"staging", "production"} {
		fmt.Println(base.Clone().SetName(name))
	}
	// Output:
	// replace /role "reader"
	// replace /name "staging"
	// replace /role "reader"
	// replace /name "production"
}

func ExamplePatch_UnmarshalJSON() {
	var patch tokenpatch.Patch
	err := json.Unmarshal([]byte(`[{"op":"remove","path":"/description"}]`), &patch)
	fmt.Println(patch.Len(), err)

	err = json.Unmarshal([]byte(`[{"op":"replace","path":"/name"}]`), &patch)
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// tokenpatch: patch: operation 0: replace "/name": no member "value"
}

func ExampleNewPointer() {
	fmt.Println(tokenpatch.NewPointer("a/b", "~c", "0"))
	fmt.Println(tokenpatch.PathCustomRoleIDs.Append("-"))
	// Output:
	// /a~1b/~0c/0
	// /customRoleIds/-
}

func ExamplePointer_Tokens() {
	tokens, err := tokenpatch.Pointer("/a~1b/~01").Tokens()
	fmt.Printf("%q %v\n", tokens, err)
	// Output:
	// ["a/b" "~1"] <nil>
}

func ExampleField() {
	body, err := json.Marshal(struct {
		Name tokenpatch.Field[string] `json:"name,omitzero"`
		Role tokenpatch.Field[string] `json:"role,omitzero"`
		Note tokenpatch.Field[string] `json:"note,omitzero"`
	}{
		Name: tokenpatch.Set("ci"),
		Role: tokenpatch.Null[string](),
	})
	fmt.Println(string(body), err)
	// Output:
	// {"name":"ci","role":null} <nil>
}

func ExampleField_Get() {
	var token tokenpatch.Token
	err := json.Unmarshal([]byte(`{"name": "ci", "role": null}`), &token)
	if err != nil {
		fmt.Println(err)
		return
	}
	if name, ok := token.Name.Get(); ok {
		fmt.Println("name:", name)
	}
	fmt.Println("description:", token.Description.Or("none"))
	fmt.Println("role is null:", token.Role.IsNull())
	// Output:
	// name: ci
	// description: none
	// role is null: true
}

func ExampleSecret() {
	key := tokenpatch.Secret("api-4e5f6a7b")
	fmt.Printf("%v %q %#v\n", key, key, struct{ Key tokenpatch.Secret }{key})
	// Output:
	// [redacted] [redacted] struct { Key tokenpatch.Secret }{Key:[redacted]}
}

func ExampleExtra_Get() {
	var token tokenpatch.Token
	if err := json.Unmarshal([]byte(`{"_id": "61095542756dba551110ae21", "expiry": 1790000000000}`), &token); err != nil {
		fmt.Println(err)
		return
	}
	expiry, ok := token.Extra.Get("expiry")
	fmt.Println(string(expiry), ok)
	// Output:
	// 1790000000000 true
}
