package fleet_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// exampleStore is a store in a temporary folder, removed by done, and a client for a service with
// two tokens.
func exampleStore() (store *fleet.Store, client tokenpatch.Config, done func()) {
	service := tokenpatchtest.New()
	for _, document := range []string{
		`{"_id": "61095542756dba551110ae21", "name": "ci", "role": "admin", "customRoleIds": ["5f0c3ac24e2ecb0001a1b2c3"]}`,
		`{"_id": "61095542756dba551110ae22", "name": "cron", "role": "reader"}`,
	} {
		if err := service.AddV2(document); err != nil {
			panic(err) // the document is right
		}
	}
	if err := service.AddRole(`{"_id": "5f0c3ac24e2ecb0001a1b2c3", "key": "deployer"}`); err != nil {
		panic(err) // likewise
	}
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		panic(err)
	}
	store, err = fleet.Open(context.Background(), filepath.Join(dir, "review.db"))
	if err != nil {
		panic(err)
	}
	client = tokenpatch.Config{HTTPClient: service.Client(), V2: tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken}}
	return store, client, func() {
		_ = store.Close()
		service.Close()
		_ = os.RemoveAll(dir)
	}
}

// readersOnly wants three tokens to be readers. There is no third one.
func readersOnly(yield func(fleet.Change, error) bool) {
	for _, id := range []string{"61095542756dba551110ae21", "61095542756dba551110ae22", "61095542756dba551110ae23"} {
		want := &fleet.Want{Role: tokenpatch.Set(tokenpatch.RoleReader), RemoveCustomRoleIDs: []string{"deployer"}}
		if !yield(fleet.Change{ID: id, Want: want}, nil) {
			return
		}
	}
}

func Example() {
	ctx := context.Background()
	store, client, done := exampleStore()
	defer done()
	added, err := store.Add(ctx, "review", readersOnly, fleet.AddOptions{})
	fmt.Println(added, err)
	fmt.Println(store.Run(ctx, "review", fleet.Options{Client: client}))
	for result, err := range store.Results(ctx, "review") {
		fmt.Println(result.Change.ID, result.State, result.Attempts, result.Code, err)
	}
	// Output:
	// 3 <nil>
	// <nil>
	// 61095542756dba551110ae21 applied 1  <nil>
	// 61095542756dba551110ae22 applied 0  <nil>
	// 61095542756dba551110ae23 not_applied 0 not_found <nil>
}

// What a run would do, before anything is sent.
func ExamplePlan() {
	store, config, done := exampleStore()
	defer done()
	_ = store // a plan needs none
	client, err := tokenpatch.NewClient(config)
	if err != nil {
		panic(err)
	}
	for p, err := range fleet.Plan(context.Background(), client, readersOnly) {
		switch {
		case err != nil:
			fmt.Println(err)
		case p.Err != nil:
			fmt.Println(p.Change.ID, "cannot be read")
		case p.Patch.Len() == 0:
			fmt.Println(p.Change.ID, "is as wanted")
		default:
			fmt.Println(p.Change.ID, p.Before.Role, p.Before.CustomRoleIDs, "->", p.After.Role, p.After.CustomRoleIDs)
		}
	}
	// Output:
	// 61095542756dba551110ae21 admin [5f0c3ac24e2ecb0001a1b2c3] -> reader []
	// 61095542756dba551110ae22 is as wanted
	// 61095542756dba551110ae23 cannot be read
}

// Progress may be asked while the run is under way, and from another process.
func ExampleStore_Progress() {
	ctx := context.Background()
	store, client, done := exampleStore()
	defer done()
	if _, err := store.Add(ctx, "review", readersOnly, fleet.AddOptions{}); err != nil {
		panic(err)
	}
	before, _ := store.Progress(ctx, "review")
	fmt.Println(before.Pending, "of", before.Total())
	_ = store.Run(ctx, "review", fleet.Options{Client: client})
	after, err := store.Progress(ctx, "review")
	fmt.Println(after.Applied, after.NotApplied, after.Unknown, err)
	// Output:
	// 3 of 3
	// 2 1 0 <nil>
}

// What failed is put back for another try.
func ExampleStore_Retry() {
	ctx := context.Background()
	store, client, done := exampleStore()
	defer done()
	if _, err := store.Add(ctx, "review", readersOnly, fleet.AddOptions{}); err != nil {
		panic(err)
	}
	_ = store.Run(ctx, "review", fleet.Options{Client: client})
	n, err := store.Retry(ctx, "review", nil, fleet.StateNotApplied, fleet.StateUnknown)
	fmt.Println(n, err)
	// Output: 1 <nil>
}
