package benchmarks

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
)

var replayCases = flag.Int("replay.cases", 5_000, "random patches for TestReplayProperty; a tenth of it with -short")

// The result of Replay holds for random patches and documents. If the judge, which is
// evanphx/json-patch, and RFC 6902 differ, Replay has to be right for both:
//
//   - test with null succeeds on a missing value (section 4.6);
//   - numbers are compared as text (section 4.6);
//   - test of an array with null can panic, which counts as a failure;
//   - the empty reference token names the whole document (RFC 6901 section 5);
//   - "01", "-1" and "+1" are indexes (RFC 6901 section 4).
func TestReplayProperty(t *testing.T) {
	cases := *replayCases
	if testing.Short() {
		cases /= 10
	}
	random := rand.New(rand.NewPCG(6902, 6901))
	said := map[tokenpatch.Replay]int{}
	for range cases {
		said[checkReplay(t, random)]++
	}
	t.Log(said)
	for replay := range tokenpatch.ReplayIdempotent + 1 {
		assert.Greater(t, said[replay], cases/100, replay)
	}
}

func FuzzReplay(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		seed := make([]byte, 100)
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkReplay(t, (*source)(&data)) })
}

// FuzzReplayJSON looks for values and tokens beyond those of FuzzReplay.
func FuzzReplayJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}]}`), []byte(`[{"op":"test","path":"/a/1","value":{"b":null}},{"op":"add","path":"/a/-","value":2}]`))
	f.Add([]byte(`{"name":"a","role":1.0}`), []byte(`[{"op":"copy","from":"/name","path":"/x~1y"},{"op":"move","from":"/role","path":"/name"},{"op":"test","path":"","value":{}}]`))
	f.Add([]byte(`{"1":[2],"2":{"0":3}}`), []byte(`[{"op":"replace","path":"/1","value":{"a":1,"a":2}},{"op":"remove","path":"/1/a"}]`))
	f.Fuzz(func(t *testing.T, document, body []byte) {
		if new(tokenpatch.Patch).UnmarshalJSON(body) != nil || !isObject(document) || hasDuplicates(document) {
			return
		}
		for _, lenient := range []bool{false, true} {
			newClaim(body, lenient).check(t, document)
		}
	})
}

// dice is what random documents and patches are made with: a rand.Rand, or a source.
type dice interface{ IntN(n int) int }

// checkReplay makes a successful patch for a document, and checks the result of Analyze on it and
// on other documents.
func checkReplay(t *testing.T, d dice) tokenpatch.Replay {
	t.Helper()
	lenient := d.IntN(2) == 0
	document := randomDocument(d)
	said := newClaim(randomPatch(d, document, lenient).body(), lenient)
	said.check(t, document)
	if said.replay != tokenpatch.ReplayUnsafe {
		said.check(t, mutated(d, document))
		said.check(t, mutated(d, document))
		said.check(t, randomDocument(d))
	}
	return said.replay
}

// claim is the result of Replay for a patch, and its judge.
type claim struct {
	body   []byte
	replay tokenpatch.Replay
	judge  judge
}

func newClaim(body []byte, lenient bool) claim {
	replay := tokenpatch.ReplayUnsafe
	var patch tokenpatch.Patch
	if patch.UnmarshalJSON(body) == nil { // the judge accepts some patches refused by RFC 6902
		replay = patch.Replay()
	}
	return claim{body, replay, newJudge(body, lenient)}
}

func (c claim) check(t *testing.T, document []byte) verdict {
	t.Helper()
	came := c.judge.twice(document)
	if !c.allows(came) {
		require.Failf(t, "wrong", "%s, lenient %v, says %v, but %s:\n%s", document, c.judge.lenient, c.replay, came, c.body)
	}
	return came
}

func (c claim) allows(came verdict) bool {
	switch c.replay {
	case tokenpatch.ReplayIdempotent:
		return came == doneOnce || came == neverDone
	case tokenpatch.ReplayGuarded:
		return came != doneTwice
	}
	return true
}

// verdict is what happened when a patch was applied twice.
type verdict string

const (
	neverDone   verdict = "failed at once"
	doneOnce    verdict = "the second time changed nothing"
	failedAgain verdict = "the second time failed"
	doneTwice   verdict = "the second time changed something"
)

// judge applies a patch by evanphx/json-patch. A lenient one lets replace add a
// member to the token, as V2 does.
type judge struct {
	operations jsonpatch.Patch
	adding     jsonpatch.Patch // the same for a lenient judge
	lenient    bool
}

func newJudge(body []byte, lenient bool) judge {
	operations, err := jsonpatch.DecodePatch(body)
	if err != nil {
		panic(err)
	}
	return judge{operations, replacesThatAdd(operations), lenient}
}

func (j judge) twice(document []byte) verdict {
	once, err := j.apply(document)
	if err != nil {
		return neverDone
	}
	once = withVersion(once)
	twice, err := j.apply(once)
	switch {
	case err != nil:
		return failedAgain
	case equalJSON(once, withVersion(twice)):
		return doneOnce
	}
	return doneTwice
}

// withVersion sets lastModified, as the service does with each write. It returns
// what is no object as it is.
func withVersion(document []byte) []byte {
	members, is := decodeExactly(document).(map[string]any)
	if !is {
		return document
	}
	members["lastModified"] = json.Number("1700000000000")
	return mustMarshal(members)
}

func (j judge) apply(document []byte) (after []byte, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			err = fmt.Errorf("panic: %v", recovered)
		}
	}()
	operations := j.operations
	if j.lenient {
		operations = j.adding
	}
	return operations.Apply(document)
}

func replacesThatAdd(operations jsonpatch.Patch) jsonpatch.Patch {
	add := json.RawMessage(`"add"`)
	operations = slices.Clone(operations)
	for i, op := range operations {
		if path, _ := op.Path(); op.Kind() == "replace" && strings.Count(path, "/") == 1 {
			operations[i] = maps.Clone(op)
			operations[i]["op"] = &add
		}
	}
	return operations
}

func equalJSON(a, b []byte) bool {
	return bytes.Equal(a, b) || reflect.DeepEqual(decodeExactly(a), decodeExactly(b))
}

// decodeExactly decodes without any code of this package, and keeps the digits of numbers.
func decodeExactly(data []byte) (value any) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		panic(err)
	}
	return value
}

// isObject reports whether document is one: a token is, and Replay speaks of tokens alone.
func isObject(document []byte) bool {
	return json.Valid(document) && bytes.HasPrefix(bytes.TrimSpace(document), []byte("{"))
}

func hasDuplicates(document []byte) bool {
	encoded, err := json.Marshal(decodeExactly(document))
	return err != nil || strings.Count(string(encoded), ":") != strings.Count(string(document), ":")
}

var (
	randomNames   = []string{"a", "b", "c", "0", "1", "-", "~", "/", "01", "-1", "lastModified"}
	randomScalars = []any{nil, true, 0, 1, json.RawMessage("1.0"), json.RawMessage("10e-1"), "", "a", "b", json.RawMessage(`"\u0061"`)}
)

func randomDocument(d dice) []byte {
	return mustMarshal(randomObject(d, 3))
}

func randomValue(d dice, depth int) any {
	switch kind := d.IntN(4); {
	case depth == 0 || kind < 2:
		return pick(d, randomScalars...)
	case kind == 2:
		return randomArray(d, depth-1)
	default:
		return randomObject(d, depth-1)
	}
}

func randomArray(d dice, depth int) []any {
	array := make([]any, d.IntN(4))
	for i := range array {
		array[i] = randomValue(d, depth)
	}
	return array
}

func randomObject(d dice, depth int) map[string]any {
	object := map[string]any{}
	for range d.IntN(5) {
		object[randomName(d)] = randomValue(d, depth)
	}
	return object
}

// randomName is most often one of the first three.
func randomName(d dice) string {
	if d.IntN(3) > 0 {
		return randomNames[d.IntN(3)]
	}
	return pick(d, randomNames...)
}

// mutated returns a document after up to three random operations.
func mutated(d dice, document []byte) []byte {
	for range 1 + d.IntN(3) {
		next, err := newJudge(operations{randomOperation(d, decodeExactly(document))}.body(), false).apply(document)
		if err == nil {
			document = next
		}
	}
	return document
}

// randomPatch returns a patch of a few operations, successful on document.
func randomPatch(d dice, document []byte, lenient bool) (p operations) {
	for range 1 + d.IntN(6) {
		root := decodeExactly(document)
		for range 4 {
			op := randomOperation(d, root)
			after, err := newJudge(operations{op}.body(), lenient).apply(document)
			if err == nil {
				p, document = append(p, op), after
				break
			}
		}
	}
	return p
}

func randomOperation(d dice, document any) map[string]any {
	path, present := randomPath(d, document)
	from, _ := randomPath(d, document)
	value, kind := randomValue(d, 2), d.IntN(8)
	switch kind {
	case 0:
		return map[string]any{"op": "remove", "path": path}
	case 1:
		return map[string]any{"op": "move", "from": from, "path": path}
	case 2:
		return map[string]any{"op": "copy", "from": from, "path": path}
	case 3:
		return map[string]any{"op": "replace", "path": path, "value": value}
	case 4:
		return map[string]any{"op": "test", "path": path, "value": value}
	case 5, 6:
		return map[string]any{"op": "test", "path": path, "value": present}
	}
	return map[string]any{"op": "add", "path": path, "value": value}
}

// randomPath returns a path into value, and what is there; nil if nothing is.
func randomPath(d dice, value any) (tokenpatch.Pointer, any) {
	var path tokenpatch.Pointer
	for depth := 0; ; depth++ {
		var tokens []string
		switch in := value.(type) {
		case map[string]any:
			tokens = slices.Sorted(maps.Keys(in))
		case []any:
			for i := range in {
				tokens = append(tokens, fmt.Sprint(i))
			}
			tokens = append(tokens, "-")
		}
		switch {
		case depth > 0 && d.IntN(2) == 0:
			return path, value
		case len(tokens) == 0 || d.IntN(6) == 0:
			return path.Append(randomName(d)), nil
		}
		token := pick(d, tokens...)
		path = path.Append(token)
		switch in := value.(type) {
		case map[string]any:
			value = in[token]
		case []any:
			i := slices.Index(tokens, token)
			if i == len(in) {
				return path, nil
			}
			value = in[i]
		}
	}
}
