package tokenpatch

import (
	"errors"
	"strings"
)

const redacted = "[redacted]"

// redact takes the credential of an Authorization header out of a text that
// came from the network.
func redact(text, authorization string) string {
	secret := secretOf(authorization)
	text = strings.ReplaceAll(text, secret, redacted)
	if strings.Contains(text, `\`) { // JSON may have escaped it, and decoding would bring it back
		escaped := appendString(nil, secret)
		text = strings.ReplaceAll(text, string(escaped[1:len(escaped)-1]), redacted)
	}
	return text
}

// redactError returns err, or its redacted text alone where that differs: a
// server can have what it answers end up in a transport's error.
func redactError(err error, authorization string) error {
	text := err.Error()
	if clean := redact(text, authorization); clean != text {
		return errors.New(clean)
	}
	return err
}

// secretOf is an Authorization header without its scheme.
func secretOf(authorization string) string {
	return authorization[strings.LastIndexByte(authorization, ' ')+1:]
}
