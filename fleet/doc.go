// Package fleet changes thousands of tokens and reports the outcome of each, even if programs are
// killed, machines sleep and databases go away in between.
//
//	store, err := fleet.Open(ctx, "review.db")
//	_, err = store.Add(ctx, "review", changes, fleet.AddOptions{}) // all of them, or none
//	err = store.Run(ctx, "review", fleet.Options{Client: tokenpatch.ConfigFromEnv()})
//	for result, err := range store.Results(ctx, "review") { ... }
//
// A run is a named set of changes, one a token. Each is a [Want], which describes the desired
// token, or a patch or an update for the client. A run is kept in a [Store]: one SQLite file, or a
// Postgres database shared by many machines. [Store.Run] works on it until every change is decided.
// If the process is killed, call Run again to resume.
//
// # Never twice
//
// Before a request is sent, the store records it, and the token before it. Whoever finds a request
// without an outcome waits until nothing of it can still be on its way. A V1 update is then sent
// again unchanged, which may overwrite a later change of somebody else. For any other change a read
// decides. If the read does not show the change, the same patch is sent again, if it may be
// replayed. If it is refused, somebody else has changed the token in between: a Want is made again
// from the new token, and a patch is unknown. Any other patch is never sent again.
//
// A worker that was frozen looks at the clock before it sends, and one whose work was taken over
// writes nothing any more. No database stops a request that is on its way already; SECURITY.md of
// tokenpatch describes the effect of a late one.
//
// This is as durable as the database. fleet asks SQLite and Postgres to wait for the disk with each
// commit. A commit can still be lost by a failover to an asynchronous replica, by restoring an old
// copy, or by moving a SQLite file without its -wal file. Its request may then be sent a second
// time.
//
// # Rate limits
//
// Workers wait for the client's limiter before they write anything. Processes share one rate limit
// if the store is the client's Budget. Between the limiter's permit and the request lies a commit.
// On a machine so busy that some commits take far longer than others, a request can come later than
// the limiter expects, and be refused with a 429. Then the client sends it again.
//
// # Traces and metrics
//
// [Hooks] report each try of a change, and the progress of the run. Package fleetotel makes traces
// and metrics of them with OpenTelemetry, on which nothing else here depends.
//
// # River
//
// River hands out the work: https://riverqueue.com. Its tables are in the store as well. Which
// changes to make, and when, is in fleet's own tables and by the store's clock.
package fleet
