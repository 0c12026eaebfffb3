package tokenpatch

import "fmt"

// InputError is the error for a value that can be seen to be wrong before
// anything is sent: a setting of [Config], an id, a field of a [TokenUpdate].
type InputError struct {
	Field string // what was wrong, as the caller spells it: "Config.V2.BaseURL", "id"
	Value string // the value in question, shortened; empty where it may hold a credential
	Want  string // what would have been right: "a UUID other than the nil UUID"
}

func (e *InputError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("tokenpatch: %s: want %s", e.Field, e.Want)
	}
	return fmt.Sprintf("tokenpatch: %s: %s: want %s", e.Field, e.Value, e.Want)
}

// PatchError is the error of one operation of a [Patch]: it could not be
// built, decoded or applied.
type PatchError struct {
	Index int     // position of the operation in its patch, from 0; -1 where the error is the patch's own
	Op    string  // the operation: "add", "remove", "replace", "move", "copy" or "test"
	Path  Pointer // the location it works on, RFC 6902 section 4
	Err   error   // why
}

func (e *PatchError) Error() string {
	if e.Index < 0 {
		return fmt.Sprintf("tokenpatch: patch: %v", e.Err)
	}
	return fmt.Sprintf("tokenpatch: patch: operation %d: %s %q: %v", e.Index, e.Op, string(e.Path), e.Err)
}

// Unwrap returns the cause.
func (e *PatchError) Unwrap() error { return e.Err }
