package tokenpatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// Patch is a JSON Patch (RFC 6902) for a [Token], built as a strings.Builder
// builds a string: the zero Patch is ready, and methods return their receiver.
//
//	patch := tokenpatch.NewPatch().SetName("deployer").SetRole(tokenpatch.RoleReader)
//
// Values are encoded when they are given, so a later change to the caller's
// slice changes nothing. The first mistake is kept: what follows it is ignored,
// and [Patch.Err] and every use return it.
//
// A finished Patch may be sent any number of times, from any number of
// goroutines. Building and using it at the same time is a data race. Do not copy
// a Patch; use [Patch.Clone].
type Patch struct {
	_ noCopy

	ops     []jsonpatch.Operation // values compact, escaped as encoding/json does
	values  []byte                // what the operations' values are cut from; append to it only
	comment string
	err     *PatchError // the first mistake
}

// noCopy lets go vet find copies of a Patch, which would share what they append
// to, and which encoding/json would write as {}.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// NewPatch returns an empty Patch.
func NewPatch() *Patch { return new(Patch) }

// Add inserts value at path, or replaces the member that is there, RFC 6902
// section 4.1. The path of an array's element inserts before it, "-" at the end.
func (p *Patch) Add(path Pointer, value any) *Patch { return p.withValue(jsonpatch.OpAdd, path, value) }

// Remove removes what is at path, RFC 6902 section 4.2. V2 answers 422 where
// there is nothing.
func (p *Patch) Remove(path Pointer) *Patch {
	return p.with(jsonpatch.Operation{Op: jsonpatch.OpRemove, Path: jsonpatch.Pointer(path)})
}

// Replace puts value in the place of what is at path, RFC 6902 section 4.3. A
// nil value is the JSON null, which is not the same as [Patch.Remove].
func (p *Patch) Replace(path Pointer, value any) *Patch {
	return p.withValue(jsonpatch.OpReplace, path, value)
}

// Move removes what is at from and adds it at path, RFC 6902 section 4.4.
func (p *Patch) Move(from, path Pointer) *Patch {
	return p.with(jsonpatch.Operation{Op: jsonpatch.OpMove, Path: jsonpatch.Pointer(path), From: jsonpatch.Pointer(from)})
}

// Copy adds what is at from at path, RFC 6902 section 4.5.
func (p *Patch) Copy(from, path Pointer) *Patch {
	return p.with(jsonpatch.Operation{Op: jsonpatch.OpCopy, Path: jsonpatch.Pointer(path), From: jsonpatch.Pointer(from)})
}

// Test lets the whole patch fail unless what is at path equals value, RFC 6902
// section 4.6.
func (p *Patch) Test(path Pointer, value any) *Patch {
	return p.withValue(jsonpatch.OpTest, path, value)
}

// SetName replaces the name.
func (p *Patch) SetName(name string) *Patch { return p.withString(jsonpatch.OpReplace, PathName, name) }

// SetDescription replaces the description.
func (p *Patch) SetDescription(text string) *Patch {
	return p.withString(jsonpatch.OpReplace, PathDescription, text)
}

// SetRole replaces the base role. It must not be empty; any other value is
// left to the API, which adds roles over time.
func (p *Patch) SetRole(role Role) *Patch {
	if role == "" {
		return p.fail(jsonpatch.OpReplace, PathRole, errors.New("want a role, got an empty one"))
	}
	return p.withString(jsonpatch.OpReplace, PathRole, string(role))
}

// SetCustomRoleIDs replaces the custom roles. No ids is the empty list; none of
// them may be empty.
func (p *Patch) SetCustomRoleIDs(ids ...string) *Patch {
	if slices.Contains(ids, "") {
		return p.fail(jsonpatch.OpReplace, PathCustomRoleIDs, errEmptyCustomRoleID)
	}
	if ids == nil {
		ids = []string{} // nil would be null
	}
	p = p.ready()
	return p.withEncoded(jsonpatch.OpReplace, PathCustomRoleIDs, appendStrings(p.values, ids))
}

// AddCustomRoleID appends a custom role, which must not be empty. Sent twice
// it appends twice: [Patch.SetCustomRoleIDs] does not.
func (p *Patch) AddCustomRoleID(id string) *Patch {
	const end = PathCustomRoleIDs + "/-"
	if id == "" {
		return p.fail(jsonpatch.OpAdd, end, errEmptyCustomRoleID)
	}
	return p.withString(jsonpatch.OpAdd, end, id)
}

var errEmptyCustomRoleID = errors.New("want custom role ids, got an empty one")

// SetInlineRole replaces the policy. No statements is the empty policy. Each
// must have an effect and keep the rules of [Statement].
func (p *Patch) SetInlineRole(statements ...Statement) *Patch {
	return p.Replace(PathInlineRole, append([]Statement{}, statements...))
}

// SetDefaultAPIVersion replaces the default API version, a date as digits such
// as 20240415. It must be positive.
func (p *Patch) SetDefaultAPIVersion(version int) *Patch {
	if version <= 0 {
		return p.fail(jsonpatch.OpReplace, PathDefaultAPIVersion, errors.New("want a positive API version"))
	}
	return p.Replace(PathDefaultAPIVersion, version)
}

// Comment sends the patch in the form with a comment, which V2 puts into its
// audit log. An empty text goes back to the form without.
func (p *Patch) Comment(text string) *Patch {
	p = p.ready()
	p.comment = text
	return p
}

// Len returns the number of operations.
func (p *Patch) Len() int {
	if p == nil {
		return 0
	}
	return len(p.ops)
}

// Err returns the first mistake as a [*PatchError], or nil. That a patch is
// empty, or that it writes to the whole document, is an error only of sending
// and of [Patch.MarshalJSON]. A nil Patch is a mistake.
func (p *Patch) Err() error {
	switch {
	case p == nil:
		return wholePatchError(errNilPatch)
	case p.err == nil:
		return nil
	}
	return p.err
}

var errNilPatch = errors.New("the Patch is nil")

// Clone returns a Patch that starts as p is now: what is added to one of them
// is not seen by the other. The clone of nil is nil.
func (p *Patch) Clone() *Patch {
	if p == nil {
		return nil
	}
	// What the two share is never written again: without spare capacity the
	// clone's next append moves it elsewhere.
	return &Patch{ops: slices.Clip(p.ops), values: slices.Clip(p.values), comment: p.comment, err: p.err}
}

// String returns a line for every operation, without its line end, such as
//
//	replace /name "deployer"
//
// and last the mistake, if there is one. Long values are shortened. A value is
// shown only where it goes to a property that the schema of [Token] has and that
// is not the token's own value: any other may be a secret.
func (p *Patch) String() string {
	var lines []string
	if p != nil {
		for _, op := range p.ops {
			lines = append(lines, describe(op))
		}
	}
	if err := p.Err(); err != nil {
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, "\n")
}

// LogValue returns what [Patch.String] does.
func (p *Patch) LogValue() slog.Value { return slog.StringValue(p.String()) }

// describe returns the line of [Patch.String] for op.
func describe(op jsonpatch.Operation) string {
	line := op.Op
	if op.HasFrom() {
		line += " " + Pointer(op.From).oneLine()
	}
	line += " " + Pointer(op.Path).oneLine()
	if op.Value != nil {
		line += " " + printableValue(op)
	}
	return line
}

func printableValue(op jsonpatch.Operation) string {
	if _, name := memberOf(op.Path); name == "token" || !isTokenProperty(name) {
		return redacted
	}
	return shorten(string(op.Value), 60)
}

// shorten cuts text at a rune boundary to at most limit bytes and a mark.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + "…"
}

// withValue adds an operation with any value.
func (p *Patch) withValue(op string, path Pointer, value any) *Patch {
	if text, ok := value.(string); ok {
		return p.withString(op, path, text)
	}
	encoded, err := json.Marshal(value)
	if err == nil && !utf8.Valid(encoded) {
		err = errNotUTF8 // a json.RawMessage somewhere in value
	}
	if err != nil {
		return p.fail(op, path, fmt.Errorf("encoding the value: %w", err))
	}
	p = p.ready()
	return p.withEncoded(op, path, append(p.values, encoded...))
}

// withString does what withValue does, without reflection.
func (p *Patch) withString(op string, path Pointer, text string) *Patch {
	p = p.ready()
	return p.withEncoded(op, path, rawjson.AppendString(p.values, text))
}

// withEncoded adds an operation whose value is what values has more than
// p.values.
func (p *Patch) withEncoded(op string, path Pointer, values []byte) *Patch {
	value := slices.Clip(values[len(p.values):])
	p.values = values
	return p.with(jsonpatch.Operation{Op: op, Path: jsonpatch.Pointer(path), Value: value})
}

// with adds op, unless it or something before it is a mistake.
func (p *Patch) with(op jsonpatch.Operation) *Patch {
	p = p.ready()
	err := op.Check()
	if err == nil {
		err = checkTokenRules(op)
	}
	switch {
	case err != nil:
		return p.fail(op.Op, Pointer(op.Path), err)
	case p.err == nil:
		p.ops = append(p.ops, op)
	}
	return p
}

// fail keeps the mistake, if it is the first.
func (p *Patch) fail(op string, path Pointer, err error) *Patch {
	p = p.ready()
	if p.err == nil {
		p.err = &PatchError{Index: len(p.ops), Op: op, Path: path, Err: err}
	}
	return p
}

// ready returns p with room for a small patch, in one allocation. For a nil
// Patch it returns one that has failed.
func (p *Patch) ready() *Patch {
	switch {
	case p == nil:
		return &Patch{err: wholePatchError(errNilPatch)}
	case p.ops == nil:
		room := new(struct {
			ops    [4]jsonpatch.Operation
			values [96]byte
		})
		p.ops, p.values = room.ops[:0], room.values[:0]
	}
	return p
}

// checkTokenRules refuses what V2 lets nobody write to a token.
func checkTokenRules(op jsonpatch.Operation) error {
	switch op.Op {
	case jsonpatch.OpTest:
		return nil // only reads
	case jsonpatch.OpMove:
		if err := checkEditable(op.From); err != nil {
			return fmt.Errorf("from %q: %w", string(op.From), err)
		}
	case jsonpatch.OpAdd, jsonpatch.OpReplace:
		if err := checkInlineRole(op.Path, op.Value); err != nil {
			return err
		}
	}
	return checkEditable(op.Path)
}

var errNotEditable = errors.New("not editable: it holds a name that begins with an underscore")

// checkEditable refuses what is at or under a member that begins with an
// underscore. A slash inside a reference token is escaped, so that each one in
// path starts a token.
func checkEditable(path jsonpatch.Pointer) error {
	if strings.Contains(string(path), "/_") {
		return errNotEditable
	}
	return nil
}

// checkInlineRole checks the statements that value writes to the inline role.
// A value that is none is left to the API, whose schema may grow.
func checkInlineRole(path jsonpatch.Pointer, value json.RawMessage) error {
	token, inside := strings.CutPrefix(string(path), string(PathInlineRole))
	switch {
	case !inside:
		return nil
	case token == "" && value[0] == '[':
		return checkStatements(value)
	case token != "" && token[0] == '/' && jsonpatch.IsElement(token[1:]):
		return checkStatement(value)
	}
	return nil
}

func checkStatements(list json.RawMessage) error {
	i := 0
	for element := range rawjson.Elements(list) {
		if err := checkStatement(element); err != nil {
			return fmt.Errorf("statement %d: %w", i, err)
		}
		i++
	}
	return nil
}

// checkStatement follows the descriptions in the schema Statement of V2.
func checkStatement(value json.RawMessage) error {
	s, err := decodeStatement(value)
	switch {
	case err != nil:
		return nil // not a statement as this package knows it
	case s.Effect != EffectAllow && s.Effect != EffectDeny:
		return fmt.Errorf("effect: want %q or %q", EffectAllow, EffectDeny)
	case len(s.NotResources) > 0 && len(s.Resources)+len(s.NotActions) > 0:
		return errors.New("notResources: want resources and notActions to be empty")
	case len(s.NotActions) > 0 && len(s.Actions)+len(s.NotResources) > 0:
		return errors.New("notActions: want actions and notResources to be empty")
	}
	return nil
}

// MarshalJSON returns the body that is sent: an array of operations or, with a
// comment, an object. It returns a [*PatchError] for a patch that cannot be
// sent: see [Patch.Err].
func (p *Patch) MarshalJSON() ([]byte, error) { return p.encode() }

// encode returns the body of V2's PatchToken, whose schema is JSONPatch.
func (p *Patch) encode() ([]byte, error) {
	if err := p.checkSend(); err != nil {
		return nil, err
	}
	b := make([]byte, 0, p.encodedLen())
	if p.comment == "" {
		return p.appendOperations(b), nil
	}
	b = append(b, `{"comment":`...)
	b = rawjson.AppendString(b, p.comment)
	b = append(b, `,"patch":`...)
	b = p.appendOperations(b)
	return append(b, '}'), nil
}

// checkSend returns why p cannot be sent. Replacing the whole document would
// be right for RFC 6902, but a token has members that nobody can write.
func (p *Patch) checkSend() error {
	if err := p.Err(); err != nil {
		return err
	}
	if len(p.ops) == 0 {
		return wholePatchError(errors.New("no operations: there is nothing to send"))
	}
	for i, op := range p.ops {
		if op.Op != jsonpatch.OpTest && op.Path == "" || op.Op == jsonpatch.OpMove && op.From == "" {
			return operationError(i, op, errors.New("the whole token cannot be written"))
		}
	}
	return nil
}

// encodedLen returns the length of the body, or somewhat less if it has to be
// escaped.
func (p *Patch) encodedLen() int {
	n := len(`{"comment":"","patch":[]}`) + len(p.comment)
	for _, op := range p.ops {
		n += len(`{"op":"","from":"","path":"","value":},`) + len(op.Op) + len(op.From) + len(op.Path) + len(op.Value)
	}
	return n
}

func (p *Patch) appendOperations(b []byte) []byte {
	b = append(b, '[')
	for i, op := range p.ops {
		if i > 0 {
			b = append(b, ',')
		}
		b = op.Append(b)
	}
	return append(b, ']')
}

// UnmarshalJSON replaces p by the patch in data, which is an array of
// operations or an object of a patch and, if wanted, a comment. It makes the
// checks that building a patch makes, and returns a [*PatchError] and leaves p
// as it is if one fails.
//
// Members of an operation that RFC 6902 does not define for it are ignored, as
// its section 4 says. A second op, path, from or value is an error: RFC 8259
// section 4 does not say which would count. So are other members beside patch
// and comment, and null for a patch.
func (p *Patch) UnmarshalJSON(data []byte) error {
	if p == nil {
		return wholePatchError(errNilPatch)
	}
	next, err := decodePatch(data)
	if err != nil {
		return err
	}
	p.ops, p.values, p.comment, p.err = next.ops, next.values, next.comment, nil
	return nil
}

func decodePatch(data []byte) (*Patch, error) {
	value, err := rawjson.Check(data)
	switch {
	case err != nil:
		return nil, wholePatchError(err)
	case !utf8.Valid(value):
		return nil, wholePatchError(errNotUTF8)
	case value[0] == '{':
		return decodeCommented(value)
	}
	return decodeOperations(value)
}

func decodeCommented(object json.RawMessage) (*Patch, error) {
	var comment, patch json.RawMessage
	for quoted, value := range rawjson.Members(object) {
		member := &comment
		switch name := string(rawjson.Unquote(quoted)); name {
		case "comment":
		case "patch":
			member = &patch
		default:
			return nil, wholePatchError(fmt.Errorf("unknown member %q: want patch and comment", name))
		}
		if *member != nil {
			return nil, wholePatchError(fmt.Errorf("two members %q, and RFC 8259 section 4 does not say which counts", rawjson.Unquote(quoted)))
		}
		*member = value
	}
	if patch == nil {
		return nil, wholePatchError(errors.New(`no member "patch"`))
	}
	p, err := decodeOperations(patch)
	if err != nil || comment == nil {
		return p, err
	}
	if p.comment, err = rawjson.Text(comment); err != nil {
		return nil, wholePatchError(fmt.Errorf("comment: %w", err))
	}
	return p, nil
}

func decodeOperations(array json.RawMessage) (*Patch, error) {
	if array[0] != '[' {
		return nil, wholePatchError(rawjson.WrongKind("an array of operations", array))
	}
	p := NewPatch().ready()
	for element := range rawjson.Elements(array) {
		switch op, err := jsonpatch.Decode(element); {
		case err != nil:
			p.fail(op.Op, Pointer(op.Path), err)
		case op.Value != nil:
			p.withValue(op.Op, Pointer(op.Path), op.Value)
		default:
			p.with(op)
		}
		if p.err != nil {
			return nil, p.err
		}
	}
	return p, nil
}

var errNotUTF8 = errors.New("not UTF-8, which RFC 8259 section 8.1 requires")

// wholePatchError is for what is wrong with a patch and not with one operation.
func wholePatchError(err error) *PatchError { return &PatchError{Index: -1, Err: err} }

func operationError(i int, op jsonpatch.Operation, err error) *PatchError {
	return &PatchError{Index: i, Op: op.Op, Path: Pointer(op.Path), Err: err}
}
