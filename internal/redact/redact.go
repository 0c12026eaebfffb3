// Package redact keeps credentials out of text from a server or a transport.
package redact

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Redacted stands for what must not be shown.
const Redacted = "[redacted]"

// Secrets are credentials to redact. A nil Secrets has none.
type Secrets struct {
	secrets []string
	parts   func() *parts // made when they are first needed
}

// New returns Secrets without the empty ones.
func New(secrets ...string) *Secrets {
	secrets = slices.DeleteFunc(secrets, func(s string) bool { return s == "" })
	return &Secrets{secrets, sync.OnceValue(func() *parts { return partsOf(secrets) })}
}

// With returns s and one more credential.
func (s *Secrets) With(secret string) *Secrets {
	switch {
	case s == nil:
		return New(secret)
	case secret == "" || slices.Contains(s.secrets, secret):
		return s
	}
	return New(append(slices.Clip(s.secrets), secret)...)
}

// Has reports whether a credential is one of s. The empty one always is: there is nothing to redact.
func (s *Secrets) Has(secret string) bool {
	return secret == "" || s != nil && slices.Contains(s.secrets, secret)
}

// Clean returns text with every part of a credential redacted: each run of eight or
// more characters, in upper or lower case. It finds them as they are, in hexadecimal,
// with or without separators, and in base64; each of these escaped for JSON, Go, a URL
// or HTML up to four times, inside a JSON string. A credential of fewer characters is
// redacted only as a whole, and not in hexadecimal or base64. One of fewer than twelve
// can come out if it is escaped, and the text in front of it makes its first
// characters part of an escape.
func (s *Secrets) Clean(text string) string { return s.CleanPrefix(text, len(text)) }

// lookahead is how many bytes after the cut are searched: eight characters, each as
// the longest entity.
const lookahead = runLength * maxEntity

// CleanPrefix returns the first limit bytes of text, cleaned. It also finds a credential across the
// cut.
func (s *Secrets) CleanPrefix(text string, limit int) string {
	limit = min(limit, len(text))
	if s == nil || len(s.secrets) == 0 {
		return text[:limit]
	}
	var hidden mask
	for r := range readings(text[:min(limit+lookahead, len(text))]) {
		s.parts().search(r, &hidden)
	}
	return hidden.apply(text[:limit])
}

const maxErrorText = 1 << 10 // bytes

// CleanError returns err; or, if its text has a part of a credential or is very long,
// an error with only the cleaned and shortened text. The error of a transport can
// quote what a server sent.
func (s *Secrets) CleanError(err error) error {
	text := err.Error()
	limit, cut := len(text), ""
	if limit > maxErrorText {
		limit, cut = maxErrorText, "…"
		for limit > 0 && !utf8.RuneStart(text[limit]) {
			limit--
		}
	}
	if clean := s.CleanPrefix(text, limit) + cut; clean != text {
		return errors.New(clean)
	}
	return err
}

// mask is which bytes of a text are hidden, or nil if none is.
type mask []bool

// hide hides bytes begin to end of a reading of the text.
func (m *mask) hide(r reading, begin, end int) {
	if *m == nil {
		*m = make(mask, r.at(len(r.text)))
	}
	for i := r.at(begin); i < r.at(end); i++ {
		(*m)[i] = true
	}
}

// apply returns text without what is hidden.
func (m mask) apply(text string) string {
	if m == nil {
		return text
	}
	var clean strings.Builder
	for i := range len(text) {
		if !m[i] {
			clean.WriteByte(text[i])
		} else if i == 0 || !m[i-1] {
			clean.WriteString(Redacted)
		}
	}
	return clean.String()
}
