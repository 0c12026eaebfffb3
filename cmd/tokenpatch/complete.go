package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch/internal/suggest"
)

// scripts connect a shell to [complete]. When it prints nothing, they complete names of files.
var scripts = map[string]string{
	"bash": `_tokenpatch() {
    local IFS=$'\n'
    COMPREPLY=($(tokenpatch __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _tokenpatch tokenpatch
`,
	"zsh": `#compdef tokenpatch
_tokenpatch() {
    local -a found
    found=(${(f)"$(tokenpatch __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then compadd -- $found; else _files; fi
}
if [ "$funcstack[1]" = _tokenpatch ]; then _tokenpatch "$@"; else compdef _tokenpatch tokenpatch; fi
`,
	"fish": `function __tokenpatch_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found (tokenpatch __complete $words[2..-1] 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path $words[-1]
    end
end
complete -c tokenpatch -f -a '(__tokenpatch_complete)'
`,
}

// completion prints a script for a shell.
func completion(_ context.Context, a *app) error {
	shells := []string{"bash", "zsh", "fish"}
	shell := strings.Join(a.args, "")
	if scripts[shell] == "" {
		return usageError{fmt.Sprintf("%q", shell) + suggest.Hint(shell, shells)}
	}
	_, err := fmt.Fprint(a.stdout, scripts[shell])
	return err
}

// complete prints what may stand in place of the last word.
func complete(ctx context.Context, a *app) error {
	words := append([]string{""}, a.args...)
	last, before := words[len(words)-1], words[:len(words)-1]
	for _, candidate := range candidates(ctx, a, before, last) {
		if strings.HasPrefix(candidate, last) {
			fmt.Fprintln(a.stdout, candidate)
		}
	}
	return nil
}

// candidates are the words after others.
func candidates(ctx context.Context, a *app, before []string, last string) []string {
	if len(before) < 2 {
		return append(names(), "help", "version")
	}
	c, err := findCommand(before[1])
	if err != nil {
		return nil
	}
	previous := strings.TrimLeft(before[len(before)-1], "-")
	switch {
	case c.name == "help":
		return append(names(), "file")
	case c.name == "completion":
		return []string{"bash", "zsh", "fish"}
	case strings.HasPrefix(last, "-"):
		flags := make([]string, len(c.flags))
		for i, name := range c.flags {
			flags[i] = "-" + name
		}
		return flags
	case previous == "run" || previous == "revert":
		return runNames(ctx, a, before)
	case slices.Contains(c.flags, previous):
		return c.choices(previous)
	}
	return nil
}

// runNames are the names of the runs in the database named by the words.
func runNames(ctx context.Context, a *app, words []string) (names []string) {
	a.db = defaultDatabase
	for i, word := range words[:len(words)-1] {
		if strings.TrimLeft(word, "-") == "db" {
			a.db = words[i+1]
		}
	}
	store, err := a.readStore(ctx)
	if err != nil {
		return nil
	}
	defer store.Close()
	runs, _ := store.Runs(ctx)
	for _, run := range runs {
		names = append(names, run.Run)
	}
	return names
}
