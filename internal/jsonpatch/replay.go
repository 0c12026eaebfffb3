package jsonpatch

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Replay is what applying a patch a second time can do.
type Replay int

// From the worst to the best.
const (
	Unsafe     Replay = iota // it can change something more
	Guarded                  // it fails or changes nothing
	Idempotent               // it succeeds and changes nothing
)

// Analyze returns what a second application of ops to an object can do, right after a successful
// first one. The service raises the member called version with each write, and may write those
// called volatile at any time.
//
// A member is fixed once ops have tested, written or removed it as a whole. If each member is fixed
// before ops read it or change a part of it, the patch is guarded: unless the second application
// fails, each fixed member has the same value at each step as the first time, and so at the end. A
// patch that tests the version is guarded too: it fails the second time. Analyze may return
// [Unsafe] too often, never too rarely.
func Analyze(ops []Operation, version string, volatile ...string) Replay {
	fixed := make(map[string]bool)
	open, tested := false, false
	for _, op := range ops {
		name, whole := op.Path.member()
		switch from, _ := op.From.member(); {
		case op.Op == OpTest && whole && name != "":
			tested = tested || name == version && !fixed[name]
			fixed[name] = true
		case op.Op == OpTest: // of a part: it fails or changes nothing
		case name == "": // the whole object, or a name some libraries take for it
			return Unsafe
		default:
			open = open || op.HasFrom() && !fixed[from] || !whole && !fixed[name]
			fixed[name], fixed[from] = true, fixed[from] || op.Op == OpMove
		}
	}
	switch {
	case open && !tested:
		return Unsafe
	case !tested && isIdempotent(ops, version, volatile):
		return Idempotent
	}
	return Guarded
}

// isIdempotent reports whether ops only set whole members and test what still
// holds afterwards.
func isIdempotent(ops []Operation, version string, volatile []string) bool {
	written := make(map[string]json.RawMessage)
	for _, op := range ops {
		name, whole := op.Path.member()
		if op.Op == OpTest {
			continue
		}
		if !whole || op.Op != OpAdd && op.Op != OpReplace {
			return false
		}
		written[name] = op.Value
	}
	return !slices.ContainsFunc(ops, func(op Operation) bool {
		name, whole := op.Path.member()
		value, changes := written[name]
		holds := !changes || whole && bytes.Equal(op.Value, value)
		return op.Op == OpTest && (name == "" || name == version || slices.Contains(volatile, name) || !holds)
	})
}

// member returns the name of the member at or inside which p is, and whether p is
// the member as a whole. The name is empty for the whole object too.
func (p Pointer) member() (name string, whole bool) {
	if p == "" {
		return "", false
	}
	name, rest := p.Next()
	return name, rest == ""
}
