package main

import (
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// screen is standard error: everything a command prints there goes above the progress bar while one is drawn.
type screen struct {
	stderr io.Writer
	mu     sync.Mutex
	above  io.Writer
}

func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.above != nil {
		if n, err := s.above.Write(text); err == nil {
			return n, nil
		}
		s.above = nil // the bar has ended
	}
	return s.stderr.Write(text)
}

// drawBar makes later text appear above a bar.
func (s *screen) drawBar(above io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.above = above
}

// checkedWriter keeps the first error of its writer, for the end of the program: text on a full device is lost.
type checkedWriter struct {
	io.Writer
	err error
}

func (w *checkedWriter) Write(text []byte) (int, error) {
	n, err := w.Writer.Write(text)
	if w.err == nil {
		w.err = err
	}
	return n, err
}

// printable is a text on one line, without control characters for a terminal, and without those
// that change the direction of writing. It shows all text from a service, a token or a file.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return harmless(r)
	}, text)
}

// harmless is the character, or a replacement for one that a terminal would obey.
func harmless(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return utf8.RuneError
}

// printableWriter keeps from a terminal, in texts of several lines, what [printable] does. Each Write has whole characters.
type printableWriter struct{ io.Writer }

func (w printableWriter) Write(text []byte) (int, error) {
	clean := strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return harmless(r)
	}, string(text))
	if _, err := io.WriteString(w.Writer, clean); err != nil {
		return 0, err
	}
	return len(text), nil
}

// fit cuts a text to the columns of its place.
func fit(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	if limit < 4 {
		return string(runes[:max(limit, 0)])
	}
	return string(runes[:limit-3]) + "..."
}
