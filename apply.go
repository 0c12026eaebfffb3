package tokenpatch

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// Apply returns what the patch makes of t, or an error and the zero Token: it is
// applied as a whole or not at all. It follows RFC 6902 to the letter, which is
// stricter than V2: replacing a member that t does not have is an error here. t is
// not changed, and a change to what is returned is not seen in t.
//
// What is patched is the JSON of t, and the result is decoded from that: a required
// property that the patch removes is zero.
//
// The error is a [*PatchError]: the patch's own mistake ([Patch.Err]), the first
// operation that cannot be applied, or, without an operation, that the result is
// not a Token any more. An empty patch returns a copy of t.
func (p *Patch) Apply(t Token) (Token, error) {
	if err := p.Err(); err != nil {
		return Token{}, err
	}
	document, err := p.apply(t.encode())
	if err != nil {
		return Token{}, err
	}
	after, err := tokenCodec.Decode(document)
	if err != nil {
		return Token{}, wholePatchError(fmt.Errorf("the result is not a Token: %w", err))
	}
	return *after, nil
}

// ApplyJSON returns what the patch makes of any JSON document, or an error and nil:
// it is applied as a whole or not at all. It follows RFC 6902 to the letter.
// document is not changed. What the patch does not reach stays as it was written:
// space, order, every digit.
//
// The document must be UTF-8. A member whose name its object has twice cannot be
// reached, RFC 6901 section 4. Copy operations may add 64 MiB in all.
//
// The error is a [*PatchError]: an operation that RFC 6902 refuses, or the first
// that cannot be applied. Operations that V2 allows on no [Token] are allowed on a
// document.
func (p *Patch) ApplyJSON(document []byte) ([]byte, error) {
	if err := p.documentErr(); err != nil {
		return nil, err
	}
	value, err := rawjson.Check(document)
	switch {
	case err != nil:
		return nil, wholePatchError(fmt.Errorf("the document: %w", err))
	case !utf8.Valid(value):
		return nil, wholePatchError(fmt.Errorf("the document: %w", errNotUTF8))
	}
	return p.apply(value)
}

// apply applies p to a valid document.
func (p *Patch) apply(document json.RawMessage) ([]byte, error) {
	result, done, err := jsonpatch.Apply(document, p.operations())
	if err != nil {
		return nil, operationError(done, p.operations()[done], err)
	}
	return result, nil
}
