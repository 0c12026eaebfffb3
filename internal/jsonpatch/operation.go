// Package jsonpatch is JSON Patch (RFC 6902) on raw JSON: operations, applying
// them to a document, when two values are equal, and whether a patch may be
// applied twice. What no pointer (RFC 6901) reaches stays as it was written. It
// knows nothing of what documents are about.
package jsonpatch

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// The operations of RFC 6902 section 4.
const (
	OpAdd     = "add"
	OpRemove  = "remove"
	OpReplace = "replace"
	OpMove    = "move"
	OpCopy    = "copy"
	OpTest    = "test"
)

// Operation is one operation of a patch.
type Operation struct {
	Op    string
	Path  Pointer
	From  Pointer         // move and copy
	Value json.RawMessage // add, replace and test: valid, without space around it
}

// Check returns the mistakes of op that are visible without a document.
func (op Operation) Check() error {
	if err := op.Path.check(); err != nil {
		return err
	}
	if err := op.From.check(); err != nil {
		return fmt.Errorf("from %q: %w", string(op.From), err)
	}
	if op.Op == OpMove && op.From.contains(op.Path) { // RFC 6902 section 4.4
		return fmt.Errorf("cannot move %q into itself", string(op.From))
	}
	return nil
}

// HasFrom reports whether RFC 6902 gives op a from.
func (op Operation) HasFrom() bool { return op.Op == OpMove || op.Op == OpCopy }

// Append appends the JSON of op.
func (op Operation) Append(b []byte) []byte {
	b = append(b, `{"op":"`...)
	b = append(b, op.Op...)
	b = append(b, '"')
	if op.HasFrom() {
		b = append(b, `,"from":`...)
		b = rawjson.AppendString(b, string(op.From))
	}
	b = append(b, `,"path":`...)
	b = rawjson.AppendString(b, string(op.Path))
	if op.Value != nil {
		b = append(b, `,"value":`...)
		b = append(b, op.Value...)
	}
	return append(b, '}')
}

// Decode reads one operation, whose Value shares memory with object. It does not check the
// pointers. Next to an error, Op and Path are as far as they could be read.
//
// Unknown members of an operation are ignored, RFC 6902 section 4. A second op, path, from or value
// is an error: RFC 8259 section 4 does not define which one counts.
func Decode(object json.RawMessage) (op Operation, err error) {
	raw, err := split(object)
	if err != nil {
		return op, err
	}
	if op.Op, err = required("op", raw.op); err != nil {
		return op, err
	}
	path, err := required("path", raw.path)
	op.Path = Pointer(path)
	if err != nil {
		return op, err
	}
	switch op.Op {
	case OpRemove:
	case OpAdd, OpReplace, OpTest:
		if op.Value = raw.value; raw.value == nil {
			return op, errors.New(`no member "value"`)
		}
	case OpMove, OpCopy:
		from, err := required("from", raw.from)
		op.From = Pointer(from)
		return op, err
	default:
		return op, errors.New("unknown operation: want add, remove, replace, move, copy or test")
	}
	return op, nil
}

// rawOperation holds the members of an operation; nil for missing ones. It distinguishes null from
// a missing value.
type rawOperation struct{ op, path, from, value json.RawMessage }

func split(object json.RawMessage) (raw rawOperation, err error) {
	if object[0] != '{' {
		return raw, rawjson.WrongKind("an object", object)
	}
	for quoted, value := range rawjson.Members(object) {
		member := raw.member(rawjson.Unquote(quoted))
		if member == nil {
			continue
		}
		if *member != nil {
			return raw, fmt.Errorf("two members %q, and RFC 8259 section 4 does not say which counts", rawjson.Unquote(quoted))
		}
		*member = value
	}
	return raw, nil
}

func (raw *rawOperation) member(name []byte) *json.RawMessage {
	switch string(name) {
	case "op":
		return &raw.op
	case "path":
		return &raw.path
	case "from":
		return &raw.from
	case "value":
		return &raw.value
	}
	return nil
}

func required(name string, value json.RawMessage) (string, error) {
	if value == nil {
		return "", fmt.Errorf("no member %q", name)
	}
	text, err := rawjson.Text(value)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}
