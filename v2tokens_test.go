package tokenpatch_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func TestPatchTokenRequest(t *testing.T) {
	tests := []struct {
		name  string
		patch *tokenpatch.Patch
		body  string
	}{
		{"SetName", tokenpatch.NewPatch().SetName("deployer"), `[{"op":"replace","path":"/name","value":"deployer"}]`},
		{"SetName escaped", tokenpatch.NewPatch().SetName("a\"\\\n\u00e9"), `[{"op":"replace","path":"/name","value":"a\"\\\n` + "\u00e9" + `"}]`},
		{"SetDescription", tokenpatch.NewPatch().SetDescription(""), `[{"op":"replace","path":"/description","value":""}]`},
		{"SetRole", tokenpatch.NewPatch().SetRole(tokenpatch.RoleReader), `[{"op":"replace","path":"/role","value":"reader"}]`},
		{"SetCustomRoleIDs", tokenpatch.NewPatch().SetCustomRoleIDs("a", "b"), `[{"op":"replace","path":"/customRoleIds","value":["a","b"]}]`},
		{"SetCustomRoleIDs none", tokenpatch.NewPatch().SetCustomRoleIDs(), `[{"op":"replace","path":"/customRoleIds","value":[]}]`},
		{"AddCustomRoleID", tokenpatch.NewPatch().AddCustomRoleID("qa"), `[{"op":"add","path":"/customRoleIds/-","value":"qa"}]`},
		{"SetInlineRole", tokenpatch.NewPatch().SetInlineRole(tokenpatch.Statement{
			Resources: []string{"proj/*"}, Actions: []string{"*"}, Effect: tokenpatch.EffectAllow,
		}), `[{"op":"replace","path":"/inlineRole","value":[{"resources":["proj/*"],"actions":["*"],"effect":"allow"}]}]`},
		{"SetDefaultAPIVersion", tokenpatch.NewPatch().SetDefaultAPIVersion(20240415), `[{"op":"replace","path":"/defaultApiVersion","value":20240415}]`},
		{"value null", tokenpatch.NewPatch().Replace("/description", nil), `[{"op":"replace","path":"/description","value":null}]`},
		{"every operation", tokenpatch.NewPatch().
			Test("/name", "Example reader token").Add("/description", "d").Copy("/name", "/description").
			Move("/description", "/name").Replace("/role", "writer").Remove("/inlineRole"),
			`[{"op":"test","path":"/name","value":"Example reader token"},{"op":"add","path":"/description","value":"d"},` +
				`{"op":"copy","from":"/name","path":"/description"},{"op":"move","from":"/description","path":"/name"},` +
				`{"op":"replace","path":"/role","value":"writer"},{"op":"remove","path":"/inlineRole"}]`},
		{"comment", tokenpatch.NewPatch().SetName("x").Comment(`a "review"`),
			`{"comment":"a \"review\"","patch":[{"op":"replace","path":"/name","value":"x"}]}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			service, client := newPair(t)
			// The response of the service is no matter here: it refuses a description of null.
			service.Inject(tokenpatchtest.Fault{Status: 200, Body: `{"_id": "` + idV2 + `"}`})

			_, err := client.V2.PatchToken(t.Context(), idV2, test.patch)

			require.NoError(t, err)
			require.Equal(t, 1, service.RequestCount())
			got := service.Requests()[0]
			assert.Equal(t, "PATCH", got.Method)
			assert.Equal(t, pathV2, got.Path)
			assert.Equal(t, test.body, string(got.Body))
			assert.Equal(t, http.Header{
				"Accept":          {"application/json"},
				"Accept-Encoding": {"gzip"}, // of net/http's transport
				"Authorization":   {tokenpatchtest.AccessToken},
				"Content-Length":  {strconv.Itoa(len(test.body))},
				"Content-Type":    {"application/json"},
				"Ld-Api-Version":  {"20240415"},
				"User-Agent":      {"tokenpatch/" + tokenpatch.Version},
			}, got.Header)
		})
	}
}

func TestPatchTokenAPIVersion(t *testing.T) {
	service, client := newPair(t, func(c *tokenpatch.Config) { c.V2.APIVersion = 20220603 })
	require.NoError(t, patchName(t.Context(), client))
	require.NoError(t, updateName(t.Context(), client))
	requests := service.Requests()
	assert.Equal(t, []string{"20220603"}, requests[0].Header.Values("LD-API-Version"))
	assert.Empty(t, requests[1].Header.Values("LD-API-Version"), "it is V2's alone")
}

// The returned token is the service's token after the change.
func TestPatchTokenReturnsToken(t *testing.T) {
	service, client := newPair(t)

	token, err := client.V2.PatchToken(t.Context(), idV2,
		tokenpatch.NewPatch().SetName("deployer").SetRole(tokenpatch.RoleWriter).AddCustomRoleID("qa"))

	require.NoError(t, err)
	assert.Equal(t, idV2, token.ID)
	assert.Equal(t, tokenpatch.Set("deployer"), token.Name)
	assert.Equal(t, tokenpatch.Set(tokenpatch.RoleWriter), token.Role)
	assert.Equal(t, tokenpatch.Set([]string{"ci", "deploy", "qa"}), token.CustomRoleIDs)
	assert.Equal(t, "ariel@acme.com", token.Member.Or(tokenpatch.MemberSummary{}).Email)
	assert.Equal(t, 1, service.Changes(idV2))
}

// An id is one segment of the path, whatever stands in it.
func TestPatchTokenEscapesID(t *testing.T) {
	tests := []struct{ id, path string }{
		{"plain-id_1.2~3", "/api/v2/tokens/plain-id_1.2~3"},
		{"a/b", "/api/v2/tokens/a%2Fb"},
		{"../../members", "/api/v2/tokens/..%2F..%2Fmembers"},
		{"a?b=c", "/api/v2/tokens/a%3Fb=c"},
		{"a#b", "/api/v2/tokens/a%23b"},
		{"100%", "/api/v2/tokens/100%25"},
		{"%2e%2e", "/api/v2/tokens/%252e%252e"},
		{"%2F", "/api/v2/tokens/%252F"},
		{"a b+c", "/api/v2/tokens/a%20b+c"},
		{"a;b,c", "/api/v2/tokens/a%3Bb%2Cc"},
		{"//evil.example", "/api/v2/tokens/%2F%2Fevil.example"},
		{"user@evil.example:80", "/api/v2/tokens/user@evil.example:80"},
		{"\u00e9\U0001f511", "/api/v2/tokens/%C3%A9%F0%9F%94%91"},
		{"...", "/api/v2/tokens/..."},
		{"*", "/api/v2/tokens/%2A"},
		{strings.Repeat("x", 256), "/api/v2/tokens/" + strings.Repeat("x", 256)},
	}
	for _, base := range []string{"", "/gateway", "/a%2Fb/"} {
		for _, test := range tests {
			t.Run(base+" "+test.id, func(t *testing.T) {
				service, client := newPair(t, func(c *tokenpatch.Config) { c.V2.BaseURL = "https://app.launchdarkly.com" + base })
				if base == "" {
					require.NoError(t, service.AddV2(strings.Replace(tokenJSON, idV2, test.id, 1)))
				}
				_, err := client.V2.PatchToken(t.Context(), test.id, tokenpatch.NewPatch().SetName("x"))

				require.Equal(t, 1, service.RequestCount())
				got := service.Requests()[0].Path
				assert.Equal(t, strings.TrimRight(base, "/")+test.path, got)
				if base == "" {
					require.NoError(t, err)
					assert.Equal(t, 1, service.Changes(test.id))
				} else {
					assert.Equal(t, test.id, assertAs[*tokenpatch.NotFoundError](t, err).TokenID)
					assert.Contains(t, err.Error(), "PATCH "+apiV2.Host()+test.path+": ")
				}
			})
		}
	}
}

func TestPatchTokenRefusesWrongID(t *testing.T) {
	tests := []struct{ name, id, text string }{
		{"empty", "", `tokenpatch: id: "": want the id of an access token`},
		{"dot", ".", `tokenpatch: id: .: want an id that is not a dot segment`},
		{"dots", "..", `tokenpatch: id: ..: want an id that is not a dot segment`},
		{"line end", "a\r\nb", `tokenpatch: id: "a\r\nb": want UTF-8 without control characters`},
		{"NUL", "a\x00b", `tokenpatch: id: "a\x00b": want UTF-8 without control characters`},
		{"DEL", "a\x7f", `tokenpatch: id: "a\x7f": want UTF-8 without control characters`},
		{"not UTF-8", "a\xff", `tokenpatch: id: "a\xff": want UTF-8 without control characters`},
		{"too long", strings.Repeat("x", 257), `tokenpatch: id: 257 bytes: want at most 256 bytes`},
		{"its own credential", tokenpatchtest.AccessToken + "\n", `tokenpatch: id: a credential: want the id of an access token, not its value`},
		{"the other API's credential", tokenpatchtest.APIKey, `tokenpatch: id: a credential: want the id of an access token, not its value`},
		{"an access token", "api-01234567-89ab-cdef-0123-456789abcdef", `tokenpatch: id: a credential: want the id of an access token, not its value`},
		{"an API key", "api_eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2ln", `tokenpatch: id: a credential: want the id of an access token, not its value`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			service, client := newPair(t)
			token, err := client.V2.PatchToken(t.Context(), test.id, tokenpatch.NewPatch().SetName("x"))
			assert.Nil(t, token)
			assertAs[*tokenpatch.InputError](t, err)
			require.EqualError(t, err, test.text)
			assertOutcome(t, notApplied, err)
			assert.Zero(t, service.RequestCount())
		})
	}
}

func TestPatchTokenRefusesWrongPatch(t *testing.T) {
	tests := []struct {
		name  string
		patch *tokenpatch.Patch
		index int
	}{
		{"nil", nil, -1},
		{"empty", tokenpatch.NewPatch(), -1},
		{"zero", new(tokenpatch.Patch), -1},
		{"comment alone", tokenpatch.NewPatch().Comment("c"), -1},
		{"mistaken", tokenpatch.NewPatch().SetName("x").Replace("/_id", "y"), 1},
		{"the whole token", tokenpatch.NewPatch().Replace("", map[string]any{}), 0},
		{"a value that cannot be encoded", tokenpatch.NewPatch().Add("/name", make(chan int)), 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			service, client := newPair(t)
			token, err := client.V2.PatchToken(t.Context(), idV2, test.patch)
			assert.Nil(t, token)
			assert.Equal(t, test.index, assertAs[*tokenpatch.PatchError](t, err).Index)
			assertOutcome(t, notApplied, err)
			assert.Zero(t, service.RequestCount())
		})
	}
}

// The service's own refusals arrive as they are.
func TestPatchTokenRefused(t *testing.T) {
	t.Run("not applicable", func(t *testing.T) {
		service, client := newPair(t)
		_, err := client.V2.PatchToken(t.Context(), idV2, tokenpatch.NewPatch().Remove("/missing"))
		got := assertAs[*tokenpatch.PatchFailedError](t, err)
		assert.Equal(t, "patch_failed", got.Code)
		assert.NotEmpty(t, got.SupportID)
		assertOutcome(t, notApplied, err)
		assert.Equal(t, 1, service.RequestCount())
	})
	t.Run("no such token", func(t *testing.T) {
		_, client := newPair(t)
		_, err := client.V2.PatchToken(t.Context(), "unknown", tokenpatch.NewPatch().SetName("x"))
		assertAs[*tokenpatch.NotFoundError](t, err)
	})
	t.Run("wrong credential", func(t *testing.T) {
		_, client := newPair(t, func(c *tokenpatch.Config) { c.V2.AccessToken = "wrong" })
		assertAs[*tokenpatch.UnauthorizedError](t, patchName(t.Context(), client))
	})
}

func TestRateLimitOfUnusedClient(t *testing.T) {
	_, client := newPair(t)
	assert.Equal(t, tokenpatch.RateLimit{}, client.V2.RateLimit())
	assert.Equal(t, tokenpatch.RateLimit{}, (*tokenpatch.V2Tokens)(nil).RateLimit())
}

func TestGetToken(t *testing.T) {
	service, client := newPair(t)
	token, err := client.V2.GetToken(t.Context(), idV2)
	require.NoError(t, err)
	document, _ := service.V2(idV2)
	assert.Equal(t, decodeTokenJSON(t, string(document)), *token)

	request := service.Requests()[0]
	assert.Equal(t, "GET /api/v2/tokens/{id}", request.Route)
	assert.Equal(t, pathV2, request.Path)
	assert.Empty(t, request.Body)
	assert.Equal(t, "20240415", request.Header.Get("Ld-Api-Version"))
	assert.Empty(t, request.Header.Get("Content-Type"), "a read has no content")
	assert.Zero(t, service.Changes(idV2))
}

func TestGetTokenRefusesWrongID(t *testing.T) {
	service, client := newPair(t)
	for _, id := range []string{"", ".", "..", "a\nb", strings.Repeat("x", 257)} {
		_, err := client.V2.GetToken(t.Context(), id)
		assertAs[*tokenpatch.InputError](t, err)
	}
	for _, none := range []*tokenpatch.V2Tokens{nil, {}} {
		_, err := none.GetToken(t.Context(), idV2)
		assertAs[*tokenpatch.InputError](t, err)
	}
	var noContext context.Context
	_, err := client.V2.GetToken(noContext, idV2)
	assertAs[*tokenpatch.InputError](t, err)
	assert.Zero(t, service.RequestCount())
}

// Whatever goes wrong with a read, nothing was applied.
func TestErrorsOfReads(t *testing.T) {
	tests := []struct {
		name  string
		fault tokenpatchtest.Fault
		types []string
		tries int
	}{
		{"400", tokenpatchtest.Fault{Status: 400}, []string{"InvalidRequest"}, 1},
		{"401", tokenpatchtest.Fault{Status: 401}, []string{"Unauthorized"}, 1},
		{"403", tokenpatchtest.Fault{Status: 403}, []string{"Forbidden"}, 1},
		{"404", tokenpatchtest.Fault{Status: 404}, []string{"NotFound"}, 1},
		{"500", tokenpatchtest.Fault{Status: 500}, []string{"Server"}, 4},
		{"503", tokenpatchtest.Fault{Status: 503}, []string{"Server"}, 4},
		{"redirect", tokenpatchtest.Fault{Status: 302, Header: http.Header{"Location": {"https://login.example.com"}}}, nil, 1},
		{"a proxy's page", tokenpatchtest.Fault{Status: 200, Body: "<html>"}, nil, 4},
		{"null", tokenpatchtest.Fault{Status: 200, Body: "null"}, nil, 4},
		{"no token", tokenpatchtest.Fault{Status: 200, Body: "{}"}, nil, 4},
		{"no content", tokenpatchtest.Fault{Status: 204}, nil, 4},
		{"another token", tokenpatchtest.Fault{Status: 200, Body: `{"_id": "another", "name": "b"}`}, nil, 4},
		{"cut before", tokenpatchtest.Fault{Cut: tokenpatchtest.CutBefore}, []string{"Read"}, 4},
		{"cut after", tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter}, []string{"Read"}, 4},
		{"cut in the middle", tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle}, nil, 4},
		{"too slow", tokenpatchtest.Fault{DelayAfter: time.Hour}, []string{"Read"}, 4},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t)
				test.fault.Times = -1
				service.Inject(test.fault)
				token, err := client.V2.GetToken(t.Context(), idV2)
				require.Error(t, err)
				assert.Nil(t, token)
				assertOutcome(t, notApplied, err)
				assert.Equal(t, test.types, typesOf(err), "%v", err)
				assert.Equal(t, test.tries, service.RequestCount())
				if test.fault.Status != 0 {
					assert.Equal(t, test.fault.Status, assertAs[*tokenpatch.APIError](t, err).StatusCode)
				}
				require.ErrorContains(t, err, "tokenpatch: GET "+apiV2.Target()+": ")

				_, err = ids(client, tokenpatch.TokensOptions{})
				require.ErrorContains(t, err, "tokenpatch: GET app.launchdarkly.com/api/v2/tokens: ")
				assertOutcome(t, notApplied, err)

				if test.tries > 1 { // a read is sent again until it comes through
					service.ClearFaults()
					test.fault.Times = 3
					service.Inject(test.fault)
					_, err = client.V2.GetToken(t.Context(), idV2)
					require.NoError(t, err)
				}
			})
		})
	}
}

func TestReadThatTheContextEnds(t *testing.T) {
	service, client := newPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.V2.GetToken(ctx, idV2)
	require.ErrorIs(t, err, context.Canceled)
	require.EqualError(t, err, "tokenpatch: GET "+apiV2.Target()+": request not sent: context canceled")
	assertAs[*tokenpatch.ReadError](t, err)
	assertOutcome(t, notApplied, err)
	assert.Zero(t, service.RequestCount())
}

// Reads spend from the same global budget as changes.
func TestReadsGoThroughTheLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 4})
		start := time.Now()
		for range 10 {
			_, err := client.V2.GetToken(t.Context(), idV2)
			require.NoError(t, err)
			require.NoError(t, patchName(t.Context(), client))
		}
		assert.Equal(t, 40*time.Second, time.Since(start).Round(time.Second))
		assert.Zero(t, refused(service.Requests()))
	})
}

// Reads have their own routes, and quotas.
func TestReadsHaveRoutesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Route: 3})
		start := time.Now()
		for range 3 {
			_, err := client.V2.GetToken(t.Context(), idV2)
			require.NoError(t, err)
			require.NoError(t, patchName(t.Context(), client))
			_, err = ids(client, tokenpatch.TokensOptions{})
			require.NoError(t, err)
		}
		assert.Zero(t, time.Since(start), "each route has its own quota")
		for _, route := range []string{"GET /api/v2/tokens/{id}", "GET /api/v2/tokens", "PATCH /api/v2/tokens/{id}"} {
			assert.Contains(t, client.V2.RateLimit().Routes, route)
		}
		_, err := client.V2.GetToken(t.Context(), idV2)
		require.NoError(t, err)
		assert.Equal(t, 10*time.Second, time.Since(start).Round(time.Second))
		assert.Zero(t, refused(service.Requests()))
	})
}

// ids reads the list, and returns the ids of the tokens and the error at its end.
func ids(client *tokenpatch.Client, options tokenpatch.TokensOptions) (ids []string, err error) {
	for token, err := range client.V2.Tokens(context.Background(), options) {
		if err != nil {
			return ids, err
		}
		ids = append(ids, token.ID)
	}
	return ids, nil
}

func queries(service *tokenpatchtest.Service) (queries []string) {
	for _, r := range service.Requests() {
		_, query, _ := strings.Cut(r.Path, "?")
		queries = append(queries, query)
	}
	return queries
}

// newList returns a service with so many tokens, named by their number.
func newList(t *testing.T, n int) (*tokenpatchtest.Service, *tokenpatch.Client, []string) {
	service, client := newPair(t)
	service.Remove(idV2)
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("token-%03d", i))
		require.NoError(t, service.AddV2(`{"_id": "`+all[i]+`"}`))
	}
	return service, client, all
}

func TestTokens(t *testing.T) {
	for n, want := range map[int][]string{
		0:   {"limit=25"},
		24:  {"limit=25"},
		25:  {"limit=25", "limit=25&offset=25"},
		26:  {"limit=25", "limit=25&offset=25"},
		130: {"limit=25", "limit=25&offset=25", "limit=25&offset=50", "limit=25&offset=75", "limit=25&offset=100", "limit=25&offset=125"},
	} {
		service, client, all := newList(t, n)
		got, err := ids(client, tokenpatch.TokensOptions{})
		require.NoError(t, err)
		assert.Equal(t, all, got)
		assert.Equal(t, want, queries(service))
	}
	service, client, all := newList(t, 130)
	got, err := ids(client, tokenpatch.TokensOptions{PageSize: 1000})
	require.NoError(t, err)
	assert.Equal(t, all, got)
	assert.Equal(t, []string{"limit=1000", "limit=1000&offset=100"}, queries(service), "a page may be smaller than it was to be")
}

// Whatever a service counts, ignores or leaves out, the list is whole or an error.
func TestTokensThroughAnUnreliableService(t *testing.T) {
	const n = 100
	item := func(i int) string { return fmt.Sprintf(`{"_id":"token-%03d","_links":{"self":{"href":"/"}}}`, i) }
	page := func(offset, limit int) (items []string) {
		for i := offset; i < min(offset+limit, n); i++ {
			items = append(items, item(i))
		}
		return items
	}
	list := func(items []string, rest string) string {
		return `{"items":[` + strings.Join(items, ",") + `]` + rest + `}`
	}
	tests := map[string]struct {
		serve func(offset, limit, sent int) string
		want  int
		sent  int
		err   string
	}{
		"no total":        {func(offset, limit, _ int) string { return list(page(offset, limit), ``) }, n, 5, ""},
		"a total of 0":    {func(offset, limit, _ int) string { return list(page(offset, limit), `,"totalCount":0`) }, n, 5, ""},
		"a total of -1":   {func(offset, limit, _ int) string { return list(page(offset, limit), `,"totalCount":-1`) }, n, 5, ""},
		"a total of null": {func(offset, limit, _ int) string { return list(page(offset, limit), `,"totalCount":null`) }, n, 5, ""},
		"a page's total": {func(offset, limit, _ int) string {
			return list(page(offset, limit), fmt.Sprintf(`,"totalCount":%d`, len(page(offset, limit))))
		}, n, 5, ""},
		"a link to the next page alone": {func(offset, _, _ int) string {
			return list(page(offset, 10), map[bool]string{true: `,"_links":{"next":{"href":"/next"}}`, false: `,"_links":{"next":null}`}[offset+10 < n])
		}, n, 11, ""},
		"an empty page that is counted": {func(offset, limit, _ int) string {
			if offset == 50 {
				return list(nil, `,"totalCount":100`)
			}
			return list(page(offset, limit), `,"totalCount":100`)
		}, n - 25, 5, ""},
		"items that are null": {func(offset, limit, _ int) string {
			if offset >= n {
				return `{"items":null,"totalCount":100}`
			}
			return list(page(offset, limit), `,"totalCount":100`)
		}, n, 5, ""},
		"nothing visible of what is counted": {func(int, int, int) string { return list(nil, `,"totalCount":2147483647`) }, 0, 10, ""},
		"pages filtered after paging": {func(offset, limit, _ int) string {
			visible := slices.DeleteFunc(page(offset, limit), func(s string) bool { return strings.Contains(s, `0"`) })
			return list(visible, `,"totalCount":100`)
		}, n - 10, 6, ""},
		"offset ignored":    {func(_, limit, _ int) string { return list(page(0, limit), `,"totalCount":100`) }, 25, 11, "10 pages in a row have only items that were on earlier pages"},
		"empty and repeats": {func(_, limit, sent int) string { return list(page(0, limit*(sent%2)), `,"totalCount":2147483647`) }, 25, 21, "10 pages in a row"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sent := 0
			_, client := newPair(t, through(func(r *http.Request) (*http.Response, error) {
				sent++
				number := func(name string) int {
					n, err := strconv.Atoi(cmp.Or(r.URL.Query().Get(name), "0"))
					assert.NoError(t, err)
					return n
				}
				return respond(200, "application/json", test.serve(number("offset"), number("limit"), sent)), nil
			}))
			got, err := ids(client, tokenpatch.TokensOptions{})
			if test.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.err)
			}
			assert.Len(t, got, test.want)
			assert.Equal(t, test.sent, sent)
		})
	}
}

func TestTokensShowAll(t *testing.T) {
	service, client := newPair(t)
	service.Remove(idV2)
	require.NoError(t, service.AddV2(`{"_id": "another's", "memberId": "569f183514f4432160000008"}`))
	got, err := ids(client, tokenpatch.TokensOptions{})
	require.NoError(t, err)
	assert.Empty(t, got)
	got, err = ids(client, tokenpatch.TokensOptions{ShowAll: true})
	require.NoError(t, err)
	assert.Equal(t, []string{"another's"}, got)
}

// A loop with an early end sends nothing more, and may be run again.
func TestTokensEndsEarly(t *testing.T) {
	service, client, all := newList(t, 60)
	tokens := client.V2.Tokens(t.Context(), tokenpatch.TokensOptions{})
	assert.Zero(t, service.RequestCount(), "nothing is sent before the loop")
	for range 2 {
		for token, err := range tokens {
			require.NoError(t, err)
			if token.ID == all[24] {
				break
			}
		}
	}
	assert.Equal(t, []string{"limit=25", "limit=25"}, queries(service))
}

// A failing page ends the list with the error.
func TestTokensThatFails(t *testing.T) {
	service, client, all := newList(t, 60)
	service.Inject(tokenpatchtest.Fault{}, tokenpatchtest.Fault{Status: 403, Body: `{"code": "forbidden", "message": "no"}`})
	got, err := ids(client, tokenpatch.TokensOptions{})
	assertAs[*tokenpatch.ForbiddenError](t, err)
	assert.Equal(t, all[:25], got)
	assert.Equal(t, 2, service.RequestCount())

	_, err = ids(client, tokenpatch.TokensOptions{PageSize: -1})
	require.EqualError(t, err, "tokenpatch: TokensOptions.PageSize: -1: want a number that is not negative")
	_, err = ids(&tokenpatch.Client{}, tokenpatch.TokensOptions{})
	assertAs[*tokenpatch.InputError](t, err)
	assert.Equal(t, 2, service.RequestCount())
}

// Tokens that appear, vanish or move between two pages are seen at most once.
func TestTokensWhileTheListChanges(t *testing.T) {
	pages := func(bodies ...string) (listed []string, sent int, err error) {
		_, client := newPair(t, through(func(r *http.Request) (*http.Response, error) {
			sent++
			return respond(200, "application/json", bodies[min(sent, len(bodies))-1]), nil
		}))
		listed, err = ids(client, tokenpatch.TokensOptions{})
		return listed, sent, err
	}
	tests := []struct {
		name  string
		pages []string
		want  string
		sent  int
	}{
		{"one appears in front", []string{`{"items": [{"_id": "a"}, {"_id": "b"}], "totalCount": 3}`, `{"items": [{"_id": "b"}, {"_id": "c"}], "totalCount": 4}`}, "abc", 2},
		{"one appears, and pages have one", []string{`{"items": [{"_id": "a"}], "totalCount": 2}`, `{"items": [{"_id": "a"}], "totalCount": 3}`, `{"items": [{"_id": "b"}], "totalCount": 3}`}, "ab", 3},
		{"one vanishes in front", []string{`{"items": [{"_id": "a"}, {"_id": "b"}], "totalCount": 4}`, `{"items": [{"_id": "d"}], "totalCount": 3}`}, "abd", 2},
		{"the rest vanishes", []string{`{"items": [{"_id": "a"}, {"_id": "b"}], "totalCount": 4}`, `{"items": [], "totalCount": 2}`}, "ab", 2},
		{"the count is too high", []string{`{"items": [{"_id": "a"}], "totalCount": 9}`, `{"items": [], "totalCount": 9}`}, "a", 2},
		{"no count", []string{`{"items": [{"_id": "a"}]}`, `{"items": [{"_id": "b"}]}`, `{"items": []}`}, "ab", 3},
		{"twice on a page", []string{`{"items": [{"_id": "a"}, {"_id": "a"}], "totalCount": 2}`}, "a", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, sent, err := pages(test.pages...)
			require.NoError(t, err)
			assert.Equal(t, test.want, strings.Join(got, ""))
			assert.Equal(t, test.sent, sent)
		})
	}

	got, sent, err := pages(`{"items": [{"_id": "a"}], "totalCount": 2147483647}`)
	require.EqualError(t, err, "tokenpatch: GET app.launchdarkly.com/api/v2/tokens: 200 ok: 10 pages in a row have only items that were on earlier pages")
	assert.Equal(t, 200, assertAs[*tokenpatch.APIError](t, err).StatusCode)
	assertOutcome(t, notApplied, err)
	assert.Equal(t, []string{"a"}, got)
	assert.Equal(t, 11, sent, "no server keeps the loop going for ever")
}

func TestTokensRefusesWhatIsNoList(t *testing.T) {
	for _, body := range []string{`{}`, `null`, `[]`, `<html>`, `{"items": [null]}`, `{"items": [{"name": "x"}]}`, `{"items": {}}`} {
		_, client := newPair(t, retries(once), through(func(*http.Request) (*http.Response, error) {
			return respond(200, "application/json", body), nil
		}))
		got, err := ids(client, tokenpatch.TokensOptions{})
		assert.Empty(t, got)
		assertAs[*tokenpatch.APIError](t, err)
	}
}

// The query goes behind the path of any base URL.
func TestTokensBehindAPrefix(t *testing.T) {
	var got *url.URL
	_, client := newPair(t, func(c *tokenpatch.Config) { c.V2.BaseURL = "https://proxy.example.com/a%2Fb" },
		through(func(r *http.Request) (*http.Response, error) {
			got = r.URL
			return respond(200, "application/json", `{"items": []}`), nil
		}))
	_, err := ids(client, tokenpatch.TokensOptions{ShowAll: true, PageSize: 7})
	require.NoError(t, err)
	assert.Equal(t, "https://proxy.example.com/a%2Fb/api/v2/tokens?limit=7&showAll=true", got.String())
}
