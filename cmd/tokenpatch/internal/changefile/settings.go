package changefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/internal/suggest"
)

// kind is what the value of a setting may be.
type kind struct {
	want  string                   // for people
	help  string                   // for people, in the table of columns
	json  func(cell string) string // a cell of a table as JSON
	bad   func(value string) bool  // of the JSON that decodes; nil is never
	known []string                 // the only texts; nil is any
}

var baseRoles = []string{string(tokenpatch.RoleReader), string(tokenpatch.RoleWriter), string(tokenpatch.RoleAdmin), "owner"}

var (
	aText = kind{want: "want a text, or null", json: quote, help: "text"}
	aRole = kind{
		want: "want reader, writer, admin, owner or null", json: role,
		known: baseRoles, help: "reader, writer, admin or owner",
	}
	aList   = kind{want: "want a list of custom roles, none of them empty, or null", json: list, bad: hasEmpty, help: `all custom roles, by key or id: "ops;deploy"`}
	someIDs = kind{want: "want at least one custom role, and none that is empty", json: list, bad: hasNone}
	aDate   = kind{
		want: "want a date as digits such as 20240415, or null", json: asIs, help: "date as digits: 20240415",
		bad: func(value string) bool { return strings.HasPrefix(value, "-") || value == "0" },
	}
	aPolicy = kind{
		want: `want a list of statements such as [{"effect":"allow","resources":["proj/*"],"actions":["*"]}], or null`,
		json: asIs, help: `policy as JSON: [{"effect":"allow", ...}]`,
	}
	someMembers = kind{
		want: `want an object of settings that have no name here, such as {"expiry":1798761600000}`, json: asIs,
		help: `other settings, as JSON: {"expiry": 1798761600000}`, bad: hasNoMember,
	}
	aBoolean  = kind{want: "want TRUE, FALSE or null", json: boolean, help: "TRUE or FALSE"}
	aUUID     = kind{want: "want a UUID other than the nil UUID, or null", json: quote, bad: isNil, help: "UUID"}
	anOrgRole = kind{
		want: "want ADMIN, MEMBER, EXTERNAL or null", json: quote,
		known: []string{"ADMIN", "MEMBER", "EXTERNAL"}, help: "ADMIN, MEMBER or EXTERNAL",
	}
)

// withHelp is a kind with another help.
func (k kind) withHelp(help string) kind {
	k.help = help
	return k
}

// setting is a setting of a T, by its API's name.
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
	"addCustomRoleIds":    {someIDs.withHelp("custom roles to add"), func(w *fleet.Want) any { return &w.AddCustomRoleIDs }},
	"set":                 {someMembers, func(w *fleet.Want) any { return &w.Members }},
	"removeCustomRoleIds": {someIDs.withHelp("custom roles to remove"), func(w *fleet.Want) any { return &w.RemoveCustomRoleIDs }},
}

// updates are the settings of a token of V1.
var updates = map[string]setting[tokenpatch.TokenUpdate]{
	"name":              {aText, func(u *tokenpatch.TokenUpdate) any { return &u.Name }},
	"organization_role": {anOrgRole, func(u *tokenpatch.TokenUpdate) any { return &u.OrganizationRole }},
	"personal":          {aBoolean, func(u *tokenpatch.TokenUpdate) any { return &u.Personal }},
	"role_id":           {aUUID, func(u *tokenpatch.TokenUpdate) any { return &u.RoleID }},
}

// set gives a setting its value, or returns what would be right.
func (s setting[T]) set(target *T, value []byte) (want string) {
	text, isText := textOf(value)
	switch {
	case isText && s.known != nil && !slices.Contains(s.known, text):
		if nearest := suggest.Nearest(text, s.known); nearest != "" {
			return s.want + "; did you mean " + nearest + "?"
		}
		return s.want
	case s.bad != nil && s.bad(string(value)), json.Unmarshal(value, s.field(target)) != nil:
		return s.want
	}
	if name, found := twice(json.NewDecoder(bytes.NewReader(value))); found {
		return fmt.Sprintf("want each name once: %q is there twice", brief(name))
	}
	return ""
}

// twice returns a name that the next JSON value, which is valid, has twice in one object.
func twice(d *json.Decoder) (name string, found bool) {
	start, _ := d.Token()
	if start != json.Delim('{') && start != json.Delim('[') {
		return "", false
	}
	seen := map[string]bool{}
	for d.More() {
		if start == json.Delim('{') {
			token, _ := d.Token()
			if name, _ = token.(string); seen[name] {
				return name, true
			}
			seen[name] = true
		}
		if name, found := twice(d); found {
			return name, true
		}
	}
	_, _ = d.Token() // the bracket
	return "", false
}

func textOf(value []byte) (text string, ok bool) {
	ok = json.Unmarshal(value, &text) == nil && string(value) != "null"
	return text, ok
}

// rounded is a long number as a spreadsheet writes it: 6.10955E+23.
var rounded = regexp.MustCompile(`^\d+([.,]\d+)?E\+?\d+$`)

const wantTextColumn = "a spreadsheet has rounded this number: want the column formatted as text, and the values pasted again"

// placeholders are people's ways to write "nothing".
var placeholders = []string{"null", "(null)", "n/a", "#n/a", "na", "none", "nil", "-", "–", "—", "#ref!", "#value!", "#name?"}

// cellMistake is what is wrong with a cell whatever its column is; empty if nothing is.
func cellMistake(cell string) (want string) {
	switch {
	case slices.ContainsFunc(separators.Split(cell, -1), func(part string) bool { return rounded.MatchString(trim(part)) }):
		return wantTextColumn
	case cell != "null" && slices.Contains(placeholders, strings.ToLower(cell)):
		return "want an empty cell to leave the setting as it is, or null to remove it"
	}
	return ""
}

// shown is JSON as it is shown to a person.
func shown(value []byte) string {
	if text, ok := textOf(value); ok {
		return strconv.Quote(brief(text))
	}
	return brief(string(value))
}

func quote(cell string) string {
	quoted, _ := json.Marshal(cell) // a string is always JSON
	return string(quoted)
}

func asIs(cell string) string { return cell }

// role is a cell with a base role, which a spreadsheet may have capitalized.
func role(cell string) string {
	if lower := strings.ToLower(cell); slices.Contains(baseRoles, lower) {
		return quote(lower)
	}
	return quote(cell)
}

func boolean(cell string) string {
	switch strings.ToLower(cell) {
	case "true", "yes":
		return "true"
	case "false", "no":
		return "false"
	}
	return quote(cell)
}

var separators = regexp.MustCompile("[;,\n]")

// list is a cell with one id after another, separated by semicolons, commas or lines, or as JSON.
func list(cell string) string {
	if strings.HasPrefix(cell, "[") {
		return cell
	}
	ids := separators.Split(cell, -1)
	for i, id := range ids {
		ids[i] = quote(trim(id))
	}
	return "[" + strings.Join(ids, ",") + "]"
}

// hasEmpty reports whether a list has an empty id.
func hasEmpty(value string) bool {
	var ids []string
	return json.Unmarshal([]byte(value), &ids) == nil && slices.Contains(ids, "")
}

func hasNone(value string) bool { return value == "null" || value == "[]" || hasEmpty(value) }

func hasNoMember(value string) bool {
	var found map[string]json.RawMessage
	return json.Unmarshal([]byte(value), &found) != nil || len(found) == 0
}

func isNil(value string) bool { return strings.Trim(value, `"`) == uuid.Nil.String() }

// checked is a row in the form in which a run keeps it, or what is wrong with it as a whole.
func checked(row Row) (Row, []Mistake) {
	wrong := func(want string) (Row, []Mistake) {
		return row, []Mistake{{Line: row.Line, Member: "id", Value: fmt.Sprintf("%q", brief(row.ID)), Want: want}}
	}
	if rounded.MatchString(row.ID) {
		return wrong(wantTextColumn)
	}
	if err := tokenpatch.CheckTokenID(row.ID); err != nil {
		mistakes := mistakesOf(row.Line, err)
		row.ID = "" // which may be a credential
		return row, mistakes
	}
	if row.API == "v1" {
		id, err := uuid.Parse(row.ID)
		if err != nil || id == uuid.Nil {
			return wrong("want a UUID other than the nil UUID: that is what tokens of V1 have")
		}
		row.ID = id.String()
	}
	if row.Skip != "" {
		return row, nil
	}
	row.Change.ID = row.ID
	if _, err := row.Change.MarshalJSON(); err != nil {
		return row, mistakesOf(row.Line, err)
	}
	return row, nil
}

// isV1 reports whether an id is one of V1, whose ids are UUIDs.
func isV1(id string) bool {
	_, err := uuid.Parse(id)
	return err == nil
}

// members are FILE's names for the fields of a change.
var members = strings.NewReplacer(
	"Change.ID", "id",
	"Change.Want.CustomRoleIDs", "want.customRoleIds",
	"Change.Want.AddCustomRoleIDs", "want.addCustomRoleIds",
	"Change.Want.RemoveCustomRoleIDs", "want.removeCustomRoleIds",
	"Change.Want.Members", "want.set",
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
	if input, ok := errors.AsType[*tokenpatch.InputError](err); ok {
		return []Mistake{{Line: line, Member: members.Replace(input.Field), Value: input.Value, Want: "want " + input.Want}}
	}
	return []Mistake{{Line: line, Want: err.Error()}}
}
