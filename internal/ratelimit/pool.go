package ratelimit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	// Version is that of the format. States of several versions can be kept side by side if it is part of their keys.
	Version = 2

	maxEncoded = 32 << 10
)

var (
	errOtherVersion = errors.New("the stored state has another version of the format")
	errUnreadable   = errors.New("the stored state cannot be read")
	errAbsurd       = errors.New("the stored state cannot be right")
)

// versioned is a pool as it is stored.
type versioned struct {
	Version int `json:"version"`
	pool
}

// encode returns the pool as it is stored. It holds no credential.
func (p *pool) encode() ([]byte, error) { return json.Marshal(versioned{Version, *p}) }

// decode reads a stored pool. A store that has none has no bytes. Whoever wrote it, it is believed only if it could be
// one that take and report made.
func decode(data []byte, now int64) (*pool, error) {
	v := versioned{Version: Version}
	switch {
	case len(data) > maxEncoded:
		return nil, errUnreadable
	case len(data) > 0:
		if err := json.Unmarshal(data, &v); err != nil {
			return nil, fmt.Errorf("%w: %w", errUnreadable, err)
		}
	}
	if v.Version != Version {
		return nil, errOtherVersion
	}
	if len(v.Limits) > maxPooled || len(v.Answers) > maxAnswers {
		return nil, errAbsurd
	}
	for _, x := range v.Limits {
		if x == nil || !x.isPlausible(now) {
			return nil, errAbsurd
		}
	}
	if v.Limits == nil {
		v.Limits = make(map[string]*pooled)
	}
	return &v.pool, nil
}

// isPlausible reports whether nothing lies in the future but the end of a window, and no number is out of bounds.
func (x *pooled) isPlausible(now int64) bool {
	ends := now + maxWindowLeft
	if x.None {
		ends = now + believedFor
	}
	for _, n := range []int{x.Limit, x.Left, x.Asked, x.Before} {
		if n < 0 || n > maxNumber {
			return false
		}
	}
	return x.Opened <= now && x.Ends <= ends && x.Probed <= now+maxProbing
}

// isYear reports whether a store's clock can be right.
func isYear(t time.Time) bool { return t.Year() >= 2000 && t.Year() < 2255 }

// hashCredential returns what the pool calls a credential.
func hashCredential(account, credential string) string {
	data := make([]byte, 0, 512)
	data = append(data, "tokenpatch rate limit credential\x00"...)
	data = append(data, account...)
	data = append(data, 0)
	data = append(data, credential...)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
