package main

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable is a text on one line, without what a terminal would obey: control characters, and those that turn the
// direction of writing. What a service, a token or a file says is shown through it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return utf8.RuneError
		default:
			return r
		}
	}, text)
}

// shorten cuts a text that is shown to a person.
func shorten(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-3]) + "..."
}
