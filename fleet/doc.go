// Package fleet changes thousands of tokens and reports the outcome of each, even if
// programs are killed, machines sleep and databases go away in between.
//
//	store, err := fleet.Open(ctx, "review.db")
//	_, err = store.Add(ctx, "review", changes, fleet.AddOptions{}) // all of them, or none
//	err = store.Run(ctx, "review", fleet.Options{Client: tokenpatch.ConfigFromEnv()})
//	for result, err := range store.Results(ctx, "review") { ... }
//
// A run is a named set of changes, one a token. Each is a [Want], which describes the
// token that is wanted, or a patch or an update as the client takes them. A run is kept
// in a [Store]: one SQLite file, or a Postgres database that many machines share.
// [Store.Run] works on it until every change is decided. If the process is killed, call
// Run again to resume.
//
// # Never twice
//
// Before a request is sent, the store holds that it is about to be, and what the
// token was like. Whoever finds a request without an outcome waits until nothing of it
// can still be on its way. A V1 update is then sent again unchanged, which may
// overwrite what somebody else has written since. For any other change a read decides,
// or, if the read does not show it, the same patch again, if it may be replayed. If
// that is refused, somebody else has changed the token in between: a Want is made
// again from the new token, and a patch is unknown. What may not be replayed is never
// sent again.
//
// A worker that was frozen looks at the clock before it sends, and one whose work
// was taken over writes nothing any more. No database stops a request that is on
// its way already; what a late one can do is in the SECURITY.md of tokenpatch.
//
// This is as durable as the database. fleet has SQLite and Postgres wait for the disk
// with each commit. What a database forgets all the same, because it fails over to an
// asynchronous replica, because an old copy is restored, or because a SQLite file is
// moved without the file beside it whose name ends in -wal, may be sent a second time.
//
// # Rate limits
//
// Workers wait for the client's limiter before they write anything. Processes
// share one budget if the store is the client's Budget. Between the limiter's
// permit and the request lies a commit. On a machine so busy that some commits take
// far longer than others, a request can come later than the limiter expects, and be
// refused with a 429. Then the client sends it again.
//
// # Traces and metrics
//
// [Hooks] are called for each try of a change, and with the progress of the run.
// Package fleetotel makes traces and metrics of that with OpenTelemetry, which nothing
// else here depends on.
//
// # River
//
// River hands out the work: https://riverqueue.com. Its tables are in the store as
// well. What is to be done, and when, is in fleet's own tables and by the store's clock.
package fleet
