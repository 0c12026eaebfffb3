package ratelimit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzEvents applies any events in any order: whatever they are, whoever waits
// is looked at again in bounded time, no count leaves its bounds, and the state
// stays small and can be stored.
func FuzzEvents(f *testing.F) {
	f.Add([]byte{0, 0, 10, 3, 0, 50, 9, 0, 0, 0, 1, 0, 200, 3, 1, 60, 8, 1})
	f.Add([]byte{0, 0, 1, 0, 1, 1, 1, 0, 1, 2, 1, 9, 3, 2, 255, 4, 0, 1, 5, 0, 99, 6, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newState(rules{maxWait: time.Minute, random: func() float64 { return 0.5 }})
		now := instant(1)
		var open []attempt
		for len(data) >= 3 {
			op, which, n := data[0], data[1], data[2]
			data = data[3:]
			now += time.Duration(n) * time.Duration(n) * time.Millisecond
			s.advance(now)
			name := routeName(int(which % 3))
			if v := s.admits(name, now); !v.goes() {
				require.Greater(t, v.until, now)
				require.LessOrEqual(t, v.until, now+time.Minute+5*time.Second)
			} else if op%8 < 3 {
				open = append(open, s.admit(name, now))
			}
			if len(open) == 0 {
				continue
			}
			a := open[int(which)%len(open)]
			switch op % 8 {
			case 3:
				s.cancel(a)
			case 4:
				s.abandon(a)
			case 5, 6, 7:
				s.observe(a, fuzzedResponse(op, which, n, now), now)
			}
			s.advance(now)
			checkBounds(t, s, len(open))
		}
		again, err := decode(s.encode(), s.rules, now)
		require.NoError(t, err)
		once := again.encode()
		again, err = decode(once, s.rules, now)
		require.NoError(t, err)
		require.Equal(t, once, again.encode(), "what was bounded stays as it is")
	})
}

func fuzzedResponse(op, which, n byte, now instant) response {
	r := response{status: []int{200, 429, 404, 503}[which%4]}
	if op&8 > 0 {
		r.global = parsed{n: int(n) % 16, present: true}
	}
	if op&16 > 0 {
		r.route = parsed{n: int(n), present: true}
	}
	if op&32 > 0 {
		r.reset = now.Truncate(time.Second) + time.Duration(which)*time.Second
	}
	if op&64 > 0 {
		r.date = now.Truncate(time.Second)
	}
	if op&128 > 0 && n > 250 {
		r.retryAfter = time.Duration(which) * time.Second
	}
	return r
}

func checkBounds(t *testing.T, s *state, admitted int) {
	t.Helper()
	s.quotas(func(q *quota) {
		total := q.inFlight.total()
		require.True(t, total >= 0 && total <= admitted, "%d in flight of %d", total, admitted)
		require.GreaterOrEqual(t, q.window.sent, 0)
		require.GreaterOrEqual(t, q.window.lost.total(), 0)
	})
	require.LessOrEqual(t, len(s.encode()), 1000)
}

// FuzzDecode reads states that anybody may have written.
func FuzzDecode(f *testing.F) {
	f.Add(newState(rules{}).encode())
	f.Add([]byte("tprl\x01"))
	f.Add([]byte("tprl\x02whatever"))
	f.Fuzz(func(t *testing.T, data []byte) {
		now := instant(time.Hour)
		s, err := decode(data, rules{maxWait: time.Minute}, now)
		if err != nil {
			return
		}
		s.advance(now)
		if v := s.admits("a", now); !v.goes() {
			require.Greater(t, v.until, now)
			require.LessOrEqual(t, v.until, now+2*time.Minute)
		}
		a := s.admit("a", now)
		s.observe(a, response{status: 200, route: parsed{n: 3, present: true}, reset: 2 * time.Hour, date: time.Hour}, now+time.Second)
		s.advance(now + time.Second)
		_ = s.encode()
	})
}
