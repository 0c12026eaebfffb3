package tokenpatch

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// Diff returns the smallest patch that turns the settings of before into those of
// after. The settings are the name, the description, the role, the custom roles,
// the inline role and the default API version. Other differences are passed over:
// the server alone writes the rest.
//
// Each setting that differs takes one operation on the whole of it: an add where
// before has none, a remove where after has none, else a replace. Absent and null
// differ. Custom roles are a set: neither order nor repetition counts. The
// statements of an inline role are a list.
//
// Without a difference the patch is empty: its Len is 0, and sending it is an
// error. A statement of after that breaks the rules of [Statement] is a mistake,
// which [Patch.Err] returns.
func Diff(before, after Token) *Patch {
	p := NewPatch()
	diffField(p, PathName, before.Name, after.Name, equal, appendText)
	diffField(p, PathDescription, before.Description, after.Description, equal, appendText)
	diffField(p, PathRole, before.Role, after.Role, equal, appendText)
	diffField(p, PathCustomRoleIDs, before.CustomRoleIDs, after.CustomRoleIDs, sameSet, appendStrings)
	diffField(p, PathInlineRole, before.InlineRole, after.InlineRole, sameStatements, appendStatements)
	diffField(p, PathDefaultAPIVersion, before.DefaultAPIVersion, after.DefaultAPIVersion, equal, appendInt)
	return p
}

// diffField adds to p the operation that makes before after, unless same.
func diffField[T any](p *Patch, path Pointer, before, after Field[T], same func(T, T) bool, appendTo func([]byte, T) []byte) {
	op := jsonpatch.OpReplace
	switch {
	case sameField(before, after, same):
		return
	case after.IsZero():
		p.Remove(path)
		return
	case before.IsZero():
		op = jsonpatch.OpAdd
	}
	var value any // null
	if after.IsSet() {
		value = json.RawMessage(appendTo(nil, after.value))
	}
	p.withValue(op, path, value)
}

func sameField[T any](a, b Field[T], same func(T, T) bool) bool {
	return a.state == b.state && same(a.value, b.value)
}

func equal[T comparable](a, b T) bool { return a == b }

func sameSet(a, b []string) bool {
	return (a == nil) == (b == nil) && (slices.Equal(a, b) || slices.Equal(asSet(a), asSet(b)))
}

func asSet(ids []string) []string { return slices.Compact(slices.Sorted(slices.Values(ids))) }

func sameStatements(a, b []Statement) bool {
	return (a == nil) == (b == nil) && slices.EqualFunc(a, b, sameStatement)
}

// sameStatement compares what would be sent.
func sameStatement(a, b Statement) bool {
	if a.Extra.received != nil || b.Extra.received != nil {
		return jsonpatch.Equal(appendStatement(nil, a), appendStatement(nil, b))
	}
	return a.Effect == b.Effect &&
		sameList(a.Resources, b.Resources) && sameList(a.NotResources, b.NotResources) &&
		sameList(a.Actions, b.Actions) && sameList(a.NotActions, b.NotActions)
}

// sameList tells a nil list, which is absent, from an empty one.
func sameList(a, b []string) bool { return (a == nil) == (b == nil) && slices.Equal(a, b) }

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
