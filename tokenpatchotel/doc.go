// Package tokenpatchotel traces and measures the calls of a tokenpatch client with OpenTelemetry.
//
//	config, err := tokenpatchotel.Instrument(tokenpatch.ConfigFromEnv(), tokenpatchotel.Options{})
//	client, err := tokenpatch.NewClient(config)
//
// Each call is a span, with a span below it for each wait and for each attempt. The latter follow
// the semantic conventions for HTTP clients. Metrics cover calls, attempts, waits, waiting calls,
// and what remains of the rate limit. The README lists every name.
//
// A span has the token's id, which is part of the address, and the text of an error. It has nothing
// else about a token. No metric has an id, and its attributes have few values, whatever the service
// responds.
package tokenpatchotel
