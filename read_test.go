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

// Reads have routes of their own, whose quotas are not that of changes.
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

// A loop that ends early sends nothing more, and may be run again.
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

// A page that fails ends the list with the error.
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

// The query goes behind the path of the base URL, whatever that is.
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
