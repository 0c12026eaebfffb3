// Modproxy makes a module proxy in the file system from the modules of a working tree, so each can
// be tried without the repository: packed, without the workspace, and with the others at a version.
//
//	modproxy -version v0.0.0-dev.1 -o DIR [TREE]
//
// It writes DIR/proxy, for GOPROXY, and for each module, by its folder in the tree,
// DIR/mod/FOLDER/go.mod and go.sum, for go's -modfile. These are the files of the tree, but
// requiring the other modules at this version, whose sums go.sum does not have.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

func main() {
	version := flag.String("version", "", "the version that every module gets")
	out := flag.String("o", "", "the folder to write to")
	flag.Parse()
	if *version == "" || *out == "" || flag.NArg() > 1 {
		flag.Usage()
		os.Exit(2)
	}
	tree := "."
	if flag.NArg() == 1 {
		tree = flag.Arg(0)
	}
	if err := run(tree, *version, *out); err != nil {
		fmt.Fprintln(os.Stderr, "modproxy:", err)
		os.Exit(1)
	}
}

func run(tree, version, out string) error {
	modules, err := find(tree)
	if err != nil {
		return err
	}
	for _, m := range modules {
		if err := m.require(modules, version); err != nil {
			return err
		}
		if err := m.writeModfile(filepath.Join(out, "mod", m.folder)); err != nil {
			return err
		}
		if err := m.pack(filepath.Join(out, "proxy"), version); err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
	}
	return nil
}

// license is the file pkg.go.dev wants in each module.
const license = "LICENSE"

// treeModule is a module of the tree.
type treeModule struct {
	path    string // as go.mod has it
	dir     string // its folder
	folder  string // the same, from the top of the tree
	gomod   []byte
	gosum   []byte
	license string // the file at the top of the tree, for a module without its own
}

// find lists the modules in and below tree.
func find(tree string) ([]*treeModule, error) {
	var modules []*treeModule
	err := filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && (name == ".git" || name == "testdata" || name == "node_modules") {
			return fs.SkipDir
		}
		if entry.Name() != "go.mod" {
			return nil
		}
		m, err := read(tree, filepath.Dir(path))
		modules = append(modules, m)
		return err
	})
	return modules, err
}

func read(tree, dir string) (*treeModule, error) {
	folder, err := filepath.Rel(tree, dir)
	if err != nil {
		return nil, err
	}
	gomod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return nil, err
	}
	gosum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	path := modfile.ModulePath(gomod)
	if path == "" {
		return nil, fmt.Errorf("%s: go.mod names no module", dir)
	}
	return &treeModule{path: path, dir: dir, folder: folder, gomod: gomod, gosum: gosum, license: filepath.Join(tree, license)}, nil
}

// require makes m's go.mod require the others at version, and takes their sums out of its go.sum.
func (m *treeModule) require(others []*treeModule, version string) error {
	file, err := modfile.Parse(filepath.Join(m.dir, "go.mod"), m.gomod, nil)
	if err != nil {
		return err
	}
	if len(file.Replace) > 0 {
		return fmt.Errorf("%s: go.mod has a replace, so that its packages could not be installed by version", m.path)
	}
	ours := map[string]bool{}
	for _, other := range others {
		ours[other.path] = true
	}
	for _, requirement := range file.Require {
		if path := requirement.Mod.Path; ours[path] {
			if err := file.AddRequire(path, version); err != nil {
				return err
			}
		}
	}
	var sums []byte
	for line := range bytes.Lines(m.gosum) {
		if path, _, _ := strings.Cut(string(line), " "); !ours[path] {
			sums = append(sums, line...)
		}
	}
	m.gosum = sums
	m.gomod, err = file.Format()
	return err
}

func (m *treeModule) writeModfile(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), m.gomod, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "go.sum"), m.gosum, 0o644)
}

// pack writes what a proxy serves of one version: https://go.dev/ref/mod#goproxy-protocol.
func (m *treeModule) pack(proxy, version string) error {
	escaped, err := module.EscapePath(m.path)
	if err != nil {
		return err
	}
	dir := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Now().UTC()})
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"list": []byte(version + "\n"), version + ".info": info, version + ".mod": m.gomod,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	files, err := m.files()
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	if err := zip.Create(&packed, module.Version{Path: m.path, Version: version}, files); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, version+".zip"), packed.Bytes(), 0o644)
}

// ignored matches what git ignores or keeps for itself. In a worktree .git is a file. make snapshot writes the two folders.
var ignored = regexp.MustCompile(`^(\.git$|build/|dist/)`)

// files lists the module's files, without those of modules below it and those of git. Like the go
// command, it gives the license at the top to a module without its own.
func (m *treeModule) files() ([]zip.File, error) {
	checked, err := zip.CheckDir(m.dir)
	if err != nil {
		return nil, err
	}
	var files []zip.File
	licensed := false
	for _, path := range checked.Valid {
		name, err := filepath.Rel(m.dir, path)
		if err != nil {
			return nil, err
		}
		licensed = licensed || name == license
		f := file{name: filepath.ToSlash(name), onDisk: path}
		if ignored.MatchString(f.name) {
			continue
		}
		if f.name == "go.mod" {
			f.content = m.gomod
		}
		files = append(files, f)
	}
	if !licensed {
		files = append(files, file{name: license, onDisk: m.license})
	}
	return files, nil
}

// file is a file of a module: one on disk, or with another content than there.
type file struct {
	name    string
	onDisk  string
	content []byte
}

func (f file) Path() string { return f.name }

func (f file) Lstat() (os.FileInfo, error) {
	info, err := os.Lstat(f.onDisk)
	if err != nil || f.content == nil {
		return info, err
	}
	return resized{info, int64(len(f.content))}, nil
}

func (f file) Open() (io.ReadCloser, error) {
	if f.content != nil {
		return io.NopCloser(bytes.NewReader(f.content)), nil
	}
	return os.Open(f.onDisk)
}

type resized struct {
	os.FileInfo
	size int64
}

func (r resized) Size() int64 { return r.size }
