package tokenpatch

import (
	"strconv"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
)

// A Pointer names one value inside a JSON document: a JSON Pointer in its
// string form, RFC 6901 section 5. The empty Pointer names the whole document,
// "/name" its member name, "/customRoleIds/0" the first element of an array,
// and "/customRoleIds/-" the end of that array, behind its last element.
type Pointer string

// The settings of a [Token]: the members that clients change.
const (
	PathName              Pointer = "/name"
	PathDescription       Pointer = "/description"
	PathRole              Pointer = "/role"
	PathCustomRoleIDs     Pointer = "/customRoleIds"
	PathInlineRole        Pointer = "/inlineRole"
	PathDefaultAPIVersion Pointer = "/defaultApiVersion"
)

// settings are all of them.
var settings = []Pointer{PathName, PathDescription, PathRole, PathCustomRoleIDs, PathInlineRole, PathDefaultAPIVersion}

// NewPointer returns the Pointer with these reference tokens, escaped as RFC 6901
// section 3 requires: NewPointer("a/b", "0") is "/a~1b/0". Without tokens it is the
// whole document; an empty token is a member whose name is empty.
func NewPointer(tokens ...string) Pointer { return Pointer("").Append(tokens...) }

// Append returns p extended by tokens, escaped as [NewPointer] does. It does
// not check p.
func (p Pointer) Append(tokens ...string) Pointer {
	return Pointer(jsonpatch.Pointer(p).Append(tokens...))
}

// Tokens returns the reference tokens of p, unescaped: nil for the whole
// document. The error says how p breaks RFC 6901 section 3: it is not empty and
// does not start with a slash, a "~" is not followed by 0 or 1, or it is not UTF-8.
func (p Pointer) Tokens() ([]string, error) { return jsonpatch.Pointer(p).Tokens() }

// oneLine returns p with control characters and quotes escaped.
func (p Pointer) oneLine() string {
	quoted := strconv.Quote(string(p))
	return quoted[1 : len(quoted)-1]
}

// memberOf returns the pointer to the member of a token at or under which p is,
// and its name. Both are empty where p is the whole token.
func memberOf(p jsonpatch.Pointer) (member Pointer, name string) {
	if p == "" {
		return "", ""
	}
	name, rest := p.Next()
	return Pointer(p[:len(p)-len(rest)]), name
}
