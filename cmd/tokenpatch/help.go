package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/changefile"
)

// command is one of the program's commands.
type command struct {
	name, args string
	does       string // in a line
	flags      []string
	formats    []string // of -format, the default first
	more       string   // the rest of its help
	example    string
	run        func(context.Context, *app) error
	calls      bool // the services
	hidden     bool // from the help
}

// commands are all of them. It is a function since help and completion are commands themselves.
func commands() []command {
	return slices.Concat(changing(), looking(), helping())
}

// changing are the commands around a run.
func changing() []command {
	return []command{
		{
			name: "plan", args: "FILE", run: plan, calls: true,
			does:    "show and save what would change; send no change",
			flags:   []string{"o", "format", "json", "all", "revert", "max-changes", "max-percent", "allow-self", "detailed-exitcode", "db", "share", "timeout", "progress"},
			formats: []string{"text", "json", "html"},
			more: `It reads the tokens. With -o it saves the changes that it shows as patches for
apply: each fails if its token has been changed since. Tokens of V1 cannot be
read: their changes are saved as they are.`,
			example: "tokenpatch plan -o approved.jsonl changes.csv\ntokenpatch plan -revert changes -o undo.jsonl",
		},
		{
			name: "apply", args: "FILE", run: apply, calls: true,
			does:    "make the changes; run it again to resume",
			flags:   []string{"db", "run", "digest", "max-changes", "max-percent", "allow-self", "yes", "again", "add", "fresh", "share", "workers", "timeout", "stop-after", "progress", "http", "http-keep", "http-public"},
			more:    "FILE is what plan saved, or a FILE of your own (tokenpatch help file).\n-run without FILE resumes a run. An interrupt waits for requests in flight.",
			example: "tokenpatch apply -http 127.0.0.1:8080 approved.jsonl",
		},
		{
			name: "retry", run: retry,
			does:  "make changes that failed pending again, for the next apply",
			flags: []string{"db", "run", "outcome", "all", "even-if-applied"},
			more: `What would fail again as it is stays as it is, such as a change of a token that
does not exist. An unknown change is settled by a read before anything is sent.
If the read does not decide it and it may not be sent twice, it stays unknown,
unless -even-if-applied is given.`,
			example: "tokenpatch retry -outcome unknown && tokenpatch apply -run changes",
		},
	}
}

// looking are the commands to look at a run or at the account's tokens.
func looking() []command {
	return []command{
		{
			name: "status", run: status,
			does:    "show the progress of all runs, or of one",
			flags:   []string{"db", "run", "format", "json", "detailed-exitcode"},
			formats: []string{"text", "json"},
			example: "tokenpatch status",
		},
		{
			name: "report", run: writeReport,
			does:    "report the outcome of each token, in the order of FILE",
			flags:   []string{"db", "run", "format", "json", "o", "detailed-exitcode"},
			formats: []string{"text", "csv", "json", "html"},
			more:    "html is one page that needs no network.",
			example: "tokenpatch report -o report.html",
		},
		{
			name: "list", run: list, calls: true,
			does:    "list tokens of V2; as CSV, in a form that plan reads",
			flags:   []string{"format", "json", "o", "role", "custom-role", "name", "owner", "unused", "never-used", "api-version", "service", "personal", "all", "timeout", "progress"},
			formats: []string{"text", "csv", "json"},
			more:    "They are listed without their values. Only tokens that match all flags are\nlisted. Change cells of the CSV, and pass it to plan.",
			example: "tokenpatch list -service -unused 90d -o unused.csv",
		},
		{
			name: "audit", run: auditTokens, calls: true,
			does: "find tokens of V2 that deserve attention; change nothing",
			flags: []string{
				"o", "format", "json", "write", "suggest", "baseline", "fail-on", "unused", "service-only", "limit", "config", "init", "timeout", "progress",
			},
			formats: []string{"text", "csv", "json", "html", "sarif"},
			more: `Rules, severities, thresholds and exceptions are in audit.toml: -init writes one
with comments. What -write suggests is a FILE: plan shows it, apply makes it.
Tokens of V1 cannot be read. Exit status 5: there are findings (see -fail-on).`,
			example: "tokenpatch audit -unused 90d -o findings.html -write changes.jsonl",
		},
	}
}

func helping() []command {
	return []command{
		{
			name: "whoami", run: whoami, calls: true,
			does:    "print whose credentials these are, and the rate limit",
			flags:   []string{"timeout"},
			more:    "An API key of V1 names no more than its expiry, which is not checked.",
			example: "tokenpatch whoami",
		},
		{
			name: "demo", run: demo,
			does:    "show all of it against a service of its own",
			more:    "It needs no account and no network, and takes some 20 seconds.",
			example: "tokenpatch demo",
		},
		{
			name: "completion", args: "SHELL", run: completion,
			does:    "print the completion script for bash, zsh or fish",
			example: "source <(tokenpatch completion bash)",
		},
		{name: "help", args: "TOPIC", run: help, hidden: true},
		{name: "version", run: printVersion, hidden: true},
		{name: "man", args: "FOLDER", run: man, hidden: true}, // for packages
		{name: "__complete", run: complete, hidden: true},
	}
}

// names are the commands in the help.
func names() (names []string) {
	for _, c := range commands() {
		if !c.hidden {
			names = append(names, c.name)
		}
	}
	return names
}

// help is the help of the program, of one command, or of FILE.
func help(_ context.Context, a *app) error {
	switch {
	case len(a.args) == 0:
		writeHelp(a.stdout)
		return nil
	case a.args[0] == "file":
		fmt.Fprint(a.stdout, fileHelp, changefile.Help())
		return nil
	}
	c, err := findCommand(a.args[0])
	if err == nil {
		c.writeHelp(a.stdout)
	}
	return err
}

const fileHelp = `FILE lists the tokens to change: a spreadsheet saved as CSV, or JSON, one change
a line. "-" is standard input.

  id,role,addCustomRoleIds,personal,comment
  61095542756dba551110ae21,reader,ops;deploy,,quarterly review
  6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11,,,false,

  {"api": "v2", "id": "61095542756dba551110ae21", "want": {"role": "reader"}}
  {"api": "v1", "id": "6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11",
   "update": {"personal": false}}

`

const environment = `Credentials come from the environment: LAUNCHDARKLY_ACCESS_TOKEN for V2, and
DEEPSET_API_KEY for V1. LAUNCHDARKLY_API_HOST and DEEPSET_API_URL name another
host. OTEL_* variables, such as OTEL_EXPORTER_OTLP_ENDPOINT, turn on traces and
metrics.
`

// writeHelp writes the help of the program.
func writeHelp(w io.Writer) {
	fmt.Fprint(w, "tokenpatch changes settings of access tokens, and reports the outcome of each.\n\nCommands:\n")
	for _, c := range commands() {
		if !c.hidden {
			fmt.Fprintf(w, "  %-18s%s\n", c.name+" "+c.args, c.does)
		}
	}
	fmt.Fprint(w, "\n\"tokenpatch COMMAND -h\" shows its flags, \"tokenpatch help file\" what FILE is.\n\n", environment, `
Exit status: 0 done, 1 the command could not do its job, 2 wrong use,
3 something was not applied, 4 something is unknown, 5 an audit has findings,
130 interrupted.
`)
}

// writeHelp writes the help of a command.
func (c command) writeHelp(w io.Writer) {
	usage := "tokenpatch " + c.name
	if len(c.flags) > 0 {
		usage += " [flags]"
	}
	fmt.Fprintf(w, "%s\n%s.\n", strings.TrimSpace(usage+" "+c.args), strings.ToUpper(c.does[:1])+c.does[1:])
	if c.more != "" {
		fmt.Fprintf(w, "\n%s\n", c.more)
	}
	set := c.flagSet(new(options))
	if len(c.flags) > 0 {
		fmt.Fprintln(w)
	}
	for _, name := range c.flags {
		f := set.Lookup(name)
		value, text := flag.UnquoteUsage(f)
		if !slices.Contains([]string{"", "false", "0", "0%", "100%", "-1"}, f.DefValue) {
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  -%-20s%s\n", strings.TrimSpace(name+" "+value), text)
	}
	fmt.Fprint(w, "\nExample:\n")
	for line := range strings.SplitSeq(c.example, "\n") {
		fmt.Fprintf(w, "  %s\n", line)
	}
}
