package tokenpatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// property is a member of a JSON object that its type has a field for: the name
// and a pointer to the field. Where the type is that of a Field or a list, the
// schema does not require it.
type property struct {
	name  string
	field any
}

func (t *Token) properties() [16]property {
	return [16]property{
		{"_id", &t.ID},
		{"ownerId", &t.OwnerID},
		{"memberId", &t.MemberID},
		{"_member", &t.Member},
		{"name", &t.Name},
		{"description", &t.Description},
		{"creationDate", &t.CreationDate},
		{"lastModified", &t.LastModified},
		{"customRoleIds", &t.CustomRoleIDs},
		{"inlineRole", &t.InlineRole},
		{"role", &t.Role},
		{"token", &t.Token},
		{"serviceToken", &t.ServiceToken},
		{"_links", &t.Links},
		{"defaultApiVersion", &t.DefaultAPIVersion},
		{"lastUsed", &t.LastUsed},
	}
}

func (m *MemberSummary) properties() [6]property {
	return [6]property{
		{"_links", &m.Links},
		{"_id", &m.ID},
		{"firstName", &m.FirstName},
		{"lastName", &m.LastName},
		{"role", &m.Role},
		{"email", &m.Email},
	}
}

func (s *Statement) properties() [5]property {
	return [5]property{
		{"resources", &s.Resources},
		{"notResources", &s.NotResources},
		{"actions", &s.Actions},
		{"notActions", &s.NotActions},
		{"effect", &s.Effect},
	}
}

func (l *Link) properties() [2]property {
	return [2]property{
		{"href", &l.Href},
		{"type", &l.Type},
	}
}

func (u *TokenUpdate) properties() [4]property {
	return [4]property{
		{"name", &u.Name},
		{"organization_role", &u.OrganizationRole},
		{"personal", &u.Personal},
		{"role_id", &u.RoleID},
	}
}

// body returns the JSON of u that V1 is sent.
func (u TokenUpdate) body() []byte {
	properties := u.properties()
	return appendObject(make([]byte, 0, 128), properties[:], Extra{})
}

func isTokenProperty(name string) bool {
	properties := new(Token).properties()
	return find(properties[:], name) >= 0
}

// MarshalJSON encodes t with the properties in its Extra, as [Token] says.
func (t Token) MarshalJSON() ([]byte, error) { return t.encode(), nil }

// MarshalJSON encodes m with the properties in its Extra, as [Token] says.
func (m MemberSummary) MarshalJSON() ([]byte, error) { return appendMemberSummary(nil, m), nil }

// MarshalJSON encodes s with the properties in its Extra, as [Token] says.
func (s Statement) MarshalJSON() ([]byte, error) { return appendStatement(nil, s), nil }

// MarshalJSON encodes l with the properties in its Extra, as [Token] says.
func (l Link) MarshalJSON() ([]byte, error) { return appendLink(nil, l), nil }

func (t Token) encode() []byte {
	properties := t.properties()
	return appendObject(make([]byte, 0, 1024), properties[:], t.Extra)
}

func appendMemberSummary(b []byte, m MemberSummary) []byte {
	properties := m.properties()
	return appendObject(b, properties[:], m.Extra)
}

func appendStatement(b []byte, s Statement) []byte {
	properties := s.properties()
	return appendObject(b, properties[:], s.Extra)
}

func appendLink(b []byte, l Link) []byte {
	properties := l.properties()
	return appendObject(b, properties[:], l.Extra)
}

// appendObject appends the properties in their order, and behind them the
// unknown ones.
func appendObject(b []byte, properties []property, extra Extra) []byte {
	start := len(b)
	for _, p := range properties {
		before := len(b)
		if b = appendProperty(b, p); extra.received != nil {
			b = extra.asReceived(b, before, p.name)
		}
	}
	for _, m := range extra.unknown() {
		b = append(b, ',')
		b = rawjson.AppendString(b, m.name)
		b = append(b, ':')
		b = append(b, m.value...)
	}
	if len(b) == start {
		return append(b, "{}"...)
	}
	b[start] = '{' // in the place of the first comma
	return append(b, '}')
}

// asReceived lets a property that was null or missing be so again, as long as
// its field is zero. Its encoding starts at before.
func (e Extra) asReceived(b []byte, before int, name string) []byte {
	if len(b) > before && !isZero(b[before+len(`,"":`)+len(name):]) {
		return b
	}
	switch {
	case slices.Contains(e.received.null, name):
		return append(appendName(b[:before], name), "null"...)
	case slices.Contains(e.received.missing, name):
		return b[:before]
	}
	return b
}

func isZero(value []byte) bool {
	switch string(value) {
	case `""`, "0", "{}":
		return true
	}
	return false
}

// appendName appends the name of a property of the schema, which needs no escape.
func appendName(b []byte, name string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

// appendProperty appends nothing for what is absent.
func appendProperty(b []byte, p property) []byte {
	switch f := p.field.(type) {
	case *string:
		return appendText(appendName(b, p.name), *f)
	case *Role:
		return appendText(appendName(b, p.name), *f)
	case *Effect:
		return appendText(appendName(b, p.name), *f)
	case *UnixMillis:
		return appendInt(appendName(b, p.name), *f)
	case *map[string]Link:
		return appendLinks(appendName(b, p.name), *f)
	case *[]string:
		return appendOptional(b, p.name, *f)
	case *Field[string]:
		return appendField(b, p.name, f, appendText)
	case *Field[Role]:
		return appendField(b, p.name, f, appendText)
	case *Field[Secret]:
		return appendField(b, p.name, f, appendText)
	case *Field[OrganizationRole]:
		return appendField(b, p.name, f, appendText)
	case *Field[uuid.UUID]:
		return appendField(b, p.name, f, appendUUID)
	case *Field[bool]:
		return appendField(b, p.name, f, strconv.AppendBool)
	case *Field[int]:
		return appendField(b, p.name, f, appendInt)
	case *Field[UnixMillis]:
		return appendField(b, p.name, f, appendInt)
	case *Field[[]string]:
		return appendField(b, p.name, f, appendStrings)
	case *Field[[]Statement]:
		return appendField(b, p.name, f, appendStatements)
	case *Field[MemberSummary]:
		return appendField(b, p.name, f, appendMemberSummary)
	}
	panic("tokenpatch: a property of a type that has no encoding: " + p.name)
}

func appendField[T any](b []byte, name string, f *Field[T], appendTo func([]byte, T) []byte) []byte {
	switch f.state {
	case fieldAbsent:
		return b
	case fieldNull:
		return append(appendName(b, name), "null"...)
	}
	return appendTo(appendName(b, name), f.value)
}

// appendOptional appends a list, which is absent where it is nil.
func appendOptional(b []byte, name string, list []string) []byte {
	if list == nil {
		return b
	}
	return appendStrings(appendName(b, name), list)
}

func appendText[T ~string](b []byte, text T) []byte { return rawjson.AppendString(b, string(text)) }

func appendUUID(b []byte, id uuid.UUID) []byte { return rawjson.AppendString(b, id.String()) }

func appendInt[T ~int | ~int64](b []byte, n T) []byte { return strconv.AppendInt(b, int64(n), 10) }

// appendList appends null for a nil list, as encoding/json does.
func appendList[T any](b []byte, list []T, appendTo func([]byte, T) []byte) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendTo(b, v)
	}
	return append(b, ']')
}

func appendStrings(b []byte, list []string) []byte { return appendList(b, list, rawjson.AppendString) }

func appendStatements(b []byte, list []Statement) []byte {
	return appendList(b, list, appendStatement)
}

func appendLinks(b []byte, links map[string]Link) []byte {
	names := slices.AppendSeq(make([]string, 0, len(links)), maps.Keys(links))
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = rawjson.AppendString(b, name)
		b = append(b, ':')
		b = appendLink(b, links[name])
	}
	return append(b, '}')
}

// UnmarshalJSON replaces t by the Token in data. Names are case-sensitive; of
// two members with the same name the last one counts. Where a property of the
// schema has another type, the error names it, and t stays as it is. JSON null
// changes nothing and is no error.
func (t *Token) UnmarshalJSON(data []byte) error { return unmarshal(data, t, decodeToken) }

// UnmarshalJSON replaces m by what is in data, as [Token.UnmarshalJSON] does.
func (m *MemberSummary) UnmarshalJSON(data []byte) error {
	return unmarshal(data, m, decodeMemberSummary)
}

// UnmarshalJSON replaces s by what is in data, as [Token.UnmarshalJSON] does.
func (s *Statement) UnmarshalJSON(data []byte) error { return unmarshal(data, s, decodeStatement) }

// UnmarshalJSON replaces l by what is in data, as [Token.UnmarshalJSON] does.
func (l *Link) UnmarshalJSON(data []byte) error { return unmarshal(data, l, decodeLink) }

// unmarshal replaces *dst only if all of data is as it should be.
func unmarshal[T any](data []byte, dst *T, decode func(*rawjson.Reader) (T, error)) error {
	r := rawjson.NewReader(data)
	if r.Kind() == 'n' {
		r.Value()
		return r.Finish(nil)
	}
	v, err := decode(r)
	if err != nil {
		err = fmt.Errorf("tokenpatch: decoding %T: %w", v, err)
	}
	if err := r.Finish(err); err != nil {
		return err
	}
	*dst = v
	return nil
}

func decodeToken(r *rawjson.Reader) (t Token, err error) {
	properties := t.properties()
	t.Extra, err = decodeObject(r, properties[:])
	return t, err
}

func decodeMemberSummary(r *rawjson.Reader) (m MemberSummary, err error) {
	properties := m.properties()
	m.Extra, err = decodeObject(r, properties[:])
	return m, err
}

func decodeStatement(r *rawjson.Reader) (s Statement, err error) {
	properties := s.properties()
	s.Extra, err = decodeObject(r, properties[:])
	return s, err
}

func decodeLink(r *rawjson.Reader) (l Link, err error) {
	properties := l.properties()
	l.Extra, err = decodeObject(r, properties[:])
	return l, err
}

// decodeObject decodes every member of an object into its property, and returns
// the others. The error names the member.
func decodeObject(r *rawjson.Reader, properties []property) (extra Extra, err error) {
	if r.Kind() != '{' {
		return extra, r.WrongKind("an object")
	}
	var seen uint32
	for name := range r.Members() {
		i := find(properties, name)
		if i < 0 {
			extra.keep(name, r.Value())
			continue
		}
		seen |= 1 << i
		if err := decodeProperty(r, properties[i], &extra); err != nil {
			return extra, atMember(name, err)
		}
	}
	for i, p := range properties {
		if seen&(1<<i) == 0 && isRequired(p.field) {
			received := extra.ready()
			received.missing = append(received.missing, strings.Clone(p.name))
		}
	}
	extra.dropDuplicates()
	return extra, nil
}

func find(properties []property, name string) int {
	for i := range properties {
		if properties[i].name == name {
			return i
		}
	}
	return -1
}

func atMember(name string, err error) error {
	return fmt.Errorf("%s: %w", oneLine(shorten(name, 64)), err)
}

func isRequired(field any) bool {
	switch field.(type) {
	case *string, *Role, *Effect, *UnixMillis, *map[string]Link:
		return true
	}
	return false
}

func decodeProperty(r *rawjson.Reader, p property, extra *Extra) error {
	switch dst := p.field.(type) {
	case *string:
		return decodePlain(r, p.name, dst, decodeText, extra)
	case *Role:
		return decodePlain(r, p.name, dst, decodeText, extra)
	case *Effect:
		return decodePlain(r, p.name, dst, decodeText, extra)
	case *UnixMillis:
		return decodePlain(r, p.name, dst, decodeInt, extra)
	case *map[string]Link:
		return decodePlain(r, p.name, dst, decodeLinks, extra)
	case *[]string:
		return decodePlain(r, p.name, dst, decodeStrings, extra)
	case *Field[string]:
		return decodeField(r, dst, decodeText)
	case *Field[Role]:
		return decodeField(r, dst, decodeText)
	case *Field[Secret]:
		return decodeField(r, dst, decodeText)
	case *Field[bool]:
		return decodeField(r, dst, decodeBool)
	case *Field[int]:
		return decodeField(r, dst, decodeInt)
	case *Field[UnixMillis]:
		return decodeField(r, dst, decodeInt)
	case *Field[[]string]:
		return decodeField(r, dst, decodeStrings)
	case *Field[[]Statement]:
		return decodeField(r, dst, decodeStatements)
	case *Field[MemberSummary]:
		return decodeField(r, dst, decodeMemberSummary)
	}
	panic("tokenpatch: a property of a type that has no decoding: " + p.name)
}

// decodeField decodes a member that may be null.
func decodeField[T any](r *rawjson.Reader, dst *Field[T], decode func(*rawjson.Reader) (T, error)) error {
	if r.Kind() == 'n' {
		r.Value()
		*dst = Null[T]()
		return nil
	}
	v, err := decode(r)
	*dst = Set(v)
	return err
}

// decodePlain decodes a member that the schema does not let be null. One that
// is null all the same leaves *dst zero, and extra notes it.
func decodePlain[T any](r *rawjson.Reader, name string, dst *T, decode func(*rawjson.Reader) (T, error), extra *Extra) (err error) {
	null := r.Kind() == 'n'
	extra.setNull(name, null)
	if null {
		r.Value()
		*dst = *new(T)
		return nil
	}
	*dst, err = decode(r)
	return err
}

func decodeText[T ~string](r *rawjson.Reader) (T, error) {
	text, err := r.Text()
	return T(text), err
}

func decodeBool(r *rawjson.Reader) (bool, error) {
	if r.Kind() != 't' && r.Kind() != 'f' {
		return false, r.WrongKind("a boolean")
	}
	return r.Value() == "true", nil
}

func decodeInt[T ~int | ~int64](r *rawjson.Reader) (T, error) {
	if c := r.Kind(); c != '-' && (c < '0' || c > '9') {
		return 0, r.WrongKind("an integer")
	}
	n, err := strconv.ParseInt(r.Value(), 10, 64)
	if err != nil || int64(T(n)) != n {
		return 0, errors.New("want an integer within range, without fraction or exponent")
	}
	return T(n), nil
}

// decodeList decodes every element of an array. The result is never nil.
func decodeList[T any](r *rawjson.Reader, decode func(*rawjson.Reader) (T, error)) ([]T, error) {
	if r.Kind() != '[' {
		return nil, r.WrongKind("an array")
	}
	list := []T{}
	for i := range r.Elements() {
		v, err := decode(r)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", i, err)
		}
		list = append(list, v)
	}
	return list, nil
}

func decodeStrings(r *rawjson.Reader) ([]string, error) { return decodeList(r, decodeText[string]) }

func decodeStatements(r *rawjson.Reader) ([]Statement, error) { return decodeList(r, decodeStatement) }

func decodeLinks(r *rawjson.Reader) (map[string]Link, error) {
	if r.Kind() != '{' {
		return nil, r.WrongKind("an object")
	}
	links := map[string]Link{}
	for name := range r.Members() {
		link, err := decodeLink(r)
		if err != nil {
			return nil, atMember(name, err)
		}
		links[name] = link
	}
	return links, nil
}

// Clone returns a copy of t: a change to one of them is not seen in the other.
func (t Token) Clone() Token {
	t.Member.value.Links = maps.Clone(t.Member.value.Links)
	t.Links = maps.Clone(t.Links)
	t.CustomRoleIDs.value = slices.Clone(t.CustomRoleIDs.value)
	t.InlineRole.value = slices.Clone(t.InlineRole.value)
	for i := range t.InlineRole.value {
		s := &t.InlineRole.value[i]
		s.Resources, s.NotResources = slices.Clone(s.Resources), slices.Clone(s.NotResources)
		s.Actions, s.NotActions = slices.Clone(s.Actions), slices.Clone(s.NotActions)
	}
	return t
}

// Extra holds what an object had that the fields of its type cannot hold: the
// properties for which there is no field, and nulls that a field cannot be. fmt
// prints their names only: any of the values may be a secret. The zero Extra is
// empty. Only decoding fills one.
type Extra struct{ received *received }

// received is nil where there is nothing to hold. It is never written once an
// object was decoded, so that copies share it.
type received struct {
	unknown []member // in order, no name twice
	null    []string // properties that were null and whose field cannot say so
	missing []string // required properties that were not there
}

type member struct {
	name  string
	value string // as it was received
}

// Get returns the JSON of a property as it was received, and true; or nil and
// false if there was none. It also has a required property that was null, which
// the property's own field cannot say: token.Extra.Get("ownerId").
func (e Extra) Get(name string) (json.RawMessage, bool) {
	for _, m := range e.unknown() {
		if m.name == name {
			return json.RawMessage(m.value), true
		}
	}
	if e.wasNull(name) {
		return json.RawMessage("null"), true
	}
	return nil, false
}

// Format prints the names of the properties, for every verb.
func (e Extra) Format(f fmt.State, _ rune) {
	names := []string{}
	if e.received != nil {
		names = append(names, e.received.null...)
	}
	for _, m := range e.unknown() {
		names = append(names, m.name)
	}
	_, _ = fmt.Fprintf(f, "%q", names)
}

func (e Extra) unknown() []member {
	if e.received == nil {
		return nil
	}
	return e.received.unknown
}

func (e Extra) wasNull(name string) bool {
	return e.received != nil && slices.Contains(e.received.null, name)
}

func (e *Extra) ready() *received {
	if e.received == nil {
		e.received = new(received)
	}
	return e.received
}

func (e *Extra) keep(name, value string) {
	received := e.ready()
	received.unknown = append(received.unknown, member{name, value})
}

// setNull notes whether the last value of a required property was null.
func (e *Extra) setNull(name string, null bool) {
	switch {
	case null && !e.wasNull(name):
		received := e.ready()
		received.null = append(received.null, strings.Clone(name))
	case !null && e.wasNull(name):
		e.received.null = slices.DeleteFunc(e.received.null, func(n string) bool { return n == name })
	}
}

// dropDuplicates leaves the last of several members with one name, in the place
// of the first.
func (e Extra) dropDuplicates() {
	if len(e.unknown()) < 2 {
		return
	}
	positions := make(map[string]int, len(e.received.unknown))
	kept := e.received.unknown[:0]
	for _, m := range e.received.unknown {
		if i, twice := positions[m.name]; twice {
			kept[i] = m
			continue
		}
		positions[m.name] = len(kept)
		kept = append(kept, m)
	}
	e.received.unknown = kept
}
