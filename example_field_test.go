package tokenpatch_test

import (
	"encoding/json"
	"fmt"

	"github.com/tokenpatch/tokenpatch"
)

// Absent, null and set are three things.
func ExampleSet() {
	for _, update := range []tokenpatch.TokenUpdate{
		{},
		{Name: tokenpatch.Null[string]()},
		{Name: tokenpatch.Set("ci")},
	} {
		body, err := json.Marshal(update)
		fmt.Println(string(body), err)
	}
	// Output:
	// {} <nil>
	// {"name":null} <nil>
	// {"name":"ci"} <nil>
}

func ExampleNull() {
	name := tokenpatch.Null[string]()
	_, set := name.Get()
	fmt.Println(name.IsNull(), set)
	// Output:
	// true false
}

func ExampleField_IsSet() {
	var absent tokenpatch.Field[string]
	fmt.Println(absent.IsSet(), tokenpatch.Null[string]().IsSet(), tokenpatch.Set("").IsSet())
	// Output:
	// false false true
}

func ExampleToken_Clone() {
	token := tokenpatch.Token{CustomRoleIDs: tokenpatch.Set([]string{"ci"})}
	wanted := token.Clone()
	wanted.CustomRoleIDs.Or(nil)[0] = "deploy"
	fmt.Println(token.CustomRoleIDs, wanted.CustomRoleIDs)
	// Output:
	// [ci] [deploy]
}

func ExampleField_Equal() {
	ci := tokenpatch.Set([]string{"ci"})
	fmt.Println(ci.Equal(tokenpatch.Set([]string{"ci"})), ci.Equal(tokenpatch.Null[[]string]()))
	// Output:
	// true false
}

func ExampleField_IsNull() {
	var absent tokenpatch.Field[string]
	fmt.Println(absent.IsNull(), tokenpatch.Null[string]().IsNull(), tokenpatch.Set("").IsNull())
	// Output:
	// false true false
}

func ExampleField_IsZero() {
	var absent tokenpatch.Field[string]
	fmt.Println(absent.IsZero(), tokenpatch.Null[string]().IsZero(), tokenpatch.Set("").IsZero())
	// Output:
	// true false false
}

func ExampleField_Or() {
	var description tokenpatch.Field[string]
	fmt.Println(description.Or("no description"), tokenpatch.Set("deploys").Or("no description"))
	// Output:
	// no description deploys
}

func ExampleUnixMillis_Time() {
	var token tokenpatch.Token
	err := json.Unmarshal([]byte(`{"_id": "61095542756dba551110ae21", "creationDate": 1443652232590}`), &token)
	fmt.Println(token.CreationDate.Time().UTC(), err)
	// Output:
	// 2015-09-30 22:30:32.59 +0000 UTC <nil>
}
