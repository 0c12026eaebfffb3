package tokenpatch_test

import (
	"encoding/json"
	"fmt"

	"github.com/tokenpatch/tokenpatch"
)

const exampleToken = `{"_id": "61095542756dba551110ae21", "name": "deployer", "role": "writer", "customRoleIds": ["ci", "deploy"], "lastModified": 1628001602644}`

func ExampleDiff() {
	var before tokenpatch.Token
	if err := json.Unmarshal([]byte(exampleToken), &before); err != nil {
		fmt.Println(err)
		return
	}
	after := before
	after.Role = tokenpatch.Set(tokenpatch.RoleReader)
	after.Description = tokenpatch.Set("Deploys from CI")
	after.CustomRoleIDs = tokenpatch.Set([]string{"deploy", "ci"}) // the same set

	patch := tokenpatch.Diff(before, after)
	fmt.Println(patch)
	fmt.Println("the other way round:")
	fmt.Println(tokenpatch.Diff(after, before))
	fmt.Println("operations from a token to itself:", tokenpatch.Diff(after, after).Len())
	// Output:
	// add /description "Deploys from CI"
	// replace /role "reader"
	// the other way round:
	// remove /description
	// replace /role "writer"
	// operations from a token to itself: 0
}

func ExamplePatch_Guard() {
	var before tokenpatch.Token
	if err := json.Unmarshal([]byte(exampleToken), &before); err != nil {
		fmt.Println(err)
		return
	}
	patch := tokenpatch.NewPatch().SetName("deployer (retired)").Guard(before)
	fmt.Println(patch)

	fmt.Println("before has no description, so the patch tests /lastModified:")
	fmt.Println(tokenpatch.NewPatch().SetDescription("Deploys from CI").Guard(before))
	// Output:
	// test /name "deployer"
	// replace /name "deployer (retired)"
	// before has no description, so the patch tests /lastModified:
	// test /lastModified 1628001602644
	// replace /description "Deploys from CI"
}

func ExamplePatch_WithoutLastModified() {
	var before tokenpatch.Token
	if err := json.Unmarshal([]byte(exampleToken), &before); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tokenpatch.NewPatch().SetRole(tokenpatch.RoleReader).Guard(before).WithoutLastModified())
	// Output:
	// test /role "writer"
	// replace /role "reader"
}

func ExamplePatch_Apply() {
	var before tokenpatch.Token
	if err := json.Unmarshal([]byte(exampleToken), &before); err != nil {
		fmt.Println(err)
		return
	}
	after, err := tokenpatch.NewPatch().
		SetName("deployer (retired)").
		Remove("/customRoleIds/0").
		Apply(before)
	fmt.Println(after.Name, after.CustomRoleIDs, err)

	_, err = tokenpatch.NewPatch().SetName("mine").SetDescription("mine").Apply(before)
	fmt.Println(err)
	// Output:
	// deployer (retired) [deploy] <nil>
	// tokenpatch: patch: operation 1: replace "/description": no value at this path
}

func ExamplePatch_ApplyJSON() {
	document := []byte(`{"limits": {"calls": 9007199254740993}, "regions": ["eu"]}`)
	after, err := tokenpatch.NewPatch().
		Test("/limits/calls", json.Number("9007199254740993.0")).
		Add("/regions/-", "us").
		ApplyJSON(document)
	fmt.Println(string(after), err)
	// Output:
	// {"limits":{"calls":9007199254740993},"regions":["eu","us"]} <nil>
}
