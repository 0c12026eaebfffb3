package redact

import (
	"html"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// symbol is a byte that a piece of a text stands for.
type symbol struct {
	char       byte
	begin, end int // of the piece
}

func symbolsOf(text string) []symbol {
	symbols := make([]symbol, len(text))
	for i := range symbols {
		symbols[i] = symbol{text[i], i, i + 1}
	}
	return symbols
}

// finder finds the parts of credentials in a text.
type finder struct {
	secrets *Secrets
	spans   []span
}

// span is a piece of the text that must not be shown.
type span struct{ begin, end int }

// code is a way to write bytes as digits: each digit is so many of their bits.
type code struct {
	bits  int
	value func(char byte) (digit uint, ok bool)
}

// codes are how a text may have written bytes: as they are, in base64 and in
// hexadecimal.
var codes = []code{
	{8, func(c byte) (uint, bool) { return uint(c), true }},
	{6, base64Digit},
	{4, hexDigit},
}

// search finds the parts of credentials in a text, in each code. A byte may begin
// at any digit of the text: every offset is tried.
func (f *finder) search(symbols []symbol) {
	for _, code := range codes {
		for begin := 0; begin == 0 || begin*code.bits%8 != 0; begin++ {
			f.searchFrom(symbols, code, begin)
		}
	}
}

// searchFrom searches each of the text's sequences of digits, from its digit
// number begin on.
func (f *finder) searchFrom(symbols []symbol, c code, begin int) {
	var w window
	digits, bits, rest := 0, 0, uint(0) // of the sequence; of the byte that is not yet complete
	for i, symbol := range symbols {
		digit, ok := c.value(symbol.char)
		if !ok {
			w, digits, bits = window{}, 0, 0
			continue
		}
		if digits++; digits <= begin {
			continue
		}
		rest = rest<<c.bits | digit
		if bits += c.bits; bits < 8 {
			continue
		}
		bits -= 8
		w.push(byte(rest >> bits))
		if n := f.secrets.ends(w, c.bits == 8); n > 0 {
			first := i + 1 - (8*n+bits+c.bits-1)/c.bits
			f.spans = append(f.spans, span{symbols[first].begin, symbol.end})
		}
	}
}

// ends returns how many bytes at the end of a window are a part of a
// credential, or 0. In codes a credential that is shorter than a run would be
// found by chance.
func (s *Secrets) ends(w window, plain bool) int {
	if w.length >= runLength && s.runs[w.bytes] {
		return runLength
	}
	if !plain {
		return 0
	}
	for _, short := range s.short {
		if w.length >= short.length && w.bytes&(1<<(8*short.length)-1) == short.bytes {
			return short.length
		}
	}
	return 0
}

// window is the last bytes of a text, in lower case.
type window struct {
	bytes  uint64
	length int
}

func (w *window) push(c byte) {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	w.bytes = w.bytes<<8 | uint64(c)
	w.length++
}

// redact returns text without its parts.
func (f *finder) redact(text string) string {
	if len(f.spans) == 0 {
		return text
	}
	slices.SortFunc(f.spans, func(a, b span) int { return a.begin - b.begin })
	var clean strings.Builder
	shown := 0 // up to here
	for i := 0; i < len(f.spans); {
		p := f.spans[i]
		for i++; i < len(f.spans) && f.spans[i].begin <= p.end; i++ {
			p.end = max(p.end, f.spans[i].end)
		}
		clean.WriteString(text[shown:p.begin])
		clean.WriteString(Redacted)
		shown = p.end
	}
	clean.WriteString(text[shown:])
	return clean.String()
}

func base64Digit(c byte) (uint, bool) {
	switch {
	case 'A' <= c && c <= 'Z':
		return uint(c - 'A'), true
	case 'a' <= c && c <= 'z':
		return uint(c-'a') + 26, true
	case '0' <= c && c <= '9':
		return uint(c-'0') + 52, true
	case c == '+' || c == '-':
		return 62, true
	case c == '/' || c == '_':
		return 63, true
	}
	return 0, false
}

func hexDigit(c byte) (uint, bool) {
	switch {
	case '0' <= c && c <= '9':
		return uint(c - '0'), true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return uint(c|0x20-'a') + 10, true
	}
	return 0, false
}

// readings returns a text as it is, and unescaped once, twice, and so on, for as
// long as that changes it.
func readings(text string) iter.Seq[[]symbol] {
	return func(yield func([]symbol) bool) {
		symbols := symbolsOf(text)
		for range 1 + maxEscapes {
			if !yield(symbols) {
				return
			}
			unescaped := unescape(symbols)
			if len(unescaped) == len(symbols) {
				return
			}
			symbols = unescaped
		}
	}
}

// maxEscapes is how often a text may have been escaped, one escape in another.
const maxEscapes = 4

// unescape undoes once what JSON, Go, URLs and HTML make of a byte.
func unescape(symbols []symbol) []symbol {
	done := make([]symbol, 0, len(symbols))
	for len(symbols) > 0 {
		first := symbols[0]
		n := 1
		if char, length := escaped(symbols); length > 0 {
			n, first.char, first.end = length, char, symbols[length-1].end
		}
		done = append(done, first)
		symbols = symbols[n:]
	}
	return done
}

// escaped returns the byte that an escape at the beginning of a text stands
// for, and the escape's length; 0 where there is none.
func escaped(text []symbol) (char byte, n int) {
	if len(text) < 2 {
		return 0, 0
	}
	switch text[0].char {
	case '\\':
		switch text[1].char {
		case 'u':
			return hexEscape(text, 2, 4)
		case 'x':
			return hexEscape(text, 2, 2)
		case 'n', 'r', 't', 'b', 'f':
			return ' ', 2
		}
		return text[1].char, 2
	case '%':
		return hexEscape(text, 1, 2)
	case '&':
		return entity(text)
	}
	return 0, 0
}

func hexEscape(text []symbol, begin, digits int) (char byte, n int) {
	if len(text) < begin+digits {
		return 0, 0
	}
	value, err := strconv.ParseUint(charsOf(text[begin:begin+digits]), 16, 16)
	switch {
	case err != nil:
		return 0, 0
	case value > 0x7f:
		return 0xff, begin + digits // no credential has it
	}
	return byte(value), begin + digits
}

const maxEntity = 32 // characters; the longest that stands for one of ASCII has fewer

func entity(text []symbol) (char byte, n int) {
	chars := charsOf(text[:min(len(text), maxEntity)])
	semicolon := strings.IndexByte(chars, ';')
	if semicolon < 0 {
		return 0, 0
	}
	if decoded := html.UnescapeString(chars[:semicolon+1]); len(decoded) == 1 {
		return decoded[0], semicolon + 1
	}
	return 0, 0
}

func charsOf(symbols []symbol) string {
	chars := make([]byte, len(symbols))
	for i, s := range symbols {
		chars[i] = s.char
	}
	return string(chars)
}
