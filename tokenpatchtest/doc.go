// Package tokenpatchtest implements both APIs of tokenpatch in memory, for the tests of programs
// that change access tokens with any client.
//
//	service, config := tokenpatchtest.Start(t, `{"_id": "61095542756dba551110ae21", "name": "ci"}`)
//	client, err := tokenpatch.NewClient(config)
//
// [New] makes a service without a test and without tokens. [Service.Client] is an http.Client for
// any other client of the APIs.
//
// The service is strict, so a test fails if a program relies on luck. It refuses unknown members
// and roles, a missing version header, or an index with a leading zero, with the documented status
// and body. [Service.SetOptions] allows more. In one point it is stricter than RFC 6902: it refuses
// undefined members of an operation, which the RFC ignores.
//
// The service applies accepted requests with code of its own. A test can read the token afterwards
// ([Service.V1], [Service.V2]), how often it was changed ([Service.Changes]) and by which requests
// ([Service.History]). V2 has its reads too: tokens, custom roles ([Service.AddRole]) and the
// identity of a credential ([Service.AddCredential]). The log ([Service.Requests]) has the route of
// each request.
//
// Difficulties can be switched on and off at any time: rate limits ([Service.SetLimits],
// [Service.Spend], [Service.RefuseFor]), a wrong clock ([Service.SetClockOffset]), latency
// ([Service.SetLatency]), and a script of faults ([Service.Inject]), always or by chance
// ([Service.SetSeed]). [Options] has undocumented behavior of V2: lagging reads, normalized values,
// and inconsistent pages.
//
// # Ways to reach it
//
// A [Service] is an [http.Handler]. [Service.Client] is an http.Client for HTTP/1.1 over
// connections in memory: nothing leaves the process. It works in a bubble of testing/synctest, in
// which an hour of waiting passes at once. [Service.Listen] and [Service.ListenTLS] serve on the
// loopback interface, the latter with HTTP/2.
//
// Everything here is safe for concurrent use.
package tokenpatchtest
