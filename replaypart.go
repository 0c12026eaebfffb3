package tokenpatch

import (
	"bytes"
	"encoding/json"
)

// A part is what is known of a value in the document. It may be at several
// places, and never changes but for what is learned about an unknown one.
type part struct {
	kind    partKind
	proven  proof           // unknown: what is certain
	raw     json.RawMessage // literal
	list    []*part         // array
	base    *part           // changed: what it was, not itself changed
	changes slots           // changed: what is now there instead
	inside  slots           // unknown: its members or elements, as far as they were looked at
}

type slots []slot

// slot is a reference token and what an object or array has there.
type slot struct {
	token string
	value *part
}

// at returns the value at token, or nil.
func (p slots) at(token string) *part {
	for _, slot := range p {
		if slot.token == token {
			return slot.value
		}
	}
	return nil
}

type partKind uint8

const (
	partUnknown partKind = iota // some value or none, the same wherever this part is
	partChanged                 // another part, some of whose members or elements were written
	partAbsent                  // nothing
	partLiteral                 // a value of the patch, or equal to one
	partArray                   // an array of known length
)

// absentPart is the only one of its kind.
var absentPart = &part{kind: partAbsent}

// proof is what is certain about a part; each includes those before it.
type proof uint8

const (
	provenNothing proof = iota
	provenPresent
	provenContainer // an object or an array
	provenObject
)

func (v *part) proof() proof {
	switch v = v.unchanged(); {
	case v.kind == partUnknown:
		return v.proven
	case v.kind == partAbsent:
		return provenNothing
	case v.isObject():
		return provenObject
	case v.kind == partArray || v.raw[0] == '[':
		return provenContainer
	}
	return provenPresent
}

func (v *part) isObject() bool { return v.kind == partLiteral && v.raw[0] == '{' }

// unchanged returns v as it was before anything in it was written.
func (v *part) unchanged() *part {
	if v.kind == partChanged {
		return v.base
	}
	return v
}

// with returns v with value at token.
func (r *rehearsal) with(v *part, token string, value *part) *part {
	r.spend(len(v.changes) / 16)
	changes := make(slots, 0, len(v.changes)+1)
	for _, slot := range v.changes {
		if slot.token != token {
			changes = append(changes, slot)
		}
	}
	return &part{kind: partChanged, base: v.unchanged(), changes: append(changes, slot{token, value})}
}

// child returns what v has at token.
func (r *rehearsal) child(v *part, token string) *part {
	r.spend(1 + len(v.changes)/16)
	if value := v.changes.at(token); value != nil {
		return value
	}
	v = v.unchanged()
	if v.kind == partUnknown {
		return r.unknown(v, token)
	}
	if v.isObject() {
		return r.member(v.raw, token)
	}
	list, _ := r.elements(v)
	if i, isIndex := arrayIndex(token); isIndex && i < len(list) {
		return list[i]
	}
	return absentPart
}

// unknown returns what v, which is unknown, has at token.
func (r *rehearsal) unknown(v *part, token string) *part {
	r.spend(len(v.inside) / 16)
	value := v.inside.at(token)
	if value == nil {
		value = new(part)
		v.inside = append(v.inside, slot{token, value})
	}
	return value
}

// member returns the member of a literal object.
func (r *rehearsal) member(object json.RawMessage, name string) *part {
	r.spend(len(object) / 16)
	found := absentPart
	for n, value := range members(object) {
		if string(n) == name {
			r.lost = r.lost || found != absentPart // RFC 8259 section 4 does not say which of the two counts
			found = &part{kind: partLiteral, raw: value}
		}
	}
	return found
}

// elements returns the elements of v, and whether it is known to be an array.
func (r *rehearsal) elements(v *part) ([]*part, bool) {
	if v.kind != partLiteral || v.raw[0] != '[' {
		return v.list, v.kind == partArray
	}
	r.spend(len(v.raw) / 16)
	var list []*part
	for value := range elements(v.raw) {
		list = append(list, &part{kind: partLiteral, raw: value})
	}
	return list, true
}

// similarity says whether two parts are equal. The lowest of several counts.
type similarity uint8

const (
	surelyNot similarity = iota
	perhaps
	surely
)

func (r *rehearsal) compare(a, b *part) similarity {
	r.spend(1 + (len(a.raw)+len(b.raw))/16)
	literals := a.kind == partLiteral && b.kind == partLiteral
	switch {
	case r.lost:
		return perhaps
	case a == b, literals && bytes.Equal(a.raw, b.raw):
		return surely
	}
	listA, isListA := r.elements(a)
	listB, isListB := r.elements(b)
	switch {
	case isListA && isListB:
		return r.compareElements(listA, listB)
	case a.mayBeObject() && b.mayBeObject():
		return r.compareMembers(a, b)
	case min(a.kind, b.kind) <= partChanged:
		return perhaps
	case literals:
		return compareScalars(a.raw, b.raw)
	}
	return surelyNot
}

func (r *rehearsal) compareElements(a, b []*part) similarity {
	if len(a) != len(b) {
		return surelyNot
	}
	same := surely
	for i := range a {
		same = min(same, r.compare(a[i], b[i]))
	}
	return same
}

func (r *rehearsal) compareMembers(a, b *part) similarity {
	same := surely
	if baseA, baseB := a.unchanged(), b.unchanged(); baseA != baseB && !(baseA.isObject() && baseB.isObject()) {
		same = perhaps // they may have other members
	}
	for _, token := range b.tokens(a.tokens(nil)) {
		if r.lost {
			return perhaps
		}
		same = min(same, r.compare(r.child(a, token), r.child(b, token)))
	}
	return same
}

func (v *part) mayBeObject() bool {
	v = v.unchanged()
	return v.kind == partUnknown || v.isObject()
}

// tokens appends where v is known to differ from another object.
func (v *part) tokens(tokens []string) []string {
	for _, slot := range v.changes {
		tokens = append(tokens, slot.token)
	}
	if base := v.unchanged(); base.isObject() {
		for name := range members(base.raw) {
			tokens = append(tokens, string(name))
		}
	}
	return tokens
}

// compareScalars compares two literals of which one is a scalar or they differ
// in kind. Those that only some libraries take for equal, such as 1 and 1.0,
// are perhaps equal.
func compareScalars(a, b json.RawMessage) similarity {
	var x, y any
	errX, errY := json.Unmarshal(a, &x), json.Unmarshal(b, &y)
	if errX != nil || errY != nil || x == y {
		return perhaps
	}
	return surelyNot
}
