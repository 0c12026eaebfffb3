package tokenpatch

import "github.com/tokenpatch/tokenpatch/internal/jsonpatch"

// Replay is what sending a request a second time can do if the first one may have
// been applied.
type Replay int

// The three kinds of request. The zero value is the most careful one.
const (
	// ReplayUnsafe: a second application can change something more. The request
	// is sent again only if it is certain that nothing was applied.
	ReplayUnsafe Replay = iota

	// ReplayGuarded: a second application right after the first one fails, or
	// leaves everything as it is. The request may be sent again. If another writer
	// puts the tested value back in between, it is applied again; a test of
	// /lastModified in the patch prevents that.
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

// Replay returns what sending the patch a second time can do. A member is fixed
// once the patch has tested it, written it or removed it as a whole.
//
//   - [ReplayGuarded]: every member is fixed before the patch reads it or changes
//     a part of it, or the patch tests /lastModified, which the service raises with
//     each write.
//   - [ReplayIdempotent]: besides, the patch only adds and replaces whole members,
//     and its tests still hold afterwards: those of members that it does not write,
//     or for the last value that it writes; not of lastModified or lastUsed.
//   - [ReplayUnsafe]: everything else, a patch with a mistake, and one that writes
//     the whole token or a member with an empty name.
func (p *Patch) Replay() Replay {
	if p.Err() != nil {
		return ReplayUnsafe
	}
	switch jsonpatch.Analyze(p.operations(), "lastModified", "lastUsed") {
	case jsonpatch.Idempotent:
		return ReplayIdempotent
	case jsonpatch.Guarded:
		return ReplayGuarded
	}
	return ReplayUnsafe
}
