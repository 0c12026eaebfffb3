package tokenpatch_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

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
			service.Inject(tokenpatchtest.Fault{Status: 200, Body: tokenJSON})

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

// The token that comes back is the one that the service then has.
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
