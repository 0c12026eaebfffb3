package rawjson_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

func TestCheck(t *testing.T) {
	value, err := rawjson.Check([]byte(" \t\r\n[1 , 2] \n"))
	require.NoError(t, err)
	assert.Equal(t, `[1 , 2]`, string(value))

	for data, want := range map[string]string{"": "unexpected end", "{": "unexpected end", "1 2": "after top-level value", strings.Repeat("[", 10001) + strings.Repeat("]", 10001): "depth"} {
		value, err := rawjson.Check([]byte(data))
		require.ErrorContains(t, err, want)
		assert.Nil(t, value)
	}
}

func TestMembers(t *testing.T) {
	for object, want := range map[string][]string{
		`{}`:     nil,
		`{ }`:    nil,
		`{"":0}`: {`""`, `0`},
		"{\n\"a\" :\t[ 1 , {\"x\":\"]}\\\"\"} ] ,\"\\u0061\":null , \"a\" : -1.5E+2\n}": {`"a"`, `[ 1 , {"x":"]}\""} ]`, `"\u0061"`, `null`, `"a"`, `-1.5E+2`},
	} {
		var got []string
		for name, value := range rawjson.Members(json.RawMessage(object)) {
			got = append(got, string(name), string(value))
		}
		assert.Equal(t, want, got, object)
	}
	for range rawjson.Members(json.RawMessage(`{"a":1,"b":2}`)) {
		break // a walk may end early
	}
}

func TestElements(t *testing.T) {
	for array, want := range map[string][]string{
		`[]`:                                nil,
		`[ ]`:                               nil,
		`[[],{ "a" : [1,2]}, "],[" , true]`: {`[]`, `{ "a" : [1,2]}`, `"],["`, `true`},
	} {
		var got []string
		for value := range rawjson.Elements(json.RawMessage(array)) {
			got = append(got, string(value))
			require.Equal(t, len(value), cap(value), "appending to a value must not write over its neighbor")
		}
		assert.Equal(t, want, got, array)
	}
	for range rawjson.Elements(json.RawMessage(`[1,2]`)) {
		break
	}
}

func TestKind(t *testing.T) {
	for value, want := range map[string]string{
		`{}`: "an object", `[]`: "an array", `""`: "a string", `true`: "a boolean", `false`: "a boolean", `null`: "null", `-1`: "a number", `0`: "a number",
	} {
		assert.Equal(t, want, rawjson.Kind(json.RawMessage(value)))
	}
	assert.EqualError(t, rawjson.WrongKind("an array", json.RawMessage(`"secret"`)), "want an array, got a string")
}

// Strings are decoded and encoded as encoding/json does, if it can hold them.
func TestStringsAsEncodingJSON(t *testing.T) {
	for _, quoted := range []string{
		`""`, `"a"`, `"é"`, `"\u00e9\u0061\/\\\"\b\f\n\r\t\u0000\u007f\u001F"`, `"\ud83d\ude00 😀"`, `"<a&b>\u2028\u2029"`, "\"\xff\xc3(\"", "\"a\\n\xff\"",
		"\"\xed\xa0\x80\"", // half a pair, but not escaped: not UTF-8
	} {
		var want string
		require.NoError(t, json.Unmarshal([]byte(quoted), &want))
		got, err := rawjson.Text(json.RawMessage(quoted))
		require.NoError(t, err)
		assert.Equal(t, want, got, quoted)

		encoded, err := json.Marshal(got)
		require.NoError(t, err)
		assert.Equal(t, string(encoded), string(rawjson.AppendString(nil, got)))
	}
	_, err := rawjson.Text(json.RawMessage(`1`))
	require.EqualError(t, err, "want a string, got a number")
}

// encoding/json makes half a surrogate pair another character; here it is kept.
func TestHalfSurrogatePairsAreKept(t *testing.T) {
	texts := map[string]string{}
	for _, quoted := range []string{
		`"\ud800"`, `"\udbff"`, `"\udc00"`, `"\udfff"`, `"\udabc"`, `"\ud800\ud800"`, `"\udc00\ud800"`, `"\ud800a"`, `"a\ud800\u0061"`, `"\ud800\n"`, `"\ufffd"`, `"😀\ud83d"`,
	} {
		text, err := rawjson.Text(json.RawMessage(quoted))
		require.NoError(t, err)
		assert.Empty(t, texts[text], "two strings become one")
		texts[text] = quoted
		again := rawjson.AppendString(nil, text)
		assert.Equal(t, text, string(rawjson.Unquote(again)), "%s %s", quoted, again)
	}
	assert.Equal(t, `"a\ud800a"`, string(rawjson.AppendString(nil, string(rawjson.Unquote(json.RawMessage(`"a\ud800\u0061"`))))))
}

func FuzzString(f *testing.F) {
	for _, seed := range []string{"", "a", "\"\\\b\f\n\r\t\x00\x7f", "<é>\u2028😀", "\xff\xed\xa0\x80\xed\xb0\x80", "\xed\xa0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted := rawjson.AppendString(nil, s)
		require.True(t, json.Valid(quoted), "%s", quoted)
		text := rawjson.Unquote(quoted)
		require.Equal(t, text, rawjson.Unquote(rawjson.AppendString(nil, string(text))))
		if utf8.ValidString(s) {
			require.Equal(t, s, string(rawjson.Unquote(quoted)))
			want, err := json.Marshal(s)
			require.NoError(t, err)
			require.Equal(t, string(want), string(quoted))
		}
	})
}

// FuzzWalk puts a document together again from what the walk yields.
func FuzzWalk(f *testing.F) {
	for _, seed := range []string{`{"a":[1,{"b":null}]}`, ` [ 1e400 , "\ud800" , -0.0 ] `, "{\"\\\"\":{\"\":[[ ],{ }]}}", "7"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		value, err := rawjson.Check(data)
		require.Equal(t, json.Valid(data), err == nil)
		if err != nil {
			return
		}
		want, err := json.Marshal(json.RawMessage(data))
		require.NoError(t, err)
		got, err := json.Marshal(json.RawMessage(rebuilt(value)))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	})
}

func rebuilt(value json.RawMessage) []byte {
	b := slices.Clone(value[:1])
	switch value[0] {
	case '{':
		for name, member := range rawjson.Members(value) {
			b = append(append(append(append(b, name...), ':'), rebuilt(member)...), ',')
		}
	case '[':
		for element := range rawjson.Elements(value) {
			b = append(append(b, rebuilt(element)...), ',')
		}
	default:
		return value
	}
	if len(b) > 1 {
		b = b[:len(b)-1]
	}
	return append(b, value[0]+2) // the closing bracket
}
