package tokenpatch

import (
	"errors"
	"strconv"
	"strings"
)

const redacted = "[redacted]"

// redact takes a secret out of a text that came from the network, also where
// some of it is escaped as in JSON: decoding would bring it back.
func redact(text, secret string) string {
	if secret == "" {
		return text
	}
	text = strings.ReplaceAll(text, secret, redacted)
	if !strings.Contains(text, `\`) {
		return text
	}
	var clean strings.Builder
	for text != "" {
		if n := escapedLen(text, secret); n > 0 {
			clean.WriteString(redacted)
			text = text[n:]
			continue
		}
		clean.WriteByte(text[0])
		text = text[1:]
	}
	return clean.String()
}

// redactCut is [redact] for a text that broke off, perhaps in the middle of
// the secret.
func redactCut(text, secret string) string {
	text = redact(text, secret)
	for n := min(len(secret), len(text)); n >= 4; n-- {
		if rest, found := strings.CutSuffix(text, secret[:n]); found {
			return rest + redacted
		}
	}
	return text
}

// escapedLen returns how much of text is the secret that it begins with, or 0.
func escapedLen(text, secret string) int {
	rest := text
	for i := range len(secret) {
		c, n := escapedByte(rest, secret[i] == '\\')
		if n == 0 || c != secret[i] {
			return 0
		}
		rest = rest[n:]
	}
	return len(text) - len(rest)
}

// escapedByte returns the byte that text begins with, and the length of what
// stands for it. However often the text was escaped, the backslashes in front
// of a byte are one escape, unless the byte is to be a backslash itself.
func escapedByte(text string, backslash bool) (byte, int) {
	const nested = 15 // backslashes that JSON in JSON in JSON in JSON has
	slashes := 0
	for slashes < min(len(text), nested) && text[slashes] == '\\' {
		slashes++
	}
	code := text[slashes:]
	digits := 0
	switch {
	case code == "":
		return 0, 0
	case slashes > 0 && code[0] == 'u':
		digits = 4
	case slashes > 0 && code[0] == 'x':
		digits = 2
	}
	if digits > 0 && len(code) > digits {
		if c, err := strconv.ParseUint(code[1:1+digits], 16, 7); err == nil {
			return byte(c), slashes + 1 + digits
		}
	}
	if backslash && slashes > 0 {
		return '\\', slashes
	}
	return code[0], slashes + 1
}

// cleanError returns err, or what its text says alone where that holds the
// secret or is longer than a text should be: a server can have what it answers
// end up in a transport's error.
func cleanError(err error, secret string) error {
	text := err.Error()
	if clean := shorten(redact(text, secret), maxErrorText); clean != text {
		return errors.New(clean)
	}
	return err
}

// secretOf is an Authorization header without its scheme.
func secretOf(authorization string) string {
	return authorization[strings.LastIndexByte(authorization, ' ')+1:]
}
