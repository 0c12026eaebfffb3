package jsonpatch_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// patch is written step by step: each method returns p with one operation more.
type patch []jsonpatch.Operation

func (p patch) Add(path jsonpatch.Pointer, value any) patch {
	return p.with(jsonpatch.OpAdd, path, value)
}

func (p patch) Replace(path jsonpatch.Pointer, value any) patch {
	return p.with(jsonpatch.OpReplace, path, value)
}

func (p patch) Test(path jsonpatch.Pointer, value any) patch {
	return p.with(jsonpatch.OpTest, path, value)
}

func (p patch) with(op string, path jsonpatch.Pointer, value any) patch {
	return append(p, jsonpatch.Operation{Op: op, Path: path, Value: mustMarshal(value)})
}

func (p patch) Remove(path jsonpatch.Pointer) patch {
	return append(p, jsonpatch.Operation{Op: jsonpatch.OpRemove, Path: path})
}

func (p patch) Move(from, path jsonpatch.Pointer) patch {
	return append(p, jsonpatch.Operation{Op: jsonpatch.OpMove, From: from, Path: path})
}

func (p patch) Copy(from, path jsonpatch.Pointer) patch {
	return append(p, jsonpatch.Operation{Op: jsonpatch.OpCopy, From: from, Path: path})
}

// encode returns the JSON of p.
func (p patch) encode() []byte {
	b := []byte("[")
	for i, op := range p {
		if i > 0 {
			b = append(b, ',')
		}
		b = op.Append(b)
	}
	return append(b, ']')
}

func (p patch) String() string { return string(p.encode()) }

// err returns the first mistake visible without a document.
func (p patch) err() error {
	for i, op := range p {
		if err := op.Check(); err != nil {
			return fmt.Errorf("operation %d: %w", i, err)
		}
	}
	return nil
}

// applyTo applies p to any JSON.
func (p patch) applyTo(document []byte) ([]byte, error) {
	value, err := rawjson.Check(document)
	if err != nil {
		return nil, err
	}
	result, done, err := jsonpatch.Apply(value, p)
	if err != nil {
		return nil, fmt.Errorf("operation %d: %s %q: %w", done, p[done].Op, string(p[done].Path), err)
	}
	return result, nil
}

// decode reads a patch and checks it, as whoever uses this package does.
func decode(data []byte) (p patch, err error) {
	array, err := rawjson.Check(data)
	if err != nil {
		return nil, err
	}
	if array[0] != '[' {
		return nil, rawjson.WrongKind("an array", array)
	}
	for element := range rawjson.Elements(bytes.Clone(array)) {
		op, err := jsonpatch.Decode(element)
		if err == nil {
			err = op.Check()
		}
		if err != nil {
			return nil, fmt.Errorf("operation %d: %w", len(p), err)
		}
		p = append(p, op)
	}
	return p, nil
}

func mustDecode(t *testing.T, data string) patch {
	t.Helper()
	p, err := decode([]byte(data))
	require.NoError(t, err)
	return p
}

func mustMarshal(value any) []byte {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return encoded
}
