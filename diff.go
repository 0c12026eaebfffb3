package tokenpatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// Diff returns the smallest patch that turns the settings of before into those of
// after. The settings are the name, the description, the role, the custom roles,
// the inline role, the default API version, and the members of [Token.Extra] whose
// names do not begin with an underscore. Other differences are ignored: only the
// server writes the rest.
//
// Each setting that differs takes one operation on the whole of it: an add if
// before has none, a remove if after has none, else a replace. Absent and null
// differ, except for the role, the custom roles and the inline role: for them
// absent, null and an empty list are the same. Custom roles are a set: neither
// order nor repetition counts. The statements of an inline role are a list. Texts
// are compared as they are sent.
//
// Without a difference the patch is empty: its Len is 0, and sending it is an
// error. A statement of after that breaks the rules of [Statement] is a mistake,
// which [Patch.Err] returns.
func Diff(before, after Token) *Patch {
	p := NewPatch()
	diffField(p, PathName, before.Name, after.Name, sameField(sameText), textCodec)
	diffField(p, PathDescription, before.Description, after.Description, sameField(sameText), textCodec)
	diffField(p, PathRole, before.Role, after.Role, sameRole, roleCodec)
	diffField(p, PathCustomRoleIDs, before.CustomRoleIDs, after.CustomRoleIDs, sameRoleIDs, textsCodec)
	diffField(p, PathInlineRole, before.InlineRole, after.InlineRole, sameStatements, statementsCodec)
	diffField(p, PathDefaultAPIVersion, before.DefaultAPIVersion, after.DefaultAPIVersion, sameField(equal[int]), versionCodec)
	diffExtra(p, before.Extra, after.Extra)
	return p
}

// diffExtra is diffField for the members that have no field.
func diffExtra(p *Patch, before, after Extra) {
	for name := range before.All() {
		if _, stays := after.Get(name); !stays && !isServers(name) {
			p.Remove(NewPointer(name))
		}
	}
	for name, value := range after.All() {
		was, had := before.Get(name)
		switch path := NewPointer(name); {
		case isServers(name), had && jsonpatch.Equal(was, value):
		case had:
			p.Replace(path, value)
		default:
			p.Add(path, value)
		}
	}
}

// isServers reports whether a member that has no field is the server's alone.
func isServers(name string) bool { return checkEditable(jsonpatch.Pointer(NewPointer(name))) != nil }

// diffField adds to p the operation that makes before after, unless same.
func diffField[T any](p *Patch, path Pointer, before, after Field[T], same func(a, b Field[T]) bool, codec rawjson.Codec[T]) {
	op := jsonpatch.OpReplace
	switch {
	case same(before, after):
		return
	case after.IsZero():
		p.Remove(path)
		return
	case before.IsZero():
		op = jsonpatch.OpAdd
	}
	var value any // null
	if after.IsSet() {
		value = json.RawMessage(codec.Append(nil, &after.value))
	}
	p.withValue(op, path, value)
}

func sameField[T any](same func(a, b T) bool) func(a, b Field[T]) bool {
	return func(a, b Field[T]) bool { return a.state == b.state && same(a.value, b.value) }
}

func equal[T comparable](a, b T) bool { return a == b }

// sameText compares what would be sent: text that is not UTF-8 is mended.
func sameText(a, b string) bool {
	return a == b || jsonpatch.Equal(textCodec.Append(nil, &a), textCodec.Append(nil, &b))
}

// The three members of access are the same if they give the same access.

func sameRole(a, b Field[Role]) bool { return sameText(string(a.Or("")), string(b.Or(""))) }

func sameRoleIDs(a, b Field[[]string]) bool {
	return slices.Equal(asSet(a.Or(nil)), asSet(b.Or(nil)))
}

func asSet(ids []string) []string { return slices.Compact(slices.Sorted(slices.Values(ids))) }

func sameStatements(a, b Field[[]Statement]) bool {
	return slices.EqualFunc(a.Or(nil), b.Or(nil), sameStatement)
}

// sameStatement compares what would be sent.
func sameStatement(a, b Statement) bool {
	return jsonpatch.Equal(statementCodec.Append(nil, &a), statementCodec.Append(nil, &b))
}

// sameMembers reports whether two tokens are the same in some members, as [Diff]
// compares access, and in others as RFC 6902 section 4.6 compares values.
func sameMembers(members []Pointer, a, b Token) bool {
	return !slices.ContainsFunc(members, func(path Pointer) bool {
		switch path {
		case PathRole:
			return !sameRole(a.Role, b.Role)
		case PathCustomRoleIDs:
			return !sameRoleIDs(a.CustomRoleIDs, b.CustomRoleIDs)
		case PathInlineRole:
			return !sameStatements(a.InlineRole, b.InlineRole)
		default:
			return !a.has(b, []Pointer{path})
		}
	})
}

// has reports whether a token has the members as before has them, as the test
// operation of RFC 6902 section 4.6 compares; what before lacks it must lack.
func (t Token) has(before Token, members []Pointer) bool {
	is, was := t.membersAt(members), before.membersAt(members)
	return !slices.ContainsFunc(members, func(path Pointer) bool {
		a, b := is[path], was[path]
		return (a == nil) != (b == nil) || a != nil && !jsonpatch.Equal(a, b)
	})
}

// Guard returns a patch that does what p does, but fails if the token is no longer
// as in before. It begins with a test operation for each member of the token that p
// reads or writes, so it overwrites nothing that another writer has written.
//
//	patch := tokenpatch.Diff(before, after).Guard(before)
//
// JSON Patch has no test for absence. If before lacks one of the members, the patch
// tests /lastModified as well, which the service raises with each write: then it
// fails after any other change of the token. So does a patch that writes the role,
// the custom roles or the inline role, because a policy that another writer adds
// beside them changes what the token may do. If before has no lastModified either,
// the patch has a mistake, and [Patch.Err] names it.
//
// A test compares the entire member, so it also notices nested values that were
// added or removed, and another order of a list. A guard without /lastModified does
// not notice a value that was changed and put back in between.
//
// p is not changed. The guard of an empty patch is empty, that of a patch with a
// mistake has the same mistake, and that of nil is nil.
func (p *Patch) Guard(before Token) *Patch {
	if p.Err() != nil {
		return p.Clone()
	}
	guarded := NewPatch().ready()
	if p.content != nil {
		guarded.content.comment = p.content.comment
	}
	touched := p.touched()
	values := before.membersAt(touched)
	versioned := p.writesAccess()
	for _, path := range touched {
		if value := values[path]; value != nil {
			guarded.Test(path, value)
		} else {
			versioned = true
		}
	}
	switch {
	case versioned && before.LastModified == 0:
		return guarded.fail(jsonpatch.OpTest, pathLastModified, errors.New("the token has no lastModified that could guard the patch"))
	case versioned && values[pathLastModified] == nil:
		guarded.Test(pathLastModified, before.LastModified)
	}
	guarded.content.operations = append(guarded.content.operations, p.operations()...)
	return guarded
}

// WithoutLastModified returns a patch that does what p does, without its tests of
// /lastModified. It is for a service that cannot test that member: it refuses the
// patch although the token is as in before. What [Patch.Guard] covers by that test
// is then unguarded.
func (p *Patch) WithoutLastModified() *Patch {
	q := p.Clone()
	if q.Len() > 0 {
		q.content.operations = slices.DeleteFunc(slices.Clone(p.operations()), func(op jsonpatch.Operation) bool {
			return op.Op == jsonpatch.OpTest && Pointer(op.Path) == pathLastModified
		})
	}
	return q
}

const pathLastModified Pointer = "/lastModified"

// writesAccess reports whether p writes one of the three members that decide
// together what a token may do.
func (p *Patch) writesAccess() bool {
	isAccess := func(path jsonpatch.Pointer) bool {
		member, _ := memberOf(path)
		return member == PathRole || member == PathCustomRoleIDs || member == PathInlineRole
	}
	return slices.ContainsFunc(p.operations(), func(op jsonpatch.Operation) bool {
		return op.Op != jsonpatch.OpTest && isAccess(op.Path) || op.Op == jsonpatch.OpMove && isAccess(op.From)
	})
}

// touched returns the members of a token that p reads or writes, or something
// inside them, once each and in the order of first mention. The whole token is
// the empty Pointer.
func (p *Patch) touched() (touched []Pointer) {
	seen := make(map[Pointer]bool, p.Len())
	touch := func(path jsonpatch.Pointer) {
		member, _ := memberOf(path)
		if !seen[member] {
			seen[member] = true
			touched = append(touched, member)
		}
	}
	for _, op := range p.operations() {
		if op.HasFrom() {
			touch(op.From)
		}
		touch(op.Path)
	}
	return touched
}

// membersAt returns the JSON of those of the members that t has.
func (t Token) membersAt(paths []Pointer) map[Pointer]json.RawMessage {
	values := make(map[Pointer]json.RawMessage, len(paths))
	for _, path := range paths {
		values[path] = nil
	}
	for quoted, value := range rawjson.Members(t.encode()) {
		path := NewPointer(string(rawjson.Unquote(quoted)))
		if _, wanted := values[path]; wanted {
			values[path] = value
		}
	}
	return values
}

// Apply returns what the patch makes of t, or an error and the zero Token: it is
// applied as a whole or not at all. It follows RFC 6902 to the letter, which is
// stricter than V2: replacing a member that t does not have is an error here. t is
// not changed, and a change to what is returned is not seen in t.
//
// What is patched is the JSON of t, and the result is decoded from that: a required
// property that the patch removes is zero.
//
// The error is a [*PatchError]: the patch's own mistake ([Patch.Err]), the first
// operation that cannot be applied, or, without an operation, that the result is
// not a Token any more. An empty patch returns a copy of t.
func (p *Patch) Apply(t Token) (Token, error) {
	if err := p.Err(); err != nil {
		return Token{}, err
	}
	document, err := p.apply(t.encode())
	if err != nil {
		return Token{}, err
	}
	after, err := tokenCodec.Decode(document)
	if err != nil {
		return Token{}, wholePatchError(fmt.Errorf("the result is not a Token: %w", err))
	}
	return *after, nil
}

// ApplyJSON returns what the patch makes of any JSON document, or an error and nil:
// it is applied as a whole or not at all. It follows RFC 6902 to the letter.
// document is not changed. What the patch does not reach stays as it was written:
// space, order, every digit.
//
// The document must be UTF-8. A member whose name its object has twice cannot be
// reached, RFC 6901 section 4. Copy operations may add 64 MiB in all.
//
// The error is a [*PatchError]: an operation that RFC 6902 refuses, or the first
// that cannot be applied. Operations that V2 allows on no [Token] are allowed on a
// document.
func (p *Patch) ApplyJSON(document []byte) ([]byte, error) {
	if err := p.documentErr(); err != nil {
		return nil, err
	}
	value, err := rawjson.Check(document)
	switch {
	case err != nil:
		return nil, wholePatchError(fmt.Errorf("the document: %w", err))
	case !utf8.Valid(value):
		return nil, wholePatchError(fmt.Errorf("the document: %w", errNotUTF8))
	}
	return p.apply(value)
}

// apply applies p to a valid document.
func (p *Patch) apply(document json.RawMessage) ([]byte, error) {
	result, done, err := jsonpatch.Apply(document, p.operations())
	if err != nil {
		return nil, operationError(done, p.operations()[done], err)
	}
	return result, nil
}
