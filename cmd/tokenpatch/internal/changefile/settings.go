package changefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// kind is what the value of a setting may be.
type kind struct {
	want string                   // for people
	json func(cell string) string // a CSV cell as JSON
	bad  func(value string) bool  // of the JSON that decodes; nil is never
}

var (
	aText = kind{want: "a text, or null", json: quote}
	aRole = kind{
		want: "reader, writer, admin or another role's name, or null", json: quote,
		bad: func(value string) bool { return value == `""` },
	}
	aList   = kind{want: "a list of ids, or null", json: list, bad: hasEmpty}
	someIDs = kind{
		want: "a list of at least one id", json: list,
		bad: func(value string) bool { return value == "null" || value == "[]" || hasEmpty(value) },
	}
	aDate = kind{
		want: "a date as digits such as 20240415, or null", json: asIs,
		bad: func(value string) bool { return strings.HasPrefix(value, "-") || value == "0" },
	}
	aPolicy   = kind{want: `a list of statements such as [{"effect":"allow","resources":["proj/*"],"actions":["*"]}], or null`, json: asIs}
	aBoolean  = kind{want: "true, false or null", json: asIs}
	aUUID     = kind{want: "a UUID other than the nil UUID, or null", json: quote, bad: isNil}
	anOrgRole = kind{
		want: "ADMIN, MEMBER, EXTERNAL or null", json: quote,
		bad: func(value string) bool {
			return !slices.Contains([]string{"null", `"ADMIN"`, `"MEMBER"`, `"EXTERNAL"`}, value)
		},
	}
)

// setting is a setting of a T, by the name that its API has for it.
type setting[T any] struct {
	kind
	field func(*T) any
}

// wants are the settings of a token of V2.
var wants = map[string]setting[fleet.Want]{
	"name":                {aText, func(w *fleet.Want) any { return &w.Name }},
	"description":         {aText, func(w *fleet.Want) any { return &w.Description }},
	"role":                {aRole, func(w *fleet.Want) any { return &w.Role }},
	"customRoleIds":       {aList, func(w *fleet.Want) any { return &w.CustomRoleIDs }},
	"inlineRole":          {aPolicy, func(w *fleet.Want) any { return &w.InlineRole }},
	"defaultApiVersion":   {aDate, func(w *fleet.Want) any { return &w.DefaultAPIVersion }},
	"addCustomRoleIds":    {someIDs, func(w *fleet.Want) any { return &w.AddCustomRoleIDs }},
	"removeCustomRoleIds": {someIDs, func(w *fleet.Want) any { return &w.RemoveCustomRoleIDs }},
}

// updates are the settings of a token of V1.
var updates = map[string]setting[tokenpatch.TokenUpdate]{
	"name":              {aText, func(u *tokenpatch.TokenUpdate) any { return &u.Name }},
	"organization_role": {anOrgRole, func(u *tokenpatch.TokenUpdate) any { return &u.OrganizationRole }},
	"personal":          {aBoolean, func(u *tokenpatch.TokenUpdate) any { return &u.Personal }},
	"role_id":           {aUUID, func(u *tokenpatch.TokenUpdate) any { return &u.RoleID }},
}

// set gives a setting its value, or says what would be right.
func (s setting[T]) set(target *T, value []byte) error {
	if s.bad != nil && s.bad(string(value)) || json.Unmarshal(value, s.field(target)) != nil {
		return fmt.Errorf("%s: want %s", shown(value), s.want)
	}
	return nil
}

// shown is JSON as it is shown to a person.
func shown(value []byte) string {
	var text string
	if json.Unmarshal(value, &text) == nil && string(value) != "null" {
		return strconv.Quote(shorten(text))
	}
	return shorten(string(value))
}

func quote(cell string) string {
	quoted, _ := json.Marshal(cell) // a string is always JSON
	return string(quoted)
}

func asIs(cell string) string { return cell }

// list is a cell with one id after another, separated by semicolons.
func list(cell string) string {
	ids := strings.Split(cell, ";")
	for i, id := range ids {
		ids[i] = quote(strings.TrimSpace(id))
	}
	return "[" + strings.Join(ids, ",") + "]"
}

// hasEmpty tells whether a list has an empty id.
func hasEmpty(value string) bool {
	var ids []string
	return json.Unmarshal([]byte(value), &ids) == nil && slices.Contains(ids, "")
}

func isNil(value string) bool { return strings.Trim(value, `"`) == uuid.Nil.String() }

// checked is a change in the form in which a run keeps it, or what is wrong with it as a whole.
func checked(line int, change fleet.Change) (fleet.Change, []Mistake) {
	if change.Update != nil {
		id, err := uuid.Parse(change.ID)
		if err != nil || id == uuid.Nil {
			return change, []Mistake{{Line: line, Member: "id", Text: fmt.Sprintf("%q: want a UUID other than the nil UUID: that is what tokens of V1 have", shorten(change.ID))}}
		}
		change.ID = id.String()
	}
	if _, err := change.MarshalJSON(); err != nil {
		return change, mistakesOf(line, err)
	}
	return change, nil
}

// members are what a file calls the fields of a change.
var members = strings.NewReplacer(
	"Change.ID", "id",
	"Change.Want.CustomRoleIDs", "want.customRoleIds",
	"Change.Want.AddCustomRoleIDs", "want.addCustomRoleIds",
	"Change.Want.RemoveCustomRoleIDs", "want.removeCustomRoleIds",
	"Change.Want", "want",
	"Change.Update", "update",
)

// mistakesOf lists what is wrong with a change as a whole.
func mistakesOf(line int, err error) []Mistake {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var mistakes []Mistake
		for _, one := range joined.Unwrap() {
			mistakes = append(mistakes, mistakesOf(line, one)...)
		}
		return mistakes
	}
	var input *tokenpatch.InputError
	if errors.As(err, &input) {
		return []Mistake{{Line: line, Member: members.Replace(input.Field), Text: input.Value + ": want " + input.Want}}
	}
	return []Mistake{{Line: line, Text: err.Error()}}
}

// Help describes the columns and members of FILE.
func Help() string { return "" }
