package repository

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ofInterfaces are methods of the standard library's interfaces (error, fmt, log/slog, encoding), by which they are used.
var ofInterfaces = []string{
	"Error", "Unwrap", "Is", "As", "String", "GoString", "Format", "LogValue",
	"MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText",
}

// withExamples are the packages whose exported functions and methods all have an Example with
// output.
var withExamples = []string{".", "tokenpatchtest", "tokenpatchotel", "fleet/fleetotel"}

func TestEveryFunctionHasAnExample(t *testing.T) {
	for _, folder := range withExamples {
		if folder != "." && folder != "tokenpatchtest" && !isWhole() {
			continue
		}
		p := documented(t, folder)
		check := func(name string, examples []*doc.Example) {
			shown := slices.ContainsFunc(examples, func(e *doc.Example) bool { return e.Output != "" })
			assert.True(t, shown, "%s: %s has no Example with output", p.Name, name)
		}
		for _, f := range p.Funcs {
			check(f.Name, f.Examples)
		}
		for _, typ := range p.Types {
			for _, f := range typ.Funcs {
				check(f.Name, f.Examples)
			}
			for _, m := range typ.Methods {
				if !slices.Contains(ofInterfaces, m.Name) {
					check(typ.Name+"."+m.Name, m.Examples)
				}
			}
		}
	}
}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	folders := []string{".", "tokenpatchtest"}
	if isWhole() {
		folders = append(folders, "tokenpatchotel", "tokenpatchredis", "fleet")
	}
	for _, folder := range folders {
		p := documented(t, folder)
		check := func(name, text string) {
			text = strings.TrimPrefix(strings.TrimPrefix(text, "A "), "An ")
			assert.True(t, strings.HasPrefix(text, name+" "), "%s: the doc comment of %s does not begin with its name: %q", p.Name, name, text)
		}
		assert.True(t, strings.HasPrefix(p.Doc, "Package "+p.Name+" "), "the comment of package %s", p.Name)
		for _, f := range p.Funcs {
			check(f.Name, f.Doc)
		}
		for _, typ := range p.Types {
			check(typ.Name, typ.Doc)
			for _, f := range slices.Concat(typ.Funcs, typ.Methods) {
				if !slices.Contains(ofInterfaces, f.Name) {
					check(f.Name, f.Doc)
				}
			}
		}
	}
}

// documented is the documentation of the package in folder, with its examples.
func documented(t *testing.T, folder string) *doc.Package {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range filesNamed(t, func(name string) bool { return strings.HasSuffix(name, ".go") }) {
		if path.Dir(name) == folder {
			file, err := parser.ParseFile(fset, name, text(t, name), parser.ParseComments)
			require.NoError(t, err)
			files = append(files, file)
		}
	}
	p, err := doc.NewFromFiles(fset, files, path.Join(rootModule, folder))
	require.NoError(t, err)
	return p
}

// Each promise of SECURITY.md names its tests, and they exist.
func TestSecurityNamesTestsThatExist(t *testing.T) {
	var tests []string
	for _, file := range goFiles(t) {
		for _, declaration := range file.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && file.isTest() && f.Recv == nil {
				tests = append(tests, f.Name.Name)
			}
		}
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)(…?)`").FindAllStringSubmatch(text(t, "SECURITY.md"), -1)
	require.NotEmpty(t, named)
	for _, name := range named {
		assert.True(t, slices.ContainsFunc(tests, func(test string) bool {
			return test == name[1] || name[2] != "" && strings.HasPrefix(test, name[1])
		}), "SECURITY.md names %s, and there is no such test", name[1]+name[2])
	}
}

// Links lead to a file of the tree, and to an existing heading.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, name := range filesNamed(t, func(name string) bool { return strings.HasSuffix(name, ".md") }) {
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(text(t, name), -1) {
			file, heading, hasHeading := strings.Cut(link[1], "#")
			if strings.Contains(link[1], "://") || file != "" && !isWhole() {
				continue
			}
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			_, err := fs.Stat(tree, target)
			if assert.NoError(t, err, "%s links to %s", name, link[1]) && hasHeading {
				assert.Contains(t, anchorsOf(text(t, target)), heading, "%s links to %s, which has no such heading", name, target)
			}
		}
	}
}

// anchorsOf lists the anchors of a document's headings.
func anchorsOf(document string) []string {
	var anchors []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(document, -1) {
		words := regexp.MustCompile("[^a-z0-9 -]").ReplaceAllString(strings.ToLower(heading[1]), "")
		anchors = append(anchors, strings.ReplaceAll(words, " ", "-"))
	}
	return anchors
}

// Between releases the version ends with -dev, and what is new is in the changelog's section Unreleased; a release has a
// section of its own on top.
func TestChangelogHasTheVersion(t *testing.T) {
	found := regexp.MustCompile(`(?m)^const version = "(.+)"$`).FindStringSubmatch(text(t, "client.go"))
	require.NotNil(t, found)
	first := regexp.MustCompile(`(?m)^## \[(.+?)\]`).FindStringSubmatch(text(t, "CHANGELOG.md"))
	require.NotNil(t, first)
	if strings.HasSuffix(found[1], "-dev") {
		assert.Equal(t, "Unreleased", first[1])
	} else {
		assert.Equal(t, found[1], first[1])
	}
}
