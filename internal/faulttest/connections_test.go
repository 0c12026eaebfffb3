package faulttest_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// One connection carries everything: refusals with a body, repeated attempts, and calls that give
// up while they wait, which must not close the idle connections of others.
func TestConnectionsAreKept(t *testing.T) {
	service, _ := newPair(t)
	var opened atomic.Int64
	server := httptest.NewUnstartedServer(service)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	quick := newClientAt(t, server.URL, transport, 3)
	attempted := make(chan struct{})
	waiting, err := tokenpatch.NewClient(tokenpatch.Config{
		V2:         tokenpatch.V2Config{BaseURL: server.URL, AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: &http.Client{Transport: transport},
		Retry:      tokenpatch.RetryPolicy{MinBackoff: time.Hour, MaxBackoff: time.Hour},
		Hooks:      tokenpatch.Hooks{AttemptEnd: func(context.Context, tokenpatch.AttemptResult) { attempted <- struct{}{} }},
	})
	require.NoError(t, err)

	canceled := func(fault tokenpatchtest.Fault) {
		service.Inject(fault)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- patchName(ctx, waiting) }()
		<-attempted
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	}

	require.NoError(t, patchName(t.Context(), quick))
	service.Inject(tokenpatchtest.Fault{Status: 403, Body: strings.Repeat("long", 100_000)})
	require.Error(t, patchName(t.Context(), quick))
	service.Inject(tokenpatchtest.Fault{Status: 503, Body: strings.Repeat("long", 100_000)})
	require.NoError(t, patchName(t.Context(), quick))
	canceled(tokenpatchtest.Fault{Status: 503}) // in a backoff
	canceled(tokenpatchtest.Fault{Status: 429}) // at the rate limiter
	require.NoError(t, updateName(t.Context(), quick))
	assert.EqualValues(t, 1, opened.Load())
}
