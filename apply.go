package tokenpatch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Apply returns what the patch makes of t: all of it, or an error and the zero
// Token. It follows RFC 6902 to the letter, which is stricter than V2: replacing
// a member that t does not have is an error here. t is not changed, and what is
// returned shares no memory with it that anyone can write.
//
// The document that is patched is the one that encoding t gives. A required
// property that the patch removes is zero in the result.
//
// The error is a [*PatchError]: the patch's own mistake ([Patch.Err]), the first
// operation that cannot be applied, or, with no operation named, that the result
// is not a Token any more. An empty patch returns a copy of t.
func (p *Patch) Apply(t Token) (Token, error) {
	if err := p.Err(); err != nil {
		return Token{}, err
	}
	touched := p.touched()
	if slices.Contains(touched, "") {
		return p.applyWhole(t)
	}
	// What no pointer names is neither encoded nor decoded.
	root, err := t.members(touched)
	if err != nil {
		return Token{}, wholePatchError(err)
	}
	d := document{root: node{object: root}}
	if err := d.apply(p.ops); err != nil {
		return Token{}, err
	}
	return t.with(touched, root)
}

// applyWhole is Apply for a patch with a pointer to the whole token.
func (p *Patch) applyWhole(t Token) (Token, error) {
	encoded, err := json.Marshal(t)
	if err != nil {
		return Token{}, wholePatchError(err)
	}
	if encoded, err = p.applyJSON(encoded); err != nil {
		return Token{}, err
	}
	if t, err = decodeToken(encoded); err != nil {
		return Token{}, errNoToken(err)
	}
	return t, nil
}

func errNoToken(err error) error {
	return wholePatchError(fmt.Errorf("the result is not a Token: %w", err))
}

// touched returns the members of the whole document that p reads or writes, or
// something inside them, once each and in the order of first mention. The whole
// document is the empty Pointer.
func (p *Patch) touched() []Pointer {
	var touched []Pointer
	touch := func(path Pointer) {
		if member, _ := path.member(); !slices.Contains(touched, member) {
			touched = append(touched, member)
		}
	}
	for _, op := range p.ops {
		if op.op == opMove || op.op == opCopy {
			touch(op.from)
		}
		touch(op.path)
	}
	return touched
}

// members returns an object of those members of t that it has.
func (t Token) members(paths []Pointer) (*orderedObject, error) {
	object := &orderedObject{members: make([]objectMember, 0, len(paths))}
	for _, path := range paths {
		_, name := path.member()
		value, err := t.member(name)
		if err != nil {
			return nil, err
		}
		if value != nil {
			_ = object.set(name, node{raw: value}) // cannot fail: no path is there twice
		}
	}
	return object, nil
}

// with returns a copy of t in which those members are as in object.
func (t Token) with(paths []Pointer, object *orderedObject) (Token, error) {
	t = t.clone()
	for _, path := range paths {
		_, name := path.member()
		t.unset(name)
		value := object.get(name)
		if value == nil {
			continue
		}
		if err := t.set([]byte(name), value); err != nil {
			return Token{}, errNoToken(fmt.Errorf("%s: %w", name, err))
		}
	}
	return t, nil
}

// maxCopied bounds what copy operations can make of a small document: each can
// double it.
const maxCopied = 64 << 20

var errCopiesTooMuch = fmt.Errorf("the values copied come to more than %d MiB", maxCopied>>20)

// ApplyJSON returns what the patch makes of any JSON document, by RFC 6902 to
// the letter: all of it, or an error and nil. document is not changed. What the
// patch does not reach stays as it was written: space, order, every digit.
//
// The document must be UTF-8. A name that an object has twice cannot be reached,
// RFC 6901 section 4. What copy operations add may come to 64 MiB together.
//
// The error is a [*PatchError], as [Patch.Apply] says. The checks that were made
// when the patch was built, which are those of a [Token], hold here as well: no
// patch writes to a member that begins with an underscore.
func (p *Patch) ApplyJSON(document []byte) ([]byte, error) {
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := checkJSON(document); err != nil {
		return nil, wholePatchError(fmt.Errorf("the document: %w", err))
	}
	if !utf8.Valid(document) {
		return nil, wholePatchError(fmt.Errorf("the document: %w", errNotUTF8))
	}
	return p.applyJSON(bytes.TrimSpace(document))
}

// applyJSON is ApplyJSON for a document that is valid, without space around it.
func (p *Patch) applyJSON(raw json.RawMessage) ([]byte, error) {
	d := document{root: node{raw: raw}}
	if err := d.apply(p.ops); err != nil {
		return nil, err
	}
	return d.root.append(make([]byte, 0, len(raw)+64)), nil
}

// document is a JSON document that is being patched.
type document struct {
	root   node
	copied int // bytes that copy operations have added
}

// apply stops at the first operation that fails.
func (d *document) apply(ops []operation) error {
	for i, op := range ops {
		if err := d.do(op); err != nil {
			return &PatchError{Index: i, Op: op.op, Path: op.path, Err: err}
		}
	}
	return nil
}

func (d *document) do(op operation) error {
	switch op.op {
	case opAdd:
		return d.add(op.path, op.value)
	case opRemove:
		_, err := d.remove(op.path)
		return err
	case opReplace:
		return d.replace(op.path, op.value)
	case opMove:
		return d.move(op.from, op.path)
	case opCopy:
		return d.copy(op.from, op.path)
	default:
		return d.test(op.path, op.value)
	}
}

// add is RFC 6902 section 4.1.
func (d *document) add(path Pointer, value json.RawMessage) error {
	if path == "" {
		d.root = node{raw: value}
		return nil
	}
	parentPath, token := path.last()
	parent, err := d.root.at(parentPath)
	if err != nil {
		return err
	}
	if err := parent.insert(token, node{raw: value}); err != nil {
		return fmt.Errorf("at %q: %w", string(path), err)
	}
	return nil
}

// remove is RFC 6902 section 4.2. It returns what was there.
func (d *document) remove(path Pointer) (json.RawMessage, error) {
	if path == "" {
		return nil, errors.New("the whole document cannot be removed")
	}
	parentPath, token := path.last()
	parent, err := d.root.at(parentPath)
	if err != nil {
		return nil, err
	}
	value, err := parent.remove(token)
	if err != nil {
		return nil, fmt.Errorf("at %q: %w", string(path), err)
	}
	return value.close(), nil
}

// replace is RFC 6902 section 4.3.
func (d *document) replace(path Pointer, value json.RawMessage) error {
	target, err := d.root.at(path)
	if err != nil {
		return err
	}
	*target = node{raw: value}
	return nil
}

// move is RFC 6902 section 4.4: a remove, and then an add.
func (d *document) move(from, path Pointer) error {
	if from == path {
		_, err := d.root.at(from)
		return err
	}
	value, err := d.remove(from)
	if err != nil {
		return err
	}
	return d.add(path, value)
}

// copy is RFC 6902 section 4.5. The two share their text, which nobody writes.
func (d *document) copy(from, path Pointer) error {
	source, err := d.root.at(from)
	if err != nil {
		return err
	}
	value := source.close()
	if d.copied += len(value); d.copied > maxCopied {
		return errCopiesTooMuch
	}
	return d.add(path, value)
}

// test is RFC 6902 section 4.6. Its error shows no value: it may be a secret.
func (d *document) test(path Pointer, value json.RawMessage) error {
	target, err := d.root.at(path)
	if err != nil {
		return err
	}
	if !equalJSON(target.close(), value) {
		return errors.New("the value there is another")
	}
	return nil
}
