// Package tokenpatch changes the settings of access tokens through two APIs:
// deepset's (V1) and LaunchDarkly's (V2).
//
//	client, err := tokenpatch.NewClient(tokenpatch.Config{
//		V1: tokenpatch.V1Config{APIKey: "..."},
//		V2: tokenpatch.V2Config{AccessToken: "..."},
//	})
//
// V1 takes a typed update. Each field is absent, so that it stays as it is,
// null, or set:
//
//	err = client.V1.UpdateToken(ctx, id, tokenpatch.TokenUpdate{
//		Name:   tokenpatch.Set("ci"),
//		RoleID: tokenpatch.Null[uuid.UUID](),
//	})
//
// V2 takes a JSON Patch (RFC 6902), which is built step by step:
//
//	patch := tokenpatch.NewPatch().SetName("deployer").SetDescription("Deploys from CI")
//	token, err := client.V2.PatchToken(ctx, "61095542756dba551110ae21", patch)
//
// [V2Tokens.EditToken] reads a token, has a function change a copy of it, and
// sends the difference in a way that overwrites nothing that somebody else has
// written in between. What a token may do is changed with [Token.UseRole] and its
// siblings, since one of role, custom roles and policy leaves the others standing.
// Each step can be had on its own: [V2Tokens.GetToken] reads a
// token, [V2Tokens.Tokens] lists all of them, [Diff] makes the patch between two
// tokens, [Patch.Apply] previews what a patch makes of a token, [Patch.Guard] makes
// a patch fail where the token has changed meanwhile, and [V2Tokens.Settle] reads
// what became of a patch whose outcome is unknown.
//
// # What happened to my token?
//
// Each call ends with one of three outcomes, which [OutcomeOf] tells from its
// error: applied, not applied, or unknown. It is never a guess. The error's type
// says why: each documented status has a type of its own, such as [*NotFoundError],
// and to errors.As each of these is an [*APIError] too. Where a request may have
// reached the server, and no response says what became of the change, the error is
// an [*OutcomeUnknownError].
//
// # Will it take effect twice?
//
// A request is sent again only if that changes nothing more: after a refusal, if
// nothing was sent, or if [Patch.Replay] allows it. Such a repetition may show twice
// in the audit log. The replays that net/http makes by itself are prevented.
//
// # What if there are ten thousand?
//
// Share one [Client] among as many goroutines as you like. It reads the rate
// limit from the headers of each response and admits as many calls as the limit
// allows, first come, first served. A call waits as long as its context lets it,
// and fails at once with a [*RateLimitedError] where that is not enough.
//
// Programs that spend from one account share its limit through a [Config.Budget].
// The module fleet runs thousands of changes that outlive their process, and
// tokenpatchotel traces and measures every call. Package tokenpatchtest has a
// service that implements both APIs, for tests.
package tokenpatch
