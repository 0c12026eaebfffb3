// Package changefile reads a file of changes: a table or JSON, written by people, or a plan. It
// checks the whole file before any of it is used, in memory that grows by some 100 bytes a change.
package changefile

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/tokenpatch/tokenpatch/fleet"
)

const (
	maxLine = 1 << 20 // bytes of one change
	maxRows = 1_000_000
)

// File is a checked file of changes. [Open] makes one.
type File struct {
	Name    string // as it was given; "-" is standard input
	Digest  string // SHA-256 of its bytes, in hexadecimal
	Plan    *Plan  // if it is a plan
	Rows    int    // how many there are
	Changes int    // how many of them are to be made
	V1, V2  int    // the first line with a change of each API; 0 if there is none

	file *os.File
}

// Plan is the first line of a plan file.
type Plan struct {
	Version    int    `json:"version"`
	Run        string `json:"run"` // a random id
	Account    string `json:"account,omitempty"`
	Credential string `json:"credential,omitempty"` // id of the plan's own token
	Source     string `json:"source,omitempty"`     // the FILE behind it
	SHA256     string `json:"sha256,omitempty"`     // of FILE
}

// PlanVersion is the version of plan files.
const PlanVersion = 1

// Row is one change of a file, or a row of a plan for which nothing is to be done.
type Row struct {
	Line    int
	API     string // "v1" or "v2"
	ID      string
	Name    string // of the token, in a plan
	Comment string
	Skip    string            // why nothing is to be done, in a plan; the change is empty then
	Roles   map[string]string // keys of custom roles by id, in a plan
	Change  fleet.Change
}

// Open opens the file of changes at path and checks all of it. Its name or its content decides
// whether it is a table or JSON. A copy of a file that can be read only once, such as stdin, whose
// path is "-", is kept on disk until Close. Mistakes in the changes are a [*MistakesError].
func Open(path string, stdin io.Reader) (*File, error) {
	f := &File{Name: path}
	if err := f.open(path, stdin); err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *File) open(path string, stdin io.Reader) (err error) {
	if path == "-" {
		return f.spool(stdin)
	}
	if f.file, err = os.Open(path); err != nil {
		return err
	}
	info, err := f.file.Stat()
	if err != nil || info.Mode().IsRegular() || info.IsDir() {
		return err
	}
	once := f.file
	defer once.Close()
	return f.spool(once)
}

// spool copies a file that can be read only once. The copy has no name any more, if the system
// allows this.
func (f *File) spool(from io.Reader) (err error) {
	if f.file, err = os.CreateTemp("", "tokenpatch-*"); err != nil {
		return err
	}
	_ = os.Remove(f.file.Name()) // else Close does
	if _, err := io.Copy(f.file, from); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", f.Name, err), f.Close())
	}
	return nil
}

// HasName reports whether the file can be opened again by its name: neither stdin nor a pipe can.
func (f *File) HasName() bool { return f.file.Name() == f.Name }

// Close closes the file.
func (f *File) Close() error {
	err := f.file.Close()
	if !f.HasName() {
		_ = os.Remove(f.file.Name())
	}
	return err
}

// entry is a row as it stands in a file, or what is wrong with it.
type entry struct {
	Row
	mistakes []Mistake
}

// parser reads a file from one entry to the next; io.EOF is its end.
type parser interface{ next() (entry, error) }

var errWorkbook = errors.New("this is a workbook: want it saved as CSV")

// parse reads the file from its beginning, and digests what it reads.
func (f *File) parse() (parser, hash.Hash, error) {
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	digest := sha256.New()
	r := bufio.NewReaderSize(io.TeeReader(f.file, digest), 64<<10)
	start, _ := r.Peek(4)
	switch {
	case bytes.HasPrefix(start, []byte("PK\x03\x04")):
		return nil, nil, fmt.Errorf("%s: %w", f.Name, errWorkbook)
	case bytes.HasPrefix(start, []byte("\xff\xfe")), bytes.HasPrefix(start, []byte("\xfe\xff")):
		decoder := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder()
		r = bufio.NewReaderSize(transform.NewReader(r, decoder), 64<<10)
	case bytes.HasPrefix(start, []byte("\ufeff")):
		_, _ = r.Discard(3) // a byte order mark, as spreadsheets write it
	}
	if f.isTable(r) {
		return newTable(r), digest, nil
	}
	return &jsonRows{values: values{lines: lines{r: r}}}, digest, nil
}

// isTable distinguishes a table from JSON, by the file's name or by its first character.
func (f *File) isTable(r *bufio.Reader) bool {
	switch strings.ToLower(filepath.Ext(f.Name)) {
	case ".csv", ".tsv":
		return true
	case ".json", ".jsonl", ".ndjson":
		return false
	}
	start, _ := r.Peek(4 << 10)
	start = bytes.TrimLeft(start, " \t\r\n")
	return len(start) > 0 && start[0] != '{' && start[0] != '['
}

// check reads all of the file once.
func (f *File) check() error {
	p, digest, err := f.parse()
	if err != nil {
		return err
	}
	mistakes := &MistakesError{File: f.Name}
	seen := map[[16]byte]int{}
	for {
		e, err := p.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		mistakes.add(e.mistakes...)
		if e.ID != "" {
			mistakes.add(f.count(e.Row, seen)...)
		}
		if f.Rows > maxRows {
			return fmt.Errorf("%s: line %d: want at most %d changes in one file", f.Name, e.Line, maxRows)
		}
	}
	if mistakes.Count > 0 {
		return mistakes
	}
	if f.Rows == 0 {
		return fmt.Errorf("%s: there is no change in it", f.Name)
	}
	if j, ok := p.(*jsonRows); ok {
		f.Plan = j.plan
	}
	f.Digest = hex.EncodeToString(digest.Sum(nil))
	return nil
}

// count counts a row, and finds an earlier row of the same token. It keeps a hash of each token's
// id, of a fixed size.
func (f *File) count(row Row, seen map[[16]byte]int) []Mistake {
	f.Rows++
	if row.Skip == "" {
		f.Changes++
		first := &f.V2
		if row.API == "v1" {
			first = &f.V1
		}
		if *first == 0 {
			*first = row.Line
		}
	}
	sum := sha256.Sum256([]byte(row.API + row.ID))
	key := [16]byte(sum[:16])
	if before, found := seen[key]; found {
		return []Mistake{{Line: row.Line, Member: "id", Value: fmt.Sprintf("%q", brief(row.ID)), Want: fmt.Sprintf("want each token once: line %d has it too", before)}}
	}
	seen[key] = row.Line
	return nil
}

var errChanged = errors.New("the file has changed since it was checked")

// All iterates over the rows in their order. An error is the last item: the file could not be read,
// or it has changed since it was checked.
func (f *File) All() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		err := f.each(func(row Row) bool { return yield(row, nil) })
		if err != nil {
			yield(Row{}, fmt.Errorf("%s: %w", f.Name, err))
		}
	}
}

func (f *File) each(do func(Row) bool) error {
	p, digest, err := f.parse()
	if err != nil {
		return err
	}
	for {
		e, err := p.next()
		switch {
		case errors.Is(err, io.EOF) && hex.EncodeToString(digest.Sum(nil)) != f.Digest:
			return errChanged
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case len(e.mistakes) > 0:
			return errChanged
		case !do(e.Row):
			return nil
		}
	}
}

// Edits iterates over the changes to make, as [File.All] does over the rows.
func (f *File) Edits() iter.Seq2[fleet.Change, error] {
	return func(yield func(fleet.Change, error) bool) {
		for row, err := range f.All() {
			if row.Skip == "" && !yield(row.Change, err) {
				return
			}
		}
	}
}
