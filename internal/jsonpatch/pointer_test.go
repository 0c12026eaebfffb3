package jsonpatch_test

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
)

// The strings of RFC 6901 section 5, and what the document there implies for
// their tokens.
var rfc6901Pointers = []struct {
	pointer jsonpatch.Pointer
	tokens  []string
}{
	{"", nil},
	{"/foo", []string{"foo"}},
	{"/foo/0", []string{"foo", "0"}},
	{"/", []string{""}},
	{"/a~1b", []string{"a/b"}},
	{"/c%d", []string{"c%d"}},
	{"/e^f", []string{"e^f"}},
	{"/g|h", []string{"g|h"}},
	{`/i\j`, []string{`i\j`}},
	{`/k"l`, []string{`k"l`}},
	{"/ ", []string{" "}},
	{"/m~0n", []string{"m~n"}},
}

func TestPointerRFC6901Section5(t *testing.T) {
	for _, tt := range rfc6901Pointers {
		t.Run(string(tt.pointer), func(t *testing.T) {
			tokens, err := tt.pointer.Tokens()
			require.NoError(t, err)
			assert.Equal(t, tt.tokens, tokens)
			assert.Equal(t, tt.pointer, jsonpatch.Pointer("").Append(tt.tokens...))
		})
	}
}

func TestPointerTokens(t *testing.T) {
	tests := map[jsonpatch.Pointer][]string{
		"/~01":      {"~1"}, // RFC 6901 section 4: never "/"
		"/~10":      {"/0"},
		"/~00":      {"~0"},
		"//":        {"", ""},
		"/a//b":     {"a", "", "b"},
		"/~0~1/~1":  {"~/", "/"},
		"/é/\u0000": {"é", "\u0000"},
	}
	for pointer, want := range tests {
		t.Run(string(pointer), func(t *testing.T) {
			tokens, err := pointer.Tokens()
			require.NoError(t, err)
			assert.Equal(t, want, tokens)
		})
	}
}

func TestPointerMalformed(t *testing.T) {
	tests := map[jsonpatch.Pointer]string{
		"name":    "starting with a slash",
		"#/name":  "starting with a slash",
		" /name":  "starting with a slash",
		"/~":      "0 or 1",
		"/a~/b":   "0 or 1",
		"/~0~2":   "0 or 1",
		"/~~0":    "0 or 1",
		"/a\xff":  "not UTF-8",
		"/~0\xc3": "not UTF-8",
	}
	for pointer, want := range tests {
		t.Run(string(pointer), func(t *testing.T) {
			tokens, err := pointer.Tokens()
			require.ErrorContains(t, err, want)
			assert.Nil(t, tokens)
		})
	}
}

func TestPointerAppend(t *testing.T) {
	assert.Equal(t, jsonpatch.Pointer("/customRoleIds/0"), jsonpatch.Pointer("/customRoleIds").Append("0"))
	assert.Equal(t, jsonpatch.Pointer("/a~1b/~0/"), jsonpatch.Pointer("").Append("a/b").Append("~", ""))
	assert.Equal(t, jsonpatch.Pointer("/name"), jsonpatch.Pointer("/name").Append())
}

func TestIsElement(t *testing.T) {
	for token, want := range map[string]bool{
		"0": true, "7": true, "10": true, "-": true, strconv.Itoa(math.MaxInt): true,
		"": false, "00": false, "01": false, "+1": false, "-1": false, "1a": false, "a": false, " 1": false, strconv.FormatUint(math.MaxInt+1, 10): false,
	} {
		assert.Equal(t, want, jsonpatch.IsElement(token), token)
	}
}

func FuzzPointer(f *testing.F) {
	for _, tt := range rfc6901Pointers {
		f.Add(string(tt.pointer))
	}
	for _, s := range []string{"name", "/~", "/~01", "/~2", "//", "/a\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tokens, err := jsonpatch.Pointer(s).Tokens()
		if err != nil {
			require.Nil(t, tokens)
			return
		}
		require.Len(t, tokens, strings.Count(s, "/"))
		require.Equal(t, jsonpatch.Pointer(s), jsonpatch.Pointer("").Append(tokens...))
	})
}
