package tokenpatch

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Pointer names one value inside a JSON document: a JSON Pointer in its
// string form, RFC 6901 section 5. The empty Pointer names the whole document,
// "/name" its member name, "/customRoleIds/0" the first element of an array,
// and "/customRoleIds/-" the place behind the last.
type Pointer string

// The members of a [Token] that people change.
const (
	PathName              Pointer = "/name"
	PathDescription       Pointer = "/description"
	PathRole              Pointer = "/role"
	PathCustomRoleIDs     Pointer = "/customRoleIds"
	PathInlineRole        Pointer = "/inlineRole"
	PathDefaultAPIVersion Pointer = "/defaultApiVersion"
)

var (
	pointerEscaper   = strings.NewReplacer("~", "~0", "/", "~1")
	pointerUnescaper = strings.NewReplacer("~0", "~", "~1", "/")
)

// NewPointer returns the Pointer whose reference tokens are tokens, escaped as
// RFC 6901 section 3 wants: NewPointer("a/b", "0") is "/a~1b/0". No tokens
// give the whole document, and an empty token is a member whose name is empty.
func NewPointer(tokens ...string) Pointer { return Pointer("").Append(tokens...) }

// Append returns p extended by tokens, escaped as [NewPointer] does. It does
// not check p.
func (p Pointer) Append(tokens ...string) Pointer {
	for _, token := range tokens {
		p += "/" + Pointer(pointerEscaper.Replace(token))
	}
	return p
}

// Tokens returns the reference tokens of p, unescaped: nil for the whole
// document. The error says how p breaks RFC 6901 section 3: it neither is empty
// nor starts with a slash, a "~" is followed by something other than 0 or 1,
// or it is not UTF-8.
func (p Pointer) Tokens() ([]string, error) {
	if err := p.check(); err != nil || p == "" {
		return nil, err
	}
	tokens := strings.Split(string(p[1:]), "/")
	for i, token := range tokens {
		tokens[i] = unescape(token)
	}
	return tokens, nil
}

// check returns the error of [Pointer.Tokens] without splitting.
func (p Pointer) check() error {
	switch {
	case p == "":
		return nil
	case p[0] != '/':
		return errors.New("malformed pointer: want it empty or starting with a slash")
	case !utf8.ValidString(string(p)):
		return errors.New("malformed pointer: not UTF-8")
	}
	for rest := string(p); ; {
		_, after, found := strings.Cut(rest, "~")
		if !found {
			return nil
		}
		if after == "" || after[0] != '0' && after[0] != '1' {
			return errors.New(`malformed pointer: want 0 or 1 behind every "~"`)
		}
		rest = after
	}
}

// checkEditable refuses the locations that the API does not let anyone write:
// those at or under a member that begins with an underscore.
func (p Pointer) checkEditable() error {
	// A slash inside a token is escaped, so each one here starts a token.
	if strings.Contains(string(p), "/_") {
		return errNotEditable
	}
	return nil
}

var errNotEditable = errors.New("not editable: it holds a name that begins with an underscore")

// contains says whether other lies under p: p is a proper prefix of it.
func (p Pointer) contains(other Pointer) bool {
	under, found := strings.CutPrefix(string(other), string(p))
	return found && strings.HasPrefix(under, "/")
}

// next splits off the first reference token, unescaped. p must not be empty.
func (p Pointer) next() (token string, rest Pointer) {
	end := strings.IndexByte(string(p[1:]), '/') + 1
	if end == 0 {
		end = len(p)
	}
	return unescape(string(p[1:end])), p[end:]
}

// last splits off the last reference token, unescaped. p must not be empty.
func (p Pointer) last() (parent Pointer, token string) {
	slash := strings.LastIndexByte(string(p), '/')
	return p[:slash], unescape(string(p[slash+1:]))
}

func unescape(token string) string {
	if strings.IndexByte(token, '~') < 0 {
		return token
	}
	// One pass from the left: "~01" is "~1" and never "/", RFC 6901 section 4.
	return pointerUnescaper.Replace(token)
}

// member returns the pointer to the member of the whole document at or under
// which p is, and its name. Both are empty where p is the whole document.
func (p Pointer) member() (member Pointer, name string) {
	if p == "" {
		return "", ""
	}
	name, rest := p.next()
	return p[:len(p)-len(rest)], name
}

// arrayIndex reads a reference token as an index into an array: digits without
// a leading zero, RFC 6901 section 4. An index too large for an int is none.
func arrayIndex(token string) (index int, ok bool) {
	if token == "" || token[0] == '0' && token != "0" {
		return 0, false
	}
	n, err := strconv.ParseUint(token, 10, strconv.IntSize-1)
	return int(n), err == nil
}
