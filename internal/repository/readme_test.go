package repository

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// The service's tokens for each block.
const (
	v1Token  = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
	v2Token  = "61095542756dba551110ae21"
	settings = `{
		"_id": "61095542756dba551110ae21", "_links": {}, "ownerId": "569f514156e003339cfd3917",
		"memberId": "569f514183f2164430000002", "name": "ci", "role": "writer", "customRoleIds": ["qa"],
		"creationDate": 1443652232590, "lastModified": 1469326565348
	}`
)

// fence is a fenced block of a document.
type fence struct {
	document string
	language string
	line     int // of its first line
	text     string
}

// documentsWithPrograms have Go blocks that run.
var documentsWithPrograms = []string{"README.md", "docs/migrating.md", "docs/recipes.md"}

// Every Go block is compiled and run, with a service of its own on the loopback interface, except those that show what to
// replace. A block that is a program runs as it is. Any other is the body of a function. It has a client, the ids of the
// service's two tokens, and the second token's settings before and after. A block of plain text after it is its output.
func TestReadmeBlocks(t *testing.T) {
	if testing.Short() {
		t.Skip("builds them, which takes long; the race detector does not see what they do")
	}
	dir := t.TempDir()
	var fragments []string
	programs := map[string]map[string]string{"fragments": {"main.go": text(t, "internal/repository/testdata/fragments.go.txt")}}
	type run struct {
		fence
		program string
		args    []string
		prints  *string
	}
	var runs []run
	for _, document := range documentsWithPrograms {
		fences := fencesOf(t, document)
		for i, block := range fences {
			if block.language != "go" || strings.HasPrefix(block.text, "// before\n") {
				continue
			}
			one := run{fence: block, program: "fragments", args: []string{fmt.Sprint(len(fragments))}}
			if i+1 < len(fences) && fences[i+1].language == "text" {
				one.prints = &fences[i+1].text
			}
			if strings.HasPrefix(block.text, "package ") {
				one.program, one.args = fmt.Sprint("program", len(runs)), []string{v2Token}
				programs[one.program] = map[string]string{"main.go": lineOf(block) + block.text}
			} else {
				name := fmt.Sprint("fragment", len(fragments))
				programs["fragments"][name+".go"] = function(t, name, block)
				fragments = append(fragments, name)
			}
			runs = append(runs, one)
		}
	}
	programs["fragments"]["list.go"] = listOf(fragments)
	build(t, dir, programs)
	for _, one := range runs {
		t.Run(fmt.Sprintf("%s line %d", one.document, one.line), func(t *testing.T) {
			printed := runProgram(t, filepath.Join(dir, one.program), one.args...)
			if one.prints != nil {
				assert.Equal(t, *one.prints, printed)
			}
		})
	}
}

// fencesOf lists the fenced blocks of a document.
func fencesOf(t *testing.T, document string) []fence {
	t.Helper()
	var fences []fence
	var open *fence
	for i, line := range strings.Split(text(t, document), "\n") {
		switch {
		case open == nil && strings.HasPrefix(line, "```"):
			open = &fence{document: document, language: strings.TrimPrefix(line, "```"), line: i + 2}
		case open != nil && line == "```":
			fences, open = append(fences, *open), nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return fences
}

// lineOf makes the compiler's messages name the line of the document.
func lineOf(block fence) string { return fmt.Sprintf("//line %s:%d\n", block.document, block.line) }

// imports are the packages available to a block by name.
var imports = map[string]string{
	"bytes": "bytes", "context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "log": "log", "os": "os", "signal": "os/signal", "slices": "slices", "slog": "log/slog", "sync": "sync", "tls": "crypto/tls", "url": "net/url", "x509": "crypto/x509",
	"syscall": "syscall", "time": "time", "uuid": "github.com/google/uuid", "tokenpatch": rootModule, "tokenpatchtest": rootModule + "/tokenpatchtest",
}

// function is a file with a block as the body of a function, which uses whatever the block declares.
func function(t *testing.T, name string, block fence) string {
	source := "package p\nfunc f() error {\n" + block.text + "\n}"
	file, err := parser.ParseFile(token.NewFileSet(), block.document, source, parser.SkipObjectResolution)
	require.NoError(t, err, "%s:%d", block.document, block.line)
	used := map[string]bool{"context": true}
	ast.Inspect(file, func(node ast.Node) bool {
		if selector, ok := node.(*ast.SelectorExpr); ok {
			if x, ok := selector.X.(*ast.Ident); ok && imports[x.Name] != "" {
				used[x.Name] = true
			}
		}
		return true
	})
	var b strings.Builder
	b.WriteString("package main\n")
	for _, name := range slices.Sorted(maps.Keys(used)) {
		fmt.Fprintf(&b, "import %s %q\n", name, imports[name])
	}
	fmt.Fprintf(&b, "func %s(ctx context.Context, s scope) (err error) {\n", name)
	b.WriteString("t, client, tokenID, id, before, after, companyCA := tb{}, s.client, s.uuid, s.id, s.before, s.after, []byte(nil)\n")
	b.WriteString("_, _, _, _, _, _, _, _ = ctx, t, client, tokenID, id, before, after, companyCA\n{\n" + lineOf(block) + block.text)
	for _, name := range declared(file.Decls[0].(*ast.FuncDecl).Body.List) {
		fmt.Fprintf(&b, "_ = %s\n", name)
	}
	b.WriteString("}\nreturn err\n}\n")
	return b.String()
}

// declared lists the variables declared by statements.
func declared(statements []ast.Stmt) []string {
	var names []string
	for _, statement := range statements {
		if assign, ok := statement.(*ast.AssignStmt); ok && assign.Tok == token.DEFINE {
			for _, left := range assign.Lhs {
				if ident := left.(*ast.Ident); ident.Name != "_" {
					names = append(names, ident.Name)
				}
			}
		}
	}
	return names
}

// listOf is the file with the list of fragments.
func listOf(fragments []string) string {
	return "package main\nimport \"context\"\nvar fragments = []func(context.Context, scope) error{\n" + strings.Join(fragments, ",\n") + ",\n}\n"
}

// build compiles each program, a map of file names to what is in them, into dir. They belong to the root module by an
// overlay alone: nothing is written into the tree.
func build(t *testing.T, dir string, programs map[string]map[string]string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	args := []string{"build", "-o", dir + string(filepath.Separator), "-overlay", filepath.Join(dir, "overlay.json")}
	for name, files := range programs {
		args = append(args, "./internal/repository/readme/"+name)
		for file, content := range files {
			written := filepath.Join(dir, name+"-"+file)
			require.NoError(t, os.WriteFile(written, []byte(content), 0o600))
			overlay.Replace[filepath.Join(root, "internal", "repository", "readme", name, file)] = written
		}
	}
	encoded, err := json.Marshal(overlay)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), encoded, 0o600))
	command := exec.Command("go", args...)
	command.Dir = root
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// runProgram runs a program with a service of its own, and returns what it prints.
func runProgram(t *testing.T, program string, args ...string) string {
	t.Helper()
	service := tokenpatchtest.New()
	defer service.Close()
	require.NoError(t, service.AddV1(`{"id": "`+v1Token+`"}`))
	require.NoError(t, service.AddV2(settings))
	base, err := service.Listen()
	require.NoError(t, err)
	command := exec.Command(program, args...)
	command.Env = append(os.Environ(),
		"DEEPSET_API_URL="+base, "DEEPSET_API_KEY="+tokenpatchtest.APIKey,
		"LAUNCHDARKLY_API_HOST="+base, "LAUNCHDARKLY_ACCESS_TOKEN="+tokenpatchtest.AccessToken,
		"V1_TOKEN="+v1Token, "V2_TOKEN="+v2Token, "V2_SETTINGS="+settings)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	require.NoError(t, command.Run(), "%s", stderr.String())
	return stdout.String()
}
