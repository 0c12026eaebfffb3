package changefile

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Mistake is one thing that is wrong in a file.
type Mistake struct {
	Line   int    // from 1
	Column int    // in bytes, from 1; 0 where the whole line is meant
	Member string // "want.role", or the name of a CSV column; empty where there is none
	Text   string // the value, and what would be right
}

func (m Mistake) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "line %d", m.Line)
	if m.Column > 0 {
		fmt.Fprintf(&b, ", column %d", m.Column)
	}
	b.WriteString(": ")
	if m.Member != "" {
		b.WriteString(m.Member + ": ")
	}
	b.WriteString(m.Text)
	return b.String()
}

const maxMistakes = 100 // that are told

// MistakesError is all that is wrong with a file.
type MistakesError struct {
	File     string
	Mistakes []Mistake // the first of them
	Count    int       // of all
}

func (e *MistakesError) add(mistakes ...Mistake) {
	e.Count += len(mistakes)
	room := min(len(mistakes), maxMistakes-len(e.Mistakes))
	e.Mistakes = append(e.Mistakes, mistakes[:room]...)
}

func (e *MistakesError) Error() string {
	var b strings.Builder
	for _, m := range e.Mistakes {
		fmt.Fprintf(&b, "%s: %s\n", e.File, m)
	}
	if more := e.Count - len(e.Mistakes); more > 0 {
		fmt.Fprintf(&b, "%s: and %d more\n", e.File, more)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// shorten cuts a text that is shown to a person.
func shorten(text string) string {
	const limit = 60
	if len(text) <= limit {
		return text
	}
	end := limit
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "..."
}
