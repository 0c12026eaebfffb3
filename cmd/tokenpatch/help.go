package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
)

// command is one of the program's commands.
type command struct {
	name, args string
	does       string // in a line
	flags      []string
	more       string // what else there is to say
	example    string
	run        func(context.Context, *app) error
	calls      bool // the services
}

var commands = []command{
	{
		name: "plan", args: "FILE", run: plan, calls: true,
		does:  "show what would change; send no change",
		flags: []string{"o", "revert", "db", "timeout"},
		more: `It reads the tokens. With -o it writes changes that apply takes: patches that
fail, rather than overwrite what somebody else has changed since. Tokens of V1
cannot be read: their changes are passed on as they are.`,
		example: "tokenpatch plan -o approved.jsonl changes.csv\ntokenpatch plan -revert changes.csv -o undo.jsonl",
	},
	{
		name: "apply", args: "FILE", run: apply, calls: true,
		does:  "make the changes; started again, go on where it was",
		flags: []string{"db", "run", "add", "workers", "timeout", "stop-after", "progress", "http", "http-public"},
		more: `FILE is JSON Lines, or CSV by its name, or - with -run. Without FILE, -run goes
on. An interrupt waits for what was sent; a second one does not.`,
		example: "tokenpatch apply -http 127.0.0.1:8080 approved.jsonl",
	},
	{
		name: "status", run: status,
		does:    "tell how far the runs are, or one of them",
		flags:   []string{"db", "run"},
		example: "tokenpatch status",
	},
	{
		name: "report", run: writeReport,
		does:    "tell what became of each token, in the order of FILE",
		flags:   []string{"db", "run", "format", "o"},
		more:    "html is one page that needs no network.",
		example: "tokenpatch report -format html -o report.html",
	},
	{
		name: "retry", run: retry,
		does:  "put changes that failed back, for the next apply",
		flags: []string{"db", "run", "outcome", "even-if-applied"},
		more: `An unknown one is settled by a read before anything is sent. What may not be
sent twice, and a read does not show, stays unknown unless -even-if-applied.`,
		example: "tokenpatch retry -outcome unknown && tokenpatch apply -run changes.csv",
	},
	{
		name: "list", run: list, calls: true,
		more:  "They are without their values. A FILE is made from them with jq:",
		does:  "write the tokens of V2 as JSON Lines",
		flags: []string{"all", "timeout"},
		example: `tokenpatch list | jq -c 'select(.role == "admin") |
    {api: "v2", id: ._id, want: {role: "reader"}}' >readers.jsonl`,
	},
	{
		name: "demo", run: demo,
		more:    "It needs no account and no network, and takes some 20 seconds.",
		does:    "show all of it, against a service of its own",
		example: "tokenpatch demo",
	},
}

func names() string {
	var names []string
	for _, c := range commands {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

const fileHelp = `FILE has a change a line: as JSON or, where its name ends in .csv, as CSV:
  {"api": "v2", "id": "61095542756dba551110ae21", "want": {"role": "reader"}}

  id,role,addCustomRoleIds
  61095542756dba551110ae21,reader,ops;deploy
`

const environment = `The environment has the credentials: LAUNCHDARKLY_ACCESS_TOKEN (and _API_HOST)
for V2, DEEPSET_API_KEY (and DEEPSET_API_URL) for V1. Traces and metrics go
where OTEL_* variables say, such as OTEL_EXPORTER_OTLP_ENDPOINT.
`

// writeHelp writes what the program does.
func writeHelp(w io.Writer) {
	fmt.Fprint(w, "tokenpatch changes the settings of access tokens, and tells what became of each.\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  tokenpatch %-13s%s\n", c.name+" "+c.args, c.does)
	}
	fmt.Fprint(w, "\ntokenpatch COMMAND -h tells more, tokenpatch version the version.\n\n", fileHelp, "\n", environment, `
Exit status: 0 everything applied, 1 an error of the program's own, 2 usage,
3 something was not applied or is pending, 4 something is unknown.
`)
}

// writeHelp writes what a command does: on one screen.
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
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  -%-18s%s\n", strings.TrimSpace(name+" "+value), text)
	}
	fmt.Fprint(w, "\nExample:\n")
	for line := range strings.SplitSeq(c.example, "\n") {
		fmt.Fprintf(w, "  %s\n", line)
	}
}
