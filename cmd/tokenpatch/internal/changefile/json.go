package changefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/internal/suggest"
)

// jsonRows reads a row from each JSON object: one a line, over several lines, or in an array. The first one may be that of a
// plan.
type jsonRows struct {
	values
	begun bool
	plan  *Plan
}

func (p *jsonRows) next() (entry, error) {
	v, err := p.values.next()
	if errors.Is(err, errTooLong) {
		want := fmt.Sprintf("longer than %d bytes: want one change a line", maxLine)
		return entry{Row: Row{Line: v.line}, mistakes: []Mistake{{Line: v.line, Want: want}}}, nil
	}
	if err != nil {
		return entry{}, err
	}
	r := &record{value: v, entry: entry{Row: Row{Line: v.line}}}
	first := !p.begun
	p.begun = true
	if found := r.object(p.plan != nil, first); found != nil {
		if m, isPlan := found["plan"]; isPlan {
			p.plan = r.header(m)
			if len(r.mistakes) == 0 {
				return p.next()
			}
			return r.entry, nil
		}
		r.read(found)
	}
	if len(r.mistakes) == 0 {
		r.Row, r.mistakes = checked(r.Row)
	}
	return r.entry, nil
}

// record is one JSON object on its way to a row.
type record struct {
	value
	entry
}

// mistake notes what is wrong at an offset into the value; -1 is the whole.
func (r *record) mistake(offset int, member, value, want string) {
	m := Mistake{Line: r.line, Member: member, Value: value, Want: want}
	if offset >= 0 {
		m.Line, m.Column = r.position(offset)
	}
	r.mistakes = append(r.mistakes, m)
}

// object checks that the value is an object with known members.
func (r *record) object(plan, first bool) map[string]member {
	text := r.text
	if at := notUTF8(text); at >= 0 {
		r.mistake(at, "", fmt.Sprintf("byte 0x%02X", text[at]), "want UTF-8")
		return nil
	}
	if err := json.Unmarshal(text, new(json.RawMessage)); err != nil {
		var syntax *json.SyntaxError
		errors.As(err, &syntax)
		r.mistake(max(int(syntax.Offset)-1, 0), "", "", err.Error()+": want a JSON object")
		return nil
	}
	if at := halfSurrogate(text); at >= 0 {
		r.mistake(at, "", string(text[at:at+6]), "want both halves of a surrogate pair")
		return nil
	}
	known := []string{"api", "id", "want", "patch", "update", "comment"}
	if plan {
		known = append(known, "name", "roles", "skip")
	}
	if first && bytes.HasPrefix(bytes.TrimLeft(text[1:], " \t\r\n"), []byte(`"plan"`)) {
		known = []string{"plan"}
	}
	return r.members("", member{value: text}, known...)
}

// header reads the first line of a plan.
func (r *record) header(m member) *Plan {
	plan := new(Plan)
	switch err := json.Unmarshal(m.value, plan); {
	case err != nil:
		r.mistake(m.offset, "plan", shown(m.value), "want the first line of a plan, as tokenpatch plan writes it")
	case plan.Version != PlanVersion:
		r.mistake(m.offset, "plan.version", fmt.Sprint(plan.Version), fmt.Sprintf("want %d: this plan is of another version of tokenpatch", PlanVersion))
	}
	return plan
}

// read reads what is to be done.
func (r *record) read(found map[string]member) {
	api := "v2"
	if _, isUpdate := found["update"]; isUpdate {
		api = "v1"
	}
	r.API = api
	r.decode(found, "api", "v1 or v2", &r.API)
	if r.API != "v1" && r.API != "v2" {
		r.mistake(found["api"].offset, "api", fmt.Sprintf("%q", brief(r.API)), "want v1 or v2")
		return
	}
	if _, given := found["id"]; !given {
		r.mistake(-1, "id", "missing", "want the id of an access token")
	}
	r.decode(found, "id", "a text", &r.ID)
	r.decode(found, "comment", "a text", &r.Comment)
	r.decode(found, "name", "a text", &r.Name)
	r.decode(found, "roles", "an object of keys by id", &r.Roles)
	r.decode(found, "skip", "a text", &r.Skip)
	if r.Skip == "" {
		r.change(found)
	}
}

// change reads the change, by the API.
func (r *record) change(found map[string]member) {
	switch {
	case r.API == "v1":
		r.only(found, "update", "of V1")
		r.Change.Update = new(tokenpatch.TokenUpdate)
		fill(r, "update", found["update"], updates, r.Change.Update)
	case found["patch"].value != nil:
		r.only(found, "patch", "of V2 with a patch")
		r.Change.Patch = r.patch(found["patch"])
	default:
		r.only(found, "want", "of V2")
		r.Change.Want = &fleet.Want{Comment: r.Comment}
		fill(r, "want", found["want"], wants, r.Change.Want)
	}
}

// only refuses a change given in two ways, or in none.
func (r *record) only(found map[string]member, name, of string) {
	for _, other := range []string{"want", "patch", "update"} {
		if m, given := found[other]; given && other != name {
			r.mistake(m.offset, other, "", "not for a change "+of+": want "+name+" alone")
		}
	}
	if _, given := found[name]; !given && len(r.mistakes) == 0 {
		r.mistake(-1, name, "missing", "want what is to be done")
	}
}

func (r *record) patch(m member) *tokenpatch.Patch {
	patch := new(tokenpatch.Patch)
	switch err := json.Unmarshal(m.value, patch); {
	case m.value[0] != '[':
		r.mistake(m.offset, "patch", shown(m.value), "want an array of operations, RFC 6902")
	case err != nil:
		r.mistake(m.offset, "patch", "", err.Error())
	case r.Comment != "":
		patch.Comment(r.Comment)
	}
	return patch
}

// decode reads a member if it is there.
func (r *record) decode(found map[string]member, name, want string, into any) {
	m, given := found[name]
	if given && (json.Unmarshal(m.value, into) != nil || string(m.value) == "null") {
		r.mistake(m.offset, name, shown(m.value), "want "+want)
	}
}

// fill reads the settings in an object.
func fill[T any](r *record, name string, object member, settings map[string]setting[T], target *T) {
	if object.value == nil {
		return
	}
	names := slices.Sorted(maps.Keys(settings))
	found := r.members(name, object, names...)
	for _, setting := range names {
		if m, given := found[setting]; given {
			if want := settings[setting].set(target, m.value); want != "" {
				r.mistake(m.offset, name+"."+setting, shown(m.value), want)
			}
		}
	}
}

// member is the value of a member, and the offset at which it begins.
type member struct {
	value  json.RawMessage
	offset int
}

// members reads the members of an object, which is valid JSON, and nil if it is none.
func (r *record) members(name string, object member, known ...string) map[string]member {
	if object.value[0] != '{' {
		r.mistake(object.offset, name, shown(object.value), "want an object")
		return nil
	}
	found := map[string]member{}
	decoder := json.NewDecoder(bytes.NewReader(object.value))
	_, _ = decoder.Token() // the bracket
	for decoder.More() {
		token, _ := decoder.Token()
		key, _ := token.(string)
		var value json.RawMessage
		_ = decoder.Decode(&value)
		offset := object.offset + int(decoder.InputOffset()) - len(value)
		path := strings.TrimPrefix(name+"."+brief(key), ".")
		_, twice := found[key]
		switch {
		case !slices.Contains(known, key):
			r.mistake(offset, path, "", "unknown"+suggest.Hint(key, known))
		case twice:
			r.mistake(offset, path, shown(value), "want it once")
		default:
			found[key] = member{value, offset}
		}
	}
	return found
}
