package tokenpatch_test

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

func ExamplePatch_Replay() {
	patch := newPatch().SetRole(tokenpatch.RoleReader)
	fmt.Println(patch.Replay())

	// Between the two a second application would append the role again.
	fmt.Println(patch.Clone().AddCustomRoleID("ci").Replay())

	// A test of what the patch changes fails the second time.
	fmt.Println(newPatch().Test(tokenpatch.PathCustomRoleIDs, []string{}).AddCustomRoleID("ci").Replay())
	// Output:
	// idempotent
	// unsafe
	// guarded
}

func TestReplay(t *testing.T) {
	const idempotent, guarded, unsafe = tokenpatch.ReplayIdempotent, tokenpatch.ReplayGuarded, tokenpatch.ReplayUnsafe
	list := []any{}
	object := func(name string, value any) map[string]any { return map[string]any{name: value} }
	raw := func(text string) json.RawMessage { return json.RawMessage(text) }
	tests := map[string]struct {
		patch *tokenpatch.Patch
		want  tokenpatch.Replay
	}{
		// Members of an object.
		"nothing":                       {newPatch(), idempotent},
		"replace":                       {newPatch().SetName("a"), idempotent},
		"every setter but the append":   {newPatch().SetName("a").SetDescription("b").SetRole("reader").SetCustomRoleIDs("c").SetInlineRole(allow()).SetDefaultAPIVersion(1).Comment("d"), idempotent},
		"add replaces a member":         {newPatch().Add("/name", "a"), idempotent},
		"add of null":                   {newPatch().Add("/name", nil), idempotent},
		"replace deep inside":           {newPatch().Replace("/a/b/c", 1), idempotent},
		"the last write counts":         {newPatch().SetName("a").SetName("b"), idempotent},
		"remove: nothing is left":       {newPatch().Remove("/description"), guarded},
		"remove, then add":              {newPatch().Remove("/name").Add("/name", "a"), idempotent},
		"add, then remove":              {newPatch().Add("/name", "a").Remove("/name"), idempotent},
		"remove twice never succeeds":   {newPatch().Remove("/name").Remove("/name"), unsafe},
		"remove, then replace: V2 adds": {newPatch().Move("/name", "/description").SetName("a"), unsafe},
		"replace, then remove":          {newPatch().SetName("a").Remove("/name"), guarded}, // RFC 6902 section 4.3 refuses it the second time, V2 does not
		"add inside what was removed":   {newPatch().Add("/a/b", 1).Remove("/a"), guarded},
		"add inside what was added":     {newPatch().Add("/a", object("b", 1)).Add("/a/c", 2), idempotent},
		"add inside a string":           {newPatch().SetName("a").Add("/name/b", 1), unsafe}, // never succeeds
		"escaped names":                 {newPatch().Replace("/a~1b", 1).Add("/m~0n", 2).Remove("/m~0n"), idempotent},

		// Tests.
		"test of an unchanged member":            {newPatch().Test("/role", "reader").SetName("a"), idempotent},
		"test alone":                             {newPatch().Test("/role", "reader"), idempotent},
		"test of what is changed":                {newPatch().Test("/name", "a").SetName("b"), guarded},
		"test of what is set to the same":        {newPatch().Test("/name", "a").SetName("a"), idempotent},
		"test behind the change":                 {newPatch().SetName("a").Test("/name", "a"), idempotent},
		"test that never holds":                  {newPatch().SetName("a").Test("/name", "b"), unsafe},
		"test of what is removed":                {newPatch().Test("/name", "a").Remove("/name"), guarded},
		"test of what is appended to":            {newPatch().Test("/customRoleIds", []string{"a"}).AddCustomRoleID("b"), guarded},
		"test of another list":                   {newPatch().Test("/inlineRole", list).AddCustomRoleID("b"), unsafe},
		"test of one element":                    {newPatch().Test("/customRoleIds/0", "a").AddCustomRoleID("b"), unsafe},
		"test behind the append":                 {newPatch().AddCustomRoleID("b").Test("/customRoleIds", []string{"a", "b"}), guarded},
		"test of the whole document":             {newPatch().Test("", object("name", "a")).SetName("b"), guarded},
		"test of the whole document, afterwards": {newPatch().SetName("b").Test("", object("name", "b")), guarded}, // the service sets lastModified
		"test of null":                           {newPatch().Test("/name", nil).SetName("a"), guarded},
		"test of null, unchanged":                {newPatch().Test("/role", nil).SetName("a"), guarded}, // some libraries take nothing for null
		"test of null, added":                    {newPatch().Add("/name", nil).Test("/name", nil), idempotent},
		"test of null, taken for nothing":        {newPatch().Test("/a/b", nil).Copy("/a", "/c").Add("/a/b", nil), unsafe},
		"test of null that finds nothing":        {newPatch().Test("/a/b", nil).Replace("/a", map[string]any{}).AddCustomRoleID("c"), unsafe},
		"test inside what another test knows":    {newPatch().Test("/a", object("b", 1)).Test("/a/b", 1).SetName("a"), idempotent},
		"order of members":                       {newPatch().Replace("/a", raw(`{"b":1,"c":2}`)).Test("/a", raw(`{"c":2,"b":1}`)), idempotent},
		"1 and 1.0":                              {newPatch().Replace("/a", 1).Test("/a", raw("1.0")), guarded}, // RFC 6902 section 4.6; some compare the text
		"large numbers":                          {newPatch().Test("/a", raw("9007199254740993")).Replace("/a", raw("9007199254740992")).Add("/b/-", 1), unsafe},
		"numbers that differ":                    {newPatch().Test("/a", 1).Replace("/a", 2).Add("/b/-", 1), guarded},
		"numbers out of range":                   {newPatch().Test("/a", raw("1e400")).Replace("/a", raw("1e500")).Add("/b/-", 1), unsafe},
		"escapes in strings":                     {newPatch().Replace("/a", raw(`"b"`)).Test("/a", raw(`"\u0062"`)), guarded},
		"duplicate names":                        {newPatch().Replace("/a", raw(`{"b":1,"b":2}`)).Test("/a/b", 2), unsafe},
		"lastModified is the service's":          {newPatch().Test("/lastModified", 1).SetName("a"), guarded},
		"copy of lastModified":                   {newPatch().Copy("/lastModified", "/description"), unsafe},

		// Moves and copies.
		"move: the source is gone":                   {newPatch().Move("/a", "/b"), guarded},
		"move to itself":                             {newPatch().Move("/a", "/a"), idempotent},
		"move to itself in an array":                 {newPatch().Move("/a/0", "/a/0"), idempotent},
		"move there and back":                        {newPatch().Move("/a", "/b").Move("/b", "/a"), idempotent},
		"three moves swap":                           {newPatch().Move("/a", "/t").Move("/b", "/a").Move("/t", "/b"), unsafe},
		"three moves swap two equals":                {newPatch().Test("/a", 1).Test("/b", 1).Move("/a", "/t").Move("/b", "/a").Move("/t", "/b"), idempotent},
		"three moves swap, guarded":                  {newPatch().Test("/a", 1).Test("/b", 2).Move("/a", "/t").Move("/b", "/a").Move("/t", "/b"), guarded},
		"move, and a new source":                     {newPatch().Move("/a", "/b").Add("/a", 1), unsafe},
		"move out of itself":                         {newPatch().Move("/a/b", "/a"), unsafe}, // what is moved may have a member b
		"copy":                                       {newPatch().Copy("/a", "/b"), idempotent},
		"copy of what the service alone writes":      {newPatch().Copy("/_id", "/name"), idempotent},
		"copy, then replace of its source":           {newPatch().Copy("/a", "/b").Replace("/a", 1), unsafe},
		"copy, then replace of its source, guarded":  {newPatch().Test("/a", 0).Copy("/a", "/b").Replace("/a", 1), guarded},
		"copy, then the same again":                  {newPatch().Test("/a", 1).Copy("/a", "/b").Replace("/a", 1), idempotent},
		"replace, then copy":                         {newPatch().Replace("/a", 1).Copy("/a", "/b"), idempotent},
		"copies in a ring":                           {newPatch().Copy("/a", "/b").Copy("/b", "/a"), idempotent},
		"copies in a chain that shifts":              {newPatch().Copy("/b", "/c").Copy("/a", "/b"), unsafe},
		"copy into itself":                           {newPatch().Copy("/a", "/a/b"), unsafe},
		"copy of the whole into itself":              {newPatch().Copy("", "/a"), unsafe},
		"copy of a member to the place of its owner": {newPatch().Copy("/a/b", "/a"), unsafe},
		"copy of what a later operation changes":     {newPatch().Copy("/a", "/b").Replace("/a/c", 1), unsafe},
		"copy, written to":                           {newPatch().Copy("/a", "/b").Add("/b/c", 1), idempotent},
		"copy, and its source removed":               {newPatch().Copy("/a", "/b").Remove("/a"), guarded},
		"copy learns what its source is":             {newPatch().Copy("/a", "/b").Test("/a", 1), idempotent},

		// What may be an array's.
		"append":                                {newPatch().AddCustomRoleID("a"), unsafe},
		"insert":                                {newPatch().Add("/customRoleIds/0", "a"), unsafe},
		"remove at an index":                    {newPatch().Remove("/customRoleIds/0"), unsafe},
		"replace at an index":                   {newPatch().Replace("/customRoleIds/0", "a"), idempotent},
		"replace below an index":                {newPatch().Replace("/inlineRole/0/effect", "deny"), idempotent},
		"remove below an index":                 {newPatch().Remove("/inlineRole/0/resources"), guarded},
		"add below an index":                    {newPatch().Add("/inlineRole/0/resources", list), idempotent},
		"append below an index":                 {newPatch().Add("/inlineRole/0/resources/-", "a"), unsafe},
		"insert, then replace elsewhere":        {newPatch().Add("/a/0", 1).Replace("/a/3", 1), unsafe},
		"insert, then the whole":                {newPatch().Add("/a/0", 1).Replace("/a", list), idempotent},
		"insert, then remove":                   {newPatch().Add("/a/0", 1).Remove("/a/0"), unsafe},
		"insert before what another one copies": {newPatch().Copy("/a/0", "/b").Add("/a/0", 1), unsafe},
		"copy from an index":                    {newPatch().Copy("/a/0", "/b"), idempotent},
		"move from an index":                    {newPatch().Move("/a/0", "/b"), unsafe},
		"move to an index":                      {newPatch().Move("/b", "/a/0"), guarded},
		"move within an array":                  {newPatch().Move("/a/0", "/a/1"), unsafe},
		"minus as a name":                       {newPatch().Replace("/a/-", 1), unsafe},
		"minus as a name of a known object":     {newPatch().Replace("/a/x", 1).Add("/a/-", 1), idempotent},
		"a number as a name of a known object":  {newPatch().Test("/a", object("b", 1)).Add("/a/0", 1).Remove("/a/b"), guarded},
		"append to a list that the patch set":   {newPatch().SetCustomRoleIDs("a").AddCustomRoleID("b"), idempotent},
		"insert into a list that the patch set": {newPatch().SetCustomRoleIDs("a").Add("/customRoleIds/0", "b").Move("/customRoleIds/0", "/customRoleIds/1").Remove("/customRoleIds/0"), idempotent},
		"beyond the end of a known list":        {newPatch().SetCustomRoleIDs("a").Add("/customRoleIds/2", "b"), unsafe}, // never succeeds
		"replace beyond the end":                {newPatch().SetCustomRoleIDs("a").Replace("/customRoleIds/1", "b"), unsafe},
		"a name in a known list":                {newPatch().SetCustomRoleIDs("a").Add("/customRoleIds/a", "b"), unsafe},
		"leading zero":                          {newPatch().Replace("/a/00", 1), unsafe},
		"negative index":                        {newPatch().Test("/a/-1", 1), unsafe},
		"an index beyond every int":             {newPatch().Test("/a/99999999999999999999", 1), unsafe},
		"an empty name":                         {newPatch().Replace("/", 1), unsafe},

		// What cannot be sent.
		"nil":                          {nil, unsafe},
		"a mistake":                    {newPatch().SetRole(""), unsafe},
		"the whole document replaced":  {newPatch().Replace("", object("name", "a")), unsafe},
		"the whole document added":     {newPatch().Add("", object("name", "a")), unsafe},
		"the whole document removed":   {newPatch().Remove(""), unsafe},
		"the whole document moved":     {newPatch().Move("", ""), idempotent},
		"copied over the whole":        {newPatch().Copy("/a", ""), unsafe},
		"moved over the whole":         {newPatch().Move("/a", ""), unsafe},
		"deep":                         {newPatch().Remove(tokenpatch.Pointer(strings.Repeat("/a", 1000))), guarded},
		"too deep":                     {newPatch().Remove(tokenpatch.Pointer(strings.Repeat("/a", 1_000_000))), unsafe},
		"too long":                     {manyAdds(10_000), unsafe},
		"grows without bound":          {doubled(60), unsafe},
		"grows without bound, guarded": {doubled(60).Remove("/x"), guarded},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, tt.patch.Replay()) })
	}
}

func manyAdds(n int) *tokenpatch.Patch {
	patch := newPatch()
	for i := range n {
		patch.Add(tokenpatch.NewPointer(fmt.Sprintf("m%d", i)), i)
	}
	return patch
}

// doubled returns a patch that makes of a document one of two to the power of
// n parts.
func doubled(n int) *tokenpatch.Patch {
	patch := newPatch().Replace("/a", map[string]int{})
	for range n {
		patch.Copy("/a", "/b").Copy("/b", "/a/l").Copy("/b", "/a/r")
	}
	return patch
}

func TestReplayString(t *testing.T) {
	assert.Equal(t, "unsafe guarded idempotent unsafe", fmt.Sprint(
		tokenpatch.ReplayUnsafe, tokenpatch.ReplayGuarded, tokenpatch.ReplayIdempotent, tokenpatch.Replay(7)))
}

// What Replay says holds for random patches and documents. Where the judge and
// RFC 6902 differ, Replay has to be right for both:
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
	said := map[tokenpatch.Replay]int{}
	for range cases {
		said[checkReplay(t, random)]++
	}
	t.Log(said)
	for replay := range tokenpatch.ReplayIdempotent + 1 {
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
	f.Fuzz(func(t *testing.T, data []byte) { checkReplay(t, (*byteDice)(&data)) })
}

// FuzzReplayJSON looks for values and tokens that FuzzReplay does not make.
func FuzzReplayJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}]}`), []byte(`[{"op":"test","path":"/a/1","value":{"b":null}},{"op":"add","path":"/a/-","value":2}]`))
	f.Add([]byte(`{"name":"a","role":1.0}`), []byte(`[{"op":"copy","from":"/name","path":"/x~1y"},{"op":"move","from":"/role","path":"/name"},{"op":"test","path":"","value":{}}]`))
	f.Add([]byte(`[1,[2],{"0":3}]`), []byte(`[{"op":"replace","path":"/1","value":{"a":1,"a":2}},{"op":"remove","path":"/1/a"}]`))
	f.Fuzz(func(t *testing.T, document, body []byte) {
		var patch tokenpatch.Patch
		if json.Unmarshal(body, &patch) != nil || !json.Valid(document) || hasDuplicates(document) {
			return
		}
		for _, lenient := range []bool{false, true} {
			newClaim(&patch, lenient).check(t, document)
		}
	})
}

// dice is what random documents and patches are made of.
type dice interface{ IntN(n int) int }

// byteDice throws what a fuzzer wants, and zeros when that is used up.
type byteDice []byte

func (d *byteDice) IntN(n int) int {
	if len(*d) == 0 {
		return 0
	}
	thrown := int((*d)[0]) % n
	*d = (*d)[1:]
	return thrown
}

func pickOne[T any](d dice, from []T) T { return from[d.IntN(len(from))] }

// checkReplay makes a patch that succeeds on a document, and checks what
// Replay says of it on that document and on others.
func checkReplay(t *testing.T, d dice) tokenpatch.Replay {
	t.Helper()
	lenient := d.IntN(2) == 0
	document := randomDocument(d)
	said := newClaim(randomPatch(d, document, lenient), lenient)
	said.check(t, document)
	if said.replay != tokenpatch.ReplayUnsafe {
		said.check(t, mutated(d, document))
		said.check(t, mutated(d, document))
		said.check(t, randomDocument(d))
	}
	return said.replay
}

// claim is what Replay says of a patch, and who judges it.
type claim struct {
	patch  *tokenpatch.Patch
	replay tokenpatch.Replay
	judge  judge
}

func newClaim(patch *tokenpatch.Patch, lenient bool) claim {
	return claim{patch, patch.Replay(), newJudge(patch, lenient)}
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
	case tokenpatch.ReplayIdempotent:
		return came == doneOnce || came == neverDone
	case tokenpatch.ReplayGuarded:
		return came != doneTwice
	}
	return true
}

// verdict is what came of sending a patch twice.
type verdict string

const (
	neverDone   verdict = "failed at once"
	doneOnce    verdict = "the second time changed nothing"
	failedAgain verdict = "the second time failed"
	doneTwice   verdict = "the second time changed something"
)

// judge applies a patch with code that is not ours. A lenient one lets replace
// add a member to the token, as V2 does.
type judge struct {
	operations jsonpatch.Patch
	adding     jsonpatch.Patch // the same for a lenient judge
	lenient    bool
}

// newJudge returns a judge of patch, or one that refuses every document if
// patch cannot be sent.
func newJudge(patch *tokenpatch.Patch, lenient bool) judge {
	body := []byte("[]")
	if patch.Len() > 0 {
		var err error
		if body, err = patch.Clone().Comment("").MarshalJSON(); err != nil {
			body = []byte(`[{"op":"remove","path":"/cannot be sent"}]`)
		}
	}
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

func decodeExactly(data []byte) (value any) {
	decoder := json.NewDecoder(strings.NewReader(string(data)))
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

func mustMarshal(value any) []byte {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return encoded
}

func randomValue(d dice, depth int) any {
	switch kind := d.IntN(4); {
	case depth == 0 || kind < 2:
		return pickOne(d, randomScalars)
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
	return pickOne(d, randomNames)
}

// mutated returns a document that differs in one place or a few.
func mutated(d dice, document []byte) []byte {
	for range 1 + d.IntN(3) {
		next, err := newJudge(randomOperation(d, decodeExactly(document))(newPatch()), false).apply(document)
		if err == nil {
			document = next
		}
	}
	return document
}

// randomPatch returns a patch of a few operations that succeed on document.
func randomPatch(d dice, document []byte, lenient bool) *tokenpatch.Patch {
	patch := newPatch()
	for range 1 + d.IntN(6) {
		root := decodeExactly(document)
		for range 4 {
			op := randomOperation(d, root)
			after, err := newJudge(op(newPatch()), lenient).apply(document)
			if err == nil {
				patch, document = op(patch), after
				break
			}
		}
	}
	return patch
}

// randomOperation returns what adds an operation to a patch.
func randomOperation(d dice, document any) func(*tokenpatch.Patch) *tokenpatch.Patch {
	path, present := randomPlace(d, document)
	from, _ := randomPlace(d, document)
	value, kind := randomValue(d, 2), d.IntN(8)
	return func(patch *tokenpatch.Patch) *tokenpatch.Patch {
		switch kind {
		case 0:
			return patch.Remove(path)
		case 1:
			return patch.Move(from, path)
		case 2:
			return patch.Copy(from, path)
		case 3:
			return patch.Replace(path, value)
		case 4:
			return patch.Test(path, value)
		case 5, 6:
			return patch.Test(path, present)
		}
		return patch.Add(path, value)
	}
}

// randomPlace returns a path into value, and what is there; nil if nothing is.
func randomPlace(d dice, value any) (tokenpatch.Pointer, any) {
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
		token := pickOne(d, tokens)
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

// Of the patches of tokens that are in truth idempotent, or guarded, Replay
// has to recognise nearly all. The truth is what the judge says for this token
// and for others.
func TestReplayRecognises(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 6902))
	var idempotent, guarded share
	for range 200 {
		before, after := randomToken(random), randomToken(random)
		for _, patch := range []*tokenpatch.Patch{
			randomSetters(random),
			diffOf(before, after),
			guardOf(randomSetters(random), before),
			guardOf(diffOf(before, after), before),
			guardOf(diffOf(before, before), before),
			joined(guardOf(diffOf(before, after), before), randomSetters(random)),
			guardOf(newPatch().Copy("/name", "/description"), before),
			guardOf(newPatch().Move("/description", "/name"), before),
		} {
			said := newClaim(patch, true)
			switch truth(t, random, said, before) {
			case tokenpatch.ReplayIdempotent:
				idempotent.add(said.replay == tokenpatch.ReplayIdempotent)
			case tokenpatch.ReplayGuarded:
				guarded.add(said.replay == tokenpatch.ReplayGuarded)
			}
		}
	}
	t.Logf("recognised: idempotent %v, guarded %v", idempotent, guarded)
	assert.GreaterOrEqual(t, idempotent.percent(), 95.0)
	assert.GreaterOrEqual(t, guarded.percent(), 95.0)
}

// truth returns what the judge says, for token and for others.
func truth(t *testing.T, d dice, said claim, token map[string]any) tokenpatch.Replay {
	t.Helper()
	came := map[verdict]bool{}
	for range 6 {
		came[said.check(t, mustMarshal(token))] = true
		token = maps.Clone(token)
		maps.Copy(token, randomToken(d))
	}
	switch {
	case came[doneTwice], !came[doneOnce] && !came[failedAgain]:
		return tokenpatch.ReplayUnsafe
	case came[failedAgain]:
		return tokenpatch.ReplayGuarded
	}
	return tokenpatch.ReplayIdempotent
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
			token[name] = pickOne(d, tokenValues[name])
		}
	}
	return token
}

func randomSetters(d dice) *tokenpatch.Patch {
	patch := newPatch()
	for range 1 + d.IntN(4) {
		switch d.IntN(8) {
		case 0:
			patch.SetName(pickOne(d, []string{"a", "b"}))
		case 1:
			patch.SetDescription(pickOne(d, []string{"", "c"}))
		case 2:
			patch.SetRole(pickOne(d, []tokenpatch.Role{tokenpatch.RoleReader, tokenpatch.RoleAdmin}))
		case 3:
			patch.SetCustomRoleIDs(pickOne(d, [][]string{nil, {"a"}, {"b", "a"}})...)
		case 4:
			patch.AddCustomRoleID(pickOne(d, []string{"a", "c"}))
		case 5:
			patch.SetInlineRole(allow())
		case 6:
			patch.SetDefaultAPIVersion(20240415)
		default:
			patch.Comment("why")
		}
	}
	return patch
}

func diffOf(before, after map[string]any) *tokenpatch.Patch {
	return tokenpatch.Diff(asToken(before), asToken(after))
}

func guardOf(patch *tokenpatch.Patch, before map[string]any) *tokenpatch.Patch {
	guarded, _ := patch.Guard(asToken(before))
	return guarded
}

func asToken(document map[string]any) (token tokenpatch.Token) {
	if err := json.Unmarshal(mustMarshal(document), &token); err != nil {
		panic(err)
	}
	return token
}

// joined returns the operations of both.
func joined(first, second *tokenpatch.Patch) *tokenpatch.Patch {
	operations := slices.Concat(newJudge(first, false).operations, newJudge(second, false).operations)
	patch := newPatch()
	if len(operations) > 0 {
		if err := json.Unmarshal(mustMarshal(operations), patch); err != nil {
			panic(err)
		}
	}
	return patch
}

// A nested value costs no more than what it is worth, whatever is in it.
func TestReplayNested(t *testing.T) {
	nested := json.RawMessage(strings.Repeat(`{"a":[`, 4000) + strings.Repeat(`]}`, 4000))
	other := json.RawMessage(strings.Repeat(`{"a":[`, 4000) + "1" + strings.Repeat(`]}`, 4000))
	patch := newPatch().Test("/a", nested).Replace("/a", other)
	require.NoError(t, patch.Err())
	assert.NotPanics(t, func() { assert.NotEqual(t, tokenpatch.ReplayIdempotent, patch.Replay()) })
}

func TestReplayIsReadOnly(t *testing.T) {
	patch := newPatch().Test("/customRoleIds", []string{"a"}).AddCustomRoleID("b").Move("/customRoleIds/0", "/name")
	before := patch.Clone()
	for range 2 {
		assert.Equal(t, tokenpatch.ReplayGuarded, patch.Replay())
	}
	assert.Equal(t, before.String(), patch.String())
}
