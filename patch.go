package tokenpatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
	"github.com/tokenpatch/tokenpatch/internal/rawjson"
	"github.com/tokenpatch/tokenpatch/internal/shorten"
)

// Patch is a JSON Patch (RFC 6902) for a [Token], built as a strings.Builder
// builds a string: the zero Patch is ready, and methods return their receiver.
//
//	patch := tokenpatch.NewPatch().SetName("deployer").SetRole(tokenpatch.RoleReader)
//
// A value is encoded when it is passed to a method: a later change to it does not
// change the patch. The first mistake is kept, and [Patch.Err] and every use of the
// patch return it.
//
// A finished Patch may be sent any number of times, from any number of
// goroutines. Building and using it at the same time is a data race. Do not copy
// a Patch; use [Patch.Clone].
type Patch struct {
	_ noCopy

	content *patchContent // nil for an empty Patch
}

// patchContent is behind a pointer because values may be secrets. fmt calls no method on a Patch in
// an unexported field, and prints the pointer as an address.
type patchContent struct {
	operations []jsonpatch.Operation // values compact, escaped as encoding/json does
	values     []byte                // what the operations' values are cut from; append to it only
	comment    string
	mistake    *PatchError // the first refused by RFC 6902 or a setter; nothing is added after it
	forbidden  *PatchError // the first operation that V2 refuses for every token
}

// noCopy lets go vet find copies of a Patch, which would share what they append
// to, and which encoding/json would write as {}.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// NewPatch returns an empty Patch.
func NewPatch() *Patch { return new(Patch) }

// Add sets a member of an object, or inserts an element into an array: before the one at path, or
// at the end if path ends in "-". RFC 6902 section 4.1.
func (p *Patch) Add(path Pointer, value any) *Patch { return p.withValue(jsonpatch.OpAdd, path, value) }

// Remove removes the value at path, RFC 6902 section 4.2. If there is none, V2 responds with 422.
func (p *Patch) Remove(path Pointer) *Patch {
	return p.with(jsonpatch.Operation{Op: jsonpatch.OpRemove, Path: jsonpatch.Pointer(path)})
}

// Replace replaces the value at path, RFC 6902 section 4.3. A nil value is the
// JSON null, which is not the same as [Patch.Remove].
func (p *Patch) Replace(path Pointer, value any) *Patch {
	return p.withValue(jsonpatch.OpReplace, path, value)
}

// Move removes the value at from and adds it at path, RFC 6902 section 4.4.
func (p *Patch) Move(from, path Pointer) *Patch {
	return p.with(jsonpatch.Operation{Op: jsonpatch.OpMove, Path: jsonpatch.Pointer(path), From: jsonpatch.Pointer(from)})
}

// Copy copies the value at from and adds it at path, RFC 6902 section 4.5. The token's own value,
// and the whole token, cannot be copied: the value would be shown in its new place.
func (p *Patch) Copy(from, path Pointer) *Patch {
	return p.with(jsonpatch.Operation{Op: jsonpatch.OpCopy, Path: jsonpatch.Pointer(path), From: jsonpatch.Pointer(from)})
}

// Test makes the whole patch fail unless the value at path equals value, RFC 6902
// section 4.6.
func (p *Patch) Test(path Pointer, value any) *Patch {
	return p.withValue(jsonpatch.OpTest, path, value)
}

// SetName replaces the name.
func (p *Patch) SetName(name string) *Patch { return p.setString(PathName, name) }

// SetDescription replaces the description.
func (p *Patch) SetDescription(text string) *Patch { return p.setString(PathDescription, text) }

// SetRole replaces the base role. It must not be empty; any other value is
// left to the API, which adds roles over time. The custom roles and the inline role
// stay as they are: [Token.UseRole] removes them.
func (p *Patch) SetRole(role Role) *Patch {
	if role == "" {
		return p.fail(jsonpatch.OpReplace, PathRole, errors.New("want a role, got an empty one"))
	}
	return p.setString(PathRole, string(role))
}

// SetCustomRoleIDs replaces the custom roles. Without ids it sets the empty list.
// No id may be empty. The base role and the inline role stay as they are:
// [Token.UseCustomRoles] removes them.
func (p *Patch) SetCustomRoleIDs(ids ...string) *Patch {
	if slices.Contains(ids, "") {
		return p.fail(jsonpatch.OpReplace, PathCustomRoleIDs, errEmptyCustomRoleID)
	}
	p = p.ready()
	list := append(p.content.values, '[')
	for i, id := range ids {
		if i > 0 {
			list = append(list, ',')
		}
		list = rawjson.AppendString(list, id)
	}
	return p.set(jsonpatch.OpReplace, PathCustomRoleIDs, append(list, ']'))
}

// AddCustomRoleID appends a custom role, which must not be empty. If it is applied
// twice, it appends twice; [Patch.SetCustomRoleIDs] does not.
func (p *Patch) AddCustomRoleID(id string) *Patch {
	const end = PathCustomRoleIDs + "/-"
	if id == "" {
		return p.fail(jsonpatch.OpAdd, end, errEmptyCustomRoleID)
	}
	p = p.ready()
	return p.set(jsonpatch.OpAdd, end, rawjson.AppendString(p.content.values, id))
}

var errEmptyCustomRoleID = errors.New("want custom role ids, got an empty one")

// SetInlineRole replaces the policy. Without statements it sets the empty policy.
// Each statement must have an effect and keep the rules of [Statement]. The base role
// and the custom roles stay as they are: [Token.UseInlineRole] removes them.
func (p *Patch) SetInlineRole(statements ...Statement) *Patch {
	return p.Replace(PathInlineRole, json.RawMessage(statementsCodec.Append(nil, &statements)))
}

// SetDefaultAPIVersion replaces the default API version, a date as digits such
// as 20240415. It must be positive.
func (p *Patch) SetDefaultAPIVersion(version int) *Patch {
	if version <= 0 {
		return p.fail(jsonpatch.OpReplace, PathDefaultAPIVersion, errors.New("want a positive API version"))
	}
	p = p.ready()
	return p.set(jsonpatch.OpReplace, PathDefaultAPIVersion, strconv.AppendInt(p.content.values, int64(version), 10))
}

// Comment sets the comment for V2's audit log. The empty text removes it.
func (p *Patch) Comment(text string) *Patch {
	p = p.ready()
	p.content.comment = text
	return p
}

// Operation is one operation of a [Patch], as it is sent: RFC 6902 section 4.
type Operation struct {
	Op    string          // "add", "remove", "replace", "move", "copy" or "test"
	Path  Pointer         // RFC 6901
	From  Pointer         // of move and copy, else empty
	Value json.RawMessage // of add, replace and test, else nil
}

// Operations returns a copy of the operations, so a program can check a patch against a policy. It
// is nil for an empty patch.
func (p *Patch) Operations() []Operation {
	var all []Operation
	for _, op := range p.operations() {
		all = append(all, Operation{op.Op, Pointer(op.Path), Pointer(op.From), slices.Clone(op.Value)})
	}
	return all
}

// CommentText returns the comment; empty if there is none.
func (p *Patch) CommentText() string {
	if p == nil || p.content == nil {
		return ""
	}
	return p.content.comment
}

// Len returns the number of operations.
func (p *Patch) Len() int { return len(p.operations()) }

// Err returns the first mistake as a [*PatchError], or nil. A mistake is an operation that RFC
// 6902, a setter or V2 refuses, such as a write to /_id or /lastModified, or a copy of the token's
// value. A nil Patch is a mistake too. An empty patch, or one that writes the whole document, is an
// error only of sending it and of [Patch.MarshalJSON].
func (p *Patch) Err() error {
	if p == nil || p.content == nil || p.content.forbidden == nil {
		return p.documentErr()
	}
	return p.content.forbidden // it is the first: nothing is added after a mistake
}

// documentErr is Err for any JSON document.
func (p *Patch) documentErr() error {
	switch {
	case p == nil:
		return wholePatchError(errNilPatch)
	case p.content == nil || p.content.mistake == nil:
		return nil
	}
	return p.content.mistake
}

var errNilPatch = errors.New("the Patch is nil")

// Clone returns a copy of p. Later additions to one of the two do not change the other. The clone
// of nil is nil.
func (p *Patch) Clone() *Patch {
	switch {
	case p == nil:
		return nil
	case p.content == nil:
		return new(Patch)
	}
	// What the two share is never written again: without spare capacity the
	// clone's next append moves it elsewhere.
	clone := *p.content
	clone.operations, clone.values = slices.Clip(clone.operations), slices.Clip(clone.values)
	return &Patch{content: &clone}
}

// operations returns what p does, also for a nil or empty Patch.
func (p *Patch) operations() []jsonpatch.Operation {
	if p == nil || p.content == nil {
		return nil
	}
	return p.content.operations
}

// String returns one line for each operation, such as
//
//	replace /name "deployer"
//
// and then the comment and the mistake, if there is one; the last line has no line end. Long values
// are shortened. A value is shown only if its path is in a property of the schema
// of [Token] other than the token's own value: any other value may be a secret.
func (p *Patch) String() string {
	var lines []string
	for _, op := range p.operations() {
		lines = append(lines, describe(op))
	}
	if comment := p.CommentText(); comment != "" {
		lines = append(lines, "comment "+strconv.Quote(shorten.Text(comment, 256)))
	}
	if err := p.Err(); err != nil {
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, "\n")
}

// Format prints what [Patch.String] returns, for every verb.
func (p *Patch) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

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
	if _, name := memberOf(op.Path); name == "token" || !rawjson.Has(tokenProperties, name) {
		return redacted
	}
	return shorten.Text(string(op.Value), 60)
}

// withValue adds an operation with any value.
func (p *Patch) withValue(op string, path Pointer, value any) *Patch {
	p = p.ready()
	values, err := appendValueOf(p.content.values, value)
	if err != nil {
		return p.fail(op, path, fmt.Errorf("encoding the value: %w", err))
	}
	return p.with(jsonpatch.Operation{Op: op, Path: jsonpatch.Pointer(path), Value: p.keep(values)})
}

// appendValueOf appends the JSON of any value: a string without reflection, a Secret in clear text.
func appendValueOf(b []byte, value any) ([]byte, error) {
	switch text := value.(type) {
	case string:
		return rawjson.AppendString(b, text), nil
	case Secret:
		return rawjson.AppendString(b, string(text)), nil
	}
	encoded, err := json.Marshal(value)
	if err == nil && !utf8.Valid(encoded) {
		err = errNotUTF8 // a json.RawMessage somewhere in value
	}
	return append(b, encoded...), err
}

// with adds op, unless it or something before it is a mistake.
func (p *Patch) with(op jsonpatch.Operation) *Patch {
	p = p.ready()
	if err := op.Check(); err != nil {
		return p.fail(op.Op, Pointer(op.Path), err)
	}
	if p.content.forbidden == nil && p.content.mistake == nil {
		if err := checkTokenRules(op); err != nil {
			p.content.forbidden = operationError(p.Len(), op, err)
		}
	}
	return p.add(op)
}

// setString adds what sets the member at path, which needs no check.
func (p *Patch) setString(path Pointer, text string) *Patch {
	p = p.ready()
	return p.set(jsonpatch.OpReplace, path, rawjson.AppendString(p.content.values, text))
}

// set adds an operation without checking it. values are the content's, with the operation's value
// appended.
func (p *Patch) set(op string, path Pointer, values []byte) *Patch {
	return p.add(jsonpatch.Operation{Op: op, Path: jsonpatch.Pointer(path), Value: p.keep(values)})
}

// keep stores values, which are the content's with one value appended, and returns the new value.
func (p *Patch) keep(values []byte) json.RawMessage {
	value := slices.Clip(values[len(p.content.values):])
	p.content.values = values
	return value
}

// add adds op, unless something before it is a mistake.
func (p *Patch) add(op jsonpatch.Operation) *Patch {
	if p.content.mistake == nil {
		p.content.operations = append(p.content.operations, op)
	}
	return p
}

// fail keeps the mistake, if it is the first.
func (p *Patch) fail(op string, path Pointer, err error) *Patch {
	p = p.ready()
	if p.content.mistake == nil {
		p.content.mistake = &PatchError{Index: p.Len(), Op: op, Path: path, Err: err}
	}
	return p
}

// ready returns p with room for a small patch, in one allocation. For a nil Patch it returns a
// failed one.
func (p *Patch) ready() *Patch {
	if p == nil {
		return &Patch{content: &patchContent{mistake: wholePatchError(errNilPatch)}}
	}
	if p.content == nil {
		room := new(struct {
			content    patchContent
			operations [3]jsonpatch.Operation
			values     [64]byte
		})
		p.content = &room.content
		p.content.operations, p.content.values = room.operations[:0], room.values[:0]
	}
	return p
}

// checkTokenRules refuses what V2 allows on no token, and what would show the token's value.
func checkTokenRules(op jsonpatch.Operation) error {
	switch op.Op {
	case jsonpatch.OpTest:
		return nil // only reads
	case jsonpatch.OpMove:
		if err := checkEditable(op.From); err != nil {
			return fmt.Errorf("from %q: %w", string(op.From), err)
		}
	case jsonpatch.OpCopy:
		if _, name := memberOf(op.From); op.From == "" || name == "token" {
			return fmt.Errorf("from %q: %w", string(op.From), errCopiesSecret)
		}
	case jsonpatch.OpAdd, jsonpatch.OpReplace:
		if err := checkInlineRole(op.Path, op.Value); err != nil {
			return err
		}
	}
	return checkEditable(op.Path)
}

var (
	errNotEditable  = errors.New("not editable: a name in the path begins with an underscore")
	errReadOnly     = errors.New("not editable: no client writes this member")
	errCopiesSecret = errors.New("not copied: it has the token's value, which would be shown where it is copied to")
	errNoName       = errors.New("not editable: a token has no member with an empty name")
)

// checkEditable refuses read-only members: those below a name with an underscore, those of the
// schema other than settings, and those with an empty name, which some servers take for the whole
// token. A slash inside a reference token is escaped, so each slash in path starts a token.
func checkEditable(path jsonpatch.Pointer) error {
	member, name := memberOf(path)
	switch {
	case strings.Contains(string(path), "/_"):
		return errNotEditable
	case rawjson.Has(tokenProperties, name) && !slices.Contains(settings, member):
		return errReadOnly
	case strings.HasPrefix(string(path)+"/", "//"):
		return errNoName
	}
	return nil
}

// checkInlineRole checks the statements that value writes to the inline role. Values that are not
// statements are left for the API to validate.
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
	s, err := statementCodec.Decode(value)
	switch {
	case err != nil:
		return nil //nolint:nilerr // not a statement as this package knows it
	case s.Effect != EffectAllow && s.Effect != EffectDeny:
		return fmt.Errorf("effect: want %q or %q", EffectAllow, EffectDeny)
	case len(s.NotResources) > 0 && len(s.Resources)+len(s.NotActions) > 0:
		return errors.New("notResources: want resources and notActions to be empty")
	case len(s.NotActions) > 0 && len(s.Actions)+len(s.NotResources) > 0:
		return errors.New("notActions: want actions and notResources to be empty")
	}
	return nil
}

var errNotUTF8 = errors.New("not UTF-8, which RFC 8259 section 8.1 requires")

// wholePatchError is for what is wrong with a patch and not with one operation.
func wholePatchError(err error) *PatchError { return &PatchError{Index: -1, Err: err} }

func operationError(i int, op jsonpatch.Operation, err error) *PatchError {
	return &PatchError{Index: i, Op: op.Op, Path: Pointer(op.Path), Err: err}
}

// MarshalJSON returns the request's body: an array of operations, or with a comment the object
// {"comment": ..., "patch": [...]}. A patch that cannot be sent is a [*PatchError]: see
// [Patch.Err].
func (p *Patch) MarshalJSON() ([]byte, error) { return p.encode() }

// encode returns the body of V2's PatchToken, whose schema is JSONPatch.
func (p *Patch) encode() ([]byte, error) {
	if err := p.checkSend(); err != nil {
		return nil, err
	}
	b := make([]byte, 0, p.encodedLen())
	if p.content.comment == "" {
		return p.appendOperations(b), nil
	}
	b = append(b, `{"comment":`...)
	b = rawjson.AppendString(b, p.content.comment)
	b = append(b, `,"patch":`...)
	b = p.appendOperations(b)
	return append(b, '}'), nil
}

// checkSend returns why p cannot be sent. RFC 6902 could replace the whole document, but nobody can
// write some members of a token.
func (p *Patch) checkSend() error {
	if err := p.Err(); err != nil {
		return err
	}
	if p.Len() == 0 {
		return wholePatchError(errors.New("no operations: there is nothing to send"))
	}
	for i, op := range p.operations() {
		if op.Op != jsonpatch.OpTest && op.Path == "" || op.Op == jsonpatch.OpMove && op.From == "" {
			return operationError(i, op, errors.New("the whole token cannot be written"))
		}
	}
	return nil
}

// encodedLen returns the length of the body, or somewhat less if it has to be
// escaped.
func (p *Patch) encodedLen() int {
	n := len(`[]`)
	if p.content.comment != "" {
		n += len(`{"comment":"","patch":}`) + len(p.content.comment)
	}
	for _, op := range p.operations() {
		n += len(`{"op":"","path":"","value":},`) + len(op.Op) + len(op.Path) + len(op.Value)
		if op.HasFrom() {
			n += len(`,"from":""`) + len(op.From)
		}
	}
	return n
}

func (p *Patch) appendOperations(b []byte) []byte {
	b = append(b, '[')
	for i, op := range p.operations() {
		if i > 0 {
			b = append(b, ',')
		}
		b = op.Append(b)
	}
	return append(b, ']')
}

// UnmarshalJSON replaces p by the patch in data: an array of operations, or an object with the
// member patch and optionally comment. If RFC 6902 refuses data, it returns a [*PatchError] and
// leaves p unchanged. An operation that V2 refuses for every token is decoded; [Patch.Err] then
// returns the mistake.
//
// Unknown members of an operation are ignored, RFC 6902 section 4. A second op, path, from or value
// is an error, because RFC 8259 section 4 does not define which one counts. So are unknown members
// beside patch and comment, and null instead of a patch.
func (p *Patch) UnmarshalJSON(data []byte) error {
	if p == nil {
		return wholePatchError(errNilPatch)
	}
	next, err := decodePatch(data)
	if err != nil {
		return err
	}
	p.content = next.content
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
	if p.content.comment, err = rawjson.Text(comment); err != nil {
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
		if p.content.mistake != nil {
			return nil, p.content.mistake
		}
	}
	return p, nil
}

// A Pointer names one value inside a JSON document: a JSON Pointer in its string form, RFC 6901
// section 5. The empty Pointer names the whole document, "/name" its member name,
// "/customRoleIds/0" the first element of an array, and "/customRoleIds/-" the position behind its
// last element.
type Pointer string

// The settings of a V2 [Token]: the members that clients change.
const (
	PathName              Pointer = "/name"
	PathDescription       Pointer = "/description"
	PathRole              Pointer = "/role"
	PathCustomRoleIDs     Pointer = "/customRoleIds"
	PathInlineRole        Pointer = "/inlineRole"
	PathDefaultAPIVersion Pointer = "/defaultApiVersion"
)

// settings are all of them.
var settings = []Pointer{PathName, PathDescription, PathRole, PathCustomRoleIDs, PathInlineRole, PathDefaultAPIVersion}

// NewPointer returns the Pointer with these reference tokens, escaped as RFC 6901
// section 3 requires: NewPointer("a/b", "0") is "/a~1b/0". Without tokens it is the
// whole document; an empty token is a member whose name is empty.
func NewPointer(tokens ...string) Pointer { return Pointer("").Append(tokens...) }

// Append returns p extended by tokens, escaped as [NewPointer] does. It does
// not check p.
func (p Pointer) Append(tokens ...string) Pointer {
	return Pointer(jsonpatch.Pointer(p).Append(tokens...))
}

// Tokens returns the reference tokens of p, unescaped: nil for the whole document. The error names
// the broken rule of RFC 6901 section 3: p does not start with a slash, a "~" is not followed by 0
// or 1, or p is not UTF-8.
func (p Pointer) Tokens() ([]string, error) { return jsonpatch.Pointer(p).Tokens() }

// oneLine returns p with control characters and quotes escaped.
func (p Pointer) oneLine() string {
	quoted := strconv.Quote(string(p))
	return quoted[1 : len(quoted)-1]
}

// memberOf returns the pointer to the token's member at or above p, and its name. Both are empty if
// p is the whole token.
func memberOf(p jsonpatch.Pointer) (member Pointer, name string) {
	if p == "" {
		return "", ""
	}
	name, rest := p.Next()
	return Pointer(p[:len(p)-len(rest)]), name
}

// Replay is what sending a request a second time can do if the first one may have
// been applied.
type Replay int

// The three kinds of request. The zero value is the most careful one.
const (
	// ReplayUnsafe: a second application can change something more. The request is sent again only
	// if nothing can have been applied.
	ReplayUnsafe Replay = iota

	// ReplayGuarded: a second application right after the first one fails, or changes nothing. The
	// request may be sent again. If another writer puts the tested value back in between, it is
	// applied again; a test of /lastModified in the patch prevents this.
	ReplayGuarded

	// ReplayIdempotent: applying it twice equals applying it once, and the second time cannot fail.
	// The request may be sent again, which can overwrite a change of another writer in between;
	// [Patch.Guard] prevents this.
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

// Replay returns what a second application of the patch can do. A member is fixed once the patch
// has tested, written or removed it as a whole.
//
//   - [ReplayGuarded]: every member is fixed before the patch reads it or changes a part of it, or
//     the patch tests /lastModified.
//   - [ReplayIdempotent]: besides, the patch only adds and replaces whole members, and its tests
//     still hold afterwards: tests of other members than it writes, or of the last value it writes,
//     but not of lastModified or lastUsed.
//   - [ReplayUnsafe]: everything else, including a patch with a mistake, and one that writes the
//     whole token or a member with an empty name.
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
