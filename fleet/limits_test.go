package fleet_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/fleet/internal/postgrestest"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const limited = 980 // changes

var limits = tokenpatchtest.Limits{Window: 10 * time.Second, Global: 100, Floating: true}

// The whole of a limit is used, and nothing is wasted on a 429. The bound counts
// requests, reads too. Time is virtual.
func TestARunUsesTheWholeLimit(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("two thousand requests")
	}
	onEach(t, func(t *testing.T, source string) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, source)
			b.service.SetLatency(20 * time.Millisecond)
			b.limit(limits, limited)
			began := time.Now()
			require.NoError(t, b.store.Run(context.Background(), "run", b.options))
			share, refused := b.ofTheBound(time.Since(began))
			assert.Zero(t, refused)
			assert.LessOrEqual(t, share, 1.03)
		})
	})
}

// Four processes share a limit through the Postgres of their run.
func TestMeasureSharedLimit(t *testing.T) {
	measured(t)
	source := postgrestest.URL(t)
	b := newBench(t, source)
	b.limit(limits, limited)
	url, err := b.service.Listen()
	require.NoError(t, err)
	began := time.Now()
	processes := make([]*process, 4)
	for i := range processes {
		processes[i] = start(t, child{Source: source, Run: "run", URL: url, Workers: 16, Timeout: 5 * time.Second, Service: time.Second,
			Wait: 30 * time.Second, Record: 15 * time.Second, Account: "shared"})
	}
	for _, p := range processes {
		p.wait(t)
	}
	share, refused := b.ofTheBound(time.Since(began))
	assert.Zero(t, refused)
	assert.LessOrEqual(t, share, 1.05)
}

// Programs without a run share a limit through Postgres: 100 in ten seconds, for a minute.
func TestMeasureBudget(t *testing.T) {
	measured(t)
	for programs, callers := range map[int]int{4: 50, 16: 50, 64: 10} {
		t.Run(fmt.Sprint(programs), func(t *testing.T) {
			newPatching(t, 100, child{Workers: callers, For: time.Minute}).together(make([]child, programs)...)
		})
	}
	t.Run("four, ten minutes", func(t *testing.T) {
		newPatching(t, 100, child{Workers: 50, For: 10 * time.Minute}).together(make([]child, 4)...)
	})
	t.Run("different settings", func(t *testing.T) {
		newPatching(t, 100, child{Workers: 50, For: time.Minute}).together(
			child{}, child{MaxWait: time.Minute}, child{MaxWait: math.MaxInt64}, child{Share: 0.5}, child{Workers: 1, Share: 0.01, MaxWait: 20 * time.Second})
	})
	t.Run("400 of one call", func(t *testing.T) {
		p := newPatching(t, 40, child{Workers: 1})
		began := time.Now()
		for range 400 {
			p.start(child{}).wait(t)
		}
		t.Log(time.Since(began))
	})
	t.Run("one killed each second", func(t *testing.T) {
		p := newPatching(t, 100, child{Workers: 50, For: time.Minute})
		lasting := p.start(child{})
		for began := time.Now(); time.Since(began) < p.each.For; {
			p.start(child{}).killAfter(t, time.Second)
		}
		lasting.wait(t)
	})
}

// patching is programs that patch a token, and share a limit through Postgres. At the end it logs each
// window that the service saw.
type patching struct {
	*bench
	each child
}

func newPatching(t *testing.T, limit int, each child) *patching {
	source := postgrestest.URL(t)
	b := newBench(t, source)
	b.limit(tokenpatchtest.Limits{Window: 10 * time.Second, Route: limit}, 1)
	url, err := b.service.Listen()
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, w := range b.service.Windows(tokenpatchtest.V2) {
			t.Logf("%s: %d admitted, %d refused", w.Start.Format(time.TimeOnly), w.Admitted, w.Refused)
		}
	})
	each.Source, each.URL, each.Timeout, each.Account, each.Call = source, url, 5*time.Second, "shared", "patch"
	return &patching{b, each}
}

func (p *patching) start(settings child) *process {
	c := p.each
	c.Workers, c.Share, c.MaxWait = cmp.Or(settings.Workers, c.Workers), settings.Share, settings.MaxWait
	return start(p, c)
}

// together runs a program with each of the settings.
func (p *patching) together(settings ...child) {
	processes := make([]*process, len(settings))
	for i, s := range settings {
		processes[i] = p.start(s)
	}
	for _, process := range processes {
		process.wait(p)
	}
}

// Four programs share a limit through the store of their run. Time is virtual, and the store's
// clock too: on a busy machine a request could be delayed between its permit and its sending, into
// the next window.
func TestProgramsShareALimit(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("six hundred requests")
	}
	onEach(t, func(t *testing.T, source string) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, source)
			b.service.SetLatency(20 * time.Millisecond)
			b.limit(limits, 300)
			began := time.Now()
			var programs sync.WaitGroup
			for range 4 {
				program, options := open(t, source), b.options
				fleet.SetStoreClock(program, time.Now)
				options.Client.Budget, options.Client.V1.Account, options.Client.V2.Account = program, "shared", "shared"
				programs.Go(func() { assert.NoError(t, program.Run(t.Context(), "run", options)) })
			}
			programs.Wait()
			share, refused := b.ofTheBound(time.Since(began))
			assert.Zero(t, refused)
			assert.LessOrEqual(t, share, 1.05)
			requests, _ := b.requests()
			assert.Equal(t, 2*300, requests, "each token is read once, and written once")
		})
	})
}

// limit limits the service, and adds n changes.
func (b *bench) limit(limits tokenpatchtest.Limits, n int) {
	b.service.SetLimits(tokenpatchtest.V2, limits)
	changes := make([]fleet.Change, n)
	for i := range changes {
		changes[i] = rename(b.token(fmt.Sprint("token-", i)), "new")
	}
	b.add("run", changes...)
}

// requests counts the admitted and the refused requests.
func (b *bench) requests() (admitted, refused int) {
	for _, w := range b.service.Windows(tokenpatchtest.V2) {
		admitted += w.Admitted
		refused += w.Refused
	}
	return admitted, refused
}

// ofTheBound returns a run's time as a share of the least possible time.
func (b *bench) ofTheBound(took time.Duration) (share float64, refused int) {
	b.Helper()
	p := b.progress("run")
	assert.Equal(b, p.Total(), p.Applied)
	requests, refused := b.requests()
	bound := time.Duration((requests-1)/limits.Global) * limits.Window
	share = took.Seconds() / bound.Seconds()
	b.Logf("%d changes, %d requests in %v: %.3f of the bound; %d responses with 429", p.Total(), requests, took, share, refused)
	return share, refused
}
