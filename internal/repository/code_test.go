package repository

import (
	"cmp"
	"go/ast"
	"path"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// mayImport lists for each package of the repository which others of it may be imported. Every package has a row.
var mayImport = map[string][]string{
	".":                       {"internal/engine", "internal/httpsend", "internal/jsonpatch", "internal/ratelimit", "internal/rawjson", "internal/redact", "internal/shorten"},
	"internal/engine":         {"internal/httpsend", "internal/ratelimit", "internal/redact"},
	"internal/httpsend":       {},
	"internal/jsonpatch":      {"internal/rawjson"},
	"internal/ratelimit":      {},
	"internal/rawjson":        {},
	"internal/redact":         {},
	"internal/shorten":        {},
	"internal/suggest":        {},
	"internal/faulttest/pair": {".", "tokenpatchtest"}, // of tests
	"tokenpatchtest":          {"."},
	"examples/addrole":        {"."},
	"examples/edit":           {".", "tokenpatchtest"},
	"examples/quickstart":     {".", "tokenpatchtest"},
	"examples/readonly":       {"."},
	"examples/review":         {".", "tokenpatchtest"},
	"examples/stopping":       {".", "tokenpatchtest"},
	"examples/takerole":       {"."},

	"benchmarks/growth":             {"."},
	"benchmarks/ratelimit":          {".", "tokenpatchtest"},
	"benchmarks/size/retryablehttp": {},
	"benchmarks/size/tokenpatch":    {"."},
	"benchmarks/table":              {},

	"tokenpatchotel":                 {"."},
	"tokenpatchotel/examples/trace":  {".", "tokenpatchotel"},
	"tokenpatchredis":                {},
	"tokenpatchredis/examples/share": {".", "tokenpatchredis"},

	"fleet":                       {".", "internal/shorten", "internal/suggest"},
	"fleet/examples/csv":          {".", "fleet"},
	"fleet/fleetotel":             {"fleet", "tokenpatchotel"},
	"fleet/internal/postgrestest": {},

	"cmd/tokenpatch":                      {".", "cmd/tokenpatch/internal/audit", "cmd/tokenpatch/internal/changefile", "cmd/tokenpatch/internal/page", "cmd/tokenpatch/internal/telemetry", "fleet", "internal/suggest", "tokenpatchtest"},
	"cmd/tokenpatch/internal/audit":       {".", "cmd/tokenpatch/internal/page", "fleet", "internal/suggest"},
	"cmd/tokenpatch/internal/browsertest": {},
	"cmd/tokenpatch/internal/changefile":  {".", "fleet", "internal/shorten", "internal/suggest"},
	"cmd/tokenpatch/internal/page":        {},
	"cmd/tokenpatch/internal/telemetry":   {".", "fleet", "fleet/fleetotel", "internal/redact", "tokenpatchotel"},

	"tools/modproxy": {},
	"tools/mutate":   {},
	"tools/notices":  {},
}

// othersOf lists what the packages of the root module import besides the repository and the standard library: each of
// these becomes a dependency of every user.
var othersOf = map[string][]string{
	".":                       {"github.com/google/uuid"},
	"internal/engine":         {"github.com/hashicorp/go-retryablehttp"},
	"internal/faulttest/pair": {"github.com/google/uuid", "github.com/stretchr/testify/assert", "github.com/stretchr/testify/require"},
	"tokenpatchtest":          {"github.com/google/uuid"},
	"examples/quickstart":     {"github.com/google/uuid"},
}

func TestImportRules(t *testing.T) {
	modules := foldersOfModules(t)
	for _, file := range goFiles(t) {
		if file.isTest() {
			continue
		}
		folder := file.folder()
		allowed, known := mayImport[folder]
		assert.True(t, known, "%s: a package without a row in mayImport", folder)
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			assert.NoError(t, err)
			switch {
			case isStandard(imported):
			case isBelow(imported, rootModule):
				one := strings.TrimPrefix(strings.TrimPrefix(imported, rootModule), "/")
				assert.Contains(t, allowed, cmp.Or(one, "."), "%s imports %s", file.at(spec.Pos()), imported)
			case moduleOf(modules, folder) == ".":
				assert.Contains(t, othersOf[folder], imported, "%s imports %s", file.at(spec.Pos()), imported)
			}
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

// foldersOfModules lists the folders with a go.mod.
func foldersOfModules(t *testing.T) []string {
	var folders []string
	for _, name := range filesNamed(t, func(name string) bool { return name == "go.mod" }) {
		folders = append(folders, path.Dir(name))
	}
	return folders
}

// moduleOf is the folder of a folder's module.
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
