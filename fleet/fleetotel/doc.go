// Package fleetotel traces and measures the runs of package fleet with
// OpenTelemetry.
//
//	options, err := fleetotel.Instrument(fleet.Options{Client: tokenpatch.ConfigFromEnv()}, tokenpatchotel.Options{})
//	err = store.Run(ctx, "review", options)
//
// Each try of a change is a trace of its own, which says of which run it is and
// what became of the change; below it are the client's calls, attempts and waits,
// as package tokenpatchotel makes them. How far a run is, and how long its
// changes take, are metrics. The README lists every name.
//
// A span names the token by its id, and has the text of the error where there
// was one. Nothing else about a token is ever in a span, and no id is in a metric.
package fleetotel
