package changefile

import (
	"bytes"
	"io"
	"strings"
)

// value is a JSON value in a file, or what stands in its place.
type value struct {
	text   []byte
	line   int // in which it begins
	column int // likewise, in bytes, from 1
}

// position is the line and the column of an offset into the value.
func (v value) position(offset int) (line, column int) {
	before := v.text[:min(offset, len(v.text))]
	lines := bytes.Count(before, []byte("\n"))
	if lines == 0 {
		return v.line, v.column + offset
	}
	return v.line + lines, offset - bytes.LastIndexByte(before, '\n')
}

// values reads one JSON value after another: one a line, over several lines, or in an array.
type values struct {
	lines
	rest   []byte // of the last line
	column int    // at which rest begins, less one
	seen   bool   // something other than blanks
	array  bool   // begun and not ended
}

// next returns the next value. Text other than an object ends with its line. An array without an
// end is returned as its bracket.
func (p *values) next() (value, error) {
	err := p.skip()
	v := value{line: p.number, column: p.column + 1}
	switch {
	case err == io.EOF && p.array: //nolint:errorlint // a reader's end is io.EOF itself: wrapped, it is trouble
		p.array = false
		v.text = []byte("[")
	case err != nil:
		return v, err
	case p.rest[0] == '{':
		v.text, err = p.object()
		return v, err
	default:
		v.text = bytes.TrimRight(p.take(len(p.rest)), " \t\r\n")
	}
	return v, nil
}

// skip passes over blanks, and over what begins, separates and ends the values of an array.
func (p *values) skip() error {
	for {
		p.take(len(p.rest) - len(bytes.TrimLeft(p.rest, " \t\r\n")))
		switch {
		case len(p.rest) == 0:
			if err := p.read(); err != nil {
				return err
			}
			continue
		case p.rest[0] == '[' && !p.seen:
			p.array = true
		case p.rest[0] == ']' && p.array:
			p.array = false
		case p.rest[0] != ',' || !p.array:
			p.seen = true
			return nil
		}
		p.seen = true
		p.take(1)
	}
}

// read reads the next line.
func (p *values) read() (err error) {
	p.column = 0
	p.rest, err = p.lines.next()
	return err
}

func (p *values) take(n int) []byte {
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	p.column += n
	return taken
}

// object reads an object, or its part up to a line that cannot continue it.
func (p *values) object() ([]byte, error) {
	var text []byte
	var s scanner
	for {
		end := s.scan(p.rest)
		if end >= 0 && text == nil {
			return p.take(end), nil
		}
		if end >= 0 {
			return append(text, p.take(end)...), nil
		}
		text = append(text, p.take(len(p.rest))...)
		if len(text) > maxLine {
			return nil, errTooLong
		}
		if s.inText { // no text continues on another line
			return text, nil
		}
		err := p.read()
		if err == io.EOF || err == nil && s.isNew(p.rest) { //nolint:errorlint // the same
			return bytes.TrimRight(text, " \t\r\n"), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// scanner finds the end of an object.
type scanner struct {
	depth   int
	inText  bool
	escaped bool
	last    byte // other than a blank
}

// scan returns the offset behind the object, or -1 if it continues behind text.
func (s *scanner) scan(text []byte) int {
	for i, b := range text {
		switch {
		case s.escaped:
			s.escaped = false
		case s.inText && b == '\\':
			s.escaped = true
		case b == '"':
			s.inText = !s.inText
		case s.inText:
		case b == '{':
			s.depth++
		case b == '}':
			s.depth--
			if s.depth == 0 {
				return i + 1
			}
		}
		if !strings.ContainsRune(" \t\r\n", rune(b)) {
			s.last = b
		}
	}
	return -1
}

// isNew reports whether a line begins an object that cannot be a part of the one before, which then breaks off.
func (s *scanner) isNew(line []byte) bool {
	line = bytes.TrimLeft(line, " \t\r\n")
	return bytes.HasPrefix(line, []byte("{")) && !strings.ContainsRune(":[,", rune(s.last))
}
