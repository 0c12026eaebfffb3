package tokenpatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// MarshalJSON returns the body that is sent: an array of operations, or with a
// comment the object {"comment": ..., "patch": [...]}. A patch that cannot be sent
// is a [*PatchError]: see [Patch.Err].
func (p *Patch) MarshalJSON() ([]byte, error) { return p.encode() }

// encode returns the body of V2's PatchToken, whose schema is JSONPatch.
func (p *Patch) encode() ([]byte, error) {
	if err := p.checkSend(); err != nil {
		return nil, err
	}
	b := make([]byte, 0, p.encodedLen())
	if p.content.comment == "" {
		return p.appendOperations(b), nil
	}
	b = append(b, `{"comment":`...)
	b = rawjson.AppendString(b, p.content.comment)
	b = append(b, `,"patch":`...)
	b = p.appendOperations(b)
	return append(b, '}'), nil
}

// checkSend returns why p cannot be sent. Replacing the whole document would
// be right for RFC 6902, but a token has members that nobody can write.
func (p *Patch) checkSend() error {
	if err := p.Err(); err != nil {
		return err
	}
	if p.Len() == 0 {
		return wholePatchError(errors.New("no operations: there is nothing to send"))
	}
	for i, op := range p.operations() {
		if op.Op != jsonpatch.OpTest && op.Path == "" || op.Op == jsonpatch.OpMove && op.From == "" {
			return operationError(i, op, errors.New("the whole token cannot be written"))
		}
	}
	return nil
}

// encodedLen returns the length of the body, or somewhat less if it has to be
// escaped.
func (p *Patch) encodedLen() int {
	n := len(`[]`)
	if p.content.comment != "" {
		n += len(`{"comment":"","patch":}`) + len(p.content.comment)
	}
	for _, op := range p.operations() {
		n += len(`{"op":"","path":"","value":},`) + len(op.Op) + len(op.Path) + len(op.Value)
		if op.HasFrom() {
			n += len(`,"from":""`) + len(op.From)
		}
	}
	return n
}

func (p *Patch) appendOperations(b []byte) []byte {
	b = append(b, '[')
	for i, op := range p.operations() {
		if i > 0 {
			b = append(b, ',')
		}
		b = op.Append(b)
	}
	return append(b, ']')
}

// UnmarshalJSON replaces p by the patch in data: an array of operations, or an
// object with the member patch and optionally the member comment. Where RFC 6902
// refuses what is in data, it returns a [*PatchError] and leaves p as it is. An
// operation that V2 allows on no token is decoded; [Patch.Err] then returns the
// mistake.
//
// Members of an operation that RFC 6902 does not define for it are ignored, as
// its section 4 says. A second op, path, from or value is an error: RFC 8259
// section 4 does not say which of them counts. So are other members beside patch
// and comment, and null instead of a patch.
func (p *Patch) UnmarshalJSON(data []byte) error {
	if p == nil {
		return wholePatchError(errNilPatch)
	}
	next, err := decodePatch(data)
	if err != nil {
		return err
	}
	p.content = next.content
	return nil
}

func decodePatch(data []byte) (*Patch, error) {
	value, err := rawjson.Check(data)
	switch {
	case err != nil:
		return nil, wholePatchError(err)
	case !utf8.Valid(value):
		return nil, wholePatchError(errNotUTF8)
	case value[0] == '{':
		return decodeCommented(value)
	}
	return decodeOperations(value)
}

func decodeCommented(object json.RawMessage) (*Patch, error) {
	var comment, patch json.RawMessage
	for quoted, value := range rawjson.Members(object) {
		member := &comment
		switch name := string(rawjson.Unquote(quoted)); name {
		case "comment":
		case "patch":
			member = &patch
		default:
			return nil, wholePatchError(fmt.Errorf("unknown member %q: want patch and comment", name))
		}
		if *member != nil {
			return nil, wholePatchError(fmt.Errorf("two members %q, and RFC 8259 section 4 does not say which counts", rawjson.Unquote(quoted)))
		}
		*member = value
	}
	if patch == nil {
		return nil, wholePatchError(errors.New(`no member "patch"`))
	}
	p, err := decodeOperations(patch)
	if err != nil || comment == nil {
		return p, err
	}
	if p.content.comment, err = rawjson.Text(comment); err != nil {
		return nil, wholePatchError(fmt.Errorf("comment: %w", err))
	}
	return p, nil
}

func decodeOperations(array json.RawMessage) (*Patch, error) {
	if array[0] != '[' {
		return nil, wholePatchError(rawjson.WrongKind("an array of operations", array))
	}
	p := NewPatch().ready()
	for element := range rawjson.Elements(array) {
		switch op, err := jsonpatch.Decode(element); {
		case err != nil:
			p.fail(op.Op, Pointer(op.Path), err)
		case op.Value != nil:
			p.withValue(op.Op, Pointer(op.Path), op.Value)
		default:
			p.with(op)
		}
		if p.content.mistake != nil {
			return nil, p.content.mistake
		}
	}
	return p, nil
}
