package jsonpatch

import (
	"maps"
	"slices"

	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// What an execution reads and writes of its document, one level at a time.

func (x *execution) spend(steps int) {
	x.budget -= steps
	x.undecided = x.undecided || x.budget < 0
}

// withElement returns the array in with v at token.
func (x *execution) withElement(in *symbol, op, token string, v *symbol) *symbol {
	in = x.writable(in, array)
	i, isIndex := arrayIndex(token)
	switch n := len(in.list); {
	case op == OpAdd && token == "-":
		in.list = append(in.list, v)
	case op == OpAdd && isIndex && i <= n:
		x.spend((n - i) / 16)
		in.list = slices.Insert(in.list, i, v)
	case !isIndex || i >= n:
		x.fails = true
	case op == OpRemove:
		x.spend((n - i) / 16)
		in.list = slices.Delete(in.list, i, i+1)
	default:
		in.list[i] = v
	}
	return in
}

// with returns v with value at token.
func (x *execution) with(v *symbol, token string, value *symbol) *symbol {
	x.spend(1)
	v = x.writable(v, changed)
	v.members[token] = value
	return v
}

// child returns what v has at token.
func (x *execution) child(v *symbol, token string) *symbol {
	x.spend(1)
	value := x.lookup(v, token)
	if v.shared {
		value.share()
	}
	return value
}

func (x *execution) lookup(v *symbol, token string) *symbol {
	if value, ok := v.members[token]; ok {
		return value
	}
	v = v.unchanged()
	x.open(v)
	value, ok := v.members[token]
	switch i, isIndex := arrayIndex(token); {
	case ok:
		return value
	case v.kind == unknown:
		value = new(symbol)
		v.keep(token, value)
		return value
	case isIndex && i < len(v.list):
		return v.list[i]
	}
	return absentSymbol
}

// open takes a literal apart by one level, unless it was.
func (x *execution) open(v *symbol) {
	if v.kind != literal || v.opened {
		return
	}
	v.opened = true
	x.spend(len(v.raw) / 16)
	switch v.raw[0] {
	case '[':
		for element := range rawjson.Elements(v.raw) {
			v.list = append(v.list, &symbol{kind: literal, raw: element})
		}
	case '{':
		for quoted, value := range rawjson.Members(v.raw) {
			name := string(rawjson.Unquote(quoted))
			if _, twice := v.members[name]; twice {
				x.undecided = true // RFC 8259 section 4 does not say which of the two counts
			}
			v.keep(name, &symbol{kind: literal, raw: value})
		}
	}
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
