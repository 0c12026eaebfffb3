package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/suggest"
)

// options are the flags of all commands.
type options struct {
	db, runName             string
	workers                 int
	timeout                 time.Duration
	progress, http          string
	public                  bool
	stopAfter               share
	add, all, evenIfApplied bool
	allowSelf               bool
	out, format             string
	revert, outcome         string
	maxChanges              int
	maxPercent              share
	detailed                bool
	audit                   auditOptions
	digest                  string
	share                   share
	yes, fresh, again       bool
	httpKeep                bool

	role, custom, name, owner    string // of tokens to list, as the others here
	unused                       time.Duration
	neverUsed, service, personal bool
	apiVersion                   int
}

// share is a part of a whole, from 0 to 1: as 0.3 or as 30%.
type share float64

func (s *share) String() string { return strconv.FormatFloat(100*float64(*s), 'g', 6, 64) + "%" }

func (s *share) Set(text string) error {
	number, percent := strings.CutSuffix(text, "%")
	value, err := strconv.ParseFloat(number, 64)
	if percent {
		value /= 100
	}
	if err != nil || !(value >= 0 && value <= 1) {
		return errors.New("want a part of the whole, such as 0.3 or 30%")
	}
	*s = share(value)
	return nil
}

// flags are all flags, by name.
var flags = map[string]func(*flag.FlagSet, *options){
	"db": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.db, "db", defaultDatabase, "SQLite `FILE`, or a postgres:// URL")
	},
	"run": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.runName, "run", "", "`NAME` of the run (default FILE's, or the only run)")
	},
	"workers": func(f *flag.FlagSet, o *options) {
		f.IntVar(&o.workers, "workers", 16, "`N` changes at once, at most 1000")
	},
	"timeout": func(f *flag.FlagSet, o *options) {
		f.DurationVar(&o.timeout, "timeout", 30*time.Second, "`TIME` for one request")
	},
	"progress": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.progress, "progress", "auto", "`HOW` to show it: auto, bar, plain or none")
	},
	"http": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.http, "http", "", "serve the live page at `ADDR`, such as 127.0.0.1:8080")
	},
	"role": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.role, "role", "", "with this base `ROLE`")
	},
	"custom-role": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.custom, "custom-role", "", "with this custom `ROLE`, by key or id")
	},
	"name": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.name, "name", "", "whose name contains `TEXT`, or is like a pattern: ci-*")
	},
	"owner": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.owner, "owner", "", "of this `MEMBER`: id, e-mail address or name")
	},
	"unused": func(f *flag.FlagSet, o *options) {
		f.Func("unused", "not used for this `TIME`, such as 90d", o.setUnused)
	},
	"never-used": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.neverUsed, "never-used", false, "never used")
	},
	"api-version": func(f *flag.FlagSet, o *options) {
		f.IntVar(&o.apiVersion, "api-version", 0, "with this default `VERSION` of the API")
	},
	"service": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.service, "service", false, "service tokens")
	},
	"personal": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.personal, "personal", false, "personal tokens")
	},
	"http-keep": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.httpKeep, "http-keep", false, "keep the page after the end, until Ctrl-C")
	},
	"http-public": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.public, "http-public", false, "let ADDR be one that other machines reach")
	},
	"stop-after": func(f *flag.FlagSet, o *options) {
		f.Var(&o.stopAfter, "stop-after", "stop if more than this `SHARE` fails, such as 10%")
	},
	"add": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.add, "add", false, "add FILE to a run that was made of another file")
	},
	"all": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.all, "all", false, map[string]string{
			"plan": "list tokens that would not change, too", "list": "other members' personal tokens too", "retry": "changes that would fail again, too",
		}[f.Name()])
	},
	"o": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.out, "o", "", "write to `FILE`")
	},
	"json": func(f *flag.FlagSet, o *options) {
		f.BoolFunc("json", "the same as -format json", func(string) error {
			o.format = "json"
			return nil
		})
	},
	"allow-self": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.allowSelf, "allow-self", false, "change the token that the command runs with, too")
	},
	"revert": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.revert, "revert", "", "plan how to undo `RUN`")
	},
	"max-changes": func(f *flag.FlagSet, o *options) {
		f.IntVar(&o.maxChanges, "max-changes", -1, "refuse more than `N` changes")
	},
	"max-percent": func(f *flag.FlagSet, o *options) {
		o.maxPercent = 1
		f.Var(&o.maxPercent, "max-percent", "refuse changes to more than this `SHARE` of rows")
	},
	"digest": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.digest, "digest", "", "refuse a FILE with another `SHA256`")
	},
	"share": func(f *flag.FlagSet, o *options) {
		f.Var(&o.share, "share", "use only this `SHARE` of V2's rate limit, such as 50%")
	},
	"yes": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.yes, "yes", false, "do not ask")
	},
	"fresh": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.fresh, "fresh", false, "start FILE although its run is in another database")
	},
	"again": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.again, "again", false, "check a finished run, and change what has drifted")
	},
	"detailed-exitcode": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.detailed, "detailed-exitcode", false, "exit with 3 or 4 by what was found")
	},
	"outcome": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.outcome, "outcome", "not_applied,unknown", "`WHICH` to make pending again")
	},
	"baseline": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.audit.baseline, "baseline", "", "compare with `FILE`, an earlier -format json")
	},
	"config": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.audit.config, "config", "", "`FILE` with rules and exceptions (default audit.toml, if any)")
	},
	"fail-on": func(f *flag.FlagSet, o *options) {
		f.Func("fail-on", "exit with 5 from this `SEVERITY` on: high, medium, low or none", o.audit.setFailOn)
	},
	"init": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.audit.init, "init", false, "write a commented audit.toml, or -config FILE")
	},
	"limit": func(f *flag.FlagSet, o *options) {
		f.IntVar(&o.audit.limit, "limit", 0, "`N` service tokens are allowed in the account")
	},
	"service-only": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.audit.serviceOnly, "service-only", false, "personal tokens are findings")
	},
	"suggest": func(f *flag.FlagSet, o *options) {
		f.Func("suggest", "`CHANGES` to suggest: quarantine, role=reader, remove, none", o.audit.setSuggest)
	},
	"write": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.audit.write, "write", "", "write the suggested changes to `FILE`, for plan")
	},
	"even-if-applied": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.evenIfApplied, "even-if-applied", false, "send unknown ones again: maybe applied twice")
	},
}

// parse reads the flags and the arguments of a command, in any order.
func (c command) parse(a *app, args []string) error {
	set := c.flagSet(&a.options)
	for {
		if err := set.Parse(args); err != nil {
			return c.flagError(err)
		}
		if args = set.Args(); len(args) == 0 {
			break
		}
		a.args, args = append(a.args, args[0]), args[1:]
	}
	if most := len(strings.Fields(c.args)); len(a.args) > most {
		return usageError{fmt.Sprintf("%q: want %s after the flags", a.args[most], cmp.Or(c.args, "nothing"))}
	}
	if err := c.check(&a.options, set); err != nil {
		return err
	}
	a.formatByEnding(c, set)
	return nil
}

// formatByEnding chooses the format by the ending of -o, unless it is given.
func (o *options) formatByEnding(c command, set *flag.FlagSet) {
	given := false
	set.Visit(func(f *flag.Flag) { given = given || f.Name == "format" || f.Name == "json" })
	ending := map[string]string{".txt": "text", ".csv": "csv", ".json": "json", ".jsonl": "json", ".html": "html", ".htm": "html", ".sarif": "sarif"}[strings.ToLower(filepath.Ext(o.out))]
	if !given && c.name != "plan" && slices.Contains(c.formats, ending) {
		o.format = ending
	}
}

var undefined = regexp.MustCompile(`^flag provided but not defined: -(.*)$`)

// flagError is what is wrong with a flag, and which one was meant.
func (c command) flagError(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	if found := undefined.FindStringSubmatch(err.Error()); found != nil {
		if nearest := suggest.Nearest(found[1], c.flags); nearest != "" {
			return usageError{fmt.Sprintf("no such flag: -%s; did you mean -%s?", found[1], nearest)}
		}
		return usageError{fmt.Sprintf("no such flag: -%s; tokenpatch %s -h lists them", found[1], c.name)}
	}
	return usageError{fmt.Sprintf("%v; tokenpatch %s -h lists the flags", err, c.name)}
}

func (c command) flagSet(o *options) *flag.FlagSet {
	set := flag.NewFlagSet(c.name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, name := range c.flags {
		if name == "format" {
			set.StringVar(&o.format, name, c.formats[0], "`KIND` of output: "+strings.Join(c.formats, ", "))
			continue
		}
		flags[name](set, o)
	}
	return set
}

// choices are the values of flags with few of them.
var choices = map[string][]string{
	"progress": {"auto", "bar", "plain", "none"},
	"outcome":  {"not_applied", "unknown"},
}

// choices are the values of a flag with few of them.
func (c command) choices(name string) []string {
	if name == "format" {
		return c.formats
	}
	return choices[name]
}

// check refuses invalid values of flags.
func (c command) check(o *options, set *flag.FlagSet) error {
	for _, name := range c.flags {
		known := c.choices(name)
		if known == nil {
			continue
		}
		for one := range strings.SplitSeq(set.Lookup(name).Value.String(), ",") {
			if !slices.Contains(known, one) {
				return usageError{fmt.Sprintf("-%s %q%s", name, one, suggest.Hint(one, known))}
			}
		}
	}
	switch {
	case set.Lookup("workers") != nil && (o.workers < 1 || o.workers > 1000):
		return usageError{fmt.Sprintf("-workers %d: want 1 to 1000", o.workers)}
	case set.Lookup("timeout") != nil && o.timeout <= 0:
		return usageError{fmt.Sprintf("-timeout %v: want a time such as 30s", o.timeout)}
	case o.stopAfter == 1:
		return usageError{"-stop-after 100%: want less than all, such as 10%"}
	}
	return errors.Join(checkSource(o.db), checkAddress(o.http, o.public))
}
