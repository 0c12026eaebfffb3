package jsonpatch

import "encoding/json"

// A symbol is what is known of a value in the document. It may be at several
// paths. More can become known of an unknown one; apart from that, only one that is
// changed or an array, and not shared, is ever written.
type symbol struct {
	kind    kind
	proven  proof              // unknown: what is certain
	raw     json.RawMessage    // literal
	opened  bool               // literal: list and members are there
	list    []*symbol          // array, or a literal one: its elements
	base    *symbol            // changed: what it was, not itself changed
	members map[string]*symbol // changed: what is there instead; else: its members, of an unknown one as far as they were looked at
	shared  bool               // changed, array: at several paths
}

type kind uint8

const (
	unknown kind = iota // some value or none, the same wherever this symbol is
	changed             // another symbol, some of whose members or elements were written
	absent              // nothing
	literal             // a value of the patch, or equal to one
	array               // an array of known length
)

// absentSymbol is the only one of its kind.
var absentSymbol = &symbol{kind: absent}

// proof is what is certain about a symbol; each includes those before it.
type proof uint8

const (
	provenNothing proof = iota
	provenPresent
	provenContainer // an object or an array
	provenObject
)

func (v *symbol) proof() proof {
	switch v = v.unchanged(); {
	case v.kind == unknown:
		return v.proven
	case v.kind == absent:
		return provenNothing
	case v.isObject():
		return provenObject
	case v.isArray():
		return provenContainer
	}
	return provenPresent
}

func (v *symbol) isObject() bool { return v.kind == literal && v.raw[0] == '{' }

func (v *symbol) isArray() bool { return v.kind == array || v.kind == literal && v.raw[0] == '[' }

func (v *symbol) mayBeObject() bool {
	v = v.unchanged()
	return v.kind == unknown || v.isObject()
}

// unchanged returns v as it was before anything in it was written.
func (v *symbol) unchanged() *symbol {
	if v.kind == changed {
		return v.base
	}
	return v
}

// keep notes what v has at token.
func (v *symbol) keep(token string, value *symbol) {
	if v.members == nil {
		v.members = map[string]*symbol{}
	}
	v.members[token] = value
}

// share returns v, which is at one more path from now on.
func (v *symbol) share() *symbol {
	if v.kind == changed || v.kind == array {
		v.shared = true
	}
	return v
}
