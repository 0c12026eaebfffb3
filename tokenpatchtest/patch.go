package tokenpatchtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// operation is one operation of a JSON Patch, RFC 6902 section 4.
type operation struct {
	kind       string
	path, from pointer
	value      json.RawMessage
}

// operands are the members of each operation besides op and path. Others are refused, although RFC
// 6902 would ignore them.
var operands = map[string][]string{
	"add":     {"value"},
	"remove":  nil,
	"replace": {"value"},
	"move":    {"from"},
	"copy":    {"from"},
	"test":    {"value"},
}

// decodePatch reads the body of a request in either of its forms.
func decodePatch(body []byte) ([]operation, error) {
	if _, err := decodeStrictly(body); err != nil {
		return nil, fmt.Errorf("the body is not JSON: %w", err)
	}
	if members, err := object(body); err == nil {
		if body, err = commented(members); err != nil {
			return nil, err
		}
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil || len(raw) == 0 {
		return nil, errors.New("the patch must be an array of at least one operation")
	}
	patch := make([]operation, len(raw))
	for i := range raw {
		var err error
		if patch[i], err = decodeOperation(raw[i]); err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
	}
	return patch, nil
}

// commented returns the patch of the form with a comment.
func commented(members map[string]json.RawMessage) ([]byte, error) {
	for name, raw := range members {
		switch {
		case name != "patch" && name != "comment":
			return nil, fmt.Errorf("%q is not a member of a patch with a comment", name)
		case name == "comment" && raw[0] != '"':
			return nil, errors.New("the comment must be a string")
		}
	}
	return members["patch"], nil
}

func decodeOperation(raw json.RawMessage) (op operation, err error) {
	members, err := object(raw)
	if err != nil {
		return op, err
	}
	if op.kind, err = text(members, "op"); err != nil {
		return op, err
	}
	names, known := operands[op.kind]
	if !known {
		return op, fmt.Errorf("unknown operation %q", op.kind)
	}
	for name := range members {
		if name != "op" && name != "path" && !slices.Contains(names, name) {
			return op, fmt.Errorf("%q is not a member of this operation", name)
		}
	}
	if op.path, err = parsePointer(members, "path"); err != nil {
		return op, err
	}
	if slices.Contains(names, "from") {
		op.from, err = parsePointer(members, "from")
	}
	if slices.Contains(names, "value") {
		if op.value = members["value"]; op.value == nil {
			err = errors.New("value is missing")
		}
	}
	return op, err
}

// object returns the members of a JSON object as they stand.
func object(raw []byte) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return nil, errors.New("want an object")
	}
	return members, nil
}

// text returns a string member.
func text(members map[string]json.RawMessage, name string) (string, error) {
	var s *string
	if err := json.Unmarshal(members[name], &s); err != nil || s == nil {
		return "", fmt.Errorf("%s must be a string", name)
	}
	return *s, nil
}

// writes returns the locations changed by an operation.
func (op operation) writes() []pointer {
	switch op.kind {
	case "test":
		return nil
	case "move":
		return []pointer{op.from, op.path}
	default:
		return []pointer{op.path}
	}
}

// apply returns the document after the operation. A move is a removal and an addition, a copy an
// addition, as RFC 6902 defines them.
func (op operation) apply(document json.RawMessage) (json.RawMessage, error) {
	switch op.kind {
	case "test":
		return document, op.holds(document)
	case "copy", "move":
		return op.transfer(document)
	default:
		return op.write(document, op.path)
	}
}

// holds is the test operation.
func (op operation) holds(document json.RawMessage) error {
	text, err := op.path.find(document)
	if err != nil {
		return err
	}
	got, err := decode(text)
	if err != nil {
		return err
	}
	want, err := decode(op.value)
	if err != nil {
		return err
	}
	if !equal(got, want) {
		return fmt.Errorf("test failed: value differs from %s", op.value)
	}
	return nil
}

// transfer is copy and move.
func (op operation) transfer(document json.RawMessage) (json.RawMessage, error) {
	value, err := op.from.find(document)
	if err != nil {
		return nil, fmt.Errorf("from %q: %w", op.from.String(), err)
	}
	if op.kind == "move" {
		if slices.Equal(op.from, op.path) {
			return document, nil
		}
		if len(op.from) < len(op.path) && slices.Equal(op.from, op.path[:len(op.from)]) {
			return nil, errors.New("a value cannot be moved into itself")
		}
		if document, err = (operation{kind: "remove"}).write(document, op.from); err != nil {
			return nil, err
		}
	}
	return operation{kind: "add", value: value}.write(document, op.path)
}

// write does add, remove or replace at path within a document. The text of what
// the path does not pass stays as it is.
func (op operation) write(document json.RawMessage, path pointer) (json.RawMessage, error) {
	if len(path) == 0 {
		if op.kind == "remove" {
			return nil, errors.New("the whole document cannot be removed")
		}
		return op.value, nil
	}
	c, err := newContainer(document)
	if err != nil {
		return nil, err
	}
	if len(path) == 1 && op.kind == "add" {
		err = c.add(path[0], op.value)
		return c.text(), err
	}
	i, err := c.find(path[0])
	if err != nil {
		return nil, err
	}
	if len(path) == 1 && op.kind == "remove" {
		c.remove(i)
		return c.text(), nil
	}
	c.values[i], err = op.write(c.values[i], path[1:])
	return c.text(), err
}

// pointer is a JSON Pointer, RFC 6901: its tokens, unescaped.
type pointer []string

func parsePointer(members map[string]json.RawMessage, name string) (pointer, error) {
	s, err := text(members, name)
	if err != nil || s == "" {
		return nil, err
	}
	if s[0] != '/' {
		return nil, fmt.Errorf("%s %q does not begin with a slash", name, s)
	}
	tokens := strings.Split(s[1:], "/")
	for i, token := range tokens {
		if strings.Count(token, "~") != strings.Count(token, "~0")+strings.Count(token, "~1") {
			return nil, fmt.Errorf("%s %q has a ~ that is not part of ~0 or ~1", name, s)
		}
		tokens[i] = strings.NewReplacer("~0", "~", "~1", "/").Replace(token)
	}
	return tokens, nil
}

func (p pointer) String() string {
	var b strings.Builder
	for _, token := range p {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(token))
	}
	return b.String()
}

// find returns the text of the value at the pointer.
func (p pointer) find(document json.RawMessage) (json.RawMessage, error) {
	for _, token := range p {
		c, err := newContainer(document)
		if err != nil {
			return nil, err
		}
		i, err := c.find(token)
		if err != nil {
			return nil, err
		}
		document = c.values[i]
	}
	return document, nil
}

// index reads an array index: digits without a leading zero.
func index(token string) (int, bool) {
	n, err := strconv.Atoi(token)
	return n, err == nil && n >= 0 && strconv.Itoa(n) == token
}

// equal reports whether two values are equal by RFC 6902 section 4.6.
func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name, value := range a {
			if other, found := b[name]; !found || !equal(value, other) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case json.Number:
		b, ok := b.(json.Number)
		return ok && normal(a) == normal(b)
	default:
		return a == b
	}
}

// normal writes equal numbers alike: an integer without a zero at its end, and a power of ten. It
// works on digits, because a float would round them.
func normal(n json.Number) string {
	mantissa, power, _ := strings.Cut(strings.ToLower(n.String()), "e")
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0"
	}
	exponent, err := strconv.Atoi(power)
	if err != nil && power != "" {
		return n.String() // nobody writes such a number in two ways
	}
	significant := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(significant) - len(fraction)
	if negative {
		significant = "-" + significant
	}
	return significant + "e" + strconv.Itoa(exponent)
}

// decode reads one JSON value into maps, slices, strings, bools, nil and
// json.Number.
func decode(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	switch err := decoder.Decode(&value); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("there is no JSON value")
	case err != nil:
		return nil, err
	}
	if len(bytes.TrimSpace(data[decoder.InputOffset():])) > 0 {
		return nil, errors.New("there is more than one JSON value")
	}
	return value, nil
}

// decodeStrictly is decode for input from outside. It refuses what encoding/json silently repairs:
// invalid UTF-8, and a name that occurs twice in an object.
func decodeStrictly(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("the text is not UTF-8")
	}
	value, err := decode(data)
	if err != nil {
		return nil, err
	}
	return value, unique(json.NewDecoder(bytes.NewReader(data)))
}

// unique reads one value, and returns an error if an object in it has a name twice.
func unique(decoder *json.Decoder) error {
	token, err := decoder.Token()
	start, nested := token.(json.Delim)
	if err != nil || !nested {
		return err
	}
	seen := make(map[string]bool)
	for decoder.More() {
		if start == '{' {
			token, err := decoder.Token()
			if err != nil {
				return err
			}
			name, _ := token.(string)
			if seen[name] {
				return fmt.Errorf("%q occurs twice in one object", name)
			}
			seen[name] = true
		}
		if err := unique(decoder); err != nil {
			return err
		}
	}
	_, err = decoder.Token()
	return err
}
