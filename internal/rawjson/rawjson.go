// Package rawjson walks JSON one level at a time, and builds nothing of it. [Reader] is for
// unchecked JSON. Everything else is for valid JSON without surrounding space, as [Check] returns
// it. Results share memory with the input.
package rawjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
)

// Check returns the value in data without surrounding space, or the syntax error of encoding/json
// with its offset.
func Check(data []byte) (json.RawMessage, error) {
	r := NewReader(data)
	r.skip()
	if err := r.Finish(nil); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(data), nil
}

// Members yields the members of object in order and with duplicates: names in
// quotes, as they were written, and values.
func Members(object json.RawMessage) iter.Seq2[json.RawMessage, json.RawMessage] {
	return func(yield func(json.RawMessage, json.RawMessage) bool) {
		for rest := inside(object); len(rest) > 0; {
			var name, value json.RawMessage
			name, rest = Cut(rest)
			value, rest = Cut(rest)
			if !yield(name, value) {
				return
			}
		}
	}
}

// Elements yields the elements of array in order.
func Elements(array json.RawMessage) iter.Seq[json.RawMessage] {
	return func(yield func(json.RawMessage) bool) {
		for rest := inside(array); len(rest) > 0; {
			var value json.RawMessage
			value, rest = Cut(rest)
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

// Cut splits off the first value of rest, and drops the comma or colon and the space behind it.
func Cut(rest []byte) (value, after json.RawMessage) {
	end := valueEnd(rest)
	return rest[:end:end], Next(rest[end:])
}

// Next returns b from its next value or bracket on, without leading space, comma or colon.
func Next(b []byte) []byte {
	b = skipSpace(b)
	if len(b) > 0 && (b[0] == ',' || b[0] == ':') {
		b = skipSpace(b[1:])
	}
	return b
}

func skipSpace(b []byte) []byte {
	for i, c := range b {
		if c > ' ' {
			return b[i:]
		}
	}
	return nil
}

// valueEnd returns the length of the first value of b.
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

// compositeEnd counts brackets instead of recursing, so deep nesting costs no stack.
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

// Kind returns what value is, for people: "an object", "an array", "a string",
// "a number", "a boolean" or "null".
func Kind(value json.RawMessage) string { return kindOf(value[0]) }

// WrongKind returns the error for a value other than want, such as "an array". It names the kind,
// never the value: it may be a secret.
func WrongKind(want string, value json.RawMessage) error { return wrongKind(want, value[0]) }

func wrongKind(want string, first byte) error {
	return fmt.Errorf("want %s, got %s", want, kindOf(first))
}

// kindOf returns what a value is by its first byte.
func kindOf(first byte) string {
	switch first {
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
