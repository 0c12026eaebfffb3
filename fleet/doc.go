// Package fleet changes thousands of tokens, and says in the end what became of
// each of them, although programs are killed, machines sleep and databases go
// away in between.
//
//	store, err := fleet.Open(ctx, "review.db")
//	_, err = store.Add(ctx, "review", changes) // all of them, or none
//	err = store.Run(ctx, "review", fleet.Options{Client: tokenpatch.ConfigFromEnv()})
//	for result, err := range store.Results(ctx, "review") { ... }
//
// A run is a named set of changes, one a token. Each is a [Want], which says how
// a token shall be, or a patch or an update as the client takes them. A run lives
// in a [Store]: one SQLite file, or a Postgres database by which many machines
// share it. [Store.Run] works on it until every change is decided; where it is
// stopped, however rudely, calling it again goes on.
//
// # Never twice
//
// Before a request is sent, the store holds that it is about to be, and what the
// token was like. Whoever finds a request without an outcome waits until nothing
// of it can still be on its way, and then finds out what became of it: a V1
// update and an idempotent patch are sent again unchanged, which may overwrite
// what somebody else has written since; a Want and a guarded patch are settled by
// a read, and sent again with the same guard where that does not tell. Any other
// patch is never sent again: a read shows it, or its outcome is unknown.
//
// A worker that was frozen looks at the clock before it sends, and one whose work
// was taken over writes nothing any more. No database stops a request that is on
// its way already; what a late one can do is in the SECURITY.md of tokenpatch.
//
// # Rate limits
//
// Workers wait for the client's limiter before they write anything. Processes
// share one budget where the store is the client's Budget. Between the limiter's
// permit and the request lies a commit. On a machine so busy that some commits take
// far longer than others, a request can come later than the limiter expects, and be
// refused with a 429. Then the client sends it again.
//
// # Traces and metrics
//
// [Hooks] are told of each try of a change, and of how far the run is. Package
// fleetotel makes traces and metrics of that with OpenTelemetry, which nothing
// else here depends on.
//
// River does the queueing: https://riverqueue.com. Its tables are in the store as
// well, and what they say of a change counts for nothing.
package fleet
