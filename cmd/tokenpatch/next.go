package main

import (
	"regexp"
	"strings"
)

const defaultDatabase = "tokenpatch.db"

// next is a command of tokenpatch to type next, in a shell, with the database of this one.
func (o *options) next(args ...string) string {
	if o.db != "" && o.db != defaultDatabase && args[0] != "plan" {
		args = append(args, "-db", o.db)
	}
	words := []string{"tokenpatch"}
	for _, arg := range args {
		words = append(words, shellWord(arg))
	}
	return strings.Join(words, " ")
}

var plainWord = regexp.MustCompile(`^[\pL\pN_./:@%+,=-]+$`)

// shellWord is a text as one word for a shell.
func shellWord(text string) string {
	if text = printable(text); plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
