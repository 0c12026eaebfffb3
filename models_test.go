package tokenpatch_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
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

// Decoding and encoding again gives what was received, but for space.
func TestTokenLosesNothing(t *testing.T) {
	const required = `"_id":"i","ownerId":"o","memberId":"m","creationDate":1,"lastModified":2,"_links":{}`
	const head, tail = `{"_id":"i","ownerId":"o","memberId":"m",`, `"creationDate":1,"lastModified":2,"_links":{}}`
	tests := map[string]string{
		"everything":             tokenJSON,
		"only what is required":  `{` + required + `}`,
		"zero":                   `{"_id":"","ownerId":"","memberId":"","name":"","description":"","creationDate":0,"lastModified":0,"customRoleIds":[],"inlineRole":[],"role":"","token":"","serviceToken":false,"_links":{},"defaultApiVersion":0,"lastUsed":0}`,
		"null":                   `{"_id":"i","ownerId":"o","memberId":"m","_member":null,"name":null,"description":null,"creationDate":1,"lastModified":2,"customRoleIds":null,"inlineRole":null,"role":null,"token":null,"serviceToken":null,"_links":{},"defaultApiVersion":null,"lastUsed":null}`,
		"required null":          `{"_id":null,"ownerId":null,"memberId":null,"creationDate":null,"lastModified":null,"_links":null}`,
		"digits":                 `{` + required + `,"a":1.50,"b":12345678901234567890123,"c":1E+2,"d":-0}`,
		"unknown of any kind":    `{` + required + `,"o":{"b":{},"a":[{}]},"n":null,"t":true,"s":"\u00e9\n","":0}`,
		"space":                  " { " + required + " , \"a\" : [ 1 , { } , [ ] ] ,\r\n\t\"b\" : { \"c\" : \" , } ] \" } , \"d\" : 1 } ",
		"brackets in strings":    `{` + required + `,"}":"]}\\\"","[{":["{\"[",{"]":"}"}]}`,
		"unknown in order":       `{` + required + `,"z":1,"a":2,"m":3}`,
		"case of names":          `{` + required + `,"Name":1,"_ID":2}`,
		"unknown in _member":     head + `"_member":{"_links":{},"_id":"","role":"","email":"","teams":[{"key":"a","n":1.0}]},` + tail,
		"null in _member":        head + `"_member":{"_links":null,"_id":null,"firstName":null,"role":null,"email":null},` + tail,
		"unknown in a statement": `{` + required + `,"inlineRole":[{"effect":"allow","id":1.0},{"effect":"deny"}]}`,
		"null in a statement":    `{` + required + `,"inlineRole":[{"effect":null,"resources":null,"notResources":null,"actions":null,"notActions":null}]}`,
		"nothing":                `{}`,
		"required missing":       `{"ownerId":"o","name":"a","x":1}`,
		"missing in _member":     `{"_member":{"email":"a@b.c"}}`,
		"missing in a statement": `{"inlineRole":[{},{"actions":[]},{"effect":""}]}`,
		"half surrogate pairs":   `{"name":"\ud800","customRoleIds":["\udfff","a\ud800\u0061"],"_links":{"\ud800":{"type":"\ud801"},"\ud801":{}},"\ud802":1,"\ud803":2,"inlineRole":[{"effect":"\ud800"}]}`,
		"unknown in a link":      head + `"creationDate":1,"lastModified":2,"_links":{"self":{"href":"/","type":null,"templated":true},"":{}}}`,
		"many unknown":           `{` + required + manyMembers(100) + `}`,
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			token := decodeTokenJSON(t, want)
			got, err := json.Marshal(token)
			require.NoError(t, err)
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

func TestTokenExtra(t *testing.T) {
	token := decodeTokenJSON(t, `{"_id":null,"ownerId":"o","name":null,"expiry":1.50,"nothing":null,"_member":{"team":"a"},"inlineRole":[{"effect":"allow","sid":1}],"_links":{"self":{"rel":"x"}}}`)

	assertExtra(t, token.Extra, "expiry", "1.50")
	assertExtra(t, token.Extra, "nothing", "null")
	assertExtra(t, token.Extra, "_id", "null") // its field cannot hold null
	for _, name := range []string{"name", "ownerId", "missing"} {
		value, ok := token.Extra.Get(name)
		assert.False(t, ok, name)
		assert.Nil(t, value, name)
	}
	member, _ := token.Member.Get()
	assertExtra(t, member.Extra, "team", `"a"`)
	assertExtra(t, token.InlineRole.Or(nil)[0].Extra, "sid", "1")
	assertExtra(t, token.Links["self"].Extra, "rel", `"x"`)

	assert.Equal(t, `["_id" "expiry" "nothing"]`, fmt.Sprint(token.Extra))
	assert.Equal(t, `[]`, fmt.Sprint(tokenpatch.Extra{}))

	value, _ := token.Extra.Get("expiry")
	value[0] = '9'
	assertExtra(t, token.Extra, "expiry", "1.50")
}

func assertExtra(t *testing.T, extra tokenpatch.Extra, name, want string) {
	t.Helper()
	value, ok := extra.Get(name)
	assert.True(t, ok, name)
	assert.Equal(t, want, string(value), name)
}

// What the caller sets later counts, not the null that was received.
func TestTokenSetAfterNull(t *testing.T) {
	token := decodeTokenJSON(t, `{"_id":null,"ownerId":null,"memberId":"m","creationDate":1,"lastModified":2,"_links":null}`)
	token.ID = "i"
	token.Links = map[string]tokenpatch.Link{"self": {}}
	got, err := json.Marshal(token)
	require.NoError(t, err)
	assert.Equal(t, `{"_id":"i","ownerId":null,"memberId":"m","creationDate":1,"lastModified":2,"_links":{"self":{}}}`, string(got))
}

func TestTokenDuplicates(t *testing.T) {
	token := decodeTokenJSON(t, `{"ownerId":"a","ownerId":"b","memberId":"a","memberId":null,"_id":null,"_id":"","name":"a","name":null,"x":1,"x":2,"role":null,"role":"admin"}`)
	assert.Equal(t, "b", token.OwnerID)
	assert.Equal(t, tokenpatch.Null[string](), token.Name)
	assert.Equal(t, tokenpatch.Set(tokenpatch.RoleAdmin), token.Role)
	assertExtra(t, token.Extra, "x", "2")

	got, err := json.Marshal(token)
	require.NoError(t, err)
	assert.Equal(t, `{"_id":"","ownerId":"b","memberId":null,"name":null,"role":"admin","x":2}`, string(got))
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
		`{"_links":{"self":{"href":1}}}`:                "_links: self: href: want a string, got a number",
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

	encoded, err := json.Marshal(tokenpatch.Secret("a"))
	require.NoError(t, err)
	assert.Equal(t, `"a"`, string(encoded))
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
			)
			assertHidden(t, logged.String())
			assert.Contains(t, logged.String(), "[redacted]")
			assert.NotContains(t, logged.String(), "absent")
		})
	}
}

func TestUnixMillis(t *testing.T) {
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

// requireNothingLost compares the members at the top that were received with
// those that came back.
func requireNothingLost(t *testing.T, received, encoded []byte) {
	t.Helper()
	before, _ := generic(t, string(received)).(map[string]any) // or null
	after, _ := generic(t, string(encoded)).(map[string]any)
	for name := range before {
		require.Contains(t, after, name)
		switch name {
		case "_member", "_links", "inlineRole", "creationDate", "lastModified", "lastUsed", "defaultApiVersion":
			continue // what is missing inside is added, and -0 is written as 0
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
