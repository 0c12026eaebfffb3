package tokenpatch_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

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
	// The name is changed only if it is still "ci".
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
	token := decoded(`{"_id": "61095542756dba551110ae21", "expiry": 1790000000000}`)
	expiry, ok := token.Extra.Get("expiry")
	fmt.Println(string(expiry), ok)
	// Output:
	// 1790000000000 true
}

// An unknown setting, in all its three states.
func ExampleExtra_Decode() {
	for _, token := range []tokenpatch.Token{decoded(`{"expiry": 1790000000000}`), decoded(`{"expiry": null}`), decoded(`{}`)} {
		var expiry tokenpatch.Field[tokenpatch.UnixMillis]
		ok, err := token.Extra.Decode("expiry", &expiry)
		fmt.Println(expiry, ok, err)
	}
	// Output:
	// 2026-09-21T14:13:20.000Z true <nil>
	// <null> true <nil>
	// <absent> false <nil>
}

func ExampleExtra_Set() {
	var token tokenpatch.Token
	fmt.Println(token.Extra.Set("expiry", time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()))
	fmt.Println(token.Extra.Set("name", "ci"))
	expiry, _ := token.Extra.Get("expiry")
	fmt.Println(string(expiry))
	// Output:
	// <nil>
	// tokenpatch: Extra: "name": want a name for which there is no field: set the field
	// 1798761600000
}

func ExampleExtra_Delete() {
	token := decoded(`{"expiry": 1790000000000, "tier": 2}`)
	token.Extra.Delete("expiry")
	fmt.Println(token.Extra)
	// Output:
	// ["tier"]
}

func ExampleExtra_All() {
	for name, value := range decoded(`{"expiry": 1790000000000, "tier": {"level": 2}}`).Extra.All() {
		fmt.Println(name, string(value))
	}
	// Output:
	// expiry 1790000000000
	// tier {"level": 2}
}

func ExampleExtra_Equal() {
	one, other := decoded(`{"expiry": 1, "tier": 2}`), decoded(`{"tier": 2.0, "expiry": 1}`)
	fmt.Println(one.Extra.Equal(other.Extra))
	// Output:
	// true
}

// decoded returns the Token in data.
func decoded(data string) (token tokenpatch.Token) {
	if err := json.Unmarshal([]byte(data), &token); err != nil {
		fmt.Println(err)
	}
	return token
}

// A program that sends patches of others can check them against a policy first.
func ExamplePatch_Operations() {
	var patch tokenpatch.Patch
	if err := json.Unmarshal([]byte(`{"comment": "quarterly review", "patch": [{"op": "replace", "path": "/role", "value": "admin"}]}`), &patch); err != nil {
		fmt.Println(err)
		return
	}
	for _, op := range patch.Operations() {
		if op.Path == tokenpatch.PathRole && string(op.Value) == `"admin"` {
			fmt.Printf("refused: %s of %s to %s\n", op.Op, op.Path, op.Value)
		}
	}
	// Output: refused: replace of /role to "admin"
}

func ExamplePatch_CommentText() {
	patch := tokenpatch.NewPatch().SetName("ci").Comment("quarterly review")
	fmt.Println(patch.CommentText())
	// Output: quarterly review
}
