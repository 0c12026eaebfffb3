package tokenpatch_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

var roleID = uuid.MustParse("7c9e6679-7425-40de-944b-e07fc1f90ae7")

func TestUpdateTokenRequest(t *testing.T) {
	tests := []struct {
		name   string
		update tokenpatch.TokenUpdate
		body   string
	}{
		{"name", tokenpatch.TokenUpdate{Name: tokenpatch.Set("ci")}, `{"name":"ci"}`},
		{"name empty", tokenpatch.TokenUpdate{Name: tokenpatch.Set("")}, `{"name":""}`},
		{"name null", tokenpatch.TokenUpdate{Name: tokenpatch.Null[string]()}, `{"name":null}`},
		{"name escaped", tokenpatch.TokenUpdate{Name: tokenpatch.Set("a\"\\\n\u00e9\u2028")}, `{"name":"a\"\\\n` + "\u00e9" + `\u2028"}`},
		{"role ADMIN", tokenpatch.TokenUpdate{OrganizationRole: tokenpatch.Set(tokenpatch.OrganizationRoleAdmin)}, `{"organization_role":"ADMIN"}`},
		{"role MEMBER", tokenpatch.TokenUpdate{OrganizationRole: tokenpatch.Set(tokenpatch.OrganizationRoleMember)}, `{"organization_role":"MEMBER"}`},
		{"role EXTERNAL", tokenpatch.TokenUpdate{OrganizationRole: tokenpatch.Set(tokenpatch.OrganizationRoleExternal)}, `{"organization_role":"EXTERNAL"}`},
		{"role null", tokenpatch.TokenUpdate{OrganizationRole: tokenpatch.Null[tokenpatch.OrganizationRole]()}, `{"organization_role":null}`},
		{"personal", tokenpatch.TokenUpdate{Personal: tokenpatch.Set(true)}, `{"personal":true}`},
		{"not personal", tokenpatch.TokenUpdate{Personal: tokenpatch.Set(false)}, `{"personal":false}`},
		{"personal null", tokenpatch.TokenUpdate{Personal: tokenpatch.Null[bool]()}, `{"personal":null}`},
		{"role id", tokenpatch.TokenUpdate{RoleID: tokenpatch.Set(roleID)}, `{"role_id":"7c9e6679-7425-40de-944b-e07fc1f90ae7"}`},
		{"role id null", tokenpatch.TokenUpdate{RoleID: tokenpatch.Null[uuid.UUID]()}, `{"role_id":null}`},
		{"everything", tokenpatch.TokenUpdate{
			Name: tokenpatch.Set("ci"), OrganizationRole: tokenpatch.Set(tokenpatch.OrganizationRoleMember),
			Personal: tokenpatch.Set(false), RoleID: tokenpatch.Null[uuid.UUID](),
		}, `{"name":"ci","organization_role":"MEMBER","personal":false,"role_id":null}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			service, client := newPair(t)

			require.NoError(t, client.V1.UpdateToken(t.Context(), uuid.MustParse(idV1), test.update))

			require.Equal(t, 1, service.RequestCount())
			got := service.Requests()[0]
			assert.Equal(t, "PATCH", got.Method)
			assert.Equal(t, pathV1, got.Path)
			assert.Equal(t, test.body, string(got.Body))
			assert.Equal(t, http.Header{
				"Accept":          {"application/json"},
				"Accept-Encoding": {"gzip"}, // of net/http's transport
				"Authorization":   {"Bearer " + tokenpatchtest.APIKey},
				"Content-Length":  {strconv.Itoa(len(test.body))},
				"Content-Type":    {"application/json"},
				"User-Agent":      {"tokenpatch/" + tokenpatch.Version},
			}, got.Header)
			assert.Equal(t, 204, got.Status)
			assert.Equal(t, 1, service.Changes(idV1))
		})
	}
}

// What is null, set and absent arrives as such.
func TestUpdateTokenChangesWhatItNames(t *testing.T) {
	service, client := newPair(t)
	require.NoError(t, service.AddV1(`{"id": "`+idV1+`", "name": "before", "organization_role": "ADMIN", "personal": true,
		"role_id": "`+roleID.String()+`"}`))

	require.NoError(t, client.V1.UpdateToken(t.Context(), uuid.MustParse(idV1), tokenpatch.TokenUpdate{
		Name: tokenpatch.Set("after"), RoleID: tokenpatch.Null[uuid.UUID](),
	}))

	got, found := service.V1(idV1)
	require.True(t, found)
	assert.JSONEq(t, `{"id": "`+idV1+`", "name": "after", "organization_role": "ADMIN", "personal": true, "role_id": null}`, string(got))
}

func TestUpdateTokenRefusesWrongInput(t *testing.T) {
	name := tokenpatch.TokenUpdate{Name: tokenpatch.Set("ci")}
	tests := []struct {
		name   string
		id     string
		update tokenpatch.TokenUpdate
		text   string
	}{
		{"nil UUID", "00000000-0000-0000-0000-000000000000", name, "tokenpatch: id: 00000000-0000-0000-0000-000000000000: want a UUID other than the nil UUID"},
		{"nothing to update", idV1, tokenpatch.TokenUpdate{}, "tokenpatch: update: empty: want at least one field that is set or null"},
		{"unknown role", idV1, tokenpatch.TokenUpdate{OrganizationRole: tokenpatch.Set(tokenpatch.OrganizationRole("OWNER"))}, `tokenpatch: update.OrganizationRole: "OWNER": want ADMIN, MEMBER or EXTERNAL`},
		{"lower case role", idV1, tokenpatch.TokenUpdate{OrganizationRole: tokenpatch.Set(tokenpatch.OrganizationRole("admin"))}, `tokenpatch: update.OrganizationRole: "admin": want ADMIN, MEMBER or EXTERNAL`},
		{"empty role", idV1, tokenpatch.TokenUpdate{OrganizationRole: tokenpatch.Set(tokenpatch.OrganizationRole(""))}, `tokenpatch: update.OrganizationRole: "": want ADMIN, MEMBER or EXTERNAL`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			service, client := newPair(t)
			err := client.V1.UpdateToken(t.Context(), uuid.MustParse(test.id), test.update)
			assertAs[*tokenpatch.InputError](t, err)
			require.EqualError(t, err, test.text)
			assertOutcome(t, notApplied, err)
			assert.Zero(t, service.RequestCount())
		})
	}
}

func TestUpdateTokenOfUnknownToken(t *testing.T) {
	service, client := newPair(t)
	err := client.V1.UpdateToken(t.Context(), roleID, tokenpatch.TokenUpdate{Name: tokenpatch.Set("ci")})
	assert.Equal(t, "API token not found", assertAs[*tokenpatch.NotFoundError](t, err).Message)
	assertOutcome(t, notApplied, err)
	assert.Equal(t, 1, service.RequestCount())
}

// keyUntil is an API key of V1 with an expiry.
func keyUntil(t time.Time) string {
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return "api_" + encode(`{"alg":"HS256"}`) + "." + encode(fmt.Sprintf(`{"exp":%d}`, t.Unix())) + ".c2lnbmF0dXJl"
}

func TestAnExpiredKeyIsCalledExpired(t *testing.T) {
	for text, key := range map[string]string{
		"the API key expired at 2020-01-02T03:04:05Z": keyUntil(time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)),
		"": keyUntil(time.Now().Add(time.Hour)),
	} {
		service, _ := newPair(t)
		client, err := tokenpatch.NewClient(tokenpatch.Config{HTTPClient: service.Client(), V1: tokenpatch.V1Config{APIKey: tokenpatch.Secret(key)}})
		require.NoError(t, err)
		err = client.V1.UpdateToken(t.Context(), uuid.MustParse(idV1), tokenpatch.TokenUpdate{Name: tokenpatch.Set("ci")})
		require.ErrorAs(t, err, new(*tokenpatch.UnauthorizedError))
		assert.Equal(t, tokenpatch.OutcomeNotApplied, tokenpatch.OutcomeOf(err))
		if text == "" {
			assert.NotContains(t, err.Error(), "expired")
		} else {
			assert.Contains(t, err.Error(), text)
		}
	}
}

func TestWhenAKeyExpires(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	expires, ok := tokenpatch.Secret(keyUntil(at)).Expires()
	assert.True(t, ok)
	assert.Equal(t, at, expires)
	for _, key := range []string{"", "api_x", "a.b.c", "a.e30.c", "a.eyJleHAiOjFlMzAwfQ.c", "a.eyJleHAiOiJ4In0.c"} {
		_, ok := tokenpatch.Secret(key).Expires()
		assert.False(t, ok, key)
	}
}
