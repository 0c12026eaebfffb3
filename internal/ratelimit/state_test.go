package ratelimit_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
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
	for seed := range uint64(runs(300)) {
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

// A state that take and report cannot have made is replaced, and it is said why.
func TestAStateThatCannotBeRight(t *testing.T) {
	good := func(now int64) map[string]any {
		return map[string]any{"limits": map[string]any{"account": map[string]any{
			"window": now + 5000, "opened": now - 5000, "ends": now + 5000, "limit": 100, "left": 50, "asked": 1, "before": 1,
		}}}
	}
	account := func(state map[string]any) map[string]any {
		return state["limits"].(map[string]any)["account"].(map[string]any)
	}
	many := func(n int, value any) (list []any) {
		for range n {
			list = append(list, value)
		}
		return list
	}
	for name, change := range map[string]func(state map[string]any, now int64){
		"":                   func(map[string]any, int64) {}, // that is believed
		"no limits":          func(state map[string]any, _ int64) { delete(state, "limits") },
		"a window's end":     func(state map[string]any, now int64) { account(state)["ends"] = now + 12_000 },
		"a window's opening": func(state map[string]any, now int64) { account(state)["opened"] = now + 10_000 },
		"the end of a probe": func(state map[string]any, now int64) { account(state)["probed"] = now + 12_000 },
		"an absent limit": func(state map[string]any, now int64) {
			account(state)["none"], account(state)["ends"] = true, now+62_000
		},
		"a negative number":   func(state map[string]any, _ int64) { account(state)["left"] = -1 },
		"a number too large":  func(state map[string]any, _ int64) { account(state)["limit"] = 1<<28 + 1 },
		"too many limits":     func(state map[string]any, _ int64) { addLimits(state, 64) },
		"a limit that is nil": func(state map[string]any, _ int64) { state["limits"].(map[string]any)["route x"] = nil },
		"too many answers":    func(state map[string]any, _ int64) { state["answers"] = many(9, map[string]any{"id": "1"}) },
		"too many bytes": func(state map[string]any, _ int64) {
			state["answers"] = many(1, map[string]any{"id": "1", "grants": many(4000, struct{}{})})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var warnings []string
			synctest.Test(t, func(t *testing.T) {
				now := time.Now().UnixMilli()
				state := good(now)
				change(state, now)
				text, err := json.Marshal(state)
				require.NoError(t, err)
				m := &memory{states: map[string][]byte{"acme": text}}
				options := sharing(m)
				options.Warn = func(_ string, err error) { warnings = append(warnings, err.Error()) }
				l := ratelimit.New(options)
				var p ratelimit.Permit
				_, err = l.Wait(t.Context(), patchRoute, &p)
				require.NoError(t, err)
				p.Cancel()
				time.Sleep(time.Minute) // until the last update has ended
			})
			if name == "" {
				assert.Empty(t, warnings)
			} else {
				assert.Len(t, warnings, 1)
			}
		})
	}
}

// addLimits adds limits to a state.
func addLimits(state map[string]any, n int) {
	for i := range n {
		state["limits"].(map[string]any)[fmt.Sprint("route ", i)] = map[string]any{}
	}
}
