package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// options are what the flags of all commands say.
type options struct {
	db, runName             string
	workers                 int
	timeout                 time.Duration
	progress, http          string
	public                  bool
	stopAfter               float64
	add, all, evenIfApplied bool
	out, format             string
	revert, outcome         string
}

// flags are all flags, by name.
var flags = map[string]func(*flag.FlagSet, *options){
	"db": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.db, "db", "tokenpatch.db", "SQLite `FILE`, or a postgres:// URL")
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
	"http-public": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.public, "http-public", false, "let ADDR be one that other machines reach")
	},
	"stop-after": func(f *flag.FlagSet, o *options) {
		f.Float64Var(&o.stopAfter, "stop-after", 0, "stop where more than this `SHARE` fails, 0 to 1 (0: never)")
	},
	"add": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.add, "add", false, "add FILE to a run that was made of another file")
	},
	"all": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.all, "all", false, "other members' personal tokens too")
	},
	"o": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.out, "o", "", "write to `FILE`")
	},
	"format": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.format, "format", "text", "`KIND` of report: text, csv, json or html")
	},
	"revert": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.revert, "revert", "", "plan how to undo what `RUN` did")
	},
	"outcome": func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.outcome, "outcome", "not_applied,unknown", "`WHICH` to put back")
	},
	"even-if-applied": func(f *flag.FlagSet, o *options) {
		f.BoolVar(&o.evenIfApplied, "even-if-applied", false, "send unknown ones again: applied twice, maybe")
	},
}

// parse reads the flags and the arguments of a command, in any order.
func (c command) parse(a *app, args []string) error {
	set := c.flagSet(&a.options)
	for {
		if err := set.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return err
			}
			return usageError{fmt.Sprintf("%v: tokenpatch %s -h lists the flags", err, c.name)}
		}
		if args = set.Args(); len(args) == 0 {
			break
		}
		a.args, args = append(a.args, args[0]), args[1:]
	}
	if most := strings.Count(c.args, "FILE"); len(a.args) > most {
		return usageError{fmt.Sprintf("%q: want %s after the flags", a.args[most], [...]string{"nothing", "one FILE"}[most])}
	}
	return a.check(set)
}

func (c command) flagSet(o *options) *flag.FlagSet {
	set := flag.NewFlagSet(c.name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, name := range c.flags {
		flags[name](set, o)
	}
	return set
}

// check refuses values that a flag may not have. A flag that the command does not have is left as it is.
func (o *options) check(set *flag.FlagSet) error {
	oneOf := func(name, value string, values ...string) error {
		if value == "" || slices.Contains(values, value) {
			return nil
		}
		return usageError{fmt.Sprintf("-%s %q: want one of %s", name, value, strings.Join(values, ", "))}
	}
	switch {
	case set.Lookup("workers") != nil && (o.workers < 1 || o.workers > 1000):
		return usageError{fmt.Sprintf("-workers %d: want 1 to 1000", o.workers)}
	case set.Lookup("timeout") != nil && o.timeout <= 0:
		return usageError{fmt.Sprintf("-timeout %v: want a time such as 30s", o.timeout)}
	case !(o.stopAfter >= 0 && o.stopAfter < 1):
		return usageError{fmt.Sprintf("-stop-after %v: want a share such as 0.1, less than 1", o.stopAfter)}
	}
	for _, one := range strings.Split(o.outcome, ",") {
		if err := oneOf("outcome", one, "not_applied", "unknown"); err != nil {
			return err
		}
	}
	return errors.Join(
		oneOf("progress", o.progress, "auto", "bar", "plain", "none"),
		oneOf("format", o.format, "text", "csv", "json", "html"),
		checkSource(o.db),
		checkAddress(o.http, o.public),
	)
}
