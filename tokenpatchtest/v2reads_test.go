package tokenpatchtest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// get makes a read of an attempt's PATCH.
func get(r *http.Request) {
	r.Method, r.Body, r.ContentLength = http.MethodGet, http.NoBody, 0
	r.Header.Del("Content-Type")
}

func read(t *testing.T, client *http.Client, path string, edits ...edit) result {
	t.Helper()
	return send(t, client, "http://a"+path, "", append([]edit{get}, edits...)...)
}

func TestReadReturnsTheTokenAsItIs(t *testing.T) {
	service, client := newService(t)
	r := read(t, client, v2Path)
	assert.Equal(t, 200, r.status)
	assert.Equal(t, "application/json", r.header.Get("Content-Type"))
	assert.JSONEq(t, document, r.body)
	assert.Contains(t, r.body, `"exact":1.50`, "digit for digit")

	send(t, client, "http://a"+v2Path, rename(v2Path, "after"))
	assert.Contains(t, read(t, client, v2Path).body, `"name":"after"`)
	assert.Equal(t, 1, service.Changes(tokenID), "a read is no change")
	assert.Len(t, service.History(tokenID), 1)

	service.Remove(tokenID)
	assert.Equal(t, 404, read(t, client, v2Path).status)
	assert.Equal(t, 404, send(t, client, "http://a"+v2Path, rename(v2Path, "late")).status)
	assert.Equal(t, 1, service.Changes(tokenID), "its history stays")
	service.Remove("no such token")

	var routes []string
	for _, r := range service.Requests() {
		routes = append(routes, r.Route)
	}
	const reads, changes = "GET /api/v2/tokens/{id}", "PATCH /api/v2/tokens/{id}"
	assert.Equal(t, []string{reads, changes, reads, reads, changes}, routes)
}

// The API hands out the last four characters of a token's value, and no more.
func TestValueIsCut(t *testing.T) {
	service, client := newService(t)
	for value, want := range map[string]string{"": "", "1234": "1234", "secret-5678": "5678", "ééééé": "éééé"} {
		require.NoError(t, service.AddV2(`{"_id": "x", "token": "`+value+`", "exact": 1.50}`))
		for _, r := range []result{
			read(t, client, "/api/v2/tokens/x"),
			send(t, client, "http://a/api/v2/tokens/x", rename("/v2/", "after")),
			read(t, client, "/api/v2/tokens?offset=1"),
		} {
			assert.Equal(t, 200, r.status)
			assert.Contains(t, r.body, `"token":"`+want+`"`)
			assert.Contains(t, r.body, `"exact":1.50`)
		}
	}
}

// A read of either route accepts documented parameters only.
func TestReadsAreStrict(t *testing.T) {
	_, client := newService(t)
	body := func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("{}")), 2
	}
	old := header("LD-API-Version", "20220603")
	tests := []struct {
		name, path string
		edits      []edit
		status     int
	}{
		{"token", v2Path, nil, 200},
		{"list", "/api/v2/tokens", nil, 200},
		{"token, old version", v2Path, []edit{old}, 200},
		{"list, old version", "/api/v2/tokens?showAll=true", []edit{old}, 200},
		{"list, version twice", "/api/v2/tokens?limit=1", []edit{header("LD-API-Version", "20240415", "20220603")}, 200},
		{"every parameter", "/api/v2/tokens?limit=1&offset=0&showAll=false", nil, 200},
		{"a limit beyond all", "/api/v2/tokens?limit=1000000&offset=1000000", nil, 200},
		{"beta", "/api/v2/tokens?limit=1", []edit{header("LD-API-Version", "beta")}, 200},
		{"no credential", v2Path, []edit{header("Authorization")}, 401},
		{"list, no credential", "/api/v2/tokens", []edit{header("Authorization")}, 401},
		{"no version", v2Path, []edit{header("LD-API-Version")}, 400},
		{"list, no version", "/api/v2/tokens", []edit{header("LD-API-Version")}, 400},
		{"body", v2Path, []edit{body}, 400},
		{"list, body", "/api/v2/tokens", []edit{body}, 400},
		{"unknown parameter", v2Path + "?expand=1", nil, 400},
		{"list, unknown parameter", "/api/v2/tokens?sort=name", nil, 400},
		{"parameter twice", "/api/v2/tokens?limit=1&limit=2", nil, 400},
		{"malformed query", "/api/v2/tokens?limit=%zz", nil, 400},
		{"limit of nothing", "/api/v2/tokens?limit=0", nil, 400},
		{"limit empty", "/api/v2/tokens?limit=", nil, 400},
		{"limit negative", "/api/v2/tokens?limit=-1", nil, 400},
		{"limit with a plus", "/api/v2/tokens?limit=%2B1", nil, 400},
		{"limit is text", "/api/v2/tokens?limit=all", nil, 400},
		{"offset negative", "/api/v2/tokens?offset=-1", nil, 400},
		{"showAll as a number", "/api/v2/tokens?showAll=1", nil, 400},
		{"paged, old version", "/api/v2/tokens?limit=1", []edit{old}, 400},
		{"offset, old version", "/api/v2/tokens?offset=1", []edit{old}, 400},
		{"other id", "/api/v2/tokens/other", nil, 404},
		{"id of V1", "/api/v2/tokens/" + v1ID, nil, 404},
		{"V1 has no read", v1Path, nil, 405},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.status, read(t, client, test.path, test.edits...).status)
		})
	}
}

// The message of a refused read names the wrong parameter.
func TestReadsSayWhichParameterIsWrong(t *testing.T) {
	_, client := newService(t)
	for query, want := range map[string]string{
		"limit=0":         `limit \"0\": want a number of at least 1`,
		"offset=-1":       `offset \"-1\": want a number of at least 0`,
		"limit=1&limit=2": `limit: want it once`,
		"sort=name":       `\"sort\" is not a parameter of this read`,
	} {
		assert.Contains(t, read(t, client, "/api/v2/tokens?"+query).body, `"message":"`+want+`"`)
	}
}

// list reads a page of tokens.
func list(t *testing.T, client *http.Client, query string, edits ...edit) (ids []string, total int) {
	t.Helper()
	return listAt(t, client, "/api/v2/tokens"+query, edits...)
}

// listAt reads a page and returns the ids on it, and how many items there are.
func listAt(t *testing.T, client *http.Client, path string, edits ...edit) (ids []string, total int) {
	t.Helper()
	r := read(t, client, path, edits...)
	require.Equal(t, 200, r.status, r.body)
	var page struct {
		Items []struct {
			ID string `json:"_id"`
		}
		TotalCount int
		Links      json.RawMessage `json:"_links"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.body), &page))
	assert.Equal(t, "{}", string(page.Links))
	assert.NotContains(t, r.body, `"items":null`)
	for _, item := range page.Items {
		ids = append(ids, item.ID)
	}
	return ids, page.TotalCount
}

func TestListIsPaged(t *testing.T) {
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	client := service.Client()
	ids, total := list(t, client, "")
	assert.Empty(t, ids)
	assert.Zero(t, total)

	var all []string
	for i := range 130 {
		id := fmt.Sprintf("token-%03d", i)
		all = append(all, id)
		require.NoError(t, service.AddV2(`{"_id": "`+id+`"}`))
	}
	require.NoError(t, service.AddV1(`{"id": "`+v1ID+`"}`))
	for query, want := range map[string][]string{
		"":                     all[:25],
		"?offset=120":          all[120:],
		"?offset=130":          nil,
		"?limit=3&offset=5":    all[5:8],
		"?limit=500":           all[:100],
		"?limit=500&offset=99": all[99:],
	} {
		ids, total := list(t, client, query)
		assert.Equal(t, want, ids, query)
		assert.Equal(t, 130, total, query)
	}
	ids, _ = list(t, client, "", header("LD-API-Version", "20220603"))
	assert.Equal(t, all, ids, "before 20240415 it is not paged")

	service.Remove(all[1])
	require.NoError(t, service.AddV2(`{"_id": "`+all[0]+`", "name": "again"}`))
	ids, total = list(t, client, "?limit=2")
	assert.Equal(t, []string{all[0], all[2]}, ids)
	assert.Equal(t, 129, total)
}

// Other members' personal tokens are listed only with showAll.
func TestShowAllListsTheTokensOfOthers(t *testing.T) {
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	for _, added := range []string{
		`{"_id": "mine"}`,
		`{"_id": "mine, named", "memberId": "` + tokenpatchtest.MemberID + `", "serviceToken": false}`,
		`{"_id": "another's", "memberId": "569f183514f4432160000008"}`,
		`{"_id": "another's service token", "memberId": "569f183514f4432160000008", "serviceToken": true}`,
	} {
		require.NoError(t, service.AddV2(added))
	}
	for query, want := range map[string][]string{
		"":               {"mine", "mine, named", "another's service token"},
		"?showAll=false": {"mine", "mine, named", "another's service token"},
		"?showAll=true":  {"mine", "mine, named", "another's", "another's service token"},
	} {
		ids, total := list(t, service.Client(), query)
		assert.Equal(t, want, ids)
		assert.Equal(t, len(want), total)
	}
	assert.Equal(t, 200, read(t, service.Client(), "/api/v2/tokens/another's").status)
}

// Each route has a quota of its own, and spends from the global one.
func TestRoutesHaveTheirOwnQuotas(t *testing.T) {
	inBubble(t, func(t *testing.T, service *tokenpatchtest.Service, patch func(string, ...edit) result) {
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 5, Route: 2})
		for _, step := range []struct {
			path, global, route string
			edits               []edit
			status              int
		}{
			{v2Path, "4", "1", nil, 200},
			{v2Path, "3", "1", []edit{get}, 200},
			{"/api/v2/tokens", "2", "1", []edit{get}, 200},
			{v2Path, "1", "0", []edit{get}, 200},
			{v2Path, "1", "0", []edit{get}, 429},
			{v2Path, "0", "0", nil, 200},
			{"/api/v2/tokens", "0", "1", []edit{get}, 429},
		} {
			r := patch(step.path, step.edits...)
			assert.Equal(t, step.status, r.status)
			assert.Equal(t, step.global, r.remaining("Global"))
			assert.Equal(t, step.route, r.remaining("Route"))
		}
		stats := service.Windows(tokenpatchtest.V2)
		require.Len(t, stats, 1)
		assert.Equal(t, 5, stats[0].Admitted)
		assert.Equal(t, 2, stats[0].Refused)
	})
}
