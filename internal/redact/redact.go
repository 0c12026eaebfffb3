package redact

import (
	"errors"
	"slices"
	"sync"
	"unicode/utf8"
)

// Redacted stands for what must not be shown.
const Redacted = "[redacted]"

// runLength is how many characters of a credential in a row are a part of it.
const runLength = 8

// Secrets are the credentials that are redacted in text from a server or a
// transport. A nil Secrets has none.
type Secrets struct {
	secrets []string

	build sync.Once
	runs  map[uint64]bool // every run of runLength bytes, in lower case
	short []window        // those that are shorter: unescaped, or all of a short credential
}

// New returns the credentials that are not empty.
func New(secrets ...string) *Secrets {
	return &Secrets{secrets: slices.DeleteFunc(secrets, func(s string) bool { return s == "" })}
}

// With returns s and one more credential.
func (s *Secrets) With(secret string) *Secrets {
	if s == nil {
		return New(secret)
	}
	if secret == "" || slices.Contains(s.secrets, secret) {
		return s
	}
	return &Secrets{secrets: append(slices.Clip(s.secrets), secret)}
}

// Has reports whether a credential is one of s. The empty one always is: there is nothing to redact.
func (s *Secrets) Has(secret string) bool {
	return secret == "" || s != nil && slices.Contains(s.secrets, secret)
}

// Clean returns text with every part of a credential redacted: each run of eight or
// more characters of one, in either case, as it is, escaped for JSON, a URL or HTML
// up to four times over, in hexadecimal or in base64. Of a credential of fewer
// characters only the whole is redacted.
func (s *Secrets) Clean(text string) string {
	if s == nil || len(s.secrets) == 0 || text == "" {
		return text
	}
	s.build.Do(s.collect)
	f := finder{secrets: s}
	for symbols := range readings(text) {
		f.search(symbols)
	}
	return f.redact(text)
}

// CleanError returns err; or, where its text has a part of a credential or is very
// long, an error with the cleaned and shortened text alone. What a server responds
// can end up in the error of a transport.
func (s *Secrets) CleanError(err error) error {
	text := err.Error()
	if clean := s.Clean(shorten(text)); clean != text {
		return errors.New(clean)
	}
	return err
}

const maxErrorText = 1 << 10 // bytes

func shorten(text string) string {
	if len(text) <= maxErrorText {
		return text
	}
	n := maxErrorText
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}

// collect finds the runs of all credentials, as they are and unescaped: what
// unescapes a text unescapes a credential in it.
func (s *Secrets) collect() {
	s.runs = make(map[uint64]bool)
	for _, secret := range s.secrets {
		for end := min(runLength, len(secret)); end <= len(secret); end++ {
			for symbols := range readings(secret[max(0, end-runLength):end]) {
				s.add(symbols)
			}
		}
	}
}

func (s *Secrets) add(run []symbol) {
	var w window
	for _, symbol := range run {
		w.push(symbol.char)
	}
	if w.length == runLength {
		s.runs[w.bytes] = true
	} else if !slices.Contains(s.short, w) {
		s.short = append(s.short, w)
	}
}
