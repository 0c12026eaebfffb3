package changefile

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/internal/suggest"
)

// table reads a change from each record of a CSV file, RFC 4180, as spreadsheets save it. Its first record names the columns.
type table struct {
	source  *bounded
	csv     *csv.Reader
	header  []string // known names of columns; empty for an ignored one
	unnamed []bool   // columns without a name
	before  int      // lines before the header
	last    int      // first line of the last whole record
	ended   bool
}

func newTable(r *bufio.Reader) *table {
	t := &table{}
	comma, declared := declaredSeparator(r)
	if declared {
		t.before = 1
	} else {
		comma = separatorOf(firstLine(r))
	}
	t.source = &bounded{r: r}
	t.csv = csv.NewReader(t.source)
	t.csv.Comma = comma
	t.csv.TrimLeadingSpace = comma != '\t' // it would skip empty cells
	t.csv.FieldsPerRecord = -1             // looked at here
	t.csv.ReuseRecord = true
	return t
}

// declaredSeparator reads a first line such as "sep=;", which is for Excel.
func declaredSeparator(r *bufio.Reader) (comma rune, found bool) {
	start, _ := r.Peek(7)
	if len(start) < 5 || !bytes.EqualFold(start[:4], []byte("sep=")) || !strings.ContainsRune(",;\t", rune(start[4])) {
		return 0, false
	}
	_, err := r.ReadString('\n')
	return rune(start[4]), err == nil
}

// firstLine is the first line with something in it. It stays unread.
func firstLine(r *bufio.Reader) string {
	start, _ := r.Peek(r.Size())
	for line := range bytes.Lines(start) {
		if text := trim(string(line)); strings.Trim(text, ",;\t\"") != "" {
			return text
		}
	}
	return ""
}

// separatorOf is the separator of a header: the one with the most known columns.
func separatorOf(header string) rune {
	best, most := ',', 0
	for _, comma := range ",;\t" {
		found := 0
		for cell := range strings.SplitSeq(header, string(comma)) {
			if name, _ := columnNamed(strings.Trim(cell, `"`)); name != "" {
				found++
			}
		}
		if found > most {
			best, most = comma, found
		}
	}
	return best
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

// disarmed is a formula disarmed by an apostrophe of tokenpatch list or report.
var disarmed = regexp.MustCompile(`(^|[;|])([\s"']*)'([=+\-@＝＋－＠])`)

// trim cuts blanks off a cell, including unusual ones.
func trim(cell string) string {
	return strings.TrimFunc(cell, func(r rune) bool { return unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' })
}

func (t *table) next() (entry, error) {
	if t.header == nil && !t.ended {
		if mistakes, err := t.readHeader(); err != nil || len(mistakes) > 0 {
			return entry{Row: Row{Line: t.last}, mistakes: mistakes}, err
		}
	}
	cells, mistakes, err := t.record()
	if err != nil || len(mistakes) > 0 {
		return entry{Row: Row{Line: t.last}, mistakes: mistakes}, err
	}
	r := &tableRow{table: t, entry: entry{Row: Row{Line: t.last}}}
	r.read(cells)
	if len(r.mistakes) == 0 {
		r.Row, r.mistakes = checked(r.Row)
	}
	for i, m := range r.mistakes {
		r.mistakes[i].Member = strings.TrimPrefix(m.Member, "want.")
	}
	return r.entry, nil
}

// record reads the next non-blank record, or returns the mistakes in its form.
func (t *table) record() (cells []string, mistakes []Mistake, err error) {
	for !t.ended {
		t.source.left = maxLine
		cells, err = t.csv.Read()
		if err != nil {
			return t.broken(err)
		}
		line, _ := t.csv.FieldPos(0)
		t.last = line + t.before
		for i := range cells {
			cells[i] = disarmed.ReplaceAllString(trim(cells[i]), "$1$2$3")
		}
		if slices.ContainsFunc(cells, func(cell string) bool { return cell != "" }) {
			return cells, nil, nil
		}
	}
	return nil, nil, io.EOF
}

// broken returns the mistakes of an unreadable record.
func (t *table) broken(err error) ([]string, []Mistake, error) {
	var wrong *csv.ParseError
	switch {
	case errors.As(err, &wrong):
		t.ended = errors.Is(wrong.Err, csv.ErrQuote) // what follows may be inside of quotes, or not
		return nil, []Mistake{{Line: wrong.Line + t.before, Column: wrong.Column, Want: wrong.Err.Error() + ": want CSV as RFC 4180 has it"}}, nil
	case errors.Is(err, errTooLong):
		t.ended = true
		want := fmt.Sprintf("longer than %d bytes, or the next record is: want one change a record", maxLine)
		return nil, []Mistake{{Line: max(t.last, 1), Want: want}}, nil
	}
	return nil, nil, err
}

// readHeader reads the names of the columns. Rows are read also if one of them is not known, so their mistakes are found
// in one go.
func (t *table) readHeader() (mistakes []Mistake, err error) {
	cells, mistakes, err := t.record()
	if err != nil || len(mistakes) > 0 {
		t.ended = true
		return mistakes, err
	}
	t.header, t.unnamed = make([]string, len(cells)), make([]bool, len(cells))
	for i, cell := range cells {
		name, want := columnNamed(cell)
		t.unnamed[i] = cell == ""
		switch {
		case cell == "":
		case want != "":
			mistakes = append(mistakes, Mistake{Line: t.last, Value: fmt.Sprintf("%q", brief(cell)), Want: want})
		case name != "" && slices.Contains(t.header[:i], name):
			mistakes = append(mistakes, Mistake{Line: t.last, Member: name, Want: "want the column once"})
		default:
			t.header[i] = name
		}
	}
	if !slices.Contains(t.header, "id") {
		t.ended = true // no row means anything
		mistakes = append(mistakes, Mistake{Line: t.last, Member: "id", Want: "missing: want a column with the ids of tokens"})
	}
	return mistakes, nil
}

// ignored are columns for people, as tokenpatch list writes them: nothing is read from them.
var ignored = []string{"owner", "service", "created", "lastModified", "lastUsed"}

// columnNamed is the name of a column as it is known; empty if it is for people, or what would be right.
func columnNamed(header string) (name, want string) {
	header = trim(header)
	known := columns()
	same := func(name string) bool { return strings.EqualFold(name, header) }
	if i := slices.IndexFunc(known, same); i >= 0 {
		return known[i], ""
	}
	if slices.ContainsFunc(ignored, same) {
		return "", ""
	}
	return "", "no such column" + suggest.Hint(header, known)
}

// columns are the valid names in a header.
func columns() []string {
	names := []string{"api", "id", "comment"}
	names = slices.AppendSeq(names, maps.Keys(wants))
	names = slices.AppendSeq(names, maps.Keys(updates))
	slices.Sort(names)
	return slices.Compact(names)
}

// tableRow is one record on its way to a row.
type tableRow struct {
	*table
	entry
	guessed bool // to be of V2, by its id
}

func (r *tableRow) mistake(member, value, want string) {
	r.mistakes = append(r.mistakes, Mistake{Line: r.Line, Member: member, Value: value, Want: want})
}

func (r *tableRow) read(cells []string) {
	var api string
	for i, cell := range cells {
		if at := notUTF8([]byte(cell)); at >= 0 {
			r.mistake(r.column(i), fmt.Sprintf("byte 0x%02X", cell[at]), `want UTF-8: in Excel, save as "CSV UTF-8"`)
		}
		if cell != "" && (i >= len(r.header) || r.unnamed[i]) {
			r.mistake("", fmt.Sprintf("%q", brief(cell)), fmt.Sprintf("column %d has no name in the header: want a name, or quotes around a cell with a separator in it", i+1))
		}
		switch r.column(i) {
		case "api":
			api = cell
		case "id":
			r.ID = cell
		case "comment":
			r.Comment = cell
		}
	}
	if len(r.mistakes) == 0 {
		r.settings(api, cells)
	}
}

// column is the name of a column; empty if it has none.
func (r *tableRow) column(cell int) string {
	if cell >= len(r.header) {
		return ""
	}
	return r.header[cell]
}

// settings reads the cells with settings, by the API. An empty cell in the place of the API is decided by the form of the id.
func (r *tableRow) settings(api string, cells []string) {
	api = strings.ToLower(api)
	switch {
	case api == "v1", api == "deepset", api == "" && isV1(r.ID):
		r.API, r.Change.Update = "v1", new(tokenpatch.TokenUpdate)
		fillRow(r, cells, updates, r.Change.Update)
	case api == "v2", api == "launchdarkly", api == "":
		r.API, r.Change.Want = "v2", &fleet.Want{Comment: r.Comment}
		r.guessed = api == "" && r.ID != ""
		fillRow(r, cells, wants, r.Change.Want)
	default:
		r.mistake("api", fmt.Sprintf("%q", brief(api)), "want v1, v2 or an empty cell")
	}
}

func fillRow[T any](r *tableRow, cells []string, settings map[string]setting[T], target *T) {
	given := false
	for i, cell := range cells {
		name := r.column(i)
		if cell == "" || name == "" || name == "api" || name == "id" || name == "comment" {
			continue
		}
		given = true
		s, known := settings[name]
		want := cellMistake(cell)
		switch {
		case !known:
			want = "want an empty cell: " + r.API + " has no such setting"
			if r.guessed {
				want += ", and ids of v1 are UUIDs"
			}
		case want == "" && cell == "null":
			want = s.set(target, []byte("null"))
		case want == "":
			want = s.set(target, []byte(s.json(cell)))
		}
		if want != "" {
			r.mistake(name, fmt.Sprintf("%q", brief(cell)), want)
		}
	}
	if !given {
		r.mistake("", "", "no setting in this row: want a value in at least one column, or null to remove what is there")
	}
}
