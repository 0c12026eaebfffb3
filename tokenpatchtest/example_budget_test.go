package tokenpatchtest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func ExampleBudget() {
	service := tokenpatchtest.New()
	defer service.Close()
	budget := new(tokenpatchtest.Budget)
	for range 2 { // two programs share the account's budget
		client, err := tokenpatch.NewClient(tokenpatch.Config{
			V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken, Account: "acme"},
			HTTPClient: service.Client(),
			Budget:     budget,
		})
		if err != nil {
			panic(err)
		}
		_, err = client.V2.PatchToken(context.Background(), "61095542756dba551110ae21", tokenpatch.NewPatch().SetName("ci"))
		fmt.Println(tokenpatch.OutcomeOf(err))
	}
	for key := range budget.States() {
		fmt.Println(key)
	}
	// Output:
	// not applied
	// not applied
	// tokenpatch/ratelimit/2/https://app.launchdarkly.com/acme
}

func ExampleBudget_Update() {
	var budget tokenpatchtest.Budget
	add := func(state []byte, _ time.Time) ([]byte, time.Duration, error) {
		return append(state, 'x'), time.Hour, nil
	}
	for range 3 {
		if err := budget.Update(context.Background(), "key", add); err != nil {
			panic(err)
		}
	}
	budget.Before = func(context.Context) error { return errors.New("the store is down") }
	fmt.Println(budget.Update(context.Background(), "key", add))
	fmt.Printf("%s\n", budget.States()["key"])
	// Output:
	// the store is down
	// xxx
}

func ExampleBudget_Set() {
	var budget tokenpatchtest.Budget
	budget.Set("key", []byte("garbage"))
	fmt.Printf("%s\n", budget.States()["key"])
	// Output: garbage
}

func ExampleBudget_States() {
	var budget tokenpatchtest.Budget
	fmt.Println(len(budget.States()))
	// Output: 0
}
