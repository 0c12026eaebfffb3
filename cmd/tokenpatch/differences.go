package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// difference is how one setting of a token changes.
type difference struct {
	Setting string            `json:"setting"`
	Before  json.RawMessage   `json:"before,omitempty"`  // nil if the token does not have it
	After   json.RawMessage   `json:"after,omitempty"`   // likewise
	Removed []json.RawMessage `json:"removed,omitempty"` // elements, if both are lists
	Added   []json.RawMessage `json:"added,omitempty"`
	Unread  bool              `json:"unread,omitempty"` // Before is not known

	NotThere []string `json:"notThere,omitempty"` // ids of custom roles to remove that neither the token nor the account has
}

// differences are the settings in which two tokens differ.
func differences(before, after tokenpatch.Token) ([]difference, error) {
	was, err := settings(before)
	if err != nil {
		return nil, err
	}
	is, err := settings(after)
	if err != nil {
		return nil, err
	}
	names := slices.AppendSeq(slices.Collect(maps.Keys(was)), maps.Keys(is))
	slices.Sort(names)
	var found []difference
	for _, name := range slices.Compact(names) {
		if d, differs := compare(name, was[name], is[name]); differs {
			found = append(found, d)
		}
	}
	return found, nil
}

// settings are the writable members of a token.
func settings(t tokenpatch.Token) (members map[string]json.RawMessage, err error) {
	encoded, err := encodeJSON(t)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(encoded, &members); err != nil {
		return nil, err
	}
	fixed := []string{"ownerId", "memberId", "creationDate", "lastModified", "lastUsed", "token", "serviceToken"}
	maps.DeleteFunc(members, func(name string, _ json.RawMessage) bool {
		return strings.HasPrefix(name, "_") || slices.Contains(fixed, name)
	})
	return members, nil
}

// compare is how a setting changes, and whether it does. The order of custom roles means nothing.
func compare(name string, before, after json.RawMessage) (d difference, differs bool) {
	if bytes.Equal(before, after) {
		return d, false
	}
	d = difference{Setting: name, Before: before, After: after}
	was, wasList := elements(before)
	is, isList := elements(after)
	if wasList && isList {
		d.Removed, d.Added = without(was, is), without(is, was)
	}
	same := wasList && isList && len(d.Removed)+len(d.Added) == 0 && len(was)+len(is) > 0
	return d, !same || name != "customRoleIds"
}

// elements are those of a list. Nothing, and null, are a list without any.
func elements(value json.RawMessage) (list []json.RawMessage, ok bool) {
	if value == nil {
		return nil, true
	}
	return list, json.Unmarshal(value, &list) == nil
}

// entries are the elements of a list, or the one that is not in a list.
func entries(value json.RawMessage) []json.RawMessage {
	if list, isList := elements(value); isList {
		return list
	}
	return []json.RawMessage{value}
}

// without are the elements of a list missing in another one. Duplicates count.
func without(list, other []json.RawMessage) (rest []json.RawMessage) {
	left := map[string]int{}
	for _, one := range other {
		left[string(one)]++
	}
	for _, one := range list {
		if left[string(one)] == 0 {
			rest = append(rest, one)
			continue
		}
		left[string(one)]--
	}
	return rest
}

// updateDifferences are the settings in an update of V1.
func updateDifferences(update *tokenpatch.TokenUpdate) ([]difference, error) {
	encoded, err := encodeJSON(update)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(encoded, &members); err != nil {
		return nil, err
	}
	var set []difference
	for _, name := range slices.Sorted(maps.Keys(members)) {
		set = append(set, difference{Setting: name, After: members[name], Unread: true})
	}
	return set, nil
}

// resultDifferences are the settings changed or, if it was not applied, to be changed.
func resultDifferences(r fleet.Result) ([]difference, error) {
	switch {
	case r.State == fleet.StateApplied && r.Attempts == 0: // it was as wanted
		return nil, nil
	case r.State == fleet.StateApplied && r.Before != nil && r.After != nil:
		return differences(*r.Before, *r.After)
	case r.Change.Update != nil:
		return updateDifferences(r.Change.Update)
	case r.Change.Patch != nil:
		return patchDifferences(r.Change)
	}
	return wantDifferences(r.Change)
}

// patchDifferences are the settings in a patch. Its tests are their earlier values.
func patchDifferences(change fleet.Change) (found []difference, err error) {
	operations, err := operationsOf(change)
	tested := map[string]json.RawMessage{}
	for _, op := range operations {
		if op.Op == "test" {
			tested[op.Path] = op.Value
			continue
		}
		name := strings.TrimPrefix(op.Path, "/")
		before, known := tested[op.Path]
		d, _ := compare(name, before, op.Value)
		if !known {
			d = difference{Setting: name, After: op.Value, Unread: op.Op != "add"}
		}
		found = append(found, d)
	}
	return found, err
}

// wantDifferences are the desired settings, if the token was not read.
func wantDifferences(change fleet.Change) (found []difference, err error) {
	var wire struct{ Want map[string]json.RawMessage }
	encoded, err := encodeJSON(change)
	if err == nil {
		err = json.Unmarshal(encoded, &wire)
	}
	for _, name := range slices.Sorted(maps.Keys(wire.Want)) {
		found = append(found, difference{Setting: name, After: wire.Want[name], Unread: true})
	}
	return found, err
}

// line is one line of a difference. Its sign is '-', '+' or, for a replaced value, '~'.
type line struct {
	Sign string
	Text string
}

// lines show all of a difference: each element of a list in a line. roles are keys of custom roles by id.
func (d difference) lines(roles map[string]string) (lines []line) {
	if !d.isRoles() {
		roles = nil
	}
	if len(d.Removed)+len(d.Added)+len(d.NotThere) == 0 {
		before := d.shown(d.Before, roles)
		if d.Unread {
			before = "(not known)"
		}
		return []line{{"~", fmt.Sprintf("%s: %s → %s", printable(d.Setting), before, d.shown(d.After, roles))}}
	}
	for _, one := range d.Removed {
		lines = append(lines, line{"-", fmt.Sprintf("%s: - %s", printable(d.Setting), shownElement(one, roles))})
	}
	for _, one := range d.Added {
		lines = append(lines, line{"+", fmt.Sprintf("%s: + %s", printable(d.Setting), shownElement(one, roles))})
	}
	for _, id := range d.NotThere {
		lines = append(lines, line{"~", fmt.Sprintf("%s: custom role %s is not there", printable(d.Setting), printable(id))})
	}
	return lines
}

// isRoles reports whether the setting is a list of custom roles.
func (d difference) isRoles() bool { return strings.Contains(d.Setting, "ustomRoleIds") }

// shown is a value of the setting: a list of custom roles with their keys and ids.
func (d difference) shown(value json.RawMessage, roles map[string]string) string {
	list := entries(value)
	if !d.isRoles() || len(list) == 0 {
		return shownValue(value)
	}
	shown := make([]string, len(list))
	for i, one := range list {
		shown[i] = shownElement(one, roles)
	}
	return strings.Join(shown, ", ")
}

// shownValue is JSON for people, all of it.
func shownValue(value json.RawMessage) string {
	if value == nil {
		return "none"
	}
	return printable(string(value))
}

// shownElement is an element of a list: a custom role by its key and id, or a statement.
func shownElement(value json.RawMessage, roles map[string]string) string {
	var id string
	if json.Unmarshal(value, &id) != nil {
		return shownValue(value)
	}
	key := roles[id]
	for known, one := range roles {
		if key == "" && one == id { // it is given by its key
			id, key = known, one
		}
	}
	if key != "" {
		return printable(key + " (" + id + ")")
	}
	return printable(id)
}

// kinds are the lines of a difference for a summary of many tokens, without what each token has for itself.
func (d difference) kinds(roles map[string]string) (kinds []string) {
	if slices.Contains([]string{"name", "description", "inlineRole"}, d.Setting) {
		return []string{d.Setting}
	}
	for _, l := range d.lines(roles) {
		kinds = append(kinds, l.Text)
	}
	return kinds
}
