package jsonpatch

import (
	"bytes"
	"encoding/json"
)

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
	case x.undecided:
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
			if x.undecided {
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
