package audit

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/tokenpatch/tokenpatch/internal/suggest"
)

// Exception accepts findings until a day.
type Exception struct {
	Rule   string    `json:"-"` // empty is every rule
	ID     string    `json:"-"` // of a token; empty is every token
	Name   string    `json:"-"` // a pattern of names, in which * is any text; empty is every name
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"` // the last day

	name *regexp.Regexp
	line int
}

func (x *Exception) expired(now time.Time) bool { return !now.Before(dayAfter(x.Until)) }

// accepts reports whether the exception accepts a finding of a rule in a token.
func (x *Exception) accepts(rule, id, name string, now time.Time) bool {
	switch {
	case x.expired(now), x.Rule != "" && x.Rule != rule, x.ID != "" && x.ID != id, x.name != nil && !x.name.MatchString(name):
		return false
	}
	return true
}

// pattern is a regular expression for a pattern of names.
func pattern(name string) *regexp.Regexp {
	if name == "" {
		return nil
	}
	return regexp.MustCompile(`(?s)^` + strings.ReplaceAll(regexp.QuoteMeta(name), `\*`, `.*`) + `$`)
}

// exceptions reads the exceptions of the file.
func (r *reading) exceptions(value any) {
	list, isList := value.([]any)
	if !isList {
		r.mistake("exceptions", "exceptions", "%s: want [[exceptions]], in two brackets, before each of them", shown(value))
		return
	}
	for i, one := range list {
		table, isTable := one.(map[string]any)
		if !isTable {
			r.mistake("exceptions", "exceptions", "%s: want tables", shown(one))
			continue
		}
		r.exception(fmt.Sprintf("exceptions.%d", i), table)
	}
}

// exception reads one exception, which stands at a path.
func (r *reading) exception(at string, table map[string]any) {
	x := Exception{line: r.lines[at]}
	texts := map[string]*string{"rule": &x.Rule, "id": &x.ID, "name": &x.Name, "reason": &x.Reason}
	mistakes := len(r.mistakes)
	for _, key := range slices.Sorted(maps.Keys(table)) {
		value := table[key]
		text, isText := value.(string)
		into := texts[key]
		switch {
		case key == "until":
			day, isDay := value.(toml.LocalDate)
			x.Until = day.AsTime(time.UTC)
			if !isDay {
				r.mistake(at+".until", "exceptions.until", "%s: want a day without quotation marks, such as 2027-03-31", shown(value))
			}
		case into == nil:
			r.mistake(at+"."+key, "exceptions."+key, "no such setting%s", suggest.Hint(key, []string{"id", "name", "reason", "rule", "until"}))
		case !isText || strings.TrimSpace(text) == "":
			r.mistake(at+"."+key, "exceptions."+key, "%s: want a text", shown(value))
		case key == "rule" && place(text) < 0:
			r.mistake(at+".rule", "exceptions.rule", "%s: no such rule%s", shown(value), suggest.Hint(text, ruleNames()))
		default:
			*into = text
		}
	}
	if len(r.mistakes) > mistakes {
		return
	}
	r.complete(at, &x)
	x.name = pattern(x.Name)
	r.config.Exceptions = append(r.config.Exceptions, x)
}

// complete checks the required parts of an exception.
func (r *reading) complete(at string, x *Exception) {
	path := "exceptions"
	if x.Rule != "" {
		path += " (" + x.Rule + ")"
	}
	if x.Reason == "" {
		r.mistake(at, path, "no reason: want why the findings are accepted")
	}
	if x.Until.IsZero() {
		r.mistake(at, path, "no until: want the last day, such as 2027-03-31")
	}
	if x.Rule == "" && x.ID == "" && x.Name == "" {
		r.mistake(at, path, "it accepts everything: want at least one of rule, id and name")
	}
}

func ruleNames() []string {
	names := make([]string, len(Rules))
	for i, rule := range Rules {
		names[i] = rule.Name
	}
	return names
}
