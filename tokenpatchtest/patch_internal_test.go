package tokenpatchtest

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
)

// The client's Patch and the service share no code, and follow RFC 6902 alike.
func TestServiceAndClientAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(6901, 6902))
	applied := 0
	const cases = 5_000
	for range cases {
		document := encode(randomValue(random, 3))
		if agree(t, document, randomPatch(random, document)) {
			applied++
		}
	}
	assert.Greater(t, applied, cases/20)
	assert.Less(t, applied, cases/2)
}

func FuzzServiceAndClientAgree(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}]}`), []byte(`[{"op":"move","from":"/a/1/b","path":"/c"},{"op":"test","path":"","value":{}}]`))
	f.Add([]byte(` [ 1e400 , "\ud800" , -0.0 ] `), []byte(`[{"op":"test","path":"/0","value":10e399},{"op":"copy","from":"","path":"/-"}]`))
	f.Add([]byte(`{"":{"":0}}`), []byte(`[{"op":"test","path":"//","value":-0e1},{"op":"replace","path":"","value":"x"}]`))
	f.Fuzz(func(t *testing.T, document, patch []byte) {
		if _, err := decodeStrictly(document); err == nil && !strings.Contains(string(document)+string(patch), `\u`) { // a lone surrogate is no name
			agree(t, document, patch)
		}
	})
}

// agree applies a patch by the client and by the service, and reports whether
// both could.
func agree(t *testing.T, document, body json.RawMessage) bool {
	t.Helper()
	operations, err := decodePatch(body)
	var patch tokenpatch.Patch
	if err != nil || patch.UnmarshalJSON(body) != nil {
		return false // each refuses something the other accepts: unknown members, or two of one name
	}
	theirs, theirErr := patch.ApplyJSON(document)
	ours := document
	for _, op := range operations {
		if err == nil {
			ours, err = op.apply(ours)
		}
	}
	require.Equal(t, err == nil, theirErr == nil, "%s\n%s\nservice: %v\nclient: %v", document, body, err, theirErr)
	if err != nil {
		return false
	}
	want, err := decode(ours)
	require.NoError(t, err)
	got, err := decode(theirs)
	require.NoError(t, err)
	require.Equal(t, want, got, "%s\n%s", document, body)
	return true
}

func randomValue(random *rand.Rand, depth int) any {
	if depth == 0 || random.IntN(3) == 0 {
		return pick[any](random, nil, true, "", "a", json.Number("1"), json.Number("1.0"), json.Number("10e-1"), json.Number("-0"))
	}
	if random.IntN(2) == 0 {
		array := make([]any, random.IntN(4))
		for i := range array {
			array[i] = randomValue(random, depth-1)
		}
		return array
	}
	object := make(map[string]any)
	for range random.IntN(5) {
		object[pick(random, "a", "b", "", "0", "-", "~", "/")] = randomValue(random, depth-1)
	}
	return object
}

func randomPatch(random *rand.Rand, document json.RawMessage) json.RawMessage {
	root, _ := decode(document)
	patch := make([]any, 1+random.IntN(3))
	for i := range patch {
		path, found := randomPath(random, root)
		from, _ := randomPath(random, root)
		patch[i] = pick(random,
			map[string]any{"op": "add", "path": path, "value": randomValue(random, 2)},
			map[string]any{"op": "replace", "path": path, "value": randomValue(random, 2)},
			map[string]any{"op": "test", "path": path, "value": found},
			map[string]any{"op": "test", "path": path, "value": randomValue(random, 1)},
			map[string]any{"op": "remove", "path": path},
			map[string]any{"op": "move", "from": from, "path": path},
			map[string]any{"op": "copy", "from": from, "path": path})
	}
	return encode(patch)
}

// randomPath returns a pointer, which usually exists, and its value or nil.
func randomPath(random *rand.Rand, value any) (string, any) {
	var path pointer
	for random.IntN(4) > 0 {
		token := pick(random, "a", "-", "01", "-1", "")
		switch v := value.(type) {
		case map[string]any:
			if len(v) > 0 && random.IntN(4) > 0 {
				token = pick(random, slices.Sorted(maps.Keys(v))...)
			}
			value = v[token]
		case []any:
			value = nil
			if i := random.IntN(len(v) + 2); random.IntN(4) > 0 {
				token = strconv.Itoa(i)
				value = append(slices.Clone(v), nil, nil)[i]
			}
		}
		path = append(path, token)
	}
	return path.String(), value
}

func pick[T any](random *rand.Rand, from ...T) T { return from[random.IntN(len(from))] }
