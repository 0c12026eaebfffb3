package ratelimit_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// waitsWith returns the longest wait of a few calls if a store holds somebody else's state.
func waitsWith(t *testing.T, makeState func(now time.Time) []byte) time.Duration {
	t.Helper()
	m := new(memory)
	s := newService(rand.New(rand.NewPCG(1, 2)), 100)
	written := false
	m.clock = func() time.Time {
		now := time.Now()
		if !written {
			m.states["acme"], written = makeState(now), true
		}
		return now
	}
	w := work{calls: 20, callers: 10, programs: 2, options: sharing(m)}
	r := w.run(t, s)
	assert.Zero(t, r.failed)
	assert.Zero(t, s.refused)
	return r.waited
}

// longestFalse is how long a false state can delay a call: until the end of the claimed window,
// eleven seconds at most, through the second in which the next one is granted in even parts, and
// for some round trips.
const longestFalse = 12*time.Second + 300*time.Millisecond

func TestAStateThatSomebodyElseWrote(t *testing.T) {
	longest := time.Duration(0)
	for seed := range uint64(300 * *samples) {
		random := rand.New(rand.NewPCG(seed, 3))
		var text []byte
		waited := waitsWith(t, func(now time.Time) []byte {
			text = randomState(random, now.UnixMilli())
			return text
		})
		longest = max(longest, waited)
		assert.LessOrEqual(t, waited, longestFalse, "%s", text)
	}
	t.Log(longest, "the longest wait")
}

// randomState is a readable state. Half of them are as absurd as believable states can be.
func randomState(random *rand.Rand, now int64) []byte {
	wild := random.IntN(2) == 0
	number := func() int64 {
		if wild && random.IntN(5) == 0 {
			return pick[int64](random, 1<<40, -1)
		}
		return pick[int64](random, 0, 0, 1, 5, 100, 1<<28)
	}
	moment := func(from, to int64) int64 {
		if wild && random.IntN(5) == 0 {
			return pick[int64](random, now-1000, now+60_000, now+3_600_000, 1<<62, -1)
		}
		return pick(random, 0, now+from, now+to, now+from+random.Int64N(to-from))
	}
	limit := func() map[string]any {
		return map[string]any{
			"window": moment(-10_000, 20_000), "opened": moment(-20_000, 0), "ends": moment(-1000, 11_000), "none": random.IntN(4) == 0,
			"limit": number(), "left": number(), "asked": number(), "before": number(), "probed": moment(-1000, 10_000),
		}
	}
	state := map[string]any{"limits": map[string]any{
		"account": limit(), "route " + patchRoute: limit(), "credential": limit(), "credential 0123456789abcdef": nil,
	}}
	if random.IntN(3) > 0 {
		delete(state["limits"].(map[string]any), "credential 0123456789abcdef")
	}
	if random.IntN(3) == 0 {
		state["answers"] = []any{map[string]any{"id": "1", "grants": []any{map[string]any{"n": number(), "expires": moment(0, 11_000), "again": moment(0, 11_000)}}}}
	}
	text, err := json.Marshal(state)
	if err != nil {
		panic(err)
	}
	return text
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"limits":{"account":{"window":946684810000,"opened":946684800000,"ends":946684810000,"limit":5,"asked":3,"before":100}}}`))
	f.Add([]byte(`{"limits":{"account":{"none":true,"ends":946684859000},"x":null},"answers":[{"id":"1","grants":[{"n":9}]}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		assert.LessOrEqual(t, waitsWith(t, func(time.Time) []byte { return text }), longestFalse)
	})
}
