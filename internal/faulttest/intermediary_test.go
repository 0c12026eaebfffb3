package faulttest_test

import (
	"bytes"
	"context"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

// intermediary stands between clients and an origin, and does to some of the
// requests what intermediaries and broken networks do.
type intermediary struct {
	origin http.Handler
	random func(*http.Request) *rand.Rand // for one request
	faulty float64                        // share of the requests to which something happens
	hold   time.Duration                  // how long a late response is held back
	faults []func(*exchange)              // what can happen
	late   sync.WaitGroup                 // requests still on their way, although nobody waits for them
}

// exchange is one request on its way through an intermediary.
type exchange struct {
	*intermediary
	w      http.ResponseWriter
	r      *http.Request
	body   []byte
	random *rand.Rand
}

func (p *intermediary) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		cut(nil)
	}
	e := &exchange{p, w, r, body, p.random(r)}
	if e.random.Float64() < p.faulty {
		p.faults[e.random.IntN(len(p.faults))](e)
		return
	}
	e.respond(e.forward())
}

// forward gives the request to the origin, and returns its response.
func (e *exchange) forward() *httptest.ResponseRecorder {
	return e.forwardBody(bytes.NewReader(e.body))
}

func (e *exchange) forwardBody(body io.Reader) *httptest.ResponseRecorder {
	w, r := httptest.NewRecorder(), e.r.Clone(context.WithoutCancel(e.r.Context()))
	r.Body = io.NopCloser(body)
	e.origin.ServeHTTP(w, r)
	return w
}

func (e *exchange) respond(response *httptest.ResponseRecorder) {
	maps.Copy(e.w.Header(), response.Header())
	e.w.WriteHeader(response.Code)
	_, _ = e.w.Write(response.Body.Bytes())
}

// What can happen to a request.
var (
	// brokenNetwork is what every network does now and then.
	brokenNetwork = []func(*exchange){
		cut,
		func(e *exchange) { // in the middle of the request
			e.forwardBody(io.MultiReader(bytes.NewReader(e.body[:len(e.body)/2]), iotest.ErrReader(io.ErrUnexpectedEOF)))
			cut(e)
		},
		func(e *exchange) { e.forward(); cut(e) },
		func(e *exchange) { // in the middle of the response
			response := e.forward()
			maps.Copy(e.w.Header(), response.Header())
			e.w.WriteHeader(response.Code)
			_, _ = e.w.Write(response.Body.Bytes()[:response.Body.Len()/2])
			_ = http.NewResponseController(e.w).Flush()
			cut(e)
		},
		func(e *exchange) { e.w.WriteHeader(502 + e.random.IntN(3)) },
		func(e *exchange) { e.forward(); e.w.WriteHeader(502 + e.random.IntN(3)) },
		func(e *exchange) { // until the client has given up
			response := e.forward()
			select {
			case <-time.After(e.hold):
			case <-e.r.Context().Done():
			}
			e.respond(response)
		},
		func(e *exchange) { // it arrives when the client has given up
			e.late.Go(func() { time.Sleep(e.hold); e.forward() })
			cut(e)
		},
	}

	// oddIntermediaries forward a request or do not, and say something of their own.
	oddIntermediaries = []func(*exchange){
		func(e *exchange) { e.forward(); page(e) },
		page,
		func(e *exchange) { e.forward(); cutPage(e) },
		cutPage,
		func(e *exchange) { // a response to another request, on a connection that is out of step
			response := e.forward()
			if response.Code == http.StatusOK {
				response.Body = bytes.NewBufferString(strings.Replace(response.Body.String(), `"_id":"token-`, `"_id":"other-`, 1))
				response.Header().Del("Content-Length")
			}
			e.respond(response)
		},
	}
)

// cutPage is a JSON page of an intermediary, cut anywhere.
func cutPage(e *exchange) {
	const page = `{"session": {"_id": "token-1", "user": null}, "message": "Please sign in."}`
	e.w.Header().Set("Content-Type", "application/json")
	e.w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	_, _ = io.WriteString(e.w, page[:1+e.random.IntN(len(page)-1)])
	_ = http.NewResponseController(e.w).Flush()
	cut(e)
}

func cut(*exchange) { panic(http.ErrAbortHandler) }

// page is a response of an intermediary without information about the change.
func page(e *exchange) {
	const html, json = "text/html", "application/json"
	pages := []struct {
		status     int
		kind, body string
	}{
		{200, html, "<!doctype html><title>Sign in</title>"}, {200, json, `{"code":"unauthorized","message":"Sign in."}`},
		{200, json, `{"detail":"Sign in."}`}, {202, json, "{}"}, {207, html, ""}, {300, html, ""}, {302, html, ""}, {303, html, "See there."},
		{408, html, ""}, {424, json, "{}"}, {460, "", ""}, {499, "", ""}, {520, html, "<h1>Unknown error</h1>"}, {524, html, "<h1>A timeout</h1>"}, {599, "", ""},
	}
	one := pages[e.random.IntN(len(pages))]
	e.w.Header().Set("Content-Type", one.kind)
	e.w.Header().Set("Location", "/elsewhere")
	e.w.WriteHeader(one.status)
	_, _ = io.WriteString(e.w, one.body)
}

// serve serves a handler, over HTTP/1.1 or HTTP/2, and returns the server and a transport
// to it. Unless connState is nil, it is called when a connection changes its state.
func serve(t *testing.T, handler http.Handler, http2 bool, connState func(net.Conn, http.ConnState)) (*httptest.Server, *http.Transport) {
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.ConnState = connState
	server.EnableHTTP2 = http2
	if http2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	transport := server.Client().Transport.(*http.Transport)
	transport.MaxIdleConnsPerHost = 64
	return server, transport
}

// isV1 reports whether a request is for V1.
func isV1(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/api/v1/") }
