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
)

// jsonLines reads a change from each line that is not empty.
type jsonLines struct{ *lines }

func (p *jsonLines) next() (entry, error) {
	for {
		line, err := p.lines.next()
		e := entry{line: p.number}
		if errors.Is(err, errTooLong) {
			e.mistakes = []Mistake{{Line: p.number, Text: fmt.Sprintf("longer than %d bytes: want one change a line", maxLine)}}
			return e, nil
		}
		if err != nil {
			return e, err
		}
		if line = bytes.Trim(line, " \t\r\n"); len(line) == 0 {
			continue
		}
		r := &record{line: p.number}
		r.read(line)
		if len(r.mistakes) == 0 {
			r.change, r.mistakes = checked(r.line, r.change)
		}
		e.change, e.mistakes = r.change, r.mistakes
		return e, nil
	}
}

// record is one line of JSON on its way to a change.
type record struct {
	line     int
	change   fleet.Change
	mistakes []Mistake
}

func (r *record) mistake(column int, member, format string, args ...any) {
	r.mistakes = append(r.mistakes, Mistake{Line: r.line, Column: column, Member: member, Text: fmt.Sprintf(format, args...)})
}

func (r *record) read(line []byte) {
	if at := notUTF8(line); at >= 0 {
		r.mistake(at+1, "", "byte 0x%02X: want UTF-8", line[at])
		return
	}
	if err := json.Unmarshal(line, new(json.RawMessage)); err != nil {
		var syntax *json.SyntaxError
		errors.As(err, &syntax)
		r.mistake(int(syntax.Offset), "", "%v: want a JSON object", err)
		return
	}
	if at := halfSurrogate(line); at >= 0 {
		r.mistake(at+1, "", "%s: want both halves of a surrogate pair", line[at:at+6])
		return
	}
	found := r.members("", member{value: line, column: 1}, "api", "id", "want", "patch", "update", "comment")
	if found == nil {
		return
	}
	r.text(found, "id", &r.change.ID)
	r.what(found)
}

// what reads what is to be done, by the API.
func (r *record) what(found map[string]member) {
	var api, comment string
	r.text(found, "api", &api)
	if _, given := found["comment"]; given {
		r.text(found, "comment", &comment)
	}
	switch {
	case api != "v1" && api != "v2" && len(r.mistakes) == 0:
		r.mistake(found["api"].column, "api", "%q: want v1 or v2", shorten(api))
	case api == "v1":
		r.only(found, "update", "of V1")
		r.change.Update = new(tokenpatch.TokenUpdate)
		fill(r, "update", found["update"], updates, r.change.Update)
		if m, given := found["comment"]; given {
			r.mistake(m.column, "comment", "%s: want none: V1 has no comments", shown(m.value))
		}
	case api == "v2" && found["patch"].value != nil:
		r.only(found, "patch", "of V2 with a patch")
		r.change.Patch = r.patch(found["patch"], comment)
	case api == "v2":
		r.only(found, "want", "of V2")
		r.change.Want = &fleet.Want{Comment: comment}
		fill(r, "want", found["want"], wants, r.change.Want)
	}
}

// only sees to it that a change says what is to be done in one way.
func (r *record) only(found map[string]member, name, of string) {
	for _, other := range []string{"want", "patch", "update"} {
		if m, given := found[other]; given && other != name {
			r.mistake(m.column, other, "not for a change %s: want %s alone", of, name)
		}
	}
	if _, given := found[name]; !given && len(r.mistakes) == 0 {
		r.mistake(0, name, "missing: want what is to be done")
	}
}

func (r *record) patch(m member, comment string) *tokenpatch.Patch {
	patch := new(tokenpatch.Patch)
	switch err := json.Unmarshal(m.value, patch); {
	case m.value[0] != '[':
		r.mistake(m.column, "patch", "%s: want an array of operations, RFC 6902", shown(m.value))
	case err != nil:
		r.mistake(m.column, "patch", "%v", err)
	case comment != "":
		patch.Comment(comment)
	}
	return patch
}

// text reads a member that has to be there.
func (r *record) text(found map[string]member, name string, into *string) {
	m, given := found[name]
	switch {
	case !given:
		r.mistake(0, name, "missing: want a text")
	case json.Unmarshal(m.value, into) != nil || string(m.value) == "null":
		r.mistake(m.column, name, "%s: want a text", shown(m.value))
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
			if err := settings[setting].set(target, m.value); err != nil {
				r.mistake(m.column, name+"."+setting, "%v", err)
			}
		}
	}
}

// member is the value of a member, and the column in which it begins.
type member struct {
	value  json.RawMessage
	column int
}

// members reads the members of an object, which is valid JSON, and nil where it is none.
func (r *record) members(name string, object member, known ...string) map[string]member {
	if object.value[0] != '{' {
		r.mistake(object.column, name, "%s: want an object", shown(object.value))
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
		column := object.column + int(decoder.InputOffset()) - len(value)
		path := strings.TrimPrefix(name+"."+shorten(key), ".")
		_, twice := found[key]
		switch {
		case !slices.Contains(known, key):
			r.mistake(column, path, "unknown: want one of %s", strings.Join(known, ", "))
		case twice:
			r.mistake(column, path, "%s: want it once", shown(value))
		default:
			found[key] = member{value, column}
		}
	}
	return found
}
