package jsonpatch_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
)

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
