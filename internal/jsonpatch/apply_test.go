package jsonpatch_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
)

// applyCase is a patch with its result, or the index of the failing operation and its error.
type applyCase struct {
	name, document, patch string
	want                  string
	index                 int
	wantErr               string
}

func runApplyCases(t *testing.T, cases []applyCase) {
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			document := []byte(tt.document)
			got, err := applyText(document, tt.patch)
			assert.Equal(t, tt.document, string(document), "the document is not changed")
			if tt.wantErr == "" {
				require.NoError(t, err)
				assert.Equal(t, tt.want, string(got))
				return
			}
			assert.Nil(t, got)
			require.ErrorContains(t, err, fmt.Sprintf("operation %d: ", tt.index))
			assert.ErrorContains(t, err, tt.wantErr)
		})
	}
}

func applyText(document []byte, text string) ([]byte, error) {
	p, err := decode([]byte(text))
	if err != nil {
		return nil, err
	}
	return p.applyTo(document)
}

// Every example of RFC 6902 appendix A.
func TestApplyRFC6902AppendixA(t *testing.T) {
	runApplyCases(t, []applyCase{
		{
			name:     "A.1 adding an object member",
			document: `{"foo": "bar"}`,
			patch:    `[{"op": "add", "path": "/baz", "value": "qux"}]`,
			want:     `{"foo":"bar","baz":"qux"}`,
		},
		{
			name:     "A.2 adding an array element",
			document: `{"foo": ["bar", "baz"]}`,
			patch:    `[{"op": "add", "path": "/foo/1", "value": "qux"}]`,
			want:     `{"foo":["bar","qux","baz"]}`,
		},
		{
			name:     "A.3 removing an object member",
			document: `{"baz": "qux", "foo": "bar"}`,
			patch:    `[{"op": "remove", "path": "/baz"}]`,
			want:     `{"foo":"bar"}`,
		},
		{
			name:     "A.4 removing an array element",
			document: `{"foo": ["bar", "qux", "baz"]}`,
			patch:    `[{"op": "remove", "path": "/foo/1"}]`,
			want:     `{"foo":["bar","baz"]}`,
		},
		{
			name:     "A.5 replacing a value",
			document: `{"baz": "qux", "foo": "bar"}`,
			patch:    `[{"op": "replace", "path": "/baz", "value": "boo"}]`,
			want:     `{"baz":"boo","foo":"bar"}`,
		},
		{
			name:     "A.6 moving a value",
			document: `{"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}`,
			patch:    `[{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]`,
			want:     `{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}`,
		},
		{
			name:     "A.7 moving an array element",
			document: `{"foo": ["all", "grass", "cows", "eat"]}`,
			patch:    `[{"op": "move", "from": "/foo/1", "path": "/foo/3"}]`,
			want:     `{"foo":["all","cows","eat","grass"]}`,
		},
		{
			name:     "A.8 testing a value: success",
			document: `{"baz":"qux","foo":["a",2,"c"]}`,
			patch:    `[{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}]`,
			want:     `{"baz":"qux","foo":["a",2,"c"]}`,
		},
		{
			name:     "A.9 testing a value: error",
			document: `{"baz": "qux"}`,
			patch:    `[{"op": "test", "path": "/baz", "value": "bar"}]`,
			wantErr:  `operation 0: test "/baz": test failed: value differs`,
		},
		{
			name:     "A.10 adding a nested member object",
			document: `{"foo": "bar"}`,
			patch:    `[{"op": "add", "path": "/child", "value": {"grandchild": {}}}]`,
			want:     `{"foo":"bar","child":{"grandchild": {}}}`,
		},
		{
			name:     "A.11 ignoring unrecognized elements",
			document: `{"foo": "bar"}`,
			patch:    `[{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}]`,
			want:     `{"foo":"bar","baz":"qux"}`,
		},
		{
			name:     "A.12 adding to a nonexistent target",
			document: `{"foo": "bar"}`,
			patch:    `[{"op": "add", "path": "/baz/bat", "value": "qux"}]`,
			wantErr:  `operation 0: add "/baz/bat": at "/baz": no value at this path`,
		},
		{
			name:     "A.13 invalid JSON patch document",
			document: `{"foo": "bar"}`,
			patch:    `[{"op": "add", "path": "/baz", "value": "qux", "op": "remove"}]`,
			wantErr:  `two members "op"`,
		},
		{
			name:     "A.14 tilde escape ordering",
			document: `{"/": 9, "~1": 10}`,
			patch:    `[{"op": "test", "path": "/~01", "value": 10}]`,
			want:     `{"/":9,"~1":10}`,
		},
		{
			name:     "A.15 comparing strings and numbers",
			document: `{"/": 9, "~1": 10}`,
			patch:    `[{"op": "test", "path": "/~01", "value": "10"}]`,
			wantErr:  `operation 0: test "/~01": test failed: value differs`,
		},
		{
			name:     "A.16 adding an array value",
			document: `{"foo": ["bar"]}`,
			patch:    `[{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}]`,
			want:     `{"foo":["bar",["abc", "def"]]}`,
		},
	})
}

// The document of RFC 6901 section 5, and what its pointers evaluate to.
func TestApplyRFC6901Section5(t *testing.T) {
	const document = `{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}`
	values := map[jsonpatch.Pointer]string{
		"": document, "/foo": `["bar", "baz"]`, "/foo/0": `"bar"`, "/": "0", "/a~1b": "1", "/c%d": "2",
		"/e^f": "3", "/g|h": "4", `/i\j`: "5", `/k"l`: "6", "/ ": "7", "/m~0n": "8",
	}
	require.Len(t, values, len(rfc6901Pointers))
	for pointer, value := range values {
		t.Run(string(pointer), func(t *testing.T) {
			_, err := patch{}.Test(pointer, json.RawMessage(value)).applyTo([]byte(document))
			require.NoError(t, err)
			got, err := patch{}.Copy(pointer, "").applyTo([]byte(document))
			require.NoError(t, err)
			assert.JSONEq(t, value, string(got))
			_, err = patch{}.Test(pointer, "another").applyTo([]byte(document))
			require.ErrorContains(t, err, "value differs")
		})
	}
}

func TestApplyOperations(t *testing.T) {
	runApplyCases(t, []applyCase{
		{name: "no operations", document: " [1 , 2] ", patch: `[]`, want: `[1 , 2]`},
		{name: "no operations, a scalar", document: " 1.0 ", patch: `[]`, want: `1.0`},

		{name: "4.1 add replaces a member in its place", document: `{"a":1,"b":2}`, patch: `[{"op":"add","path":"/a","value":3}]`, want: `{"a":3,"b":2}`},
		{name: "4.1 add of null", document: `{}`, patch: `[{"op":"add","path":"/a","value":null}]`, want: `{"a":null}`},
		{name: "4.1 add to the whole", document: `{"a":1}`, patch: `[{"op":"add","path":"","value":[1]}]`, want: `[1]`},
		{name: "4.1 add to the whole, a scalar", document: `{"a":1}`, patch: `[{"op":"add","path":"","value":7}]`, want: `7`},
		{name: "4.1 add at the front", document: `[1,2]`, patch: `[{"op":"add","path":"/0","value":0}]`, want: `[0,1,2]`},
		{name: "4.1 add at the length", document: `[1,2]`, patch: `[{"op":"add","path":"/2","value":3}]`, want: `[1,2,3]`},
		{name: "4.1 add behind the length", document: `[1,2]`, patch: `[{"op":"add","path":"/3","value":3}]`, wantErr: `add "/3": no value at this path: the highest index is 2`},
		{name: "4.1 append", document: `{"a":[]}`, patch: `[{"op":"add","path":"/a/-","value":1},{"op":"add","path":"/a/-","value":2}]`, want: `{"a":[1,2]}`},
		{name: "4.1 - is a name in an object", document: `{"a":{}}`, patch: `[{"op":"add","path":"/a/-","value":1}]`, want: `{"a":{"-":1}}`},
		{name: "4.1 add without value", document: `{}`, patch: `[{"op":"add","path":"/a"}]`, wantErr: `no member "value"`},
		{name: "4.1 add under a string", document: `{"a":"b"}`, patch: `[{"op":"add","path":"/a/b","value":1}]`, wantErr: `add "/a/b": want an object or an array, got a string`},
		{name: "4.1 add under null", document: `{"a":null}`, patch: `[{"op":"add","path":"/a/b","value":1}]`, wantErr: "got null"},
		{name: "4.1 add under a number", document: `[7]`, patch: `[{"op":"add","path":"/0/0/0","value":1}]`, wantErr: `at "/0/0": want an object or an array, got a number`},

		{name: "4.2 remove what is not there", document: `{"a":1}`, patch: `[{"op":"remove","path":"/b"}]`, wantErr: `remove "/b": no value at this path`},
		{name: "4.2 remove twice", document: `{"a":1}`, patch: `[{"op":"remove","path":"/a"},{"op":"remove","path":"/a"}]`, index: 1, wantErr: "no value at this path"},
		{name: "4.2 remove the last", document: `[1]`, patch: `[{"op":"remove","path":"/0"}]`, want: `[]`},
		{name: "4.2 remove the only member", document: `{"a":1}`, patch: `[{"op":"remove","path":"/a"}]`, want: `{}`},
		{name: "4.2 remove from an empty array", document: `[]`, patch: `[{"op":"remove","path":"/0"}]`, wantErr: "no value at this path"},
		{name: "4.2 remove -", document: `[1]`, patch: `[{"op":"remove","path":"/-"}]`, wantErr: "behind the last element"},
		{name: "4.2 remove the whole", document: `[1]`, patch: `[{"op":"remove","path":""}]`, wantErr: "the whole document"},
		{name: "4.2 remove under nothing", document: `{}`, patch: `[{"op":"remove","path":"/a/b"}]`, wantErr: `at "/a": no value at this path`},

		{name: "4.3 replace what is not there", document: `{"a":1}`, patch: `[{"op":"replace","path":"/b","value":1}]`, wantErr: "no value at this path"},
		{name: "4.3 replace at the length", document: `[1]`, patch: `[{"op":"replace","path":"/1","value":1}]`, wantErr: "no value at this path: the highest index is 0"},
		{name: "4.3 replace -", document: `[1]`, patch: `[{"op":"replace","path":"/-","value":1}]`, wantErr: "behind the last element"},
		{name: "4.3 replace the whole", document: `[1]`, patch: `[{"op":"replace","path":"","value":null}]`, want: `null`},
		{name: "4.3 replace by null", document: `{"a":[1]}`, patch: `[{"op":"replace","path":"/a/0","value":null}]`, want: `{"a":[null]}`},
		{name: "4.3 replace without value", document: `{"a":1}`, patch: `[{"op":"replace","path":"/a"}]`, wantErr: `no member "value"`},
		{name: "4.3 replace keeps the place", document: `{"a":1,"b":2}`, patch: `[{"op":"replace","path":"/a","value":3}]`, want: `{"a":3,"b":2}`},

		{name: "4.4 move over another", document: `{"a":1,"b":2}`, patch: `[{"op":"move","from":"/a","path":"/b"}]`, want: `{"b":1}`},
		{name: "4.4 move to itself", document: `{"a":1}`, patch: `[{"op":"move","from":"/a","path":"/a"}]`, want: `{"a":1}`},
		{name: "4.4 move of the whole to itself", document: `{"a":1}`, patch: `[{"op":"move","from":"","path":""}]`, want: `{"a":1}`},
		{name: "4.4 move of nothing to itself", document: `{"a":1}`, patch: `[{"op":"move","from":"/b","path":"/b"}]`, wantErr: "no value at this path"},
		{name: "4.4 move into its own child", document: `{"a":{}}`, patch: `[{"op":"move","from":"/a","path":"/a/b"}]`, wantErr: "into itself"},
		{name: "4.4 move to the whole", document: `{"a":{"b":1}}`, patch: `[{"op":"move","from":"/a","path":""}]`, want: `{"b":1}`},
		{name: "4.4 move of what is not there", document: `{}`, patch: `[{"op":"move","from":"/a","path":"/b"}]`, wantErr: `move "/b": at "/a": no value at this path`},
		{name: "4.4 move removes before it adds", document: `[0,1,2]`, patch: `[{"op":"move","from":"/0","path":"/2"}]`, want: `[1,2,0]`},
		{name: "4.4 move, so that the length is too far", document: `[0,1,2]`, patch: `[{"op":"move","from":"/0","path":"/3"}]`, wantErr: "the highest index is 2"},
		{name: "4.4 move to the end", document: `[0,1,2]`, patch: `[{"op":"move","from":"/0","path":"/-"}]`, want: `[1,2,0]`},
		{name: "4.4 move out of an array", document: `{"a":[1,2]}`, patch: `[{"op":"move","from":"/a/0","path":"/b"}]`, want: `{"a":[2],"b":1}`},
		{name: "4.4 move of what was changed", document: `{"a":{"b":[]}}`, patch: `[{"op":"add","path":"/a/b/0","value":1},{"op":"move","from":"/a","path":"/c"},{"op":"add","path":"/c/b/-","value":2}]`, want: `{"c":{"b":[1,2]}}`},

		{name: "4.5 copy of what is not there", document: `{}`, patch: `[{"op":"copy","from":"/a","path":"/b"}]`, wantErr: `copy "/b": at "/a": no value at this path`},
		{name: "4.5 copy of the whole into itself", document: `{"a":1}`, patch: `[{"op":"copy","from":"","path":"/b"}]`, want: `{"a":1,"b":{"a":1}}`},
		{name: "4.5 copy of an element", document: `[1]`, patch: `[{"op":"copy","from":"/0","path":"/0"}]`, want: `[1,1]`},
		{
			name: "4.5 a copy is deep", document: `{"a":{"b":[1]}}`,
			patch: `[{"op":"copy","from":"/a","path":"/c"},{"op":"add","path":"/a/b/-","value":2},{"op":"add","path":"/c/b/0","value":0},
				{"op":"copy","from":"/a","path":"/d"},{"op":"remove","path":"/a/b/0"}]`,
			want: `{"a":{"b":[2]},"c":{"b":[0,1]},"d":{"b":[1,2]}}`,
		},

		{name: "4.6 test without value", document: `{}`, patch: `[{"op":"test","path":"/a"}]`, wantErr: `no member "value"`},
		{name: "4.6 null is not nothing", document: `{}`, patch: `[{"op":"test","path":"/a","value":null}]`, wantErr: "no value at this path"},
		{name: "4.6 test of the whole", document: `{"a":[1]}`, patch: `[{"op":"add","path":"/a/-","value":2},{"op":"test","path":"","value":{"a":[1,2]}}]`, want: `{"a":[1,2]}`},
		{name: "4.6 what a test saw stays open to change", document: `{"a":[1]}`, patch: `[{"op":"add","path":"/a/-","value":2},{"op":"test","path":"/a","value":[1,2]},{"op":"remove","path":"/a/0"}]`, want: `{"a":[2]}`},

		{name: "5 the first failure ends it", document: `{"a":1}`, patch: `[{"op":"remove","path":"/a"},{"op":"test","path":"/a","value":1},{"op":"remove","path":"/z"}]`, index: 1, wantErr: `operation 1: test "/a"`},
	})
}

// RFC 6901 section 4: how a token is evaluated.
func TestApplyReferenceTokens(t *testing.T) {
	for _, token := range []string{"00", "01", "+1", "-1", " 1", "1 ", "1.0", "1e0", "0x1", "", "one", "١", "18446744073709551616", "99999999999999999999999"} {
		for _, patch := range []patch{
			patch{}.Add("/a/"+jsonpatch.Pointer(token), 1),
			patch{}.Replace("/a/"+jsonpatch.Pointer(token), 1),
			patch{}.Remove("/a/" + jsonpatch.Pointer(token)),
			patch{}.Test("/a/"+jsonpatch.Pointer(token), 1),
			patch{}.Copy("/a/"+jsonpatch.Pointer(token), "/b"),
			patch{}.Move("/a/"+jsonpatch.Pointer(token), "/b"),
			patch{}.Add("/a/"+jsonpatch.Pointer(token)+"/b", 1),
		} {
			_, err := patch.applyTo([]byte(`{"a":[[0],[1]]}`))
			require.ErrorContains(t, err, "want an array index", "%q %s", token, patch)
		}
	}
	runApplyCases(t, []applyCase{
		{name: "names that look like indexes", document: `{"01":1,"-1":2}`, patch: `[{"op":"test","path":"/01","value":1},{"op":"remove","path":"/-1"}]`, want: `{"01":1}`},
		{name: "empty names", document: `{"":{"":[{"":1}]}}`, patch: `[{"op":"test","path":"///0/","value":1},{"op":"add","path":"///0/","value":2},{"op":"add","path":"//x","value":3}]`, want: `{"":{"":[{"":2}],"x":3}}`},
		{name: "~1 and ~0", document: `{"a/b":{"~":{"~1":1}}}`, patch: `[{"op":"replace","path":"/a~1b/~0/~01","value":2}]`, want: `{"a/b":{"~":{"~1":2}}}`},
		{name: "escaped names", document: `{"\u0061\/":1,"é":2,"\ud83d\ude00":3}`, patch: `[{"op":"remove","path":"/a~1"},{"op":"test","path":"/\u00e9","value":2},{"op":"replace","path":"/😀","value":4}]`, want: `{"é":2,"\ud83d\ude00":4}`},
		{name: "names are compared by code point", document: "{\"e\u0301\":1}", patch: `[{"op":"remove","path":"/é"}]`, wantErr: "no value at this path"},
		{name: "case counts", document: `{"A":1}`, patch: `[{"op":"remove","path":"/a"}]`, wantErr: "no value at this path"},
		{name: "a name that is there twice", document: `{"a":1,"a":1,"b":2}`, patch: `[{"op":"test","path":"/a","value":1}]`, wantErr: `test "/a": two members`},
		{name: "a name that is there twice, to add", document: `{"a":1,"a":1,"b":2}`, patch: `[{"op":"add","path":"/a","value":1}]`, wantErr: "two members"},
		{name: "a name that is there twice, unnamed", document: `{"a":1,"\u0061":2,"b":3}`, patch: `[{"op":"remove","path":"/b"}]`, want: `{"a":1,"\u0061":2}`},
		{name: "twice among many", document: `{"a":1` + manyMembers(100) + `,"a":2}`, patch: `[{"op":"remove","path":"/a"}]`, wantErr: "two members"},
	})
}

func TestApplyManyMembers(t *testing.T) {
	got, err := patch{}.Remove("/x7").Replace("/x99", "r").Add("/new", "n").Add("/x7", "again").Test("/x50", 50).Test("/x7", "again").
		applyTo([]byte(`{"a":1` + manyMembers(100) + `}`))
	require.NoError(t, err)
	want := strings.NewReplacer(`"x7":7,`, `"x7":"again",`, `"x99":99`, `"x99":"r","new":"n"`).Replace(`{"a":1` + manyMembers(100) + `}`)
	assert.Equal(t, want, string(got))

	var p patch
	for i := range 40 {
		p = p.Add(jsonpatch.Pointer("").Append(fmt.Sprint("x", i)), i)
	}
	got, err = p.Remove("/x20").applyTo([]byte(`{}`))
	require.NoError(t, err)
	assert.NotContains(t, string(got), `"x20"`)
	assert.Len(t, membersOf(t, got), 39)
}

// What no pointer reaches stays as it was written.
func TestApplyKeepsWhatItDoesNotReach(t *testing.T) {
	const far = `{ "n" : [ 9007199254740993 , 1.50, 1E+2, -0 ], "s": "\u00e9<>&\/" }`
	got, err := patch{}.Add("/a/-", json.RawMessage("12345678901234567890.10")).applyTo([]byte(`{"far": ` + far + ` , "a": [ -0.0 , 9007199254740993 ]}`))
	require.NoError(t, err)
	assert.Equal(t, `{"far":`+far+`,"a":[-0.0,9007199254740993,12345678901234567890.10]}`, string(got))
}

// RFC 6902 section 4.6.
func TestApplyEquality(t *testing.T) {
	equal := [][2]string{
		{`1`, `1.0`}, {`1`, `1e0`}, {`100`, `1E+2`}, {`100`, `10.0e1`}, {`0.001`, `1e-3`}, {`0`, `-0`}, {`0`, `0.0e99`}, {`-1.50`, `-15e-1`},
		{`0e99999999999999999999`, `0`}, {`1e1000000000`, `10e999999999`}, {`1e-1000000000`, `0.01e-999999998`},
		{`1e99999999999999999999`, `0.1e100000000000000000000`}, {`1e-99999999999999999999`, `10e-100000000000000000000`},
		{`1e007`, `1e7`}, {`9007199254740993`, `9007199254740993.0`}, {`1` + strings.Repeat("0", 400), `1e400`},
		{`1e` + strings.Repeat("9", 5000), `1e` + strings.Repeat("9", 5000)},
		{`"a"`, `"\u0061"`}, {`"/"`, `"\/"`}, {`"😀"`, `"\ud83d\ude00"`},
		{`{"a":1,"b":2}`, `{"b":2.0,"a":1}`}, {`{"a":{"c":[1],"b":2}}`, `{"a":{"b":2,"c":[1.0]}}`}, {`{"\u0061":1}`, `{"a":1}`},
		{`{ }`, `{}`}, {`[ ]`, `[]`}, {`[ 1 , { } ]`, `[1,{}]`}, {`[null,true,false]`, `[ null , true , false ]`},
		{`{"a":1,"a":2}`, `{"a":1,"a":2}`}, {`{"a":1,"a":2,"b":0}`, `{"b":0,"a":1,"a":2}`},
		{deep(9998, "1"), deep(9998, "1.0")},
	}
	unequal := [][2]string{
		{`1`, `"1"`}, {`1`, `2`}, {`1`, `-1`}, {`1`, `1.0000000000000000000001`}, {`9007199254740993`, `9007199254740992`}, {`0`, `null`}, {`0`, `false`},
		{`1e1000000000`, `1e1000000001`}, {`1e99999999999999999999`, `1e99999999999999999998`}, {`1e1`, `1e-1`}, {`0.1`, `1`}, {`1`, `10`},
		{`""`, `null`}, {`"a"`, `"A"`}, {`"é"`, `"e\u0301"`}, {`"a"`, `"a "`}, {`true`, `false`}, {`null`, `false`}, {`"true"`, `true`},
		{`[]`, `{}`}, {`[]`, `null`}, {`[]`, `[null]`}, {`[1,2]`, `[2,1]`}, {`[1]`, `[1,1]`}, {`{}`, `{"a":null}`}, {`{"a":1}`, `{"a":1,"b":1}`},
		{`{"a":1}`, `{"b":1}`}, {`{"a":{}}`, `{"a":[]}`}, {`[[]]`, `[{}]`}, {`{"a":1,"a":2}`, `{"a":2,"a":1}`}, {`{"a":1,"a":1}`, `{"a":1}`},
		{deep(9998, "1"), deep(9998, "2")}, {deep(9998, "1"), deep(9997, "1")},
	}
	test := func(a, b string) error {
		_, err := patch{}.Test("/x", json.RawMessage(b)).applyTo([]byte(`{"x":` + a + `}`))
		return err
	}
	for _, pair := range equal {
		assert.NoError(t, test(pair[0], pair[1]), "%.60s %.60s", pair[0], pair[1])
		assert.NoError(t, test(pair[1], pair[0]), "%.60s %.60s", pair[1], pair[0])
	}
	for _, pair := range unequal {
		assert.ErrorContains(t, test(pair[0], pair[1]), "value differs", "%.60s %.60s", pair[0], pair[1])
		assert.ErrorContains(t, test(pair[1], pair[0]), "value differs", "%.60s %.60s", pair[1], pair[0])
	}
}

func deep(n int, inner string) string {
	return strings.Repeat("[", n) + inner + strings.Repeat("]", n)
}

func TestApplyDeepNesting(t *testing.T) {
	document := deep(10000, "")
	pointer := jsonpatch.Pointer(strings.Repeat("/0", 9999))
	got, err := patch{}.Add(pointer+"/-", 1).applyTo([]byte(document))
	require.NoError(t, err)
	assert.Equal(t, deep(10000, "1"), string(got))

	// Patching can make a document deeper than encoding/json reads.
	p := patch{}.Copy("", "/-")
	got, err = p.applyTo([]byte(document))
	require.NoError(t, err)
	assert.Equal(t, "["+deep(9999, "")+","+deep(10000, "")+"]", string(got))
	_, err = p.Test("", json.RawMessage(document)).applyTo([]byte(document))
	require.ErrorContains(t, err, "value differs")
}

func TestApplyBoundsCopies(t *testing.T) {
	document := []byte(`["` + strings.Repeat("x", 1<<20-2) + `"]`)
	var p patch
	for range 64 {
		p = p.Copy("/0", "/-")
	}
	got, err := p.applyTo(document)
	require.NoError(t, err)
	assert.Len(t, got, 65<<20+66)

	_, err = p.Copy("/0", "/-").applyTo(document)
	require.ErrorContains(t, err, `operation 64: copy "/-": the values copied come to more than 64 MiB`)

	p = nil
	for range 40 { // without a bound, 2^40 times the document
		p = p.Copy("", "/-")
	}
	_, err = p.applyTo(document)
	require.ErrorContains(t, err, "64 MiB")
}

// The operation's own path is not said twice.
func TestApplyErrors(t *testing.T) {
	for text, want := range map[string]string{
		`[{"op":"remove","path":"/x"}]`:                `operation 0: remove "/x": no value at this path`,
		`[{"op":"add","path":"/x/y","value":1}]`:       `operation 0: add "/x/y": at "/x": no value at this path`,
		`[{"op":"copy","from":"/x","path":"/y"}]`:      `operation 0: copy "/y": at "/x": no value at this path`,
		`[{"op":"test","path":"/a/1","value":1}]`:      `operation 0: test "/a/1": no value at this path: the highest index is 0`,
		`[{"op":"test","path":"/a/-","value":1}]`:      `operation 0: test "/a/-": no value at this path: "-" is behind the last element`,
		`[{"op":"test","path":"/a","value":"secret"}]`: `operation 0: test "/a": test failed: value differs`,
		`[{"op":"add","path":"/a/0/b","value":1}]`:     `operation 0: add "/a/0/b": want an object or an array, got a string`,
	} {
		_, err := applyText([]byte(`{"a":["secret"]}`), text)
		require.EqualError(t, err, want)
	}
}

func TestApplyResultIsNotTheDocument(t *testing.T) {
	document := []byte(`{"a":1}`)
	got, err := patch{}.applyTo(document)
	require.NoError(t, err)
	clear(got)
	assert.Equal(t, `{"a":1}`, string(document))

	p := patch{}.Add("", "abc")
	got, err = p.applyTo(document)
	require.NoError(t, err)
	clear(got)
	again, err := p.applyTo(document)
	require.NoError(t, err)
	assert.Equal(t, `"abc"`, string(again))
}

func TestApplyFromManyGoroutines(t *testing.T) {
	p := mustDecode(t, `[{"op":"add","path":"/x","value":{"y":[1]}},{"op":"add","path":"/x/y/-","value":2},{"op":"remove","path":"/z/n"},{"op":"test","path":"","value":{"x":{"y":[1,2]},"z":{}}}]`)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				got, err := p.applyTo([]byte(`{"z":{"n":1}}`))
				assert.NoError(t, err)
				assert.Equal(t, `{"z":{},"x":{"y":[1,2]}}`, string(got))
				assert.Equal(t, jsonpatch.Unsafe, analyze(p))
			}
		})
	}
	group.Wait()
}

func FuzzApply(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}]}`), []byte(`[{"op":"move","from":"/a/1/b","path":"/c"},{"op":"test","path":"","value":{}}]`))
	f.Add([]byte(` [ 1e400 , "\ud800" , -0.0 ] `), []byte(`[{"op":"test","path":"/0","value":10e399},{"op":"copy","from":"","path":"/-"},{"op":"test","path":"/1","value":"\ud800"}]`))
	f.Add([]byte(`{"a":1,"a":2,"b":{}}`), []byte(`[{"op":"add","path":"/b/~01","value":[]},{"op":"remove","path":"/a"}]`))
	f.Add([]byte(`{"":{"":0}}`), []byte(`[{"op":"test","path":"//","value":-0e1},{"op":"replace","path":"","value":"x"}]`))
	f.Add([]byte(`[[],[]]`), []byte(`[{"op":"copy","from":"","path":"/0/-"},{"op":"copy","from":"/0","path":"/1/0"},{"op":"test","path":"","value":[[[[],[]]],[[[[],[]]]]]}]`))
	f.Fuzz(func(t *testing.T, document, patchData []byte) {
		p, err := decode(patchData)
		if err != nil {
			return
		}
		saved := string(document)
		got, err := p.applyTo(document)
		require.Equal(t, saved, string(document))
		if err != nil {
			require.Nil(t, got)
			return
		}
		require.True(t, json.Valid(got), "%s", got)
		again, err := p.applyTo(document)
		require.NoError(t, err)
		require.Equal(t, string(got), string(again))
		require.True(t, jsonpatch.Equal(got, again))
		_, err = patch{}.Test("", json.RawMessage(got)).applyTo(got)
		require.NoError(t, err)
	})
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"x%d":%d`, i, i)
	}
	return b.String()
}

func membersOf(t *testing.T, object []byte) (members map[string]json.RawMessage) {
	t.Helper()
	require.NoError(t, json.Unmarshal(object, &members))
	return members
}

// An exponent is read up to a thousand digits: reading takes time in the square of them.
func TestEqualBoundsExponents(t *testing.T) {
	power := strings.Repeat("1", 1000)
	assert.True(t, jsonpatch.Equal(json.RawMessage("1e"+power), json.RawMessage("1.0e"+power)))
	power += "1"
	assert.False(t, jsonpatch.Equal(json.RawMessage("1e"+power), json.RawMessage("1.0e"+power)), "one that is longer equals only itself")
	assert.True(t, jsonpatch.Equal(json.RawMessage("1e"+power), json.RawMessage("1e"+power)))
}
