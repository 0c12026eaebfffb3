package ratelimit_test

import (
	"fmt"
	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func TestDbg(t *testing.T) {
	for seed := range 6 {
		random := rand.New(rand.NewPCG(uint64(seed), 1))
		var began time.Time
		var once sync.Once
		m := &memory{clock: func() time.Time {
			once.Do(func() { began = time.Now() })
			passed := time.Since(began)
			return began.Add(passed + step(passed, 5*time.Minute))
		}}
		s := newService(random, 100)
		w := work{calls: 2000, callers: 200, programs: 4}
		w.options1 = func(p int) ratelimit.Options {
			o := sharing(m)
			o.Warn = func(msg string, err error) { fmt.Println("   warn", p, time.Since(began), err) }
			return o
		}
		r := w.run(t, s)
		fmt.Println("seed", seed, "first", s.firsts["account"][0].n, s.firsts["account"][0].reset.Sub(r.began.Add(s.ahead)))
		for w, n := range s.refusals {
			fmt.Println(w.Sub(r.began.Add(s.ahead)), n)
		}
	}
}
