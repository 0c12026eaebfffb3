// Package suggest finds what somebody probably meant to type.
package suggest

import (
	"fmt"
	"math"
	"strings"
)

// Nearest returns the known word with the smallest difference from a word, or "" if none is close:
// at most a third of its characters, and at least one, may be wrong.
func Nearest(word string, known []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// Hint ends a message about an unknown word: `; did you mean x?`, or the list of known words.
func Hint(word string, known []string) string {
	if nearest := Nearest(word, known); nearest != "" {
		return fmt.Sprintf("; did you mean %s?", nearest)
	}
	return ": want one of " + strings.Join(known, ", ")
}

// distance is the Levenshtein distance of two words. Two swapped neighbors count once.
func distance(a, b string) int {
	if len(a) > 100 || len(b) > 100 { // nobody types such words
		return math.MaxInt
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
