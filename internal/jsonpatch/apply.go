package jsonpatch

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// Apply returns document after the operations, by RFC 6902 to the letter. document is valid JSON
// without surrounding space, and is not changed. If an operation cannot be applied, Apply returns
// the reason, and done is its index. Copy operations may add 64 MiB together.
func Apply(document json.RawMessage, ops []Operation) (result []byte, done int, err error) {
	d := patching{root: node{raw: document}}
	for i, op := range ops {
		if err := d.apply(op); err != nil {
			return nil, i, err
		}
	}
	return d.root.append(make([]byte, 0, len(document)+64)), len(ops), nil
}

// maxCopied bounds what copy operations can make of a small document: each can
// double it.
const maxCopied = 64 << 20

var errCopiesTooMuch = fmt.Errorf("the values copied come to more than %d MiB", maxCopied>>20)

// patching is a document in the middle of a patch.
type patching struct {
	root   node
	copied int // bytes added by copy operations
}

func (d *patching) apply(op Operation) error {
	err := d.do(op)
	//nolint:errorlint // do returns it unwrapped
	if inner, ok := err.(*locationError); ok && inner.path == op.Path {
		return inner.err // the operation's own path need not be said twice
	}
	return err
}

func (d *patching) do(op Operation) error {
	switch op.Op {
	case OpAdd:
		return d.add(op.Path, op.Value)
	case OpRemove:
		_, err := d.remove(op.Path)
		return err
	case OpReplace:
		return d.replace(op.Path, op.Value)
	case OpMove:
		return d.move(op.From, op.Path)
	case OpCopy:
		return d.copy(op.From, op.Path)
	default:
		return d.test(op.Path, op.Value)
	}
}

// add is RFC 6902 section 4.1.
func (d *patching) add(path Pointer, value json.RawMessage) error {
	if path == "" {
		d.root = node{raw: value}
		return nil
	}
	parentPath, token := path.last()
	parent, err := d.root.at(parentPath)
	if err != nil {
		return err
	}
	return locate(path, parent.insert(token, node{raw: value}))
}

// remove is RFC 6902 section 4.2. It returns what was there.
func (d *patching) remove(path Pointer) (json.RawMessage, error) {
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
		return nil, locate(path, err)
	}
	return value.close(), nil
}

// replace is RFC 6902 section 4.3.
func (d *patching) replace(path Pointer, value json.RawMessage) error {
	target, err := d.root.at(path)
	if err != nil {
		return err
	}
	*target = node{raw: value}
	return nil
}

// move is RFC 6902 section 4.4: a remove, and then an add.
func (d *patching) move(from, path Pointer) error {
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
func (d *patching) copy(from, path Pointer) error {
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
func (d *patching) test(path Pointer, value json.RawMessage) error {
	target, err := d.root.at(path)
	if err != nil {
		return err
	}
	if !Equal(target.close(), value) {
		return errors.New("test failed: value differs")
	}
	return nil
}

// locationError is an error with its location in the document.
type locationError struct {
	path Pointer
	err  error
}

func locate(path Pointer, err error) error {
	if err == nil {
		return nil
	}
	return &locationError{path, err}
}

func (e *locationError) Error() string { return fmt.Sprintf("at %q: %v", string(e.path), e.err) }

func (e *locationError) Unwrap() error { return e.err }

var (
	errNoValue   = errors.New("no value at this path")
	errAmbiguous = errors.New("two members have this name, and RFC 6901 section 4 refuses to choose")
)

func errNoChildren(value json.RawMessage) error {
	return rawjson.WrongKind("an object or an array", value)
}
