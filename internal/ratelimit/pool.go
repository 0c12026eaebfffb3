package ratelimit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
)

// Version is that of the format of a stored pool. It belongs in the store's key.
const Version = 2

const maxEncoded = 32 << 10

var errAbsurd = errors.New("the stored state cannot be right")

// decode reads a stored pool. A store that has none has no bytes. Whoever wrote it, it is believed only if take and report
// could have made it: nothing lies in the future but the end of a window, and no number is out of bounds.
func decode(data []byte, now int64) (*pool, error) {
	p, empty := &pool{}, &pool{Limits: make(map[string]*pooled)}
	if len(data) == 0 {
		return empty, nil
	}
	err := json.Unmarshal(data[:min(len(data), maxEncoded)], p)
	if err != nil || p.Limits == nil || len(p.Limits) > maxPooled || len(p.Answers) > maxAnswers {
		return empty, errAbsurd
	}
	for _, x := range p.Limits {
		if x == nil || !x.isPlausible(now) {
			return empty, errAbsurd
		}
	}
	return p, nil
}

func (x *pooled) isPlausible(now int64) bool {
	ends := now + maxWindowLeft
	if x.None {
		ends = now + believedFor
	}
	least, most := min(x.Limit, x.Left, x.Asked, x.Before), max(x.Limit, x.Left, x.Asked, x.Before)
	return least >= 0 && most <= maxNumber && x.Opened <= now && x.Ends <= ends && x.Probed <= now+maxProbing
}

// nameCredential returns what the pool calls a credential: a hash of it.
func nameCredential(account, credential string) []byte {
	data := make([]byte, 0, 512)
	data = append(data, "tokenpatch rate limit credential\x00"+account+"\x00"...)
	data = append(data, credential...)
	sum := sha256.Sum256(data)
	return hex.AppendEncode([]byte("credential "), sum[:8])
}
