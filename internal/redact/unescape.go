package redact

import (
	"html"
	"iter"
	"strings"
)

// maxEscapes is how often a text is unescaped: four times, once more for its JSON string, and once
// more for a part of a credential that only looks like an escape.
const maxEscapes = 6

// reading is a text, unescaped any number of times.
type reading struct {
	text  string
	begin []int32 // the index of each byte's beginning, and of the end, in the original text; nil if nothing was unescaped
}

// at returns the index of byte i in the original text.
func (r reading) at(i int) int {
	if r.begin == nil {
		return i
	}
	return int(r.begin[i])
}

// readings returns a text as it is, and unescaped once or more, as long as it changes. Each is
// valid until the next.
func readings(text string) iter.Seq[reading] {
	return func(yield func(reading) bool) {
		r, changed := reading{text: text}, true
		for undone := 0; changed && yield(r) && undone < maxEscapes; undone++ {
			r, changed = r.unescape()
		}
	}
}

// unescape undoes once how JSON, Go, URLs and HTML escape a byte, and reports whether
// there was anything to undo.
func (r reading) unescape() (next reading, changed bool) {
	if !strings.ContainsAny(r.text, `\%&`) {
		return r, false
	}
	text, begin := []byte(r.text), r.begin // both are overwritten from the front
	if begin == nil {
		begin = make([]int32, len(text)+1)
		for i := range begin {
			begin[i] = int32(i)
		}
	}
	n := 0
	for i := 0; i < len(r.text); n++ {
		char, length := r.text[i], 1
		if char == '\\' || char == '%' || char == '&' {
			char, length = unescapeFirst(r.text[i:])
		}
		text[n], begin[n] = char, begin[i]
		i += length
	}
	begin[n] = begin[len(r.text)]
	return reading{string(text[:n]), begin[:n+1]}, n < len(r.text)
}

// unescapeFirst returns the first byte of a text, unescaped, and how many bytes it
// takes up in the text.
func unescapeFirst(text string) (char byte, length int) {
	switch {
	case text[0] == '%':
		return unescapeHex(text, 1, 2)
	case text[0] == '&':
		return unescapeEntity(text)
	case text[0] != '\\' || len(text) < 2:
		return text[0], 1
	}
	switch text[1] {
	case 'u':
		return unescapeHex(text, 2, 4)
	case 'x':
		return unescapeHex(text, 2, 2)
	}
	return text[1], 2
}

// unescapeHex undoes an escape with hexadecimal digits from begin on.
func unescapeHex(text string, begin, digits int) (char byte, length int) {
	if len(text) < begin+digits {
		return text[0], 1
	}
	value := 0
	for _, c := range []byte(text[begin : begin+digits]) {
		if hexDigits[c] >= 16 {
			return text[0], 1
		}
		value = value<<4 | int(hexDigits[c])
	}
	return byte(min(value, 0xff)), begin + digits // no credential has what is not a byte
}

// maxEntity is the length of the longest decoded entity: longer than the name of any ASCII
// character, while leading zeros can make a number longer.
const maxEntity = 32

func unescapeEntity(text string) (char byte, length int) {
	length = 1 + strings.IndexAny(text[1:min(len(text), maxEntity)], ";&")
	if text[length] == ';' {
		if decoded := html.UnescapeString(text[:length+1]); len(decoded) == 1 {
			return decoded[0], length + 1
		}
	}
	return text[0], 1
}
