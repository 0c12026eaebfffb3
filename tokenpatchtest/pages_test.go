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

// newList returns a service with 100 tokens and 100 custom roles, named by their
// places. Another member's are the tokens from 25 to 49.
func newList(t *testing.T, paging tokenpatchtest.Paging) *http.Client {
	t.Helper()
	service := tokenpatchtest.New()
	t.Cleanup(service.Close)
	for i := range 100 {
		member := tokenpatchtest.MemberID
		if i/25 == 1 {
			member = "another"
		}
		require.NoError(t, service.AddV2(fmt.Sprintf(`{"_id": "%02d", "memberId": %q}`, i, member)))
		require.NoError(t, service.AddRole(fmt.Sprintf(`{"_id": "%02d", "key": "key-%02d"}`, i, i)))
	}
	service.SetOptions(tokenpatchtest.Options{Paging: paging})
	return service.Client()
}

// onPage is a decoded page, with the ids of its items.
type onPage struct {
	Items []struct {
		ID string `json:"_id"`
	}
	TotalCount int
	Links      json.RawMessage `json:"_links"`
}

func (p onPage) first() string {
	if len(p.Items) == 0 {
		return ""
	}
	return p.Items[0].ID
}

func pageAt(t *testing.T, client *http.Client, path string) (p onPage) {
	t.Helper()
	r := read(t, client, path)
	require.Equal(t, 200, r.status, r.body)
	require.NoError(t, json.Unmarshal([]byte(r.body), &p))
	return p
}

func TestTotalCountIsAsATestWants(t *testing.T) {
	for name, test := range map[string]struct {
		total func(all, onPage int) int
		want  int
	}{
		"exact":      {nil, 100},
		"zero":       {func(int, int) int { return 0 }, 0},
		"negative":   {func(int, int) int { return -1 }, -1},
		"the page's": {func(_, onPage int) int { return onPage }, 20},
	} {
		client := newList(t, tokenpatchtest.Paging{TotalCount: test.total})
		for _, path := range []string{"/api/v2/tokens?showAll=true&limit=20", "/api/v2/roles"} {
			p := pageAt(t, client, path)
			assert.Equal(t, test.want, p.TotalCount, "%s %s", name, path)
			assert.Len(t, p.Items, 20)
			assert.Equal(t, "{}", string(p.Links))
		}
	}
}

func TestOffsetCanBeIgnored(t *testing.T) {
	client := newList(t, tokenpatchtest.Paging{IgnoreOffset: true})
	for _, path := range []string{"/api/v2/tokens", "/api/v2/roles"} {
		for _, offset := range []string{"0", "40", "1000"} {
			p := pageAt(t, client, path+"?limit=10&offset="+offset)
			assert.Len(t, p.Items, 10)
			assert.Equal(t, "00", p.first())
		}
	}
}

// Pages can be empty in between if they are cut before tokens are omitted.
func TestPagesCanBeEmptyInBetween(t *testing.T) {
	client := newList(t, tokenpatchtest.Paging{FilterLate: true})
	for offset, want := range map[int]struct {
		items int
		first string
	}{0: {25, "00"}, 20: {5, "20"}, 25: {0, ""}, 40: {15, "50"}, 50: {25, "50"}, 75: {25, "75"}, 100: {0, ""}} {
		p := pageAt(t, client, fmt.Sprintf("/api/v2/tokens?offset=%d", offset))
		assert.Len(t, p.Items, want.items, offset)
		assert.Equal(t, want.first, p.first())
		assert.Equal(t, 100, p.TotalCount, "it counts what no page has")
	}
	assert.Len(t, pageAt(t, client, "/api/v2/tokens?offset=25&showAll=true").Items, 25)

	client = newList(t, tokenpatchtest.Paging{})
	p := pageAt(t, client, "/api/v2/tokens?offset=25")
	assert.Equal(t, "50", p.first())
	assert.Equal(t, 75, p.TotalCount)
}

func TestItemsCanBeNull(t *testing.T) {
	client := newList(t, tokenpatchtest.Paging{NullItems: true, FilterLate: true})
	for _, path := range []string{"/api/v2/tokens?offset=100", "/api/v2/tokens?offset=25", "/api/v2/roles?offset=100"} {
		assert.Contains(t, read(t, client, path).body, `"items":null`, path)
	}
	assert.Len(t, pageAt(t, client, "/api/v2/tokens").Items, 25)
	client = newList(t, tokenpatchtest.Paging{})
	assert.Contains(t, read(t, client, "/api/v2/tokens?offset=100").body, `"items":[]`)
}

func TestLinksAreAsATestWants(t *testing.T) {
	next := func(next string) any {
		if next == "" {
			return map[string]any{}
		}
		return map[string]any{"next": map[string]any{"href": next, "type": "application/json"}}
	}
	client := newList(t, tokenpatchtest.Paging{Links: next, TotalCount: func(int, int) int { return 0 }})
	for path, want := range map[string]string{"/api/v2/tokens?showAll=true": "00 25 50 75", "/api/v2/roles": "00 20 40 60 80", "/api/v2/tokens?limit=30": "00 55 85"} {
		var firsts string
		for path != "" {
			p := pageAt(t, client, path)
			firsts += " " + p.first()
			var links struct{ Next struct{ Href string } }
			require.NoError(t, json.Unmarshal(p.Links, &links))
			path = links.Next.Href
		}
		assert.Equal(t, " "+want, firsts)
	}

	client = newList(t, tokenpatchtest.Paging{Links: func(string) any { return nil }})
	assert.Contains(t, read(t, client, "/api/v2/tokens").body, `"_links":null`)
	client = newList(t, tokenpatchtest.Paging{Links: func(string) any { return map[string]any{"next": nil} }})
	assert.Contains(t, read(t, client, "/api/v2/roles").body, `"_links":{"next":null}`)
}

// A token can have a null link, or null instead of all of them.
func TestLinksOfTokensCanBeNull(t *testing.T) {
	service, client := newService(t)
	for id, links := range map[string]string{"x": `null`, "y": `{"self": null}`} {
		require.NoError(t, service.AddV2(`{"_id": "`+id+`", "_links": `+links+`}`))
		assert.Equal(t, 200, send(t, client, "http://a/api/v2/tokens/"+id, rename(v2Path, "after")).status)
	}
	body := read(t, client, "/api/v2/tokens").body
	assert.Contains(t, body, `"_links":null`)
	assert.Contains(t, body, `"_links":{"self":null}`)
}
