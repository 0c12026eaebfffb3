package jsonpatch

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Pointer is a JSON Pointer in its string form, RFC 6901 section 5. The empty
// Pointer is the whole document.
type Pointer string

var (
	escaper   = strings.NewReplacer("~", "~0", "/", "~1")
	unescaper = strings.NewReplacer("~0", "~", "~1", "/")
)

// Append returns p extended by reference tokens, escaped. It does not check p.
func (p Pointer) Append(tokens ...string) Pointer {
	for _, token := range tokens {
		p += "/" + Pointer(escaper.Replace(token))
	}
	return p
}

// Tokens returns the reference tokens of p, unescaped, or how p breaks RFC 6901
// section 3.
func (p Pointer) Tokens() (tokens []string, err error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	for p != "" {
		var token string
		token, p = p.Next()
		tokens = append(tokens, token)
	}
	return tokens, nil
}

// check returns how p breaks RFC 6901 section 3.
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

// Next splits off the first reference token, unescaped. p must not be empty.
func (p Pointer) Next() (token string, rest Pointer) {
	end := strings.IndexByte(string(p[1:]), '/') + 1
	if end == 0 {
		end = len(p)
	}
	return unescape(p[1:end]), p[end:]
}

// last splits off the last reference token, unescaped. p must not be empty.
func (p Pointer) last() (parent Pointer, token string) {
	slash := strings.LastIndexByte(string(p), '/')
	return p[:slash], unescape(p[slash+1:])
}

func unescape(token Pointer) string {
	if strings.IndexByte(string(token), '~') < 0 {
		return string(token)
	}
	// One pass from the left: "~01" is "~1" and never "/", RFC 6901 section 4.
	return unescaper.Replace(string(token))
}

// contains reports whether other lies under p: p is a proper prefix of it.
func (p Pointer) contains(other Pointer) bool {
	under, found := strings.CutPrefix(string(other), string(p))
	return found && strings.HasPrefix(under, "/")
}

// IsElement reports whether a reference token names an element of an array: an
// index, or "-" for the one behind the last.
func IsElement(token string) bool {
	_, isIndex := arrayIndex(token)
	return isIndex || token == "-"
}

// arrayIndex reads a reference token as an index into an array: digits without
// a leading zero, RFC 6901 section 4. An index too large for an int is none.
func arrayIndex(token string) (index int, ok bool) {
	switch {
	case token == "0":
		return 0, true
	case token == "" || token[0] < '1' || token[0] > '9': // most tokens are names, for which strconv would build an error
		return 0, false
	}
	n, err := strconv.ParseUint(token, 10, strconv.IntSize-1)
	return int(n), err == nil
}
