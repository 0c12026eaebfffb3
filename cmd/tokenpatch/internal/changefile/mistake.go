package changefile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch/internal/shorten"
)

// Mistake is one mistake in a file.
type Mistake struct {
	Line   int    // from 1; 0 if it is in none
	Column int    // in bytes, from 1; 0 if the whole line is meant, and in a table
	Member string // "want.role", or the name of a column; may be empty
	Value  string // what is there; may be empty
	Want   string // what would be right
}

const (
	maxCauses = 100 // printed ones
	maxSpans  = 20  // of lines, for one cause
	maxValues = 3   // for one cause
)

// MistakesError is all mistakes in a file: one message for each cause.
type MistakesError struct {
	File   string
	Count  int // of mistakes
	causes []*cause
	more   int // mistakes of causes beyond maxCauses
}

// cause is what several lines of a file do wrong in the same way.
type cause struct {
	Mistake // the first
	spans   []span
	more    bool // lines outside all spans
	values  []string
}

type span struct{ first, last int }

func (e *MistakesError) add(mistakes ...Mistake) {
	for _, m := range mistakes {
		e.Count++
		same := func(c *cause) bool { return c.Member == m.Member && c.Want == m.Want }
		i := slices.IndexFunc(e.causes, same)
		if i < 0 && len(e.causes) == maxCauses {
			e.more++
			continue
		}
		if i < 0 {
			i = len(e.causes)
			e.causes = append(e.causes, &cause{Mistake: m})
		}
		e.causes[i].add(m)
	}
}

// Add adds a mistake in a change of a line, by FILE's names of settings. Line 0 is none.
func (e *MistakesError) Add(line int, err error) {
	for _, m := range mistakesOf(line, err) {
		m.Member = strings.TrimPrefix(m.Member, "want.")
		e.add(m)
	}
}

func (c *cause) add(m Mistake) {
	if len(c.values) <= maxValues && !slices.Contains(c.values, m.Value) {
		c.values = append(c.values, m.Value)
	}
	last := len(c.spans) - 1
	switch {
	case last >= 0 && m.Line <= c.spans[last].last+1:
		c.spans[last].last = m.Line
	case len(c.spans) < maxSpans:
		c.spans = append(c.spans, span{m.Line, m.Line})
	default:
		c.more = true
	}
}

func (c *cause) String() string {
	var parts []string
	for _, part := range []string{c.where(), c.Member, c.shownValues(), c.Want} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// where returns the lines of a cause: "line 3, column 7" or "lines 2–41, 50".
func (c *cause) where() string {
	if c.Line == 0 {
		return ""
	}
	if len(c.spans) == 1 && c.spans[0].first == c.spans[0].last {
		if c.Column == 0 || len(c.values) > 1 {
			return fmt.Sprintf("line %d", c.Line)
		}
		return fmt.Sprintf("line %d, column %d", c.Line, c.Column)
	}
	var lines []string
	for _, s := range c.spans {
		if s.first == s.last {
			lines = append(lines, fmt.Sprint(s.first))
		} else {
			lines = append(lines, fmt.Sprintf("%d–%d", s.first, s.last))
		}
	}
	if c.more {
		lines = append(lines, "…")
	}
	return "lines " + strings.Join(lines, ", ")
}

func (c *cause) shownValues() string {
	shown := strings.Join(c.values[:min(len(c.values), maxValues)], ", ")
	if len(c.values) > maxValues {
		shown += ", …"
	}
	return shown
}

func (e *MistakesError) Error() string {
	var b strings.Builder
	for _, c := range e.causes {
		fmt.Fprintf(&b, "%s: %s\n", e.File, c)
	}
	if e.more > 0 {
		fmt.Fprintf(&b, "%s: and %d more mistakes\n", e.File, e.more)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// brief is a text from a file as a message shows it.
func brief(text string) string { return shorten.Text(text, 60) }
