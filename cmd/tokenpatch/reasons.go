package main

import (
	"encoding/json"

	"github.com/tokenpatch/tokenpatch/fleet"
)

// reason is why a change is not applied or unknown, and what to do about it.
type reason struct {
	text   string
	advice string
	next   next
}

// next is the command to run after a failed change.
type next int

const (
	nextNothing next = iota // sent again as it is, it fails again
	nextPlan                // plan again
	nextRetry               // retry, and apply
)

var (
	changedSince  = reason{"somebody changed this token after the plan", "plan again", nextPlan}
	noSuchToken   = reason{"no such token", "check its id, or remove its row", nextNothing}
	mayNot        = reason{"the credential may not change this token", "use another credential, or give it the permission", nextRetry}
	badCredential = reason{"the service refuses the credential", "set LAUNCHDARKLY_ACCESS_TOKEN or DEEPSET_API_KEY to one that it accepts", nextRetry}
	refused       = reason{"the service refuses these values", "correct them in FILE, and plan again", nextNothing}
	undecided     = reason{"no response shows whether it was applied", "retry looks at the token first, and sends again only what cannot take effect twice", nextRetry}
	other         = reason{"another error", "see its text; retry if it was temporary", nextRetry}
)

// reasonOf is why a change failed, by its error; empty if it did not.
func reasonOf(r fleet.Result) reason {
	switch r.State {
	case fleet.StateUnknown:
		return undecided
	case fleet.StateNotApplied:
	default:
		return reason{}
	}
	switch r.ErrType {
	case "PatchFailedError", "EditConflictError", "PatchError":
		if isGuarded(r.Change) {
			return changedSince
		}
		return refused
	case "NotFoundError":
		return noSuchToken
	case "ForbiddenError":
		return mayNot
	case "UnauthorizedError":
		return badCredential
	case "InvalidRequestError", "ValidationError", "ConflictError", "InputError":
		return refused
	}
	return other
}

// skipReason is why nothing could be done for a row of a plan, and what to do about it; empty if nothing was to be done.
func skipReason(skip string) reason {
	switch {
	case skip == "", isAsWanted(skip):
		return reason{}
	case skip == noSuchToken.text:
		return noSuchToken
	case skip == whySelf:
		return reason{skip, "plan again with -allow-self, if you mean it", nextPlan}
	}
	return reason{skip, "remove the cause, and plan again", nextPlan}
}

// isGuarded reports whether a change can fail because somebody else has changed its token.
func isGuarded(change fleet.Change) bool {
	if change.Patch == nil {
		return change.Want != nil
	}
	operations, err := operationsOf(change)
	for _, op := range operations {
		if op.Op == "test" {
			return err == nil
		}
	}
	return false
}

// operation is an operation of a patch as JSON.
type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	From  string          `json:"from,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// operationsOf are the operations of a patch.
func operationsOf(change fleet.Change) ([]operation, error) {
	var wire struct{ Patch []operation }
	encoded, err := encodeJSON(change)
	if err != nil {
		return nil, err
	}
	return wire.Patch, json.Unmarshal(encoded, &wire)
}

// command is what to type next; empty if there is nothing.
func (r reason) command(o *options, run string, about about) string {
	switch {
	case r.next == nextRetry && r == undecided:
		return o.next("retry", "-run", run, "-outcome", "unknown") + " && " + o.next("apply", "-run", run)
	case r.next == nextRetry:
		return o.next("retry", "-run", run, "-outcome", "not_applied") + " && " + o.next("apply", "-run", run)
	case r.next == nextPlan && about.Source != "":
		return o.next("plan", "-o", "again.jsonl", about.Source)
	}
	return ""
}
