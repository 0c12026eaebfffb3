// Package shorten cuts texts for people.
package shorten

import "unicode/utf8"

// Text cuts text at a rune boundary to at most limit bytes and a mark.
func Text(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit
	for end > 0 && limit-end < utf8.UTFMax-1 && !utf8.RuneStart(text[end]) { // what is not UTF-8 may have no such boundary
		end--
	}
	return text[:end] + "…"
}
