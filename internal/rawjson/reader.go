package rawjson

import (
	"encoding/json"
	"errors"
	"strings"
)

// Reader reads JSON in one pass and checks it on the way. Results from invalid JSON are useless,
// and [Reader.Finish] returns the error. Results are cut from one copy of the data, which lives as
// long as any of them.
type Reader struct {
	text    string
	pos     int
	depth   int
	invalid bool
}

// MaxDepth is how deep JSON may be nested for a Reader and for encoding/json.
const MaxDepth = 10000

// NewReader returns a Reader of the value in data.
func NewReader(data []byte) *Reader { return &Reader{text: string(data)} }

// Finish returns the syntax error of encoding/json if the data read so far is invalid, else err if
// it is not nil, else the syntax error of the rest.
func (r *Reader) Finish(err error) error {
	if err == nil {
		r.require(r.Kind() == 0 && r.pos == len(r.text)) // nothing follows the value
	}
	if !r.invalid {
		return err
	}
	if err := json.Unmarshal([]byte(r.text), new(json.RawMessage)); err != nil {
		return err
	}
	return errors.New("invalid JSON")
}

// Kind returns the first byte of the next value: '{', '[', '"', 't', 'f', 'n', a digit or '-', and
// 0 if nothing comes.
func (r *Reader) Kind() byte {
	for ; r.pos < len(r.text); r.pos++ {
		switch c := r.text[r.pos]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// WrongKind returns the error for a next value other than want, such as "an array", and reads it.
func (r *Reader) WrongKind(want string) error {
	c := r.Kind()
	r.skip()
	return wrongKind(want, c)
}

// Value returns what comes next, as it was written.
func (r *Reader) Value() string {
	r.Kind()
	start := r.pos
	r.skip()
	return r.text[start:r.pos]
}

// Text returns the text of what comes next, which must be a string: see
// [Unquote].
func (r *Reader) Text() (string, error) {
	if r.Kind() != '"' {
		return "", r.WrongKind("a string")
	}
	return r.string(), nil
}

// require ends the reading unless the data is valid here.
func (r *Reader) require(valid bool) {
	if !valid {
		r.invalid, r.pos = true, len(r.text)
	}
}

// expect reads c, which must come next.
func (r *Reader) expect(c byte) {
	r.require(r.Kind() == c)
	r.pos = min(r.pos+1, len(r.text))
}

func (r *Reader) open(bracket byte) {
	r.depth++
	r.require(r.depth <= MaxDepth)
	r.expect(bracket)
}

// more reports whether a member or element comes next. It reads what stands in
// front of it, or the bracket.
func (r *Reader) more(bracket byte, first bool) bool {
	switch {
	case r.Kind() == bracket:
		r.depth--
		r.pos++
		return false
	case !first:
		r.expect(',')
	}
	r.require(r.Kind() != 0)
	return !r.invalid
}

// name reads the name of a member, and the colon.
func (r *Reader) name() string {
	name := r.string()
	r.expect(':')
	return name
}

func (r *Reader) skip() {
	switch c := r.Kind(); c {
	case '{', '[':
		r.open(c)
		for first := true; r.more(c+2, first); first = false { // the closing bracket
			if c == '{' {
				r.skipString()
				r.expect(':')
			}
			r.skip()
		}
	case '"':
		r.skipString()
	case 't':
		r.literal("true")
	case 'f':
		r.literal("false")
	case 'n':
		r.literal("null")
	default:
		r.number()
	}
}

func (r *Reader) literal(text string) {
	r.require(strings.HasPrefix(r.text[r.pos:], text))
	r.pos = min(r.pos+len(text), len(r.text))
}

func (r *Reader) number() {
	if r.peek() == '-' {
		r.pos++
	}
	if r.peek() == '0' {
		r.pos++
	} else {
		r.digits()
	}
	if r.peek() == '.' {
		r.pos++
		r.digits()
	}
	if c := r.peek(); c == 'e' || c == 'E' {
		r.pos++
		if c := r.peek(); c == '+' || c == '-' {
			r.pos++
		}
		r.digits()
	}
}

// digits reads at least one.
func (r *Reader) digits() {
	start := r.pos
	for c := r.peek(); '0' <= c && c <= '9'; c = r.peek() {
		r.pos++
	}
	r.require(r.pos > start)
}

// peek returns the next byte, or 0.
func (r *Reader) peek() byte {
	if r.pos >= len(r.text) {
		return 0
	}
	return r.text[r.pos]
}
