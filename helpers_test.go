package tokenpatch_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// The tokens of newPair's service.
const (
	idV1 = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
	idV2 = "61095542756dba551110ae21" // as in tokenJSON

	pathV1 = "/api/v1/token/" + idV1
	pathV2 = "/api/v2/tokens/" + idV2
)

// newPair returns a service with one token of each API, and a client that
// reaches it in memory. In a bubble of testing/synctest, call it in the bubble.
func newPair(t *testing.T, change ...func(*tokenpatch.Config)) (*tokenpatchtest.Service, *tokenpatch.Client) {
	t.Helper()
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	require.NoError(t, service.AddV1(`{"id": "`+idV1+`"}`))
	require.NoError(t, service.AddV2(tokenJSON))
	config := tokenpatch.Config{
		V1:         tokenpatch.V1Config{APIKey: tokenpatchtest.APIKey},
		V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: service.Client(),
	}
	for _, f := range change {
		f(&config)
	}
	client, err := tokenpatch.NewClient(config)
	require.NoError(t, err)
	return service, client
}

// newClientAt returns a client of both services at a base URL, with quick
// retries over a transport.
func newClientAt(t *testing.T, base string, transport http.RoundTripper, attempts int) *tokenpatch.Client {
	t.Helper()
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V1:         tokenpatch.V1Config{BaseURL: base, APIKey: tokenpatchtest.APIKey},
		V2:         tokenpatch.V2Config{BaseURL: base, AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: &http.Client{Transport: transport, Timeout: 5 * time.Second},
		Retry:      tokenpatch.RetryPolicy{MaxAttempts: attempts, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond},
	})
	require.NoError(t, err)
	return client
}

// serveRaw accepts connections and gives each to serve, which may do what no
// http.Server does. It returns the address; the connections are closed, and waited
// for at the end of the test.
func serveRaw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = l.Close() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	return l.Addr().String()
}

// refusingAddress returns an address that nobody listens on.
func refusingAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// api is one of the two endpoints, for tests of what both have in common.
type api struct {
	name string
	api  tokenpatchtest.API
	id   string
	path string
	call func(context.Context, *tokenpatch.Client) error // applied by a new service, and harmless twice
}

var (
	apiV1 = api{"V1", tokenpatchtest.V1, idV1, pathV1, updateName}
	apiV2 = api{"V2", tokenpatchtest.V2, idV2, pathV2, patchName}
	apis  = []api{apiV1, apiV2}
)

// info returns the CallInfo of its calls.
func (a api) info() tokenpatch.CallInfo {
	route := map[string]string{"V1": "/api/v1/token/{api_token_id}", "V2": "/api/v2/tokens/{id}"}[a.name]
	return tokenpatch.CallInfo{API: a.name, Method: "PATCH", Route: route, Token: a.id}
}

// url returns the URL of its requests, with the default base.
func (a api) url() string {
	return map[string]string{"V1": tokenpatch.V1BaseURL, "V2": tokenpatch.V2BaseURL}[a.name] + a.path
}

func updateName(ctx context.Context, client *tokenpatch.Client) error {
	return client.V1.UpdateToken(ctx, uuid.MustParse(idV1), tokenpatch.TokenUpdate{Name: tokenpatch.Set("ci")})
}

func patchName(ctx context.Context, client *tokenpatch.Client) error {
	_, err := client.V2.PatchToken(ctx, idV2, tokenpatch.NewPatch().SetName("deployer"))
	return err
}

// appendRole may not be sent twice.
func appendRole(ctx context.Context, client *tokenpatch.Client) error {
	_, err := client.V2.PatchToken(ctx, idV2, tokenpatch.NewPatch().AddCustomRoleID("qa"))
	return err
}

// roundTripper is an http.RoundTripper of one function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// through lets a client's attempts pass through f.
func through(f roundTripper) func(*tokenpatch.Config) {
	return func(c *tokenpatch.Config) { c.HTTPClient = &http.Client{Transport: f} }
}

func retries(policy tokenpatch.RetryPolicy) func(*tokenpatch.Config) {
	return func(c *tokenpatch.Config) { c.Retry = policy }
}

// respond returns a response without a server.
func respond(status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode:    status,
		Header:        http.Header{"Content-Type": {contentType}},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
	}
}

// assertAs finds an error of type T in err.
func assertAs[T error](t *testing.T, err error) T {
	t.Helper()
	var target T
	require.ErrorAs(t, err, &target)
	return target
}

func assertOutcome(t *testing.T, want tokenpatch.Outcome, err error) {
	t.Helper()
	assert.Equal(t, want.String(), tokenpatch.OutcomeOf(err).String(), "outcome of: %v", err)
}

// typesOf names the types of this package that errors.As finds in err, the
// *APIError aside that is in every error about a response.
func typesOf(err error) (names []string) {
	for _, kind := range []struct {
		name string
		is   bool
	}{
		{"InvalidRequest", is[*tokenpatch.InvalidRequestError](err)},
		{"Unauthorized", is[*tokenpatch.UnauthorizedError](err)},
		{"Forbidden", is[*tokenpatch.ForbiddenError](err)},
		{"NotFound", is[*tokenpatch.NotFoundError](err)},
		{"Conflict", is[*tokenpatch.ConflictError](err)},
		{"Validation", is[*tokenpatch.ValidationError](err)},
		{"PatchFailed", is[*tokenpatch.PatchFailedError](err)},
		{"RateLimited", is[*tokenpatch.RateLimitedError](err)},
		{"Server", is[*tokenpatch.ServerError](err)},
		{"OutcomeUnknown", is[*tokenpatch.OutcomeUnknownError](err)},
		{"EditConflict", is[*tokenpatch.EditConflictError](err)},
		{"Read", is[*tokenpatch.ReadError](err)},
		{"NotSent", is[*tokenpatch.NotSentError](err)},
		{"Input", is[*tokenpatch.InputError](err)},
		{"Patch", is[*tokenpatch.PatchError](err)},
	} {
		if kind.is {
			names = append(names, kind.name)
		}
	}
	return names
}

func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}
