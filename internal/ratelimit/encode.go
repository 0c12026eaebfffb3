package ratelimit

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// A stored state is the letters of magic, the format's version, and then each
// field as a varint, in the order of [codec.state]. What a state says is bounded
// when it is read: whoever wrote it, it can harm no more than headers can.
const (
	// Version is that of the format. States of several versions can be kept side
	// by side where it is part of their keys.
	Version = 1

	magic      = "tprl"
	maxEncoded = 4 << 10
	maxName    = 128
)

var (
	errOtherVersion = errors.New("the stored state has another version of the format")
	errUnreadable   = errors.New("the stored state cannot be read")
)

// encode returns the state as it is stored. A pause is by address, and not part
// of it.
func (s *state) encode() []byte {
	c := codec{data: append([]byte(magic), Version)}
	c.state(s)
	return c.data
}

// decode reads a stored state. A store that has none has no bytes.
func decode(data []byte, r rules, now instant) (*state, error) {
	s := newState(r)
	switch {
	case len(data) == 0:
		return s, nil
	case len(data) <= len(magic) || len(data) > maxEncoded || string(data[:len(magic)]) != magic:
		return nil, errUnreadable
	case data[len(magic)] != Version:
		return nil, errOtherVersion
	}
	c := codec{data: data[len(magic)+1:], reading: true}
	c.state(s)
	if c.broken || len(c.data) > 0 || !s.isPlausible(now) {
		return nil, errUnreadable
	}
	s.limitTo(now)
	return s, nil
}

// codec writes or reads a state, so that both agree on what it is made of.
type codec struct {
	data    []byte
	reading bool
	broken  bool
}

func (c *codec) state(s *state) {
	field(c, &s.latest)
	field(c, &s.rtt)
	field(c, &s.quickest)
	field(c, &s.generations.number)
	field(c, &s.generations.began)
	field(c, &s.generations.slack)
	c.flag(&s.clock.known)
	field(c, &s.clock.low)
	field(c, &s.clock.high)
	field(c, &s.clock.updated)
	c.quota(&s.global)
	n := len(s.routes)
	field(c, &n)
	if c.reading {
		if n < 0 || n > maxRoutes {
			c.broken = true
			return
		}
		s.routes = make([]route, n)
	}
	for i := range s.routes {
		c.name(&s.routes[i].name)
		c.quota(&s.routes[i].quota)
	}
}

func (c *codec) quota(q *quota) {
	for i := range q.inFlight {
		field(c, &q.inFlight[i])
	}
	field(c, &q.maxInFlight)
	field(c, &q.threshold)
	field(c, &q.phase)
	field(c, &q.meaning)
	field(c, &q.limit)
	field(c, &q.length)
	field(c, &q.missing)
	field(c, &q.denied)
	c.float(&q.clients)
	c.float(&q.backoffFactor)
	field(c, &q.serial)
	field(c, &q.programs)
	field(c, &q.wanted)
	c.window(&q.window)
}

func (c *codec) window(w *window) {
	field(c, &w.reset)
	field(c, &w.openedBy)
	for _, at := range []*instant{&w.opened, &w.ends, &w.next, &w.declared, &w.first, &w.last} {
		field(c, at)
	}
	for _, b := range []*batch{&w.lost.older, &w.lost.newer} {
		field(c, &b.n)
		field(c, &b.seq)
	}
	c.flag(&w.soon)
	c.flag(&w.shut)
	c.flag(&w.leftToOthers)
	c.flag(&w.fell)
	for _, n := range []*int{&w.sent, &w.number, &w.start, &w.before, &w.responses, &w.asked, &w.wanted, &w.lost.overdue} {
		field(c, n)
	}
	field(c, &w.since)
}

// field is one that is a whole number.
func field[T ~int | ~int64 | ~uint64 | ~uint8](c *codec, v *T) {
	if !c.reading {
		c.data = binary.AppendVarint(c.data, int64(*v))
		return
	}
	n, size := binary.Varint(c.data)
	if size <= 0 || int64(T(n)) != n {
		c.broken = true
		return
	}
	c.data, *v = c.data[size:], T(n)
}

func (c *codec) flag(v *bool) {
	n := 0
	if *v {
		n = 1
	}
	if field(c, &n); c.reading {
		*v = n == 1
	}
}

// float is a field that is a fraction, kept to a thousandth.
func (c *codec) float(v *float64) {
	n := int64(math.Round(*v * 1000))
	if field(c, &n); c.reading {
		*v = float64(n) / 1000
	}
}

func (c *codec) name(v *string) {
	n := len(*v)
	field(c, &n)
	switch {
	case !c.reading:
		c.data = append(c.data, *v...)
	case n < 0 || n > min(maxName, len(c.data)):
		c.broken = true
	default:
		*v, c.data = string(c.data[:n]), c.data[n:]
	}
}

// isPlausible reports whether each window ends as soon as one that is known from
// headers does.
func (s *state) isPlausible(now instant) bool {
	plausible := true
	s.quotas(func(q *quota) {
		plausible = plausible && q.phase <= reported && q.meaning <= lagging && q.window.ends <= now+s.maxWait+time.Minute
	})
	return plausible
}

// limitTo bounds what a stored state says: nothing lies in the future but the
// end of a window, and that no further than a server may declare.
func (s *state) limitTo(now instant) {
	const long = time.Hour
	s.rtt, s.quickest = between(s.rtt, 0, long), between(s.quickest, 0, long)
	g := &s.generations
	g.began, g.slack = between(g.began, 0, now), between(g.slack, 0, maxSlack)
	s.clock.updated = between(s.clock.updated, 0, now)
	if c := &s.clock; c.high < c.low || max(-c.low, c.high) > maxReset*time.Millisecond {
		*c = serverClock{}
	}
	s.quotas(func(q *quota) { q.limitTo(s, now) })
}

func (q *quota) limitTo(s *state, now instant) {
	w := &q.window
	for i := range q.inFlight {
		q.inFlight[i] = between(q.inFlight[i], 0, maxRemaining)
	}
	q.maxInFlight, q.limit = between(q.maxInFlight, 0, maxRemaining), between(q.limit, 0, maxRemaining)
	q.threshold, q.denied = between(q.threshold, 0, maxRemaining), between(q.denied, 0, 10)
	q.missing, q.programs = between(q.missing, 0, windowsRemembered), between(q.programs, 0, maxRemaining)
	q.length, q.clients = between(q.length, 0, 24*time.Hour), between(q.clients, 0, maxClients)
	q.backoffFactor = between(q.backoffFactor, 0, maxBackoffFactor)
	for _, n := range []*int{&w.sent, &w.number, &w.start, &w.before, &w.responses, &w.asked, &w.wanted, &q.wanted, &w.lost.older.n, &w.lost.newer.n, &w.lost.overdue} {
		*n = between(*n, 0, maxRemaining)
	}
	for _, at := range []*instant{&w.opened, &w.first, &w.last} {
		*at = between(*at, 0, now)
	}
	w.ends = between(w.ends, 0, now+s.maxWait)
	w.next = between(w.next, w.ends, w.ends+2*defaultWindow)
	w.declared = min(w.declared, now+s.maxWait)
	w.reset = between(w.reset, 0, maxReset*time.Millisecond)
}

func between[T ~int | ~int64 | ~float64](v, low, high T) T { return max(low, min(v, high)) }
