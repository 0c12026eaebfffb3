package main

import (
	"encoding/json"
	"iter"
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/changefile"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// reverted are the rows that undo a run: for each token that it changed, a patch that gives the settings that were changed
// their value from before. It fails if somebody has changed one of them since. A row that cannot be reverted stays, with the
// reason.
func reverted(results iter.Seq2[fleet.Result, error]) iter.Seq2[changefile.Row, error] {
	return func(yield func(changefile.Row, error) bool) {
		line := 0
		for r, err := range results {
			line++
			row := changefile.Row{Line: line, API: "v2", ID: r.Change.ID}
			if r.Change.Update != nil {
				row.API = "v1"
			}
			if err == nil && r.Before != nil {
				row.Name = r.Before.Name.Or("")
			}
			if err == nil {
				row.Skip, row.Change = undo(r)
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// undo is the change that reverts a result, or why there is none.
func undo(r fleet.Result) (skip string, change fleet.Change) {
	sent := r.Attempts > 0
	switch {
	case r.State == fleet.StateApplied && !sent, r.State == fleet.StateNotApplied, r.State == fleet.StatePending && !sent:
		return asWanted, change
	case r.Change.Update != nil:
		return "V1 cannot be read: what the token was like is not known", change
	case r.State != fleet.StateApplied:
		return "whether the token was changed is not known", change
	case r.Before == nil || r.After == nil:
		return "the run does not have the token as it was", change
	}
	patch, err := restricted(tokenpatch.Diff(*r.After, *r.Before), written(r.Change))
	if err != nil {
		return err.Error(), change
	}
	if patch.Len() == 0 {
		return asWanted, change
	}
	return "", fleet.Change{ID: r.Change.ID, Patch: patch.Guard(*r.After)}
}

// operation is an operation of a patch as JSON.
type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	From  string          `json:"from,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// member is the member of the token that a path is in.
func member(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return first
}

var access = []string{"role", "customRoleIds", "inlineRole"}

// written are the members of a token that a change may have written. Setting one of the three that give access may remove
// the others.
func written(change fleet.Change) (members []string) {
	var wire struct {
		Want  map[string]json.RawMessage
		Patch []operation
	}
	encoded, err := json.Marshal(change)
	if err != nil || json.Unmarshal(encoded, &wire) != nil {
		return nil // the store has checked it
	}
	for name := range wire.Want {
		members = append(members, strings.NewReplacer("addCustomRoleIds", "customRoleIds", "removeCustomRoleIds", "customRoleIds").Replace(name))
	}
	for _, op := range wire.Patch {
		if op.Op != "test" {
			members = append(members, member(op.Path), member(op.From))
		}
	}
	if slices.ContainsFunc(members, func(name string) bool { return slices.Contains(access, name) }) {
		members = append(members, access...)
	}
	return members
}

// restricted is a patch without the operations on other members.
func restricted(patch *tokenpatch.Patch, members []string) (*tokenpatch.Patch, error) {
	if patch.Len() == 0 {
		return patch, nil
	}
	encoded, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	var operations []operation
	if err := json.Unmarshal(encoded, &operations); err != nil {
		return nil, err
	}
	operations = slices.DeleteFunc(operations, func(op operation) bool { return !slices.Contains(members, member(op.Path)) })
	if encoded, err = json.Marshal(operations); err != nil {
		return nil, err
	}
	only := new(tokenpatch.Patch)
	return only, json.Unmarshal(encoded, only)
}
