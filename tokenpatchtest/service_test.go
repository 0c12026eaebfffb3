package tokenpatchtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const (
	tokenID = "61095542756dba551110ae21"
	v2Path  = "/api/v2/tokens/" + tokenID
	v1ID    = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
	v1Path  = "/api/v1/token/" + v1ID
)

const document = `{
	"_id": "61095542756dba551110ae21",
	"_links": {"self": {"href": "/api/v2/tokens/61095542756dba551110ae21", "type": "application/json"}},
	"_member": {"_id": "569f183514f4432160000007", "_links": {}, "role": "admin", "email": "a@example.com"},
	"ownerId": "569f183514f4432160000007",
	"memberId": "569f183514f4432160000007",
	"name": "before",
	"customRoleIds": ["a", "b", "c"],
	"creationDate": 1443652232590,
	"lastModified": 1443652232590,
	"serviceToken": false,
	"token": "1234",
	"future": {"exact": 1.50, "big": 12345678901234567890, "null": null, "nulls": [null, 1], "": {"x": 1}, "a/b~c": 1}
}`

// result is a response, read to its end.
type result struct {
	status int
	header http.Header
	body   string
}

func (r result) remaining(quota string) string {
	return r.header.Get("X-Ratelimit-" + quota + "-Remaining")
}

// edit changes a request before it is sent.
type edit func(*http.Request)

func header(name string, values ...string) edit {
	return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
}

func method(m string) edit { return func(r *http.Request) { r.Method = m } }

// attempt sends a PATCH, valid except for body and edits.
func attempt(client *http.Client, url, body string, edits ...edit) (result, error) {
	return attemptContext(context.Background(), client, url, body, edits...)
}

func attemptContext(ctx context.Context, client *http.Client, url, body string, edits ...edit) (result, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPatch, url, strings.NewReader(body))
	if err != nil {
		return result{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+tokenpatchtest.APIKey)
	if strings.Contains(url, "/api/v2/") {
		r.Header.Set("Authorization", tokenpatchtest.AccessToken)
		r.Header.Set("LD-API-Version", "20240415")
	}
	for _, e := range edits {
		e(r)
	}
	response, err := client.Do(r)
	if err != nil {
		return result{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return result{response.StatusCode, response.Header, string(text)}, err
}

func send(t *testing.T, client *http.Client, url, body string, edits ...edit) result {
	t.Helper()
	r, err := attempt(client, url, body, edits...)
	require.NoError(t, err)
	return r
}

// newService returns a service with a token of either API, and a client of it.
func newService(t *testing.T) (*tokenpatchtest.Service, *http.Client) {
	t.Helper()
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	service.SetOptions(tokenpatchtest.Options{Members: []string{"future"}})
	require.NoError(t, service.AddV2(document))
	require.NoError(t, service.AddV1(`{"id": "`+v1ID+`", "name": "before", "organization_role": "MEMBER"}`))
	return service, service.Client()
}

// rename returns the body of a change of either API.
func rename(path, name string) string {
	if strings.Contains(path, "/v1/") {
		return fmt.Sprintf(`{"name": %q}`, name)
	}
	return fmt.Sprintf(`[{"op": "replace", "path": "/name", "value": %q}]`, name)
}

// member returns a member of a token of V2, as JSON.
func member(t *testing.T, service *tokenpatchtest.Service, name string) string {
	t.Helper()
	token, found := service.V2(tokenID)
	require.True(t, found)
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(token, &members))
	return string(members[name])
}

func TestUnknownRoutesAreRefused(t *testing.T) {
	service, client := newService(t)
	tests := []struct {
		name, path string
		edits      []edit
		status     int
		code       string
	}{
		{"v2 DELETE", v2Path, []edit{method(http.MethodDelete)}, 405, "method_not_allowed"},
		{"v2 list PATCH", "/api/v2/tokens", nil, 405, "method_not_allowed"},
		{"v1 DELETE", v1Path, []edit{method(http.MethodDelete)}, 405, ""},
		{"nothing", "/", nil, 404, ""},
		{"v2 empty id", "/api/v2/tokens/", nil, 404, "not_found"},
		{"v2 deeper", v2Path + "/reset", nil, 404, "not_found"},
		{"v2 slash at the end", v2Path + "/", nil, 404, "not_found"},
		{"v2 other id", "/api/v2/tokens/other", nil, 404, "not_found"},
		{"v2 id of v1", "/api/v2/tokens/" + v1ID, nil, 404, "not_found"},
		{"v1 list", "/api/v1/token", nil, 404, ""},
		{"v1 other id", "/api/v1/token/" + uuid.Max.String(), nil, 404, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := send(t, client, "http://anywhere"+test.path, rename(test.path, "after"), test.edits...)
			assert.Equal(t, test.status, r.status)
			assert.Equal(t, "application/json", r.header.Get("Content-Type"))
			var body map[string]string
			require.NoError(t, json.Unmarshal([]byte(r.body), &body))
			if test.code == "" {
				assert.NotEmpty(t, body["detail"])
				return
			}
			assert.Equal(t, test.code, body["code"])
			assert.NotEmpty(t, body["message"])
			assert.NoError(t, uuid.Validate(body["id"]))
		})
	}
	assert.Equal(t, "GET, PATCH", send(t, client, "http://a"+v2Path, "", method(http.MethodPut)).header.Get("Allow"))
	assert.Zero(t, service.Changes(tokenID)+service.Changes(v1ID))
}

func TestEscapedIDIsDecoded(t *testing.T) {
	service, client := newService(t)
	odd := strings.ReplaceAll(document, tokenID, `a/b %?é`)
	require.NoError(t, service.AddV2(odd))
	r := send(t, client, "http://a/api/v2/tokens/a%2Fb%20%25%3F%C3%A9", rename(v2Path, "after"))
	assert.Equal(t, 200, r.status)
	assert.Equal(t, 1, service.Changes("a/b %?é"))
	assert.Equal(t, "/api/v2/tokens/a%2Fb%20%25%3F%C3%A9", service.Requests()[0].Path)
}

func TestWrongCredentialsAreRefused(t *testing.T) {
	service, client := newService(t)
	for _, path := range []string{v1Path, v2Path} {
		for _, wrong := range [][]string{
			nil, {""}, {"wrong"}, {tokenpatchtest.APIKey}, {"Bearer " + tokenpatchtest.AccessToken},
			{"bearer " + tokenpatchtest.APIKey}, {tokenpatchtest.AccessToken, tokenpatchtest.AccessToken},
		} {
			r := send(t, client, "http://a"+path, rename(path, "after"), header("Authorization", wrong...))
			assert.Equal(t, 401, r.status, "%s %q", path, wrong)
		}
	}
	r := send(t, client, "http://a"+v1Path, "{}", header("Authorization"))
	assert.JSONEq(t, `{"detail": "Not authenticated"}`, r.body)
	assert.Equal(t, "Bearer", r.header.Get("WWW-Authenticate"))

	service.SetCredentials("", "rotated")
	assert.Equal(t, 401, send(t, client, "http://a"+v2Path, rename(v2Path, "after")).status)
	assert.Equal(t, 200, send(t, client, "http://a"+v2Path, rename(v2Path, "after"), header("Authorization", "rotated")).status)
	assert.Equal(t, 401, send(t, client, "http://a"+v1Path, "{}", header("Authorization", "Bearer ")).status)
}

func TestOtherContentTypesAreRefused(t *testing.T) {
	_, client := newService(t)
	for _, path := range []string{v1Path, v2Path} {
		for contentType, right := range map[string]bool{
			"application/json":                   true,
			"application/json; charset=UTF-8":    true,
			"application/json;charset=latin1":    false,
			"application/json; domain-model=x":   false,
			"application/json-patch+json":        false,
			"text/plain":                         false,
			"application/json, application/json": false,
		} {
			r := send(t, client, "http://a"+path, rename(path, "after"), header("Content-Type", contentType))
			assert.Equal(t, !right, r.status == 415, "%s %q: %d", path, contentType, r.status)
		}
		assert.Equal(t, 415, send(t, client, "http://a"+path, rename(path, "x"), header("Content-Type")).status)
	}
}

func TestLargeBodyIsRefused(t *testing.T) {
	service, client := newService(t)
	for _, path := range []string{v1Path, v2Path} {
		r := send(t, client, "http://a"+path, rename(path, strings.Repeat("x", 1<<20)))
		assert.Equal(t, 413, r.status)
	}
	assert.Zero(t, service.Changes(tokenID))
	assert.LessOrEqual(t, len(service.Requests()[0].Body), 1<<20+1)
}

func TestRequestLog(t *testing.T) {
	service, client := newService(t)
	body := rename(v2Path, "after")
	send(t, client, "http://a"+v2Path+"?q=1", body, header("X-Trace", "7"))
	send(t, client, "http://a/elsewhere", "", method(http.MethodGet))
	send(t, client, "http://a"+v1Path, `{"name": 1}`)

	requests := service.Requests()
	require.Len(t, requests, 3)
	assert.Equal(t, 3, service.RequestCount())
	first := requests[0]
	assert.WithinDuration(t, time.Now(), first.Time, time.Minute)
	assert.Equal(t, tokenpatchtest.V2, first.API)
	assert.Equal(t, "PATCH /api/v2/tokens/{id}", first.Route)
	assert.Equal(t, http.MethodPatch, first.Method)
	assert.Equal(t, v2Path+"?q=1", first.Path)
	assert.Equal(t, "7", first.Header.Get("X-Trace"))
	assert.Equal(t, body, string(first.Body))
	assert.Equal(t, 200, first.Status)
	assert.True(t, first.Applied)
	assert.Equal(t, tokenpatchtest.AnyAPI, requests[1].API)
	assert.Empty(t, requests[1].Route)
	assert.Equal(t, 404, requests[1].Status)
	assert.Equal(t, tokenpatchtest.V1, requests[2].API)
	assert.Equal(t, 422, requests[2].Status)
	assert.False(t, requests[2].Applied)
}

func TestHistory(t *testing.T) {
	service, client := newService(t)
	send(t, client, "http://a"+v1Path, `{"name": 1}`)
	send(t, client, "http://a"+v1Path, `{"name": "one"}`)
	send(t, client, "http://a"+v1Path, `{}`)
	history := service.History(v1ID)
	require.Len(t, history, 2)
	assert.Equal(t, 2, service.Changes(v1ID))
	assert.Equal(t, 1, history[0].Request)
	assert.Equal(t, `{"name": "one"}`, string(history[0].Body))
	assert.Contains(t, string(history[0].Before), `"name":"before"`)
	assert.Contains(t, string(history[0].After), `"name":"one"`)
	assert.Equal(t, history[1].Before, history[1].After)
	assert.Zero(t, service.Changes("other"))
	assert.Empty(t, service.History("other"))
}

func TestConcurrentUse(t *testing.T) {
	service, client := newService(t)
	const senders, each = 20, 10
	var group sync.WaitGroup
	for i := range senders {
		group.Go(func() {
			for range each {
				path := []string{v1Path, v2Path}[i%2]
				_, err := attempt(client, "http://a"+path, rename(path, "after"))
				assert.NoError(t, err)
				service.Requests()
				service.History(tokenID)
			}
		})
	}
	group.Wait()
	assert.Equal(t, senders*each, service.RequestCount())
	assert.Equal(t, senders*each/2, service.Changes(tokenID))
	assert.Equal(t, senders*each/2, service.Changes(v1ID))
	last := json.RawMessage(document)
	for i, change := range service.History(tokenID) {
		assert.JSONEq(t, string(last), string(change.Before), "change %d", i)
		last = change.After
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newService(t)
		service.SetLatency(3 * time.Second)
		start := time.Now()
		send(t, client, "http://a"+v2Path, rename(v2Path, "after"))
		assert.Equal(t, 3*time.Second, time.Since(start))
		assert.Equal(t, 1500*time.Millisecond, service.Requests()[0].Time.Sub(start))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := attemptContext(ctx, client, "http://a"+v2Path, rename(v2Path, "late"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 4*time.Second, time.Since(start))
		synctest.Wait()
		assert.Equal(t, 2, service.RequestCount())
		assert.Equal(t, 1, service.Changes(tokenID), "the client left before the request had arrived")
		service.Close()
	})
}

func TestClockOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newService(t)
		old := strings.Replace(document, `"lastModified": 1443652232590`, `"lastModified": 1`, 1)
		require.NoError(t, service.AddV2(old))
		service.SetClockOffset(-time.Hour)
		time.Sleep(1900 * time.Millisecond)
		r := send(t, client, "http://a"+v2Path, rename(v2Path, "after"))
		assert.Equal(t, "Fri, 31 Dec 1999 23:00:01 GMT", r.header.Get("Date"), "whole seconds, cut")
		assert.Equal(t, "946681201900", member(t, service, "lastModified"))
		assert.Equal(t, int64(946681201900), service.History(tokenID)[0].Time.UnixMilli())

		service.SetClockOffset(-48 * time.Hour)
		send(t, client, "http://a"+v2Path, rename(v2Path, "after"))
		assert.Equal(t, "946681201901", member(t, service, "lastModified"), "never goes back, never stays")
		service.Close()
	})
}

func TestServeHTTP(t *testing.T) {
	service, _ := newService(t)
	r := httptest.NewRequest(http.MethodPatch, v2Path, strings.NewReader(rename(v2Path, "after")))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("LD-API-Version", "beta")
	r.Header.Set("Authorization", tokenpatchtest.AccessToken)
	w := httptest.NewRecorder()
	service.ServeHTTP(w, r)
	assert.Equal(t, 200, w.Code)

	bare, err := http.NewRequest(http.MethodPatch, "http://a"+v2Path, nil)
	require.NoError(t, err)
	w = httptest.NewRecorder()
	service.ServeHTTP(w, bare)
	assert.Equal(t, 401, w.Code)

	service.Inject(tokenpatchtest.Fault{Cut: tokenpatchtest.CutBefore})
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { service.ServeHTTP(w, bare) })
}
