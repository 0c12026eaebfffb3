package tokenpatch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// Token is an access token of V2 (LaunchDarkly), after the schema Token.
//
// Unknown members are kept in Extra. Encoding writes the schema's members in its order, then those
// of Extra. A required member that was null or missing is zero, and is encoded as zero.
//
// fmt, slog and encoding/json redact the token's value. They do not redact values in Extra, of
// which fmt prints only the names.
type Token struct {
	ID                string               `json:"_id"`
	OwnerID           string               `json:"ownerId"`                    // id of the owner of the account
	MemberID          string               `json:"memberId"`                   // id of the member who created the token
	Member            Field[MemberSummary] `json:"_member,omitzero"`           // the member who created the token
	Name              Field[string]        `json:"name,omitzero"`              // for people to read
	Description       Field[string]        `json:"description,omitzero"`       // for people to read
	CreationDate      UnixMillis           `json:"creationDate"`               // zero if the API sent none
	LastModified      UnixMillis           `json:"lastModified"`               // zero if the API sent none
	CustomRoleIDs     Field[[]string]      `json:"customRoleIds,omitzero"`     // custom roles
	InlineRole        Field[[]Statement]   `json:"inlineRole,omitzero"`        // a policy in place of a role
	Role              Field[Role]          `json:"role,omitzero"`              // the base role
	Token             Field[Secret]        `json:"token,omitzero"`             // whole when created or reset, else the last four characters
	ServiceToken      Field[bool]          `json:"serviceToken,omitzero"`      // a service token, not a personal one
	Links             map[string]Link      `json:"_links"`                     // related resources by name; nil is encoded as {}
	DefaultAPIVersion Field[int]           `json:"defaultApiVersion,omitzero"` // a date as digits: 20240415
	LastUsed          Field[UnixMillis]    `json:"lastUsed,omitzero"`          // absent if never
	Extra             Extra                `json:"-"`                          // unknown members
}

// MemberSummary is the member who created a V2 token, after the schema MemberSummary. Unknown
// members are kept, as in [Token].
type MemberSummary struct {
	Links     map[string]Link `json:"_links"` // related resources by name; nil is encoded as {}
	ID        string          `json:"_id"`
	FirstName Field[string]   `json:"firstName,omitzero"`
	LastName  Field[string]   `json:"lastName,omitzero"`
	Role      Role            `json:"role"` // the member's base role, in effect if the member has no other role
	Email     string          `json:"email"`
	Extra     Extra           `json:"-"` // unknown members
}

// Statement is one statement of a V2 policy, after the schema Statement. A nil list is omitted; an
// empty one is sent as []. NotResources requires Resources and NotActions to be empty; NotActions
// requires Actions and NotResources to be empty. Unknown members are kept, as in [Token].
type Statement struct {
	Resources    []string `json:"resources,omitzero"`    // resource specifiers
	NotResources []string `json:"notResources,omitzero"` // all resources but these
	Actions      []string `json:"actions,omitzero"`      // action specifiers
	NotActions   []string `json:"notActions,omitzero"`   // all actions but these
	Effect       Effect   `json:"effect"`                // required
	Extra        Extra    `json:"-"`                     // unknown members
}

// Link is the location of a related resource, after the schema Link of V2. Unknown members are
// kept, as in [Token]. A link that was null is the zero Link.
type Link struct {
	Href  Field[string] `json:"href,omitzero"` // a URL, often without its host
	Type  Field[string] `json:"type,omitzero"` // a media type
	Extra Extra         `json:"-"`             // unknown members
}

// Effect is whether a [Statement] allows or denies. V2 has these two values only.
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

// OrganizationRole is the role of a V1 token in its organization.
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

// String returns m in the form of RFC 3339, in UTC and with milliseconds.
func (m UnixMillis) String() string { return m.Time().Format("2006-01-02T15:04:05.000Z07:00") }

// Secret is a credential. fmt, slog and encoding/json print it as [redacted], and as
// nothing if it is empty. string(s) is its text. As a value of a [Patch] it is sent as
// it is.
//
// Keep a Secret in an exported field or in a function: fmt prints an unexported
// field without calling its methods. It does not call them for the verb %w either, and
// encoding/json does not for the keys of a map.
type Secret string

// String returns "[redacted]", or "" for an empty Secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString returns what [Secret.String] does.
func (s Secret) GoString() string { return s.String() }

// Format writes what [Secret.String] returns, for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue returns what [Secret.String] does.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns what [Secret.String] does.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Field is a property of a JSON object: absent, null or set. The zero Field is absent; [Set] and
// [Null] make the others. Tag a Field with omitzero: otherwise encoding/json writes an absent one
// as null.
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

// Set returns a Field with the value v. A nil slice becomes an empty one: use [Null] for null.
func Set[T any](v T) Field[T] {
	if t := reflect.TypeFor[T](); t.Kind() == reflect.Slice && reflect.ValueOf(v).IsNil() {
		v = reflect.MakeSlice(t, 0, 0).Interface().(T)
	}
	return Field[T]{value: v, state: fieldSet}
}

// Null returns a null Field.
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

// IsSet reports whether f has a value: it is neither absent nor null.
func (f Field[T]) IsSet() bool { return f.state == fieldSet }

// IsZero reports whether f is absent. The option omitzero of encoding/json calls it.
func (f Field[T]) IsZero() bool { return f.state == fieldAbsent }

// IsNull reports whether f is null.
func (f Field[T]) IsNull() bool { return f.state == fieldNull }

// Equal reports whether f and other are both absent, both null, or set to deeply equal values.
func (f Field[T]) Equal(other Field[T]) bool {
	return f.state == other.state && reflect.DeepEqual(f.value, other.value)
}

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

// String returns what fmt prints for f.
func (f Field[T]) String() string { return fmt.Sprint(f) }

// Format prints the value with the same verb and flags, by the value's own
// methods, so a [Secret] stays redacted. An absent Field is printed as
// <absent>, and null as <null>; %#v prints the Go expression that makes f.
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

// LogValue returns what identifies a token: its id, the member's id, its name and its
// role, and the token's value redacted.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", t.ID),
		slog.String("memberId", t.MemberID),
		slog.Any("name", t.Name),
		slog.Any("role", t.Role),
		slog.Any("token", t.Token),
	)
}

// Clone returns a deep copy of t.
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

// Extra holds the JSON members that a struct has no field for. They can be read, compared and
// edited:
//
//	token, err := client.V2.EditToken(ctx, id, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
//		return token.Extra.Set("expiry", 1798761600000)
//	})
//
// The zero Extra is empty. A copy of an Extra is independent of it. fmt prints only the names: any
// of the values may be a secret.
type Extra struct {
	members []rawjson.Member // in the order in which they were received or set; never written, because copies share it
}

// Get returns the JSON of a member and true, or nil and false if there is none.
func (e Extra) Get(name string) (json.RawMessage, bool) {
	if i := e.find(name); i >= 0 {
		return json.RawMessage(e.members[i].Value), true
	}
	return nil, false
}

// Decode decodes the JSON of a member into v, as [json.Unmarshal] does. It returns false
// if there is no such member.
func (e Extra) Decode(name string, v any) (bool, error) {
	value, ok := e.Get(name)
	if !ok {
		return false, nil
	}
	if err := json.Unmarshal(value, v); err != nil {
		return true, fmt.Errorf("tokenpatch: Extra: %.64q: %w", name, err)
	}
	return true, nil
}

// All returns the names of the members and their JSON.
func (e Extra) All() iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		for _, m := range e.members {
			if !yield(m.Name, json.RawMessage(m.Value)) {
				return
			}
		}
	}
}

// Set sets a member to the JSON of value; nil is null. A name for which [Token] or
// [Statement] has a field is an [*InputError].
func (e *Extra) Set(name string, value any) error {
	if rawjson.Has(tokenProperties, name) || rawjson.Has(statementProperties, name) {
		return &InputError{Field: "Extra", Value: strconv.Quote(name), Want: "a name for which there is no field: set the field"}
	}
	encoded, err := appendValueOf(nil, value)
	if !utf8.ValidString(name) {
		err = errNotUTF8
	}
	if err != nil {
		return fmt.Errorf("tokenpatch: Extra: %.64q: encoding the value: %w", name, err)
	}
	m := rawjson.Member{Name: name, Value: string(encoded)}
	if i := e.find(name); i >= 0 {
		e.members = slices.Clone(e.members)
		e.members[i] = m
	} else {
		e.members = append(slices.Clip(e.members), m)
	}
	return nil
}

// Delete deletes a member, if there is one with this name.
func (e *Extra) Delete(name string) {
	if i := e.find(name); i >= 0 {
		e.members = slices.Concat(e.members[:i], e.members[i+1:])
	}
}

func (e Extra) find(name string) int {
	return slices.IndexFunc(e.members, func(m rawjson.Member) bool { return m.Name == name })
}

// Equal reports whether e and other have the same names with equal values, in any order.
func (e Extra) Equal(other Extra) bool {
	return jsonpatch.Equal(extraCodec.Append(nil, &e), extraCodec.Append(nil, &other))
}

// String returns the names of the members.
func (e Extra) String() string {
	names := make([]string, len(e.members))
	for i, m := range e.members {
		names[i] = m.Name
	}
	return fmt.Sprintf("%q", names)
}

// Format prints the names of the members, for every verb.
func (e Extra) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.String()) }

// The wire forms.
var (
	textCodec       = rawjson.String[string]()
	textsCodec      = rawjson.List(textCodec)
	roleCodec       = rawjson.String[Role]()
	versionCodec    = rawjson.Integer[int]()
	millisCodec     = rawjson.Integer[UnixMillis]()
	linksCodec      = rawjson.Map(linkCodec)
	statementsCodec = rawjson.List(statementCodec)

	tokenCodec     = rawjson.Object(func(t *Token) *[]rawjson.Member { return &t.Extra.members }, tokenProperties...)
	memberCodec    = rawjson.Object(func(m *MemberSummary) *[]rawjson.Member { return &m.Extra.members }, memberProperties...)
	statementCodec = rawjson.Object(func(s *Statement) *[]rawjson.Member { return &s.Extra.members }, statementProperties...)
	linkCodec      = rawjson.Object(func(l *Link) *[]rawjson.Member { return &l.Extra.members }, linkProperties...)
	updateCodec    = rawjson.Object(func(*TokenUpdate) *[]rawjson.Member { return new([]rawjson.Member) }, updateProperties...)
	extraCodec     = rawjson.Object(func(e *Extra) *[]rawjson.Member { return &e.members })
)

var tokenProperties = []rawjson.Property[Token]{
	rawjson.Of("_id", func(t *Token) *string { return &t.ID }, textCodec),
	rawjson.Of("ownerId", func(t *Token) *string { return &t.OwnerID }, textCodec),
	rawjson.Of("memberId", func(t *Token) *string { return &t.MemberID }, textCodec),
	rawjson.Of("_member", func(t *Token) *Field[MemberSummary] { return &t.Member }, optional(memberCodec)),
	rawjson.Of("name", func(t *Token) *Field[string] { return &t.Name }, optional(textCodec)),
	rawjson.Of("description", func(t *Token) *Field[string] { return &t.Description }, optional(textCodec)),
	rawjson.Of("creationDate", func(t *Token) *UnixMillis { return &t.CreationDate }, millisCodec),
	rawjson.Of("lastModified", func(t *Token) *UnixMillis { return &t.LastModified }, millisCodec),
	rawjson.Of("customRoleIds", func(t *Token) *Field[[]string] { return &t.CustomRoleIDs }, optional(textsCodec)),
	rawjson.Of("inlineRole", func(t *Token) *Field[[]Statement] { return &t.InlineRole }, optional(statementsCodec)),
	rawjson.Of("role", func(t *Token) *Field[Role] { return &t.Role }, optional(roleCodec)),
	rawjson.Of("token", func(t *Token) *Field[Secret] { return &t.Token }, optional(rawjson.String[Secret]())),
	rawjson.Of("serviceToken", func(t *Token) *Field[bool] { return &t.ServiceToken }, optional(rawjson.Boolean())),
	rawjson.Of("_links", func(t *Token) *map[string]Link { return &t.Links }, linksCodec),
	rawjson.Of("defaultApiVersion", func(t *Token) *Field[int] { return &t.DefaultAPIVersion }, optional(versionCodec)),
	rawjson.Of("lastUsed", func(t *Token) *Field[UnixMillis] { return &t.LastUsed }, optional(millisCodec)),
}

var memberProperties = []rawjson.Property[MemberSummary]{
	rawjson.Of("_links", func(m *MemberSummary) *map[string]Link { return &m.Links }, linksCodec),
	rawjson.Of("_id", func(m *MemberSummary) *string { return &m.ID }, textCodec),
	rawjson.Of("firstName", func(m *MemberSummary) *Field[string] { return &m.FirstName }, optional(textCodec)),
	rawjson.Of("lastName", func(m *MemberSummary) *Field[string] { return &m.LastName }, optional(textCodec)),
	rawjson.Of("role", func(m *MemberSummary) *Role { return &m.Role }, roleCodec),
	rawjson.Of("email", func(m *MemberSummary) *string { return &m.Email }, textCodec),
}

var statementProperties = []rawjson.Property[Statement]{
	rawjson.Of("resources", func(s *Statement) *[]string { return &s.Resources }, textsCodec),
	rawjson.Of("notResources", func(s *Statement) *[]string { return &s.NotResources }, textsCodec),
	rawjson.Of("actions", func(s *Statement) *[]string { return &s.Actions }, textsCodec),
	rawjson.Of("notActions", func(s *Statement) *[]string { return &s.NotActions }, textsCodec),
	rawjson.Of("effect", func(s *Statement) *Effect { return &s.Effect }, rawjson.String[Effect]()),
}

var linkProperties = []rawjson.Property[Link]{
	rawjson.Of("href", func(l *Link) *Field[string] { return &l.Href }, optional(textCodec)),
	rawjson.Of("type", func(l *Link) *Field[string] { return &l.Type }, optional(textCodec)),
}

var updateProperties = []rawjson.Property[TokenUpdate]{
	rawjson.Of("name", func(u *TokenUpdate) *Field[string] { return &u.Name }, optional(textCodec)),
	rawjson.Of("organization_role", func(u *TokenUpdate) *Field[OrganizationRole] { return &u.OrganizationRole }, optional(rawjson.String[OrganizationRole]())),
	rawjson.Of("personal", func(u *TokenUpdate) *Field[bool] { return &u.Personal }, optional(rawjson.Boolean())),
	rawjson.Of("role_id", func(u *TokenUpdate) *Field[uuid.UUID] { return &u.RoleID }, optional(rawjson.Codec[uuid.UUID]{
		Append: func(b []byte, id *uuid.UUID) []byte { return rawjson.AppendString(b, id.String()) },
	})),
}

// optional is the codec of a Field.
func optional[T any](value rawjson.Codec[T]) rawjson.Codec[Field[T]] {
	return rawjson.Codec[Field[T]]{
		Read: func(r *rawjson.Reader, f *Field[T]) error {
			*f = Field[T]{state: fieldSet}
			return value.Read(r, &f.value)
		},
		Append: func(b []byte, f *Field[T]) []byte {
			if f.state == fieldNull {
				return append(b, "null"...)
			}
			return value.Append(b, &f.value)
		},
		Null:   func(f *Field[T]) { *f = Null[T]() },
		Absent: func(f *Field[T]) bool { return f.IsZero() },
	}
}

// encode returns the JSON of t with the token's value, which no other encoding shows.
func (t Token) encode() []byte { return tokenCodec.Append(make([]byte, 0, 1024), &t) }

// MarshalJSON encodes t with the members of its Extra, and redacts the token's value.
func (t Token) MarshalJSON() ([]byte, error) {
	t.Token.value = Secret(t.Token.value.String())
	return t.encode(), nil
}

// MarshalJSON encodes m with the members of its Extra.
func (m MemberSummary) MarshalJSON() ([]byte, error) { return memberCodec.Append(nil, &m), nil }

// MarshalJSON encodes s with the members of its Extra.
func (s Statement) MarshalJSON() ([]byte, error) { return statementCodec.Append(nil, &s), nil }

// MarshalJSON encodes l with the members of its Extra.
func (l Link) MarshalJSON() ([]byte, error) { return linkCodec.Append(nil, &l), nil }

// UnmarshalJSON replaces t by the Token in data. Names are case-sensitive; of two members
// with one name the last one counts. If a member of the schema has another type, the
// error names it, and t stays as it is. JSON null changes nothing and is no error.
func (t *Token) UnmarshalJSON(data []byte) error { return unmarshal(data, t, tokenCodec) }

// UnmarshalJSON replaces m by what is in data, as [Token.UnmarshalJSON] does.
func (m *MemberSummary) UnmarshalJSON(data []byte) error { return unmarshal(data, m, memberCodec) }

// UnmarshalJSON replaces s by what is in data, as [Token.UnmarshalJSON] does.
func (s *Statement) UnmarshalJSON(data []byte) error { return unmarshal(data, s, statementCodec) }

// UnmarshalJSON replaces l by what is in data, as [Token.UnmarshalJSON] does.
func (l *Link) UnmarshalJSON(data []byte) error { return unmarshal(data, l, linkCodec) }

// unmarshal replaces *dst if data is valid and not null.
func unmarshal[T any](data []byte, dst *T, codec rawjson.Codec[T]) error {
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return nil
	}
	v, err := codec.Decode(data)
	if err != nil {
		return fmt.Errorf("tokenpatch: decoding %T: %w", *dst, err)
	}
	*dst = *v
	return nil
}
