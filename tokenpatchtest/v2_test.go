package tokenpatchtest_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func TestV2AppliesPatches(t *testing.T) {
	tests := []struct{ name, patch, member, want string }{
		{"replace", `[{"op": "replace", "path": "/name", "value": "<after>"}]`, "name", `"<after>"`},
		{"with a comment", `{"comment": "why", "patch": [{"op": "remove", "path": "/name"}]}`, "name", ``},
		{"without its comment", `{"patch": [{"op": "remove", "path": "/name"}]}`, "name", ``},
		{"replace what is not there", `[{"op": "replace", "path": "/description", "value": "d"}]`, "description", `"d"`},
		{"replace role", `[{"op": "replace", "path": "/role", "value": "reader"}]`, "role", `"reader"`},
		{"replace version", `[{"op": "replace", "path": "/defaultApiVersion", "value": 20240415}]`, "defaultApiVersion", `20240415`},
		{"replace inline role", `[{"op": "replace", "path": "/inlineRole", "value": [{"effect": "allow", "actions": ["*"], "resources": ["*"]}]}]`,
			"inlineRole", `[{"effect": "allow", "actions": ["*"], "resources": ["*"]}]`},
		{"append", `[{"op": "add", "path": "/customRoleIds/-", "value": "d"}]`, "customRoleIds", `["a", "b", "c", "d"]`},
		{"insert", `[{"op": "add", "path": "/customRoleIds/1", "value": "d"}]`, "customRoleIds", `["a", "d", "b", "c"]`},
		{"insert at the end", `[{"op": "add", "path": "/customRoleIds/3", "value": "d"}]`, "customRoleIds", `["a", "b", "c", "d"]`},
		{"remove an item", `[{"op": "remove", "path": "/customRoleIds/0"}]`, "customRoleIds", `["b", "c"]`},
		{"replace an item", `[{"op": "replace", "path": "/customRoleIds/2", "value": "d"}]`, "customRoleIds", `["a", "b", "d"]`},
		{"move an item", `[{"op": "move", "from": "/customRoleIds/0", "path": "/customRoleIds/2"}]`, "customRoleIds", `["b", "c", "a"]`},
		{"move to itself", `[{"op": "move", "from": "/name", "path": "/name"}]`, "name", `"before"`},
		{"move", `[{"op": "move", "from": "/name", "path": "/description"}]`, "description", `"before"`},
		{"copy", `[{"op": "copy", "from": "/_id", "path": "/name"}]`, "name", `"` + tokenID + `"`},
		{"copy the whole", `[{"op": "copy", "from": "", "path": "/future"}]`, "future", document},
		{"copy a null", `[{"op": "copy", "from": "/future/null", "path": "/future"}]`, "future", `null`},
		{"copy from an empty name", `[{"op": "copy", "from": "/future//x", "path": "/future"}]`, "future", `1`},
		{"add a null", `[{"op": "add", "path": "/future", "value": null}]`, "future", `null`},
		{"add an empty name", `[{"op": "add", "path": "/future", "value": {}}, {"op": "add", "path": "/future/", "value": 1}]`, "future", `{"": 1}`},
		{"into a member without a name", `[{"op": "add", "path": "/future//y", "value": 1}, {"op": "copy", "from": "/future/", "path": "/future"}]`, "future", `{"x": 1, "y": 1}`},
		{"remove from a member without a name", `[{"op": "remove", "path": "/future//x"}, {"op": "copy", "from": "/future/", "path": "/future"}]`, "future", `{}`},
		{"test an owned member", `[{"op": "test", "path": "/_id", "value": "` + tokenID + `"}, {"op": "remove", "path": "/future"}]`, "future", ``},
		{"test the whole", `[{"op": "test", "path": "", "value": ` + document + `}, {"op": "remove", "path": "/future"}]`, "future", ``},
		{"test a number by value", `[{"op": "test", "path": "/future/exact", "value": 15e-1}, {"op": "remove", "path": "/future"}]`, "future", ``},
		{"test a null", `[{"op": "test", "path": "/future/null", "value": null}, {"op": "remove", "path": "/future"}]`, "future", ``},
		{"test nulls in an array", `[{"op": "test", "path": "/future/nulls", "value": [null, 1.0]}, {"op": "remove", "path": "/future"}]`, "future", ``},
		{"escapes", `[{"op": "test", "path": "/future/a~1b~0c", "value": 1}, {"op": "remove", "path": "/future"}]`, "future", ``},
		{"wrong on the way, right at the end", `[{"op": "add", "path": "/name", "value": null}, {"op": "add", "path": "/name", "value": "x"}]`, "name", `"x"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			service, client := newService(t)
			r := send(t, client, "http://a"+v2Path, test.patch)
			require.Equal(t, 200, r.status, r.body)
			assert.Equal(t, "application/json", r.header.Get("Content-Type"))
			token, _ := service.V2(tokenID)
			assert.JSONEq(t, string(token), r.body)
			got := member(t, service, test.member)
			if test.want == "" || got == "" {
				assert.Equal(t, test.want, got)
			} else {
				assert.JSONEq(t, test.want, got)
			}
			assert.Equal(t, 1, service.Changes(tokenID))
		})
	}
}

func TestV2KeepsDigits(t *testing.T) {
	service, client := newService(t)
	r := send(t, client, "http://a"+v2Path, `[{"op": "copy", "from": "/future/big", "path": "/future/copied"},
		{"op": "add", "path": "/future/added", "value": 1.00}]`)
	require.Equal(t, 200, r.status, r.body)
	future := member(t, service, "future")
	for _, exact := range []string{`"exact":1.50`, `"big":12345678901234567890`, `"copied":12345678901234567890`, `"added":1.00`} {
		assert.Contains(t, future, exact)
	}
	assert.Regexp(t, `^{"exact".*"big".*"null".*"nulls".*"".*"a/b~c".*"copied".*"added"`, future, "and the order")
	assert.Contains(t, r.body, `"exact":1.50`)
}

// What is no patch at all is refused with 400.
func TestV2RefusesMalformedPatches(t *testing.T) {
	service, client := newService(t)
	for name, body := range map[string]string{
		"empty":                 ``,
		"not JSON":              `[{"op": "remove", "path": "/name"}`,
		"two values":            `[{"op": "remove", "path": "/name"}] []`,
		"not UTF-8":             "[{\"op\": \"add\", \"path\": \"/name\", \"value\": \"\xff\"}]",
		"null":                  `null`,
		"text":                  `"patch"`,
		"no operations":         `[]`,
		"no object":             `[1]`,
		"null operation":        `[null]`,
		"no patch":              `{"comment": "why"}`,
		"null patch":            `{"comment": "why", "patch": null}`,
		"empty patch":           `{"comment": "why", "patch": []}`,
		"patch is an object":    `{"comment": "why", "patch": {}}`,
		"comment is null":       `{"comment": null, "patch": [{"op": "remove", "path": "/name"}]}`,
		"comment is a number":   `{"comment": 1, "patch": [{"op": "remove", "path": "/name"}]}`,
		"unknown beside patch":  `{"Comment": "why", "patch": [{"op": "remove", "path": "/name"}]}`,
		"no op":                 `[{"path": "/name"}]`,
		"null op":               `[{"op": null, "path": "/name"}]`,
		"unknown op":            `[{"op": "Remove", "path": "/name"}]`,
		"unknown member":        `[{"op": "remove", "path": "/name", "why": 1}]`,
		"value of remove":       `[{"op": "remove", "path": "/name", "value": null}]`,
		"from of add":           `[{"op": "add", "path": "/name", "value": "", "from": "/name"}]`,
		"no path":               `[{"op": "remove"}]`,
		"null path":             `[{"op": "remove", "path": null}]`,
		"path without a slash":  `[{"op": "remove", "path": "name"}]`,
		"path with a tilde":     `[{"op": "remove", "path": "/na~me"}]`,
		"path with ~2":          `[{"op": "remove", "path": "/na~2me"}]`,
		"path ends with ~":      `[{"op": "remove", "path": "/name~"}]`,
		"add without value":     `[{"op": "add", "path": "/name"}]`,
		"replace without value": `[{"op": "replace", "path": "/name"}]`,
		"test without value":    `[{"op": "test", "path": "/name"}]`,
		"move without from":     `[{"op": "move", "path": "/name"}]`,
		"copy from null":        `[{"op": "copy", "path": "/name", "from": null}]`,
		"copy from nonsense":    `[{"op": "copy", "path": "/name", "from": "name"}]`,
		"op twice":              `[{"op": "remove", "op": "remove", "path": "/name"}]`,
		"twice in a value":      `[{"op": "add", "path": "/future", "value": {"a": {"b": 1, "b": 2}}}]`,
		"after a right one":     `[{"op": "remove", "path": "/name"}, {"op": "remove"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			r := send(t, client, "http://a"+v2Path, body)
			assert.Equal(t, 400, r.status, r.body)
			assert.Contains(t, r.body, `"code":"invalid_request"`)
		})
	}
	for _, version := range [][]string{nil, {""}, {"20200101"}, {"20200101", "20240415"}} {
		r := send(t, client, "http://a"+v2Path, rename(v2Path, "after"), header("LD-API-Version", version...))
		assert.Equal(t, 400, r.status, "version %q", version)
	}
	assert.Zero(t, service.Changes(tokenID))
}

// The provider's own client adds the header to that of its program.
func TestV2FirstVersionCounts(t *testing.T) {
	_, client := newService(t)
	r := send(t, client, "http://a"+v2Path, rename(v2Path, "after"), header("LD-API-Version", "20240415", "nonsense"))
	assert.Equal(t, 200, r.status)
}

// An inapplicable patch is refused with 422, and nothing of it is applied.
func TestV2RefusesPatchesThatFail(t *testing.T) {
	service, client := newService(t)
	for name, operation := range map[string]string{
		"remove what is not there":      `{"op": "remove", "path": "/description"}`,
		"replace an unknown member":     `{"op": "replace", "path": "/nothing", "value": 1}`,
		"replace deeper":                `{"op": "replace", "path": "/future/nothing", "value": 1}`,
		"add without a parent":          `{"op": "add", "path": "/inlineRole/0", "value": {"effect": "allow"}}`,
		"add into text":                 `{"op": "add", "path": "/name/x", "value": 1}`,
		"add into null":                 `{"op": "add", "path": "/future/null/x", "value": 1}`,
		"add past the end":              `{"op": "add", "path": "/customRoleIds/4", "value": "x"}`,
		"leading zero":                  `{"op": "add", "path": "/customRoleIds/00", "value": "x"}`,
		"leading plus":                  `{"op": "add", "path": "/customRoleIds/+1", "value": "x"}`,
		"negative index":                `{"op": "remove", "path": "/customRoleIds/-1"}`,
		"remove at the dash":            `{"op": "remove", "path": "/customRoleIds/-"}`,
		"replace at the length":         `{"op": "replace", "path": "/customRoleIds/3", "value": "x"}`,
		"an index too large":            `{"op": "remove", "path": "/customRoleIds/99999999999999999999"}`,
		"copy from nothing":             `{"op": "copy", "from": "/nothing", "path": "/name"}`,
		"move from nothing":             `{"op": "move", "from": "/nothing", "path": "/name"}`,
		"move into itself":              `{"op": "move", "from": "/future", "path": "/future/x"}`,
		"move past the end":             `{"op": "move", "from": "/customRoleIds/0", "path": "/customRoleIds/3"}`,
		"test fails":                    `{"op": "test", "path": "/name", "value": "other"}`,
		"test of nothing against null":  `{"op": "test", "path": "/nothing", "value": null}`,
		"test of null against text":     `{"op": "test", "path": "/future/null", "value": "null"}`,
		"test of a number against text": `{"op": "test", "path": "/creationDate", "value": "1443652232590"}`,
		"test of a number one off":      `{"op": "test", "path": "/future/big", "value": 12345678901234567891}`,
		"test of an array in disorder":  `{"op": "test", "path": "/customRoleIds", "value": ["c", "b", "a"]}`,
		"test of part of an object":     `{"op": "test", "path": "/_links", "value": {}}`,
		"the whole":                     `{"op": "replace", "path": "", "value": {}}`,
		"the whole away":                `{"op": "remove", "path": ""}`,
		"move the whole":                `{"op": "move", "from": "", "path": "/name"}`,
		"an underscore":                 `{"op": "replace", "path": "/_id", "value": "x"}`,
		"below an underscore":           `{"op": "add", "path": "/_links/x", "value": {}}`,
		"move an underscore":            `{"op": "move", "from": "/_member", "path": "/member"}`,
		"copy to an underscore":         `{"op": "copy", "from": "/name", "path": "/_name"}`,
		"creationDate":                  `{"op": "replace", "path": "/creationDate", "value": 1}`,
		"lastModified":                  `{"op": "replace", "path": "/lastModified", "value": 1}`,
		"lastUsed":                      `{"op": "add", "path": "/lastUsed", "value": 1}`,
		"ownerId":                       `{"op": "replace", "path": "/ownerId", "value": "x"}`,
		"memberId":                      `{"op": "remove", "path": "/memberId"}`,
		"token":                         `{"op": "move", "from": "/token", "path": "/name"}`,
		"serviceToken":                  `{"op": "replace", "path": "/serviceToken", "value": true}`,
		"name of another type":          `{"op": "replace", "path": "/name", "value": null}`,
		"description of another type":   `{"op": "replace", "path": "/description", "value": 1}`,
		"role of another type":          `{"op": "replace", "path": "/role", "value": []}`,
		"version as text":               `{"op": "replace", "path": "/defaultApiVersion", "value": "20240415"}`,
		"version as a fraction":         `{"op": "replace", "path": "/defaultApiVersion", "value": 1.5}`,
		"role ids of another type":      `{"op": "add", "path": "/customRoleIds/-", "value": 1}`,
		"role ids as an object":         `{"op": "replace", "path": "/customRoleIds", "value": {}}`,
		"statement of another type":     `{"op": "replace", "path": "/inlineRole", "value": ["allow"]}`,
		"statement without effect":      `{"op": "replace", "path": "/inlineRole", "value": [{"actions": ["*"]}]}`,
		"statement of unknown effect":   `{"op": "replace", "path": "/inlineRole", "value": [{"effect": "Allow"}]}`,
		"statement with wrong actions":  `{"op": "replace", "path": "/inlineRole", "value": [{"effect": "deny", "actions": "*"}]}`,
		"statement with both resources": `{"op": "replace", "path": "/inlineRole", "value": [{"effect": "deny", "notResources": ["a"], "resources": ["b"]}]}`,
		"statement with both actions":   `{"op": "replace", "path": "/inlineRole", "value": [{"effect": "deny", "notActions": ["a"], "actions": ["b"]}]}`,
		"statement with both negations": `{"op": "replace", "path": "/inlineRole", "value": [{"effect": "deny", "notActions": ["a"], "notResources": ["b"]}]}`,
		"a token that doubles":          doubled("/future", 16),
		"from a child that moved away":  `{"op": "move", "from": "/customRoleIds/0", "path": "/customRoleIds/0/x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := service.V2(tokenID)
			r := send(t, client, "http://a"+v2Path, `[{"op": "replace", "path": "/description", "value": "first"}, {"op": "remove", "path": "/description"}, `+operation+`]`)
			assert.Equal(t, 422, r.status, r.body)
			assert.Contains(t, r.body, `"code":"patch_failed"`)
			after, _ := service.V2(tokenID)
			assert.Equal(t, string(before), string(after))
		})
	}
	assert.Zero(t, service.Changes(tokenID))
}

// A patch writes documented members and existing base roles, unless a test allows more.
func TestV2KnowsMembersAndRoles(t *testing.T) {
	service, client := newService(t)
	unknown := map[string]string{
		"a typo":               `{"op": "add", "path": "/nme", "value": "x"}`,
		"another case":         `{"op": "add", "path": "/Name", "value": "x"}`,
		"replace":              `{"op": "replace", "path": "/expiry", "value": 1}`,
		"below":                `{"op": "add", "path": "/expiry/date", "value": 1}`,
		"remove what is there": `{"op": "remove", "path": "/future"}`,
		"copy":                 `{"op": "copy", "from": "/name", "path": "/nme"}`,
		"move away":            `{"op": "move", "from": "/future", "path": "/name"}`,
		"a role":               `{"op": "replace", "path": "/role", "value": "redaer"}`,
		"a role's case":        `{"op": "replace", "path": "/role", "value": "Reader"}`,
		"an empty role":        `{"op": "add", "path": "/role", "value": ""}`,
	}
	service.SetOptions(tokenpatchtest.Options{})
	for name, operation := range unknown {
		t.Run(name, func(t *testing.T) {
			r := send(t, client, "http://a"+v2Path, "["+operation+"]")
			assert.Equal(t, 422, r.status, r.body)
			assert.Contains(t, r.body, `"code":"patch_failed"`)
		})
	}
	assert.Zero(t, service.Changes(tokenID))
	for _, role := range []string{"reader", "writer", "admin", "owner"} {
		r := send(t, client, "http://a"+v2Path, `[{"op": "replace", "path": "/role", "value": "`+role+`"}]`)
		assert.Equal(t, 200, r.status, r.body)
	}

	service.SetOptions(tokenpatchtest.Options{Members: []string{"expiry", "future"}, Roles: []string{"redaer"}})
	r := send(t, client, "http://a"+v2Path, `[{"op": "replace", "path": "/expiry", "value": 1}, {"op": "replace", "path": "/role", "value": "redaer"}, {"op": "remove", "path": "/future"}]`)
	require.Equal(t, 200, r.status, r.body)
	assert.Equal(t, `1`, member(t, service, "expiry"))
	assert.Equal(t, `"redaer"`, member(t, service, "role"))

	service.SetOptions(tokenpatchtest.Options{})
	assert.Equal(t, 200, send(t, client, "http://a"+v2Path, rename(v2Path, "after")).status, "a role that the patch does not write stays")
}

// doubled returns operations to double the value at path n times.
func doubled(path string, n int) string {
	operations := make([]string, n)
	for i := range operations {
		operations[i] = fmt.Sprintf(`{"op": "copy", "from": "%s", "path": "%s/%d"}`, path, path, i)
	}
	return strings.Join(operations, ", ")
}

// What the schema requires is filled in, and the rest stays as it was written.
func TestAddV2FillsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := tokenpatchtest.New()
		for _, test := range []struct{ id, added, want string }{
			{"x", ` {"_id":"x"} `, `{"_id":"x","_links":{},"ownerId":"569f183514f4432160000007",` +
				`"memberId":"569f183514f4432160000007","creationDate":946684800000,"lastModified":946684800000}`},
			{"y", `{"_id": "y", "creationDate": 7, "exact": 1.50 }`, `{"_id": "y", "creationDate": 7, "exact": 1.50 ,"_links":{},` +
				`"ownerId":"569f183514f4432160000007","memberId":"569f183514f4432160000007","lastModified":7}`},
		} {
			require.NoError(t, service.AddV2(test.added))
			token, found := service.V2(test.id)
			require.True(t, found)
			assert.Equal(t, test.want, string(token))
		}
	})
}

func TestAddV2RefusesWrongDocuments(t *testing.T) {
	service, _ := newService(t)
	for wrong, want := range map[string]string{
		``:                                   "there is no JSON value",
		`[]`:                                 "want an object",
		`{} {}`:                              "more than one",
		`{}`:                                 "_id: want a string",
		`{"_id": 1}`:                         "_id: want a string",
		`{"_id": "x", "ownerId": null}`:      "ownerId: want a string",
		`{"_id": "x", "creationDate": null}`: "creationDate: want an integer",
		strings.Replace(document, `"1234"`, `1234`, 1):                             "token: want a string",
		strings.Replace(document, `"serviceToken": false`, `"serviceToken": 0`, 1): "serviceToken: want a boolean",
		strings.Replace(document, `"role": "admin", `, ``, 1):                      "_member: role: is missing",
		strings.Replace(document, `"type": "application/json"`, `"type": 1`, 1):    "_links: self: type: want a string",
		strings.Replace(document, `"_id": "`+tokenID+`"`, `"_id": ""`, 1):          "_id: want a string that is not empty",
		strings.Replace(document, tokenID, v1ID, 1):                                "other API",
	} {
		require.ErrorContains(t, service.AddV2(wrong), want)
	}

	require.NoError(t, service.AddV2(strings.Replace(document, "before", "changed by another", 1)))
	assert.Equal(t, `"changed by another"`, member(t, service, "name"))
	assert.Zero(t, service.Changes(tokenID))
	_, found := service.V2(v1ID)
	assert.False(t, found)
}
