package jsonpatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// node is a JSON value, parsed only if a pointer walks into it. Until then it is its original text:
// shared, never written. The zero node is no value.
//
// A value is put together again before it is moved or copied, so nodes are nested no deeper than
// the longest pointer.
type node struct {
	raw    json.RawMessage // nil if the value is parsed
	object *object         // not nil for a parsed object
	array  []node          // not nil for a parsed array
}

func (n *node) exists() bool { return n.raw != nil || n.object != nil || n.array != nil }

// open takes an object or array apart by one level.
func (n *node) open() {
	if n.raw == nil {
		return
	}
	switch n.raw[0] {
	case '{':
		n.object = openObject(n.raw)
	case '[':
		n.array = make([]node, 0, 4)
		for element := range rawjson.Elements(n.raw) {
			n.array = append(n.array, node{raw: element})
		}
	default:
		return
	}
	n.raw = nil
}

// close puts the value together again and returns its text.
func (n *node) close() json.RawMessage {
	if n.raw == nil {
		*n = node{raw: n.append(nil)}
	}
	return n.raw
}

// append appends the value's JSON. What was not taken apart stays as it was
// read, digits and space included.
func (n *node) append(b []byte) []byte {
	switch {
	case n.object != nil:
		return n.object.append(b)
	case n.array != nil:
		b = append(b, '[')
		for i := range n.array {
			if i > 0 {
				b = append(b, ',')
			}
			b = n.array[i].append(b)
		}
		return append(b, ']')
	}
	return append(b, n.raw...)
}

// at returns the value at p inside n, RFC 6901 section 4. It is valid until n is changed.
func (n *node) at(p Pointer) (*node, error) {
	for rest := p; rest != ""; {
		var token string
		token, rest = rest.Next()
		child, err := n.child(token)
		if err != nil {
			return nil, locate(p[:len(p)-len(rest)], err)
		}
		n = child
	}
	return n, nil
}

// child returns the member or element named by token.
func (n *node) child(token string) (*node, error) {
	n.open()
	switch {
	case n.object != nil:
		return n.object.lookup(token)
	case n.array != nil:
		i, err := indexWithin(token, len(n.array)-1)
		if err != nil {
			return nil, err
		}
		return &n.array[i], nil
	}
	return nil, errNoChildren(n.raw)
}

// insert adds value as the member, or before the element, named by token.
func (n *node) insert(token string, value node) error {
	n.open()
	switch {
	case n.object != nil:
		return n.object.set(token, value)
	case n.array != nil && token == "-":
		n.array = append(n.array, value)
		return nil
	case n.array != nil:
		i, err := indexWithin(token, len(n.array))
		if err != nil {
			return err
		}
		n.array = slices.Insert(n.array, i, value)
		return nil
	}
	return errNoChildren(n.raw)
}

// remove removes the member or element named by token from n.
func (n *node) remove(token string) (node, error) {
	child, err := n.child(token)
	if err != nil {
		return node{}, err
	}
	value := *child
	if n.array == nil {
		*child = node{}
		return value, nil
	}
	i, _ := arrayIndex(token) // cannot fail: child has read it
	n.array = slices.Delete(n.array, i, i+1)
	return value, nil
}

// indexWithin reads the index of an array whose highest one is last, by the
// grammar of RFC 6901 section 4.
func indexWithin(token string, last int) (int, error) {
	i, ok := arrayIndex(token)
	switch {
	case token == "-":
		return 0, fmt.Errorf(`%w: "-" is behind the last element`, errNoValue)
	case !ok:
		return 0, errors.New("want an array index, digits without a leading zero")
	case i > last:
		return 0, fmt.Errorf("%w: the highest index is %d", errNoValue, last)
	}
	return i, nil
}

// object is a parsed JSON object. Its members keep their order, and a removed one keeps its index.
// Members with one name are all kept, and cannot be reached: RFC 6901 section 4.
type object struct {
	members []member
	index   map[string]int // position by name, or ambiguous; nil while there are few members
}

type member struct {
	name  json.RawMessage // in quotes, as it was read
	value node            // the zero node if removed
}

const (
	few       = 32 // from here on a map is quicker than a search from the front
	ambiguous = -1 // instead of the index of a name that occurs twice
)

// openObject returns the object in raw, whose memory it shares.
func openObject(raw json.RawMessage) *object {
	o := &object{members: make([]member, 0, few/2)}
	for name, value := range rawjson.Members(raw) {
		o.members = append(o.members, member{name, node{raw: value}})
	}
	if len(o.members) > few {
		o.buildIndex()
	}
	return o
}

func (o *object) buildIndex() {
	o.index = make(map[string]int, len(o.members))
	for i, m := range o.members {
		name := string(rawjson.Unquote(m.name))
		if _, twice := o.index[name]; twice {
			i = ambiguous
		}
		o.index[name] = i
	}
}

// find returns the value with this name, which may have been removed, or nil.
func (o *object) find(name string) (found *node, err error) {
	if o.index != nil {
		i, ok := o.index[name]
		switch {
		case !ok:
			return nil, nil
		case i == ambiguous:
			return nil, errAmbiguous
		}
		return &o.members[i].value, nil
	}
	for i := range o.members {
		if string(rawjson.Unquote(o.members[i].name)) != name {
			continue
		}
		if found != nil {
			return nil, errAmbiguous
		}
		found = &o.members[i].value
	}
	return found, nil
}

// lookup returns the value with this name, or an error if there is none.
func (o *object) lookup(name string) (*node, error) {
	value, err := o.find(name)
	if err == nil && (value == nil || !value.exists()) {
		err = errNoValue
	}
	return value, err
}

// set replaces the value with this name in its place, or appends it. Its error is errAmbiguous,
// which takes an object that was read.
func (o *object) set(name string, value node) error {
	place, err := o.find(name)
	if err != nil {
		return err
	}
	if place != nil {
		*place = value
		return nil
	}
	o.members = append(o.members, member{rawjson.AppendString(nil, name), value})
	switch {
	case o.index != nil:
		o.index[name] = len(o.members) - 1
	case len(o.members) > few:
		o.buildIndex()
	}
	return nil
}

func (o *object) append(b []byte) []byte {
	b = append(b, '{')
	first := true
	for i := range o.members {
		m := &o.members[i]
		if !m.value.exists() {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, m.name...)
		b = append(b, ':')
		b = m.value.append(b)
	}
	return append(b, '}')
}
