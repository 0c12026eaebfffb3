package rawjson

import (
	"encoding/json"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Text returns the text of value, which must be a string: see [Unquote].
func Text(value json.RawMessage) (string, error) {
	if value[0] != '"' {
		return "", WrongKind("a string", value)
	}
	return string(Unquote(value)), nil
}

// Unquote decodes a JSON string. Invalid UTF-8 becomes U+FFFD, as in encoding/json. JSON can escape
// half a surrogate pair, which UTF-8 has no form for. It becomes the three bytes of its code point,
// so no two strings become one, and [AppendString] restores it.
func Unquote(quoted json.RawMessage) []byte {
	text := quoted[1 : len(quoted)-1]
	for _, c := range text {
		if c == '\\' || c >= utf8.RuneSelf {
			r := NewReader(quoted[1:])
			return r.appendText(make([]byte, 0, len(text)))
		}
	}
	return text
}

// string reads a string. One without escapes is not copied.
func (r *Reader) string() string {
	r.expect('"')
	plain := r.plain()
	if r.peek() == '"' {
		r.pos++
		return plain
	}
	var room [64]byte
	return string(r.appendText(append(room[:0], plain...)))
}

// plain reads what stands there as it is.
func (r *Reader) plain() string {
	start := r.pos
	for r.pos < len(r.text) {
		c := r.text[r.pos]
		if c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' {
				break
			}
			r.pos++
			continue
		}
		char, size := utf8.DecodeRuneInString(r.text[r.pos:])
		if char == utf8.RuneError && size == 1 {
			break
		}
		r.pos += size
	}
	return r.text[start:r.pos]
}

// appendText appends the rest of a string, and reads the quote behind it.
func (r *Reader) appendText(b []byte) []byte {
	for {
		b = append(b, r.plain()...)
		switch c := r.peek(); {
		case c == '"':
			r.pos++
			return b
		case c == '\\':
			b = r.appendEscape(b)
		case c >= utf8.RuneSelf:
			b = utf8.AppendRune(b, utf8.RuneError)
			r.pos++
		default: // a control character, or the end
			r.require(false)
			return b
		}
	}
}

// appendEscape reads an escape, and appends what it means.
func (r *Reader) appendEscape(b []byte) []byte {
	text := r.text[r.pos:]
	size := escapeLen(text)
	if r.require(size > 0); r.invalid {
		return b
	}
	r.pos += size
	if text[1] == 'u' {
		return r.appendCodeUnit(b, codeUnit(text))
	}
	return append(b, escaped[strings.IndexByte(escapes, text[1])])
}

// escapes has what follows the backslash in the short escapes, and escaped what they stand for.
const (
	escapes = `"\bfnrt/`
	escaped = "\"\\\b\f\n\r\t/"
)

// appendCodeUnit appends a code unit of UTF-16, and if it needs one the other
// half, which it reads.
func (r *Reader) appendCodeUnit(b []byte, unit rune) []byte {
	if !utf16.IsSurrogate(unit) {
		return utf8.AppendRune(b, unit)
	}
	if pair := utf16.DecodeRune(unit, codeUnit(r.text[r.pos:])); pair != utf8.RuneError {
		r.pos += len(`\u0000`)
		return utf8.AppendRune(b, pair)
	}
	return append(b, 0xE0|byte(unit>>12), 0x80|byte(unit>>6)&0x3F, 0x80|byte(unit)&0x3F)
}

// skipString reads a string without decoding it.
func (r *Reader) skipString() {
	r.expect('"')
	for ; r.pos < len(r.text); r.pos++ {
		switch c := r.text[r.pos]; c {
		case '"':
			r.pos++
			return
		case '\\':
			size := escapeLen(r.text[r.pos:])
			r.require(size > 0)
			r.pos += size - 1
		default:
			r.require(c >= ' ')
		}
	}
	r.require(false)
}

// escapeLen returns the length of the escape at the start of text, or 0 if it is none.
func escapeLen(text string) int {
	switch {
	case len(text) > 1 && strings.IndexByte(escapes, text[1]) >= 0:
		return 2
	case codeUnit(text) >= 0:
		return 6
	}
	return 0
}

// codeUnit returns the code unit of the \u escape at the start of text, or -1 if there is none.
func codeUnit(text string) (unit rune) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	for _, c := range []byte(text[2:6]) {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		unit = unit<<4 | rune(c)
	}
	return unit
}

const hex = "0123456789abcdef"

// AppendString appends s as encoding/json writes it, and half a surrogate pair
// as [Unquote] has read it.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	for {
		plain := plainPrefix(s)
		b, s = append(b, s[:plain]...), s[plain:]
		if s == "" {
			return append(b, '"')
		}
		b, s = appendEscaped(b, s)
	}
}

// asItIs has the bytes that JSON needs no escape for, even if encoding/json escapes them for HTML.
var asItIs = func() (asItIs [256]bool) {
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		asItIs[c] = strings.IndexByte(`"\<>&`, c) < 0
	}
	return asItIs
}()

// plainPrefix returns how much of s stands in JSON as it is.
func plainPrefix(s string) int {
	for i := range len(s) {
		if !asItIs[s[i]] {
			return i
		}
	}
	return len(s)
}

// appendEscaped appends the first character of s, and returns the rest.
func appendEscaped(b []byte, s string) (after []byte, rest string) {
	if i := strings.IndexByte(escaped, s[0]); i >= 0 {
		return append(b, '\\', escapes[i]), s[1:]
	}
	if c := s[0]; c < utf8.RuneSelf {
		return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15]), s[1:]
	}
	switch r, size := utf8.DecodeRuneInString(s); {
	case r == utf8.RuneError && size == 1 && isSurrogate(s):
		return append(b, '\\', 'u', 'd', hex[s[1]>>2&15], hex[s[1]&3<<2|s[2]>>4&3], hex[s[2]&15]), s[3:]
	case r == utf8.RuneError && size == 1:
		return append(b, `\ufffd`...), s[1:]
	case r == '\u2028' || r == '\u2029':
		return append(b, '\\', 'u', '2', '0', '2', hex[r&15]), s[size:]
	default:
		return append(b, s[:size]...), s[size:]
	}
}

// isSurrogate reports whether s starts with half a surrogate pair.
func isSurrogate(s string) bool {
	return len(s) >= 3 && s[0] == 0xED && s[1]&0xE0 == 0xA0 && s[2]&0xC0 == 0x80
}
