package jsonpatch

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// A symbol is what is known of a value in the document. It may be at several
// places. What is known of an unknown one is learned; only one that is changed
// or an array, and not shared, is ever written.
type symbol struct {
	kind    kind
	proven  proof              // unknown: what is certain
	raw     json.RawMessage    // literal
	opened  bool               // literal: list and members are there
	list    []*symbol          // array, or a literal one: its elements
	base    *symbol            // changed: what it was, not itself changed
	members map[string]*symbol // changed: what is there instead; else: its members, of an unknown one as far as they were looked at
	shared  bool               // changed, array: at several places
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

// share returns v, which is at one more place from now on.
func (v *symbol) share() *symbol {
	if v.kind == changed || v.kind == array {
		v.shared = true
	}
	return v
}

// writable returns v, or a copy that may be written, as what it becomes by
// that: changed or an array.
func (x *execution) writable(v *symbol, as kind) *symbol {
	if v.kind == as && !v.shared {
		return v
	}
	if v.kind != as && as == changed {
		return &symbol{kind: changed, base: v, members: map[string]*symbol{}}
	}
	x.spend((len(v.members) + len(v.list)) / 16)
	for _, member := range v.members {
		member.share()
	}
	for _, element := range v.list {
		element.share()
	}
	return &symbol{kind: as, base: v.base, members: maps.Clone(v.members), list: slices.Clone(v.list)}
}

// similarity says whether two symbols are equal. The lowest of several counts.
type similarity uint8

const (
	no similarity = iota
	maybe
	yes
)

func (x *execution) compare(a, b *symbol) similarity {
	x.spend(1 + (len(a.raw)+len(b.raw))/16)
	literals := a.kind == literal && b.kind == literal
	switch {
	case x.lost:
		return maybe
	case a == b, literals && bytes.Equal(a.raw, b.raw):
		return yes
	case a.isArray() && b.isArray():
		return x.compareElements(a, b)
	case a.mayBeObject() && b.mayBeObject():
		return x.compareMembers(a, b)
	case min(a.kind, b.kind) <= changed:
		return maybe
	case literals:
		return compareScalars(a.raw, b.raw)
	}
	return no
}

func (x *execution) compareElements(a, b *symbol) similarity {
	x.open(a)
	x.open(b)
	if len(a.list) != len(b.list) {
		return no
	}
	same := yes
	for i := range a.list {
		same = min(same, x.compare(a.list[i], b.list[i]))
	}
	return same
}

func (x *execution) compareMembers(a, b *symbol) similarity {
	same := yes
	baseA, baseB := a.unchanged(), b.unchanged()
	if baseA != baseB && !(baseA.isObject() && baseB.isObject()) {
		same = maybe // they may have other members
	}
	x.open(baseA)
	x.open(baseB)
	seen := map[string]bool{}
	for _, v := range []*symbol{a, b, baseA, baseB} {
		if v.kind == unknown {
			continue // its members are not all known, and are the same where it is the same
		}
		for token := range v.members {
			if x.lost {
				return maybe
			}
			if !seen[token] {
				seen[token] = true
				same = min(same, x.compare(x.child(a, token), x.child(b, token)))
			}
		}
	}
	return same
}

// compareScalars compares two literals of which one is a scalar or they differ
// in kind. Those that only some libraries take for equal, such as 1 and 1.0,
// are maybe equal.
func compareScalars(a, b json.RawMessage) similarity {
	var x, y any
	errX, errY := json.Unmarshal(a, &x), json.Unmarshal(b, &y)
	if errX != nil || errY != nil || x == y {
		return maybe
	}
	return no
}
