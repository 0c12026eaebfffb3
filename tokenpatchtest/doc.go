// Package tokenpatchtest is a service that implements both APIs that tokenpatch
// speaks, in memory: for the tests of programs that change access tokens,
// whatever client they use.
//
//	service, config := tokenpatchtest.Start(t, `{"_id": "61095542756dba551110ae21", "name": "ci"}`)
//	client, err := tokenpatch.NewClient(config)
//
// [New] makes a service without a test and without tokens. [Service.Client] is an
// http.Client for any other client of the APIs.
//
// It is strict where a real service is lenient, so a test fails if a program
// relies on luck: a member or a role that no document names, a missing version
// header, an index with a leading zero are refused, each with the status and the
// body that its API documents. [Service.SetOptions] allows more. In one point it
// is stricter than RFC 6902: it refuses a member that an operation does not
// define, which the RFC ignores.
//
// It really applies what it accepts, by code that no client shares. A test can
// read the token afterwards ([Service.V1], [Service.V2]), how often it was changed
// ([Service.Changes]) and by which requests ([Service.History]). The reads of V2
// are there too: tokens, custom roles ([Service.AddRole]) and the identity of a
// credential ([Service.AddCredential]). The log ([Service.Requests]) has the route
// of each request.
//
// What makes such programs hard to get right can be switched on and off at any
// time: rate limits ([Service.SetLimits], [Service.Spend], [Service.RefuseFor]),
// a clock that disagrees with the client's ([Service.SetClockOffset]), distance
// ([Service.SetLatency]), a script of things that go wrong ([Service.Inject]),
// always or by chance ([Service.SetSeed]), and what V2 may do although no document
// mentions it: reads that lag, values that are stored otherwise than they were
// sent, pages that do not add up ([Options]).
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
