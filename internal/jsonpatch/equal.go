package jsonpatch

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math/big"
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// Equal reports whether two valid JSON values without surrounding space are equal by RFC 6902
// section 4.6: numbers by their value, objects in any order. An object with a name twice equals one
// with the same names and values in an order that differs only between names.
func Equal(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if a[0] != b[0] && rawjson.Kind(a) != rawjson.Kind(b) {
		return false
	}
	x, _ := parse(a, 0)
	y, _ := parse(b, 0)
	return x.equal(y)
}

// value is a JSON value taken apart completely, in one pass.
type value struct {
	name     []byte // decoded, if it is a member of an object
	text     []byte // of anything but an object or array
	bracket  byte   // of an object or array
	children []value
}

// parse reads the first value of b, and returns the rest. A document gets deeper than MaxDepth only
// by patching; deeper values are compared as they are written.
func parse(b json.RawMessage, depth int) (v value, rest json.RawMessage) {
	if b[0] != '{' && b[0] != '[' || depth == rawjson.MaxDepth {
		v.text, rest = rawjson.Cut(b)
		return v, rest
	}
	v.bracket = b[0]
	rest = rawjson.Next(b[1:])
	for rest[0] != '}' && rest[0] != ']' {
		var name json.RawMessage
		if v.bracket == '{' {
			name, rest = rawjson.Cut(rest)
		}
		var child value
		child, rest = parse(rest, depth+1)
		if name != nil {
			child.name = rawjson.Unquote(name)
		}
		v.children = append(v.children, child)
	}
	if v.bracket == '{' {
		slices.SortStableFunc(v.children, func(a, b value) int { return bytes.Compare(a.name, b.name) })
	}
	return v, rawjson.Next(rest[1:])
}

func (v value) equal(w value) bool {
	return v.bracket == w.bracket &&
		bytes.Equal(v.name, w.name) &&
		equalText(v.text, w.text) &&
		slices.EqualFunc(v.children, w.children, value.equal)
}

// equalText compares scalars, and objects and arrays that were not parsed.
func equalText(a, b []byte) bool {
	switch {
	case bytes.Equal(a, b):
		return true
	case len(a) == 0 || len(b) == 0 || rawjson.Kind(a) != rawjson.Kind(b):
		return false
	case a[0] == '"':
		return bytes.Equal(rawjson.Unquote(a), rawjson.Unquote(b))
	}
	return rawjson.Kind(a) == "a number" && parseDecimal(a) == parseDecimal(b)
}

// decimal is the value of a JSON number in one form: digits without a zero at
// either end, as if a point stood before them, times a power of ten.
type decimal struct {
	negative bool
	digits   string // empty for zero
	exponent string // decimal
}

// maxExponent is how many digits of an exponent are read, since reading takes
// time in the square of them.
const maxExponent = 1000

// parseDecimal works on digits: a float would round them, and an integer of 1e9
// digits would fill the memory. A number whose exponent is too long to be read
// equals only itself.
func parseDecimal(text []byte) decimal {
	mantissa, power, _ := strings.Cut(strings.ToLower(string(text)), "e")
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	whole = strings.TrimLeft(whole, "0")
	digits := strings.TrimLeft(whole+fraction, "0")
	point := len(whole) - (len(whole+fraction) - len(digits)) // of zeros, whole has none
	digits = strings.TrimRight(digits, "0")
	if digits == "" {
		return decimal{} // -0 is 0
	}
	if len(power) > maxExponent {
		return decimal{digits: string(text)}
	}
	exponent, _ := new(big.Int).SetString(cmp.Or(power, "0"), 10)
	return decimal{negative, digits, exponent.Add(exponent, big.NewInt(int64(point))).String()}
}
