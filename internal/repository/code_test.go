package repository

import (
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// mayImport lists for each package of the root module what it may import besides the standard library. Every package has
// a row.
var mayImport = map[string][]string{
	".": {"internal/httpsend", "internal/redact", "internal/jsonpatch", "internal/ratelimit", "internal/rawjson",
		"github.com/google/uuid", "github.com/hashicorp/go-retryablehttp"},
	"internal/httpsend":   {"internal/redact"},
	"internal/redact":     {},
	"internal/jsonpatch":  {"internal/rawjson"},
	"internal/ratelimit":  {},
	"internal/rawjson":    {},
	"tokenpatchtest":      {".", "github.com/google/uuid"},
	"examples/addrole":    {"."},
	"examples/edit":       {".", "tokenpatchtest"},
	"examples/quickstart": {".", "tokenpatchtest", "github.com/google/uuid"},
	"examples/readonly":   {"."},
	"examples/review":     {".", "tokenpatchtest"},
	"examples/stopping":   {".", "tokenpatchtest"},
	"examples/takerole":   {"."},
}

func TestImportRules(t *testing.T) {
	modules := foldersOfModules(t)
	for _, file := range goFiles(t) {
		if file.isTest() || moduleOf(modules, file.folder()) != "." {
			continue
		}
		allowed, known := mayImport[file.folder()]
		assert.True(t, known, "%s: a package without a row in mayImport", file.folder())
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			assert.NoError(t, err)
			assert.True(t, isStandard(imported) || slices.ContainsFunc(allowed, func(one string) bool {
				return imported == one || imported == path.Join(rootModule, one)
			}),
				"%s imports %s", file.at(spec.Pos()), imported)
		}
	}
}

// Every user gets the root module's dependencies, so it imports none of the other modules.
func TestRootImportsNoOtherModule(t *testing.T) {
	modules := foldersOfModules(t)
	for _, file := range goFiles(t) {
		if moduleOf(modules, file.folder()) != "." {
			continue
		}
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			for _, module := range modules {
				assert.False(t, module != "." && isBelow(imported, rootModule+"/"+module),
					"%s imports %s, which is not of the root module", file.at(spec.Pos()), imported)
			}
		}
	}
}

const longestFunction = 40 // lines, from func to its closing brace

func TestNoFunctionIsLong(t *testing.T) {
	for _, file := range goFiles(t) {
		if file.isTest() {
			continue
		}
		for _, declaration := range file.Decls {
			ast.Inspect(declaration, func(node ast.Node) bool {
				switch node.(type) {
				case *ast.FuncDecl, *ast.FuncLit:
					lines := file.fset.Position(node.End()).Line - file.fset.Position(node.Pos()).Line + 1
					assert.LessOrEqual(t, lines, longestFunction, "%s: a function of %d lines", file.at(node.Pos()), lines)
				}
				return true
			})
		}
	}
}

// foldersOfModules lists the folders that have a go.mod.
func foldersOfModules(t *testing.T) []string {
	var folders []string
	for _, name := range filesNamed(t, func(name string) bool { return name == "go.mod" }) {
		folders = append(folders, path.Dir(name))
	}
	return folders
}

// moduleOf is the folder of the module that a folder belongs to.
func moduleOf(modules []string, folder string) string {
	for ; folder != "."; folder = path.Dir(folder) {
		for _, module := range modules {
			if folder == module {
				return module
			}
		}
	}
	return "."
}

// isStandard reports whether a path is of the standard library: its first element is no host.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func isBelow(imported, path string) bool {
	return imported == path || strings.HasPrefix(imported, path+"/")
}
