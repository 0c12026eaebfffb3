package changefile_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unicode/utf16"

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

// read reads a correct file, as the changes of a run.
func read(t testing.TB, path string) (changes []string, file *changefile.File) {
	t.Helper()
	file, err := changefile.Open(path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, file.Close()) })
	for row, err := range file.All() {
		require.NoError(t, err)
		encoded, err := json.Marshal(row.Change)
		require.NoError(t, err)
		changes = append(changes, string(encoded))
	}
	return changes, file
}

// mistakes reads a wrong file.
func mistakes(t testing.TB, path string) []string {
	t.Helper()
	_, err := changefile.Open(path, nil)
	var wrong *changefile.MistakesError
	require.ErrorAs(t, err, &wrong)
	texts := strings.Split(wrong.Error(), "\n")
	for i, text := range texts {
		texts[i] = strings.TrimPrefix(text, path+": ")
	}
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

func TestMistakesInJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"api":"v2","id":"a","want":{"role":7}}`:                                                         `line 1, column 37: want.role: 7: want reader, writer, admin, owner or null`,
		`{"api":"v2","id":"a","want":{"role":""}}`:                                                        `line 1, column 37: want.role: "": want reader, writer, admin, owner or null`,
		`{"api":"v2","id":"a","want":{"role":"redaer"}}`:                                                  `line 1, column 37: want.role: "redaer": want reader, writer, admin, owner or null; did you mean reader?`,
		`{"api":"v2","id":"a","want":{"customRoleIds":"x"}}`:                                              `line 1, column 46: want.customRoleIds: "x": want a list of custom roles, none of them empty, or null`,
		`{"api":"v2","id":"a","want":{"addCustomRoleIds":null}}`:                                          `line 1, column 49: want.addCustomRoleIds: null: want at least one custom role, and none that is empty`,
		`{"api":"v2","id":"a","want":{"defaultApiVersion":-5}}`:                                           `line 1, column 50: want.defaultApiVersion: -5: want a date as digits such as 20240415, or null`,
		`{"api":"v2","id":"a","want":{"Name":"x"}}`:                                                       `line 1, column 37: want.Name: unknown; did you mean name?`,
		`{"api":"v2","id":"a","want":{"color":"x"}}`:                                                      `line 1, column 38: want.color: unknown: want one of addCustomRoleIds, customRoleIds, defaultApiVersion, description, inlineRole, name, removeCustomRoleIds, role, set`,
		`{"api":"v2","id":"a","want":{"name":"x","name":"y"}}`:                                            `line 1, column 48: want.name: "y": want it once`,
		`{"api":"v2","id":"a","want":{}}`:                                                                 `line 1: want: empty: want at least one field that is set or null, or a custom role`,
		`{"api":"v2","id":"a","want":[]}`:                                                                 `line 1, column 29: want: []: want an object`,
		`{"api":"v2","id":"a"}`:                                                                           `line 1: want: missing: want what is to be done`,
		`{"api":"v2","id":"a","want":{"name":"x"},"patch":[]}`:                                            `line 1, column 29: want: not for a change of V2 with a patch: want patch alone`,
		`{"api":"v2","id":"a","patch":{"patch":[]}}`:                                                      `line 1, column 30: patch: {"patch":[]}: want an array of operations, RFC 6902`,
		`{"api":"v2","id":"","want":{"name":"x"}}`:                                                        `line 1: id: "": want the id of an access token`,
		`{"api":"v2","want":{"name":"x"}}`:                                                                `line 1: id: missing: want the id of an access token`,
		`{"api":"v2","id":7,"want":{"name":"x"}}`:                                                         `line 1, column 18: id: 7: want a text`,
		`{"api":"v3","id":"a","want":{"name":"x"}}`:                                                       `line 1, column 8: api: "v3": want v1 or v2`,
		`{"api":"v1","id":"a","update":{"name":"x"}}`:                                                     `line 1: id: "a": want a UUID other than the nil UUID: that is what tokens of V1 have`,
		`{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","want":{"name":"x"}}`:                    `line 1, column 64: want: not for a change of V1: want update alone`,
		`{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","update":{"organization_role":"admin"}}`: `line 1, column 87: update.organization_role: "admin": want ADMIN, MEMBER, EXTERNAL or null; did you mean ADMIN?`,
		`{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","update":{"role_id":"x"}}`:               `line 1, column 77: update.role_id: "x": want a UUID other than the nil UUID, or null`,
		`{"api":"v2","id":"a","want":{"name":"x"`:                                                         `line 1, column 39: unexpected end of JSON input: want a JSON object`,
		`{"api":"v2","id":"a","want":{"name":"x"}} 8`:                                                     `line 1, column 43: 8: want an object`,
		`7`: `line 1, column 1: 7: want an object`,
		`{"api":"v2","id":"a","want":{"name":"` + "\xff" + `"}}`:                         `line 1, column 38: byte 0xFF: want UTF-8`,
		`{"api":"v2","id":"a","want":{"name":"\\\ud83d"}}`:                               `line 1, column 40: \ud83d: want both halves of a surrogate pair`,
		`{"api":"v2","id":"a","want":{"customRoleIds":[],"addCustomRoleIds":["x"]}}`:     `line 1: want.customRoleIds: not absent: want either all custom roles, or those to add and to remove`,
		`{"api":"v2","id":"a","want":{"name":"` + strings.Repeat("x", 1<<20) + `"}}`:     `line 1: longer than 1048576 bytes: want one change a line`,
		`{"api":"v2","id":"a","want":{"role":"` + strings.Repeat("x", 100) + `"},"x":1}`: `line 1, column 145: x: unknown: want one of api, id, want, patch, update, comment`,
		`{"id":"a","want":{"name":"x"},"skip":"why"}`:                                    `line 1, column 38: skip: unknown: want one of api, id, want, patch, update, comment`,
		"[\n{\"id\":\"a\",\n\n \"want\":{\"name\":7}}\n]":                                `line 4, column 17: want.name: 7: want a text, or null`,
		"[{\"id\":\"a\",\"want\":{\"name\":\"x\"}},\n":                                   `line 1, column 1: unexpected end of JSON input: want a JSON object`,
		`{"plan":{"version":2}}`:                                                         `line 1, column 9: plan.version: 2: want 1: this plan is of another version of tokenpatch`,
		`{"plan":7}`:                                                                     `line 1, column 9: plan: 7: want the first line of a plan, as tokenpatch plan writes it`,
		`{"plan":{"version":1},"id":1}`:                                                  `line 1, column 28: id: unknown: want one of plan`,
	} {
		got := mistakes(t, write(t, "x.jsonl", text))
		require.NotEmpty(t, got)
		assert.Equal(t, want, got[0], "%.200s", text)
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	path := write(t, "x", `{"api":"v2","id":"a","want":{"role":7,"color":1}}
{"api":"v2","id":"b","want":{"name":"x"}}
nonsense
{"api":"v2","id":"b","want":{"name":"y"}}
{"api":"v1","id":"6C7F1E6A-4F5E-4A52-9F57-0D8F2F4B8A11","update":{"name":"x"}}
{"api":"v2","id":"c","want":{"name":"x"}
{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","update":{"name":"x"}}
`)
	assert.Equal(t, []string{
		"line 1, column 47: want.color: unknown: want one of addCustomRoleIds, customRoleIds, defaultApiVersion, description, inlineRole, name, removeCustomRoleIds, role, set",
		"line 1, column 37: want.role: 7: want reader, writer, admin, owner or null",
		"line 3, column 2: invalid character 'o' in literal null (expecting 'u'): want a JSON object",
		`line 4: id: "b": want each token once: line 2 has it too`,
		`line 6, column 40: unexpected end of JSON input: want a JSON object`,
		`line 7: id: "6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11": want each token once: line 5 has it too`,
	}, mistakes(t, path))
}

// One message for each cause, with its lines.
func TestCauses(t *testing.T) {
	var rows strings.Builder
	rows.WriteString("id,role,rol\n")
	for i := range 40 {
		fmt.Fprintf(&rows, "a%d,redaer,x\n", i)
	}
	fmt.Fprint(&rows, "b,reader,\nc,redaer,\nd,x1,\ne,x2,\nf,x3,\ng,x4,\n")
	assert.Equal(t, []string{
		`line 1: "rol": no such column; did you mean role?`,
		`lines 2–41, 43: role: "redaer": want reader, writer, admin, owner or null; did you mean reader?`,
		`lines 44–47: role: "x1", "x2", "x3", …: want reader, writer, admin, owner or null`,
	}, mistakes(t, write(t, "x.csv", rows.String())))

	var scattered strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&scattered, "{\"id\":\"%d\"}\n{\"id\":\"x%d\",\"want\":{\"name\":\"x\"}}\n", i, i)
	}
	got := mistakes(t, write(t, "x", scattered.String()))
	require.Len(t, got, 1)
	assert.True(t, strings.HasSuffix(got[0], ", 37, 39, …: want: missing: want what is to be done"), got[0])

	var many strings.Builder
	for i := range 500 {
		fmt.Fprintf(&many, "{\"id\":\"%d\",\"x%d\":1,\"want\":{\"name\":\"x\"}}\n", i, i)
	}
	got = mistakes(t, write(t, "x", many.String()))
	assert.Len(t, got, 101)
	assert.Equal(t, "and 400 more mistakes", got[100])
}

// JSON may be an array, or over several lines.
func TestJSONInManyForms(t *testing.T) {
	want := []string{`{"api":"v2","id":"a","want":{"name":"{x}"},"comment":"c"}`, `{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","update":{"personal":false}}`,
		`{"api":"v2","id":"b","patch":[{"op":"remove","path":"/role"}]}`}
	first := `{"id": "a", "want": {"name": "{x}"}, "comment": "c"}`
	second := `{"id": "6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11", "update": {"personal": false}}`
	third := `{"id": "b", "patch": [{"op": "remove", "path": "/role"}]}`
	for _, text := range []string{
		first + "\n" + second + "\n" + third, "[" + first + "," + second + ",\n" + third + "]", "[\n  " + first + ",\n  " + second + ",\n  " + third + "\n]\n",
		first + second + third,
		strings.NewReplacer(",", ",\n  ", "{", "{\n  ", ": ", ":\n").Replace("[" + second + "," + third + "]"),
	} {
		changes, _ := read(t, write(t, "x", text))
		assert.Subset(t, want, changes, text)
		assert.GreaterOrEqual(t, len(changes), 2)
	}
}

func TestPlan(t *testing.T) {
	path := write(t, "approved.jsonl", `{"plan":{"version":1,"run":"r","account":"acc","credential":"cred","source":"x.csv","sha256":"abc"}}
{"api":"v2","id":"a","name":"ci","comment":"why","patch":[{"op":"replace","path":"/customRoleIds","value":["5f"]}],"roles":{"5f":"ops"}}
{"api":"v2","id":"b","name":"no","skip":"no such token"}
{"api":"v1","id":"6C7F1E6A-4F5E-4A52-9F57-0D8F2F4B8A11","comment":"kept","update":{"name":"x"}}`)
	file, err := changefile.Open(path, nil)
	require.NoError(t, err)
	defer file.Close()
	assert.Equal(t, &changefile.Plan{Version: 1, Run: "r", Account: "acc", Credential: "cred", Source: "x.csv", SHA256: "abc"}, file.Plan)
	assert.Equal(t, []int{3, 2, 4, 2}, []int{file.Rows, file.Changes, file.V1, file.V2})
	var rows []changefile.Row
	for row, err := range file.All() {
		require.NoError(t, err)
		rows = append(rows, row)
	}
	require.Len(t, rows, 3)
	assert.Equal(t, map[string]string{"5f": "ops"}, rows[0].Roles)
	assert.Equal(t, "ci", rows[0].Name)
	assert.Equal(t, []string{"b", "no", "no such token"}, []string{rows[1].ID, rows[1].Name, rows[1].Skip})
	assert.Equal(t, []string{"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11", "kept"}, []string{rows[2].ID, rows[2].Comment})
}

func TestCSV(t *testing.T) {
	changes, file := read(t, write(t, "changes.CSV", "\ufeff"+`api,id,name,description,customRoleIds,defaultApiVersion,inlineRole,personal,role_id,comment
,a,"a ""b"", c",null,qa; ops,20240415,,,,why
v2,b,,,null,,"[{""effect"":""deny"",""resources"":[""proj/*""],""actions"":[""*""]}]",,,
v1,6C7F1E6A-4F5E-4A52-9F57-0D8F2F4B8A11,ci,,,,,true,null,kept
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
		"id,nme\na,b\n":                                             {`line 1: "nme": no such column; did you mean name?`, "line 2: no setting in this row: want a value in at least one column, or null to remove what is there"},
		"name\nb\n":                                                 {"line 1: id: missing: want a column with the ids of tokens"},
		"id,name,Name \n":                                           {"line 1: name: want the column once"},
		"id,name\na,x,y,z\n":                                        {`line 2: "y": column 3 has no name in the header: want a name, or quotes around a cell with a separator in it`, `line 2: "z": column 4 has no name in the header: want a name, or quotes around a cell with a separator in it`},
		"id,name\na,\n":                                             {"line 2: no setting in this row: want a value in at least one column, or null to remove what is there"},
		"id,name\n,x\n":                                             {`line 2: id: "": want the id of an access token`},
		"id,name\na,\xffx\n":                                        {`line 2: name: byte 0xFF: want UTF-8: in Excel, save as "CSV UTF-8"`},
		"id,name\na,x\nb,\"x\ny\"\na,z\n":                           {`line 5: id: "a": want each token once: line 2 has it too`},
		"id,name\na,x\"y\nb,\"\n":                                   {`line 2, column 4: bare " in non-quoted-field: want CSV as RFC 4180 has it`, `line 3, column 5: extraneous or missing " in quoted-field: want CSV as RFC 4180 has it`},
		"id,customRoleIds,addCustomRoleIds\na,x,y\n":                {"line 2: customRoleIds: not absent: want either all custom roles, or those to add and to remove"},
		"id,api\na,V3\n":                                            {`line 2: api: "v3": want v1, v2 or an empty cell`},
		"id,personal,defaultApiVersion\na,true,x\n":                 {`line 2: personal: "true": want an empty cell: v2 has no such setting, and ids of v1 are UUIDs`, `line 2: defaultApiVersion: "x": want a date as digits such as 20240415, or null`},
		"id,customRoleIds\na,x;;y\n":                                {`line 2: customRoleIds: "x;;y": want a list of custom roles, none of them empty, or null`},
		"id,role\n6.10955E+23,reader\n":                             {`line 2: id: "6.10955E+23": a spreadsheet has rounded this number: want the column formatted as text, and the values pasted again`},
		"id;addCustomRoleIds\na;\"ops;5,09E+23\"\n":                 {`line 2: addCustomRoleIds: "ops;5,09E+23": a spreadsheet has rounded this number: want the column formatted as text, and the values pasted again`},
		"id,name,description\na,NULL,N/A\nb,-,x\n":                  {`lines 2–3: name: "NULL", "-": want an empty cell to leave the setting as it is, or null to remove it`, `line 2: description: "N/A": want an empty cell to leave the setting as it is, or null to remove it`},
		"id,personal\n6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11,maybe\n": {`line 2: personal: "maybe": want TRUE, FALSE or null`},
		"sep=;\nid;nme\n":                                           {`line 2: "nme": no such column; did you mean name?`},
	} {
		assert.Equal(t, want, mistakes(t, write(t, "x.csv", text)), text)
	}
}

// What spreadsheets save, and people type, is read.
func TestSpreadsheets(t *testing.T) {
	plain := "id,name,role,personal,addCustomRoleIds,comment\na,x,reader,,ops;deploy,why\n6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11,,,false,,kept\n"
	want, _ := read(t, write(t, "x.csv", plain))
	require.Equal(t, []string{`{"api":"v2","id":"a","want":{"name":"x","role":"reader","addCustomRoleIds":["ops","deploy"]},"comment":"why"}`,
		`{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","update":{"personal":false}}`}, want)
	semicolons := "id;name;role;personal;addCustomRoleIds;comment\na;x;reader;;\"ops;deploy\";why\n6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11;;;false;;kept\n"
	tabs := strings.NewReplacer(",", "\t").Replace(plain)
	for name, text := range map[string]string{
		"blanks":            "\n ,,\n ID , Name\u00a0,ROLE,Personal,addcustomroleids,Comment,,\n\u00a0a\u00a0, x ,Reader,, ops ;\u00a0deploy ,why,,\n,,,,,,,\n\n6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11,,,FALSE,,kept,,\n,,,,\n",
		"short rows":        "id,name,role,personal,addCustomRoleIds,comment,defaultApiVersion\na,x,reader,,ops;deploy,why\n6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11,,,No,,kept\n",
		"commas in a list":  strings.Replace(plain, "ops;deploy", `"ops, deploy"`, 1),
		"lines in a list":   strings.Replace(plain, "ops;deploy", "\"ops\ndeploy\"", 1),
		"JSON in a list":    strings.Replace(plain, "ops;deploy", `"[""ops"",""deploy""]"`, 1),
		"semicolons":        semicolons,
		"tabs":              tabs,
		"sep=;":             "sep=;\r\n" + strings.ReplaceAll(semicolons, "\n", "\r\n"),
		"SEP=tab":           "SEP=\t\n" + tabs,
		"UTF-8 with a mark": "\ufeff" + plain,
		"UTF-16 LE":         utf16Text(binary.LittleEndian, tabs),
		"UTF-16 BE":         utf16Text(binary.BigEndian, plain),
		"columns of list":   "owner,id,name,role,personal,addCustomRoleIds,comment,lastUsed,Service,created,lastModified\nme,a,x,reader,,ops;deploy,why,2026-01-01,true,2020-01-01,\n,6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11,,,false,,kept,,,,\n",
		"an api":            "api,id,name,role,personal,addCustomRoleIds,comment\nV2,a,x,reader,,ops;deploy,why\ndeepset,6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11,,,false,,kept\n",
	} {
		changes, file := read(t, write(t, "x.csv", text))
		assert.Equal(t, want, changes, name)
		for row, err := range file.All() {
			require.NoError(t, err)
			assert.Contains(t, []string{"why", "kept"}, row.Comment, name)
		}
	}
}

func utf16Text(order binary.AppendByteOrder, text string) string {
	var encoded []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		encoded = order.AppendUint16(encoded, unit)
	}
	return string(encoded)
}

// The name of a file, or else its content, decides about its form.
func TestForms(t *testing.T) {
	const table, object = "id,name\na,x\n", `{"id":"a","want":{"name":"x"}}`
	for name, text := range map[string]string{"x": table, "x.txt": object, "x.tsv": "id\tname\na\tx", "x.JSON": object, "y": "\n\n " + object} {
		changes, _ := read(t, write(t, name, text))
		assert.Equal(t, []string{`{"api":"v2","id":"a","want":{"name":"x"}}`}, changes, name)
	}
	_, err := changefile.Open(write(t, "x.xlsx", "PK\x03\x04..."), nil)
	assert.ErrorContains(t, err, "this is a workbook: want it saved as CSV")
}

// What can be read only once is read.
func TestPipes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	go func() {
		assert.NoError(t, os.WriteFile(path, []byte("id,name\na,x\n"), 0o600))
	}()
	changes, _ := read(t, path)
	assert.Equal(t, []string{`{"api":"v2","id":"a","want":{"name":"x"}}`}, changes)
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
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	assert.Empty(t, left, "also if the process is killed now")
	require.NoError(t, file.Close())
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
		"x.csv":   "line 1: longer than 1048576 bytes, or the next record is: want one change a record",
	} {
		path := write(t, name, "")
		require.NoError(t, os.Truncate(path, size))
		before := allocated()
		assert.Equal(t, []string{want}, mistakes(t, path))
		assert.Less(t, allocated()-before, uint64(16<<20), name)
	}
	path := write(t, "y.csv", "id,name\na,\""+strings.Repeat("x\n", 1<<20))
	assert.Equal(t, []string{"line 1: longer than 1048576 bytes, or the next record is: want one change a record"}, mistakes(t, path))
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
		`{"api":"v2","id":"a","want":{"name":"x"}}`, "id,name\na,x\n", "id,name\na,\"x\ny\"\n", "sep=;\nid;name\n", "[{}\n{", `{"plan":{"version":1}}`, `{"api":"v2","id":"a","patch":[{"op":"add"}]}`, "\ufeff", "\"", "{\"\\ud83d",
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
			assert.Regexp(t, `^.*: (lines? [1-9]|and \d+ more)`, wrong.Error())
		case err == nil:
			n := 0
			for _, err := range file.All() {
				require.NoError(t, err)
				n++
			}
			assert.Equal(t, file.Rows, n)
			assert.NoError(t, file.Close())
		}
	})
}

func TestSettingsThatHaveNoName(t *testing.T) {
	changes, _ := read(t, write(t, "x.jsonl", `{"id":"a","want":{"set":{"expiry":1798761600000, "other":null}}}`))
	assert.Equal(t, []string{`{"api":"v2","id":"a","want":{"set":{"expiry":1798761600000,"other":null}}}`}, changes)
	changes, _ = read(t, write(t, "x.csv", "id;set\na;\"{\"\"expiry\"\": 1}\"\n"))
	assert.Equal(t, []string{`{"api":"v2","id":"a","want":{"set":{"expiry":1}}}`}, changes)
	for text, want := range map[string]string{
		`{"id":"a","want":{"set":{"expiry":1,"expiry":2}}}`:                     `line 1, column 25: want.set: {"expiry":1,"expiry":2}: want each name once: "expiry" is there twice`,
		`{"id":"a","want":{"set":{"a":[1,{"b":1,"c":{},"b":2}]}}}`:              `line 1, column 25: want.set: {"a":[1,{"b":1,"c":{},"b":2}]}: want each name once: "b" is there twice`,
		`{"id":"a","want":{"inlineRole":[{"effect":"allow","effect":"deny"}]}}`: `line 1, column 32: want.inlineRole: [{"effect":"allow","effect":"deny"}]: want each name once: "effect" is there twice`,
		`{"id":"a","want":{"set":{}}}`:                                          `line 1, column 25: want.set: {}: want an object of settings that have no name here, such as {"expiry":1798761600000}`,
		`{"id":"a","want":{"set":null}}`:                                        `line 1, column 25: want.set: null: want an object of settings that have no name here, such as {"expiry":1798761600000}`,
		`{"id":"a","want":{"set":{"role":"x"}}}`:                                `line 1: want.set: "role": want a setting for which there is no field`,
		`{"id":"a","want":{"set":{"_id":"x"}}}`:                                 `line 1: want.set: "_id": want a setting for which there is no field`,
	} {
		assert.Equal(t, []string{want}, mistakes(t, write(t, "x.jsonl", text)), text)
	}
}

func TestACredentialIsNoID(t *testing.T) {
	const value = "api-12345678-1234-1234-1234-123456789012"
	for name, text := range map[string]string{
		"x.jsonl": `{"id":"` + value + `","want":{"name":"x"}}` + "\n" + `{"id":"` + value + `","want":{"name":"x"}}` + "\n" + `{"api":"v1","id":"` + value + `","update":{"name":"x"}}`,
		"x.csv":   "id,name\n" + value + ",x\n" + value + ",y\n" + value + ",z\n",
	} {
		got := mistakes(t, write(t, name, text))
		require.Len(t, got, 1, name)
		assert.Contains(t, got[0], "id: a credential: want the id of an access token, not its value")
		assert.NotContains(t, got[0], "12345678")
	}
}
