// Package tokenpatchtest is a service that implements both APIs that tokenpatch
// speaks, in memory: for the tests of programs that change access tokens,
// whatever client they use.
//
//	service := tokenpatchtest.New()
//	defer service.Close()
//	err := service.AddV2(`{"_id": "61095542756dba551110ae21", "name": "ci"}`)
//	httpClient := service.Client() // reaches the service, whatever the base URL
//
// It is strict where a real service is lenient, so that a test fails where a
// program relies on luck: a property that no document names, a missing version
// header, an index with a leading zero are refused, each with the status and
// the body that its API documents. In one point it is stricter than RFC 6902: it
// refuses a member that an operation does not define, which the RFC ignores. It
// really applies what it accepts, by code that no client shares. A test can read
// the token afterwards ([Service.V1], [Service.V2]), how often it was changed
// ([Service.Changes]) and by which requests ([Service.History]). Both reads of V2 are there too, and the log
// ([Service.Requests]) tells them from changes by their route.
//
// What makes such programs hard to get right can be switched on and off at any
// time: rate limits ([Service.SetLimits], [Service.Spend], [Service.RefuseFor]),
// a clock that disagrees with the client's ([Service.SetClockOffset]), distance
// ([Service.SetLatency]), and a script of things that go wrong
// ([Service.Inject]), always or by chance ([Service.SetSeed]).
//
// # Ways to reach it
//
// A [Service] is an [http.Handler]. [Service.Client] is an http.Client that
// speaks HTTP/1.1 to it over connections in memory: nothing leaves the process,
// and it works in a bubble of testing/synctest, where an hour of waiting passes
// at once. [Service.Listen] and [Service.ListenTLS] serve on the loopback
// interface, the latter with HTTP/2.
//
// Everything here is safe for concurrent use.
package tokenpatchtest
