package ratelimit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

const (
	// Version is that of the format. States of several versions can be kept side by side if it is part of their keys.
	Version = 2

	maxEncoded = 32 << 10
)

var (
	errOtherVersion = errors.New("the stored state has another version of the format")
	errAbsurd       = errors.New("the stored state cannot be right")
)

// decode reads a stored pool. A store that has none has no bytes. Whoever wrote it, it is believed only if take and report
// could have made it.
func decode(data []byte, now int64) (*pool, error) {
	p := &pool{Version: Version}
	if len(data) > maxEncoded {
		return nil, errAbsurd
	}
	if err := json.Unmarshal(data, p); err != nil && len(data) > 0 {
		return nil, fmt.Errorf("%w: %w", errAbsurd, err)
	}
	if p.Version != Version {
		return nil, errOtherVersion
	}
	if p.Limits == nil {
		p.Limits = make(map[string]*pooled)
	}
	plausible := len(p.Limits) <= maxPooled && len(p.Answers) <= maxAnswers
	for _, x := range p.Limits {
		plausible = plausible && x != nil && x.isPlausible(now)
	}
	if !plausible {
		return nil, errAbsurd
	}
	return p, nil
}

// isPlausible reports whether nothing lies in the future but the end of a window, and no number is out of bounds.
func (x *pooled) isPlausible(now int64) bool {
	ends := now + maxWindowLeft
	if x.None {
		ends = now + believedFor
	}
	least, most := min(x.Limit, x.Left, x.Asked, x.Before), max(x.Limit, x.Left, x.Asked, x.Before)
	return least >= 0 && most <= maxNumber && x.Opened <= now && x.Ends <= ends && x.Probed <= now+maxProbing
}

// answered returns what an update was granted before, if it was.
func (p *pool) answered(id uint64) []grant {
	for _, a := range p.Answers {
		if a.ID == id {
			return a.Grants
		}
	}
	return nil
}

// nameCredential returns what the pool calls a credential: nothing that tells it.
func nameCredential(account, credential string) []byte {
	data := make([]byte, 0, 512)
	data = append(data, "tokenpatch rate limit credential\x00"+account+"\x00"...)
	data = append(data, credential...)
	sum := sha256.Sum256(data)
	return hex.AppendEncode([]byte("credential "), sum[:8])
}
