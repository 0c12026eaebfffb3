package jsonpatch_test

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

	evanphx "github.com/evanphx/json-patch/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
)

var replayCases = flag.Int("replay.cases", 5_000, "random patches for TestReplayProperty; a tenth of it with -short")

func TestReplay(t *testing.T) {
	const idempotent, guarded, unsafe = jsonpatch.Idempotent, jsonpatch.Guarded, jsonpatch.Unsafe
	list := []any{}
	object := func(name string, value any) map[string]any { return map[string]any{name: value} }
	raw := func(text string) json.RawMessage { return json.RawMessage(text) }
	tests := map[string]struct {
		patch patch
		want  jsonpatch.Replay
	}{
		// Members of an object.
		"nothing":                       {patch{}, idempotent},
		"replace":                       {patch{}.Replace("/name", "a"), idempotent},
		"add replaces a member":         {patch{}.Add("/name", "a"), idempotent},
		"add of null":                   {patch{}.Add("/name", nil), idempotent},
		"replace deep inside":           {patch{}.Replace("/a/b/c", 1), idempotent},
		"the last write counts":         {patch{}.Replace("/name", "a").Replace("/name", "b"), idempotent},
		"remove: nothing is left":       {patch{}.Remove("/description"), guarded},
		"remove, then add":              {patch{}.Remove("/name").Add("/name", "a"), idempotent},
		"add, then remove":              {patch{}.Add("/name", "a").Remove("/name"), idempotent},
		"remove twice never succeeds":   {patch{}.Remove("/name").Remove("/name"), unsafe},
		"remove, then replace: V2 adds": {patch{}.Move("/name", "/description").Replace("/name", "a"), unsafe},
		"replace, then remove":          {patch{}.Replace("/name", "a").Remove("/name"), guarded}, // RFC 6902 section 4.3 refuses it the second time, V2 does not
		"add inside what was removed":   {patch{}.Add("/a/b", 1).Remove("/a"), guarded},
		"add inside what was added":     {patch{}.Add("/a", object("b", 1)).Add("/a/c", 2), idempotent},
		"add inside a string":           {patch{}.Replace("/name", "a").Add("/name/b", 1), unsafe}, // never succeeds
		"escaped names":                 {patch{}.Replace("/a~1b", 1).Add("/m~0n", 2).Remove("/m~0n"), idempotent},

		// Tests.
		"test of an unchanged member":            {patch{}.Test("/role", "reader").Replace("/name", "a"), idempotent},
		"test alone":                             {patch{}.Test("/role", "reader"), idempotent},
		"test of what is changed":                {patch{}.Test("/name", "a").Replace("/name", "b"), guarded},
		"test of what is set to the same":        {patch{}.Test("/name", "a").Replace("/name", "a"), idempotent},
		"test behind the change":                 {patch{}.Replace("/name", "a").Test("/name", "a"), idempotent},
		"test that never holds":                  {patch{}.Replace("/name", "a").Test("/name", "b"), unsafe},
		"test of what is removed":                {patch{}.Test("/name", "a").Remove("/name"), guarded},
		"test of what is appended to":            {patch{}.Test("/customRoleIds", []string{"a"}).Add("/customRoleIds/-", "b"), guarded},
		"test of another list":                   {patch{}.Test("/inlineRole", list).Add("/customRoleIds/-", "b"), unsafe},
		"test of one element":                    {patch{}.Test("/customRoleIds/0", "a").Add("/customRoleIds/-", "b"), unsafe},
		"test behind the append":                 {patch{}.Add("/customRoleIds/-", "b").Test("/customRoleIds", []string{"a", "b"}), guarded},
		"test of the whole document":             {patch{}.Test("", object("name", "a")).Replace("/name", "b"), guarded},
		"test of the whole document, afterwards": {patch{}.Replace("/name", "b").Test("", object("name", "b")), guarded}, // the service sets lastModified
		"test of null":                           {patch{}.Test("/name", nil).Replace("/name", "a"), guarded},
		"test of null, unchanged":                {patch{}.Test("/role", nil).Replace("/name", "a"), guarded}, // some libraries take nothing for null
		"test of null, added":                    {patch{}.Add("/name", nil).Test("/name", nil), idempotent},
		"test of null, taken for nothing":        {patch{}.Test("/a/b", nil).Copy("/a", "/c").Add("/a/b", nil), unsafe},
		"test of null that finds nothing":        {patch{}.Test("/a/b", nil).Replace("/a", map[string]any{}).Add("/customRoleIds/-", "c"), unsafe},
		"test inside what another test knows":    {patch{}.Test("/a", object("b", 1)).Test("/a/b", 1).Replace("/name", "a"), idempotent},
		"order of members":                       {patch{}.Replace("/a", raw(`{"b":1,"c":2}`)).Test("/a", raw(`{"c":2,"b":1}`)), idempotent},
		"1 and 1.0":                              {patch{}.Replace("/a", 1).Test("/a", raw("1.0")), guarded}, // RFC 6902 section 4.6; some compare the text
		"large numbers":                          {patch{}.Test("/a", raw("9007199254740993")).Replace("/a", raw("9007199254740992")).Add("/b/-", 1), unsafe},
		"numbers that differ":                    {patch{}.Test("/a", 1).Replace("/a", 2).Add("/b/-", 1), guarded},
		"numbers out of range":                   {patch{}.Test("/a", raw("1e400")).Replace("/a", raw("1e500")).Add("/b/-", 1), unsafe},
		"escapes in strings":                     {patch{}.Replace("/a", raw(`"b"`)).Test("/a", raw(`"\u0062"`)), guarded},
		"duplicate names":                        {patch{}.Replace("/a", raw(`{"b":1,"b":2}`)).Test("/a/b", 2), unsafe},
		"duplicate names, written over":          {patch{}.Add("/a/b", 1).Add("/a", raw(`{"b":1,"b":2}`)), unsafe}, // the second time /a/b is ambiguous
		"lastModified is the service's":          {patch{}.Test("/lastModified", 1).Replace("/name", "a"), guarded},
		"copy of lastModified":                   {patch{}.Copy("/lastModified", "/description"), unsafe},

		// Moves and copies.
		"move: the source is gone":                  {patch{}.Move("/a", "/b"), guarded},
		"move to itself":                            {patch{}.Move("/a", "/a"), idempotent},
		"move to itself in an array":                {patch{}.Move("/a/0", "/a/0"), idempotent},
		"move there and back":                       {patch{}.Move("/a", "/b").Move("/b", "/a"), idempotent},
		"three moves swap":                          {patch{}.Move("/a", "/t").Move("/b", "/a").Move("/t", "/b"), unsafe},
		"three moves swap two equals":               {patch{}.Test("/a", 1).Test("/b", 1).Move("/a", "/t").Move("/b", "/a").Move("/t", "/b"), idempotent},
		"three moves swap, guarded":                 {patch{}.Test("/a", 1).Test("/b", 2).Move("/a", "/t").Move("/b", "/a").Move("/t", "/b"), guarded},
		"move, and a new source":                    {patch{}.Move("/a", "/b").Add("/a", 1), unsafe},
		"move out of itself":                        {patch{}.Move("/a/b", "/a"), unsafe}, // what is moved may have a member b
		"copy":                                      {patch{}.Copy("/a", "/b"), idempotent},
		"copy of what the service alone writes":     {patch{}.Copy("/_id", "/name"), idempotent},
		"copy, then replace of its source":          {patch{}.Copy("/a", "/b").Replace("/a", 1), unsafe},
		"copy, then replace of its source, guarded": {patch{}.Test("/a", 0).Copy("/a", "/b").Replace("/a", 1), guarded},
		"copy, then the same again":                 {patch{}.Test("/a", 1).Copy("/a", "/b").Replace("/a", 1), idempotent},
		"replace, then copy":                        {patch{}.Replace("/a", 1).Copy("/a", "/b"), idempotent},
		"copies in a ring":                          {patch{}.Copy("/a", "/b").Copy("/b", "/a"), idempotent},
		"copies in a chain that shifts":             {patch{}.Copy("/b", "/c").Copy("/a", "/b"), unsafe},
		"copy into itself":                          {patch{}.Copy("/a", "/a/b"), unsafe},
		"copy of the whole into itself":             {patch{}.Copy("", "/a"), unsafe},
		"copy of a member over its own object":      {patch{}.Copy("/a/b", "/a"), unsafe},
		"copy of what a later operation changes":    {patch{}.Copy("/a", "/b").Replace("/a/c", 1), unsafe},
		"copy, written to":                          {patch{}.Copy("/a", "/b").Add("/b/c", 1), idempotent},
		"copy, and its source removed":              {patch{}.Copy("/a", "/b").Remove("/a"), guarded},
		"test of the source after the copy":         {patch{}.Copy("/a", "/b").Test("/a", 1), idempotent},

		// What may be an array's.
		"append":                                {patch{}.Add("/customRoleIds/-", "a"), unsafe},
		"insert":                                {patch{}.Add("/customRoleIds/0", "a"), unsafe},
		"remove at an index":                    {patch{}.Remove("/customRoleIds/0"), unsafe},
		"replace at an index":                   {patch{}.Replace("/customRoleIds/0", "a"), idempotent},
		"replace below an index":                {patch{}.Replace("/inlineRole/0/effect", "deny"), idempotent},
		"remove below an index":                 {patch{}.Remove("/inlineRole/0/resources"), guarded},
		"add below an index":                    {patch{}.Add("/inlineRole/0/resources", list), idempotent},
		"append below an index":                 {patch{}.Add("/inlineRole/0/resources/-", "a"), unsafe},
		"insert, then replace elsewhere":        {patch{}.Add("/a/0", 1).Replace("/a/3", 1), unsafe},
		"insert, then the whole":                {patch{}.Add("/a/0", 1).Replace("/a", list), idempotent},
		"insert, then remove":                   {patch{}.Add("/a/0", 1).Remove("/a/0"), unsafe},
		"insert before what another one copies": {patch{}.Copy("/a/0", "/b").Add("/a/0", 1), unsafe},
		"copy from an index":                    {patch{}.Copy("/a/0", "/b"), idempotent},
		"move from an index":                    {patch{}.Move("/a/0", "/b"), unsafe},
		"move to an index":                      {patch{}.Move("/b", "/a/0"), guarded},
		"move within an array":                  {patch{}.Move("/a/0", "/a/1"), unsafe},
		"minus as a name":                       {patch{}.Replace("/a/-", 1), unsafe},
		"minus as a name of a known object":     {patch{}.Replace("/a/x", 1).Add("/a/-", 1), idempotent},
		"a number as a name of a known object":  {patch{}.Test("/a", object("b", 1)).Add("/a/0", 1).Remove("/a/b"), guarded},
		"append to a list that the patch set":   {patch{}.Replace("/customRoleIds", []string{"a"}).Add("/customRoleIds/-", "b"), idempotent},
		"insert into a list that the patch set": {patch{}.Replace("/customRoleIds", []string{"a"}).Add("/customRoleIds/0", "b").Move("/customRoleIds/0", "/customRoleIds/1").Remove("/customRoleIds/0"), idempotent},
		"beyond the end of a known list":        {patch{}.Replace("/customRoleIds", []string{"a"}).Add("/customRoleIds/2", "b"), unsafe}, // never succeeds
		"replace beyond the end":                {patch{}.Replace("/customRoleIds", []string{"a"}).Replace("/customRoleIds/1", "b"), unsafe},
		"a name in a known list":                {patch{}.Replace("/customRoleIds", []string{"a"}).Add("/customRoleIds/a", "b"), unsafe},
		"leading zero":                          {patch{}.Replace("/a/00", 1), unsafe},
		"negative index":                        {patch{}.Test("/a/-1", 1), unsafe},
		"an index beyond every int":             {patch{}.Test("/a/99999999999999999999", 1), unsafe},
		"an empty name":                         {patch{}.Replace("/", 1), unsafe},

		// What writes the whole document, and what takes too long.
		"the whole document replaced":  {patch{}.Replace("", object("name", "a")), unsafe},
		"the whole document added":     {patch{}.Add("", object("name", "a")), unsafe},
		"the whole document removed":   {patch{}.Remove(""), unsafe},
		"the whole document moved":     {patch{}.Move("", ""), idempotent},
		"copied over the whole":        {patch{}.Copy("/a", ""), unsafe},
		"moved over the whole":         {patch{}.Move("/a", ""), unsafe},
		"deep":                         {patch{}.Remove(jsonpatch.Pointer(strings.Repeat("/a", 1000))), guarded},
		"too deep":                     {patch{}.Remove(jsonpatch.Pointer(strings.Repeat("/a", 1_000_000))), unsafe},
		"ten thousand appends":         {manyAppends(10_000), idempotent},
		"ten thousand members":         {manyAdds(10_000), idempotent},
		"grows without bound":          {doubled(60), unsafe},
		"grows without bound, guarded": {doubled(60).Remove("/x"), guarded},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, jsonpatch.Analyze(tt.patch, serviceWrites...)) })
	}
}

// serviceWrites are members that a service writes by itself, at any time.
var serviceWrites = []string{"lastModified", "lastUsed"}

func manyAdds(n int) (p patch) {
	for i := range n {
		p = p.Add(jsonpatch.Pointer("").Append(fmt.Sprintf("m%d", i)), i)
	}
	return p
}

func manyAppends(n int) patch {
	p := patch{}.Replace("/a", []int{})
	for i := range n {
		p = p.Add("/a/-", i)
	}
	return p
}

// doubled returns a patch that doubles the size of /a n times.
func doubled(n int) patch {
	p := patch{}.Replace("/a", map[string]int{})
	for range n {
		p = p.Copy("/a", "/b").Copy("/b", "/a/l").Copy("/b", "/a/r")
	}
	return p
}

// What Analyze says holds for random patches and documents. Where the judge, which is
// evanphx/json-patch, and RFC 6902 differ, Analyze has to be right for both:
//   - test with null succeeds where there is nothing (section 4.6);
//   - numbers are compared as text (section 4.6);
//   - test of an array that holds null can panic, which counts as a failure;
//   - the empty reference token names the whole document (RFC 6901 section 5);
//   - "01", "-1" and "+1" are indexes (RFC 6901 section 4).
func TestReplayProperty(t *testing.T) {
	cases := *replayCases
	if testing.Short() {
		cases /= 10
	}
	random := rand.New(rand.NewPCG(6902, 6901))
	said := map[jsonpatch.Replay]int{}
	for range cases {
		said[checkReplay(t, random)]++
	}
	t.Log(said)
	for replay := range jsonpatch.Idempotent + 1 {
		assert.Greater(t, said[replay], cases/20, replay)
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

// FuzzReplayJSON looks for values and tokens that FuzzReplay does not make.
func FuzzReplayJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}]}`), []byte(`[{"op":"test","path":"/a/1","value":{"b":null}},{"op":"add","path":"/a/-","value":2}]`))
	f.Add([]byte(`{"name":"a","role":1.0}`), []byte(`[{"op":"copy","from":"/name","path":"/x~1y"},{"op":"move","from":"/role","path":"/name"},{"op":"test","path":"","value":{}}]`))
	f.Add([]byte(`[1,[2],{"0":3}]`), []byte(`[{"op":"replace","path":"/1","value":{"a":1,"a":2}},{"op":"remove","path":"/1/a"}]`))
	f.Fuzz(func(t *testing.T, document, body []byte) {
		p, err := decode(body)
		if err != nil || !json.Valid(document) || hasDuplicates(document) {
			return
		}
		for _, lenient := range []bool{false, true} {
			newClaim(p, lenient).check(t, document)
		}
	})
}

// dice is what random documents and patches are made with: a rand.Rand, or a source.
type dice interface{ IntN(n int) int }

// checkReplay makes a patch that succeeds on a document, and checks what Analyze
// says of it on that document and on others.
func checkReplay(t *testing.T, d dice) jsonpatch.Replay {
	t.Helper()
	lenient := d.IntN(2) == 0
	document := randomDocument(d)
	said := newClaim(randomPatch(d, document, lenient), lenient)
	said.check(t, document)
	if said.replay != jsonpatch.Unsafe {
		said.check(t, mutated(d, document))
		said.check(t, mutated(d, document))
		said.check(t, randomDocument(d))
	}
	return said.replay
}

// claim is what Analyze says of a patch, and the judge that checks it.
type claim struct {
	patch  patch
	replay jsonpatch.Replay
	judge  judge
}

func newClaim(p patch, lenient bool) claim {
	return claim{p, jsonpatch.Analyze(p, serviceWrites...), newJudge(p, lenient)}
}

func (c claim) check(t *testing.T, document []byte) verdict {
	t.Helper()
	came := c.judge.twice(document)
	if !c.allows(came) {
		require.Failf(t, "wrong", "%s, lenient %v, says %v, but %s:\n%v", document, c.judge.lenient, c.replay, came, c.patch)
	}
	return came
}

func (c claim) allows(came verdict) bool {
	switch c.replay {
	case jsonpatch.Idempotent:
		return came == doneOnce || came == neverDone
	case jsonpatch.Guarded:
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
	operations evanphx.Patch
	adding     evanphx.Patch // the same for a lenient judge
	lenient    bool
}

func newJudge(p patch, lenient bool) judge {
	operations, err := evanphx.DecodePatch(p.encode())
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
	twice, err := j.apply(once)
	switch {
	case err != nil:
		return failedAgain
	case equalJSON(once, twice):
		return doneOnce
	}
	return doneTwice
}

func (j judge) apply(document []byte) (after []byte, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			err = fmt.Errorf("panic: %v", recovered)
		}
	}()
	operations := j.operations
	if j.lenient && document[0] == '{' {
		operations = j.adding
	}
	return operations.Apply(document)
}

func replacesThatAdd(operations evanphx.Patch) evanphx.Patch {
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

func hasDuplicates(document []byte) bool {
	encoded, err := json.Marshal(decodeExactly(document))
	return err != nil || strings.Count(string(encoded), ":") != strings.Count(string(document), ":")
}

var (
	randomNames   = []string{"a", "b", "c", "0", "1", "-", "~", "/", "01", "-1", "lastModified"}
	randomScalars = []any{nil, true, 0, 1, json.RawMessage("1.0"), json.RawMessage("10e-1"), "", "a", "b", json.RawMessage(`"\u0061"`)}
)

func randomDocument(d dice) []byte {
	var document any
	if d.IntN(10) == 0 {
		document = randomArray(d, 3)
	} else {
		document = randomObject(d, 3)
	}
	return mustMarshal(document)
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

// mutated returns a document that up to three random operations have changed.
func mutated(d dice, document []byte) []byte {
	for range 1 + d.IntN(3) {
		next, err := newJudge(randomOperation(d, decodeExactly(document))(nil), false).apply(document)
		if err == nil {
			document = next
		}
	}
	return document
}

// randomPatch returns a patch of a few operations that succeed on document.
func randomPatch(d dice, document []byte, lenient bool) (p patch) {
	for range 1 + d.IntN(6) {
		root := decodeExactly(document)
		for range 4 {
			op := randomOperation(d, root)
			after, err := newJudge(op(nil), lenient).apply(document)
			if err == nil {
				p, document = op(p), after
				break
			}
		}
	}
	return p
}

// randomOperation returns a function that adds an operation to a patch.
func randomOperation(d dice, document any) func(patch) patch {
	path, present := randomPath(d, document)
	from, _ := randomPath(d, document)
	value, kind := randomValue(d, 2), d.IntN(8)
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
		case 5, 6:
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

// Analyze has to recognise nearly all of the patches of tokens that are in truth
// idempotent, or guarded. The truth is what the judge finds for this token and others.
func TestReplayRecognises(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 6902))
	var idempotent, guarded share
	for range 200 {
		before, after := randomToken(random), randomToken(random)
		for _, patch := range []patch{
			randomSetters(random),
			diffOf(before, after),
			guardOf(randomSetters(random), before),
			guardOf(diffOf(before, after), before),
			guardOf(diffOf(before, before), before),
			slices.Concat(guardOf(diffOf(before, after), before), randomSetters(random)),
			guardOf(patch{}.Copy("/name", "/description"), before),
			guardOf(patch{}.Move("/description", "/name"), before),
		} {
			said := newClaim(patch, true)
			switch truth(t, random, said, before) {
			case jsonpatch.Idempotent:
				idempotent.add(said.replay == jsonpatch.Idempotent)
			case jsonpatch.Guarded:
				guarded.add(said.replay == jsonpatch.Guarded)
			}
		}
	}
	t.Logf("recognised: idempotent %v, guarded %v", idempotent, guarded)
	assert.GreaterOrEqual(t, idempotent.percent(), 95.0)
	assert.GreaterOrEqual(t, guarded.percent(), 95.0)
}

// truth returns what the judge says, for token and for others.
func truth(t *testing.T, d dice, said claim, token map[string]any) jsonpatch.Replay {
	t.Helper()
	came := map[verdict]bool{}
	for range 6 {
		came[said.check(t, mustMarshal(token))] = true
		token = maps.Clone(token)
		maps.Copy(token, randomToken(d))
	}
	switch {
	case came[doneTwice], !came[doneOnce] && !came[failedAgain]:
		return jsonpatch.Unsafe
	case came[failedAgain]:
		return jsonpatch.Guarded
	}
	return jsonpatch.Idempotent
}

type share struct{ recognised, all int }

func (s *share) add(recognised bool) {
	s.all++
	if recognised {
		s.recognised++
	}
}

func (s share) percent() float64 { return 100 * float64(s.recognised) / float64(s.all) }

func (s share) String() string { return fmt.Sprintf("%.1f %% of %d", s.percent(), s.all) }

// A token as the service holds it: what people change, and a little more.
var tokenValues = map[string][]any{
	"name":              {"", "a", "b", "a/b~c"},
	"description":       {"", "a", "c", nil},
	"role":              {"reader", "writer", "admin"},
	"customRoleIds":     {[]any{}, []any{"a"}, []any{"a", "b"}, []any{"b", "a"}},
	"inlineRole":        {[]any{}, []any{map[string]any{"effect": "allow", "actions": []any{"*"}}}, []any{map[string]any{"effect": "deny"}, map[string]any{"effect": "allow"}}},
	"defaultApiVersion": {20191212, 20220603, 20240415},
}

func randomToken(d dice) map[string]any {
	token := map[string]any{"_id": "61095542756dba551110ae21", "lastModified": 1}
	for _, name := range slices.Sorted(maps.Keys(tokenValues)) {
		if d.IntN(4) > 0 {
			token[name] = pick(d, tokenValues[name]...)
		}
	}
	return token
}

func randomSetters(d dice) (p patch) {
	for range 1 + d.IntN(4) {
		switch d.IntN(7) {
		case 0:
			p = p.Replace("/name", pick(d, "a", "b"))
		case 1:
			p = p.Replace("/description", pick(d, "", "c"))
		case 2:
			p = p.Replace("/role", pick(d, "reader", "admin"))
		case 3:
			p = p.Replace("/customRoleIds", pick(d, []string{}, []string{"a"}, []string{"b", "a"}))
		case 4:
			p = p.Add("/customRoleIds/-", pick(d, "a", "c"))
		case 5:
			p = p.Replace("/inlineRole", json.RawMessage(`[{"effect":"allow"}]`))
		default:
			p = p.Replace("/defaultApiVersion", 20240415)
		}
	}
	return p
}

// diffOf returns a patch that turns before into after.
func diffOf(before, after map[string]any) (p patch) {
	for _, name := range slices.Sorted(maps.Keys(tokenValues)) {
		path := jsonpatch.Pointer("").Append(name)
		was, had := before[name]
		will, has := after[name]
		switch {
		case had == has && reflect.DeepEqual(was, will):
		case !has:
			p = p.Remove(path)
		case !had:
			p = p.Add(path, will)
		default:
			p = p.Replace(path, will)
		}
	}
	return p
}

// guardOf returns p with a test in front for each member of before that p
// reads or writes.
func guardOf(p patch, before map[string]any) (guarded patch) {
	tested := map[string]bool{}
	for _, op := range p {
		for _, path := range []jsonpatch.Pointer{op.From, op.Path} {
			tokens, _ := path.Tokens()
			if len(tokens) == 0 || tested[tokens[0]] {
				continue
			}
			tested[tokens[0]] = true
			if value, has := before[tokens[0]]; has {
				guarded = guarded.Test(jsonpatch.Pointer("").Append(tokens[0]), value)
			}
		}
	}
	return append(guarded, p...)
}

// Values that are nested thousands deep are not taken for the same one.
func TestReplayOfDeepValues(t *testing.T) {
	nested := json.RawMessage(strings.Repeat(`{"a":[`, 4000) + strings.Repeat(`]}`, 4000))
	other := json.RawMessage(strings.Repeat(`{"a":[`, 4000) + "1" + strings.Repeat(`]}`, 4000))
	p := patch{}.Test("/a", nested).Replace("/a", other)
	assert.NotPanics(t, func() { assert.NotEqual(t, jsonpatch.Idempotent, jsonpatch.Analyze(p)) })
}

func TestReplayIsReadOnly(t *testing.T) {
	p := patch{}.Test("/customRoleIds", []string{"a"}).Add("/customRoleIds/-", "b").Move("/customRoleIds/0", "/name")
	before := p.String()
	for range 2 {
		assert.Equal(t, jsonpatch.Guarded, jsonpatch.Analyze(p))
	}
	assert.Equal(t, before, p.String())
}
