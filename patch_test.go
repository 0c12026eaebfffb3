package tokenpatch_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
)

func TestPatchBody(t *testing.T) {
	tests := map[string]struct {
		patch *tokenpatch.Patch
		want  string
	}{
		"add":     {newPatch().Add("/name", "a"), `[{"op":"add","path":"/name","value":"a"}]`},
		"remove":  {newPatch().Remove("/description"), `[{"op":"remove","path":"/description"}]`},
		"replace": {newPatch().Replace("/name", "a"), `[{"op":"replace","path":"/name","value":"a"}]`},
		"move":    {newPatch().Move("/name", "/description"), `[{"op":"move","from":"/name","path":"/description"}]`},
		"copy":    {newPatch().Copy("/name", "/description"), `[{"op":"copy","from":"/name","path":"/description"}]`},
		"test":    {newPatch().Test("/name", "a"), `[{"op":"test","path":"/name","value":"a"}]`},

		"SetName":              {newPatch().SetName("a"), `[{"op":"replace","path":"/name","value":"a"}]`},
		"SetName empty":        {newPatch().SetName(""), `[{"op":"replace","path":"/name","value":""}]`},
		"SetDescription":       {newPatch().SetDescription("a"), `[{"op":"replace","path":"/description","value":"a"}]`},
		"SetRole":              {newPatch().SetRole(tokenpatch.RoleReader), `[{"op":"replace","path":"/role","value":"reader"}]`},
		"SetRole new":          {newPatch().SetRole("auditor"), `[{"op":"replace","path":"/role","value":"auditor"}]`},
		"SetCustomRoleIDs":     {newPatch().SetCustomRoleIDs("a", "b"), `[{"op":"replace","path":"/customRoleIds","value":["a","b"]}]`},
		"SetCustomRoleIDs nil": {newPatch().SetCustomRoleIDs(), `[{"op":"replace","path":"/customRoleIds","value":[]}]`},
		"AddCustomRoleID":      {newPatch().AddCustomRoleID("a"), `[{"op":"add","path":"/customRoleIds/-","value":"a"}]`},
		"SetInlineRole": {
			newPatch().SetInlineRole(tokenpatch.Statement{Resources: []string{"proj/*"}, Actions: []string{"*"}, Effect: tokenpatch.EffectAllow}),
			`[{"op":"replace","path":"/inlineRole","value":[{"resources":["proj/*"],"actions":["*"],"effect":"allow"}]}]`,
		},
		"SetInlineRole nil":    {newPatch().SetInlineRole(), `[{"op":"replace","path":"/inlineRole","value":[]}]`},
		"SetDefaultAPIVersion": {newPatch().SetDefaultAPIVersion(20240415), `[{"op":"replace","path":"/defaultApiVersion","value":20240415}]`},

		"in order": {
			newPatch().Test("/name", "a").SetName("b").SetName("c"),
			`[{"op":"test","path":"/name","value":"a"},{"op":"replace","path":"/name","value":"b"},{"op":"replace","path":"/name","value":"c"}]`,
		},
		"comment": {
			newPatch().Comment(`say "why"`).SetName("a"),
			`{"comment":"say \"why\"","patch":[{"op":"replace","path":"/name","value":"a"}]}`,
		},
		"comment taken back": {newPatch().SetName("a").Comment("b").Comment(""), `[{"op":"replace","path":"/name","value":"a"}]`},

		"null":            {newPatch().Add("/name", nil), `[{"op":"add","path":"/name","value":null}]`},
		"nil RawMessage":  {newPatch().Add("/name", json.RawMessage(nil)), `[{"op":"add","path":"/name","value":null}]`},
		"absent Field":    {newPatch().Add("/name", tokenpatch.Field[string]{}), `[{"op":"add","path":"/name","value":null}]`},
		"false":           {newPatch().Test("/serviceToken", false), `[{"op":"test","path":"/serviceToken","value":false}]`},
		"RawMessage":      {newPatch().Add("/x", json.RawMessage(` { "b" : 1.50 , "a" : [ ] } `)), `[{"op":"add","path":"/x","value":{"b":1.50,"a":[]}}]`},
		"Secret":          {newPatch().Test("/token", tokenpatch.Secret("1234")), `[{"op":"test","path":"/token","value":"1234"}]`},
		"HTML":            {newPatch().SetName("<a&b>\u2028"), `[{"op":"replace","path":"/name","value":"\u003ca\u0026b\u003e\u2028"}]`},
		"HTML in raw":     {newPatch().Add("/x", json.RawMessage(`"<"`)), `[{"op":"add","path":"/x","value":"\u003c"}]`},
		"strings":         {newPatch().SetName("é\"\\\n\x00\x7f\xff"), `[{"op":"replace","path":"/name","value":"é\"\\\n\u0000` + "\x7f" + `\ufffd"}]`},
		"path is escaped": {newPatch().Test(tokenpatch.NewPointer(`<"é/`), 1), `[{"op":"test","path":"/\u003c\"é~1","value":1}]`},
		"reads of what is not editable": {
			newPatch().Test("/_id", "i").Copy("/_id", "/name").Test("/lastModified", 1).Copy("/ownerId", "/description"),
			`[{"op":"test","path":"/_id","value":"i"},{"op":"copy","from":"/_id","path":"/name"},{"op":"test","path":"/lastModified","value":1},{"op":"copy","from":"/ownerId","path":"/description"}]`,
		},
		"test of the whole": {newPatch().Test("", nil), `[{"op":"test","path":"","value":null}]`},
		"move to itself":    {newPatch().Move("/name", "/name"), `[{"op":"move","from":"/name","path":"/name"}]`},
		"move of a prefix that is no parent": {
			newPatch().Move("/name", "/names/0"), `[{"op":"move","from":"/name","path":"/names/0"}]`,
		},
		"underscore inside": {newPatch().SetName("_").Remove("/a_/b~0_"), `[{"op":"replace","path":"/name","value":"_"},{"op":"remove","path":"/a_/b~0_"}]`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, tt.patch.Err())
			body, err := tt.patch.MarshalJSON()
			require.NoError(t, err)
			assert.Equal(t, tt.want, strings.ReplaceAll(string(body), "\u2028", `\u2028`))

			marshaled, err := json.Marshal(tt.patch)
			require.NoError(t, err)
			assert.Equal(t, string(body), string(marshaled))

			decoded := decodePatchJSON(t, string(body))
			assert.Equal(t, tt.patch.Len(), decoded.Len())
			again, err := json.Marshal(decoded)
			require.NoError(t, err)
			assert.Equal(t, string(body), string(again))
		})
	}
}

func newPatch() *tokenpatch.Patch { return tokenpatch.NewPatch() }

func decodePatchJSON(t *testing.T, data string) *tokenpatch.Patch {
	t.Helper()
	var patch tokenpatch.Patch
	require.NoError(t, json.Unmarshal([]byte(data), &patch))
	return &patch
}

func TestPatchManyOperations(t *testing.T) {
	patch := newPatch()
	var want []string
	for range 50 {
		patch.SetDescription(strings.Repeat("x", 40))
		want = append(want, `{"op":"replace","path":"/description","value":"`+strings.Repeat("x", 40)+`"}`)
	}
	assertBody(t, "["+strings.Join(want, ",")+"]", patch)
}

func assertBody(t *testing.T, want string, patch *tokenpatch.Patch) {
	t.Helper()
	body, err := json.Marshal(patch)
	require.NoError(t, err)
	assert.Equal(t, want, string(body))
}

func TestPatchZeroIsReady(t *testing.T) {
	var patch tokenpatch.Patch
	assert.Zero(t, patch.Len())
	assert.Empty(t, patch.String())
	require.NoError(t, patch.Err())
	assert.Same(t, &patch, patch.SetName("a"))
	assertBody(t, `[{"op":"replace","path":"/name","value":"a"}]`, &patch)
}

func TestPatchEncodesValuesAtOnce(t *testing.T) {
	ids := []string{"a", "b"}
	statements := []tokenpatch.Statement{{Actions: ids, Effect: tokenpatch.EffectAllow}}
	raw := json.RawMessage(`"x"`)
	patch := newPatch().SetCustomRoleIDs(ids...).SetInlineRole(statements...).Add("/x", ids).Add("/y", raw)
	ids[0], raw[1] = "changed", 'z'
	assertBody(t, `[{"op":"replace","path":"/customRoleIds","value":["a","b"]},`+
		`{"op":"replace","path":"/inlineRole","value":[{"actions":["a","b"],"effect":"allow"}]},`+
		`{"op":"add","path":"/x","value":["a","b"]},{"op":"add","path":"/y","value":"x"}]`, patch)
}

func TestPatchMistakes(t *testing.T) {
	type mistake struct {
		patch *tokenpatch.Patch
		op    string
		path  tokenpatch.Pointer
		want  string
	}
	tests := map[string]mistake{
		"malformed path":            {newPatch().SetName("a").Remove("name"), "remove", "name", "malformed pointer"},
		"malformed escape":          {newPatch().SetName("a").Add("/a~2", 1), "add", "/a~2", "malformed pointer"},
		"path not UTF-8":            {newPatch().SetName("a").Add("/\xff", 1), "add", "/\xff", "not UTF-8"},
		"malformed path of test":    {newPatch().SetName("a").Test("a", 1), "test", "a", "malformed pointer"},
		"malformed from":            {newPatch().SetName("a").Copy("a", "/b"), "copy", "/b", `from "a": malformed pointer`},
		"add to underscore":         {newPatch().SetName("a").Add("/_id", 1), "add", "/_id", "not editable"},
		"replace underscore":        {newPatch().SetName("a").Replace("/_links/self", 1), "replace", "/_links/self", "not editable"},
		"remove under underscore":   {newPatch().SetName("a").Remove("/_member/role"), "remove", "/_member/role", "not editable"},
		"underscore further down":   {newPatch().SetName("a").Add("/inlineRole/0/_id", 1), "add", "/inlineRole/0/_id", "not editable"},
		"move to underscore":        {newPatch().SetName("a").Move("/name", "/_id"), "move", "/_id", "not editable"},
		"move from underscore":      {newPatch().SetName("a").Move("/_id", "/name"), "move", "/name", `from "/_id": not editable`},
		"copy to underscore":        {newPatch().SetName("a").Copy("/name", "/_id"), "copy", "/_id", "not editable"},
		"replace what is read":      {newPatch().SetName("a").Replace("/ownerId", "o"), "replace", "/ownerId", "no client writes this member"},
		"remove what is read":       {newPatch().SetName("a").Remove("/memberId"), "remove", "/memberId", "no client writes this member"},
		"add what is read":          {newPatch().SetName("a").Add("/creationDate", 1), "add", "/creationDate", "no client writes this member"},
		"add under what is read":    {newPatch().SetName("a").Add("/lastModified/x", 1), "add", "/lastModified/x", "no client writes this member"},
		"move to what is read":      {newPatch().SetName("a").Move("/name", "/lastUsed"), "move", "/lastUsed", "no client writes this member"},
		"move from what is read":    {newPatch().SetName("a").Move("/token", "/name"), "move", "/name", `from "/token": not editable: no client writes this member`},
		"copy of the token's value": {newPatch().SetName("a").Copy("/token", "/name"), "copy", "/name", `from "/token": not copied: it has the token's value`},
		"copy of the whole token":   {newPatch().SetName("a").Copy("", "/x"), "copy", "/x", `from "": not copied: it has the token's value`},
		"copy to what is read":      {newPatch().SetName("a").Copy("/name", "/serviceToken"), "copy", "/serviceToken", "no client writes this member"},
		"add to an empty name":      {newPatch().SetName("a").Add("/", 1), "add", "/", "a token has no member with an empty name"},
		"move from an empty name":   {newPatch().SetName("a").Move("//x", "/name"), "move", "/name", "a token has no member with an empty name"},
		"move into itself":          {newPatch().SetName("a").Move("/a", "/a/b"), "move", "/a/b", "into itself"},
		"move of all into itself":   {newPatch().SetName("a").Move("", "/a"), "move", "/a", "into itself"},
		"NaN":                       {newPatch().SetName("a").Add("/x", math.NaN()), "add", "/x", "NaN"},
		"channel":                   {newPatch().SetName("a").Test("/x", make(chan int)), "test", "/x", "chan int"},
		"invalid RawMessage":        {newPatch().SetName("a").Replace("/x", json.RawMessage(`{`)), "replace", "/x", "unexpected end"},
		"empty RawMessage":          {newPatch().SetName("a").Replace("/x", json.RawMessage{}), "replace", "/x", "unexpected end"},
		"RawMessage not UTF-8":      {newPatch().SetName("a").Replace("/x", json.RawMessage("\"\xff\"")), "replace", "/x", "not UTF-8"},
		"empty role":                {newPatch().SetName("a").SetRole(""), "replace", "/role", "empty"},
		"empty custom role id":      {newPatch().SetName("a").SetCustomRoleIDs("a", ""), "replace", "/customRoleIds", "empty"},
		"empty custom role to add":  {newPatch().SetName("a").AddCustomRoleID(""), "add", "/customRoleIds/-", "empty"},
		"no API version":            {newPatch().SetName("a").SetDefaultAPIVersion(0), "replace", "/defaultApiVersion", "positive"},
		"negative API version":      {newPatch().SetName("a").SetDefaultAPIVersion(-1), "replace", "/defaultApiVersion", "positive"},
		"statement without effect":  {newPatch().SetName("a").SetInlineRole(allow(), tokenpatch.Statement{}), "replace", "/inlineRole", `statement 1: effect: want "allow" or "deny"`},
		"unknown effect":            {newPatch().SetName("a").SetInlineRole(tokenpatch.Statement{Effect: "Allow"}), "replace", "/inlineRole", "effect"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := tt.patch.Len()
			tt.patch.SetRole("").Remove("also wrong").SetName("ignored")
			assert.Equal(t, before, tt.patch.Len())

			_, marshalErr := json.Marshal(tt.patch)
			_, directErr := tt.patch.MarshalJSON()
			for _, err := range []error{tt.patch.Err(), marshalErr, directErr, tt.patch.Clone().Err()} {
				var patchErr *tokenpatch.PatchError
				require.ErrorAs(t, err, &patchErr)
				assert.Equal(t, 1, patchErr.Index)
				assert.Equal(t, tt.op, patchErr.Op)
				assert.Equal(t, tt.path, patchErr.Path)
				assert.ErrorContains(t, patchErr, tt.want)
			}
		})
	}
}

func TestPatchErrKeepsItsCause(t *testing.T) {
	var unsupported *json.UnsupportedValueError
	assert.ErrorAs(t, newPatch().Add("/x", math.Inf(1)).Err(), &unsupported)
}

func TestPatchCannotBeSent(t *testing.T) {
	tests := map[string]struct {
		patch *tokenpatch.Patch
		index int
	}{
		"empty":              {newPatch(), -1},
		"only a comment":     {newPatch().Comment("a"), -1},
		"add at the whole":   {newPatch().SetName("a").Add("", map[string]int{}), 1},
		"replace the whole":  {newPatch().SetName("a").Replace("", nil), 1},
		"remove the whole":   {newPatch().SetName("a").Remove(""), 1},
		"copy to the whole":  {newPatch().SetName("a").Copy("/name", ""), 1},
		"move to the whole":  {newPatch().SetName("a").Move("/name", ""), 1},
		"move of the whole":  {newPatch().SetName("a").Move("", ""), 1},
		"behind a good test": {newPatch().Test("", nil).Remove(""), 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, tt.patch.Err())
			_, err := json.Marshal(tt.patch)
			var patchErr *tokenpatch.PatchError
			require.ErrorAs(t, err, &patchErr)
			assert.Equal(t, tt.index, patchErr.Index)
		})
	}
}

func TestPatchStatements(t *testing.T) {
	const notResources = "notResources: want resources and notActions to be empty"
	const notActions = "notActions: want actions and notResources to be empty"
	tests := []struct{ statement, want string }{
		{`{"effect":"allow"}`, ""},
		{`{"effect":"deny","resources":["r"],"actions":["a"]}`, ""},
		{`{"effect":"deny","notResources":["r"],"actions":["a"]}`, ""},
		{`{"effect":"deny","resources":["r"],"notActions":["a"]}`, ""},
		{`{"effect":"deny","notResources":["r"],"resources":[],"notActions":null}`, ""},
		{`{"effect":"deny","notResources":[],"resources":["r"]}`, ""},
		{`{"effect":"deny","notActions":[],"actions":["r"],"notResources":["r"]}`, ""},
		{`{"effect":"deny","notResources":["r"],"resources":["r"]}`, notResources},
		{`{"effect":"deny","notResources":["r"],"notActions":["a"]}`, notResources},
		{`{"effect":"deny","notActions":["a"],"actions":["a"]}`, notActions},
		{`{}`, "effect"},
		{`{"effect":null}`, "effect"},
		{`{"effect":""}`, "effect"},
		{`{"effect":"maybe"}`, "effect"},
		{`{"effect":"allow","effect":"maybe"}`, "effect"},
		{`{"effect":1}`, ""}, // not a statement as we know it: the API will say
		{`"text"`, ""},
		{`null`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.statement, func(t *testing.T) {
			one, list := json.RawMessage(tt.statement), json.RawMessage("["+tt.statement+"]")
			for name, patch := range map[string]*tokenpatch.Patch{
				"add":     newPatch().Add(tokenpatch.PathInlineRole, list),
				"replace": newPatch().Replace(tokenpatch.PathInlineRole, list),
				"append":  newPatch().Add("/inlineRole/-", one),
				"insert":  newPatch().Add("/inlineRole/0", one),
				"at":      newPatch().Replace("/inlineRole/12", one),
			} {
				if tt.want == "" {
					assert.NoError(t, patch.Err(), name)
				} else {
					assert.ErrorContains(t, patch.Err(), tt.want, name)
				}
			}
			assert.NoError(t, newPatch().Test(tokenpatch.PathInlineRole, list).Err())
			assert.NoError(t, newPatch().Replace(tokenpatch.PathInlineRole, one).Err(), "not a list")
			assert.NoError(t, newPatch().Add("/inlineRole/01", one).Add("/inlineRole/0/x", one).Add("/inlineRoles/0", one).Err())
		})
	}
}

func allow() tokenpatch.Statement {
	return tokenpatch.Statement{Effect: tokenpatch.EffectAllow}
}

func TestPatchKeepsWhatAStatementDoesNotKnow(t *testing.T) {
	token := decodeTokenJSON(t, `{"inlineRole":[{"effect":"allow","sid":1.0,"notResources":[]}]}`)
	patch := newPatch().SetInlineRole(token.InlineRole.Or(nil)...)
	assertBody(t, `[{"op":"replace","path":"/inlineRole","value":[{"notResources":[],"effect":"allow","sid":1.0}]}]`, patch)
}

func TestPatchUnmarshal(t *testing.T) {
	tests := map[string]struct{ data, want string }{
		"array":        {` [ { "op" : "add" , "path" : "/a" , "value" : { "b" : 1.0 } } ] `, `[{"op":"add","path":"/a","value":{"b":1.0}}]`},
		"any order":    {`[{"value":1,"path":"/a","op":"test"}]`, `[{"op":"test","path":"/a","value":1}]`},
		"value null":   {`[{"op":"replace","path":"/a","value":null}]`, `[{"op":"replace","path":"/a","value":null}]`},
		"comment":      {`{"comment":"c","patch":[{"op":"remove","path":"/a"}]}`, `{"comment":"c","patch":[{"op":"remove","path":"/a"}]}`},
		"patch first":  {`{"patch":[{"op":"remove","path":"/a"}],"comment":"c"}`, `{"comment":"c","patch":[{"op":"remove","path":"/a"}]}`},
		"no comment":   {`{"patch":[{"op":"remove","path":"/a"}]}`, `[{"op":"remove","path":"/a"}]`},
		"move, copy":   {`[{"op":"move","path":"/a","from":"/b"},{"op":"copy","path":"/a","from":"/b"}]`, `[{"op":"move","from":"/b","path":"/a"},{"op":"copy","from":"/b","path":"/a"}]`},
		"escapes":      {`[{"\u006fp":"rem\u006fve","path":"\/a~1b"}]`, `[{"op":"remove","path":"/a~1b"}]`},
		"RFC 6902 A.1": {`[{"op":"add","path":"/baz","value":"qux"}]`, `[{"op":"add","path":"/baz","value":"qux"}]`},
		// Unrecognized members are ignored, even if they belong to another operation.
		"RFC 6902 A.11":           {`[{"op":"add","path":"/baz","value":"qux","xyz":123}]`, `[{"op":"add","path":"/baz","value":"qux"}]`},
		"ignored value":           {`[{"op":"remove","path":"/a","value":1,"from":2}]`, `[{"op":"remove","path":"/a"}]`},
		"ignored from":            {`[{"op":"add","path":"/a","value":1,"from":"not a pointer"}]`, `[{"op":"add","path":"/a","value":1}]`},
		"duplicates that go with": {`[{"op":"remove","path":"/a","x":1,"x":2}]`, `[{"op":"remove","path":"/a"}]`},
		"Op is not op":            {`[{"op":"remove","path":"/a","Op":"add","PATH":"/b"}]`, `[{"op":"remove","path":"/a"}]`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			patch := newPatch().Comment("gone").SetName("gone")
			require.NoError(t, json.Unmarshal([]byte(tt.data), patch))
			assertBody(t, tt.want, patch)
		})
	}
}

func TestPatchUnmarshalRoundTrip(t *testing.T) {
	patch := newPatch().Test("/name", nil).SetName("<é>").SetCustomRoleIDs("a").Move("/a", "/b").Comment("c")
	body, err := json.Marshal(patch)
	require.NoError(t, err)
	assert.Equal(t, patch, decodePatchJSON(t, string(body)))
}

func TestPatchUnmarshalEmpty(t *testing.T) {
	assert.Zero(t, decodePatchJSON(t, `[]`).Len())
	assert.Equal(t, 1, decodePatchJSON(t, `{"patch":[]}`).SetName("a").Len())
}

func TestPatchUnmarshalRefuses(t *testing.T) {
	tests := map[string]struct {
		data  string
		index int
		want  string
	}{
		"null":                {`null`, -1, "want an array of operations, got null"},
		"a string":            {`"a"`, -1, "want an array of operations, got a string"},
		"patch is no array":   {`{"patch":{}}`, -1, "want an array of operations, got an object"},
		"patch is null":       {`{"patch":null}`, -1, "want an array of operations, got null"},
		"no patch":            {`{"comment":"a"}`, -1, `no member "patch"`},
		"one operation alone": {`{"op":"remove","path":"/a"}`, -1, `unknown member "op"`},
		"unknown member":      {`{"patch":[],"ignore":1}`, -1, `unknown member "ignore"`},
		"other case":          {`{"patch":[],"Comment":"a"}`, -1, `unknown member "Comment"`},
		"comment null":        {`{"patch":[],"comment":null}`, -1, "comment: want a string, got null"},
		"two comments":        {`{"patch":[],"comment":"a","comment":"a"}`, -1, `two members "comment"`},
		"two patches":         {`{"patch":[],"patch":[]}`, -1, `two members "patch"`},
		"not UTF-8":           {"[{\"op\":\"remove\",\"path\":\"/\xff\"}]", -1, "not UTF-8"},

		"operation is null":   {`[null]`, 0, "want an object, got null"},
		"operation is array":  {`[{"op":"remove","path":"/a"},[]]`, 1, "want an object, got an array"},
		"no op":               {`[{"op":"remove","path":"/a"},{"path":"/a"}]`, 1, `no member "op"`},
		"op is a number":      {`[{"op":1,"path":"/a"}]`, 0, "op: want a string, got a number"},
		"unknown op":          {`[{"op":"spam","path":"/a"}]`, 0, "unknown operation"},
		"op in capitals":      {`[{"op":"ADD","path":"/a","value":1}]`, 0, "unknown operation"},
		"no path":             {`[{"op":"remove"}]`, 0, `no member "path"`},
		"path is null":        {`[{"op":"remove","path":null}]`, 0, "path: want a string, got null"},
		"add without value":   {`[{"op":"add","path":"/a"}]`, 0, `no member "value"`},
		"test without value":  {`[{"op":"test","path":"/a"}]`, 0, `no member "value"`},
		"replace, no value":   {`[{"op":"replace","path":"/a","Value":1}]`, 0, `no member "value"`},
		"move without from":   {`[{"op":"move","path":"/a"}]`, 0, `no member "from"`},
		"copy, from a number": {`[{"op":"copy","path":"/a","from":1}]`, 0, "from: want a string, got a number"},
		"RFC 6902 A.13":       {`[{"op":"add","path":"/baz","value":"qux","op":"remove"}]`, 0, `two members "op"`},
		"two paths":           {`[{"op":"remove","path":"/a","path":"/a"}]`, 0, `two members "path"`},
		"two values":          {`[{"op":"add","path":"/a","value":null,"value":1}]`, 0, `two members "value"`},
		"two froms":           {`[{"op":"move","from":"/a","path":"/b","fr\u006fm":"/a"}]`, 0, `two members "from"`},

		"malformed path":   {`[{"op":"remove","path":"a"}]`, 0, "malformed pointer"},
		"malformed from":   {`[{"op":"move","path":"/a","from":"/~"}]`, 0, "malformed pointer"},
		"move into itself": {`[{"op":"move","from":"/a","path":"/a/b"}]`, 0, "into itself"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			patch := newPatch().SetName("kept")
			err := json.Unmarshal([]byte(tt.data), patch)
			var patchErr *tokenpatch.PatchError
			require.ErrorAs(t, err, &patchErr)
			assert.Equal(t, tt.index, patchErr.Index)
			require.ErrorContains(t, err, tt.want)
			assertBody(t, `[{"op":"replace","path":"/name","value":"kept"}]`, patch)
		})
	}
}

// The text of an error names the operation and the path if the patch has them, and is one line.
func TestPatchUnmarshalErrorText(t *testing.T) {
	for data, want := range map[string]string{
		`[null]`:                           `tokenpatch: patch: operation 0: want an object, got null`,
		`[{"path":"/a"}]`:                  `tokenpatch: patch: operation 0: no member "op"`,
		`[{"op":"a\nb","path":"/a\nb"}]`:   `tokenpatch: patch: operation 0: "a\nb" "/a\nb": unknown operation: want add, remove, replace, move, copy or test`,
		`[{"op":"add","path":"/a"}]`:       `tokenpatch: patch: operation 0: add "/a": no member "value"`,
		`[{"op":"remove","path":"/a/~2"}]`: `tokenpatch: patch: operation 0: remove "/a/~2": malformed pointer: want 0 or 1 behind every "~"`,
	} {
		require.EqualError(t, json.Unmarshal([]byte(data), newPatch()), want)
	}
	long := strings.Repeat("x", 1<<20)
	for _, data := range []string{`[{"op":"` + long + `","path":"/a"}]`, `[{"op":"add","path":"/` + long + `"}]`, `[{"op":"add","path":"` + long + `","value":1}]`} {
		assert.Less(t, len(json.Unmarshal([]byte(data), newPatch()).Error()), 1000)
	}
}

func TestPatchUnmarshalNotJSON(t *testing.T) {
	for _, data := range []string{"", " ", "[", "[{]", `[{"op"}]`, "[]]", `[{"op":"remove","path":"/a"},]`} {
		var patch tokenpatch.Patch
		err := patch.UnmarshalJSON([]byte(data)) // encoding/json would not get here
		var syntax *json.SyntaxError
		require.ErrorAs(t, err, &syntax, data)
		var patchErr *tokenpatch.PatchError
		require.ErrorAs(t, err, &patchErr, data)
	}
}

func TestPatchOwnsItsMemory(t *testing.T) {
	data := []byte(`[{"op":"add","path":"/abc","value":"abc"}]`)
	var patch tokenpatch.Patch
	require.NoError(t, patch.UnmarshalJSON(data))
	clear(data)
	assertBody(t, `[{"op":"add","path":"/abc","value":"abc"}]`, &patch)

	body, err := patch.MarshalJSON()
	require.NoError(t, err)
	clear(body)
	assertBody(t, `[{"op":"add","path":"/abc","value":"abc"}]`, &patch)
}

func TestPatchNil(t *testing.T) {
	var patch *tokenpatch.Patch
	require.ErrorContains(t, patch.Err(), "nil")
	assert.Zero(t, patch.Len())
	assert.Contains(t, patch.String(), "nil")
	assert.Nil(t, patch.Clone())
	_, err := patch.MarshalJSON()
	require.ErrorContains(t, err, "nil")
	require.ErrorContains(t, patch.UnmarshalJSON([]byte(`[]`)), "nil")

	for _, built := range []*tokenpatch.Patch{
		patch.SetName("a"), patch.Comment("a"), patch.SetRole(""), patch.Remove("/a"), patch.Add("/a", 1),
		patch.Move("/a", "/b"), patch.SetCustomRoleIDs("a"), patch.Add("/a", math.NaN()),
	} {
		var patchErr *tokenpatch.PatchError
		require.ErrorAs(t, built.Err(), &patchErr)
		require.ErrorContains(t, patchErr, "nil")
	}

	body, err := json.Marshal(struct{ P *tokenpatch.Patch }{})
	require.NoError(t, err)
	assert.Equal(t, `{"P":null}`, string(body))
}

func TestPatchCloneDoesNotAlias(t *testing.T) {
	for n := range 10 { // also with the room just used up
		base := newPatch()
		for range n {
			base.Test("/name", "base")
		}
		left, right := base.Clone().SetName("left").Comment("l"), base.Clone().Add("/description", "right")
		base.SetName("base")
		third := left.Clone().SetName("third")
		left.SetName("left again")

		assert.Equal(t, lines(n, `replace /name "base"`), base.String())
		assert.Equal(t, lines(n, `replace /name "left"`, `replace /name "left again"`, `comment "l"`), left.String())
		assert.Equal(t, lines(n, `add /description "right"`), right.String())
		assert.Equal(t, lines(n, `replace /name "left"`, `replace /name "third"`, `comment "l"`), third.String())
	}
}

func lines(tests int, more ...string) string {
	all := make([]string, 0, tests+len(more))
	for range tests {
		all = append(all, `test /name "base"`)
	}
	return strings.Join(append(all, more...), "\n")
}

func TestPatchString(t *testing.T) {
	patch := newPatch().
		Test("/name", nil).
		SetName("deployer").
		Remove("/description").
		Move("/a", "/b").
		Copy("/b", "/c").
		Add("/description/li\nne", "two\nlines").
		Replace("/description", strings.Repeat("é", 100)).
		Comment("in the audit log").
		SetRole("")
	assert.Equal(t, strings.Join([]string{
		`test /name null`,
		`replace /name "deployer"`,
		`remove /description`,
		`move /a /b`,
		`copy /b /c`,
		`add /description/li\nne "two\nlines"`,
		`replace /description "` + strings.Repeat("é", 29) + `…`,
		`comment "in the audit log"`,
		`tokenpatch: patch: operation 7: replace "/role": want a role, got an empty one`,
	}, "\n"), patch.String())
}

func TestPatchStringShowsNoSecret(t *testing.T) {
	const secret = "api-4e5f6a7b"
	document := map[string]string{"token": secret}
	patch := newPatch().
		Test("/token", secret).
		Replace("/token", tokenpatch.Secret(secret)).
		Add("/token/x", secret).
		Add("", document).
		Test("", document).
		Add("/apiKey", secret).
		Add("/", secret).
		Add("/Name", secret).
		Add("/tok~0en", secret).
		SetName("shown")
	assert.NotContains(t, patch.String(), secret)
	assert.Equal(t, 9, strings.Count(patch.String(), "[redacted]"))
	assert.Contains(t, patch.String(), "shown")
}

// No verb of fmt shows a secret, whatever fmt can reach.
func TestPatchIsNotPrinted(t *testing.T) {
	const secret = "api-4e5f6a7b"
	patch := newPatch().Test("/token", secret).Add("/apiKey", []string{secret}).Test("", map[string]string{"token": secret})
	inside := struct {
		Patch  *tokenpatch.Patch
		hidden *tokenpatch.Patch
	}{patch, patch}
	hex := fmt.Sprintf("%x", secret)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%c", "%x", "% x", "%X", "%U", "%t", "%p", "%T"} {
		for _, value := range []any{patch, inside, &inside, []*tokenpatch.Patch{patch}, (*tokenpatch.Patch)(nil), newPatch()} {
			printed := strings.ToLower(fmt.Sprintf(verb, value))
			assert.NotContains(t, printed, secret, verb)
			assert.NotContains(t, strings.ReplaceAll(printed, " ", ""), hex, verb)
			assert.NotContains(t, printed, "97 112 105", verb) // a, p, i
			assert.NotContains(t, printed, "a p i", verb)
			assert.NotContains(t, printed, "panic", verb)
		}
	}
	assert.Equal(t, patch.String(), fmt.Sprintf("%#v", patch))
	assert.Equal(t, "tokenpatch: patch: the Patch is nil", fmt.Sprintf("%d", (*tokenpatch.Patch)(nil)))
}

// A Go string cannot hold half a surrogate pair, but no other character is sent instead.
func TestPatchKeepsHalfSurrogatePairs(t *testing.T) {
	patch := decodePatchJSON(t, `{"comment":"\ud800","patch":[{"op":"test","path":"/name","value":"\udfff"}]}`)
	assertBody(t, `{"comment":"\ud800","patch":[{"op":"test","path":"/name","value":"\udfff"}]}`, patch)

	token := decodeTokenJSON(t, `{"name":"\ud800","\ud801":1,"\ud802":2}`)
	_, err := newPatch().Test("/name", json.RawMessage(`"\ud800"`)).Apply(token)
	require.NoError(t, err)
	_, err = newPatch().Test("/name", json.RawMessage(`"\ud801"`)).Apply(token)
	require.ErrorContains(t, err, "value differs")
	_, err = newPatch().Test("/name", "\ufffd").Apply(token)
	require.ErrorContains(t, err, "value differs")

	err = json.Unmarshal([]byte(`[{"op":"remove","path":"/\ud801"}]`), newPatch())
	require.ErrorContains(t, err, "malformed pointer: not UTF-8")
}

func TestPatchIsSentFromManyGoroutines(t *testing.T) {
	patch := newPatch().SetName("a").SetCustomRoleIDs("b").Comment("c")
	want, err := json.Marshal(patch)
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				body, err := patch.MarshalJSON()
				assert.NoError(t, err)
				assert.Equal(t, string(want), string(body))
				assert.NoError(t, patch.Clone().SetName("d").Err())
				assert.NoError(t, patch.Err())
				assert.Equal(t, 2, patch.Len())
				assert.NotEmpty(t, patch.String())
			}
		})
	}
	group.Wait()
}

func FuzzPatchUnmarshal(f *testing.F) {
	for _, seed := range []string{
		`[]`, `null`, `{"patch":[]}`,
		`{"comment":"c","patch":[{"op":"remove","path":"/a"}]}`,
		`[{"op":"add","path":"/a~1b","value":{"b":[1.0,null,"\u003c<"]}},{"op":"test","path":"","value":null}]`,
		`[{"op":"move","from":"/a","path":"/b"},{"op":"copy","from":"/b","path":"/-"}]`,
		`[{"op":"add","path":"/baz","value":"qux","xyz":123,"op":"remove"}]`,
		`[{"op":"replace","path":"/inlineRole","value":[{"effect":"allow","actions":["*"]}]}]`,
		`[{"op":"remove","path":"/_id"}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var patch tokenpatch.Patch
		if err := patch.UnmarshalJSON(data); err != nil {
			require.ErrorAs(t, err, new(*tokenpatch.PatchError))
			return
		}
		require.True(t, json.Valid(data))
		if err := patch.Err(); err != nil { // for a token, but not for a document
			require.ErrorAs(t, err, new(*tokenpatch.PatchError))
		}
		_ = patch.String()
		body, err := patch.MarshalJSON()
		if err != nil {
			require.ErrorAs(t, err, new(*tokenpatch.PatchError))
			return // empty, or it writes to the whole document
		}
		again := decodePatchJSON(t, string(body))
		require.Equal(t, &patch, again)
		require.Equal(t, patch.String(), again.String())
		marshaled, err := json.Marshal(again)
		if err == nil || !errors.As(err, new(*json.SyntaxError)) { // nested too deep
			require.Equal(t, string(body), string(marshaled))
		}
	})
}

// What a patch does can be read back, and read only.
func TestPatchOperations(t *testing.T) {
	patch := newPatch().Test("/name", "a").Move("/a", "/b").Remove("/description").Comment("why")
	operations := patch.Operations()
	assert.Equal(t, []tokenpatch.Operation{
		{Op: "test", Path: "/name", Value: json.RawMessage(`"a"`)},
		{Op: "move", Path: "/b", From: "/a"},
		{Op: "remove", Path: "/description"},
	}, operations)
	operations[0].Value[1] = 'x'
	assert.Equal(t, `test /name "a"`, strings.Split(patch.String(), "\n")[0])
	assert.Equal(t, "why", patch.CommentText())

	var none *tokenpatch.Patch
	assert.Nil(t, none.Operations())
	assert.Empty(t, none.CommentText())
	assert.Empty(t, newPatch().CommentText())
}

func TestPointer(t *testing.T) {
	p := tokenpatch.PathCustomRoleIDs.Append("a/b", "~", "")
	assert.Equal(t, tokenpatch.Pointer("/customRoleIds/a~1b/~0/"), p)
	assert.Equal(t, p, tokenpatch.NewPointer("customRoleIds", "a/b", "~", ""))
	tokens, err := p.Tokens()
	require.NoError(t, err)
	assert.Equal(t, []string{"customRoleIds", "a/b", "~", ""}, tokens)
	_, err = tokenpatch.Pointer("name").Tokens()
	require.ErrorContains(t, err, "starting with a slash")
}

func ExamplePatch_Replay() {
	patch := newPatch().SetRole(tokenpatch.RoleReader)
	fmt.Println(patch.Replay())

	// Between the two a second application would append the role again.
	fmt.Println(patch.Clone().AddCustomRoleID("ci").Replay())

	// A test of what the patch changes fails the second time.
	fmt.Println(newPatch().Test(tokenpatch.PathCustomRoleIDs, []string{}).AddCustomRoleID("ci").Replay())
	// Output:
	// idempotent
	// unsafe
	// guarded
}

// The rule is tested in internal/jsonpatch; here are the members of the service, and the patches of
// programs.
func TestReplay(t *testing.T) {
	const idempotent, guarded, unsafe = tokenpatch.ReplayIdempotent, tokenpatch.ReplayGuarded, tokenpatch.ReplayUnsafe
	tests := map[string]struct {
		patch *tokenpatch.Patch
		want  tokenpatch.Replay
	}{
		"nothing":                               {newPatch(), idempotent},
		"every setter but the append":           {newPatch().SetName("a").SetDescription("b").SetRole("reader").SetCustomRoleIDs("c").SetInlineRole(allow()).SetDefaultAPIVersion(1).Comment("d"), idempotent},
		"append":                                {newPatch().AddCustomRoleID("a"), unsafe},
		"append to a list that the patch set":   {newPatch().SetCustomRoleIDs("a").AddCustomRoleID("b"), guarded},
		"append to a list that is not tested":   {newPatch().Test("/name", "a").SetName("b").AddCustomRoleID("c"), unsafe},
		"test of what is appended to":           {newPatch().Test("/customRoleIds", []string{"a"}).AddCustomRoleID("b"), guarded},
		"remove":                                {newPatch().Remove("/description"), guarded},
		"a member that is no setting":           {newPatch().Add("/x", 1), idempotent},
		"lastModified is the service's":         {newPatch().Test("/lastModified", 1).SetName("a"), guarded},
		"append behind a test of lastModified":  {newPatch().Test("/lastModified", 1).AddCustomRoleID("a"), guarded},
		"lastUsed is the service's":             {newPatch().Test("/lastUsed", 1).SetName("a"), guarded},
		"copy of lastModified":                  {newPatch().Copy("/lastModified", "/description"), unsafe},
		"copy of what the service alone writes": {newPatch().Copy("/_id", "/name"), unsafe},

		"nil":                         {nil, unsafe},
		"a mistake":                   {newPatch().SetRole(""), unsafe},
		"the whole document replaced": {newPatch().Replace("", 1), unsafe},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, tt.patch.Replay()) })
	}
}

// What ReplayGuarded cannot see, and what prevents it.
func TestReplayGuardedAndAnotherWriter(t *testing.T) {
	const before = `{"customRoleIds":[],"lastModified":1}`
	patch := newPatch().Test("/customRoleIds", []string{}).AddCustomRoleID("a")
	assert.Equal(t, tokenpatch.ReplayGuarded, patch.Replay())
	once, err := patch.ApplyJSON([]byte(before))
	require.NoError(t, err)
	_, err = patch.ApplyJSON(once)
	require.ErrorContains(t, err, "value differs")

	putBack := []byte(`{"customRoleIds":[],"lastModified":2}`) // by another writer, in between
	_, err = patch.ApplyJSON(putBack)
	require.NoError(t, err, "it is applied again")
	safe := newPatch().Test("/lastModified", 1).Test("/customRoleIds", []string{}).AddCustomRoleID("a")
	assert.Equal(t, tokenpatch.ReplayGuarded, safe.Replay())
	_, err = safe.ApplyJSON(putBack)
	require.ErrorContains(t, err, `test "/lastModified": test failed: value differs`)
}

func TestReplayString(t *testing.T) {
	assert.Equal(t, "unsafe guarded idempotent unsafe", fmt.Sprint(
		tokenpatch.ReplayUnsafe, tokenpatch.ReplayGuarded, tokenpatch.ReplayIdempotent, tokenpatch.Replay(7)))
}
