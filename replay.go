package tokenpatch

import (
	"slices"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
)

// Replay is what sending a request a second time can do, if the first one may have
// been applied.
type Replay int

// The three kinds of request. The zero value is the most careful one.
const (
	// ReplayUnsafe: a second application can change something more. The request
	// is sent again only where it is certain that nothing was applied.
	ReplayUnsafe Replay = iota

	// ReplayGuarded: a second application right after the first one changes
	// nothing: it fails, or leaves everything as it is. The request may be sent
	// again. If another writer puts the tested value back in between, it is applied
	// again. A test of /lastModified in the patch prevents that, where the service
	// changes lastModified with every write.
	ReplayGuarded

	// ReplayIdempotent: applying it twice equals applying it once, and the second
	// time cannot fail. The request may be sent again, which can overwrite what
	// another writer did in between; [Patch.Guard] prevents that.
	ReplayIdempotent
)

// String returns "unsafe", "guarded" or "idempotent".
func (r Replay) String() string {
	switch r {
	case ReplayIdempotent:
		return "idempotent"
	case ReplayGuarded:
		return "guarded"
	default:
		return "unsafe"
	}
}

// Replay returns what sending the patch a second time can do. It is about the patch
// as a whole, and holds for every token to which the patch can be applied.
//
// A patch is [ReplayUnsafe] where nothing better is certain: one with a mistake,
// one that can never succeed, one that inserts, appends or removes where an array
// may be, one whose pointers or values servers read differently, and one that would
// take too long to analyse.
func (p *Patch) Replay() Replay {
	switch {
	case p.Err() != nil:
		return ReplayUnsafe
	case p.setsMembers():
		return ReplayIdempotent
	}
	// The service writes these members by itself, at any time.
	switch jsonpatch.Analyze(p.operations(), "lastModified", "lastUsed") {
	case jsonpatch.Idempotent:
		return ReplayIdempotent
	case jsonpatch.Guarded:
		return ReplayGuarded
	}
	return ReplayUnsafe
}

// setsMembers reports whether p does nothing but set members that any token
// may have: what an analysis finds idempotent, and what most patches do.
func (p *Patch) setsMembers() bool {
	for _, op := range p.operations() {
		if op.Op != jsonpatch.OpAdd && op.Op != jsonpatch.OpReplace || !slices.Contains(settings, Pointer(op.Path)) {
			return false
		}
	}
	return true
}
