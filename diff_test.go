package tokenpatch_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
)

func TestDiff(t *testing.T) {
	const statements = `[{"effect":"allow","actions":["*"],"resources":["proj/*"],"sid":1.0},{"effect":"deny"}]`
	tests := []struct{ name, before, after, want string }{
		{"nothing", `{}`, `{}`, ``},
		{"everything alike", tokenJSON, tokenJSON, ``},

		{"name", `{"name":"a"}`, `{"name":"b"}`, `[{"op":"replace","path":"/name","value":"b"}]`},
		{"description", `{"description":"a"}`, `{"description":""}`, `[{"op":"replace","path":"/description","value":""}]`},
		{"role", `{"role":"reader"}`, `{"role":"auditor"}`, `[{"op":"replace","path":"/role","value":"auditor"}]`},
		{"defaultApiVersion", `{"defaultApiVersion":20220603}`, `{"defaultApiVersion":20240415}`, `[{"op":"replace","path":"/defaultApiVersion","value":20240415}]`},

		{"absent to set", `{}`, `{"name":"a"}`, `[{"op":"add","path":"/name","value":"a"}]`},
		{"absent to null", `{}`, `{"name":null}`, `[{"op":"add","path":"/name","value":null}]`},
		{"no access in other words", `{"customRoleIds":[],"inlineRole":null,"role":null}`, `{"customRoleIds":null,"role":""}`, ``},
		{"no access any more", `{"customRoleIds":["a"],"inlineRole":[{"effect":"allow"}],"role":"reader"}`, `{"inlineRole":null}`, `[{"op":"remove","path":"/role"},{"op":"remove","path":"/customRoleIds"},{"op":"replace","path":"/inlineRole","value":null}]`},
		{"set to absent", `{"name":"a"}`, `{}`, `[{"op":"remove","path":"/name"}]`},
		{"null to absent", `{"name":null}`, `{}`, `[{"op":"remove","path":"/name"}]`},
		{"set to null", `{"name":""}`, `{"name":null}`, `[{"op":"replace","path":"/name","value":null}]`},
		{"null to set", `{"defaultApiVersion":null}`, `{"defaultApiVersion":1}`, `[{"op":"replace","path":"/defaultApiVersion","value":1}]`},

		{"roles in another order", `{"customRoleIds":["a","b","c"]}`, `{"customRoleIds":["c","a","b"]}`, ``},
		{"roles repeated", `{"customRoleIds":["a","b","a"]}`, `{"customRoleIds":["b","b","a"]}`, ``},
		{"a role more", `{"customRoleIds":["b","a"]}`, `{"customRoleIds":["c","a","b"]}`, `[{"op":"replace","path":"/customRoleIds","value":["c","a","b"]}]`},
		{"a role less", `{"customRoleIds":["b","a"]}`, `{"customRoleIds":["a"]}`, `[{"op":"replace","path":"/customRoleIds","value":["a"]}]`},
		{"one role for another", `{"customRoleIds":["a","a"]}`, `{"customRoleIds":["a","b"]}`, `[{"op":"replace","path":"/customRoleIds","value":["a","b"]}]`},
		{"no roles any more", `{"customRoleIds":["b","a"]}`, `{"customRoleIds":[]}`, `[{"op":"replace","path":"/customRoleIds","value":[]}]`},

		{"statements alike", `{"inlineRole":` + statements + `}`, `{"inlineRole":` + statements + `}`, ``},
		{"members of a statement in another order, numbers in another form", `{"inlineRole":` + statements + `}`, `{"inlineRole":[{"sid":1,"resources":["proj/*"],"actions":["*"],"effect":"allow"},{"effect":"deny"}]}`, ``},
		{
			"statements in another order", `{"inlineRole":` + statements + `}`, `{"inlineRole":[{"effect":"deny"},{"effect":"allow"}]}`,
			`[{"op":"replace","path":"/inlineRole","value":[{"effect":"deny"},{"effect":"allow"}]}]`,
		},
		{
			"what a statement does not know", `{"inlineRole":[{"effect":"allow","sid":1}]}`, `{"inlineRole":[{"effect":"allow","sid":2}]}`,
			`[{"op":"replace","path":"/inlineRole","value":[{"effect":"allow","sid":2}]}]`,
		},
		{
			"an empty list for none", `{"inlineRole":[{"effect":"allow"}]}`, `{"inlineRole":[{"effect":"allow","actions":[]}]}`,
			`[{"op":"replace","path":"/inlineRole","value":[{"actions":[],"effect":"allow"}]}]`,
		},

		{
			"members without a field", `{"x":1,"y":[1],"z":null}`, `{"w":{"a/b":1},"y":[1.0],"z":2,"a/b":""}`,
			`[{"op":"remove","path":"/x"},{"op":"add","path":"/w","value":{"a/b":1}},{"op":"replace","path":"/z","value":2},{"op":"add","path":"/a~1b","value":""}]`,
		},
		{
			"what is the server's",
			`{"_id":"a","ownerId":"a","memberId":"a","_member":{"_id":"a"},"creationDate":1,"lastModified":1,"token":"a","serviceToken":true,"_links":{"a":{}},"lastUsed":1,"_x":1}`,
			`{"_id":"b","ownerId":"b","memberId":"b","_member":{"_id":"b"},"creationDate":2,"lastModified":2,"token":"b","serviceToken":false,"_links":{"b":{}},"_x":2}`,
			``,
		},
		{
			"everything",
			`{"name":"a","role":"reader","customRoleIds":["a"],"defaultApiVersion":null}`,
			`{"name":"b","description":"d","customRoleIds":null,"inlineRole":[{"effect":"deny"}],"defaultApiVersion":20240415}`,
			`[{"op":"replace","path":"/name","value":"b"},{"op":"add","path":"/description","value":"d"},{"op":"remove","path":"/role"},` +
				`{"op":"replace","path":"/customRoleIds","value":null},{"op":"add","path":"/inlineRole","value":[{"effect":"deny"}]},{"op":"replace","path":"/defaultApiVersion","value":20240415}]`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, after := decodeTokenJSON(t, tt.before), decodeTokenJSON(t, tt.after)
			patch := tokenpatch.Diff(before, after)
			require.NoError(t, patch.Err())
			if tt.want == "" {
				assert.Zero(t, patch.Len())
				_, err := patch.MarshalJSON()
				require.ErrorContains(t, err, "nothing to send")
			} else {
				assertBody(t, tt.want, patch)
			}
			requireDiff(t, before, after)
		})
	}
}

// requireDiff checks what holds for every two tokens.
func requireDiff(t *testing.T, before, after tokenpatch.Token) {
	t.Helper()
	require.Zero(t, tokenpatch.Diff(before, before).Len())
	patch := tokenpatch.Diff(before, after)
	require.NoError(t, patch.Err())
	got, err := patch.Apply(before)
	require.NoError(t, err)
	requireSameSettings(t, after, got)
	require.Zero(t, tokenpatch.Diff(got, after).Len())
	if patch.Len() == 0 {
		return
	}

	// Nothing but a setting differs from before.
	rest, err := newPatch().ApplyJSON(withoutSettings(t, before))
	require.NoError(t, err)
	require.Equal(t, generic(t, string(rest)), generic(t, string(withoutSettings(t, got))))

	// No operation can be left out: each is for another member.
	var operations []struct{ Path string }
	body, err := patch.MarshalJSON()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(body, &operations))
	for i, op := range operations {
		require.NotContains(t, operations[:i], op)
	}

	// What is sent and read back is the same patch.
	decoded := decodePatchJSON(t, string(body))
	again, err := decoded.Apply(before)
	require.NoError(t, err)
	require.Equal(t, got, again)
}

// isSetting reports whether clients write a member: all but the server's own.
func isSetting(name string) bool {
	servers := []string{"ownerId", "memberId", "creationDate", "lastModified", "token", "serviceToken", "lastUsed"}
	return !strings.HasPrefix(name, "_") && !slices.Contains(servers, name)
}

// requireSameSettings compares by JSON: custom roles as a set, numbers by value,
// and access without regard to how its absence is written.
func requireSameSettings(t *testing.T, want, got tokenpatch.Token) {
	t.Helper()
	wantSettings, gotSettings := members(t, want), members(t, got)
	for _, name := range slices.Concat(slices.Collect(maps.Keys(wantSettings)), slices.Collect(maps.Keys(gotSettings))) {
		if !isSetting(name) {
			continue
		}
		wanted, is := byValue(wantSettings[name]), byValue(gotSettings[name])
		if name == "role" || name == "customRoleIds" || name == "inlineRole" {
			wanted, is = orNothing(wanted), orNothing(is)
		}
		require.Equal(t, wanted, is, name)
	}
}

func orNothing(v any) any {
	if v == "" || fmt.Sprint(v) == "[]" {
		return nil
	}
	return v
}

// byValue writes numbers, which must not be large, in one form.
func byValue(v any) any {
	switch v := v.(type) {
	case json.Number:
		r, _ := new(big.Rat).SetString(v.String())
		return r.RatString()
	case []any:
		for i := range v {
			v[i] = byValue(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = byValue(v[name])
		}
	}
	return v
}

func members(t *testing.T, token tokenpatch.Token) map[string]any {
	t.Helper()
	data, err := json.Marshal(token)
	require.NoError(t, err)
	all := generic(t, string(data)).(map[string]any)
	if ids, ok := all["customRoleIds"].([]any); ok {
		slices.SortFunc(ids, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		all["customRoleIds"] = slices.Compact(ids)
	}
	return all
}

func withoutSettings(t *testing.T, token tokenpatch.Token) []byte {
	t.Helper()
	all := members(t, token)
	maps.DeleteFunc(all, func(name string, _ any) bool { return isSetting(name) })
	data, err := json.Marshal(all)
	require.NoError(t, err)
	return data
}

func TestDiffOfABadStatement(t *testing.T) {
	after := tokenpatch.Token{InlineRole: tokenpatch.Set([]tokenpatch.Statement{allow(), {Effect: "maybe"}})}
	patch := tokenpatch.Diff(tokenpatch.Token{}, after)
	require.ErrorContains(t, patch.Err(), `operation 0: add "/inlineRole": statement 1: effect`)
}

// Invalid UTF-8 is replaced when it is sent: afterwards it is no difference.
func TestDiffComparesTextAsSent(t *testing.T) {
	before := tokenpatch.Token{Name: tokenpatch.Set("a\ufffd")}
	after := before
	after.Name = tokenpatch.Set("a\xff")
	assert.Zero(t, tokenpatch.Diff(before, after).Len())
	after.Name = tokenpatch.Set("b\xff")
	assert.Equal(t, 1, tokenpatch.Diff(before, after).Len())
}

// A nil list is no other list than an empty one.
func TestDiffOfANilList(t *testing.T) {
	before := decodeTokenJSON(t, `{"customRoleIds":[],"inlineRole":[]}`)
	after := before
	after.CustomRoleIDs, after.InlineRole = tokenpatch.Set[[]string](nil), tokenpatch.Set[[]tokenpatch.Statement](nil)
	assert.Zero(t, tokenpatch.Diff(before, after).Len())
	assert.Zero(t, tokenpatch.Diff(after, before).Len())
}

func TestDiffMayBeSentAgain(t *testing.T) {
	before := decodeTokenJSON(t, `{"role":"reader","customRoleIds":["a"]}`)
	after := decodeTokenJSON(t, `{"name":"a","role":"writer","customRoleIds":["b","a"]}`)
	patch := tokenpatch.Diff(before, after)
	assert.Equal(t, tokenpatch.ReplayIdempotent, patch.Replay())
}

func TestGuard(t *testing.T) {
	const token = `{"_id":"i","ownerId":"o","memberId":"m","name":"n","role":null,"defaultApiVersion":null,"customRoleIds":["b","a"],"token":"1234",
		"inlineRole":[{"effect":"allow","sid":1.50,"notResources":[]}],"creationDate":1,"lastModified":2,"_links":{},"x":{"y":[1.0]},"a/b":1}`
	const (
		version = `{"op":"test","path":"/lastModified","value":2}`
		roles   = `{"op":"test","path":"/customRoleIds","value":["b","a"]}`
		policy  = `{"op":"test","path":"/inlineRole","value":[{"notResources":[],"effect":"allow","sid":1.50}]}`
	)
	tests := []struct {
		name  string
		patch *tokenpatch.Patch
		tests string // what is put in front
	}{
		{"a setting", newPatch().SetName("b"), `{"op":"test","path":"/name","value":"n"}`},
		{"once each", newPatch().SetName("b").SetDefaultAPIVersion(1).Remove("/name"), `{"op":"test","path":"/name","value":"n"},{"op":"test","path":"/defaultApiVersion","value":null}`},
		{"what this version does not know", newPatch().Remove("/x/y/0").Replace("/a~1b", 2), `{"op":"test","path":"/x","value":{"y":[1.0]}},{"op":"test","path":"/a~1b","value":1}`},
		{"what is read", newPatch().Copy("/_id", "/name").Move("/x", "/a~1b"), `{"op":"test","path":"/_id","value":"i"},{"op":"test","path":"/name","value":"n"},{"op":"test","path":"/x","value":{"y":[1.0]}},{"op":"test","path":"/a~1b","value":1}`},
		{"tests of its own", newPatch().Test("/name", "n").SetName("b").Test("/name", "b"), `{"op":"test","path":"/name","value":"n"}`},
		{"tests of access alone", newPatch().Test("/role", nil), `{"op":"test","path":"/role","value":null}`},

		{"the role", newPatch().SetRole("b"), `{"op":"test","path":"/role","value":null},` + version},
		{"the custom roles", newPatch().SetCustomRoleIDs(), roles + "," + version},
		{"inside the custom roles", newPatch().AddCustomRoleID("c").Remove("/customRoleIds/0"), roles + "," + version},
		{"inside the policy", newPatch().Add("/inlineRole/0/actions", 1), policy + "," + version},
		{"the policy moved away", newPatch().Move("/inlineRole", "/x"), policy + `,{"op":"test","path":"/x","value":{"y":[1.0]}},` + version},
		{"what is absent", newPatch().SetDescription("d").SetName("b").Add("/z/y", 1), `{"op":"test","path":"/name","value":"n"},` + version},
		{"only what is absent", newPatch().SetDescription("d"), version},
		{"what is absent, and lastModified already", newPatch().Test("/lastModified", 2).SetDescription("d"), version},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := decodeTokenJSON(t, token)
			own, err := tt.patch.Comment("c").MarshalJSON()
			require.NoError(t, err)

			guarded := tt.patch.Guard(before)
			assertBody(t, strings.Replace(string(own), `"patch":[`, `"patch":[`+tt.tests+",", 1), guarded)
			assertBody(t, string(own), tt.patch)
			assert.NotEqual(t, tokenpatch.ReplayUnsafe, guarded.Replay())

			// The two do the same to before.
			want, wantErr := tt.patch.Apply(before)
			got, gotErr := guarded.Apply(before)
			assert.Equal(t, wantErr == nil, gotErr == nil)
			assert.Equal(t, want, got)
		})
	}
}

func TestGuardRefusesWhatSomebodyElseChanged(t *testing.T) {
	before := decodeTokenJSON(t, `{"name":"n","role":"reader","customRoleIds":["a"],"lastUsed":1,"lastModified":1}`)
	guarded := newPatch().SetName("b").SetDefaultAPIVersion(1).Guard(before)
	for change, wantErr := range map[string]string{
		`{"op":"replace","path":"/name","value":"x"}`:           `operation 0: test "/name"`,
		`{"op":"add","path":"/description","value":"x"}`:        `operation 1: test "/lastModified"`,
		`{"op":"add","path":"/inlineRole","value":[]}`:          `operation 1: test "/lastModified"`,
		`{"op":"add","path":"/defaultApiVersion","value":20}`:   `operation 1: test "/lastModified"`,
		`{"op":"replace","path":"/customRoleIds/0","value":""}`: `operation 1: test "/lastModified"`,
	} {
		change += `,{"op":"replace","path":"/lastModified","value":2}`
		body, err := decodePatchJSON(t, "["+change+"]").ApplyJSON([]byte(`{"name":"n","customRoleIds":["a"],"lastModified":1}`))
		require.NoError(t, err)
		_, err = guarded.ApplyJSON(body)
		assert.ErrorContains(t, err, wantErr)
	}
}

// Without lastModified nothing can guard a missing member, or the other two members of access.
func TestGuardNeedsLastModified(t *testing.T) {
	before := decodeTokenJSON(t, `{"name":"n","role":"reader"}`)
	for _, patch := range []*tokenpatch.Patch{newPatch().SetName("b").SetDescription("d"), newPatch().SetName("b").SetRole("writer")} {
		guarded := patch.Guard(before)
		require.ErrorContains(t, guarded.Err(), `test "/lastModified": the token has no lastModified that could guard the patch`)
		assertAs[*tokenpatch.PatchError](t, guarded.Err())
		_, err := guarded.MarshalJSON()
		require.Error(t, err)
	}
	assert.NoError(t, newPatch().SetName("b").Guard(before).Err())
}

func TestGuardOfNothing(t *testing.T) {
	for name, patch := range map[string]*tokenpatch.Patch{"empty": newPatch(), "nil": nil, "a mistake": newPatch().SetName("a").Remove("/_id")} {
		t.Run(name, func(t *testing.T) {
			guarded := patch.Guard(decodeTokenJSON(t, tokenJSON))
			assert.Equal(t, patch.Len(), guarded.Len())
			assert.Equal(t, patch.Err(), guarded.Err())
			_, err := guarded.MarshalJSON()
			require.Error(t, err)
		})
	}
}

// A guard tests the service's values, including those of unknown members.
func TestGuardLetsTheUnchangedTokenThrough(t *testing.T) {
	const document = `{"lastModified":1,"name":"\ud800","description":null,"customRoleIds":[],"inlineRole":[{"effect":"allow","actions":["*"],"sid":1.0},{"effect":"","resources":[]}],
		"ownerId":"","_member":{"_links":{"self":{"x":null}},"_id":"","role":"","email":"","y":{}}}`
	before := decodeTokenJSON(t, document)
	after := before.Clone()
	after.Name, after.InlineRole = tokenpatch.Set("b"), tokenpatch.Set([]tokenpatch.Statement{allow()})
	guarded := tokenpatch.Diff(before, after).Copy("/ownerId", "/x").Copy("/_member", "/y").Guard(before)
	require.NoError(t, guarded.Err())
	_, err := guarded.ApplyJSON([]byte(document))
	require.NoError(t, err)
}

// Whatever is guarded may be sent again.
func TestGuardIsNeverUnsafe(t *testing.T) {
	random := rand.NewChaCha8([32]byte{})
	data := make([]byte, 100)
	guarded := 0
	for range 20_000 {
		_, _ = random.Read(data)
		s := source(data)
		before := decodeTokenJSON(t, s.token())
		patch := s.patch()
		if patch.Err() != nil {
			continue
		}
		patch = patch.Guard(before)
		require.NoError(t, patch.Err())
		require.NotEqual(t, tokenpatch.ReplayUnsafe, patch.Replay(), "%v", patch)
		guarded++
	}
	assert.Greater(t, guarded, 10_000)
}

// patch returns a patch of any operations, which need not apply to a token.
func (s *source) patch() *tokenpatch.Patch {
	path := func() tokenpatch.Pointer {
		return pick(s, tokenpatch.PathName, tokenpatch.PathDescription, tokenpatch.PathRole, "/customRoleIds", "/customRoleIds/-", "/inlineRole/0/actions", "/x", "/x/y/0", "/z")
	}
	patch := newPatch()
	for range pick(s, 1, 2, 3, 4, 5) {
		switch pick(s, 0, 1, 2, 3, 4, 5) {
		case 0:
			patch.Add(path(), 1)
		case 1:
			patch.Replace(path(), "a")
		case 2:
			patch.Remove(path())
		case 3:
			patch.Copy(pick(s, path(), "/_id"), path())
		case 4:
			patch.Test(pick(s, path(), "/lastModified", ""), nil)
		default:
			if from, to := path(), path(); !strings.HasPrefix(string(to), string(from)+"/") {
				patch.Move(from, to)
			}
		}
	}
	return patch
}

func TestGuardDoesNotAlias(t *testing.T) {
	patch := newPatch().SetName("b")
	guarded := patch.Guard(decodeTokenJSON(t, `{"name":"n"}`))
	patch.SetRole("writer")
	guarded.SetDescription("d")
	assert.Equal(t, "replace /name \"b\"\nreplace /role \"writer\"", patch.String())
	assert.Equal(t, "test /name \"n\"\nreplace /name \"b\"\nreplace /description \"d\"", guarded.String())
}

func TestGuardShowsNoSecret(t *testing.T) {
	guarded := newPatch().Test("/token", "1234").SetName("b").Guard(decodeTokenJSON(t, `{"token":"1234","name":"n"}`))
	assert.Equal(t, "test /token [redacted]\ntest /name \"n\"\ntest /token [redacted]\nreplace /name \"b\"", guarded.String())
}

// source turns the bytes of a fuzz input into choices, until they run out.
type source []byte

func pick[T any](s *source, from ...T) T {
	if len(*s) == 0 {
		return from[0]
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return from[int(b)%len(from)]
}

// token returns the JSON of a token, with settings of every kind and some other members.
func (s *source) token() string {
	members := []string{`"_id":"i","ownerId":"o","memberId":"m","creationDate":1,"lastModified":2`}
	add := func(name string, values ...string) {
		if value := pick(s, append(values, "", "null")...); value != "" {
			members = append(members, fmt.Sprintf("%q:%s", name, value))
		}
	}
	statement := func() string {
		return pick(s, `{"effect":"allow"}`, `{"effect":"deny","actions":["*"],"resources":[]}`, `{"effect":"deny","resources":[]}`, `{"effect":"allow","sid":1}`,
			`{"sid":1.0,"effect":"allow"}`, `{"effect":"allow","sid":{"b":[1],"a":2}}`, `{"effect":"allow","sid":{"a":2,"b":[1]}}`, `{"effect":"allow","notActions":null,"notResources":["r"]}`)
	}
	add("name", `"a"`, `"b"`, `""`, `"<é\ud83d\ude00>"`)
	add("description", `"a"`, `"b"`)
	add("role", `"reader"`, `"writer"`, `""`)
	add("customRoleIds", `[]`, `["a"]`, `["a","b"]`, `["b","a"]`, `["a","b","b"]`, `["c"]`)
	add("inlineRole", `[]`, `[`+statement()+`]`, `[`+statement()+`,`+statement()+`]`)
	add("defaultApiVersion", `0`, `20240415`, `2147483647`)
	add("token", `"1234"`)
	add("_links", `{}`, `{"self":{"href":"/","x":1}}`)
	add("x", `{"y":[1.0,{}]}`, `1`)
	add("lastUsed", `1`, `2`)
	return "{" + strings.Join(members, ",") + "}"
}

func FuzzDiff(f *testing.F) {
	for _, seed := range []string{"", "\x00\x01\x02\x03\x04\x05\x06\x07\x08", strings.Repeat("\x02\x05\x01", 12), strings.Repeat("\x01\x02\x03\x00", 10)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := source(data)
		before, after := decodeTokenJSON(t, s.token()), decodeTokenJSON(t, s.token())
		saved, err := json.Marshal([]tokenpatch.Token{before, after})
		require.NoError(t, err)
		requireDiff(t, before, after)

		// The guard lets the patch through once, and stops its second application.
		patch := tokenpatch.Diff(before, after)
		guarded := patch.Guard(before)
		require.NotEqual(t, tokenpatch.ReplayUnsafe, guarded.Replay())
		want, err := patch.Apply(before)
		require.NoError(t, err)
		got, err := guarded.Apply(before)
		require.NoError(t, err)
		require.Equal(t, want, got)
		if patch.Len() > 0 {
			got.LastModified++
			_, err = guarded.Apply(got)
			require.ErrorContains(t, err, "test")
		}

		again, err := json.Marshal([]tokenpatch.Token{before, after})
		require.NoError(t, err)
		require.Equal(t, string(saved), string(again))
	})
}

// Apply encodes and decodes only what a patch names, and has to agree with ApplyJSON.
func FuzzApplyToken(f *testing.F) {
	for _, seed := range []string{"", "\x00\x01\x02\x03\x04\x05\x06\x07\x08", strings.Repeat("\x02\x05\x01", 12), strings.Repeat("\x01\x02\x03\x00", 10)} {
		f.Add([]byte(seed), []byte(`[{"op":"add","path":"/customRoleIds/-","value":"z"}]`))
	}
	for _, patch := range []string{
		`[{"op":"test","path":"/ownerId","value":"o"},{"op":"remove","path":"/memberId"},{"op":"add","path":"/name","value":null}]`,
		`[{"op":"copy","from":"","path":"/x"},{"op":"move","from":"/x/name","path":"/name"}]`,
		`[{"op":"move","from":"/inlineRole/0","path":"/inlineRole/-"},{"op":"copy","from":"/_links","path":"/y~1"}]`,
		`[{"op":"add","path":"","value":{"_id":"i","customRoleIds":null,"":{}}}]`,
		`[{"op":"replace","path":"/ownerId","value":null},{"op":"add","path":"/ownerId","value":""}]`,
		`[{"op":"replace","path":"/x","value":{"a":1,"a":2}},{"op":"add","path":"/x/b","value":3}]`,
	} {
		f.Add([]byte(strings.Repeat("\x02\x02\x01", 12)), []byte(patch))
	}
	f.Fuzz(func(t *testing.T, data, patchData []byte) {
		var patch tokenpatch.Patch
		if patch.UnmarshalJSON(patchData) != nil || patch.Err() != nil {
			return
		}
		s := source(data)
		before := decodeTokenJSON(t, s.token())
		saved, err := json.Marshal(before)
		require.NoError(t, err)

		got, gotErr := patch.Apply(before)
		again, err := json.Marshal(before)
		require.NoError(t, err)
		require.Equal(t, string(saved), string(again))

		document, wantErr := patch.ApplyJSON(saved)
		var want tokenpatch.Token
		if wantErr == nil {
			require.NotEmpty(t, document)
			wantErr = want.UnmarshalJSON(document)
			if string(document) == "null" {
				wantErr = json.Unmarshal([]byte("1"), &want) // which encoding/json passes over
			}
		}
		require.Equal(t, wantErr == nil, gotErr == nil, "%v %v", wantErr, gotErr)
		if gotErr != nil {
			require.ErrorAs(t, gotErr, new(*tokenpatch.PatchError))
			return
		}
		require.Equal(t, members(t, want), members(t, got))
	})
}

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

// A patch no token may get can be applied to any other document.
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

// The letter of RFC 6902 section 4.3. V2 is more lenient.
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
		{"reads of every kind", `{` + required + `}`, `[{"op":"test","path":"/_id","value":"i"},{"op":"test","path":"/_links","value":{}},{"op":"copy","from":"/_id","path":"/description"}]`, `{` + required + `,"description":"i"}`},
		{"the whole replaced", `{` + required + `,"z":1}`, `[{"op":"add","path":"","value":{"name":"n","y":2}}]`, `{"_id":"","ownerId":"","memberId":"","name":"n","creationDate":0,"lastModified":0,"_links":{},"y":2}`},
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
		{`[{"op":"add","path":"","value":{"lastUsed":1e3}}]`, "lastUsed: want an integer"},
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
		"a copy":     newPatch().Test("/name", "a").Copy("/x", "/y").Remove("/y").Apply,
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
				assert.Equal(t, 2, tokenpatch.Diff(token, tokenpatch.Token{}).Len())
				guarded := members.Guard(token)
				assert.Equal(t, 5, guarded.Len())
			}
		})
	}
	group.Wait()
}
