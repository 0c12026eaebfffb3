package tokenpatch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
)

func TestTokenEveryProperty(t *testing.T) {
	token := decodeTokenJSON(t, tokenJSON)

	assert.Equal(t, "61095542756dba551110ae21", token.ID)
	assert.Equal(t, "569f514156e003339cfd3917", token.OwnerID)
	assert.Equal(t, "569f514183f2164430000002", token.MemberID)
	assert.Equal(t, tokenpatch.Set(tokenpatch.MemberSummary{
		Links: map[string]tokenpatch.Link{"self": {
			Href: tokenpatch.Set("/api/v2/members/569f514183f2164430000002"),
			Type: tokenpatch.Set("application/json"),
		}},
		ID:        "569f514183f2164430000002",
		FirstName: tokenpatch.Set("Ariel"),
		LastName:  tokenpatch.Set("Flores"),
		Role:      tokenpatch.RoleAdmin,
		Email:     "ariel@acme.com",
	}), token.Member)
	assert.Equal(t, tokenpatch.Set("Example reader token"), token.Name)
	assert.Equal(t, tokenpatch.Set("A reader token used in testing and examples"), token.Description)
	assert.Equal(t, tokenpatch.UnixMillis(1443652232590), token.CreationDate)
	assert.Equal(t, tokenpatch.UnixMillis(1469326565348), token.LastModified)
	assert.Equal(t, tokenpatch.Set([]string{"ci", "deploy"}), token.CustomRoleIDs)
	assert.Equal(t, tokenpatch.Set([]tokenpatch.Statement{
		{Resources: []string{"proj/*:env/*;qa_*:flag/*"}, Actions: []string{"*"}, Effect: tokenpatch.EffectAllow},
		{NotResources: []string{"proj/x"}, NotActions: []string{}, Effect: tokenpatch.EffectDeny},
	}), token.InlineRole)
	assert.Equal(t, tokenpatch.Set(tokenpatch.RoleReader), token.Role)
	assert.Equal(t, tokenpatch.Set(tokenpatch.Secret("1234")), token.Token)
	assert.Equal(t, tokenpatch.Set(true), token.ServiceToken)
	assert.Equal(t, tokenpatch.Set("/api/v2/tokens"), token.Links["parent"].Href)
	assert.Equal(t, tokenpatch.Set("/api/v2/tokens/61095542756dba551110ae21"), token.Links["self"].Href)
	assert.Equal(t, tokenpatch.Set(20240415), token.DefaultAPIVersion)
	assert.Equal(t, tokenpatch.Set(tokenpatch.UnixMillis(1469326565349)), token.LastUsed)
}

// Decoding and encoding again gives what was received, except for space and the token's value.
func TestTokenLosesNothing(t *testing.T) {
	const required = `"_id":"i","ownerId":"o","memberId":"m","creationDate":1,"lastModified":2,"_links":{}`
	const head, tail = `{"_id":"i","ownerId":"o","memberId":"m",`, `"creationDate":1,"lastModified":2,"_links":{}}`
	tests := map[string]string{
		"everything":             tokenJSON,
		"only what is required":  `{` + required + `}`,
		"zero":                   `{"_id":"","ownerId":"","memberId":"","name":"","description":"","creationDate":0,"lastModified":0,"customRoleIds":[],"inlineRole":[],"role":"","token":"","serviceToken":false,"_links":{},"defaultApiVersion":0,"lastUsed":0}`,
		"null":                   `{"_id":"i","ownerId":"o","memberId":"m","_member":null,"name":null,"description":null,"creationDate":1,"lastModified":2,"customRoleIds":null,"inlineRole":null,"role":null,"token":null,"serviceToken":null,"_links":{},"defaultApiVersion":null,"lastUsed":null}`,
		"digits":                 `{` + required + `,"a":1.50,"b":12345678901234567890123,"c":1E+2,"d":-0}`,
		"unknown of any kind":    `{` + required + `,"o":{"b":{},"a":[{}]},"n":null,"t":true,"s":"\u00e9\n","":0}`,
		"space":                  " { " + required + " , \"a\" : [ 1 , { } , [ ] ] ,\r\n\t\"b\" : { \"c\" : \" , } ] \" } , \"d\" : 1 } ",
		"brackets in strings":    `{` + required + `,"}":"]}\\\"","[{":["{\"[",{"]":"}"}]}`,
		"unknown in order":       `{` + required + `,"z":1,"a":2,"m":3}`,
		"case of names":          `{` + required + `,"Name":1,"_ID":2}`,
		"unknown in _member":     head + `"_member":{"_links":{},"_id":"","role":"","email":"","teams":[{"key":"a","n":1.0}]},` + tail,
		"unknown in a statement": `{` + required + `,"inlineRole":[{"effect":"allow","id":1.0},{"effect":"deny"}]}`,
		"half surrogate pairs":   `{` + required + `,"name":"\ud800","customRoleIds":["\udfff","a\ud800\u0061"],"_member":{"_links":{"\ud800":{"type":"\ud801"},"\ud801":{}},"_id":"","role":"","email":""},"\ud802":1,"\ud803":2,"inlineRole":[{"effect":"\ud800"}]}`,
		"unknown in a link":      head + `"creationDate":1,"lastModified":2,"_links":{"self":{"href":"/","type":null,"templated":true},"":{}}}`,
		"many unknown":           `{` + required + manyMembers(100) + `}`,
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			token := decodeTokenJSON(t, want)
			got, err := json.Marshal(token)
			require.NoError(t, err)
			want = strings.Replace(want, `"token": "1234"`, `"token": "[redacted]"`, 1)
			assert.Equal(t, generic(t, halvesMarked(want)), generic(t, halvesMarked(string(got))))

			again, err := json.Marshal(decodeTokenJSON(t, string(got)))
			require.NoError(t, err)
			assert.Equal(t, string(got), string(again))
		})
	}
}

// halvesMarked keeps encoding/json from making all halves of surrogate pairs
// one character.
func halvesMarked(data string) string { return strings.ReplaceAll(data, `\ud8`, `half d8`) }

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"x%d":%d`, i, i)
	}
	return b.String()
}

func TestTokenEncodingOrder(t *testing.T) {
	token := decodeTokenJSON(t, `{"z":1,"role":"reader","_links":{},"memberId":"m","a":2,"ownerId":"o","lastModified":2,"creationDate":1,"_id":"i"}`)
	got, err := json.Marshal(token)
	require.NoError(t, err)
	assert.Equal(t, `{"_id":"i","ownerId":"o","memberId":"m","creationDate":1,"lastModified":2,"role":"reader","_links":{},"z":1,"a":2}`, string(got))
}

func TestTokenZero(t *testing.T) {
	got, err := json.Marshal(tokenpatch.Token{})
	require.NoError(t, err)
	assert.Equal(t, `{"_id":"","ownerId":"","memberId":"","creationDate":0,"lastModified":0,"_links":{}}`, string(got))
}

// A required member is zero if it is null or missing.
func TestTokenRequired(t *testing.T) {
	const zero = `"_id":"","ownerId":"","memberId":""`
	for data, want := range map[string]string{
		`{}`: `{` + zero + `,"creationDate":0,"lastModified":0,"_links":{}}`,
		`{"_id":null,"ownerId":null,"memberId":null,"creationDate":null,"lastModified":null,"_links":null}`: `{` + zero + `,"creationDate":0,"lastModified":0,"_links":{}}`,
		`{"_id":"i","_id":null,"_links":{"self":null}}`:                                                     `{` + zero + `,"creationDate":0,"lastModified":0,"_links":{"self":{}}}`,
		`{"_member":{"_links":null,"firstName":null,"role":null}}`:                                          `{` + zero + `,"_member":{"_links":{},"_id":"","firstName":null,"role":"","email":""},"creationDate":0,"lastModified":0,"_links":{}}`,
		`{"inlineRole":[{"effect":null,"actions":null}]}`:                                                   `{` + zero + `,"creationDate":0,"lastModified":0,"inlineRole":[{"effect":""}],"_links":{}}`,
	} {
		got, err := json.Marshal(decodeTokenJSON(t, data))
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
}

func TestTokenExtra(t *testing.T) {
	token := decodeTokenJSON(t, `{"_id":null,"ownerId":"o","name":null,"expiry":1.50,"nothing":null,"_member":{"team":"a"},"inlineRole":[{"effect":"allow","sid":1}],"_links":{"self":{"rel":"x"}}}`)

	assertExtra(t, token.Extra, "expiry", "1.50")
	assertExtra(t, token.Extra, "nothing", "null")
	for _, name := range []string{"_id", "name", "ownerId", "missing"} {
		value, ok := token.Extra.Get(name)
		assert.False(t, ok, name)
		assert.Nil(t, value, name)
	}
	member, _ := token.Member.Get()
	assertExtra(t, member.Extra, "team", `"a"`)
	assertExtra(t, token.InlineRole.Or(nil)[0].Extra, "sid", "1")
	assertExtra(t, token.Links["self"].Extra, "rel", `"x"`)

	value, _ := token.Extra.Get("expiry")
	value[0] = '9'
	assertExtra(t, token.Extra, "expiry", "1.50")
}

func TestExtraEdit(t *testing.T) {
	token := decodeTokenJSON(t, `{"z":1,"expiry":2,"a":3}`)
	before := token // a copy is independent of what is changed
	require.NoError(t, token.Extra.Set("expiry", tokenpatch.UnixMillis(1798761600000)))
	require.NoError(t, token.Extra.Set("new", map[string]any{"b": nil}))
	require.NoError(t, token.Extra.Set("null", nil))
	require.NoError(t, token.Extra.Set("raw", json.RawMessage(` [1.0] `)))
	token.Extra.Delete("z")
	token.Extra.Delete("missing")
	assert.Equal(t, `["expiry" "a" "new" "null" "raw"]`, fmt.Sprint(token.Extra))
	assert.Equal(t, `["z" "expiry" "a"]`, fmt.Sprint(before.Extra))
	assertExtra(t, before.Extra, "expiry", "2")
	got, err := json.Marshal(token)
	require.NoError(t, err)
	assert.Contains(t, string(got), `"_links":{},"expiry":1798761600000,"a":3,"new":{"b":null},"null":null,"raw":[1.0]}`)

	var all []string
	for name, value := range token.Extra.All() {
		all = append(all, name, string(value))
		if name == "a" {
			break
		}
	}
	assert.Equal(t, []string{"expiry", "1798761600000", "a", "3"}, all)

	var expiry tokenpatch.Field[tokenpatch.UnixMillis]
	ok, err := token.Extra.Decode("expiry", &expiry)
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, tokenpatch.Set(tokenpatch.UnixMillis(1798761600000)), expiry)
	ok, err = token.Extra.Decode("missing", &expiry)
	require.NoError(t, err)
	assert.False(t, ok)
	_, err = token.Extra.Decode("new", &expiry)
	require.ErrorContains(t, err, `tokenpatch: Extra: "new": json: cannot unmarshal`)
}

// Copies are independent whatever capacity they share.
func TestExtraCopies(t *testing.T) {
	var first tokenpatch.Extra
	for _, name := range []string{"a", "b", "c"} {
		require.NoError(t, first.Set(name, 1))
		second, third := first, first
		require.NoError(t, second.Set("x", 1))
		require.NoError(t, third.Set("y", 2))
		require.NoError(t, third.Set(name, 2))
		fourth := first
		fourth.Delete("a")
		assertExtra(t, second, "x", "1")
		assertExtra(t, second, name, "1")
		assertExtra(t, first, "a", "1")
		_, ok := first.Get("x")
		assert.False(t, ok)
	}
}

func TestExtraRefuses(t *testing.T) {
	var extra tokenpatch.Extra
	for _, name := range []string{"name", "_id", "token", "lastUsed", "actions", "effect"} {
		err := extra.Set(name, 1)
		var input *tokenpatch.InputError
		require.ErrorAs(t, err, &input)
		assert.EqualError(t, err, `tokenpatch: Extra: "`+name+`": want a name for which there is no field: set the field`)
	}
	require.ErrorContains(t, extra.Set("x", make(chan int)), `tokenpatch: Extra: "x": encoding the value`)
	require.ErrorContains(t, extra.Set("x", json.RawMessage("\"\xff\"")), "not UTF-8")
	require.ErrorContains(t, extra.Set("\xff", 1), "not UTF-8")
	assert.Equal(t, tokenpatch.Extra{}, extra)
}

func TestExtraEqual(t *testing.T) {
	extra := func(data string) tokenpatch.Extra { return decodeTokenJSON(t, data).Extra }
	assert.True(t, extra(`{"a":1.0,"b":{"x":1,"y":2}}`).Equal(extra(`{"b":{"y":2,"x":1},"a":1}`)))
	assert.True(t, extra(`{"_id":"i"}`).Equal(tokenpatch.Extra{}))
	for _, other := range []string{`{}`, `{"a":1}`, `{"a":1,"b":null}`, `{"a":1,"b":2,"c":3}`} {
		assert.False(t, extra(`{"a":1,"b":2}`).Equal(extra(other)), other)
	}
}

func assertExtra(t *testing.T, extra tokenpatch.Extra, name, want string) {
	t.Helper()
	value, ok := extra.Get(name)
	assert.True(t, ok, name)
	assert.Equal(t, want, string(value), name)
}

func TestTokenDuplicates(t *testing.T) {
	token := decodeTokenJSON(t, `{"ownerId":"a","ownerId":"b","memberId":"a","memberId":null,"_id":null,"_id":"","name":"a","name":null,"x":1,"x":2,"role":null,"role":"admin","_member":{"firstName":"f"},"_member":{"email":"e"}}`)
	assert.Equal(t, "b", token.OwnerID)
	assert.Equal(t, tokenpatch.Null[string](), token.Name)
	assert.Equal(t, tokenpatch.Set(tokenpatch.RoleAdmin), token.Role)
	assertExtra(t, token.Extra, "x", "2")

	got, err := json.Marshal(token)
	require.NoError(t, err)
	assert.Equal(t, `{"_id":"","ownerId":"b","memberId":"","_member":{"_links":{},"_id":"","role":"","email":"e"},"name":null,"creationDate":0,"lastModified":0,"role":"admin","_links":{},"x":2}`, string(got))
}

func TestTokenStrings(t *testing.T) {
	token := decodeTokenJSON(t, `{"_id":"a\"\u00e9\n\ud83d\ude00\\","n\u0061me":"x","ownerId":"`+"\xff"+`","memberId":"é","u\u006eknown":1}`)
	assert.Equal(t, "a\"é\n😀\\", token.ID)
	assert.Equal(t, tokenpatch.Set("x"), token.Name)
	assert.Equal(t, "\ufffd", token.OwnerID) // as encoding/json does
	assert.Equal(t, "é", token.MemberID)
	assertExtra(t, token.Extra, "unknown", "1")
}

func TestTokenWrongType(t *testing.T) {
	tests := map[string]string{
		`{"_id":1}`:                                     "_id: want a string, got a number",
		`{"ownerId":{}}`:                                "ownerId: want a string, got an object",
		`{"name":[]}`:                                   "name: want a string, got an array",
		`{"role":true}`:                                 "role: want a string, got a boolean",
		`{"creationDate":"1"}`:                          "creationDate: want an integer, got a string",
		`{"creationDate":1.5}`:                          "creationDate: want an integer within range",
		`{"lastUsed":1e3}`:                              "lastUsed: want an integer within range",
		`{"lastModified":9223372036854775808}`:          "lastModified: want an integer within range",
		`{"defaultApiVersion":"20240415"}`:              "defaultApiVersion: want an integer, got a string",
		`{"serviceToken":"yes"}`:                        "serviceToken: want a boolean, got a string",
		`{"customRoleIds":"a"}`:                         "customRoleIds: want an array, got a string",
		`{"customRoleIds":["a",2]}`:                     "customRoleIds: 1: want a string, got a number",
		`{"customRoleIds":[null]}`:                      "customRoleIds: 0: want a string, got null",
		`{"inlineRole":{}}`:                             "inlineRole: want an array, got an object",
		`{"inlineRole":[null]}`:                         "inlineRole: 0: want an object, got null",
		`{"inlineRole":[{"actions":[1],"effect":"x"}]}`: "inlineRole: 0: actions: 0: want a string, got a number",
		`{"_member":"a"}`:                               "_member: want an object, got a string",
		`{"_member":{"email":1}}`:                       "_member: email: want a string, got a number",
		`{"_links":[]}`:                                 "_links: want an object, got an array",
		`{"_links":{"self":{"href":1}}}`:                `_links: "self": href: want a string, got a number`,
		`[]`:                                            "want an object, got an array",
		`"a"`:                                           "want an object, got a string",
	}
	for data, want := range tests {
		t.Run(data, func(t *testing.T) {
			token := tokenpatch.Token{ID: "before"}
			err := json.Unmarshal([]byte(data), &token)
			require.ErrorContains(t, err, "tokenpatch: decoding tokenpatch.Token: "+want)
			assert.Equal(t, tokenpatch.Token{ID: "before"}, token)
		})
	}
}

func TestTokenWrongTypeHidesValues(t *testing.T) {
	err := json.Unmarshal([]byte(`{"token":["`+marker+`"]}`), new(tokenpatch.Token))
	require.Error(t, err)
	assert.NotContains(t, err.Error(), marker)
}

func TestTokenNotJSON(t *testing.T) {
	for _, data := range []string{"", " ", "{", `{"a"}`, `{"a":}`, "nul", `{} {}`, `{"a":"`, "\xff"} {
		var token tokenpatch.Token
		err := token.UnmarshalJSON([]byte(data)) // encoding/json would not get here
		var syntax *json.SyntaxError
		assert.ErrorAs(t, err, &syntax, data)
	}
}

func TestTokenReplacedWholly(t *testing.T) {
	token := decodeTokenJSON(t, `{"_id":"i","name":"a","x":1}`)
	require.NoError(t, json.Unmarshal([]byte(`{"ownerId":"o"}`), &token))
	assert.Equal(t, decodeTokenJSON(t, `{"ownerId":"o"}`), token)
	token.Extra = tokenpatch.Extra{}
	assert.Equal(t, tokenpatch.Token{OwnerID: "o"}, token)

	require.NoError(t, json.Unmarshal([]byte(`null`), &token)) // as encoding/json wants it
	assert.Equal(t, "o", token.OwnerID)
}

func TestTokenOwnsItsMemory(t *testing.T) {
	data := []byte(` {"_id":"i","name":"abc","x":"abc"} `)
	var token tokenpatch.Token
	require.NoError(t, token.UnmarshalJSON(data))
	copy(data, bytes.Repeat([]byte("z"), len(data)))
	assert.Equal(t, "i", token.ID)
	assert.Equal(t, tokenpatch.Set("abc"), token.Name)
	assertExtra(t, token.Extra, "x", `"abc"`)
}

func TestTokenDeep(t *testing.T) {
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	token := decodeTokenJSON(t, `{"x":`+deep+`}`)
	assertExtra(t, token.Extra, "x", deep)
	require.Error(t, json.Unmarshal([]byte(`{"x":`+deep+deep+`}`), &token))
	tooDeep := strings.Repeat(`{"a":`, 10001) + "1" + strings.Repeat("}", 10001)
	require.Error(t, token.UnmarshalJSON([]byte(tooDeep)))
}

func TestStatementLists(t *testing.T) {
	var s tokenpatch.Statement
	require.NoError(t, json.Unmarshal([]byte(`{"resources":[],"actions":["*"],"effect":"allow"}`), &s))
	assert.Equal(t, tokenpatch.Statement{Resources: []string{}, Actions: []string{"*"}, Effect: tokenpatch.EffectAllow}, s)

	got, err := json.Marshal(tokenpatch.Statement{NotActions: []string{}, Effect: tokenpatch.EffectDeny})
	require.NoError(t, err)
	assert.Equal(t, `{"notActions":[],"effect":"deny"}`, string(got))
}

func TestNestedTypesDecodeAlone(t *testing.T) {
	var member tokenpatch.MemberSummary
	require.ErrorContains(t, json.Unmarshal([]byte(`{"role":1}`), &member), "tokenpatch.MemberSummary: role: want a string")
	var statement tokenpatch.Statement
	require.ErrorContains(t, json.Unmarshal([]byte(`{"effect":1}`), &statement), "tokenpatch.Statement: effect: want a string")
	var link tokenpatch.Link
	require.NoError(t, json.Unmarshal([]byte(`{"href":"<a>","rel":"<b>"}`), &link))
	got, err := json.Marshal(link)
	require.NoError(t, err)
	assert.Equal(t, `{"href":"\u003ca\u003e","rel":"\u003cb\u003e"}`, string(got))
}

func TestField(t *testing.T) {
	tests := []struct {
		name   string
		field  tokenpatch.Field[string]
		get    string
		set    bool
		or     string
		zero   bool
		null   bool
		encode string
		print  string
	}{
		{"absent", tokenpatch.Field[string]{}, "", false, "else", true, false, `{}`, "<absent>"},
		{"null", tokenpatch.Null[string](), "", false, "else", false, true, `{"f":null}`, "<null>"},
		{"zero", tokenpatch.Set(""), "", true, "", false, false, `{"f":""}`, ""},
		{"set", tokenpatch.Set("a"), "a", true, "a", false, false, `{"f":"a"}`, "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			value, ok := tt.field.Get()
			assert.Equal(t, tt.get, value)
			assert.Equal(t, tt.set, ok)
			assert.Equal(t, tt.or, tt.field.Or("else"))
			assert.Equal(t, tt.zero, tt.field.IsZero())
			assert.Equal(t, tt.null, tt.field.IsNull())
			assert.Equal(t, tt.print, fmt.Sprint(tt.field))

			type body struct {
				F tokenpatch.Field[string] `json:"f,omitzero"`
			}
			encoded, err := json.Marshal(body{tt.field})
			require.NoError(t, err)
			assert.Equal(t, tt.encode, string(encoded))

			var decoded body
			require.NoError(t, json.Unmarshal([]byte(tt.encode), &decoded))
			assert.Equal(t, body{tt.field}, decoded)
		})
	}
}

func TestFieldJSON(t *testing.T) {
	encoded, err := json.Marshal(tokenpatch.Field[int]{}) // nothing to be left out of
	require.NoError(t, err)
	assert.Equal(t, "null", string(encoded))

	_, err = json.Marshal(tokenpatch.Set(make(chan int)))
	require.Error(t, err)

	field := tokenpatch.Set([]string{"a", "b"})
	before, _ := field.Get()
	require.NoError(t, field.UnmarshalJSON([]byte(` ["c"] `)))
	assert.Equal(t, tokenpatch.Set([]string{"c"}), field)
	assert.Equal(t, []string{"a", "b"}, before)
	require.Error(t, field.UnmarshalJSON([]byte(`1`)))
	assert.Equal(t, tokenpatch.Set([]string{"c"}), field)
	require.NoError(t, field.UnmarshalJSON([]byte(` null `)))
	assert.True(t, field.IsNull())
}

func TestFieldOfANilSlice(t *testing.T) {
	assert.Equal(t, tokenpatch.Set([]string{}), tokenpatch.Set([]string(nil)))
	assert.Equal(t, tokenpatch.Set([]tokenpatch.Statement{}), tokenpatch.Set[[]tokenpatch.Statement](nil))
	encoded, err := json.Marshal(tokenpatch.Set([]string(nil)))
	require.NoError(t, err)
	assert.Equal(t, "[]", string(encoded))
	encoded, err = json.Marshal(tokenpatch.Token{CustomRoleIDs: tokenpatch.Set([]string(nil))})
	require.NoError(t, err)
	assert.Contains(t, string(encoded), `"customRoleIds":[]`)
}

func TestFieldEqual(t *testing.T) {
	fields := []tokenpatch.Field[[]string]{{}, tokenpatch.Null[[]string](), tokenpatch.Set([]string{}), tokenpatch.Set([]string{"a"}), tokenpatch.Set([]string{"b"})}
	for i, a := range fields {
		for j, b := range fields {
			assert.Equal(t, i == j, a.Equal(b), "%v %v", a, b)
		}
	}
	assert.True(t, tokenpatch.Set([]string{"a"}).Equal(tokenpatch.Set([]string{"a"})))
}

// github.com/google/go-cmp panics on a type with an unexported field and no Equal method. It prints
// values by their String methods.
func TestModelsCanBeCompared(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var check func(reflect.Type)
	check = func(typ reflect.Type) {
		if seen[typ] {
			return
		}
		seen[typ] = true
		switch typ.Kind() {
		case reflect.Slice, reflect.Map, reflect.Pointer:
			check(typ.Elem())
		case reflect.Struct:
			if equal, ok := typ.MethodByName("Equal"); ok {
				assert.Equal(t, typ, equal.Type.In(1))
				assert.Implements(t, (*fmt.Stringer)(nil), reflect.Zero(typ).Interface())
				return
			}
			for i := range typ.NumField() {
				assert.True(t, typ.Field(i).IsExported(), "%v.%s", typ, typ.Field(i).Name)
				check(typ.Field(i).Type)
			}
		}
	}
	check(reflect.TypeFor[tokenpatch.Token]())
	check(reflect.TypeFor[tokenpatch.MemberSummary]())
	check(reflect.TypeFor[tokenpatch.Statement]())
	check(reflect.TypeFor[tokenpatch.TokenUpdate]())
}

func TestFieldPrints(t *testing.T) {
	assert.Equal(t, `"a"`, fmt.Sprintf("%q", tokenpatch.Set("a")))
	assert.Equal(t, "  7", fmt.Sprintf("%3d", tokenpatch.Set(7)))
	assert.Equal(t, `tokenpatch.Set[string]("a")`, fmt.Sprintf("%#v", tokenpatch.Set("a")))
	assert.Equal(t, `tokenpatch.Null[tokenpatch.Role]()`, fmt.Sprintf("%#v", tokenpatch.Null[tokenpatch.Role]()))
	assert.Equal(t, `tokenpatch.Field[int]{}`, fmt.Sprintf("%#v", tokenpatch.Field[int]{}))
}

func TestSecretIsNotPrinted(t *testing.T) {
	secret := tokenpatch.Secret(marker)
	token := decodeTokenJSON(t, `{"_id":"i","token":"`+marker+`","other":"`+marker+`","_member":{"x":"`+marker+`"},"_links":{"self":{"x":"`+marker+`"}},"inlineRole":[{"x":"`+marker+`"}]}`)
	values := map[string]any{
		"secret":   secret,
		"pointer":  &secret,
		"slice":    []tokenpatch.Secret{secret},
		"map":      map[tokenpatch.Secret]tokenpatch.Secret{secret: secret},
		"field":    tokenpatch.Set(secret),
		"fields":   []tokenpatch.Field[tokenpatch.Secret]{tokenpatch.Set(secret)},
		"in field": tokenpatch.Set([]tokenpatch.Secret{secret}),
		"token":    token,
		"*token":   &token,
		"tokens":   []tokenpatch.Token{token},
		"nested": struct {
			Token tokenpatch.Token
		}{token},
	}
	for name, value := range values {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "% x", "%#x", "%20v", "%o", "%U", "%t", "%z", "%!"} {
			t.Run(name+" "+format, func(t *testing.T) { assertHidden(t, fmt.Sprintf(format, value)) })
		}
		t.Run(name+" Sprint", func(t *testing.T) { assertHidden(t, fmt.Sprint(value)) })
		t.Run(name+" extra", func(t *testing.T) { assertHidden(t, fmt.Sprintf(strings.Clone("x"), value)) })
		t.Run(name+" Errorf", func(t *testing.T) { assertHidden(t, fmt.Errorf("%v", value).Error()) })
	}
}

func assertHidden(t *testing.T, printed string) {
	t.Helper()
	assert.NotContains(t, printed, marker)
	assert.NotContains(t, strings.ToLower(strings.ReplaceAll(printed, " ", "")), fmt.Sprintf("%x", marker))
	assert.NotContains(t, printed, strings.Trim(fmt.Sprint([]byte(marker)), "[]"))
}

func TestSecret(t *testing.T) {
	assert.Equal(t, "[redacted]", tokenpatch.Secret("a").String())
	assert.Equal(t, "[redacted]", tokenpatch.Secret("a").GoString())
	assert.Equal(t, "key=[redacted]", fmt.Sprintf("key=%x", tokenpatch.Secret("a")))
	assert.Equal(t, "key=", fmt.Sprintf("key=%v", tokenpatch.Secret("")))

	encoded, err := json.Marshal([]any{tokenpatch.Secret("a"), tokenpatch.Secret(""), tokenpatch.Set(tokenpatch.Secret("a"))})
	require.NoError(t, err)
	assert.Equal(t, `["[redacted]","","[redacted]"]`, string(encoded))
	var decoded tokenpatch.Secret
	require.NoError(t, json.Unmarshal([]byte(`"a"`), &decoded))
	assert.Equal(t, "a", string(decoded))
}

// What is sent is the credential.
func TestSecretInAPatch(t *testing.T) {
	patch := tokenpatch.NewPatch().Test("/token", tokenpatch.Secret(marker))
	body, err := patch.MarshalJSON()
	require.NoError(t, err)
	assert.Equal(t, `[{"op":"test","path":"/token","value":"`+marker+`"}]`, string(body))
	assertHidden(t, patch.String())

	after, err := patch.Apply(decodeTokenJSON(t, `{"name":"n","token":"`+marker+`"}`))
	require.NoError(t, err)
	assert.Equal(t, tokenpatch.Set(tokenpatch.Secret(marker)), after.Token)
}

func TestSecretIsNotLogged(t *testing.T) {
	token := decodeTokenJSON(t, `{"_id":"i","name":null,"token":"`+marker+`"}`)
	handlers := map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	}
	for name, handler := range handlers {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			slog.New(handler(&logged)).Info("patched",
				"secret", tokenpatch.Secret(marker),
				"empty", tokenpatch.Secret(""),
				"field", tokenpatch.Set(tokenpatch.Secret(marker)),
				"absent", tokenpatch.Field[tokenpatch.Secret]{},
				"token", token,
				"pointer", &token,
				"nil", (*tokenpatch.Token)(nil),
				"inside", struct {
					Secret tokenpatch.Secret
					Field  tokenpatch.Field[tokenpatch.Secret]
					Token  *tokenpatch.Token
				}{marker, tokenpatch.Set(tokenpatch.Secret(marker)), &token},
			)
			assertHidden(t, logged.String())
			assert.Contains(t, logged.String(), "[redacted]")
			assert.NotContains(t, logged.String(), "absent")
		})
	}
}

func TestConfigIsLogged(t *testing.T) {
	supply := func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) { return marker, nil }
	config := tokenpatch.Config{
		V1:         tokenpatch.V1Config{BaseURL: "https://gateway.example/deepset", APIKey: marker, Account: "a1"},
		V2:         tokenpatch.V2Config{BaseURL: "https://user:" + marker + "@host.example/?" + marker + "#" + marker, AccessTokenFunc: supply, Share: 0.5},
		HTTPClient: http.DefaultClient,
		Retry:      tokenpatch.RetryPolicy{MaxAttempts: 3},
		Logger:     slog.Default(),
		UserAgent:  "billing-sync/1.4",
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("made", "config", config, "pointer", &config, "v1", config.V1, "v2", config.V2)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("made", "config", config)
	assertHidden(t, logged.String())
	for _, want := range []string{
		`"config":{"v1":{"baseURL":"https://gateway.example/deepset","apiKey":"[redacted]","apiKeyFunc":false,"account":"a1"},` +
			`"v2":{"baseURL":"https://host.example/","accessToken":"","accessTokenFunc":true,"oauth":false,"apiVersion":0,"account":"","share":0.5},` +
			`"httpClient":true,"cancelGrace":0,"userAgent":"billing-sync/1.4","logger":true,"retry":{"maxAttempts":3,`,
		`config.v1.apiKey=[redacted]`, `config.retry.maxAttempts=3`,
	} {
		assert.Contains(t, logged.String(), want)
	}
	assert.NotContains(t, logged.String(), "!ERROR")
	for _, base := range []string{"https:" + marker, marker, "https://user:" + marker + "%zz@host.example"} {
		assertHidden(t, fmt.Sprint(tokenpatch.V1Config{BaseURL: base}.LogValue()))
	}
}

// encoding/json redacts what is known to be a credential, wherever it is.
func TestSecretIsNotEncoded(t *testing.T) {
	secret := tokenpatch.Secret(marker)
	token := decodeTokenJSON(t, `{"_id":"i","token":"`+marker+`"}`)
	for _, value := range []any{
		secret, &secret, []tokenpatch.Secret{secret}, map[string]tokenpatch.Secret{"a": secret}, tokenpatch.Set(secret),
		tokenpatch.Set([]tokenpatch.Secret{secret}), token, &token, []tokenpatch.Token{token}, tokenpatch.Set(token), struct{ Token tokenpatch.Token }{token},
	} {
		encoded, err := json.Marshal(value)
		require.NoError(t, err)
		assertHidden(t, string(encoded))
		assert.Contains(t, string(encoded), `"[redacted]"`)
	}
}

func TestUnixMillis(t *testing.T) {
	assert.Equal(t, "2015-09-30T22:30:32.590Z", fmt.Sprint(tokenpatch.UnixMillis(1443652232590)))
	assert.Equal(t, "1970-01-01T00:00:00.000Z", fmt.Sprint(tokenpatch.Set(tokenpatch.UnixMillis(0))))
	assert.Equal(t, "1443652232590", fmt.Sprintf("%d", tokenpatch.UnixMillis(1443652232590)))
	assert.Equal(t, time.Date(2015, 9, 30, 22, 30, 32, 590e6, time.UTC), tokenpatch.UnixMillis(1443652232590).Time())
	assert.Equal(t, time.Unix(0, 0).UTC(), tokenpatch.UnixMillis(0).Time())
	assert.Equal(t, time.Date(1969, 12, 31, 23, 59, 59, 999e6, time.UTC), tokenpatch.UnixMillis(-1).Time())
}

func FuzzTokenUnmarshal(f *testing.F) {
	for _, seed := range []string{
		tokenJSON, "null", "{}", `{"_id":null,"_id":""}`, `{"x":[{"y":"\u0000\""}],"x":1}`,
		`{"_links":{"a":{"b":1}},"inlineRole":[{"effect":"allow"}]}`, `{"":{"":[]},"\ud800":"` + "\xff" + `"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var token tokenpatch.Token
		if token.UnmarshalJSON(data) != nil {
			return
		}
		require.True(t, json.Valid(data))
		encoded, err := json.Marshal(token)
		require.NoError(t, err)

		again := decodeTokenJSON(t, string(encoded))
		reencoded, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(encoded), string(reencoded))
		require.Equal(t, fmt.Sprintf("%#v", again.Name), fmt.Sprintf("%#v", token.Name))
		requireNothingLost(t, data, encoded)
	})
}

// requireNothingLost compares the received members at the top with the encoded ones.
func requireNothingLost(t *testing.T, received, encoded []byte) {
	t.Helper()
	before, _ := generic(t, string(received)).(map[string]any) // or null
	after, _ := generic(t, string(encoded)).(map[string]any)
	for name := range before {
		require.Contains(t, after, name)
		switch name {
		case "_member", "_links", "inlineRole", "creationDate", "lastModified", "lastUsed", "defaultApiVersion":
			continue // what is missing inside is added, and -0 is written as 0
		case "_id", "ownerId", "memberId":
			if before[name] == nil {
				before[name] = ""
			}
		case "token":
			if text, ok := before[name].(string); ok {
				before[name] = tokenpatch.Secret(text).String()
			}
		}
		require.Equal(t, before[name], after[name], name)
	}
}

func decodeTokenJSON(t *testing.T, data string) tokenpatch.Token {
	t.Helper()
	var token tokenpatch.Token
	require.NoError(t, json.Unmarshal([]byte(data), &token))
	return token
}

// generic decodes without any of our types, and keeps the digits of numbers.
func generic(t *testing.T, data string) any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(data))
	decoder.UseNumber()
	var v any
	require.NoError(t, decoder.Decode(&v))
	return v
}
