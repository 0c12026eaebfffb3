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

// Unquote decodes a JSON string. Bytes that are not UTF-8 become U+FFFD, as in
// encoding/json. Half a surrogate pair, which JSON can escape and UTF-8 cannot
// say, becomes the three bytes that UTF-8 would have for it: so no two strings
// become one, and [AppendString] writes it as it was.
func Unquote(quoted json.RawMessage) []byte {
	text := quoted[1 : len(quoted)-1]
	if asciiLen(text) == len(text) {
		return text
	}
	return appendUnquoted(make([]byte, 0, len(text)), text)
}

// appendUnquoted appends what text means, which stands between quotes.
func appendUnquoted[T string | []byte | json.RawMessage](b []byte, text T) []byte {
	for {
		plain := asciiLen(text)
		b, text = append(b, text[:plain]...), text[plain:]
		switch {
		case len(text) == 0:
			return b
		case text[0] == '\\':
			b, text = appendUnescaped(b, text)
		default:
			r, size := utf8.DecodeRuneInString(string(text[:min(len(text), utf8.UTFMax)]))
			b, text = utf8.AppendRune(b, r), text[size:]
		}
	}
}

// asciiLen returns how much of text is ASCII before the first escape.
func asciiLen[T string | []byte | json.RawMessage](text T) int {
	for i := range len(text) {
		if c := text[i]; c >= utf8.RuneSelf || c == '\\' {
			return i
		}
	}
	return len(text)
}

// appendUnescaped appends what the escape means that text starts with, and
// returns what follows it.
func appendUnescaped[T string | []byte | json.RawMessage](b []byte, text T) (decoded []byte, rest T) {
	switch c := text[1]; c {
	case 'b':
		return append(b, '\b'), text[2:]
	case 'f':
		return append(b, '\f'), text[2:]
	case 'n':
		return append(b, '\n'), text[2:]
	case 'r':
		return append(b, '\r'), text[2:]
	case 't':
		return append(b, '\t'), text[2:]
	case 'u':
		r, rest := codeUnit(text), text[6:]
		if !utf16.IsSurrogate(r) {
			return utf8.AppendRune(b, r), rest
		}
		if pair := utf16.DecodeRune(r, codeUnit(rest)); pair != utf8.RuneError {
			return utf8.AppendRune(b, pair), rest[6:]
		}
		return append(b, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F), rest
	default:
		return append(b, c), text[2:]
	}
}

// codeUnit returns the code unit of the \u escape that text starts with, or -1
// where there is none.
func codeUnit[T string | []byte | json.RawMessage](text T) (unit rune) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	for i := 2; i < 6; i++ {
		c := text[i]
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

// asItIs has the bytes that stand in JSON as they are, also where encoding/json
// escapes for HTML.
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

// appendEscaped appends the character that s starts with, and returns the rest.
func appendEscaped(b []byte, s string) (escaped []byte, rest string) {
	switch c := s[0]; {
	case c == '"', c == '\\':
		return append(b, '\\', c), s[1:]
	case c == '\b':
		return append(b, `\b`...), s[1:]
	case c == '\f':
		return append(b, `\f`...), s[1:]
	case c == '\n':
		return append(b, `\n`...), s[1:]
	case c == '\r':
		return append(b, `\r`...), s[1:]
	case c == '\t':
		return append(b, `\t`...), s[1:]
	case c < utf8.RuneSelf:
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

// isSurrogate says whether s starts with half a surrogate pair.
func isSurrogate(s string) bool {
	return len(s) >= 3 && s[0] == 0xED && s[1]&0xE0 == 0xA0 && s[2]&0xC0 == 0x80
}
