// Package tokenpatch changes the settings of access tokens through two APIs: deepset's (V1) and
// LaunchDarkly's (V2). It does not create, reset or delete tokens.
//
// [Token], [Role], [Statement], [Patch] and everything about them belong to V2. [TokenUpdate],
// [OrganizationRole] and [ValidationError] belong to V1. Share one [Client] among all goroutines:
//
//	client, err := tokenpatch.NewClient(tokenpatch.ConfigFromEnv())
//
// V2: edit a copy of the token. Another writer's change is never overwritten:
//
//	token, err := client.V2.EditToken(ctx, id, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
//		token.UseRole(tokenpatch.RoleReader)
//		return nil
//	})
//
// or send a JSON Patch (RFC 6902), which [Diff] and [Patch.Guard] can make:
//
//	patch := tokenpatch.NewPatch().SetName("deployer").SetDescription("Deploys from CI")
//	token, err := client.V2.PatchToken(ctx, id, patch)
//
// V1: each field is absent (it stays as it is), null, or set:
//
//	err := client.V1.UpdateToken(ctx, id, tokenpatch.TokenUpdate{
//		Name:   tokenpatch.Set("ci"),
//		RoleID: tokenpatch.Null[uuid.UUID](),
//	})
//
// # Errors
//
// Ask for the outcome first: a call that returns an error may still have changed the token. The
// error's type is the reason. Each status has a type, and [errors.As] finds an [*APIError] in it.
//
//	var notFound *tokenpatch.NotFoundError
//	switch outcome := tokenpatch.OutcomeOf(err); {
//	case err == nil:                              // changed
//	case outcome == tokenpatch.OutcomeUnknown:    // read the token before you try again
//	case outcome == tokenpatch.OutcomeApplied:    // changed, but the response could not be read
//	case errors.As(err, &notFound):               // not changed: no such token
//	default:                                      // not changed
//	}
//
// A request is sent again only if repeating it changes nothing more: see [Patch.Replay].
//
// # Waiting
//
// The client reads the rate limits from each response and sends as many requests as they allow,
// first come, first served. A call waits as long as its context allows, and fails at once with a
// [*RateLimitedError] if that is not enough. Programs share a limit through [Config].Budget.
//
// Package tokenpatchtest has a service for tests. The modules fleet (runs that outlive their
// process), tokenpatchotel and tokenpatchredis build on this one.
package tokenpatch
