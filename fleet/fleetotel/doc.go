// Package fleetotel traces and measures the runs of package fleet with OpenTelemetry.
//
//	options, err := fleetotel.Instrument(fleet.Options{Client: tokenpatch.ConfigFromEnv()}, tokenpatchotel.Options{})
//	err = store.Run(ctx, "review", options)
//
// Each try of a change is a trace of its own, with its run and its outcome. Below it are the
// client's calls, attempts and waits, as in package tokenpatchotel. Metrics show how far a run is,
// and how long its changes take. The README lists every name.
//
// A span has the token's id, and the text of an error. It has nothing else about a token, and no
// metric has an id.
package fleetotel
