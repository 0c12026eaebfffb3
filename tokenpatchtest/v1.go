package tokenpatchtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// v1Token is a token of V1, as far as its API can change it. A nil field is null.
type v1Token struct {
	ID               uuid.UUID  `json:"id"`
	Name             *string    `json:"name"`
	OrganizationRole *string    `json:"organization_role"`
	Personal         *bool      `json:"personal"`
	RoleID           *uuid.UUID `json:"role_id"`
}

// AddV1 adds a token of V1: a JSON object with its id, a UUID, and any of name, organization_role,
// personal and role_id; missing ones are null. It replaces a token with the same id, like a change
// by another program: its history stays. The error names the mistake in the document, or the token
// of V2 with this id.
func (s *Service) AddV1(document string) error {
	value, err := decodeStrictly([]byte(document))
	if err == nil {
		err = isTokenV1(value)
	}
	var t v1Token
	if err == nil {
		err = json.Unmarshal([]byte(document), &t)
	}
	if err != nil {
		return fmt.Errorf("tokenpatchtest: token: %w", err)
	}
	return s.put(V1, t.ID.String(), encode(t), false)
}

// isTokenV1 returns the mistake in a token of V1, if any.
func isTokenV1(value any) error {
	members, isObject := value.(map[string]any)
	if !isObject {
		return errors.New("want an object")
	}
	id := members["id"]
	if m := checkUUID(id); m != nil || id == uuid.Nil.String() {
		return fmt.Errorf("id: %v: want a UUID other than the nil UUID", id)
	}
	settings := maps.Clone(members)
	delete(settings, "id")
	for _, m := range checkV1Members(settings) {
		return fmt.Errorf("%v: %v: %s", m.Loc[1], m.Input, m.Msg)
	}
	return nil
}

// V1 returns the token of V1 with this id as it is now, and whether there is
// one. The id is the UUID in its canonical form, in lower case.
func (s *Service) V1(id string) (json.RawMessage, bool) { return s.document(V1, id) }

func (s *Service) updateV1(c *call) response {
	if !isJSON(c.request) {
		return refusal(V1, http.StatusUnsupportedMediaType, "the content type must be application/json")
	}
	mistakes := slices.Concat(checkV1ID(c.id), checkV1Update(c.body))
	if len(mistakes) > 0 {
		return respond(http.StatusUnprocessableEntity, map[string]any{"detail": mistakes})
	}
	_, err := s.change(c, strings.ToLower(c.id), func(before json.RawMessage) (json.RawMessage, error) {
		return mergeV1(before, c.body)
	})
	switch {
	case errors.Is(err, errNoToken):
		return refusal(V1, http.StatusNotFound, "API token not found")
	case err != nil:
		return refusal(V1, http.StatusBadRequest, err.Error())
	}
	return respond(http.StatusNoContent, nil)
}

// mergeV1 sets what the update names; decoding over the token leaves the rest.
func mergeV1(before json.RawMessage, update []byte) (json.RawMessage, error) {
	var t v1Token
	if err := json.Unmarshal(before, &t); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(update, &t); err != nil {
		return nil, err
	}
	return encode(t), nil
}

// isJSON reports whether a request declares a JSON body in UTF-8.
func isJSON(r *http.Request) bool {
	types := r.Header.Values("Content-Type")
	if len(types) != 1 {
		return false
	}
	mediaType, params, err := mime.ParseMediaType(types[0])
	if err != nil || mediaType != "application/json" {
		return false
	}
	charset, given := params["charset"]
	delete(params, "charset")
	return len(params) == 0 && (!given || strings.EqualFold(charset, "utf-8"))
}

// mistake is one validation error of V1, as FastAPI words it.
type mistake struct {
	Type  string         `json:"type"`
	Loc   []any          `json:"loc"`
	Msg   string         `json:"msg"`
	Input any            `json:"input"`
	Ctx   map[string]any `json:"ctx,omitempty"`
}

var organizationRoles = []string{"ADMIN", "MEMBER", "EXTERNAL"}

const quotedRoles = "'ADMIN', 'MEMBER' or 'EXTERNAL'"

// v1Fields are the checks of the fields, in the order of the schema. Each
// returns a mistake without a location, or nil.
var v1Fields = []struct {
	name  string
	check func(any) *mistake
}{
	{"name", checkString},
	{"organization_role", checkRole},
	{"personal", checkBool},
	{"role_id", checkUUID},
}

func checkV1ID(id string) []mistake {
	if m := checkUUID(id); m != nil {
		m.Loc, m.Input = []any{"path", "api_token_id"}, id
		return []mistake{*m}
	}
	return nil
}

// checkV1Update returns all mistakes in the body of a request.
func checkV1Update(body []byte) []mistake {
	if len(body) == 0 {
		return []mistake{{Type: "missing", Loc: []any{"body"}, Msg: "Field required"}}
	}
	value, err := decodeStrictly(body)
	if err != nil {
		return []mistake{notJSON(err)}
	}
	members, isObject := value.(map[string]any)
	if !isObject {
		return []mistake{{
			Type: "model_attributes_type", Loc: []any{"body"}, Input: value,
			Msg: "Input should be a valid dictionary or object to extract fields from",
		}}
	}
	return checkV1Members(members)
}

func checkV1Members(members map[string]any) []mistake {
	var mistakes []mistake
	unknown := maps.Clone(members)
	for _, field := range v1Fields {
		value := members[field.name]
		delete(unknown, field.name)
		if value == nil { // absent, or null: both are right
			continue
		}
		if m := field.check(value); m != nil {
			m.Loc, m.Input = []any{"body", field.name}, value
			mistakes = append(mistakes, *m)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		mistakes = append(mistakes, mistake{
			Type: "extra_forbidden", Loc: []any{"body", name}, Input: unknown[name],
			Msg: "Extra inputs are not permitted",
		})
	}
	return mistakes
}

func notJSON(err error) mistake {
	var position int64
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		position = syntax.Offset
	}
	return mistake{
		Type: "json_invalid", Loc: []any{"body", position}, Msg: "JSON decode error",
		Input: map[string]any{}, Ctx: map[string]any{"error": err.Error()},
	}
}

func checkString(v any) *mistake {
	if _, ok := v.(string); ok {
		return nil
	}
	return &mistake{Type: "string_type", Msg: "Input should be a valid string"}
}

func checkRole(v any) *mistake {
	if role, ok := v.(string); ok && slices.Contains(organizationRoles, role) {
		return nil
	}
	return &mistake{
		Type: "enum", Msg: "Input should be " + quotedRoles,
		Ctx: map[string]any{"expected": quotedRoles},
	}
}

// checkBool is stricter than the platform, which takes "true" and 1 for true.
func checkBool(v any) *mistake {
	switch v.(type) {
	case bool:
		return nil
	case string, json.Number:
		return &mistake{Type: "bool_parsing", Msg: "Input should be a valid boolean, unable to interpret input"}
	default:
		return &mistake{Type: "bool_type", Msg: "Input should be a valid boolean"}
	}
}

// checkUUID is stricter than the platform too: only the form with four hyphens.
func checkUUID(v any) *mistake {
	text, ok := v.(string)
	if !ok {
		return &mistake{Type: "uuid_type", Msg: "UUID input should be a string, bytes or UUID object"}
	}
	_, err := uuid.Parse(text)
	if err == nil && len(text) != len(uuid.Nil.String()) {
		err = fmt.Errorf("invalid length: expected %d characters, found %d", len(uuid.Nil.String()), len(text))
	}
	if err == nil {
		return nil
	}
	return &mistake{
		Type: "uuid_parsing", Msg: "Input should be a valid UUID, " + err.Error(),
		Ctx: map[string]any{"error": err.Error()},
	}
}
