// Package pair connects a client to a [tokenpatchtest.Service], and has what the tests of the root and of faulttest assert of its
// calls.
package pair

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// The tokens of New's service.
const (
	IDV1 = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
	IDV2 = "61095542756dba551110ae21" // as in TokenJSON

	PathV1 = "/api/v1/token/" + IDV1
	PathV2 = "/api/v2/tokens/" + IDV2
)

// TokenJSON is a Token with every property of the schema, in its order.
const TokenJSON = `{
	"_id": "61095542756dba551110ae21",
	"ownerId": "569f514156e003339cfd3917",
	"memberId": "569f514183f2164430000002",
	"_member": {
		"_links": {"self": {"href": "/api/v2/members/569f514183f2164430000002", "type": "application/json"}},
		"_id": "569f514183f2164430000002",
		"firstName": "Ariel",
		"lastName": "Flores",
		"role": "admin",
		"email": "ariel@acme.com"
	},
	"name": "Example reader token",
	"description": "A reader token used in testing and examples",
	"creationDate": 1443652232590,
	"lastModified": 1469326565348,
	"customRoleIds": ["ci", "deploy"],
	"inlineRole": [
		{"resources": ["proj/*:env/*;qa_*:flag/*"], "actions": ["*"], "effect": "allow"},
		{"notResources": ["proj/x"], "notActions": [], "effect": "deny"}
	],
	"role": "reader",
	"token": "1234",
	"serviceToken": true,
	"_links": {
		"parent": {"href": "/api/v2/tokens", "type": "application/json"},
		"self": {"href": "/api/v2/tokens/61095542756dba551110ae21", "type": "application/json"}
	},
	"defaultApiVersion": 20240415,
	"lastUsed": 1469326565349
}`

// New returns a service with one token of each API, and a client for it in memory. In a bubble of
// testing/synctest, call it in the bubble.
func New(t *testing.T, change ...func(*tokenpatch.Config)) (*tokenpatchtest.Service, *tokenpatch.Client) {
	t.Helper()
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	require.NoError(t, service.AddV1(`{"id": "`+IDV1+`"}`))
	require.NoError(t, service.AddV2(TokenJSON))
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

// ClientAt returns a client of both services at a base URL, with quick
// Retries over a transport.
func ClientAt(t *testing.T, base string, transport http.RoundTripper, attempts int) *tokenpatch.Client {
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

// ServeRaw accepts connections and gives each to serve, which may do what no
// http.Server does. It returns the address; the connections are closed, and waited
// for at the end of the test.
func ServeRaw(t *testing.T, serve func(net.Conn)) string {
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

// RefusingAddress returns an unused address.
func RefusingAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// API is one of the two endpoints, for tests of what both have in common.
type API struct {
	Name string
	API  tokenpatchtest.API
	ID   string
	Path string
	Call func(context.Context, *tokenpatch.Client) error // applied by a new service, and harmless twice
}

// The writing endpoints.
var (
	V1   = API{"V1", tokenpatchtest.V1, IDV1, PathV1, UpdateName}
	V2   = API{"V2", tokenpatchtest.V2, IDV2, PathV2, PatchName}
	APIs = []API{V1, V2}
)

// Info returns the CallInfo of its calls.
func (a API) Info() tokenpatch.CallInfo {
	route := map[string]string{"V1": "/api/v1/token/{api_token_id}", "V2": "/api/v2/tokens/{id}"}[a.Name]
	return tokenpatch.CallInfo{API: a.Name, Host: a.Host(), Method: "PATCH", Route: route, TokenID: a.ID}
}

// Host returns the host of the default base URL.
func (a API) Host() string {
	base := map[string]string{"V1": tokenpatch.V1BaseURL, "V2": tokenpatch.V2BaseURL}[a.Name]
	return strings.TrimPrefix(base, "https://")
}

// URL returns the URL of its requests, with the default base.
func (a API) URL() string {
	return "https://" + a.Host() + a.Path
}

// UpdateName calls V1.
func UpdateName(ctx context.Context, client *tokenpatch.Client) error {
	return client.V1.UpdateToken(ctx, uuid.MustParse(IDV1), tokenpatch.TokenUpdate{Name: tokenpatch.Set("ci")})
}

// PatchName calls V2.
func PatchName(ctx context.Context, client *tokenpatch.Client) error {
	_, err := client.V2.PatchToken(ctx, IDV2, tokenpatch.NewPatch().SetName("deployer"))
	return err
}

// AppendRole calls V2 with an unsafe request.
func AppendRole(ctx context.Context, client *tokenpatch.Client) error {
	_, err := client.V2.PatchToken(ctx, IDV2, tokenpatch.NewPatch().AddCustomRoleID("qa"))
	return err
}

// RoundTripper is an http.RoundTripper of one function.
type RoundTripper func(*http.Request) (*http.Response, error)

// RoundTrip calls f.
func (f RoundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Through lets a client's attempts pass Through f.
func Through(f RoundTripper) func(*tokenpatch.Config) {
	return func(c *tokenpatch.Config) { c.HTTPClient = &http.Client{Transport: f} }
}

// Retries sets a policy.
func Retries(policy tokenpatch.RetryPolicy) func(*tokenpatch.Config) {
	return func(c *tokenpatch.Config) { c.Retry = policy }
}

// Respond returns a response without a server.
func Respond(status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode:    status,
		Header:        http.Header{"Content-Type": {contentType}},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
	}
}

// AssertAs finds an error of type T in err.
func AssertAs[T error](t *testing.T, err error) T {
	t.Helper()
	var target T
	require.ErrorAs(t, err, &target)
	return target
}

// AssertOutcome compares the outcome of err.
func AssertOutcome(t *testing.T, want tokenpatch.Outcome, err error) {
	t.Helper()
	assert.Equal(t, want.String(), tokenpatch.OutcomeOf(err).String(), "outcome of: %v", err)
}

// TypesOf names the types of this package that errors.As finds in err, except the *APIError in
// every error about a response.
func TypesOf(err error) (names []string) {
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

// What the tests of this package and others say of calls.
const (
	Applied    = tokenpatch.OutcomeApplied
	NotApplied = tokenpatch.OutcomeNotApplied
	Unknown    = tokenpatch.OutcomeUnknown

	Marker = "api-5ecret-5ecret" // a credential, or a part of one
)

// Responses are faults with these statuses.
func Responses(statuses ...int) (faults []tokenpatchtest.Fault) {
	for _, status := range statuses {
		faults = append(faults, tokenpatchtest.Fault{Status: status})
	}
	return faults
}

// Cuts are faults with broken connections.
func Cuts(where ...tokenpatchtest.Cut) (faults []tokenpatchtest.Fault) {
	for _, cut := range where {
		faults = append(faults, tokenpatchtest.Fault{Cut: cut})
	}
	return faults
}

// Grace sets CancelGrace.
func Grace(d time.Duration) func(*tokenpatch.Config) {
	return func(c *tokenpatch.Config) { c.CancelGrace = d }
}

// Hung is a body whose Read and Close block until the test is over, although its
// request has ended; if Closing is set, Close alone.
type Hung struct {
	Over    chan struct{}
	Closing bool
}

// NewHung returns a body.
func NewHung(t *testing.T) *Hung {
	h := &Hung{Over: make(chan struct{})}
	t.Cleanup(func() { close(h.Over); synctest.Wait() })
	return h
}

func (h *Hung) Read([]byte) (int, error) {
	if h.Closing {
		return 0, io.EOF
	}
	<-h.Over
	return 0, io.EOF
}

// Close waits until Over is closed.
func (h *Hung) Close() error { <-h.Over; return nil }

// AddRole returns an edit to add a missing role.
func AddRole(id string) func(*tokenpatch.Token) error {
	return func(token *tokenpatch.Token) error {
		if roles := token.CustomRoleIDs.Or(nil); !slices.Contains(roles, id) {
			token.CustomRoleIDs = tokenpatch.Set(append(roles, id))
		}
		return nil
	}
}

// WriteAsOther sends a patch as another program, for which the faults of the tests
// are not meant.
func WriteAsOther(t *testing.T, service *tokenpatchtest.Service, id, patch string) {
	t.Helper()
	request := httptest.NewRequest(http.MethodPatch, "/api/v2/tokens/"+url.PathEscape(id), strings.NewReader(patch))
	request.Header.Set("Authorization", tokenpatchtest.AccessToken)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("LD-API-Version", "20240415")
	request.Header.Set("X-Writer", "other")
	response := httptest.NewRecorder()
	service.ServeHTTP(response, request)
	assert.Equal(t, 200, response.Code)
}

// IsOurs reports whether a request is from the client under test.
func IsOurs(r *http.Request) bool { return r.Header.Get("X-Writer") == "" }

// Target is how errors name what its requests go to.
func (a API) Target() string { return a.Host() + a.Path }
