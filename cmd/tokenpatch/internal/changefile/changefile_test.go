package changefile_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/changefile"
)

// write writes a file of changes.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// read reads a file that is right, as the changes that a run keeps.
func read(t testing.TB, path string) (changes []string, file *changefile.File) {
	t.Helper()
	file, err := changefile.Open(path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, file.Close()) })
	for change, err := range file.All() {
		require.NoError(t, err)
		encoded, err := json.Marshal(change)
		require.NoError(t, err)
		changes = append(changes, string(encoded))
	}
	return changes, file
}

// mistakes reads a file that is wrong.
func mistakes(t testing.TB, path string) []string {
	t.Helper()
	_, err := changefile.Open(path, nil)
	var wrong *changefile.MistakesError
	require.ErrorAs(t, err, &wrong)
	var texts []string
	for _, m := range wrong.Mistakes {
		texts = append(texts, m.String())
	}
	assert.Equal(t, wrong.Count, len(texts))
	return texts
}

func TestJSONLines(t *testing.T) {
	changes, file := read(t, write(t, "changes.jsonl", "\ufeff"+`{"api":"v2","id":"61095542756dba551110ae21","want":{"role":"reader","description":null},"comment":"quarterly review"}

{"api":"v2","id":"a","patch":[{"op":"replace","path":"/name","value":"ci"}],"comment":"c"}
 {"api": "v1", "id": "6C7F1E6A-4F5E-4A52-9F57-0D8F2F4B8A11", "update": {"name": "\ud83d\ude00", "role_id": null}}`+"\r\n"+
		`{"api":"v2","id":"b","want":{"addCustomRoleIds":["x"],"removeCustomRoleIds":["y"]}}`))
	assert.Equal(t, []string{
		`{"api":"v2","id":"61095542756dba551110ae21","want":{"description":null,"role":"reader"},"comment":"quarterly review"}`,
		`{"api":"v2","id":"a","patch":[{"op":"replace","path":"/name","value":"ci"}],"comment":"c"}`,
		`{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","update":{"name":"😀","role_id":null}}`,
		`{"api":"v2","id":"b","want":{"addCustomRoleIds":["x"],"removeCustomRoleIds":["y"]}}`,
	}, changes)
	assert.Equal(t, 4, file.Changes)
	assert.Equal(t, 4, file.V1)
	assert.Equal(t, 1, file.V2)
	assert.Len(t, file.Digest, 64)
}

func TestMistakesInJSONLines(t *testing.T) {
	for text, want := range map[string]string{
		`{"api":"v2","id":"a","want":{"role":7}}`:                                                         `line 1, column 37: want.role: 7: want reader, writer, admin or another role's name, or null`,
		`{"api":"v2","id":"a","want":{"role":""}}`:                                                        `line 1, column 37: want.role: "": want reader, writer, admin or another role's name, or null`,
		`{"api":"v2","id":"a","want":{"customRoleIds":"x"}}`:                                              `line 1, column 46: want.customRoleIds: "x": want a list of ids, or null`,
		`{"api":"v2","id":"a","want":{"addCustomRoleIds":null}}`:                                          `line 1, column 49: want.addCustomRoleIds: null: want a list of at least one id`,
		`{"api":"v2","id":"a","want":{"defaultApiVersion":-5}}`:                                           `line 1, column 50: want.defaultApiVersion: -5: want a date as digits such as 20240415, or null`,
		`{"api":"v2","id":"a","want":{"Name":"x"}}`:                                                       `line 1, column 37: want.Name: unknown: want one of addCustomRoleIds, customRoleIds, defaultApiVersion, description, inlineRole, name, removeCustomRoleIds, role`,
		`{"api":"v2","id":"a","want":{"name":"x","name":"y"}}`:                                            `line 1, column 48: want.name: "y": want it once`,
		`{"api":"v2","id":"a","want":{}}`:                                                                 `line 1: want: empty: want at least one field that is set or null, or a custom role`,
		`{"api":"v2","id":"a","want":[]}`:                                                                 `line 1, column 29: want: []: want an object`,
		`{"api":"v2","id":"a"}`:                                                                           `line 1: want: missing: want what is to be done`,
		`{"api":"v2","id":"a","want":{"name":"x"},"patch":[]}`:                                            `line 1, column 29: want: not for a change of V2 with a patch: want patch alone`,
		`{"api":"v2","id":"a","patch":{"patch":[]}}`:                                                      `line 1, column 30: patch: {"patch":[]}: want an array of operations, RFC 6902`,
		`{"api":"v2","id":"","want":{"name":"x"}}`:                                                        `line 1: id: "": want the id of an access token`,
		`{"api":"v2","id":7,"want":{"name":"x"}}`:                                                         `line 1, column 18: id: 7: want a text`,
		`{"api":"v3","id":"a","want":{"name":"x"}}`:                                                       `line 1, column 8: api: "v3": want v1 or v2`,
		`{"id":"a","want":{"name":"x"}}`:                                                                  `line 1: api: missing: want a text`,
		`{"api":"v1","id":"a","update":{"name":"x"}}`:                                                     `line 1: id: "a": want a UUID other than the nil UUID: that is what tokens of V1 have`,
		`{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","want":{"name":"x"}}`:                    `line 1, column 64: want: not for a change of V1: want update alone`,
		`{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","update":{"organization_role":"admin"}}`: `line 1, column 87: update.organization_role: "admin": want ADMIN, MEMBER, EXTERNAL or null`,
		`{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","update":{"role_id":"x"}}`:               `line 1, column 77: update.role_id: "x": want a UUID other than the nil UUID, or null`,
		`{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","update":{"name":"x"},"comment":"y"}`:    `line 1, column 89: comment: "y": want none: V1 has no comments`,
		`{"api":"v2","id":"a","want":{"name":"x"`:                                                         `line 1, column 39: unexpected end of JSON input: want a JSON object`,
		`{"api":"v2","id":"a","want":{"name":"x"}} {}`:                                                    `line 1, column 43: invalid character '{' after top-level value: want a JSON object`,
		`7`: `line 1, column 1: 7: want an object`,
		`{"api":"v2","id":"a","want":{"name":"` + "\xff" + `"}}`:                         `line 1, column 38: byte 0xFF: want UTF-8`,
		`{"api":"v2","id":"a","want":{"name":"\\\ud83d"}}`:                               `line 1, column 40: \ud83d: want both halves of a surrogate pair`,
		`{"api":"v2","id":"a","want":{"customRoleIds":[],"addCustomRoleIds":["x"]}}`:     `line 1: want.customRoleIds: not absent: want either all custom roles, or those to add and to remove`,
		`{"api":"v2","id":"a","want":{"name":"` + strings.Repeat("x", 1<<20) + `"}}`:     `line 1: longer than 1048576 bytes: want one change a line`,
		`{"api":"v2","id":"a","want":{"role":"` + strings.Repeat("x", 100) + `"},"x":1}`: `line 1, column 145: x: unknown: want one of api, id, want, patch, update, comment`,
	} {
		assert.Equal(t, []string{want}, mistakes(t, write(t, "x", text)), "%.200s", text)
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	path := write(t, "x", `{"api":"v2","id":"a","want":{"role":7,"color":1}}
{"api":"v2","id":"b","want":{"name":"x"}}
nonsense
{"api":"v2","id":"b","want":{"name":"y"}}
{"api":"v1","id":"6C7F1E6A-4F5E-4A52-9F57-0D8F2F4B8A11","update":{"name":"x"}}
{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","update":{"name":"x"}}
`)
	assert.Equal(t, []string{
		"line 1, column 47: want.color: unknown: want one of addCustomRoleIds, customRoleIds, defaultApiVersion, description, inlineRole, name, removeCustomRoleIds, role",
		"line 1, column 37: want.role: 7: want reader, writer, admin or another role's name, or null",
		"line 3, column 2: invalid character 'o' in literal null (expecting 'u'): want a JSON object",
		`line 4: id: "b": want each token once: line 2 has it too`,
		`line 6: id: "6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11": want each token once: line 5 has it too`,
	}, mistakes(t, path))
}

func TestManyMistakes(t *testing.T) {
	_, err := changefile.Open(write(t, "x", strings.Repeat("{}\n", 500)), nil)
	var wrong *changefile.MistakesError
	require.ErrorAs(t, err, &wrong)
	assert.Equal(t, 1000, wrong.Count)
	assert.Len(t, wrong.Mistakes, 100)
	assert.True(t, strings.HasSuffix(err.Error(), "x: and 900 more"), err.Error())
}

func TestCSV(t *testing.T) {
	changes, file := read(t, write(t, "changes.CSV", "\ufeff"+`api,id,name,description,customRoleIds,defaultApiVersion,inlineRole,personal,role_id,comment
,a,"a ""b"", c",null,qa; ops,20240415,,,,why
v2,b,,,null,,"[{""effect"":""deny"",""resources"":[""proj/*""],""actions"":[""*""]}]",,,
v1,6C7F1E6A-4F5E-4A52-9F57-0D8F2F4B8A11,ci,,,,,true,null,
`))
	assert.Equal(t, []string{
		`{"api":"v2","id":"a","want":{"name":"a \"b\", c","description":null,"customRoleIds":["qa","ops"],"defaultApiVersion":20240415},"comment":"why"}`,
		`{"api":"v2","id":"b","want":{"customRoleIds":null,"inlineRole":[{"resources":["proj/*"],"actions":["*"],"effect":"deny"}]}}`,
		`{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","update":{"name":"ci","personal":true,"role_id":null}}`,
	}, changes)
	assert.Equal(t, 4, file.V1)
}

func TestMistakesInCSV(t *testing.T) {
	for text, want := range map[string][]string{
		"id;name\na;b\n":                            {`line 1, column 1: "id;name": want a column of these, separated by commas: addCustomRoleIds, api, comment, customRoleIds, defaultApiVersion, description, id, inlineRole, name, organization_role, personal, removeCustomRoleIds, role, role_id`, "line 1: id: missing: want a column with the ids of tokens"},
		"id,name,name\n":                            {"line 1, column 9: name: want the column once"},
		"id,name\na\n":                              {"line 2: 1 cells: want 2, as the header has"},
		"id,name\na,\n":                             {"line 2: want: empty: want at least one field that is set or null, or a custom role"},
		"id,name\na,\xffx\n":                        {"line 2, column 3: name: byte 0xFF: want UTF-8"},
		"id,name\na,x\nb,\"x\ny\"\na,z\n":           {`line 5: id: "a": want each token once: line 2 has it too`},
		"id,name\na,x\"y\nb,\"\n":                   {`line 2, column 4: bare " in non-quoted-field: want CSV as RFC 4180 has it`, `line 3, column 5: extraneous or missing " in quoted-field: want CSV as RFC 4180 has it`},
		"id,api\na,V2\n":                            {`line 2: api: "V2": want v1 or v2, or an empty cell for v2`},
		"id,personal,defaultApiVersion\na,true,x\n": {`line 2, column 3: personal: "true": want an empty cell: this API has no such setting`, "line 2, column 8: defaultApiVersion: x: want a date as digits such as 20240415, or null"},
		"id,customRoleIds\na,x;;y\n":                {`line 2, column 3: customRoleIds: ["x","","y"]: want a list of ids, or null`},
		"id,comment,api,name\n6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11,x,v1,y\n": {`line 2: comment: "x": want an empty cell: V1 has no comments`},
	} {
		assert.Equal(t, want, mistakes(t, write(t, "x.csv", text)), text)
	}
}

func TestNothingInIt(t *testing.T) {
	for _, name := range []string{"x.csv", "x.jsonl"} {
		_, err := changefile.Open(write(t, name, ""), nil)
		assert.ErrorContains(t, err, "there is no change in it", name)
	}
	_, err := changefile.Open(write(t, "x.csv", "id,name\n"), nil)
	assert.ErrorContains(t, err, "there is no change in it")
	_, err = changefile.Open(filepath.Join(t.TempDir(), "none"), nil)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestStandardInput(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	file, err := changefile.Open("-", strings.NewReader(`{"api":"v2","id":"a","want":{"name":"x"}}`))
	require.NoError(t, err)
	for range 2 {
		n := 0
		for _, err := range file.All() {
			require.NoError(t, err)
			n++
		}
		assert.Equal(t, 1, n)
	}
	require.NoError(t, file.Close())
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestAFileThatChanges(t *testing.T) {
	path := write(t, "x", `{"api":"v2","id":"a","want":{"name":"x"}}`)
	file, err := changefile.Open(path, nil)
	require.NoError(t, err)
	defer file.Close()
	for _, content := range []string{`{"api":"v2","id":"a","want":{"name":"y"}}`, `{`} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		var last error
		for _, err := range file.All() {
			last = err
		}
		assert.ErrorContains(t, last, "the file has changed since it was checked")
	}
}

// A gigabyte without a line's end, in quotes and out of them, is refused in little memory.
func TestHugeLines(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	for name, want := range map[string]string{
		"x.jsonl": "line 1: longer than 1048576 bytes: want one change a line",
		"x.csv":   "line 1: longer than 1048576 bytes, or the record behind it is: want one change a record",
	} {
		path := write(t, name, "")
		require.NoError(t, os.Truncate(path, size))
		before := allocated()
		assert.Equal(t, []string{want}, mistakes(t, path))
		assert.Less(t, allocated()-before, uint64(16<<20), name)
	}
	path := write(t, "y.csv", "id,name\na,\""+strings.Repeat("x\n", 1<<20))
	assert.Equal(t, []string{"line 1: longer than 1048576 bytes, or the record behind it is: want one change a record"}, mistakes(t, path))
}

func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

func BenchmarkOpen(b *testing.B) {
	var text strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&text, `{"api":"v2","id":"%024x","want":{"name":"token %d","role":"reader","description":null},"comment":"quarterly review"}`+"\n", i, i)
	}
	path := write(b, "x.jsonl", text.String())
	b.ReportAllocs()
	for b.Loop() {
		file, err := changefile.Open(path, nil)
		require.NoError(b, err)
		require.NoError(b, file.Close())
	}
}

// Whatever a file holds, it is either read to its end, or each mistake has a line.
func FuzzOpen(f *testing.F) {
	for _, seed := range []string{
		`{"api":"v2","id":"a","want":{"name":"x"}}`, "id,name\na,x\n", "id,name\na,\"x\ny\"\n", `{"api":"v2","id":"a","patch":[{"op":"add"}]}`, "\ufeff", "\"", "{\"\\ud83d",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, text string, csv bool) {
		name := "x.jsonl"
		if csv {
			name = "x.csv"
		}
		file, err := changefile.Open(write(t, name, text), nil)
		var wrong *changefile.MistakesError
		switch {
		case errors.As(err, &wrong):
			for _, m := range wrong.Mistakes {
				assert.Positive(t, m.Line, m.String())
			}
		case err == nil:
			n := 0
			for _, err := range file.All() {
				require.NoError(t, err)
				n++
			}
			assert.Equal(t, file.Changes, n)
			assert.NoError(t, file.Close())
		}
	})
}
