package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// rolesOf are the custom roles that a run has looked up, by id and by key.
func rolesOf(ctx context.Context, store *fleet.Store, run string) (map[string]tokenpatch.CustomRole, error) {
	roles, err := store.Roles(ctx, run)
	known := map[string]tokenpatch.CustomRole{}
	for _, r := range roles {
		known[r.Key] = r
	}
	for _, r := range roles {
		known[r.ID] = r
	}
	return known, err
}

// rolesIn are the keys of those custom roles that differences have, by id. known are roles by id and by key.
func rolesIn(differences []difference, known map[string]tokenpatch.CustomRole) map[string]string {
	found := map[string]string{}
	for _, d := range differences {
		if !d.isRoles() {
			continue
		}
		for _, value := range slices.Concat(entries(d.Before), entries(d.After)) {
			var entry string
			_ = json.Unmarshal(value, &entry) // else it names none
			if r, isKnown := known[entry]; isKnown {
				found[r.ID] = r.Key
			}
		}
	}
	return found
}

// rolesNotThere are the custom roles that a change was to remove, and that neither its token nor the account had.
func rolesNotThere(r fleet.Result, roles map[string]tokenpatch.CustomRole) (ids []string) {
	if r.Change.Want == nil || r.State != fleet.StateApplied {
		return nil
	}
	var has []string
	if r.Before != nil {
		has = r.Before.CustomRoleIDs.Or(nil)
	}
	for _, entry := range r.Change.Want.RemoveCustomRoleIDs {
		id := strings.ToLower(entry)
		_, byKey := roles[entry]
		_, byID := roles[id]
		if !byKey && !byID && !slices.Contains(has, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// notThere is a difference that has those custom roles that a change removes, and that neither its token nor the account has.
func notThere(ids []string) []difference {
	if len(ids) == 0 {
		return nil
	}
	return []difference{{Setting: "removeCustomRoleIds", NotThere: ids}}
}
