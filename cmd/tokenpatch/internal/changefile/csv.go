package changefile

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// table reads a change from each record of a CSV file, RFC 4180, whose first record names the columns.
type table struct {
	source *bounded
	csv    *csv.Reader
	header []string
	last   int // line in which the last record that was whole begins
	ended  bool
}

func newTable(r io.Reader) *table {
	source := &bounded{r: r}
	t := &table{source: source, csv: csv.NewReader(source)}
	t.csv.FieldsPerRecord = -1 // looked at here
	t.csv.ReuseRecord = true
	return t
}

// bounded reads what one record may have.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (t *table) next() (entry, error) {
	if t.header == nil && !t.ended {
		if mistakes, err := t.readHeader(); err != nil || len(mistakes) > 0 {
			t.ended = true // without its columns nothing can be said of the rest
			return entry{line: 1, mistakes: mistakes}, err
		}
	}
	cells, line, mistakes, err := t.record()
	e := entry{line: line, mistakes: mistakes}
	if err != nil || len(mistakes) > 0 {
		return e, err
	}
	row := &row{table: t, record: &record{line: line}}
	row.read(cells)
	if e.mistakes = row.mistakes; len(e.mistakes) == 0 {
		e.change, e.mistakes = checked(line, row.change)
	}
	return e, nil
}

// record reads a record, or what is wrong with its form.
func (t *table) record() (cells []string, line int, mistakes []Mistake, err error) {
	if t.ended {
		return nil, 0, nil, io.EOF
	}
	t.source.left = maxLine
	cells, err = t.csv.Read()
	var wrong *csv.ParseError
	switch {
	case errors.As(err, &wrong):
		t.ended = errors.Is(wrong.Err, csv.ErrQuote) // what follows may be inside of quotes, or not
		return nil, wrong.StartLine, []Mistake{{Line: wrong.Line, Column: wrong.Column, Text: wrong.Err.Error() + ": want CSV as RFC 4180 has it"}}, nil
	case errors.Is(err, errTooLong):
		t.ended = true
		return nil, 0, []Mistake{{Line: max(t.last, 1), Text: fmt.Sprintf("longer than %d bytes, or the record behind it is: want one change a record", maxLine)}}, nil
	case err != nil:
		return nil, 0, nil, err
	}
	t.last, _ = t.csv.FieldPos(0)
	return cells, t.last, nil, nil
}

func (t *table) readHeader() ([]Mistake, error) {
	cells, line, mistakes, err := t.record()
	if err != nil || len(mistakes) > 0 {
		return mistakes, err
	}
	known := columns()
	for i, name := range cells {
		_, column := t.csv.FieldPos(i)
		switch {
		case !slices.Contains(known, name):
			mistakes = append(mistakes, Mistake{Line: line, Column: column, Text: fmt.Sprintf("%q: want a column of these, separated by commas: %s", shorten(name), strings.Join(known, ", "))})
		case slices.Contains(cells[:i], name):
			mistakes = append(mistakes, Mistake{Line: line, Column: column, Member: name, Text: "want the column once"})
		}
	}
	if !slices.Contains(cells, "id") {
		mistakes = append(mistakes, Mistake{Line: line, Member: "id", Text: "missing: want a column with the ids of tokens"})
	}
	t.header = slices.Clone(cells)
	return mistakes, nil
}

// columns are the names that a header may have.
func columns() []string {
	names := []string{"api", "id", "comment"}
	names = slices.AppendSeq(names, maps.Keys(wants))
	names = slices.AppendSeq(names, maps.Keys(updates))
	slices.Sort(names)
	return slices.Compact(names)
}

// row is one record on its way to a change.
type row struct {
	*table
	*record
	api, comment string
}

func (r *row) read(cells []string) {
	if len(cells) != len(r.header) {
		r.mistake(0, "", "%d cells: want %d, as the header has", len(cells), len(r.header))
		return
	}
	for i, name := range r.header {
		if at := notUTF8([]byte(cells[i])); at >= 0 {
			r.mistake(r.column(i), name, "byte 0x%02X: want UTF-8", cells[i][at])
		}
		switch name {
		case "api":
			r.api = cells[i]
		case "id":
			r.change.ID = cells[i]
		case "comment":
			r.comment = cells[i]
		}
	}
	if len(r.mistakes) == 0 {
		r.settings(cells)
	}
}

// column is the column in which a cell begins, in bytes.
func (r *row) column(cell int) int {
	_, column := r.csv.FieldPos(cell)
	return column
}

// settings reads the cells with settings, by the API.
func (r *row) settings(cells []string) {
	switch r.api {
	case "", "v2":
		r.change.Want = &fleet.Want{Comment: r.comment}
		fillRow(r, cells, wants, r.change.Want)
	case "v1":
		r.change.Update = new(tokenpatch.TokenUpdate)
		fillRow(r, cells, updates, r.change.Update)
		if r.comment != "" {
			r.mistake(0, "comment", "%q: want an empty cell: V1 has no comments", shorten(r.comment))
		}
	default:
		r.mistake(0, "api", "%q: want v1 or v2, or an empty cell for v2", shorten(r.api))
	}
}

func fillRow[T any](r *row, cells []string, settings map[string]setting[T], target *T) {
	for i, name := range r.header {
		cell := cells[i]
		if cell == "" || name == "api" || name == "id" || name == "comment" {
			continue
		}
		s, known := settings[name]
		if !known {
			r.mistake(r.column(i), name, "%q: want an empty cell: this API has no such setting", shorten(cell))
			continue
		}
		value := "null"
		if cell != value {
			value = s.json(cell)
		}
		if err := s.set(target, []byte(value)); err != nil {
			r.mistake(r.column(i), name, "%v", err)
		}
	}
}
