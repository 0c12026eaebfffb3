// Package repository holds the tree against its own rules: who imports whom, how long a function is, and what the
// documentation claims. It has tests only.
package repository

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const rootModule = "github.com/tokenpatch/tokenpatch"

// tree is the root module's folder, in which the other modules are.
var tree = os.DirFS("../..")

// goFile is a file of the tree, parsed with its comments.
type goFile struct {
	path string // from the top of the tree, with slashes
	fset *token.FileSet
	*ast.File
}

func (f goFile) folder() string { return path.Dir(f.path) }
func (f goFile) isTest() bool   { return strings.HasSuffix(f.path, "_test.go") }

// at returns pos for a message.
func (f goFile) at(pos token.Pos) string {
	position := f.fset.Position(pos)
	position.Filename = f.path
	return position.String()
}

// goFiles parses every Go file of the tree, those of the other modules too.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	for _, name := range filesNamed(t, func(name string) bool { return strings.HasSuffix(name, ".go") }) {
		source, err := fs.ReadFile(tree, name)
		require.NoError(t, err)
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, goFile{name, fset, file})
	}
	return files
}

// filesNamed lists the files of the tree whose name is wanted.
func filesNamed(t *testing.T, wanted func(name string) bool) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := path.Base(name); entry.IsDir() && (base == ".git" || base == "testdata" || base == "node_modules") {
			return fs.SkipDir
		}
		if !entry.IsDir() && wanted(path.Base(name)) {
			names = append(names, name)
		}
		return nil
	})
	require.NoError(t, err)
	return names
}

// isWhole reports whether the other modules are there too: they are not in the module cache.
func isWhole() bool {
	_, err := fs.Stat(tree, "tools/go.mod")
	return err == nil
}

// text is the content of a file of the tree.
func text(t *testing.T, name string) string {
	t.Helper()
	content, err := fs.ReadFile(tree, name)
	require.NoError(t, err)
	return string(content)
}
