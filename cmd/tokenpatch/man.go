package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/changefile"
)

// man writes the manual pages into a folder: one of the program, one of FILE, and one of each command. They show the help as it
// is: there is nothing to keep in step.
func man(_ context.Context, a *app) error {
	if len(a.args) != 1 {
		return usageError{"want the FOLDER to write the manual pages to"}
	}
	var program bytes.Buffer
	writeHelp(&program)
	pages := map[string]manPage{
		"tokenpatch.1":      {"tokenpatch", "changes settings of access tokens, and reports the outcome of each", program.String()},
		"tokenpatch-file.5": {"tokenpatch-file", "lists the tokens to change", fileHelp + changefile.Help()},
	}
	for _, c := range commands() {
		if !c.hidden {
			var help bytes.Buffer
			c.writeHelp(&help)
			pages["tokenpatch-"+c.name+".1"] = manPage{"tokenpatch-" + c.name, c.does, help.String()}
		}
	}
	for file, page := range pages {
		if err := os.WriteFile(filepath.Join(a.args[0], file), []byte(page.roff(file)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// manPage is a manual page: its name, what it is about in a line, and the help that it shows.
type manPage struct{ name, does, help string }

func (p manPage) roff(file string) string {
	section := file[strings.LastIndex(file, ".")+1:]
	day, _, _ := strings.Cut(build().date, "T")
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %q %s %q %q\n.SH NAME\n%s \\- %s\n.SH DESCRIPTION\n.nf\n",
		strings.ToUpper(p.name), section, day, "tokenpatch "+version(), roffText(p.name), roffText(p.does))
	for line := range strings.Lines(p.help) {
		b.WriteString(roffText(line))
	}
	b.WriteString(".fi\n")
	if p.name != "tokenpatch" {
		b.WriteString(".SH SEE ALSO\n.BR tokenpatch (1)\n")
	}
	return b.String()
}

var roffEscapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "–", `\(en`)

// roffText is a line of text as roff wants it. A line that begins with a dot or an apostrophe would be a request.
func roffText(line string) string {
	escaped := roffEscapes.Replace(line)
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		escaped = `\&` + escaped
	}
	return escaped
}
