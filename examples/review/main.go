// Review reads an access token of V2, shows a change, and makes it only if the token is still the
// same. It runs against a service inside this program: no account, no network.
//
//	go run ./examples/review
//	go run ./examples/review -dry-run
//	go run ./examples/review -token token.json -want '{"role": "reader", "description": null}'
//
// -token is the token of the service in this program. -want is the desired settings: missing ones
// stay, and null removes one. Each is a file, or the JSON itself.
//
// With LAUNCHDARKLY_ACCESS_TOKEN in the environment (see tokenpatch.ConfigFromEnv) and an id, it
// reviews a token of the real service:
//
//	go run ./examples/review -id 61095542756dba551110ae21 -want '{"role": "reader"}' -dry-run
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const exampleToken = `{
	"_id": "61095542756dba551110ae21", "ownerId": "569f514156e003339cfd3917", "memberId": "569f514183f2164430000002",
	"name": "deployer", "role": "writer", "customRoleIds": ["ci", "deploy"], "token": "1234", "serviceToken": true,
	"inlineRole": [{"effect": "allow", "resources": ["proj/*"], "actions": ["*"]}],
	"creationDate": 1628001602644, "lastModified": 1628001602644, "_links": {}, "defaultApiVersion": 20220603
}`

const exampleWant = `{
	"description": "Deploys from CI", "role": "reader", "customRoleIds": ["deploy", "ci"],
	"inlineRole": null, "defaultApiVersion": 20240415
}`

func main() {
	id := flag.String("id", "", "id of a token of the real service; empty for the embedded one")
	token := flag.String("token", exampleToken, "the token of the embedded service: a file, or its JSON")
	want := flag.String("want", exampleWant, "the settings wanted: a file, or their JSON")
	dryRun := flag.Bool("dry-run", false, "show what would change, and send nothing")
	flag.Parse()
	run := func(ctx context.Context) error { return embedded(ctx, *token, *want, *dryRun) }
	if *id != "" {
		run = func(ctx context.Context) error { return remote(ctx, *id, *want, *dryRun) }
	}
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "review:", err)
		os.Exit(1)
	}
}

// remote reviews a token of the real service.
func remote(ctx context.Context, id, want string, dryRun bool) error {
	client, err := tokenpatch.NewClient(tokenpatch.ConfigFromEnv())
	if err != nil {
		return err
	}
	_, _, err = review(ctx, client, id, want, dryRun)
	return err
}

// embedded reviews the token of a service in this program, and sends the patch
// once more, as a second reviewer would who has read the token before the first
// one changed it.
func embedded(ctx context.Context, token, want string, dryRun bool) error {
	document, err := read(token)
	if err != nil {
		return fmt.Errorf("-token: %w", err)
	}
	var seeded tokenpatch.Token
	if err := json.Unmarshal(document, &seeded); err != nil {
		return fmt.Errorf("-token: %w", err)
	}
	service := tokenpatchtest.New()
	defer service.Close()
	if err := service.AddV2(string(document)); err != nil {
		return fmt.Errorf("-token: %w", err)
	}
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: service.Client(), // reaches the embedded service, whatever the base URL
	})
	if err != nil {
		return err
	}
	guarded, guards, err := review(ctx, client, seeded.ID, want, dryRun)
	if err != nil || dryRun || guards == 0 {
		return err
	}
	return sendAgain(ctx, client, service, seeded.ID, guarded)
}

// review reads a token, shows what would change, and changes it. It returns the
// patch, and how many of its operations guard it.
func review(ctx context.Context, client *tokenpatch.Client, id, want string, dryRun bool) (guarded *tokenpatch.Patch, guards int, err error) {
	before, err := client.V2.GetToken(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	after, err := readWanted(want, *before)
	if err != nil {
		return nil, 0, fmt.Errorf("-want: %w", err)
	}
	patch := tokenpatch.Diff(*before, after)
	if err := patch.Err(); err != nil {
		return nil, 0, err
	}
	fmt.Printf("Token %s, %q\n", before.ID, before.Name.Or(""))
	if patch.Len() == 0 {
		fmt.Println("   is as it should be: there is nothing to change")
		return nil, 0, nil
	}
	if err := showChanges(*before, after, patch); err != nil {
		return nil, 0, err
	}
	guarded = patch.Comment("quarterly review").Guard(*before)
	showOperations(guarded)
	if dryRun {
		fmt.Println("Dry run: nothing is sent")
		return guarded, 0, nil
	}
	return guarded, guarded.Len() - patch.Len(), apply(ctx, client, after, guarded)
}

// read returns source itself if it is JSON, else the content of the file.
func read(source string) ([]byte, error) {
	if strings.HasPrefix(strings.TrimSpace(source), "{") {
		return []byte(source), nil
	}
	return os.ReadFile(source)
}

var settings = []string{"name", "description", "role", "customRoleIds", "inlineRole", "defaultApiVersion"}

// readWanted returns the token as it would be with the settings wanted.
func readWanted(source string, before tokenpatch.Token) (after tokenpatch.Token, err error) {
	data, err := read(source)
	if err != nil {
		return after, err
	}
	var wanted map[string]json.RawMessage
	if err := json.Unmarshal(data, &wanted); err != nil {
		return after, err
	}
	patch := tokenpatch.NewPatch()
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if !slices.Contains(settings, name) {
			return after, fmt.Errorf("%q is not a setting: want one of %q", name, settings)
		}
		path := tokenpatch.NewPointer(name)
		patch.Add(path, wanted[name])
		if string(wanted[name]) == "null" {
			patch.Remove(path) // which is sure to be there now
		}
	}
	return patch.Apply(before)
}

// showChanges shows every changed setting, before and after.
func showChanges(before, after tokenpatch.Token, patch *tokenpatch.Patch) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	var operations []struct{ Path string }
	var was, becomes map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(body, &operations), remarshal(before, &was), remarshal(after, &becomes)); err != nil {
		return err
	}
	for _, operation := range operations {
		name := strings.TrimPrefix(operation.Path, "/")
		fmt.Printf("   %s\n      before  %s\n      after   %s\n", name, orNone(was[name]), orNone(becomes[name]))
	}
	return nil
}

func remarshal(token tokenpatch.Token, members *map[string]json.RawMessage) error {
	data, err := json.Marshal(token)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, members)
}

func orNone(value json.RawMessage) string {
	if value == nil {
		return "none"
	}
	return string(value)
}

func showOperations(guarded *tokenpatch.Patch) {
	fmt.Println("The operations, behind tests that the token is as it was reviewed")
	fmt.Println("   " + strings.ReplaceAll(guarded.String(), "\n", "\n   "))
}

// apply sends the patch, and looks at what the token is then.
func apply(ctx context.Context, client *tokenpatch.Client, after tokenpatch.Token, guarded *tokenpatch.Patch) error {
	fmt.Println("Sent")
	token, err := client.V2.PatchToken(ctx, after.ID, guarded)
	fmt.Println("   " + tokenpatch.OutcomeOf(err).String())
	if err != nil {
		return err
	}
	if rest := tokenpatch.Diff(*token, after); rest.Len() > 0 {
		return fmt.Errorf("the token is not as it should be. What is left to do:\n%s", rest)
	}
	return nil
}

func sendAgain(ctx context.Context, client *tokenpatch.Client, service *tokenpatchtest.Service, id string, guarded *tokenpatch.Patch) error {
	fmt.Println("Sent by somebody else as well, who had reviewed the same token")
	_, err := client.V2.PatchToken(ctx, id, guarded)
	var refused *tokenpatch.PatchFailedError
	if !errors.As(err, &refused) || tokenpatch.OutcomeOf(err) != tokenpatch.OutcomeNotApplied || service.Changes(id) != 1 {
		return fmt.Errorf("want the guard to refuse it, got: %w", err)
	}
	fmt.Printf("   %s: %s\n", tokenpatch.OutcomeOf(err), refused.Message)
	return nil
}
