package tokenpatch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// property is a member of a JSON object that its type has a field for: the name
// and a pointer to the field. One that is no Field and no list is required.
type property struct {
	name  string
	field any
}

const maxProperties = 16 // a Token's

func (t *Token) properties(room []property) []property {
	return append(room,
		property{"_id", &t.ID},
		property{"ownerId", &t.OwnerID},
		property{"memberId", &t.MemberID},
		property{"_member", &t.Member},
		property{"name", &t.Name},
		property{"description", &t.Description},
		property{"creationDate", &t.CreationDate},
		property{"lastModified", &t.LastModified},
		property{"customRoleIds", &t.CustomRoleIDs},
		property{"inlineRole", &t.InlineRole},
		property{"role", &t.Role},
		property{"token", &t.Token},
		property{"serviceToken", &t.ServiceToken},
		property{"_links", &t.Links},
		property{"defaultApiVersion", &t.DefaultAPIVersion},
		property{"lastUsed", &t.LastUsed},
	)
}

func (m *MemberSummary) properties(room []property) []property {
	return append(room,
		property{"_links", &m.Links},
		property{"_id", &m.ID},
		property{"firstName", &m.FirstName},
		property{"lastName", &m.LastName},
		property{"role", &m.Role},
		property{"email", &m.Email},
	)
}

func (s *Statement) properties(room []property) []property {
	return append(room,
		property{"resources", &s.Resources},
		property{"notResources", &s.NotResources},
		property{"actions", &s.Actions},
		property{"notActions", &s.NotActions},
		property{"effect", &s.Effect},
	)
}

func (l *Link) properties(room []property) []property {
	return append(room,
		property{"href", &l.Href},
		property{"type", &l.Type},
	)
}

func isTokenProperty(name string) bool {
	return slices.ContainsFunc(new(Token).properties(nil), func(p property) bool { return p.name == name })
}

// MarshalJSON returns t with the members it did not know, as [Token] says.
func (t Token) MarshalJSON() ([]byte, error) { return t.encode(), nil }

// MarshalJSON returns m with the members it did not know, as [Token] says.
func (m MemberSummary) MarshalJSON() ([]byte, error) {
	return appendObject(nil, m.properties(make([]property, 0, maxProperties)), m.Extra), nil
}

// MarshalJSON returns s with the members it did not know, as [Token] says.
func (s Statement) MarshalJSON() ([]byte, error) { return s.encode(), nil }

// MarshalJSON returns l with the members it did not know, as [Token] says.
func (l Link) MarshalJSON() ([]byte, error) {
	return appendObject(nil, l.properties(make([]property, 0, maxProperties)), l.Extra), nil
}

func (t Token) encode() []byte {
	return appendObject(make([]byte, 0, 1024), t.properties(make([]property, 0, maxProperties)), t.Extra)
}

func (s Statement) encode() []byte {
	return appendObject(nil, s.properties(make([]property, 0, maxProperties)), s.Extra)
}

// appendObject appends the properties in their order, and behind them the
// unknown ones. A required property that was null or missing is so again, as
// long as its field is zero.
func appendObject(b []byte, properties []property, extra Extra) []byte {
	start := len(b)
	for _, p := range properties {
		null := extra.wasNull(p.name)
		if isAbsent(p.field) && !null {
			continue
		}
		before := len(b)
		b = append(b, ',', '"')
		b = append(b, p.name...)
		b = append(b, '"', ':')
		value := len(b)
		b = appendValue(b, p.field)
		switch {
		case extra.received == nil || !isZero(b[value:]):
		case null:
			b = append(b[:value], "null"...)
		case extra.wasMissing(p.name):
			b = b[:before]
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

func isZero(value []byte) bool {
	switch string(value) {
	case `""`, "0", "{}":
		return true
	}
	return false
}

func isAbsent(field any) bool {
	switch f := field.(type) {
	case *[]string:
		return *f == nil
	case interface{ IsZero() bool }:
		return f.IsZero()
	}
	return false
}

func appendValue(b []byte, field any) []byte {
	switch f := field.(type) {
	case *string:
		return rawjson.AppendString(b, *f)
	case *Role:
		return rawjson.AppendString(b, string(*f))
	case *Effect:
		return rawjson.AppendString(b, string(*f))
	case *UnixMillis:
		return strconv.AppendInt(b, int64(*f), 10)
	case *map[string]Link:
		return appendLinks(b, *f)
	case *[]string:
		return appendStrings(b, *f)
	case *Field[string]:
		return appendField(b, f, rawjson.AppendString)
	case *Field[Role]:
		return appendField(b, f, func(b []byte, r Role) []byte { return rawjson.AppendString(b, string(r)) })
	case *Field[Secret]:
		return appendField(b, f, func(b []byte, s Secret) []byte { return rawjson.AppendString(b, string(s)) })
	case *Field[bool]:
		return appendField(b, f, strconv.AppendBool)
	case *Field[int]:
		return appendField(b, f, func(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 10) })
	case *Field[UnixMillis]:
		return appendField(b, f, func(b []byte, m UnixMillis) []byte { return strconv.AppendInt(b, int64(m), 10) })
	case *Field[[]string]:
		return appendField(b, f, appendStrings)
	case *Field[[]Statement]:
		return appendField(b, f, appendStatements)
	case *Field[MemberSummary]:
		return appendField(b, f, func(b []byte, m MemberSummary) []byte {
			return appendObject(b, m.properties(make([]property, 0, maxProperties)), m.Extra)
		})
	}
	panic("tokenpatch: a property of a type that has no encoding")
}

func appendField[T any](b []byte, f *Field[T], appendTo func([]byte, T) []byte) []byte {
	if f.state != fieldSet {
		return append(b, "null"...)
	}
	return appendTo(b, f.value)
}

func appendList[T any](b []byte, list []T, appendTo func([]byte, T) []byte) []byte {
	if list == nil {
		return append(b, "null"...) // as encoding/json does
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
	return appendList(b, list, func(b []byte, s Statement) []byte {
		return appendObject(b, s.properties(make([]property, 0, maxProperties)), s.Extra)
	})
}

func appendLinks(b []byte, links map[string]Link) []byte {
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(links)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = rawjson.AppendString(b, name)
		b = append(b, ':')
		link := links[name]
		b = appendObject(b, link.properties(make([]property, 0, maxProperties)), link.Extra)
	}
	return append(b, '}')
}

// UnmarshalJSON replaces t by the Token in data. Names are case-sensitive; of
// two members with one name the last counts. A property of the schema with
// another type is an error that names it, and leaves t as it is. So does null.
func (t *Token) UnmarshalJSON(data []byte) error { return unmarshal(data, t, decodeToken) }

// UnmarshalJSON replaces m as [Token.UnmarshalJSON] does.
func (m *MemberSummary) UnmarshalJSON(data []byte) error {
	return unmarshal(data, m, decodeMemberSummary)
}

// UnmarshalJSON replaces s as [Token.UnmarshalJSON] does.
func (s *Statement) UnmarshalJSON(data []byte) error { return unmarshal(data, s, decodeStatement) }

// UnmarshalJSON replaces l as [Token.UnmarshalJSON] does.
func (l *Link) UnmarshalJSON(data []byte) error { return unmarshal(data, l, decodeLink) }

// unmarshal checks data once, so that decode need not.
func unmarshal[T any](data []byte, dst *T, decode func(json.RawMessage) (T, error)) error {
	value, err := rawjson.Check(data)
	if err != nil {
		return err
	}
	if isNull(value) {
		return nil
	}
	v, err := decode(value)
	if err != nil {
		return fmt.Errorf("tokenpatch: decoding %T: %w", v, err)
	}
	*dst = v
	return nil
}

func decodeToken(object json.RawMessage) (t Token, err error) {
	t.Extra, err = decodeObject(object, t.properties(make([]property, 0, maxProperties)))
	return t, err
}

func decodeMemberSummary(object json.RawMessage) (m MemberSummary, err error) {
	m.Extra, err = decodeObject(object, m.properties(make([]property, 0, maxProperties)))
	return m, err
}

func decodeStatement(object json.RawMessage) (s Statement, err error) {
	s.Extra, err = decodeObject(object, s.properties(make([]property, 0, maxProperties)))
	return s, err
}

func decodeLink(object json.RawMessage) (l Link, err error) {
	l.Extra, err = decodeObject(object, l.properties(make([]property, 0, maxProperties)))
	return l, err
}

// decodeObject decodes every member of object into its property, and returns
// the others. The error names the member.
func decodeObject(object json.RawMessage, properties []property) (extra Extra, err error) {
	if object[0] != '{' {
		return extra, rawjson.WrongKind("an object", object)
	}
	var seen uint32
	for quoted, value := range rawjson.Members(object) {
		name := rawjson.Unquote(quoted)
		i := slices.IndexFunc(properties, func(p property) bool { return p.name == string(name) })
		if i < 0 {
			extra.keep(string(name), value)
			continue
		}
		seen |= 1 << i
		if err := decodeProperty(properties[i], value, &extra); err != nil {
			return extra, fmt.Errorf("%s: %w", oneLine(shorten(string(name), 64)), err)
		}
	}
	for i, p := range properties {
		if seen&(1<<i) == 0 && isRequired(p.field) {
			r := extra.ready()
			r.missing = append(r.missing, p.name)
		}
	}
	extra.dropDuplicates()
	return extra, nil
}

func isRequired(field any) bool {
	switch field.(type) {
	case *string, *Role, *Effect, *UnixMillis, *map[string]Link:
		return true
	}
	return false
}

func decodeProperty(p property, value json.RawMessage, extra *Extra) error {
	switch dst := p.field.(type) {
	case *string:
		return decodeRequired(p.name, value, dst, decodeText, extra)
	case *Role:
		return decodeRequired(p.name, value, dst, decodeText, extra)
	case *Effect:
		return decodeRequired(p.name, value, dst, decodeText, extra)
	case *UnixMillis:
		return decodeRequired(p.name, value, dst, decodeInt, extra)
	case *map[string]Link:
		return decodeRequired(p.name, value, dst, decodeLinks, extra)
	case *[]string:
		return decodeRequired(p.name, value, dst, decodeStrings, extra)
	case *Field[string]:
		return decodeField(value, dst, decodeText)
	case *Field[Role]:
		return decodeField(value, dst, decodeText)
	case *Field[Secret]:
		return decodeField(value, dst, decodeText)
	case *Field[bool]:
		return decodeField(value, dst, decodeBool)
	case *Field[int]:
		return decodeField(value, dst, decodeInt)
	case *Field[UnixMillis]:
		return decodeField(value, dst, decodeInt)
	case *Field[[]string]:
		return decodeField(value, dst, decodeStrings)
	case *Field[[]Statement]:
		return decodeField(value, dst, decodeStatements)
	case *Field[MemberSummary]:
		return decodeField(value, dst, decodeMemberSummary)
	}
	panic("tokenpatch: a property of a type that has no decoding: " + p.name)
}

// decodeField decodes a member that may be null.
func decodeField[T any](value json.RawMessage, dst *Field[T], decode func(json.RawMessage) (T, error)) error {
	if isNull(value) {
		*dst = Null[T]()
		return nil
	}
	v, err := decode(value)
	*dst = Set(v)
	return err
}

// decodeRequired decodes a member that the schema does not let be null. One
// that is null all the same leaves *dst zero and is kept in extra.
func decodeRequired[T any](name string, value json.RawMessage, dst *T, decode func(json.RawMessage) (T, error), extra *Extra) (err error) {
	if isNull(value) {
		*dst = *new(T)
		extra.setNull(name, true)
		return nil
	}
	extra.setNull(name, false)
	*dst, err = decode(value)
	return err
}

func isNull(value json.RawMessage) bool { return value[0] == 'n' }

func decodeText[T ~string](value json.RawMessage) (T, error) {
	text, err := rawjson.Text(value)
	return T(text), err
}

func decodeBool(value json.RawMessage) (bool, error) {
	if value[0] != 't' && value[0] != 'f' {
		return false, rawjson.WrongKind("a boolean", value)
	}
	return value[0] == 't', nil
}

func decodeInt[T ~int | ~int64](value json.RawMessage) (T, error) {
	if value[0] > '9' || value[0] == '"' {
		return 0, rawjson.WrongKind("an integer", value)
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || int64(T(n)) != n {
		return 0, errors.New("want an integer within range, without fraction or exponent")
	}
	return T(n), nil
}

// decodeList decodes every element of an array. The result is never nil.
func decodeList[T any](array json.RawMessage, decode func(json.RawMessage) (T, error)) ([]T, error) {
	if array[0] != '[' {
		return nil, rawjson.WrongKind("an array", array)
	}
	list := []T{}
	for value := range rawjson.Elements(array) {
		v, err := decode(value)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", len(list), err)
		}
		list = append(list, v)
	}
	return list, nil
}

func decodeStrings(array json.RawMessage) ([]string, error) {
	return decodeList(array, decodeText[string])
}

func decodeStatements(array json.RawMessage) ([]Statement, error) {
	return decodeList(array, decodeStatement)
}

func decodeLinks(object json.RawMessage) (map[string]Link, error) {
	if object[0] != '{' {
		return nil, rawjson.WrongKind("an object", object)
	}
	links := map[string]Link{}
	for quoted, value := range rawjson.Members(object) {
		name := string(rawjson.Unquote(quoted))
		link, err := decodeLink(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", oneLine(shorten(name, 64)), err)
		}
		links[name] = link
	}
	return links, nil
}

// Clone returns a Token that shares no memory with t that anyone can write.
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
// properties that there is no field for, above all. fmt prints their names only:
// any of the values may be a secret.
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
	value json.RawMessage
}

// Get returns the JSON of a property as it was received, and true; or nil and
// false if there was none. A null that the property's own field cannot hold is
// here as well: Token.Extra.Get("ownerId").
func (e Extra) Get(name string) (json.RawMessage, bool) {
	for _, m := range e.unknown() {
		if m.name == name {
			return bytes.Clone(m.value), true
		}
	}
	if e.wasNull(name) {
		return json.RawMessage("null"), true
	}
	return nil, false
}

// Format writes the names, for every verb.
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

func (e Extra) wasMissing(name string) bool {
	return e.received != nil && slices.Contains(e.received.missing, name)
}

func (e *Extra) ready() *received {
	if e.received == nil {
		e.received = new(received)
	}
	return e.received
}

func (e *Extra) keep(name string, value json.RawMessage) {
	r := e.ready()
	r.unknown = append(r.unknown, member{name, bytes.Clone(value)})
}

// setNull notes whether the last value of a required property was null.
func (e *Extra) setNull(name string, null bool) {
	switch {
	case null && !e.wasNull(name):
		r := e.ready()
		r.null = append(r.null, name)
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
	places := make(map[string]int, len(e.received.unknown))
	kept := e.received.unknown[:0]
	for _, m := range e.received.unknown {
		if i, twice := places[m.name]; twice {
			kept[i] = m
			continue
		}
		places[m.name] = len(kept)
		kept = append(kept, m)
	}
	e.received.unknown = kept
}
