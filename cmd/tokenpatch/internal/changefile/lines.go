package changefile

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// lines reads a file line by line. It skips a line beyond the limit without keeping it.
type lines struct {
	r      *bufio.Reader
	number int // of the last line, from 1
	line   []byte
}

var errTooLong = errors.New("the line is too long")

// next returns the next line with its end; it is overwritten by the line after it.
func (l *lines) next() ([]byte, error) {
	l.line = l.line[:0]
	long := false
	l.number++
	for {
		part, err := l.r.ReadSlice('\n')
		long = long || len(l.line)+len(part) > maxLine
		if !long {
			l.line = append(l.line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(l.line) == 0 && !long:
			l.number--
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		case long:
			return nil, errTooLong
		}
		return l.line, nil
	}
}

// notUTF8 is the offset of the first byte of invalid UTF-8, or -1.
func notUTF8(text []byte) int {
	if utf8.Valid(text) {
		return -1
	}
	for i := 0; ; {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
}

// halfSurrogate is the offset of the first escape in valid JSON that is half of a surrogate pair, or -1: UTF-8 cannot hold
// it, and encoding/json puts something else in its place.
func halfSurrogate(text []byte) int {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if unit := codeUnit(text[i:]); utf16.IsSurrogate(unit) {
			if utf16.DecodeRune(unit, codeUnit(text[i+6:])) == utf8.RuneError {
				return i
			}
			i += 10
		}
		i++ // over what is escaped, which may be a backslash
	}
	return -1
}

// codeUnit is the code unit of the \uXXXX at the start of a text, or -1.
func codeUnit(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 32)
	if err != nil {
		return -1
	}
	return rune(unit)
}
