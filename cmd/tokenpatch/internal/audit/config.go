package audit

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	_ "embed"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/internal/suggest"
)

// Example is a configuration file with all settings at their defaults, and comments.
//
//go:embed audit.toml
var Example string

// Config is what the rules compare tokens with. [DefaultConfig] is the one without a file.
type Config struct {
	FailOn            Severity
	Unused            time.Duration // from which on a token is unused
	Quarantine        time.Duration // how long one lasts
	CurrentAPIVersion int           // such as 20240415
	ServiceOnly       bool          // personal tokens are not allowed
	Limit             int           // how many service tokens the account may have
	Percent           int           // of Limit, from which on there are many
	Exceptions        []Exception

	severities  map[string]Severity // by rule
	suggestions map[string]string   // by rule
}

// DefaultConfig returns the configuration without a file.
func DefaultConfig() Config {
	c := Config{
		FailOn: Medium, Unused: 90 * day, Quarantine: 30 * day, CurrentAPIVersion: 20240415, Limit: 200, Percent: 80,
		severities: map[string]Severity{},
		suggestions: map[string]string{
			"unused": suggestQuarantine, "never-used": suggestQuarantine, "admin": suggestNone, "unknown-role": suggestRemove,
		},
	}
	for _, rule := range Rules {
		c.severities[rule.Name] = rule.Severity
	}
	return c
}

// Severity is the severity of a rule's findings; None if the rule is off.
func (c *Config) Severity(rule string) Severity { return c.severities[rule] }

// suggestion is the suggested change of a rule.
func (c *Config) suggestion(rule string) string {
	if s, ok := c.suggestions[rule]; ok {
		return s
	}
	return suggestNone
}

// Suggest sets the changes to suggest from a list such as "role=reader", "quarantine" or "none,role=reader": "none" is none
// of those named before it, or in the file.
func (c *Config) Suggest(list string) error {
	for one := range strings.SplitSeq(list, ",") {
		switch {
		case one == suggestNone:
			for rule := range c.suggestions {
				c.suggestions[rule] = suggestNone
			}
		case one == suggestQuarantine:
			c.suggestions["unused"], c.suggestions["never-used"] = one, one
		case one == suggestRemove:
			c.suggestions["unknown-role"] = one
		case isRole(one):
			c.suggestions["admin"] = one
		default:
			return fmt.Errorf("%q: want one of quarantine, remove, none, role=reader or role=writer", one)
		}
	}
	return nil
}

// isRole reports whether a suggestion is a base role, to replace an administrator's role.
func isRole(suggestion string) bool {
	role, ok := strings.CutPrefix(suggestion, suggestRole)
	return ok && baseRole.MatchString(role) && !isAdmin(tokenpatch.Role(role))
}

var baseRole = regexp.MustCompile(`^[a-z][a-z_]*$`)

// ParseDays reads a time of whole days, such as 90d.
func ParseDays(text string) (time.Duration, error) {
	n, isDays := strings.CutSuffix(text, "d")
	days, err := strconv.Atoi(n)
	if !isDays || err != nil || days < 1 || days > 36500 {
		return 0, fmt.Errorf("%q: want days such as 90d", text)
	}
	return time.Duration(days) * day, nil
}

// setting is a setting of the file: what it can be, and how it is set. set reports whether the value is one of those.
type setting struct {
	want string
	set  func(*Config, any) bool
}

func days(of func(*Config) *time.Duration) setting {
	return setting{`want days such as "90d"`, func(c *Config, value any) bool {
		text, _ := value.(string)
		d, err := ParseDays(text)
		*of(c) = d
		return err == nil
	}}
}

func number(least, most int64, want string, of func(*Config) *int) setting {
	return setting{want, func(c *Config, value any) bool {
		n, ok := value.(int64)
		*of(c) = int(n)
		return ok && n >= least && n <= most
	}}
}

func severity(set func(*Config, Severity)) setting {
	return setting{`want "high", "medium", "low" or "none"`, func(c *Config, value any) bool {
		var s Severity
		text, _ := value.(string)
		err := s.UnmarshalText([]byte(text))
		set(c, s)
		return err == nil
	}}
}

func suggestion(rule, want string, other func(string) bool) setting {
	return setting{"want " + want + ` or "none"`, func(c *Config, value any) bool {
		text, _ := value.(string)
		c.suggestions[rule] = text
		return text == suggestNone || other(text)
	}}
}

func isText(want string) func(string) bool { return func(text string) bool { return text == want } }

// settings are the settings of the file, by path.
func settings() map[string]setting {
	all := map[string]setting{
		"fail-on":    severity(func(c *Config, s Severity) { c.FailOn = s }),
		"quarantine": days(func(c *Config) *time.Duration { return &c.Quarantine }),

		"rules.unused.after":            days(func(c *Config) *time.Duration { return &c.Unused }),
		"rules.unused.suggest":          suggestion("unused", `"quarantine"`, isText(suggestQuarantine)),
		"rules.never-used.suggest":      suggestion("never-used", `"quarantine"`, isText(suggestQuarantine)),
		"rules.admin.suggest":           suggestion("admin", `"role=reader"`, isRole),
		"rules.unknown-role.suggest":    suggestion("unknown-role", `"remove"`, isText(suggestRemove)),
		"rules.old-api-version.current": number(20000101, 99991231, "want a version such as 20240415", func(c *Config) *int { return &c.CurrentAPIVersion }),
		"rules.many.limit":              number(1, 1_000_000, "want a number such as 200", func(c *Config) *int { return &c.Limit }),
		"rules.many.percent":            number(1, 100, "want 1 to 100", func(c *Config) *int { return &c.Percent }),
		"rules.personal.service-only": {"want true or false", func(c *Config, value any) (ok bool) {
			c.ServiceOnly, ok = value.(bool)
			return ok
		}},
	}
	for _, rule := range Rules {
		all["rules."+rule.Name+".severity"] = severity(func(c *Config, s Severity) { c.severities[rule.Name] = s })
	}
	return all
}

// Mistakes are all mistakes in a configuration file.
type Mistakes struct {
	File  string
	Found []Mistake
}

// Mistake is one of them.
type Mistake struct {
	Line int
	Path string // "rules.unused.after", or "exceptions.until"
	Text string
}

func (m *Mistakes) Error() string {
	texts := make([]string, len(m.Found))
	for i, one := range m.Found {
		path := ""
		if one.Path != "" {
			path = one.Path + ": "
		}
		texts[i] = fmt.Sprintf("%s: line %d: %s%s", m.File, one.Line, path, one.Text)
	}
	return strings.Join(texts, "\n")
}

// Parse reads a configuration file. What it does not set has the default. What is wrong with it is a [*Mistakes].
func Parse(name string, text []byte) (Config, error) {
	r := &reading{config: DefaultConfig(), settings: settings()}
	var tables []string
	r.lines, tables = outline(text)
	var document map[string]any
	if err := toml.Unmarshal(text, &document); err != nil {
		var syntax *toml.DecodeError
		if !errors.As(err, &syntax) {
			return Config{}, fmt.Errorf("%s: %w", name, err)
		}
		line, _ := syntax.Position()
		r.mistakes = []Mistake{{line, r.tableAt(line, tables), strings.TrimPrefix(syntax.Error(), "toml: ")}}
	} else {
		r.table("", document)
	}
	if len(r.mistakes) > 0 {
		slices.SortStableFunc(r.mistakes, func(a, b Mistake) int { return a.Line - b.Line })
		return Config{}, &Mistakes{name, r.mistakes}
	}
	return r.config, nil
}

// reading is a file on its way to a configuration.
type reading struct {
	config   Config
	settings map[string]setting
	lines    map[string]int // by path
	mistakes []Mistake
}

func (r *reading) mistake(at, path, format string, args ...any) {
	line := r.lines[at]
	for line == 0 && at != "" { // it is in an inline table
		at = at[:max(strings.LastIndexByte(at, '.'), 0)]
		line = r.lines[at]
	}
	r.mistakes = append(r.mistakes, Mistake{line, path, fmt.Sprintf(format, args...)})
}

// table reads a table of settings.
func (r *reading) table(path string, table map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		at, value := strings.TrimPrefix(path+"."+key, "."), table[key]
		inner, isTable := value.(map[string]any)
		setting, known := r.settings[at]
		switch {
		case known && !setting.set(&r.config, value):
			r.mistake(at, at, "%s: %s", shown(value), setting.want)
		case known:
		case at == "exceptions":
			r.exceptions(value)
		case isTable && r.hasSettings(at):
			r.table(at, inner)
		case r.hasSettings(at):
			r.mistake(at, at, "%s: want a table: [%s]", shown(value), at)
		default:
			r.unknown(path, at)
		}
	}
}

func (r *reading) hasSettings(path string) bool {
	for known := range r.settings {
		if strings.HasPrefix(known, path+".") {
			return true
		}
	}
	return false
}

// unknown names what stands at a path instead.
func (r *reading) unknown(path, at string) {
	known := []string{}
	if path == "" {
		known = append(known, "exceptions")
	}
	for setting := range r.settings {
		if rest, ok := strings.CutPrefix("."+setting, strings.TrimSuffix("."+path, ".")+"."); ok {
			key, _, _ := strings.Cut(rest, ".")
			known = append(known, key)
		}
	}
	slices.Sort(known)
	what := "no such setting"
	if path == "rules" {
		what = "no such rule"
	}
	r.mistake(at, at, "%s%s", what, suggest.Hint(at[strings.LastIndexByte(at, '.')+1:], slices.Compact(known)))
}

func shown(value any) string {
	switch v := value.(type) {
	case string:
		return strconv.Quote(cut(v, 60))
	case map[string]any:
		return "a table"
	case []any:
		return "a list"
	}
	return fmt.Sprint(value)
}

// tableAt is the last of some tables with a beginning at or before a line.
func (r *reading) tableAt(line int, tables []string) string {
	for _, table := range slices.Backward(tables) {
		if r.lines[table] <= line {
			return strings.TrimRight(table, ".0123456789")
		}
	}
	return ""
}

// outline finds the line of each key, and the tables in their order. The exceptions are numbered from 0: exceptions.0.until.
func outline(text []byte) (lines map[string]int, tables []string) {
	lines = map[string]int{}
	p := unstable.Parser{}
	p.Reset(text)
	table, exceptions := "", 0
	for p.NextExpression() {
		e := p.Expression()
		var keys []string
		line := 0
		for k := e.Key(); k.Next(); {
			keys = append(keys, string(k.Node().Data))
			line = p.Shape(k.Node().Raw).Start.Line
		}
		path := strings.Join(keys, ".")
		switch e.Kind {
		case unstable.ArrayTable:
			path = fmt.Sprintf("%s.%d", path, exceptions)
			exceptions++
			table, tables = path, append(tables, path)
		case unstable.Table:
			table, tables = path, append(tables, path)
		case unstable.KeyValue:
			path = strings.TrimPrefix(table+"."+path, ".")
		}
		if lines[path] == 0 {
			lines[path] = line
		}
	}
	return lines, tables
}
