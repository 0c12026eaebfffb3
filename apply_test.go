package tokenpatch_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
)

// What each operation does is tested in internal/jsonpatch; here is what the caller sees.
func TestApplyJSON(t *testing.T) {
	document := []byte(" { \"far\" : [ 1.50 , -0 ], \"a\" : [ 1 ] }\n")
	got, err := newPatch().Test("/a/0", 1).Add("/a/-", json.RawMessage(" 2.0 ")).Copy("/far/0", "/b").ApplyJSON(document)
	require.NoError(t, err)
	assert.Equal(t, `{"far":[1.50,-0],"a":[1,2.0],"b":1.50}`, string(got))

	got, err = newPatch().SetName("a").Remove("/b").ApplyJSON([]byte(`{"name":""}`))
	assert.Nil(t, got)
	var patchErr *tokenpatch.PatchError
	require.ErrorAs(t, err, &patchErr)
	assert.Equal(t, 1, patchErr.Index)
	assert.Equal(t, "remove", patchErr.Op)
	assert.Equal(t, tokenpatch.Pointer("/b"), patchErr.Path)
	assert.EqualError(t, err, `tokenpatch: patch: operation 1: remove "/b": no value at this path`)
}

func TestApplyRefusesDocuments(t *testing.T) {
	for document, want := range map[string]string{
		"": "unexpected end", " ": "unexpected end", "{": "unexpected end", "1 2": "after top-level value", "nul": "", "\"\xff\"": "not UTF-8",
		strings.Repeat("[", 10001) + strings.Repeat("]", 10001): "depth",
	} {
		got, err := newPatch().Add("/a", 1).ApplyJSON([]byte(document))
		var patchErr *tokenpatch.PatchError
		require.ErrorAs(t, err, &patchErr)
		assert.Equal(t, -1, patchErr.Index)
		assert.ErrorContains(t, err, want)
		assert.Nil(t, got)
	}
}

func TestApplyRefusesBadPatches(t *testing.T) {
	for name, patch := range map[string]*tokenpatch.Patch{"nil": nil, "a mistake": newPatch().SetName("a").Remove("_id")} {
		t.Run(name, func(t *testing.T) {
			_, err := patch.ApplyJSON([]byte(`{}`))
			assert.Equal(t, patch.Err(), err)
			token, err := patch.Apply(tokenpatch.Token{ID: "i"})
			assert.Equal(t, patch.Err(), err)
			assert.Zero(t, token)
		})
	}
}

// A patch that no token may get can be applied to any other document.
func TestApplyJSONHasNoTokenRules(t *testing.T) {
	const text = `[{"op":"add","path":"/_id","value":1},{"op":"move","from":"/_a","path":"/_b"},{"op":"add","path":"/inlineRole","value":[{"effect":"maybe"}]},{"op":"remove","path":"/c"}]`
	for name, patch := range map[string]*tokenpatch.Patch{
		"decoded": decodePatchJSON(t, text),
		"built":   newPatch().Add("/_id", 1).Move("/_a", "/_b").Add("/inlineRole", json.RawMessage(`[{"effect":"maybe"}]`)).Remove("/c"),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := patch.ApplyJSON([]byte(`{"_a":2,"c":3}`))
			require.NoError(t, err)
			assert.Equal(t, `{"_id":1,"_b":2,"inlineRole":[{"effect":"maybe"}]}`, string(got))

			_, applyErr := patch.Apply(tokenpatch.Token{})
			_, sendErr := patch.MarshalJSON()
			guarded := patch.Guard(tokenpatch.Token{})
			for _, err := range []error{patch.Err(), applyErr, sendErr, patch.Clone().Err(), guarded.Err()} {
				assert.EqualError(t, err, `tokenpatch: patch: operation 0: add "/_id": not editable: a name in the path begins with an underscore`)
			}
		})
	}
}

func TestApplyErrorShowsNoValue(t *testing.T) {
	const secret = "api-4e5f6a7b"
	token := tokenpatch.Token{Token: tokenpatch.Set(tokenpatch.Secret(secret))}
	for _, patch := range []*tokenpatch.Patch{
		newPatch().Test("/token", secret+"x"),
		newPatch().Add("/token/x", 1),
		newPatch().Copy("/token", "/customRoleIds"),
		newPatch().Copy("/token", ""),
	} {
		_, err := patch.Apply(token)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), secret)
	}
}

func TestApplyToken(t *testing.T) {
	before := decodeTokenJSON(t, tokenJSON)
	after, err := newPatch().
		Test("/name", "Example reader token").
		SetName("deployer").
		Remove("/description").
		SetRole(tokenpatch.RoleWriter).
		AddCustomRoleID("third").
		Remove("/inlineRole/1").
		Replace("/defaultApiVersion", nil).
		Apply(before)
	require.NoError(t, err)

	want := decodeTokenJSON(t, tokenJSON)
	want.Name = tokenpatch.Set("deployer")
	want.Description = tokenpatch.Field[string]{}
	want.Role = tokenpatch.Set(tokenpatch.RoleWriter)
	want.CustomRoleIDs = tokenpatch.Set([]string{"ci", "deploy", "third"})
	want.InlineRole = tokenpatch.Set(want.InlineRole.Or(nil)[:1])
	want.DefaultAPIVersion = tokenpatch.Null[int]()
	assert.Equal(t, want, after)
	assert.Equal(t, decodeTokenJSON(t, tokenJSON), before)
}

// The letter of RFC 6902 section 4.3, where V2 is lenient.
func TestApplyTokenReplacesOnlyWhatIsThere(t *testing.T) {
	_, err := newPatch().SetName("a").Apply(tokenpatch.Token{})
	require.EqualError(t, err, `tokenpatch: patch: operation 0: replace "/name": no value at this path`)
	after, err := newPatch().SetName("a").Apply(tokenpatch.Token{Name: tokenpatch.Null[string]()})
	require.NoError(t, err)
	assert.Equal(t, tokenpatch.Set("a"), after.Name)
}

func TestApplyTokenMembers(t *testing.T) {
	const required = `"_id":"i","ownerId":"o","memberId":"m","creationDate":1,"lastModified":2,"_links":{}`
	tests := []struct{ name, token, patch, want string }{
		{"unknown members", `{` + required + `,"z":{"n":1.50},"a":1}`, `[{"op":"add","path":"/z/m","value":2},{"op":"remove","path":"/a"},{"op":"add","path":"/b","value":[]}]`, `{` + required + `,"z":{"n":1.50,"m":2},"b":[]}`},
		{"a required property", `{` + required + `}`, `[{"op":"replace","path":"/ownerId","value":"p"},{"op":"remove","path":"/memberId"},{"op":"replace","path":"/creationDate","value":9007199254740993}]`, `{"_id":"i","ownerId":"p","creationDate":9007199254740993,"lastModified":2,"_links":{}}`},
		{"a required property that is null", `{` + required + `,"ownerId":null}`, `[{"op":"test","path":"/ownerId","value":null},{"op":"copy","from":"/ownerId","path":"/name"},{"op":"replace","path":"/ownerId","value":"p"}]`, `{"_id":"i","ownerId":"p","memberId":"m","name":null,"creationDate":1,"lastModified":2,"_links":{}}`},
		{"reads of every kind", `{` + required + `}`, `[{"op":"test","path":"/_id","value":"i"},{"op":"test","path":"/_links","value":{}},{"op":"copy","from":"/_id","path":"/description"}]`, `{` + required + `,"description":"i"}`},
		{"the whole", `{` + required + `,"z":1}`, `[{"op":"copy","from":"","path":"/all"},{"op":"remove","path":"/all/z"}]`, `{` + required + `,"z":1,"all":{` + required + `}}`},
		{"the whole replaced", `{` + required + `,"z":1}`, `[{"op":"add","path":"","value":{"name":"n","y":2}}]`, `{"name":"n","y":2}`},
		{"an empty name", `{` + required + `,"":[]}`, `[{"op":"test","path":"/","value":[]},{"op":"copy","from":"/","path":"/x"}]`, `{` + required + `,"":[],"x":[]}`},
		{"escaped names", `{` + required + `,"a/b":1}`, `[{"op":"move","from":"/a~1b","path":"/~0"}]`, `{` + required + `,"~":1}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := decodeTokenJSON(t, tt.token)
			after, err := decodePatchJSON(t, tt.patch).Apply(before)
			require.NoError(t, err)
			assertTokenJSON(t, tt.want, after)
			assertTokenJSON(t, tt.token, before)
		})
	}
}

func assertTokenJSON(t *testing.T, want string, token tokenpatch.Token) {
	t.Helper()
	got, err := json.Marshal(token)
	require.NoError(t, err)
	assert.Equal(t, generic(t, want), generic(t, string(got)))
}

func TestApplyTokenResultIsNoToken(t *testing.T) {
	tests := []struct{ patch, want string }{
		{`[{"op":"add","path":"/name","value":1}]`, "the result is not a Token: name: want a string, got a number"},
		{`[{"op":"add","path":"/customRoleIds","value":[1]}]`, "customRoleIds: 0: want a string"},
		{`[{"op":"add","path":"/inlineRole","value":{}}]`, "inlineRole: want an array"},
		{`[{"op":"add","path":"","value":[]}]`, "want an object, got an array"},
		{`[{"op":"add","path":"/lastUsed","value":1e3}]`, "lastUsed: want an integer"},
	}
	for _, tt := range tests {
		token, err := decodePatchJSON(t, tt.patch).Apply(tokenpatch.Token{ID: "i"})
		var patchErr *tokenpatch.PatchError
		require.ErrorAs(t, err, &patchErr)
		assert.Equal(t, -1, patchErr.Index)
		assert.ErrorContains(t, err, tt.want)
		assert.Zero(t, token)
	}
	// Only the result of the last operation has to be a token.
	token, err := newPatch().Add("/name", 1).SetName("a").Apply(tokenpatch.Token{})
	require.NoError(t, err)
	assert.Equal(t, "a", token.Name.Or(""))
}

// The result shares no memory with the argument.
func TestApplyTokenDoesNotAlias(t *testing.T) {
	for name, apply := range map[string]func(tokenpatch.Token) (tokenpatch.Token, error){
		"empty":      newPatch().Apply,
		"one member": newPatch().SetName("b").Apply,
		"whole":      newPatch().Test("/name", "a").Copy("", "/all").Remove("/all").Apply,
		"Clone":      func(token tokenpatch.Token) (tokenpatch.Token, error) { return token.Clone(), nil },
	} {
		t.Run(name, func(t *testing.T) {
			const data = `{"name":"a","customRoleIds":["a"],"_links":{"l":{"href":"h"}},"_member":{"_links":{"l":{"href":"h"}}},"x":{"y":1},
				"inlineRole":[{"resources":["r"],"notResources":["r"],"actions":["a"],"notActions":["a"],"effect":"allow"}]}`
			before := decodeTokenJSON(t, data)
			after, err := apply(before)
			require.NoError(t, err)
			if name == "Clone" {
				require.Equal(t, before, after)
			}

			member, _ := after.Member.Get()
			clear(member.Links)
			clear(after.Links)
			clear(after.CustomRoleIDs.Or(nil))
			for _, s := range after.InlineRole.Or(nil) {
				clear(s.Resources)
				clear(s.NotResources)
				clear(s.Actions)
				clear(s.NotActions)
			}
			clear(after.InlineRole.Or(nil))
			assert.Equal(t, decodeTokenJSON(t, data), before)
		})
	}
}

func TestApplyFromManyGoroutines(t *testing.T) {
	patch := decodePatchJSON(t, `[{"op":"add","path":"/x","value":{"y":[1]}},{"op":"add","path":"/x/y/-","value":2},{"op":"remove","path":"/z/n"},{"op":"test","path":"","value":{"x":{"y":[1,2]},"z":{}}}]`)
	members := decodePatchJSON(t, `[{"op":"add","path":"/x","value":{"y":[1]}},{"op":"add","path":"/x/y/-","value":2},{"op":"remove","path":"/z/n"}]`)
	token := decodeTokenJSON(t, `{"z":{"n":1,"m":2},"name":"n","lastModified":1}`)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				got, err := patch.ApplyJSON([]byte(`{"z":{"n":1}}`))
				assert.NoError(t, err)
				assert.Equal(t, `{"z":{},"x":{"y":[1,2]}}`, string(got))

				after, err := members.Apply(token)
				assert.NoError(t, err)
				x, _ := after.Extra.Get("x")
				assert.Equal(t, `{"y":[1,2]}`, string(x))
				assert.Equal(t, 1, tokenpatch.Diff(token, tokenpatch.Token{}).Len())
				guarded := members.Guard(token)
				assert.Equal(t, 5, guarded.Len())
			}
		})
	}
	group.Wait()
}
