package tokenpatch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"time"
)

// Token is an access token of V2, after the schema Token of its API document.
//
// Decoding keeps the properties that this version of the package does not know:
// see [Extra]. Encoding writes the schema's properties in the schema's order, and
// behind them the others as they were received, so that a Token that is decoded
// and encoded again has lost nothing. A required property that was null or missing
// is so again as long as its field is zero.
//
// fmt and slog redact the token's value. encoding/json writes it as it is, and so
// does slog's JSON handler where the Token is inside another value.
type Token struct {
	ID                string               `json:"_id"`
	OwnerID           string               `json:"ownerId"`                    // id of the owner of the account
	MemberID          string               `json:"memberId"`                   // id of the member who created the token
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
	Extra             Extra                `json:"-"`                          // properties that this version does not know
}

// MemberSummary is the member who created a token, after the schema
// MemberSummary of V2. Properties that it does not know are kept, as in [Token].
type MemberSummary struct {
	Links     map[string]Link `json:"_links"` // related resources by name; nil is encoded as {}
	ID        string          `json:"_id"`
	FirstName Field[string]   `json:"firstName,omitzero"`
	LastName  Field[string]   `json:"lastName,omitzero"`
	Role      Role            `json:"role"` // the member's base role, in effect if the member has no other role
	Email     string          `json:"email"`
	Extra     Extra           `json:"-"` // properties that this version does not know
}

// Statement is one statement of a policy, after the schema Statement of V2. A nil
// list is left out; an empty one is sent as []. NotResources requires Resources and
// NotActions to be empty; NotActions requires Actions and NotResources to be empty.
// Properties that it does not know are kept, as in [Token].
type Statement struct {
	Resources    []string `json:"resources,omitzero"`    // resource specifiers
	NotResources []string `json:"notResources,omitzero"` // all resources but these
	Actions      []string `json:"actions,omitzero"`      // action specifiers
	NotActions   []string `json:"notActions,omitzero"`   // all actions but these
	Effect       Effect   `json:"effect"`                // required
	Extra        Extra    `json:"-"`                     // properties that this version does not know
}

// Link is where a related resource is, after the schema Link of V2. Properties
// that it does not know are kept, as in [Token].
type Link struct {
	Href  Field[string] `json:"href,omitzero"` // a URL, often without its host
	Type  Field[string] `json:"type,omitzero"` // a media type
	Extra Extra         `json:"-"`             // properties that this version does not know
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

// Secret is a credential. fmt and slog print it as [redacted], and as nothing if
// it is empty. encoding/json writes it as it is, and string(s) is its text.
//
// Keep a Secret in an exported field or in a function: fmt prints an unexported
// field without calling its methods. It does not call them for the verb %w either.
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

// Field is a property of a JSON object that may be absent, null or set. The
// zero Field is absent. [Set] and [Null] make the others. Tag a Field with
// omitzero: without that, encoding/json writes an absent one as null.
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

// IsSet reports whether f has a value: it is neither absent nor null.
func (f Field[T]) IsSet() bool { return f.state == fieldSet }

// IsZero reports whether f is absent. The option omitzero of encoding/json calls it.
func (f Field[T]) IsZero() bool { return f.state == fieldAbsent }

// IsNull reports whether f is null.
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

// Format prints the value with the same verb and flags, by the value's own
// methods, so that a [Secret] stays redacted. An absent Field is printed as
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
