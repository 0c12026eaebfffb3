package jsonpatch

import (
	"strings"

	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// Replay is what applying a patch a second time can do.
type Replay int

const (
	Unsafe     Replay = iota // it can change something more
	Guarded                  // it fails or changes nothing
	Idempotent               // it succeeds and changes nothing
)

// Analyze follows ops twice through a document of which nothing is known, and
// says what the second time can do: for every document that they can be applied
// to, and whatever its members called volatile are by then.
//
// A patch is [Unsafe] where that is not certain: one that can never be applied,
// one that writes the whole document, one that inserts, appends or removes where
// an array may be, one whose pointers or values servers read differently, and one
// whose following takes too long.
func Analyze(ops []Operation, volatile ...string) Replay {
	x := execution{root: new(symbol), budget: budgetFor(ops)}
	if x.run(ops); x.fails || x.undecided {
		return Unsafe
	}
	for _, name := range volatile {
		x.root = x.with(x.root, name, new(symbol))
	}
	once := x.root.share()
	x.mayFail = false
	x.run(ops)
	switch {
	case x.undecided:
		return Unsafe
	case x.fails: // a patch is applied as a whole or not at all
		return Guarded
	case x.compare(once, x.root) != yes:
		return Unsafe
	case x.mayFail:
		return Guarded
	}
	return Idempotent
}

// An execution applies a patch to a symbolic document: nothing is known of it
// but what must be true for the operations so far to have succeeded.
type execution struct {
	root      *symbol
	budget    int  // steps that are left
	undecided bool // whether nothing can be said any more
	fails     bool // this run certainly fails
	mayFail   bool // this run fails for some of the documents that are left
}

// budgetFor bounds the time to what is linear in the patch, and some hundredths
// of a second: copies of copies grow without bound. Looking at a symbol is a
// step, and so are 16 bytes of a value.
func budgetFor(ops []Operation) int {
	budget := 1 << 16
	for _, op := range ops {
		budget += 16 + len(op.Value)/2
	}
	return budget
}

func (x *execution) run(ops []Operation) {
	for _, op := range ops {
		if x.apply(op); x.fails || x.undecided {
			return
		}
	}
}

func (x *execution) apply(op Operation) {
	if strings.Count(string(op.Path), "/") > rawjson.MaxDepth || strings.Count(string(op.From), "/") > rawjson.MaxDepth {
		x.undecided = true
		return
	}
	value := &symbol{kind: literal, raw: op.Value}
	switch op.Op {
	case OpTest:
		x.test(op.Path, value)
	case OpAdd:
		x.write(OpAdd, op.Path, value)
	case OpReplace:
		// Some servers let it add a member, so that it proves nothing.
		x.mayFail = x.mayFail || x.at(op.Path).proof() < provenPresent
		x.write(OpReplace, op.Path, value)
	case OpRemove:
		x.present(op.Path)
		x.write(OpRemove, op.Path, absentSymbol)
	case OpCopy:
		x.write(OpAdd, op.Path, x.present(op.From).share())
	case OpMove:
		moved := x.present(op.From)
		if op.From != op.Path {
			x.write(OpRemove, op.From, absentSymbol)
			x.write(OpAdd, op.Path, moved)
		}
	}
}

// test takes what is at p to be want from now on, which a success proves. It does
// not for null: there some libraries succeed where there is nothing, against RFC
// 6902 section 4.6.
func (x *execution) test(p Pointer, want *symbol) {
	got, null := x.at(p), want.raw[0] == 'n'
	switch same := x.compare(got, want); {
	case same == yes:
	case same == no && !(null && got == absentSymbol):
		x.fails = true
	default:
		x.mayFail = true
		if got.kind == unknown && !null {
			*got = *want // wherever it was copied to
		}
	}
}

// at returns what is at p.
func (x *execution) at(p Pointer) *symbol {
	v := x.root
	for p != "" && !x.undecided {
		var token string
		token, p = p.Next()
		x.requireToHold(v, token)
		v = x.child(v, token)
	}
	return v
}

// present returns what is at p, where there must be something.
func (x *execution) present(p Pointer) *symbol {
	v := x.at(p)
	x.require(v, provenPresent)
	return v
}

// require notes what v must be for the run to go on.
func (x *execution) require(v *symbol, want proof) {
	switch base := v.unchanged(); {
	case base.proof() >= want:
	case base.kind == unknown:
		x.mayFail = true
		base.proven = want
	default:
		x.fails = true
	}
}

// requireToHold notes that v can have something at token.
func (x *execution) requireToHold(v *symbol, token string) {
	_, isIndex := arrayIndex(token)
	switch {
	case isIndex, token == "-":
		x.require(v, provenContainer)
	case strings.Trim(token, "+-0123456789") == "":
		x.undecided = true // an index to some libraries, a name to RFC 6901 section 4: "-1", "01", ""
	default:
		x.require(v, provenObject)
	}
	x.open(v.unchanged())
}

// write does to the document what op does: add, remove or replace.
func (x *execution) write(op string, p Pointer, v *symbol) {
	if p == "" {
		x.undecided = true
		return
	}
	x.root = x.written(x.root, op, p, v)
}

func (x *execution) written(in *symbol, op string, p Pointer, v *symbol) *symbol {
	token, rest := p.Next()
	if x.requireToHold(in, token); x.fails || x.undecided {
		return in
	}
	if rest != "" {
		op, v = OpReplace, x.written(x.child(in, token), op, rest, v)
	}
	if in.isArray() {
		return x.withElement(in, op, token, v)
	}
	if in.proof() < provenObject && (token == "-" || op != OpReplace) {
		return &symbol{proven: provenContainer} // an array's elements may have moved
	}
	return x.with(in, token, v)
}
