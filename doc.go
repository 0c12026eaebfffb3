// Package tokenpatch changes the settings of access tokens through two APIs:
// deepset's (V1) and LaunchDarkly's (V2).
//
//	client, err := tokenpatch.NewClient(tokenpatch.Config{
//		V1: tokenpatch.V1Config{APIKey: "..."},
//		V2: tokenpatch.V2Config{AccessToken: "..."},
//	})
//
// V1 takes a typed update, in which every field is absent, null or set:
//
//	err = client.V1.UpdateToken(ctx, id, tokenpatch.TokenUpdate{
//		Name:   tokenpatch.Set("ci"),
//		RoleID: tokenpatch.Null[uuid.UUID](),
//	})
//
// V2 takes a JSON Patch (RFC 6902), built step by step:
//
//	patch := tokenpatch.NewPatch().SetName("deployer").SetRole(tokenpatch.RoleReader)
//	token, err := client.V2.PatchToken(ctx, "61095542756dba551110ae21", patch)
//
// [Diff] makes the patch between two tokens, [Patch.Apply] tells what a patch
// makes of one, and [Patch.Guard] lets it fail rather than overwrite what
// somebody else has written in between:
//
//	patch, unguarded := tokenpatch.Diff(before, after).Guard(before)
//
// # What happened to my token?
//
// Every call ends with one of three outcomes, which [OutcomeOf] tells from its
// error: applied, not applied, or unknown. It is never a guess. Each status has
// an error type of its own, such as [*NotFoundError], and all of them are an
// [*APIError] to errors.As; a call that was sent and never settled is an
// [*OutcomeUnknownError].
//
// # Will it be applied twice?
//
// A request is sent again only where that cannot change more than sending it
// once: after a refusal, where nothing was sent, or where [Patch.Replay] says
// that a second application is harmless. net/http's own silent replays are shut
// off.
//
// # What if there are ten thousand?
//
// Share one [Client] among as many goroutines as you like. It reads the rate
// limit from the headers of each answer and admits what the limit allows, in
// the order in which the calls came. A call waits as long as its context lets
// it, and fails at once with a [*RateLimitedError] where that is not enough.
//
// Package tokenpatchtest has a service that implements both APIs, for tests.
package tokenpatch
