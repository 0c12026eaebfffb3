package tokenpatch

import (
	"slices"
	"strings"
)

// Replay says what sending a request a second time can do, where the first
// time may have been applied.
type Replay int

// The three kinds of request. The zero value is the one that is never repeated.
const (
	// ReplayUnsafe: a second application can change something more. It is
	// not sent again unless it is certain that nothing was applied.
	ReplayUnsafe Replay = iota

	// ReplayGuarded: after the first application a second one changes nothing:
	// it fails, or leaves what is there. It may be sent again.
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

// Replay says what sending the patch a second time can do. The answer is for
// the patch as a whole, and holds for every token that it can be applied to.
//
// In doubt a patch is unsafe: one with a mistake, one that can never succeed,
// one that inserts, appends or removes where an array may be, one whose
// pointers or values servers read differently, and one that needs more than
// some hundred thousand steps to be followed.
func (p *Patch) Replay() Replay {
	if p.Err() != nil {
		return ReplayUnsafe
	}
	if p.setsMembers() {
		return ReplayIdempotent
	}
	r := rehearsal{root: new(part), budget: rehearsalBudget}
	if r.run(p.ops); r.fails || r.lost {
		return ReplayUnsafe
	}
	// The service writes these members by itself, at any time.
	once := r.with(r.with(r.root, "lastModified", new(part)), "lastUsed", new(part))
	r.root, r.mayFail = once, false
	r.run(p.ops)
	switch {
	case r.lost:
		return ReplayUnsafe
	case r.fails: // a patch is applied as a whole or not at all
		return ReplayGuarded
	case r.compare(once, r.root) != surely:
		return ReplayUnsafe
	case r.mayFail:
		return ReplayGuarded
	}
	return ReplayIdempotent
}

// setsMembers reports whether p does nothing but set members that any token
// may have: what a rehearsal finds idempotent, and what most patches do.
func (p *Patch) setsMembers() bool {
	for _, op := range p.ops {
		switch op.path {
		case PathName, PathDescription, PathRole, PathCustomRoleIDs, PathInlineRole, PathDefaultAPIVersion:
		default:
			return false
		}
		if op.op != opAdd && op.op != opReplace {
			return false
		}
	}
	return true
}

// cutToken splits off the first reference token of p, unescaped.
func (p Pointer) cutToken() (token string, rest Pointer) {
	token = string(p[1:])
	if end := strings.IndexByte(token, '/'); end >= 0 {
		token, rest = token[:end], p[1+end:]
	}
	if strings.Contains(token, "~") {
		token = pointerUnescaper.Replace(token)
	}
	return token, rest
}

// A rehearsal applies a patch to a document of which nothing is known but what
// must be true for the operations so far to have succeeded.
type rehearsal struct {
	root    *part
	budget  int  // steps that are left
	lost    bool // nothing can be said any more
	fails   bool // this run certainly fails
	mayFail bool // this run fails for some of the documents that are left
}

// rehearsalBudget bounds the time that [Patch.Replay] takes, to some hundredths
// of a second. Looking at a part is a step, and so are 16 bytes of a value.
const rehearsalBudget = 1 << 17

func (r *rehearsal) spend(steps int) {
	r.budget -= steps
	r.lost = r.lost || r.budget < 0
}

func (r *rehearsal) run(ops []operation) {
	for _, op := range ops {
		if r.apply(op); r.fails || r.lost {
			return
		}
	}
}

func (r *rehearsal) apply(op operation) {
	value := &part{kind: partLiteral, raw: op.value}
	switch op.op {
	case opTest:
		r.test(op.path, value)
	case opAdd:
		r.write(opAdd, op.path, value)
	case opReplace:
		// V2 lets it add a member, so that it proves nothing.
		r.mayFail = r.mayFail || r.at(op.path).proof() < provenPresent
		r.write(opReplace, op.path, value)
	case opRemove:
		r.present(op.path)
		r.write(opRemove, op.path, absentPart)
	case opCopy:
		r.write(opAdd, op.path, r.present(op.from))
	case opMove:
		moved := r.present(op.from)
		if op.from != op.path {
			r.write(opRemove, op.from, absentPart)
			r.write(opAdd, op.path, moved)
		}
	}
}

// test learns from a success what is at p, unless that is null: then some
// libraries also succeed where there is nothing, against RFC 6902 section 4.6.
func (r *rehearsal) test(p Pointer, want *part) {
	got, null := r.at(p), isNull(want.raw)
	switch same := r.compare(got, want); {
	case same == surely:
	case same == surelyNot && !(null && got == absentPart):
		r.fails = true
	default:
		r.mayFail = true
		if got.kind == partUnknown && !null {
			*got = *want // wherever it was copied to
		}
	}
}

// at returns what is at p.
func (r *rehearsal) at(p Pointer) *part {
	v := r.root
	for p != "" && !r.lost {
		var token string
		token, p = p.cutToken()
		r.requireToHold(v, token)
		v = r.child(v, token)
	}
	return v
}

// present returns what is at p, where there must be something.
func (r *rehearsal) present(p Pointer) *part {
	v := r.at(p)
	r.require(v, provenPresent)
	return v
}

// require notes what v must be for the run to go on.
func (r *rehearsal) require(v *part, want proof) {
	switch base := v.unchanged(); {
	case base.proof() >= want:
	case base.kind == partUnknown:
		r.mayFail = true
		base.proven = want
	default:
		r.fails = true
	}
}

// requireToHold notes that v can have something at token.
func (r *rehearsal) requireToHold(v *part, token string) {
	_, isIndex := arrayIndex(token)
	switch {
	case isIndex, token == "-":
		r.require(v, provenContainer)
	case strings.Trim(token, "+-0123456789") == "":
		r.lost = true // an index to some libraries, a name to RFC 6901 section 4: "-1", "01", ""
	default:
		r.require(v, provenObject)
	}
}

// write does to the document what op does: add, remove or replace.
func (r *rehearsal) write(op string, p Pointer, v *part) {
	if p == "" {
		r.lost = true // the client does not send it
		return
	}
	r.root = r.written(r.root, op, p, v)
}

func (r *rehearsal) written(in *part, op string, p Pointer, v *part) *part {
	token, rest := p.cutToken()
	if r.requireToHold(in, token); r.fails || r.lost {
		return in
	}
	if rest != "" {
		op, v = opReplace, r.written(r.child(in, token), op, rest, v)
	}
	if list, isList := r.elements(in); isList {
		return r.writtenElement(list, op, token, v)
	}
	if in.proof() < provenObject && (token == "-" || op != opReplace) {
		return &part{proven: provenContainer} // an array's elements may have moved
	}
	return r.with(in, token, v)
}

func (r *rehearsal) writtenElement(list []*part, op, token string, v *part) *part {
	list = slices.Clone(list)
	i, isIndex := arrayIndex(token)
	switch {
	case op == opAdd && token == "-":
		list = append(list, v)
	case op == opAdd && isIndex && i <= len(list):
		list = slices.Insert(list, i, v)
	case !isIndex || i >= len(list):
		r.fails = true
	case op == opRemove:
		list = slices.Delete(list, i, i+1)
	default:
		list[i] = v
	}
	return &part{kind: partArray, list: list}
}
