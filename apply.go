package tokenpatch

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// Apply returns what the patch makes of t: all of it, or an error and the zero
// Token. It follows RFC 6902 to the letter, which is stricter than V2: replacing
// a member that t does not have is an error here. t is not changed, and what is
// returned shares no memory with it that anyone can write.
//
// The document that is patched is the one that encoding t gives, and the result
// is what decoding it gives: a required property that the patch removes is zero.
//
// The error is a [*PatchError]: the patch's own mistake ([Patch.Err]), the first
// operation that cannot be applied, or, with no operation named, that the result
// is not a Token any more. An empty patch returns a copy of t.
func (p *Patch) Apply(t Token) (Token, error) {
	if err := p.Err(); err != nil {
		return Token{}, err
	}
	document, err := p.apply(t.encode())
	if err != nil {
		return Token{}, err
	}
	r := rawjson.NewReader(document)
	after, err := decodeToken(r)
	if err = r.Finish(err); err != nil {
		return Token{}, wholePatchError(fmt.Errorf("the result is not a Token: %w", err))
	}
	return after, nil
}

// ApplyJSON returns what the patch makes of any JSON document, by RFC 6902 to
// the letter: all of it, or an error and nil. document is not changed. What the
// patch does not reach stays as it was written: space, order, every digit.
//
// The document must be UTF-8. A name that an object has twice cannot be reached,
// RFC 6901 section 4. What copy operations add may come to 64 MiB together.
//
// The error is a [*PatchError]: an operation that RFC 6902 refuses, or the first
// that cannot be applied. What V2 lets nobody do to a [Token] may be done to a
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
