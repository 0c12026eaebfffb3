package fleet

import (
	"reflect"
	"slices"

	"github.com/tokenpatch/tokenpatch"
)

// Want describes the token of V2 that is wanted. A setting whose field is absent stays as it
// is, one whose field is set gets that value, and one whose field is null is taken
// away. A token that is as wanted already is not written.
type Want struct {
	Name              tokenpatch.Field[string]                 `json:"name,omitzero"`
	Description       tokenpatch.Field[string]                 `json:"description,omitzero"`
	Role              tokenpatch.Field[tokenpatch.Role]        `json:"role,omitzero"`
	CustomRoleIDs     tokenpatch.Field[[]string]               `json:"customRoleIds,omitzero"` // all of them, in any order
	InlineRole        tokenpatch.Field[[]tokenpatch.Statement] `json:"inlineRole,omitzero"`
	DefaultAPIVersion tokenpatch.Field[int]                    `json:"defaultApiVersion,omitzero"`

	// AddCustomRoleIDs and RemoveCustomRoleIDs change the custom roles that the
	// token has. They go without CustomRoleIDs, and no id is in both.
	AddCustomRoleIDs    []string `json:"addCustomRoleIds,omitempty"`
	RemoveCustomRoleIDs []string `json:"removeCustomRoleIds,omitempty"`

	Comment string `json:"-"` // for the audit log; empty is none
}

// check returns what is wrong with a Want.
func (w *Want) check() error {
	empty := *w
	empty.Comment = ""
	changesRoles := len(w.AddCustomRoleIDs)+len(w.RemoveCustomRoleIDs) > 0
	switch {
	case !changesRoles && reflect.DeepEqual(empty, Want{}):
		return &tokenpatch.InputError{Field: "Change.Want", Value: "empty", Want: "at least one field that is set or null, or a custom role"}
	case changesRoles && !w.CustomRoleIDs.IsZero():
		return &tokenpatch.InputError{Field: "Change.Want.CustomRoleIDs", Value: "not absent", Want: "either all custom roles, or those to add and to remove"}
	}
	for _, id := range w.AddCustomRoleIDs {
		if slices.Contains(w.RemoveCustomRoleIDs, id) {
			return &tokenpatch.InputError{Field: "Change.Want.RemoveCustomRoleIDs", Value: id, Want: "no custom role that is to be added as well"}
		}
	}
	// A statement that breaks the rules shows in the patch that makes it.
	return tokenpatch.Diff(tokenpatch.Token{}, w.of(tokenpatch.Token{})).Err()
}

// of is the token as wanted.
func (w *Want) of(t tokenpatch.Token) tokenpatch.Token {
	want(&t.Name, w.Name)
	want(&t.Description, w.Description)
	want(&t.Role, w.Role)
	want(&t.CustomRoleIDs, w.CustomRoleIDs)
	want(&t.InlineRole, w.InlineRole)
	want(&t.DefaultAPIVersion, w.DefaultAPIVersion)
	if has := t.CustomRoleIDs.Or(nil); w.changesRoles(has) {
		t.CustomRoleIDs = tokenpatch.Set(w.roles(has))
	}
	return t
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

// roles are the custom roles as wanted, those that stay in front and in order.
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
