package tokenpatch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"time"
)

// Token is an access token of V2, after the schema Token of its API document.
//
// Decoding keeps what this version of the package does not know: see
// [Extra]. Encoding writes the schema's properties in the schema's order
// and the others behind them as they were received, so that a Token decoded
// and encoded again has lost nothing. A required property that was missing is
// written with its zero value.
//
// fmt and slog redact the token's value. encoding/json writes it as it is, also
// for slog's JSON handler where a Token stands inside another value.
type Token struct {
	ID                string               `json:"_id"`
	OwnerID           string               `json:"ownerId"`                    // the owner of the account
	MemberID          string               `json:"memberId"`                   // the member who created the token
	Member            Field[MemberSummary] `json:"_member,omitzero"`           // the member who created the token
	Name              Field[string]        `json:"name,omitzero"`              // for people to read
	Description       Field[string]        `json:"description,omitzero"`       // for people to read
	CreationDate      UnixMillis           `json:"creationDate"`               // zero if the API sent none
	LastModified      UnixMillis           `json:"lastModified"`               // zero if the API sent none
	CustomRoleIDs     Field[[]string]      `json:"customRoleIds,omitzero"`     // custom roles that limit the token
	InlineRole        Field[[]Statement]   `json:"inlineRole,omitzero"`        // a policy in place of a role
	Role              Field[Role]          `json:"role,omitzero"`              // the base role
	Token             Field[Secret]        `json:"token,omitzero"`             // whole when created or reset, else the last four characters
	ServiceToken      Field[bool]          `json:"serviceToken,omitzero"`      // a service token, not a personal one
	Links             map[string]Link      `json:"_links"`                     // related resources by name; nil is encoded as {}
	DefaultAPIVersion Field[int]           `json:"defaultApiVersion,omitzero"` // a date as digits: 20240415
	LastUsed          Field[UnixMillis]    `json:"lastUsed,omitzero"`          // absent if never
	Extra             Extra                `json:"-"`                          // what this version does not know
}

// MemberSummary is the member who created a token, after the schema
// MemberSummary of V2. What it does not know it keeps, as [Token] does.
type MemberSummary struct {
	Links     map[string]Link `json:"_links"` // related resources by name; nil is encoded as {}
	ID        string          `json:"_id"`
	FirstName Field[string]   `json:"firstName,omitzero"`
	LastName  Field[string]   `json:"lastName,omitzero"`
	Role      Role            `json:"role"` // the member's base role, in effect if there is no other
	Email     string          `json:"email"`
	Extra     Extra           `json:"-"` // what this version does not know
}

// Statement is one statement of a policy, after the schema Statement of V2. In
// all four lists nil is absent and an empty list is sent as []. NotResources
// needs Resources and NotActions to be empty; NotActions needs Actions and
// NotResources to be empty. What it does not know it keeps, as [Token] does.
type Statement struct {
	Resources    []string `json:"resources,omitzero"`    // resource specifiers
	NotResources []string `json:"notResources,omitzero"` // everything but these
	Actions      []string `json:"actions,omitzero"`
	NotActions   []string `json:"notActions,omitzero"` // everything but these
	Effect       Effect   `json:"effect"`              // required
	Extra        Extra    `json:"-"`                   // what this version does not know
}

// Link is where a related resource is, after the schema Link of V2. What it
// does not know it keeps, as [Token] does.
type Link struct {
	Href  Field[string] `json:"href,omitzero"` // a URL, often without its host
	Type  Field[string] `json:"type,omitzero"` // a media type
	Extra Extra         `json:"-"`             // what this version does not know
}

// Effect is what a [Statement] does: its two values are all that V2 has.
type Effect string

// The effects of a [Statement].
const (
	EffectAllow Effect = "allow"
	EffectDeny  Effect = "deny"
)

// Role is a base role of V2. The API adds roles over time: expect others.
type Role string

// The base roles known when this was written.
const (
	RoleReader Role = "reader"
	RoleWriter Role = "writer"
	RoleAdmin  Role = "admin"
)

// OrganizationRole is the role of a token in its organization of V1.
type OrganizationRole string

// The organization roles of V1.
const (
	OrganizationRoleAdmin    OrganizationRole = "ADMIN"
	OrganizationRoleMember   OrganizationRole = "MEMBER"
	OrganizationRoleExternal OrganizationRole = "EXTERNAL"
)

// UnixMillis is a point in time in milliseconds since 1970-01-01 UTC.
type UnixMillis int64

// Time returns m as a time in UTC. Zero is 1970-01-01, not the zero Time.
func (m UnixMillis) Time() time.Time { return time.UnixMilli(int64(m)).UTC() }

// Secret is a credential: fmt and slog print it as [redacted], and as nothing
// if it is empty. encoding/json writes it as it is, and string(s) is its text.
//
// fmt calls no method on what it reaches through an unexported field, nor for a
// %w that is not an error: keep a Secret in an exported field or in a function.
type Secret string

// String returns "[redacted]", or "" for an empty Secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[redacted]"
}

// GoString returns what [Secret.String] does.
func (s Secret) GoString() string { return s.String() }

// Format writes what [Secret.String] returns, for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue returns what [Secret.String] does.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Field is a property of a JSON object that may be absent, null or set. The
// zero Field is absent. Tag it with omitzero: where an absent Field has to be
// encoded all the same, it is null.
type Field[T any] struct {
	value T
	state fieldState
}

type fieldState uint8

const (
	fieldAbsent fieldState = iota
	fieldNull
	fieldSet
)

// Set returns a Field that is set to v.
func Set[T any](v T) Field[T] { return Field[T]{value: v, state: fieldSet} }

// Null returns a Field that is null.
func Null[T any]() Field[T] { return Field[T]{state: fieldNull} }

// Get returns the value and true if f is set, else the zero T and false.
func (f Field[T]) Get() (T, bool) { return f.value, f.state == fieldSet }

// Or returns the value if f is set, else fallback.
func (f Field[T]) Or(fallback T) T {
	if f.state == fieldSet {
		return f.value
	}
	return fallback
}

// IsZero says whether f is absent, for the option omitzero of encoding/json.
func (f Field[T]) IsZero() bool { return f.state == fieldAbsent }

// IsNull says whether f is null.
func (f Field[T]) IsNull() bool { return f.state == fieldNull }

// MarshalJSON returns the value's JSON if f is set, else null.
func (f Field[T]) MarshalJSON() ([]byte, error) {
	if f.state != fieldSet {
		return []byte("null"), nil
	}
	return json.Marshal(f.value)
}

// UnmarshalJSON makes f null or set. It leaves f as it is if data is not a T.
func (f *Field[T]) UnmarshalJSON(data []byte) error {
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		*f = Null[T]()
		return nil
	}
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*f = Set(v)
	return nil
}

// Format writes the value by its own methods, as a [Secret] needs: fmt would
// not call them on a field that is not exported. An absent Field is written as
// <absent> and null as <null>; %#v writes the Go expression that makes f.
func (f Field[T]) Format(s fmt.State, verb rune) {
	switch {
	case verb == 'v' && s.Flag('#'):
		_, _ = io.WriteString(s, f.goString())
	case f.state == fieldSet:
		_, _ = fmt.Fprintf(s, fmt.FormatString(s, verb), f.value)
	case f.state == fieldNull:
		_, _ = io.WriteString(s, "<null>")
	default:
		_, _ = io.WriteString(s, "<absent>")
	}
}

func (f Field[T]) goString() string {
	t := reflect.TypeFor[T]()
	switch f.state {
	case fieldSet:
		return fmt.Sprintf("tokenpatch.Set[%v](%#v)", t, f.value)
	case fieldNull:
		return fmt.Sprintf("tokenpatch.Null[%v]()", t)
	}
	return fmt.Sprintf("tokenpatch.Field[%v]{}", t)
}

// LogValue returns the value if f is set, nil if it is null, and the empty
// group, which handlers leave out, if it is absent.
func (f Field[T]) LogValue() slog.Value {
	switch f.state {
	case fieldSet:
		return slog.AnyValue(f.value)
	case fieldNull:
		return slog.AnyValue(nil)
	}
	return slog.GroupValue()
}

// LogValue returns what tells one token from another: a handler that encoded
// the whole Token as JSON would write its value.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", t.ID),
		slog.String("memberId", t.MemberID),
		slog.Any("name", t.Name),
		slog.Any("role", t.Role),
		slog.Any("token", t.Token),
	)
}

// MarshalJSON returns t with the members it did not know, as [Token] says.
func (t Token) MarshalJSON() ([]byte, error) {
	type known Token
	t.Links = orEmpty(t.Links)
	return t.Extra.encodeWith(known(t))
}

// MarshalJSON returns m with the members it did not know, as [Token] says.
func (m MemberSummary) MarshalJSON() ([]byte, error) {
	type known MemberSummary
	m.Links = orEmpty(m.Links)
	return m.Extra.encodeWith(known(m))
}

// MarshalJSON returns s with the members it did not know, as [Token] says.
func (s Statement) MarshalJSON() ([]byte, error) {
	type known Statement
	return s.Extra.encodeWith(known(s))
}

// MarshalJSON returns l with the members it did not know, as [Token] says.
func (l Link) MarshalJSON() ([]byte, error) {
	type known Link
	return l.Extra.encodeWith(known(l))
}

func orEmpty(links map[string]Link) map[string]Link {
	if links == nil {
		return map[string]Link{}
	}
	return links
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
	if err := checkJSON(data); err != nil {
		return err
	}
	data = bytes.TrimSpace(data)
	if isNull(data) {
		return nil
	}
	v, err := decode(data)
	if err != nil {
		return fmt.Errorf("tokenpatch: decoding %T: %w", v, err)
	}
	*dst = v
	return nil
}

func decodeToken(object json.RawMessage) (t Token, err error) {
	err = decodeMembers(object, t.set)
	return t, err
}

func decodeMemberSummary(object json.RawMessage) (m MemberSummary, err error) {
	err = decodeMembers(object, m.set)
	return m, err
}

func decodeStatement(object json.RawMessage) (s Statement, err error) {
	err = decodeMembers(object, s.set)
	return s, err
}

func decodeLink(object json.RawMessage) (l Link, err error) {
	err = decodeMembers(object, l.set)
	return l, err
}

// decodeMembers gives every member of object to set, and names it in the error.
func decodeMembers(object json.RawMessage, set func(name []byte, value json.RawMessage) error) error {
	if object[0] != '{' {
		return wrongKind("an object", object)
	}
	for name, value := range members(object) {
		if err := set(name, value); err != nil {
			return fmt.Errorf("%s: %w", oneLine(shorten(string(name), 64)), err)
		}
	}
	return nil
}

func (t *Token) set(name []byte, value json.RawMessage) error {
	switch dst := t.field(name).(type) {
	case *string:
		return decodeInto(&t.Extra, name, value, dst, decodeString)
	case *UnixMillis:
		return decodeInto(&t.Extra, name, value, dst, decodeInt)
	case *map[string]Link:
		return decodeInto(&t.Extra, name, value, dst, decodeLinks)
	case *Field[string]:
		return decodeField(value, dst, decodeString)
	case *Field[Role]:
		return decodeField(value, dst, decodeString)
	case *Field[Secret]:
		return decodeField(value, dst, decodeString)
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
	t.Extra.keep(name, value)
	return nil
}

// field returns a pointer to what holds the member name, or nil if t has no
// field for it.
func (t *Token) field(name []byte) any {
	switch string(name) {
	case "_id":
		return &t.ID
	case "ownerId":
		return &t.OwnerID
	case "memberId":
		return &t.MemberID
	case "_member":
		return &t.Member
	case "name":
		return &t.Name
	case "description":
		return &t.Description
	case "creationDate":
		return &t.CreationDate
	case "lastModified":
		return &t.LastModified
	case "customRoleIds":
		return &t.CustomRoleIDs
	case "inlineRole":
		return &t.InlineRole
	case "role":
		return &t.Role
	case "token":
		return &t.Token
	case "serviceToken":
		return &t.ServiceToken
	case "_links":
		return &t.Links
	case "defaultApiVersion":
		return &t.DefaultAPIVersion
	case "lastUsed":
		return &t.LastUsed
	}
	return nil
}

// member returns the JSON of one member as MarshalJSON writes it, or nil if it
// writes none.
func (t Token) member(name string) (json.RawMessage, error) {
	t.Links = orEmpty(t.Links)
	kept, field := t.Extra.get(name), t.field([]byte(name))
	if field == nil {
		return kept, nil
	}
	if f, ok := field.(interface{ IsZero() bool }); ok && f.IsZero() {
		return nil, nil
	}
	encoded, err := json.Marshal(field)
	if kept != nil && isZero(encoded) {
		return kept, err
	}
	return encoded, err
}

// unset makes a member absent, or zero if it is one that the schema requires.
func (t *Token) unset(name string) {
	if field := t.field([]byte(name)); field != nil {
		reflect.ValueOf(field).Elem().SetZero()
	}
	t.Extra.drop([]byte(name))
}

// clone returns a Token that shares no memory with t that anyone can write.
func (t Token) clone() Token {
	t.Member.value.Links = maps.Clone(t.Member.value.Links)
	t.Links = maps.Clone(t.Links)
	t.CustomRoleIDs.value = slices.Clone(t.CustomRoleIDs.value)
	t.InlineRole.value = slices.Clone(t.InlineRole.value)
	for i := range t.InlineRole.value {
		s := &t.InlineRole.value[i]
		s.Resources, s.NotResources = slices.Clone(s.Resources), slices.Clone(s.NotResources)
		s.Actions, s.NotActions = slices.Clone(s.Actions), slices.Clone(s.NotActions)
	}
	t.Extra = t.Extra.clone()
	return t
}

func (m *MemberSummary) set(name []byte, value json.RawMessage) error {
	switch string(name) {
	case "_links":
		return decodeInto(&m.Extra, name, value, &m.Links, decodeLinks)
	case "_id":
		return decodeInto(&m.Extra, name, value, &m.ID, decodeString)
	case "firstName":
		return decodeField(value, &m.FirstName, decodeString)
	case "lastName":
		return decodeField(value, &m.LastName, decodeString)
	case "role":
		return decodeInto(&m.Extra, name, value, &m.Role, decodeString)
	case "email":
		return decodeInto(&m.Extra, name, value, &m.Email, decodeString)
	}
	m.Extra.keep(name, value)
	return nil
}

func (s *Statement) set(name []byte, value json.RawMessage) error {
	switch string(name) {
	case "resources":
		return decodeInto(&s.Extra, name, value, &s.Resources, decodeStrings)
	case "notResources":
		return decodeInto(&s.Extra, name, value, &s.NotResources, decodeStrings)
	case "actions":
		return decodeInto(&s.Extra, name, value, &s.Actions, decodeStrings)
	case "notActions":
		return decodeInto(&s.Extra, name, value, &s.NotActions, decodeStrings)
	case "effect":
		return decodeInto(&s.Extra, name, value, &s.Effect, decodeString)
	}
	s.Extra.keep(name, value)
	return nil
}

func (l *Link) set(name []byte, value json.RawMessage) error {
	switch string(name) {
	case "href":
		return decodeField(value, &l.Href, decodeString)
	case "type":
		return decodeField(value, &l.Type, decodeString)
	}
	l.Extra.keep(name, value)
	return nil
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

// decodeInto decodes a member that the schema does not let be null. One that
// is null all the same leaves *dst zero and is kept in extra.
func decodeInto[T any](extra *Extra, name []byte, value json.RawMessage, dst *T, decode func(json.RawMessage) (T, error)) (err error) {
	if isNull(value) {
		*dst = *new(T)
		extra.keep(name, value)
		return nil
	}
	extra.drop(name)
	*dst, err = decode(value)
	return err
}

func decodeStrings(array json.RawMessage) ([]string, error) {
	return decodeList(array, decodeString[string])
}

func decodeStatements(array json.RawMessage) ([]Statement, error) {
	return decodeList(array, decodeStatement)
}

func decodeLinks(object json.RawMessage) (map[string]Link, error) {
	links := map[string]Link{}
	return links, decodeMembers(object, func(name []byte, value json.RawMessage) (err error) {
		links[string(name)], err = decodeLink(value)
		return err
	})
}

// Extra holds the properties of an object that its type has no field for. fmt
// prints their names only: any of the values may be a secret.
type Extra struct{ kept *orderedObject }

// Get returns the JSON of a property as it was received, and true; or nil and
// false if there was none. A null that the property's own field cannot hold is
// here as well: Token.Extra.Get("ownerId").
func (e Extra) Get(name string) (json.RawMessage, bool) {
	value := e.get(name)
	return bytes.Clone(value), value != nil
}

// Format writes the names, for every verb.
func (e Extra) Format(f fmt.State, _ rune) {
	names := []string{}
	if e.kept != nil {
		for name := range e.kept.all() {
			names = append(names, string(unquote(name)))
		}
	}
	_, _ = fmt.Fprintf(f, "%q", names)
}

// get is Get without a copy.
func (e Extra) get(name string) json.RawMessage {
	if e.kept == nil {
		return nil
	}
	return e.kept.get(name)
}

func (e Extra) clone() Extra {
	if e.kept == nil {
		return e
	}
	return Extra{e.kept.clone()}
}

func (e *Extra) keep(name []byte, value json.RawMessage) {
	if e.kept == nil {
		e.kept = new(orderedObject)
	}
	_ = e.kept.set(string(name), node{raw: bytes.Clone(value)}) // cannot fail: no name was kept twice
}

func (e *Extra) drop(name []byte) {
	if e.kept == nil {
		return
	}
	if value, err := e.kept.lookup(string(name)); err == nil {
		*value = node{}
	}
}

// encodeWith encodes known, a struct of the members that have a field, with
// what e kept behind them. A null that was kept for a known member stands as
// long as nobody has set its field.
func (e Extra) encodeWith(known any) ([]byte, error) {
	encoded, err := json.Marshal(known)
	if err != nil || e.kept == nil {
		return encoded, err
	}
	all := openObject(encoded)
	for name, kept := range e.kept.all() {
		name := string(unquote(name))
		if known := all.get(name); known == nil || isZero(known) {
			_ = all.set(name, *kept) // cannot fail: a struct has no name twice
		}
	}
	return all.append(nil), nil
}

func isZero(value json.RawMessage) bool {
	switch string(value) {
	case `""`, "0", "{}":
		return true
	}
	return false
}
