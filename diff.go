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

// Diff returns the smallest patch from the settings of before to those of after. The settings are
// the name, the description, the role, the custom roles, the inline role, the default API version,
// and the members of [Token.Extra] whose names do not begin with an underscore. Other differences
// are ignored.
//
// Each setting takes one operation on the whole of it: add, remove or replace. Absent and null
// differ, except for the role, the custom roles and the inline role: for them, absent, null and an
// empty list are the same. Custom roles are compared as a set, statements as a list.
//
// Without a difference the patch is empty, and sending it is an error. A statement of after that
// breaks the rules of [Statement] is a mistake: see [Patch.Err].
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

// diffExtra is diffField for members without a field.
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

// isServers reports whether only the server writes a member without a field.
func isServers(name string) bool { return checkEditable(jsonpatch.Pointer(NewPointer(name))) != nil }

// diffField adds the operation from before to after to p, unless they are the same.
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

// sameText compares what would be sent: invalid UTF-8 is replaced.
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

// Guard returns p with tests in front, so it fails if the token is no longer as in before. It tests
// each member that p reads or writes, as a whole.
//
//	patch := tokenpatch.Diff(before, after).Guard(before)
//
// JSON Patch has no test for absence. If before lacks one of the members, the patch also tests
// /lastModified, which changes with each write. So does a patch of the role, the custom roles or
// the inline role. If before has no lastModified, the patch has a mistake: see [Patch.Err].
//
// Without /lastModified, a guard does not notice a value that was changed and put back.
//
// p is not changed. An empty patch, a patch with a mistake and nil are returned as they are.
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

// WithoutLastModified returns p without its tests of /lastModified. It is for a service that cannot
// test this member and refuses the patch. What [Patch.Guard] covers by the test is then unguarded.
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

// writesAccess reports whether p writes the role, the custom roles or the inline role.
func (p *Patch) writesAccess() bool {
	isAccess := func(path jsonpatch.Pointer) bool {
		member, _ := memberOf(path)
		return member == PathRole || member == PathCustomRoleIDs || member == PathInlineRole
	}
	return slices.ContainsFunc(p.operations(), func(op jsonpatch.Operation) bool {
		return op.Op != jsonpatch.OpTest && isAccess(op.Path) || op.Op == jsonpatch.OpMove && isAccess(op.From)
	})
}

// touched returns the members of a token that p reads or writes, or inside which it does, in the
// order of first mention. The whole token is the empty Pointer.
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

// membersAt returns the JSON of the given members that t has.
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

// Apply returns the token after the patch, or an error and the zero Token. It follows RFC 6902 to
// the letter, which is stricter than V2: replacing a member that t does not have is an error here.
// t is not changed and shares nothing with the result. A required property that the patch removes
// is zero.
//
// The error is a [*PatchError]: the patch's own mistake ([Patch.Err]), the first operation that
// cannot be applied, or a result that is not a Token. An empty patch returns a copy of t.
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

// ApplyJSON returns any JSON document after the patch, or an error and nil. It follows RFC 6902 to
// the letter. document is not changed. What the patch does not reach stays as it was written:
// space, order, every digit.
//
// The document must be UTF-8. A member whose name occurs twice in its object cannot be reached, RFC
// 6901 section 4. Copy operations may add 64 MiB in all.
//
// The error is a [*PatchError]: an operation that RFC 6902 refuses, or the first that cannot be
// applied. Operations that V2 refuses for every [Token] are allowed here.
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
