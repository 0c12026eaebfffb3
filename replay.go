package tokenpatch

import "strings"

// Replay says what sending a request a second time can do, where the first
// time may have been applied.
type Replay int

// The three kinds of request. The zero value is the one that is never repeated.
const (
	// ReplayUnsafe: a second application can change something more. It is
	// not sent again unless it is certain that nothing was applied.
	ReplayUnsafe Replay = iota

	// ReplayGuarded: after the first application the second one fails, and
	// changes nothing. It may be sent again.
	ReplayGuarded

	// ReplayIdempotent: applying it twice equals applying it once, and the
	// second time cannot fail. It may be sent again, which can overwrite what
	// another writer did in between; a guard prevents that.
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

// Replay says what sending the patch a second time can do. A patch is
// idempotent where each operation sets a member of an object, and unsafe
// otherwise: a numeric or "-" last token may be an array's.
func (p *Patch) Replay() Replay {
	if p.Err() != nil {
		return ReplayUnsafe
	}
	for _, o := range p.ops {
		last := string(o.path[strings.LastIndexByte(string(o.path), '/')+1:])
		if o.op != opAdd && o.op != opReplace || last == "-" || strings.Trim(last, "0123456789") == "" {
			return ReplayUnsafe
		}
	}
	return ReplayIdempotent
}
