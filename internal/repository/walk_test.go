package repository

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// callbacks are the files whose functions are called from elsewhere: by go-retryablehttp, and by the goroutine that asks a
// store of the rate limit. All of their functions count as called, and they alone may call back up.
var callbacks = []string{"retryablehttp.go", "internal/ratelimit/store.go"}

// A call flows down once: whoever reads from PatchToken to the wire, function by function, never comes back into a file
// that has called another one. It follows every mention of a function of the root module; methods that the standard library
// calls by an interface are not seen.
func TestCallsFlowDown(t *testing.T) {
	source := typecheck(t, "internal/rawjson", "internal/jsonpatch", "internal/ratelimit", "internal/attempt", ".")
	calls := source.filesFrom("(*" + rootModule + ".V2Tokens).PatchToken")
	require.NotEmpty(t, calls)
	for from := range calls {
		if way := wayBack(calls, from); way != nil {
			assert.Fail(t, "a call comes back up", "%s", strings.Join(way, "\n\t"))
			return
		}
	}
}

// wayBack is a way through calls from a file to itself, or nil.
func wayBack(calls map[string]map[string]string, start string) []string {
	type step struct {
		file string
		way  []string
	}
	seen := map[string]bool{}
	for queue := []step{{file: start}}; len(queue) > 0; queue = queue[1:] {
		for to, mention := range calls[queue[0].file] {
			way := append(slices.Clip(queue[0].way), mention)
			if to == start {
				return way
			}
			if !seen[to] {
				seen[to] = true
				queue = append(queue, step{to, way})
			}
		}
	}
	return nil
}

// sourceCode is the type-checked source of some packages.
type sourceCode struct {
	fset      *token.FileSet
	info      *types.Info
	functions map[*types.Func]*ast.FuncDecl
}

// filesFrom tells which file calls into which other one, and where, on all ways from the function of that name.
func (s sourceCode) filesFrom(name string) map[string]map[string]string {
	calls := map[string]map[string]string{}
	var todo []*types.Func
	for f := range s.functions {
		if f.FullName() == name || slices.Contains(callbacks, s.file(f.Pos())) {
			todo = append(todo, f)
		}
	}
	for seen := map[*types.Func]bool{}; len(todo) > 0; {
		f := todo[0]
		todo = todo[1:]
		if seen[f] {
			continue
		}
		seen[f] = true
		ast.Inspect(s.functions[f], func(node ast.Node) bool {
			ident, ok := node.(*ast.Ident)
			if !ok {
				return true
			}
			used, ok := s.info.Uses[ident].(*types.Func)
			if !ok || s.functions[used.Origin()] == nil {
				return true
			}
			used = used.Origin()
			todo = append(todo, used)
			from, to := s.file(f.Pos()), s.file(used.Pos())
			if from != to && !slices.Contains(callbacks, from) {
				if calls[from] == nil {
					calls[from] = map[string]string{}
				}
				calls[from][to] = fmt.Sprintf("%s: %s mentions %s, of %s", s.at(ident.Pos()), f.Name(), used.Name(), to)
			}
			return true
		})
	}
	return calls
}

func (s sourceCode) file(pos token.Pos) string { return s.fset.Position(pos).Filename }
func (s sourceCode) at(pos token.Pos) string   { return s.fset.Position(pos).String() }

// typecheck reads packages of the root module, each after those that it imports.
func typecheck(t *testing.T, folders ...string) sourceCode {
	t.Helper()
	s := sourceCode{
		fset:      token.NewFileSet(),
		info:      &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}},
		functions: map[*types.Func]*ast.FuncDecl{},
	}
	packages := importerOf{own: map[string]*types.Package{}, others: importer.ForCompiler(s.fset, "gc", exportData(t))}
	for _, folder := range folders {
		files := s.parse(t, folder)
		checked, err := (&types.Config{Importer: packages}).Check(path.Join(rootModule, folder), s.fset, files, s.info)
		require.NoError(t, err)
		packages.own[checked.Path()] = checked
		for _, file := range files {
			for _, declaration := range file.Decls {
				if f, ok := declaration.(*ast.FuncDecl); ok {
					s.functions[s.info.Defs[f.Name].(*types.Func)] = f
				}
			}
		}
	}
	return s
}

func (s sourceCode) parse(t *testing.T, folder string) []*ast.File {
	t.Helper()
	var files []*ast.File
	for _, name := range filesNamed(t, func(name string) bool { return strings.HasSuffix(name, ".go") }) {
		if path.Dir(name) != folder || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(s.fset, name, text(t, name), parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, file)
	}
	return files
}

// importerOf returns the packages that were read from source, and all others by what the compiler has exported of them.
type importerOf struct {
	own    map[string]*types.Package
	others types.Importer
}

func (i importerOf) Import(path string) (*types.Package, error) {
	if own := i.own[path]; own != nil {
		return own, nil
	}
	return i.others.Import(path)
}

// exportData finds what the compiler has exported of each package that the root's depend on.
func exportData(t *testing.T) importer.Lookup {
	t.Helper()
	command := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", rootModule)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	require.NoError(t, err, "%s", stderr.String())
	files := map[string]string{}
	for line := range strings.Lines(string(output)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		files[name] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}
