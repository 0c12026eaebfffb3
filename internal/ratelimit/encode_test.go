package ratelimit

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Programs of different releases share a state. What a stored one is made of, and in which order, may change with Version
// only: here every field has its number in that order, and each flag is a 1.
func TestEncodedFields(t *testing.T) {
	s := &state{
		latest: 1, rtt: 2, quickest: 3, generations: generations{number: 4, began: 5, slack: 6},
		clock: serverClock{known: true, low: 8, high: 9, updated: 10}, global: numbered(11),
		routes: []route{{name: "a", quota: numbered(60)}, {quota: numbered(110)}},
	}
	data := s.encode()
	require.Equal(t, magic, string(data[:len(magic)]))
	require.EqualValues(t, 1, data[len(magic)])
	data = data[len(magic)+1:]
	next := func() int64 {
		n, size := binary.Varint(data)
		require.Positive(t, size)
		data = data[size:]
		return n
	}
	numbers := func(from, to int64, flags ...int64) {
		t.Helper()
		for want := from; want <= to; want++ {
			if len(flags) > 0 && flags[0] == want {
				assert.EqualValues(t, 1, next(), "flag %d", want)
				flags = flags[1:]
				continue
			}
			assert.Equal(t, want, next())
		}
	}
	numbers(1, 10, 7)
	quota := func(from int64) { numbers(from, from+40, from+28, from+29, from+30, from+31) }
	quota(11)
	assert.EqualValues(t, len(s.routes), next())
	assert.EqualValues(t, len("a"), next())
	require.EqualValues(t, 'a', data[0])
	data = data[1:]
	quota(60)
	assert.EqualValues(t, 0, next(), "the length of a name")
	quota(110)
	assert.Empty(t, data)
}

// numbered is a quota whose fields have numbers from n on, in the order in which they are stored.
func numbered(n int) quota {
	at := func(i int) instant { return instant(n + i) }
	return quota{
		inFlight: inFlight{n, n + 1, n + 2}, maxInFlight: n + 3, threshold: n + 4, phase: phase(n + 5), meaning: meaning(n + 6),
		limit: n + 7, length: at(8), missing: n + 9, denied: n + 10,
		clients: float64(n+11) / 1000, backoffFactor: float64(n+12) / 1000, serial: n + 13, programs: n + 14, wanted: n + 15,
		window: window{
			reset: at(16), openedBy: uint64(n) + 17, opened: at(18), ends: at(19), next: at(20), declared: at(21), first: at(22), last: at(23),
			lost: lost{older: batch{n: n + 24, seq: uint64(n) + 25}, newer: batch{n: n + 26, seq: uint64(n) + 27}, overdue: n + 39},
			soon: true, shut: true, leftToOthers: true, fell: true,
			sent: n + 32, number: n + 33, start: n + 34, before: n + 35, responses: n + 36, asked: n + 37, wanted: n + 38, since: uint64(n) + 40,
		},
	}
}
