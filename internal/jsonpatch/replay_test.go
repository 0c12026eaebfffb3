package jsonpatch_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
)

var replayCases = flag.Int("replay.cases", 10_000, "random patches for TestReplayIsSound; a tenth of it with -short")

func analyze(p patch) jsonpatch.Replay { return jsonpatch.Analyze(p, "lastModified", "lastUsed") }

func TestReplay(t *testing.T) {
	const idempotent, guarded, unsafe = jsonpatch.Idempotent, jsonpatch.Guarded, jsonpatch.Unsafe
	object := func(name string, value any) map[string]any { return map[string]any{name: value} }
	tests := map[string]struct {
		patch patch
		want  jsonpatch.Replay
	}{
		// Whole members.
		"nothing":                      {patch{}, idempotent},
		"replace":                      {patch{}.Replace("/name", "a"), idempotent},
		"add":                          {patch{}.Add("/name", nil), idempotent},
		"the last write counts":        {patch{}.Replace("/name", "a").Replace("/name", "b"), idempotent},
		"remove":                       {patch{}.Remove("/description"), guarded},
		"remove, then add":             {patch{}.Remove("/name").Add("/name", "a"), guarded},
		"escaped names":                {patch{}.Replace("/a~1b", 1).Add("/m~0n", 2), idempotent},
		"a name that looks like index": {patch{}.Replace("/0", 1).Add("/-", 2), idempotent},

		// Tests.
		"test alone":                        {patch{}.Test("/role", "reader"), idempotent},
		"test of an unchanged member":       {patch{}.Test("/role", "reader").Replace("/name", "a"), idempotent},
		"test inside an unchanged member":   {patch{}.Test("/a/0", "reader").Replace("/name", "a"), idempotent},
		"test of what is changed":           {patch{}.Test("/name", "a").Replace("/name", "b"), guarded},
		"test of what is set to the same":   {patch{}.Test("/name", "a").Replace("/name", "a"), idempotent},
		"test behind the change":            {patch{}.Replace("/name", "a").Test("/name", "a"), idempotent},
		"test of the same value, otherwise": {patch{}.Replace("/a", 1).Test("/a", json.RawMessage("1.0")), guarded},
		"test of an earlier value":          {patch{}.Replace("/name", "a").Test("/name", "a").Replace("/name", "b"), guarded},
		"test inside what is changed":       {patch{}.Test("/a/b", 1).Replace("/a", object("b", 1)), guarded},
		"test of null":                      {patch{}.Test("/role", nil).Replace("/role", "a"), guarded},
		"test of the whole":                 {patch{}.Test("", object("name", "a")).Replace("/name", "b"), guarded},
		"test of the whole, append":         {patch{}.Test("", object("a", []any{})).Add("/a/-", "b"), unsafe},

		// Parts of members.
		"append":                              {patch{}.Add("/a/-", 1), unsafe},
		"append to what was tested":           {patch{}.Test("/a", []int{}).Add("/a/-", 1), guarded},
		"append to what was tested as null":   {patch{}.Test("/a", nil).Add("/a/-", 1), guarded},
		"append to what was tested in part":   {patch{}.Test("/a/0", 1).Add("/a/-", 1), unsafe},
		"append to what is tested afterwards": {patch{}.Add("/a/-", 1).Test("/a", []int{1}), unsafe},
		"append to what was set":              {patch{}.Replace("/a", []int{}).Add("/a/-", 1), guarded},
		"append to what was removed":          {patch{}.Remove("/a").Add("/a/b", 1), guarded}, // never succeeds
		"append to another":                   {patch{}.Test("/b", []int{}).Add("/a/-", 1), unsafe},
		"guard the list as well":              {patch{}.Test("/name", "a").Replace("/name", "b").Add("/customRoleIds/-", 1), unsafe},
		"replace of a part":                   {patch{}.Replace("/a/b", 1), unsafe},
		"remove of a part":                    {patch{}.Test("/a", object("b", 1)).Remove("/a/b"), guarded},

		// Moves and copies.
		"copy":                                    {patch{}.Copy("/a", "/b"), unsafe},
		"copy of what was tested":                 {patch{}.Test("/a", 1).Copy("/a", "/b"), guarded},
		"copy of a part of what was tested":       {patch{}.Test("/a", object("c", 1)).Copy("/a/c", "/b"), guarded},
		"copy into a part":                        {patch{}.Test("/a", 1).Copy("/a", "/b/c"), unsafe},
		"copy of the whole":                       {patch{}.Copy("", "/a"), unsafe},
		"copy of the whole, behind an empty name": {patch{}.Test("/", 1).Copy("", "/a"), unsafe},
		"move":                              {patch{}.Move("/a", "/b"), unsafe},
		"move of what was tested":           {patch{}.Test("/a", 1).Move("/a", "/b"), guarded},
		"move of a part of what was tested": {patch{}.Test("/a", []int{1}).Move("/a/0", "/b"), guarded},
		"move there and back":               {patch{}.Test("/a", 1).Move("/a", "/b").Move("/b", "/a"), guarded},

		// What the service writes itself.
		"version, append":              {patch{}.Test("/lastModified", 1).Add("/a/-", 1), guarded},
		"version afterwards, append":   {patch{}.Add("/a/-", 1).Test("/lastModified", 1), guarded},
		"version written, then tested": {patch{}.Replace("/lastModified", 1).Test("/lastModified", 1).Add("/a/-", 1), unsafe},
		"version moved, then tested":   {patch{}.Move("/lastModified", "/b").Test("/lastModified", nil), unsafe},
		"inside the version":           {patch{}.Test("/lastModified/0", 1).Add("/a/-", 1), unsafe},
		"version, replace":             {patch{}.Test("/lastModified", 1).Replace("/name", "a"), guarded},
		"version, copy of the whole":   {patch{}.Test("/lastModified", 1).Copy("", "/a"), guarded},
		"volatile, replace":            {patch{}.Test("/lastUsed", 1).Replace("/name", "a"), guarded},
		"volatile, append":             {patch{}.Test("/lastUsed", 1).Add("/a/-", 1), unsafe},

		// Writes of the whole, and ambiguous names.
		"whole replaced":          {patch{}.Test("/lastModified", 1).Replace("", 1), unsafe},
		"whole removed":           {patch{}.Remove(""), unsafe},
		"whole moved to itself":   {patch{}.Move("", ""), unsafe},
		"an empty name":           {patch{}.Add("/", 1), unsafe},
		"inside an empty name":    {patch{}.Add("//a", 1), unsafe},
		"copy from an empty name": {patch{}.Test("/", 1).Copy("/", "/a"), unsafe},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, analyze(tt.patch)) })
	}
}

func TestReplayTakesLinearTime(t *testing.T) {
	p := patch{}.Test("/a", []int{})
	for i := range 100_000 {
		p = append(p, jsonpatch.Operation{Op: "add", Path: jsonpatch.Pointer(fmt.Sprint("/m", i)), Value: json.RawMessage("1")},
			jsonpatch.Operation{Op: "add", Path: "/a/-", Value: json.RawMessage("1")})
	}
	assert.Equal(t, jsonpatch.Guarded, analyze(p))
	assert.Equal(t, jsonpatch.Idempotent, analyze(slices.DeleteFunc(p, func(op jsonpatch.Operation) bool { return op.Path == "/a/-" })))
}

// What Analyze returns holds for random patches on random tokens, whichever way a
// service reads RFC 6902, if it raises lastModified with each write.
func TestReplayIsSound(t *testing.T) {
	cases := *replayCases
	if testing.Short() {
		cases /= 10
	}
	random := rand.New(rand.NewPCG(6902, 6901))
	returned := map[jsonpatch.Replay]int{}
	careful := 0
	for range cases {
		replay, needed := checkReplay(t, random)
		returned[replay]++
		if replay == jsonpatch.Unsafe && !needed {
			careful++
		}
	}
	t.Logf("idempotent %d, guarded %d, unsafe %d, of which %d showed no need", returned[jsonpatch.Idempotent], returned[jsonpatch.Guarded], returned[jsonpatch.Unsafe], careful)
	for replay := range jsonpatch.Idempotent + 1 {
		assert.Greater(t, returned[replay], cases/20, replay)
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

// checkReplay makes a successful patch for a token, and checks the result of Analyze on it and on
// other tokens. It reports whether the patch ever did more the second time.
func checkReplay(t *testing.T, d dice) (replay jsonpatch.Replay, unsafe bool) {
	t.Helper()
	r := reference{replaceAdds: d.IntN(2) == 0, absentNull: d.IntN(2) == 0, emptyWhole: d.IntN(2) == 0}
	token := randomToken(d)
	p := randomPatch(d, r, token)
	replay = analyze(p)
	for _, token := range []any{token, mutated(d, token), mutated(d, token), randomToken(d)} {
		came := r.twice(p, token)
		unsafe = unsafe || came == doneTwice
		wrong := replay == jsonpatch.Guarded && came == doneTwice ||
			replay == jsonpatch.Idempotent && came != doneOnce && came != neverDone
		if wrong {
			require.Failf(t, "wrong", "%s, %+v: %v, but %s:\n%v", mustMarshal(token), r, replay, came, p)
		}
	}
	return replay, unsafe
}

// verdict is what happened when a patch was applied twice.
type verdict string

const (
	neverDone   verdict = "failed at once"
	doneOnce    verdict = "the second time changed nothing"
	failedAgain verdict = "the second time failed"
	doneTwice   verdict = "the second time changed something"
)

// twice applies a patch twice, like a service that writes lastModified and lastUsed.
func (r reference) twice(p patch, token any) verdict {
	once, err := r.serve(p, token)
	if err != nil {
		return neverDone
	}
	twice, err := r.serve(p, once)
	switch {
	case err != nil:
		return failedAgain
	case equalValues(served(once, "0"), served(twice, "0")):
		return doneOnce
	}
	return doneTwice
}

func (r reference) serve(p patch, token any) (any, error) {
	after, err := r.apply(token, p)
	if err != nil {
		return nil, err
	}
	version, _ := lookUp(token, []string{"lastModified"})
	return served(after, version.(json.Number)+"0"), nil
}

// served is a token with what the service writes itself.
func served(token any, version json.Number) any {
	object, isObject := token.(map[string]any)
	if !isObject {
		return map[string]any{"lastModified": version, "whole": token}
	}
	object = maps.Clone(object)
	object["lastModified"] = version
	if _, used := object["lastUsed"]; used {
		object["lastUsed"] = version
	}
	return object
}

// dice is what random tokens and patches are made with: a rand.Rand, or a source.
type dice interface{ IntN(n int) int }

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

var (
	randomNames   = []string{"a", "b", "c", "0", "1", "-", "~", "/", "01", "-1", "", "lastModified", "lastUsed"}
	randomScalars = []any{nil, true, json.Number("0"), json.Number("1"), json.Number("1.0"), json.Number("10e-1"), "", "a", "b"}
)

func randomToken(d dice) any { return served(randomObject(d, 3), pick(d, json.Number("1"), "2")) }

func randomValue(d dice, depth int) any {
	switch kind := d.IntN(4); {
	case depth == 0 || kind < 2:
		return pick(d, randomScalars...)
	case kind == 2:
		list := make([]any, d.IntN(4))
		for i := range list {
			list[i] = randomValue(d, depth-1)
		}
		return list
	}
	return randomObject(d, depth-1)
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

// mutated returns a token after up to three random operations.
func mutated(d dice, token any) any {
	for range 1 + d.IntN(3) {
		if next, err := (reference{}).apply(token, randomOperation(d, token)(nil)); err == nil {
			token = served(next, pick(d, json.Number("1"), "2", "3"))
		}
	}
	return token
}

// randomPatch returns a patch of a few operations, successful on token.
func randomPatch(d dice, r reference, token any) (p patch) {
	for range 1 + d.IntN(6) {
		for range 4 {
			op := randomOperation(d, token)
			after, err := r.apply(token, op(nil))
			if err == nil && op(p).err() == nil {
				p, token = op(p), after
				break
			}
		}
	}
	return p
}

// randomOperation returns a function to add an operation to a patch.
func randomOperation(d dice, document any) func(patch) patch {
	path, present := randomPath(d, document)
	from, _ := randomPath(d, document)
	value, kind := randomValue(d, 2), d.IntN(9)
	return func(p patch) patch {
		switch kind {
		case 0:
			return p.Remove(path)
		case 1:
			return p.Move(from, path)
		case 2:
			return p.Copy(from, path)
		case 3:
			return p.Replace(path, value)
		case 4:
			return p.Test(path, value)
		case 5, 6, 7:
			return p.Test(path, present)
		}
		return p.Add(path, value)
	}
}

// randomPath returns a path into value, and what is there; nil if nothing is.
func randomPath(d dice, value any) (jsonpatch.Pointer, any) {
	var path jsonpatch.Pointer
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
		case depth > 0 && d.IntN(2) == 0 || d.IntN(50) == 0:
			return path, value
		case len(tokens) == 0 || d.IntN(6) == 0:
			return path.Append(randomName(d)), nil
		}
		token := pick(d, tokens...)
		path = path.Append(token)
		value, _ = lookUp(value, []string{token})
	}
}
