package ratelimit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
)

// pool is the shared state of an account's programs: the current window of each limit, and what is
// left of it. Programs take permits for their waiting callers, and owe nothing afterwards. Its
// times are in milliseconds on the store's clock.
type pool struct {
	Limits  map[string]*pooled `json:"limits"` // by name: "account", "route NAME", "credential HASH"
	Answers []answer           `json:"answers,omitempty"`
}

// pooled is one limit in the pool.
type pooled struct {
	Window int64 `json:"window,omitempty"` // its reset, by the service's clock
	Opened int64 `json:"opened,omitempty"`
	Ends   int64 `json:"ends,omitempty"`
	None   bool  `json:"none,omitempty"`   // whether the limit does not apply, as far as is known until Ends
	Limit  int   `json:"limit,omitempty"`  // what the window admits
	Left   int   `json:"left,omitempty"`   // what is not granted yet
	Asked  int   `json:"asked,omitempty"`  // programs asking in this window
	Before int   `json:"before,omitempty"` // and in the one before
	Probed int64 `json:"probed,omitempty"` // until when a program is probing the next window
}

// answer is what an update granted. A program that missed it asks for the same update again.
type answer struct {
	ID     uint64  `json:"id,string"`
	Grants []grant `json:"grants"`
}

// ask is what a program asks for, for the waiting callers of one route.
type ask struct {
	limits    [kinds]string // their names; an unknown credential has none
	want      int
	share     float64         // the program's maximum part of each window
	before    [kinds]received // what it was granted before
	roundTrip int64           // how long a response usually takes
	patience  int64           // and how long the program waits for one
}

// received is what a program was granted in a window.
type received struct {
	window int64
	n      int
}

// grant is what a program gets for an ask.
type grant struct {
	N       int          `json:"n,omitempty"`       // permits
	Windows [kinds]int64 `json:"windows"`           // of the permits; 0 for a limit that does not apply or is probed
	Probe   bool         `json:"probe,omitempty"`   // whether the only permit probes a window, and its response is to be reported
	Expires int64        `json:"expires,omitempty"` // when the first of the windows ends, or the probing
	Again   int64        `json:"again,omitempty"`   // when to ask for more
	Closed  bool         `json:"closed,omitempty"`  // whether nothing is to be had until then
	None    bool         `json:"none,omitempty"`    // whether no limit applies, as far as is known until Expires
	Asking  int          `json:"asking,omitempty"`  // programs asking in this window or the last one
}

// report is the content of a response to a probe. The window of an unmentioned limit is 0; Ends
// counts from when the response came.
type report struct {
	limits  [kinds]string
	windows [kinds]pooled
	good    bool
}

const (
	credentialPrefix = "credential "
	maxEncoded       = 32 << 10
	maxPooled        = 64
	maxAnswers       = 8
	evenFor          = 1_000  // how long a window is granted in even parts, unless as many programs have asked as before
	believedFor      = 60_000 // how long a limit not mentioned by a response counts as not applied
	maxWindowLeft    = 11_000 // a window ends within ten seconds, and Date has whole ones
	maxProbing       = 10_000
)

// update brings the pool a report of some age, if there is one, and takes what is asked for. An update is granted once.
func (p *pool) update(id uint64, brings *report, age int64, asks []ask, now int64) (grants []grant) {
	if brings != nil {
		p.report(*brings, age, now)
	}
	for _, a := range p.Answers {
		if a.ID == id && len(a.Grants) == len(asks) {
			return a.Grants
		}
	}
	for _, a := range asks {
		grants = append(grants, p.take(a, now))
	}
	if grants != nil {
		p.Answers = append(p.Answers, answer{id, grants})
		p.Answers = p.Answers[max(0, len(p.Answers)-maxAnswers):]
	}
	return grants
}

// take grants a program up to a.want permits. If a window is over, one program is granted the one
// permit to probe the next.
func (p *pool) take(a ask, now int64) grant {
	g := grant{N: a.want, Expires: now + believedFor}
	var probed, spent []*pooled
	for i, name := range a.limits {
		x := p.limit(name, now)
		g.Asking = max(g.Asking, x.Asked, x.Before)
		if now < x.Ends {
			g.Expires = min(g.Expires, x.Ends)
		}
		if !x.isOpen(now) {
			if !x.None || now >= x.Ends {
				probed = append(probed, x)
			}
			continue
		}
		if a.before[i].window != x.Window {
			x.Asked++
			a.before[i] = received{}
		}
		g.Windows[i] = x.Window
		if n, again := x.allows(a.before[i].n, a.share, now); n < g.N {
			g.N, g.Again, g.Closed = n, again, again == x.Ends
		}
		spent = append(spent, x)
	}
	if len(probed) > 0 && g.N > 0 {
		g.probe(probed, a, now)
	}
	for _, x := range spent {
		x.Left -= g.N
	}
	g.None = len(probed)+len(spent) == 0
	return g
}

// allows returns how many permits of the window a program with some earlier ones may have, and when
// it may have more.
func (x *pooled) allows(before int, share float64, now int64) (n int, again int64) {
	n, again = min(x.Left, max(1, int(share*float64(x.Limit)))-before), x.Ends
	if x.Asked < x.Before && now < x.Opened+evenFor {
		if even := max(1, x.Limit/x.Before) - before; even < n {
			n, again = even, min(x.Opened+evenFor, x.Ends)
		}
	}
	return max(0, n), again
}

// probe makes a grant of finished windows: one permit, unless another program has it.
func (g *grant) probe(over []*pooled, a ask, now int64) {
	until := now + min(a.patience, maxProbing)
	for _, x := range over {
		if now < x.Probed {
			g.N, g.Again, g.Closed = 0, min(x.Probed, now+a.roundTrip), false
			return
		}
	}
	for _, x := range over {
		x.Probed = until
	}
	g.N, g.Probe, g.Again, g.Expires, g.Closed = 1, true, until, min(g.Expires, until), false
}

func (x *pooled) isOpen(now int64) bool { return x.Window != 0 && !x.None && now < x.Ends }

// report opens the windows in a response. A report of an older window is ignored, and an error
// without headers leaves the probing to the next program.
func (p *pool) report(r report, age, now int64) {
	for i, name := range r.limits {
		x, w := p.limit(name, now), r.windows[i]
		switch {
		case x.isOpen(now) && w.Window <= x.Window:
		case w.Window > 0:
			*x = pooled{Window: w.Window, Opened: now, Ends: now - age + w.Ends, Limit: w.Limit, Left: w.Left, Asked: 1, Before: x.Asked}
		case r.good:
			*x = pooled{None: true, Ends: now + believedFor}
		default:
			x.Probed = 0
		}
	}
}

// limit returns a limit of the pool, and makes it if it is new. It returns nil if the name is
// empty, or the pool is full.
func (p *pool) limit(name string, now int64) *pooled {
	if x := p.Limits[name]; x != nil {
		return x
	}
	for other, x := range p.Limits {
		if len(p.Limits) >= maxPooled && now >= max(x.Ends, x.Probed) {
			delete(p.Limits, other)
		}
	}
	if name == "" || len(p.Limits) >= maxPooled {
		return &pooled{None: true, Ends: now + believedFor}
	}
	p.Limits[name] = new(pooled)
	return p.Limits[name]
}

// Version is the version of a stored pool's format. It belongs in the store's key.
const Version = 2

var errAbsurd = errors.New("the stored state cannot be right")

// decode reads a stored pool. An empty store has no bytes. A pool is believed only if take and
// report could have made it: nothing lies in the future except the end of a window, and no number
// is out of bounds.
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
		if x == nil || x.Opened > now || x.Probed > now+maxProbing || x.Ends > now+believedFor || !x.None && x.Ends > now+maxWindowLeft ||
			min(x.Limit, x.Left, x.Asked, x.Before) < 0 || max(x.Limit, x.Left, x.Asked, x.Before) > maxNumber {
			return empty, errAbsurd
		}
	}
	return p, nil
}

// nameCredential returns what the pool calls a credential: a hash of it.
func nameCredential(account, credential string) (name [len(credentialPrefix) + 16]byte) {
	data := make([]byte, 0, 512)
	for _, s := range [...]string{"tokenpatch rate limit credential\x00", account, "\x00", credential} {
		data = append(data, s...) // joined, they would cost an allocation
	}
	sum := sha256.Sum256(data)
	hex.Encode(name[copy(name[:], credentialPrefix):], sum[:8])
	return name
}
