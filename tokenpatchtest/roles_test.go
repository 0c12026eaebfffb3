package tokenpatchtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const (
	opsID  = "5f0c1f2e3d4b5a6978879601"
	opsKey = "ops"
	qaID   = "5f0c1f2e3d4b5a6978879602"
)

// newRoles returns a service with two custom roles.
func newRoles(t *testing.T) (*tokenpatchtest.Service, *http.Client) {
	t.Helper()
	service, client := newService(t)
	require.NoError(t, service.AddRole(`{"_id": "`+opsID+`", "key": "ops", "name": "Operations", "description": "on call"}`))
	require.NoError(t, service.AddRole(`{"_id": "`+qaID+`", "key": "qa"}`))
	return service, client
}

func TestRolesAreReadByKeyOrID(t *testing.T) {
	service, client := newRoles(t)
	const ops = `{"_id": "` + opsID + `", "key": "ops", "name": "Operations", "description": "on call", "_links": {}, "policy": []}`
	for _, path := range []string{opsKey, opsID} {
		r := read(t, client, "/api/v2/roles/"+path)
		assert.Equal(t, 200, r.status)
		assert.JSONEq(t, ops, r.body)
	}
	assert.Contains(t, read(t, client, "/api/v2/roles/qa").body, `"name":"qa"`)
	assert.Equal(t, "GET /api/v2/roles/{customRoleKey}", service.Requests()[0].Route)

	// A key equal to another role's id: the key counts.
	require.NoError(t, service.AddRole(`{"_id": "x", "key": "`+qaID+`"}`))
	assert.Contains(t, read(t, client, "/api/v2/roles/"+qaID).body, `"_id":"x"`)

	require.NoError(t, service.AddRole(`{"_id": "`+opsID+`", "key": "operations"}`))
	assert.Equal(t, 404, read(t, client, "/api/v2/roles/ops").status, "renamed")
	assert.Equal(t, 200, read(t, client, "/api/v2/roles/operations").status)
	service.Remove(opsID)
	assert.Equal(t, 404, read(t, client, "/api/v2/roles/"+opsID).status)
	assert.Contains(t, read(t, client, "/api/v2/roles/nobody").body, `"code":"not_found"`)
}

func TestAddRoleRefusesWrongDocuments(t *testing.T) {
	service, _ := newService(t)
	for wrong, want := range map[string]string{
		`[]`:                                   "want an object",
		`{"_id": "x"}`:                         "_id, key: want strings",
		`{"_id": "", "key": "x"}`:              "_id, key: want strings",
		`{"_id": "x", "key": 1}`:               "_id, key: want strings",
		`{"_id": "x", "key": "k", "name": 1}`:  "name: want a string",
		`{"_id": "x", "key": "k", "key": "k"}`: "occurs twice",
		`{"_id": "x", "key": "k", "policy": [{"effect": "maybe"}]}`: "policy: 0: effect",
	} {
		require.ErrorContains(t, service.AddRole(wrong), want)
	}
}

func TestRolesAreListed(t *testing.T) {
	service, client := newService(t)
	var all []string
	for i := range 130 {
		id := fmt.Sprintf("role-%03d", i)
		all = append(all, id)
		require.NoError(t, service.AddRole(`{"_id": "`+id+`", "key": "key-`+id+`"}`))
	}
	for query, want := range map[string][]string{
		"":                  all[:20],
		"?offset=120":       all[120:],
		"?offset=130":       nil,
		"?limit=3&offset=5": all[5:8],
		"?limit=500":        all[:100],
	} {
		ids, total := listAt(t, client, "/api/v2/roles"+query)
		assert.Equal(t, want, ids, query)
		assert.Equal(t, 130, total)
	}
	for _, wrong := range []string{"?limit=0", "?offset=-1", "?limit=1&limit=1", "?showAll=true", "?limit=x"} {
		assert.Equal(t, 400, read(t, client, "/api/v2/roles"+wrong).status, wrong)
	}
	for _, path := range []string{"/api/v2/roles", "/api/v2/roles/key-role-000"} {
		assert.Equal(t, 400, read(t, client, path, header("LD-API-Version")).status)
		assert.Equal(t, 401, read(t, client, path, header("Authorization", "nobody's")).status)
		assert.Equal(t, 405, send(t, client, "http://a"+path, "[]").status)
	}
	assert.Equal(t, 400, read(t, client, "/api/v2/roles/key-role-000?expand=members").status)
}

// The test chooses how a patch with a custom role's key is handled.
func TestPatchesWithRoles(t *testing.T) {
	const refused, accepted = http.StatusBadRequest, http.StatusOK
	for _, test := range []struct {
		name   string
		keys   tokenpatchtest.RoleKeys
		added  string
		status int
		want   string
	}{
		{"an id", tokenpatchtest.RefuseRoleKeys, opsID, accepted, `["a","b","c","` + opsID + `"]`},
		{"a key", tokenpatchtest.RefuseRoleKeys, opsKey, refused, ``},
		{"a key, translated", tokenpatchtest.TranslateRoleKeys, opsKey, accepted, `["a","b","c","` + opsID + `"]`},
		{"a key, stored", tokenpatchtest.StoreRoleKeys, opsKey, accepted, `["a","b","c","ops"]`},
		{"nobody", tokenpatchtest.RefuseRoleKeys, "nobody", refused, ``},
		{"nobody, translated", tokenpatchtest.TranslateRoleKeys, "nobody", refused, ``},
		{"nobody, stored", tokenpatchtest.StoreRoleKeys, "nobody", refused, ``},
	} {
		t.Run(test.name, func(t *testing.T) {
			service, client := newRoles(t)
			service.SetOptions(tokenpatchtest.Options{RoleKeys: test.keys})
			r := send(t, client, "http://a"+v2Path, `[{"op": "add", "path": "/customRoleIds/-", "value": "`+test.added+`"}]`)
			require.Equal(t, test.status, r.status, r.body)
			if test.status == refused {
				assert.Contains(t, r.body, `"code":"invalid_request"`)
				assert.Zero(t, service.Changes(tokenID))
				return
			}
			assert.JSONEq(t, test.want, member(t, service, "customRoleIds"))
		})
	}
}

// A token keeps the ids of deleted custom roles.
func TestRolesThatAreGone(t *testing.T) {
	service, client := newRoles(t)
	add := `[{"op": "add", "path": "/customRoleIds/-", "value": "` + opsID + `"}]`
	require.Equal(t, 200, send(t, client, "http://a"+v2Path, add).status)
	service.Remove(opsID)
	assert.Equal(t, 200, send(t, client, "http://a"+v2Path, rename(v2Path, "after")).status)
	assert.Equal(t, 200, send(t, client, "http://a"+v2Path, `[{"op": "remove", "path": "/customRoleIds/3"}]`).status)
	assert.Equal(t, 400, send(t, client, "http://a"+v2Path, add).status)
}

func TestRemovingWhatATokenLacks(t *testing.T) {
	service, client := newService(t)
	require.NoError(t, service.AddV2(`{"_id": "bare"}`))
	for _, name := range []string{"inlineRole", "role", "customRoleIds", "name", "description", "defaultApiVersion"} {
		r := send(t, client, "http://a/api/v2/tokens/bare", `[{"op": "remove", "path": "/`+name+`"}]`)
		assert.Equal(t, 422, r.status, name)
	}
}

// identity reads whose credential it is.
func identity(t *testing.T, client *http.Client, edits ...edit) map[string]any {
	t.Helper()
	r := read(t, client, "/api/v2/caller-identity", edits...)
	require.Equal(t, 200, r.status, r.body)
	var caller map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.body), &caller))
	return caller
}

func TestCallerIdentity(t *testing.T) {
	service, client := newService(t)
	assert.Equal(t, map[string]any{
		"accountId": tokenpatchtest.AccountID, "tokenId": tokenpatchtest.CredentialID, "tokenName": "tokenpatchtest",
		"memberId": tokenpatchtest.MemberID, "serviceToken": false, "authKind": "token", "tokenKind": "auth",
	}, identity(t, client))

	require.NoError(t, service.AddV2(`{"_id": "deployer", "name": "deploys", "serviceToken": true, "memberId": "somebody"}`))
	require.NoError(t, service.AddV2(`{"_id": "nameless"}`))
	service.AddCredential(tokenpatchtest.Credential{AccessToken: "second", TokenID: "deployer", AccountID: "another account", NoRoles: true})
	second := header("Authorization", "second")
	caller := identity(t, client, second)
	for name, want := range map[string]any{
		"accountId": "another account", "tokenId": "deployer", "tokenName": "deploys", "memberId": "somebody", "serviceToken": true,
	} {
		assert.Equal(t, want, caller[name], name)
	}
	service.AddCredential(tokenpatchtest.Credential{AccessToken: tokenpatchtest.AccessToken, TokenID: "nameless"})
	assert.Equal(t, "nameless", identity(t, client)["tokenId"])
	assert.NotContains(t, identity(t, client), "tokenName")

	assert.Equal(t, 400, read(t, client, "/api/v2/caller-identity?expand=1").status)
	assert.Equal(t, 400, read(t, client, "/api/v2/caller-identity", header("LD-API-Version")).status)
	assert.Equal(t, 401, read(t, client, "/api/v2/caller-identity", header("Authorization")).status)
	assert.Equal(t, 405, send(t, client, "http://a/api/v2/caller-identity", "[]").status)
}

// Each credential is accepted in its own form, and may do what it may.
func TestSeveralCredentials(t *testing.T) {
	service, client := newRoles(t)
	service.AddCredential(tokenpatchtest.Credential{AccessToken: "second", NoRoles: true})
	service.AddCredential(tokenpatchtest.Credential{AccessToken: "third", OAuth: true})
	for authorization, want := range map[string]int{
		tokenpatchtest.AccessToken: 200, "second": 200, "Bearer third": 200,
		"Bearer " + tokenpatchtest.AccessToken: 401, "Bearer second": 401, "third": 401, "": 401,
	} {
		assert.Equal(t, want, read(t, client, v2Path, header("Authorization", authorization)).status, authorization)
	}
	assert.Equal(t, "oauth", identity(t, client, header("Authorization", "Bearer third"))["authKind"])
	for _, path := range []string{"/api/v2/roles", "/api/v2/roles/ops", "/api/v2/roles/nobody"} {
		r := read(t, client, path, header("Authorization", "second"))
		assert.Equal(t, 403, r.status, path)
		assert.Contains(t, r.body, `"code":"forbidden"`)
	}
	service.SetCredentials(tokenpatchtest.APIKey, "rotated")
	assert.Equal(t, 401, read(t, client, v2Path, header("Authorization", "second")).status)
}
