package redact

import (
	"slices"
	"strings"
	"sync"
)

// maxSupplied is how many supplied credentials Known keeps. A program whose credential rotates has a few at a time.
const maxSupplied = 16

// Known is a client's credentials: fixed ones, and the latest from functions. It is safe for
// concurrent use.
type Known struct {
	mu       sync.Mutex
	fixed    []string
	supplied []string // the latest is the last
	secrets  *Secrets // all of them
}

// NewKnown returns the fixed credentials.
func NewKnown(fixed ...string) *Known {
	return &Known{fixed: fixed, secrets: New(fixed...)}
}

// Secrets returns the currently known credentials.
func (k *Known) Secrets() *Secrets {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.secrets
}

// Learn adds a credential from a function, and returns all known ones.
func (k *Known) Learn(secret string) *Secrets {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.secrets.Has(secret) {
		return k.secrets
	}
	k.supplied = append(k.supplied, secret)
	k.supplied = k.supplied[max(0, len(k.supplied)-maxSupplied):]
	k.secrets = New(slices.Concat(k.fixed, k.supplied)...)
	return k.secrets
}

// In reports whether a whole credential is in text. A credential shorter than a run counts only if
// it is the whole text.
func (s *Secrets) In(text string) bool {
	return s != nil && slices.ContainsFunc(s.secrets, func(secret string) bool {
		return secret == text || len(secret) >= runLength && strings.Contains(text, secret)
	})
}
