package tokenpatch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"unicode/utf8"
)

// What follows walks over JSON that json.Valid has accepted already, one level
// at a time: no maps, no recursion, no copies. What it yields shares memory
// with what it was given.

// members yields the members of object, a valid JSON object without space
// around it, in order and with duplicates: names decoded, values raw.
func members(object json.RawMessage) iter.Seq2[[]byte, json.RawMessage] {
	return func(yield func([]byte, json.RawMessage) bool) {
		for rest := inside(object); len(rest) > 0; {
			var name, value []byte
			name, rest = cut(rest)
			value, rest = cut(rest)
			if !yield(unquote(name), value) {
				return
			}
		}
	}
}

// elements yields the elements of array, a valid JSON array without space
// around it, in order and raw.
func elements(array json.RawMessage) iter.Seq[json.RawMessage] {
	return func(yield func(json.RawMessage) bool) {
		for rest := inside(array); len(rest) > 0; {
			var value []byte
			value, rest = cut(rest)
			if !yield(value) {
				return
			}
		}
	}
}

// inside returns what stands between the brackets of an object or array.
func inside(composite []byte) []byte {
	return skipSpace(composite[1 : len(composite)-1])
}

// cut splits off the value that rest starts with, and drops the comma or colon
// behind it.
func cut(rest []byte) (value, after []byte) {
	end := valueEnd(rest)
	value, after = rest[:end:end], skipSpace(rest[end:])
	if len(after) > 0 {
		after = skipSpace(after[1:])
	}
	return value, after
}

func skipSpace(b []byte) []byte {
	for i, c := range b {
		if c > ' ' {
			return b[i:]
		}
	}
	return nil
}

// valueEnd returns the length of the value that b starts with.
func valueEnd(b []byte) int {
	switch b[0] {
	case '"':
		return stringEnd(b)
	case '{', '[':
		return compositeEnd(b)
	}
	for i, c := range b {
		if c <= ' ' || c == ',' || c == ']' || c == '}' {
			return i
		}
	}
	return len(b)
}

func stringEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// compositeEnd counts brackets rather than recursing, so that deep nesting
// costs no stack.
func compositeEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringEnd(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(b)
}

// unquote decodes a JSON string as encoding/json does, which puts U+FFFD for
// what is not UTF-8.
func unquote(quoted []byte) []byte {
	text := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(text, '\\') < 0 && utf8.Valid(text) {
		return text
	}
	var decoded string
	_ = json.Unmarshal(quoted, &decoded) // cannot fail: quoted is a valid JSON string
	return []byte(decoded)
}

func isNull(value json.RawMessage) bool { return value[0] == 'n' }

func decodeString[T ~string](value json.RawMessage) (T, error) {
	if value[0] != '"' {
		return "", wrongKind("a string", value)
	}
	return T(unquote(value)), nil
}

func decodeBool(value json.RawMessage) (bool, error) {
	if value[0] != 't' && value[0] != 'f' {
		return false, wrongKind("a boolean", value)
	}
	return value[0] == 't', nil
}

func decodeInt[T ~int | ~int64](value json.RawMessage) (T, error) {
	if kind(value) != "a number" {
		return 0, wrongKind("an integer", value)
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || int64(T(n)) != n {
		return 0, errors.New("want an integer within range, without fraction or exponent")
	}
	return T(n), nil
}

// decodeList decodes every element of an array. The result is never nil.
func decodeList[T any](array json.RawMessage, decode func(json.RawMessage) (T, error)) ([]T, error) {
	if array[0] != '[' {
		return nil, wrongKind("an array", array)
	}
	list := []T{}
	for value := range elements(array) {
		v, err := decode(value)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", len(list), err)
		}
		list = append(list, v)
	}
	return list, nil
}

// wrongKind names what kind of value it was instead, never the value: it may
// be a secret.
func wrongKind(want string, value json.RawMessage) error {
	return fmt.Errorf("want %s, got %s", want, kind(value))
}

func kind(value json.RawMessage) string {
	switch value[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// checkJSON returns the syntax error of data, with its offset, or nil.
func checkJSON(data []byte) error {
	if json.Valid(data) {
		return nil
	}
	return json.Unmarshal(data, new(json.RawMessage))
}

// appendString appends s as encoding/json writes it.
func appendString(b []byte, s string) []byte {
	if !isPlain(s) {
		quoted, _ := json.Marshal(s) // cannot fail for a string
		return append(b, quoted...)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendStrings appends an array of strings.
func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// isPlain says whether s stands in JSON as it is, also where encoding/json
// escapes for HTML.
func isPlain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c >= utf8.RuneSelf, c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}
