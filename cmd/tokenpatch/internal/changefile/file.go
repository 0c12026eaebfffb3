// Package changefile reads a file of changes: JSON Lines, or CSV. All of it is checked before any of it is used, in
// memory that does not grow with it save for 100 bytes or so a change.
package changefile

import (
	"bufio"
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

	"github.com/tokenpatch/tokenpatch/fleet"
)

const (
	maxLine    = 1 << 20 // bytes of one line
	maxChanges = 1_000_000
)

// File is a file of changes that has been checked. It is made by [Open].
type File struct {
	Name    string // as it was given; "-" is standard input
	Digest  string // SHA-256 of its bytes, in hexadecimal
	Changes int    // how many there are
	V1, V2  int    // the first line with a change of each API; 0 where there is none

	file    *os.File
	spooled bool // that file is a temporary one
}

// Open opens the file of changes at path and checks all of it. It is CSV where its name ends in .csv, and JSON Lines
// otherwise; "-" is stdin, of which a copy is kept on disk until Close. What is wrong with the changes is a
// [*MistakesError].
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
	if path != "-" {
		f.file, err = os.Open(path)
		return err
	}
	if f.file, err = os.CreateTemp("", "tokenpatch-*.jsonl"); err != nil {
		return err
	}
	f.spooled = true
	if _, err := io.Copy(f.file, stdin); err != nil {
		return errors.Join(fmt.Errorf("standard input: %w", err), f.Close())
	}
	return nil
}

// Close closes the file.
func (f *File) Close() error {
	err := f.file.Close()
	if f.spooled {
		err = errors.Join(err, os.Remove(f.file.Name()))
	}
	return err
}

// entry is a change as it stands in a file, or what is wrong with it.
type entry struct {
	line     int
	change   fleet.Change
	mistakes []Mistake
}

// parser reads a file from one entry to the next; io.EOF is its end.
type parser interface{ next() (entry, error) }

// parse reads the file from its beginning, and digests what it reads.
func (f *File) parse() (parser, hash.Hash, error) {
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return nil, nil, fmt.Errorf("%s: want a file that can be read twice, or - for standard input: %w", f.Name, err)
	}
	digest := sha256.New()
	r := bufio.NewReaderSize(io.TeeReader(f.file, digest), 64<<10)
	if mark, _ := r.Peek(3); string(mark) == "\ufeff" {
		_, _ = r.Discard(3) // a byte order mark, as spreadsheets write it
	}
	if strings.EqualFold(filepath.Ext(f.Name), ".csv") {
		return newTable(r), digest, nil
	}
	return &jsonLines{&lines{r: r}}, digest, nil
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
			return err
		}
		if len(e.mistakes) == 0 {
			e.mistakes = f.count(e, seen)
		}
		mistakes.add(e.mistakes...)
		if f.Changes > maxChanges {
			return fmt.Errorf("%s: line %d: want at most %d changes in one file", f.Name, e.line, maxChanges)
		}
	}
	if mistakes.Count > 0 {
		return mistakes
	}
	if f.Changes == 0 {
		return fmt.Errorf("%s: there is no change in it", f.Name)
	}
	f.Digest = hex.EncodeToString(digest.Sum(nil))
	return nil
}

// count counts a change, and finds the token that was there before. It keeps a hash of each token's id: enough to tell
// them apart, and of one size.
func (f *File) count(e entry, seen map[[16]byte]int) []Mistake {
	f.Changes++
	api, first := "v2", &f.V2
	if e.change.Update != nil {
		api, first = "v1", &f.V1
	}
	if *first == 0 {
		*first = e.line
	}
	sum := sha256.Sum256([]byte(api + e.change.ID))
	key := [16]byte(sum[:16])
	if before, found := seen[key]; found {
		return []Mistake{{Line: e.line, Member: "id", Text: fmt.Sprintf("%q: want each token once: line %d has it too", shorten(e.change.ID), before)}}
	}
	seen[key] = e.line
	return nil
}

var errChanged = errors.New("the file has changed since it was checked")

// All iterates over the changes in their order. An error is the last that it yields: that the file could not be read, or
// that it has changed since it was checked.
func (f *File) All() iter.Seq2[fleet.Change, error] {
	return func(yield func(fleet.Change, error) bool) {
		err := f.each(func(change fleet.Change) bool { return yield(change, nil) })
		if err != nil {
			yield(fleet.Change{}, fmt.Errorf("%s: %w", f.Name, err))
		}
	}
}

func (f *File) each(do func(fleet.Change) bool) error {
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
		case !do(e.change):
			return nil
		}
	}
}
