package jsonpatch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
)

// reference applies patches to decoded JSON. It shares no code with the package:
// it is what the package is compared with.
type reference struct {
	replaceAdds bool // replace of a missing member of the document adds it, as V2 does
	absentNull  bool // a test for null succeeds if there is nothing, as in some libraries
	emptyWhole  bool // an empty name is the whole document, as in some libraries
}

var errReference = errors.New("the operation cannot be applied")

func (r reference) apply(document any, p patch) (any, error) {
	for _, op := range p {
		var err error
		if document, err = r.do(document, op, r.parse(op.Path), r.parse(op.From)); err != nil {
			return nil, err
		}
	}
	return document, nil
}

func (r reference) do(document any, op jsonpatch.Operation, path, from []string) (any, error) {
	switch op.Op {
	case "add":
		return write(document, path, insert(decodeExactly(op.Value)))
	case "remove":
		return write(document, path, remove)
	case "replace":
		f := replace(decodeExactly(op.Value))
		if _, isObject := document.(map[string]any); isObject && len(path) == 1 && r.replaceAdds {
			f = insert(decodeExactly(op.Value))
		}
		return write(document, path, f)
	case "test":
		value, found := lookUp(document, path)
		want := decodeExactly(op.Value)
		if found && equalValues(value, want) || !found && want == nil && r.absentNull {
			return document, nil
		}
		return nil, errReference
	}
	value, found := lookUp(document, from)
	if !found {
		return nil, errReference
	}
	if op.Op == "move" && op.From != op.Path {
		var err error
		if document, err = write(document, from, remove); err != nil {
			return nil, err
		}
	}
	if op.Op == "move" && op.From == op.Path {
		return document, nil
	}
	return write(document, path, insert(value))
}

// change makes a container of another one, in which it changes what is at a token.
// The container is nil for the whole document.
type change func(in any, token string) (any, error)

func insert(value any) change {
	return func(in any, token string) (any, error) {
		switch in := in.(type) {
		case nil:
			return value, nil
		case map[string]any:
			in = maps.Clone(in)
			in[token] = value
			return in, nil
		case []any:
			i, err := parseIndex(token, len(in))
			if err != nil {
				return nil, err
			}
			return slices.Insert(slices.Clone(in), i, value), nil
		}
		return nil, errReference
	}
}

func replace(value any) change {
	return func(in any, token string) (any, error) {
		if in == nil {
			return value, nil
		}
		if _, found := lookUp(in, []string{token}); !found {
			return nil, errReference
		}
		if list, isList := in.([]any); isList {
			i, err := parseIndex(token, len(list))
			list = slices.Clone(list)
			list[i] = value
			return list, err
		}
		return insert(value)(in, token)
	}
}

func remove(in any, token string) (any, error) {
	if _, found := lookUp(in, []string{token}); !found {
		return nil, errReference
	}
	if list, isList := in.([]any); isList {
		i, err := parseIndex(token, len(list))
		return slices.Delete(slices.Clone(list), i, i+1), err
	}
	object := maps.Clone(in.(map[string]any))
	delete(object, token)
	return object, nil
}

// write returns a copy of a document in which f has changed the value at a path.
func write(document any, path []string, f change) (any, error) {
	switch len(path) {
	case 0:
		return f(nil, "")
	case 1:
		if document == nil {
			return nil, errReference
		}
		return f(document, path[0])
	}
	child, found := lookUp(document, path[:1])
	if !found {
		return nil, errReference
	}
	child, err := write(child, path[1:], f)
	if err != nil {
		return nil, err
	}
	return replace(child)(document, path[0])
}

func lookUp(document any, path []string) (any, bool) {
	for _, token := range path {
		var found bool
		switch at := document.(type) {
		case map[string]any:
			document, found = at[token]
		case []any:
			if i, err := parseIndex(token, len(at)); err == nil && i < len(at) {
				document, found = at[i], true
			}
		}
		if !found {
			return nil, false
		}
	}
	return document, true
}

// parseIndex reads an index from 0 to length, RFC 6901 section 4.
func parseIndex(token string, length int) (int, error) {
	if token == "-" {
		return length, nil
	}
	i, err := strconv.Atoi(token)
	if err != nil || strconv.Itoa(i) != token || i < 0 || i > length {
		return 0, errReference
	}
	return i, nil
}

func (r reference) parse(p jsonpatch.Pointer) []string {
	if p == "" || p == "/" && r.emptyWhole {
		return nil
	}
	tokens := strings.Split(string(p[1:]), "/")
	for i := range tokens {
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(tokens[i], "~1", "/"), "~0", "~")
	}
	return tokens
}

// equalValues is RFC 6902 section 4.6.
func equalValues(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, isObject := b.(map[string]any)
		return isObject && maps.EqualFunc(a, b, equalValues)
	case []any:
		b, isList := b.([]any)
		return isList && slices.EqualFunc(a, b, equalValues)
	case json.Number:
		b, isNumber := b.(json.Number)
		return isNumber && (a == b || toRat(a).Cmp(toRat(b)) == 0)
	}
	return a == b
}

func toRat(n json.Number) *big.Rat {
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		panic("not a number: " + n)
	}
	return r
}

// decodeExactly decodes without any code of this package, and keeps the digits of numbers.
func decodeExactly(data []byte) (value any) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		panic(err)
	}
	return value
}
