package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/internal/shorten"
)

// Want describes the desired token of V2. A setting stays unchanged if its field is absent, gets
// the value of a set field, and is removed if its field is null. A token that is as wanted is not
// written.
//
// A token has a base role, custom roles or an inline role. If one of the three is set, those of the
// other two that the Want does not name are removed, so a token with custom roles and Role set to
// reader can only read. null and an empty list remove only themselves.
type Want struct {
	Name              tokenpatch.Field[string]                 `json:"name,omitzero"`
	Description       tokenpatch.Field[string]                 `json:"description,omitzero"`
	Role              tokenpatch.Field[tokenpatch.Role]        `json:"role,omitzero"`
	CustomRoleIDs     tokenpatch.Field[[]string]               `json:"customRoleIds,omitzero"` // all of them, in any order, by id or key
	InlineRole        tokenpatch.Field[[]tokenpatch.Statement] `json:"inlineRole,omitzero"`
	DefaultAPIVersion tokenpatch.Field[int]                    `json:"defaultApiVersion,omitzero"`

	// AddCustomRoleIDs and RemoveCustomRoleIDs change the token's custom roles, by id or key. They
	// cannot be combined with CustomRoleIDs, and no role is in both. They remove nothing else, and
	// name the custom roles: together with Role or InlineRole, the token keeps its other custom
	// roles.
	AddCustomRoleIDs    []string `json:"addCustomRoleIds,omitempty"`
	RemoveCustomRoleIDs []string `json:"removeCustomRoleIds,omitempty"`

	// Members are settings without a field, by their names in the API. null removes one.
	Members map[string]json.RawMessage `json:"set,omitempty"`

	Comment string `json:"-"` // for the audit log; empty is none
}

// check returns what is wrong with a Want.
func (w *Want) check() error {
	empty := *w
	empty.Comment, empty.Members, empty.AddCustomRoleIDs, empty.RemoveCustomRoleIDs = "", nil, nil, nil
	switch {
	case len(w.Members) == 0 && !w.changesCustomRoles() && reflect.DeepEqual(empty, Want{}):
		return wrongWant("", "empty", "at least one field that is set or null, or a custom role")
	case w.changesCustomRoles() && !w.CustomRoleIDs.IsZero():
		return wrongWant(".CustomRoleIDs", "not absent", "either all custom roles, or those to add and to remove")
	case w.Role.IsSet() && w.Role.Or("") == "":
		return wrongWant(".Role", `""`, "a role, or null")
	}
	for _, name := range slices.Sorted(maps.Keys(w.Members)) {
		if err := checkMember(name, w.Members[name]); err != nil {
			return err
		}
	}
	// A statement that breaks the rules shows in its patch.
	return errors.Join(w.checkRoles(), tokenpatch.Diff(tokenpatch.Token{}, w.of(tokenpatch.Token{})).Err())
}

func wrongWant(field, value, want string) error {
	return &tokenpatch.InputError{Field: "Change.Want" + field, Value: value, Want: want}
}

// checkMember refuses the name of a setting with a field, and of a member no client writes.
func checkMember(name string, value json.RawMessage) error {
	err := new(tokenpatch.Extra).Set(name, value)
	switch {
	case errors.As(err, new(*tokenpatch.InputError)):
		return wrongWant(".Members", strconv.Quote(name), "a setting for which there is no field")
	case err != nil:
		return wrongWant(".Members", strconv.Quote(shorten.Text(name, 64)), "a name in UTF-8, and JSON as its value")
	case name == "" || tokenpatch.NewPatch().Add(tokenpatch.NewPointer(name), value).Err() != nil:
		return wrongWant(".Members", strconv.Quote(name), "a setting that a client can write")
	}
	return nil
}

// changesCustomRoles reports whether there are custom roles to add or to remove.
func (w *Want) changesCustomRoles() bool {
	return len(w.AddCustomRoleIDs)+len(w.RemoveCustomRoleIDs) > 0
}

// of is the token as wanted. w has ids of custom roles, and no keys.
func (w *Want) of(t tokenpatch.Token) tokenpatch.Token {
	t = t.Clone()
	want(&t.Name, w.Name)
	want(&t.Description, w.Description)
	want(&t.Role, w.Role)
	want(&t.CustomRoleIDs, w.CustomRoleIDs)
	want(&t.InlineRole, w.InlineRole)
	want(&t.DefaultAPIVersion, w.DefaultAPIVersion)
	if has := t.CustomRoleIDs.Or(nil); w.changesRoles(has) {
		t.CustomRoleIDs = tokenpatch.Set(w.roles(has))
	}
	w.removeOtherAccess(&t)
	for name, value := range w.Members {
		if isNull(value) {
			t.Extra.Delete(name)
		} else {
			_ = t.Extra.Set(name, value) // check has refused what Set refuses
		}
	}
	return t
}

func isNull(value json.RawMessage) bool {
	return value == nil || string(bytes.TrimSpace(value)) == "null"
}

// removesOtherAccess reports whether one of role, custom roles and inline role is set, which
// removes the unnamed ones of the other two.
func (w *Want) removesOtherAccess() bool {
	return w.Role.IsSet() || len(w.CustomRoleIDs.Or(nil)) > 0 || len(w.InlineRole.Or(nil)) > 0
}

func (w *Want) removeOtherAccess(t *tokenpatch.Token) {
	if !w.removesOtherAccess() {
		return
	}
	if w.Role.IsZero() {
		t.Role = tokenpatch.Field[tokenpatch.Role]{}
	}
	if w.CustomRoleIDs.IsZero() && !w.changesCustomRoles() {
		t.CustomRoleIDs = tokenpatch.Field[[]string]{}
	}
	if w.InlineRole.IsZero() {
		t.InlineRole = tokenpatch.Field[[]tokenpatch.Statement]{}
	}
}

func want[T any](has *tokenpatch.Field[T], wanted tokenpatch.Field[T]) {
	switch {
	case wanted.IsZero() || wanted.IsNull() && has.IsNull():
	case wanted.IsNull():
		*has = tokenpatch.Field[T]{}
	default:
		*has = wanted
	}
}

func (w *Want) changesRoles(has []string) bool {
	lacks := func(id string) bool { return !slices.Contains(has, id) }
	return slices.ContainsFunc(w.AddCustomRoleIDs, lacks) ||
		slices.ContainsFunc(w.RemoveCustomRoleIDs, func(id string) bool { return !lacks(id) })
}

// roles are the custom roles as wanted, the remaining ones in front and in order.
func (w *Want) roles(has []string) []string {
	roles := make([]string, 0, len(has)+len(w.AddCustomRoleIDs))
	for _, id := range slices.Concat(has, w.AddCustomRoleIDs) {
		if !slices.Contains(w.RemoveCustomRoleIDs, id) && !slices.Contains(roles, id) {
			roles = append(roles, id)
		}
	}
	return roles
}

// patch is what makes a token as wanted, guarded; without operations if it is as
// wanted already.
func (w *Want) patch(before tokenpatch.Token) *tokenpatch.Patch {
	patch := tokenpatch.Diff(before, w.of(before))
	if patch.Len() == 0 {
		return patch
	}
	guarded := patch.Guard(before)
	if w.Comment != "" {
		guarded.Comment(w.Comment)
	}
	return guarded
}
