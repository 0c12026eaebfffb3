// Package tokenpatchotel traces and measures the calls of a tokenpatch client with OpenTelemetry.
//
//	config, err := tokenpatchotel.Instrument(tokenpatch.ConfigFromEnv(), tokenpatchotel.Options{})
//	client, err := tokenpatch.NewClient(config)
//
// Each call is a span, with a span below it for each wait and for each attempt; the latter keep to the semantic conventions
// for HTTP clients. Calls, attempts and waits are measured, and so are the calls that wait and what remains of the rate limit.
// The README lists every name.
//
// A span names the token by its id, which is part of the address, and has the text of the error where there was one. Nothing
// else about a token is ever in a span, and no id is in a metric: its attributes have few values, whatever the service responds.
package tokenpatchotel
