package rawjson

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReader(t *testing.T) {
	r := NewReader([]byte(" { \"a\" : [ 1 , \"\\u0062é\" , { } ] ,\n\"\\u0063\" : null }\t"))
	var got []string
	r.open('{')
	for first := true; r.more('}', first); first = false {
		got = append(got, r.name())
		if r.Kind() != '[' {
			got = append(got, r.Value())
			continue
		}
		r.open('[')
		for i := 0; r.more(']', i == 0); i++ {
			if i == 1 {
				text, err := r.Text()
				require.NoError(t, err)
				got = append(got, text)
				continue
			}
			got = append(got, r.Value())
		}
	}
	require.NoError(t, r.Finish(nil))
	assert.Equal(t, []string{"a", "1", "bé", "{ }", "c", "null"}, got)
}

func TestReaderWrongKind(t *testing.T) {
	r := NewReader([]byte(`["secret",{"a":1}]`))
	r.open('[')
	for first := true; r.more(']', first); first = false {
		if r.Kind() == '{' {
			_, err := r.Text()
			require.EqualError(t, err, "want a string, got an object")
			continue
		}
		require.EqualError(t, r.WrongKind("an array"), "want an array, got a string")
	}
	require.NoError(t, r.Finish(nil))
}

// Finish prefers a syntax error to an error of the caller, which follows from it.
func TestReaderFinish(t *testing.T) {
	other := errors.New("other")
	for data, want := range map[string]string{
		`{"a":}`: "invalid character '}'", `[1,]`: "invalid character ']'", `[1 2]`: "invalid character '2'", `{"a" 1}`: "invalid character '1'",
		`{a:1}`: "invalid character 'a'", `01`: "after top-level value", `"\x"`: "in string escape", "\"\n\"": "in string literal", `1 2`: "after top-level value",
		``: "unexpected end", `[`: "unexpected end", `{"a"`: "unexpected end", `"a`: "unexpected end", `-`: "in numeric literal", `tru`: "in literal true",
		strings.Repeat("[", 10001): "depth",
	} {
		r := NewReader([]byte(data))
		r.Value()
		assert.ErrorContains(t, r.Finish(nil), want, data)
	}
	r := NewReader([]byte(`[{]`))
	r.Value()
	require.ErrorContains(t, r.Finish(other), "invalid character")
	r = NewReader([]byte(`[1] x`))
	r.Value()
	require.Equal(t, other, r.Finish(other), "what follows was not read")
}

// FuzzReader compares the reader with encoding/json, by what is valid, and with the walk,
// by what the strings are.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,{"b":null}]}`, ` [ 1e400 , "\ud800" , -0.0 ] `, "{\"\\\"\":{\"\":[[ ],{ }]}}", "7", `[1,]`, `{"a":1,}`, `-`, `1.`, `1e`, `00`, `"\u12"`, "\"\x00\"", "\"\xff\"", `nul`, `[}`,
		`{"a"}`, `"\ud83d\ude00\ud83d"`, "[" + strings.Repeat(`"\/`, 3) + `"]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(data)
		value := r.Value()
		err := r.Finish(nil)
		require.Equal(t, json.Valid(data), err == nil, "%q", data)
		if err != nil {
			require.NotEqual(t, "invalid JSON", err.Error())
			return
		}
		require.Equal(t, strings.Trim(string(data), " \t\r\n"), value)

		r = NewReader(data)
		got := read(r)
		require.NoError(t, r.Finish(nil))
		require.Equal(t, walked(json.RawMessage(value)), got)
	})
}

// read returns all names, strings and other scalars in order.
func read(r *Reader) (all []string) {
	switch r.Kind() {
	case '{':
		r.open('{')
		for first := true; r.more('}', first); first = false {
			all = append(append(all, r.name()), read(r)...)
		}
	case '[':
		r.open('[')
		for first := true; r.more(']', first); first = false {
			all = append(all, read(r)...)
		}
	case '"':
		text, _ := r.Text()
		all = append(all, text)
	default:
		all = append(all, r.Value())
	}
	return all
}

// walked returns the same as read, by the walk over valid JSON.
func walked(value json.RawMessage) (all []string) {
	switch value[0] {
	case '{':
		for quoted, member := range Members(value) {
			all = append(append(all, string(Unquote(quoted))), walked(member)...)
		}
	case '[':
		for element := range Elements(value) {
			all = append(all, walked(element)...)
		}
	case '"':
		all = append(all, string(Unquote(value)))
	default:
		all = append(all, string(value))
	}
	return all
}
