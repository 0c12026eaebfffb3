package benchmarks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
)

// If evanphx/json-patch differs, it does not follow the RFC. FuzzApplyAgrees skips the cases listed
// here.
func TestApplyDiffersFromEvanphx(t *testing.T) {
	const fails = ""
	tests := []struct{ section, document, patch, ours, theirs string }{
		{"RFC 6901 section 4: a leading zero", `[1,2]`, `[{"op":"remove","path":"/01"}]`, fails, `[1]`},
		{"RFC 6901 section 4: a sign", `[1,2]`, `[{"op":"remove","path":"/+1"}]`, fails, `[1]`},
		{"RFC 6901 section 4: a negative index", `[1,2]`, `[{"op":"remove","path":"/-1"}]`, fails, `[1]`},
		{"RFC 6901 section 4: an empty name", `{"":1}`, `[{"op":"test","path":"/","value":1}]`, `{"":1}`, fails},
		{"RFC 6901 section 4: inside an empty name", `{"":{"a":1}}`, `[{"op":"remove","path":"//a"}]`, `{"":{}}`, fails},
		{"RFC 6901 section 4: a name that is there twice", `{"a":1,"a":2}`, `[{"op":"test","path":"/a","value":2}]`, fails, `{"a":2,"a":2}`},
		{"RFC 6901 section 3: a tilde that escapes nothing", `{"~":1}`, `[{"op":"remove","path":"/~"}]`, fails, `{}`},
		{"RFC 6901 section 3: no slash in front", `{}`, `[{"op":"test","path":"a","value":null}]`, fails, fails},
		{"RFC 6902 section 4: a member twice", `{"a":1}`, `[{"op":"add","op":"remove","path":"/a","value":2}]`, fails, `{}`},
		{"RFC 6902 section 4.1: a whole that is a string", `{}`, `[{"op":"add","path":"","value":"a"}]`, `"a"`, fails},
		{"RFC 6902 section 4.3: a whole that is a string", `{}`, `[{"op":"replace","path":"","value":"a"}]`, `"a"`, fails},
		{"RFC 6902 section 4.4: into its own child", `[{},{}]`, `[{"op":"move","from":"/0","path":"/0/a"}]`, fails, `[{"a":{}}]`},
		{"RFC 6902 section 4.4: to the whole", `{"a":{"b":1}}`, `[{"op":"move","from":"/a","path":""}]`, `{"b":1}`, `{"":{"b":1}}`},
		{"RFC 6902 section 4.5: to the whole", `{"a":{}}`, `[{"op":"copy","from":"/a","path":""}]`, `{}`, `{"a":{},"":{}}`},
		{"RFC 6902 section 4.6: null is not nothing", `{}`, `[{"op":"test","path":"/a","value":null}]`, fails, `{}`},
		{"RFC 6902 section 4.6: no value", `{"a":null}`, `[{"op":"test","path":"/a"}]`, fails, `{"a":null}`},
		{"RFC 6902 section 4.6: numbers by value", `[1]`, `[{"op":"test","path":"/0","value":1.0}]`, `[1]`, fails},
		{"RFC 6902 section 4.6: a null that the patch wrote", `{}`, `[{"op":"add","path":"/a","value":null},{"op":"test","path":"/a","value":null}]`, `{"a":null}`, fails},
		{"RFC 6902 section 4.6: null in an array", `[null]`, `[{"op":"test","path":"","value":[null]}]`, `[null]`, fails}, // it panics
		{"a document that is a string", `"a"`, `[{"op":"replace","path":"","value":[]}]`, `[]`, fails},
	}
	for _, tt := range tests {
		t.Run(tt.section, func(t *testing.T) {
			ours, _ := applyOurs([]byte(tt.document), []byte(tt.patch))
			assert.Equal(t, tt.ours, string(ours))
			theirs, _ := applyEvanphx([]byte(tt.document), []byte(tt.patch))
			assert.Equal(t, tt.theirs, string(theirs))
		})
	}
}

func applyOurs(document, patch []byte) ([]byte, error) {
	var p tokenpatch.Patch
	if err := p.UnmarshalJSON(patch); err != nil {
		return nil, err
	}
	return p.ApplyJSON(document)
}

func applyEvanphx(document, patch []byte) (result []byte, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			result, err = nil, fmt.Errorf("panic: %v", recovered)
		}
	}()
	p, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, err
	}
	return p.Apply(document)
}

// source turns the bytes of a fuzz input into choices, until they run out.
type source []byte

// IntN returns a number below n.
func (s *source) IntN(n int) int {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return int(b) % n
}

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

// value returns a JSON value. Equal numbers are written alike.
func (s *source) value(depth int) any {
	kinds := 7
	if depth == 0 {
		kinds = 5
	}
	switch s.IntN(kinds) {
	case 0:
		return pick(s, "", "a", "<é>")
	case 1:
		return json.Number(pick(s, "0", "1", "2", "9007199254740993", "1.50"))
	case 2:
		return true
	case 3:
		return false
	case 4:
		return nil
	case 5:
		list := make([]any, s.IntN(4))
		for i := range list {
			list[i] = s.value(depth - 1)
		}
		return list
	}
	return s.object(depth)
}

func (s *source) object(depth int) map[string]any {
	object := map[string]any{}
	for range s.IntN(5) {
		object[pick(s, "a", "b", "c", "a/b", "~", "~1", "0", "-", "é", "")] = s.value(depth - 1)
	}
	return object
}

// pointer returns a pointer, which often names something in document.
func (s *source) pointer(document any) tokenpatch.Pointer {
	p := tokenpatch.Pointer("")
	for range s.IntN(4) {
		switch at := document.(type) {
		case map[string]any:
			token := pick(s, "a", "b", "c", "a/b", "~", "~1", "0", "-", "é", "", "nothing")
			p, document = p.Append(token), at[token]
		case []any:
			i := s.IntN(len(at) + 2)
			p, document = p.Append(pick(s, strconv.Itoa(i), strconv.Itoa(i), strconv.Itoa(i), "-", "01", "x")), nil
			if i < len(at) {
				document = at[i]
			}
		default:
			return p
		}
	}
	return p
}

// operations returns a patch, which often applies to document.
func (s *source) operations(document any) (all operations) {
	for range 1 + s.IntN(5) {
		path := s.pointer(document)
		switch s.IntN(6) {
		case 0:
			all = all.with("add", path, s.value(2))
		case 1:
			all = all.without("remove", path)
		case 2:
			all = all.with("replace", path, s.value(2))
		case 3:
			all = all.from("move", s.pointer(document), path)
		case 4:
			all = all.from("copy", s.pointer(document), path)
		case 5:
			if value, found := find(document, path); found && s.IntN(3) > 0 {
				all = all.with("test", path, value)
			} else {
				all = all.with("test", path, s.value(2))
			}
		}
	}
	return all
}

// find evaluates a pointer of source.pointer.
func find(document any, p tokenpatch.Pointer) (any, bool) {
	tokens, _ := p.Tokens()
	for _, token := range tokens {
		var found bool
		switch at := document.(type) {
		case map[string]any:
			document, found = at[token]
		case []any:
			if i, err := strconv.Atoi(token); err == nil && i < len(at) {
				document, found = at[i], true
			}
		}
		if !found {
			return nil, false
		}
	}
	return document, true
}

// FuzzApplyAgrees compares with evanphx/json-patch as far as it follows the RFC.
func FuzzApplyAgrees(f *testing.F) {
	for _, seed := range []string{"", "\x06\x04\x00\x01\x01\x02", "\x05\x03\x01\x01\x02\x03\x04\x05\x06\x07\x08", strings.Repeat("\x06\x03\x02\x01", 20), strings.Repeat("\x01\x05\x03\x06\x04\x02\x00", 20)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := source(data)
		var root any = s.object(3)
		if s.IntN(3) == 0 {
			root = []any{s.value(2), s.value(2), s.value(2)}
		}
		document, body := mustMarshal(root), s.operations(root).body()
		saved := bytes.Clone(document)

		ours, ourErr := applyOurs(document, body)
		require.Equal(t, saved, document)
		if ourErr == nil {
			require.True(t, json.Valid(ours), "%s", ours)
		}
		if evanphxDiffers(t, string(body)) {
			return
		}
		theirs, theirErr := applyEvanphx(document, body)
		require.Equal(t, theirErr == nil, ourErr == nil, "%s\n%s\nours: %v\ntheirs: %v", document, body, ourErr, theirErr)
		if ourErr == nil {
			require.Equal(t, decodeExactly(theirs), decodeExactly(ours), "%s\n%s", document, body)
		}
	})
}

// evanphxDiffers reports whether one of the differences in TestApplyDiffersFromEvanphx can show.
func evanphxDiffers(t *testing.T, body string) bool {
	var operations []struct {
		Op, Path, From string
		Value          json.RawMessage
	}
	require.NoError(t, json.Unmarshal([]byte(body), &operations))
	for _, op := range operations {
		for _, p := range []string{op.Path, op.From} {
			if strings.Contains(p+"/", "//") || strings.Contains(p+"/", "/01/") {
				return true
			}
		}
		if op.Op == "test" && bytes.Contains(op.Value, []byte("null")) {
			return true // three differences in one
		}
		if op.Op == "move" && strings.HasPrefix(op.Path, op.From+"/") {
			return true // into its own child
		}
		if op.Path == "" && op.Op != "test" || op.From == "" && (op.Op == "move" || op.Op == "copy") {
			return true
		}
	}
	return false
}

// operations are a patch in its JSON form, which any library reads. Each method returns it with one operation more.
type operations []map[string]any

func (o operations) with(op string, path tokenpatch.Pointer, value any) operations {
	return append(o, map[string]any{"op": op, "path": path, "value": value})
}

func (o operations) from(op string, from, path tokenpatch.Pointer) operations {
	return append(o, map[string]any{"op": op, "from": from, "path": path})
}

func (o operations) without(op string, path tokenpatch.Pointer) operations {
	return append(o, map[string]any{"op": op, "path": path})
}

func (o operations) body() []byte { return mustMarshal(o) }

func mustMarshal(value any) []byte {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return encoded
}
