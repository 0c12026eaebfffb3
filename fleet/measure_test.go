package fleet_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

var measure = flag.Bool("measure", false, "run the measurements, which take minutes: go test -run TestMeasure -measure -v")

func measured(t *testing.T) {
	if !*measure {
		t.Skip("a measurement, not a test: run it with -measure -v")
	}
}

// renames yields n changes of the names of n tokens.
func renames(n int) func(func(fleet.Change, error) bool) {
	return func(yield func(fleet.Change, error) bool) {
		for i := range n {
			if !yield(fleet.Change{ID: fmt.Sprintf("%024d", i), Patch: tokenpatch.NewPatch().SetName("new")}, nil) {
				return
			}
		}
	}
}

// The time to add 1,000,000 changes, and the memory of a process at work on them.
func TestMeasureMany(t *testing.T) {
	measured(t)
	const n = 1_000_000
	onEach(t, func(t *testing.T, source string) {
		service := tokenpatchtest.New()
		t.Cleanup(service.Close)
		service.RefuseFor(tokenpatchtest.V2, time.Hour)
		url, err := service.Listen()
		require.NoError(t, err)
		memory := filepath.Join(t.TempDir(), "memory")
		c := child{Source: source, Run: "many", URL: url, Workers: 16, Timeout: attemptTimeout, Service: time.Second,
			Wait: 30 * time.Second, Record: 2 * time.Second, Add: n, For: 20 * time.Second, Memory: memory}
		start(t, c).wait(t)
		report, err := os.ReadFile(memory)
		require.NoError(t, err)
		t.Log(strings.TrimSpace(string(report)))
		assert.Equal(t, n, total(t, open(t, source), "many"))
	})
}

// Changes a second, compared with a loop of PatchToken and with one that reads first, as a run
// does.
func TestMeasureSpeed(t *testing.T) {
	measured(t)
	const n = 10_000
	onEach(t, func(t *testing.T, source string) {
		b := newBench(t, source)
		for i := range n {
			b.token(fmt.Sprintf("%024d", i))
		}
		client, err := tokenpatch.NewClient(b.options.Client)
		require.NoError(t, err)
		plain := timed(func() { loop(t, client, n, false) })
		reading := timed(func() { loop(t, client, n, true) })
		adding := timed(func() {
			_, err = b.store.Add(context.Background(), "speed", renames(n), fleet.AddOptions{})
			require.NoError(t, err)
		})
		before := cpuTime(t)
		running := timed(func() { require.NoError(t, b.store.Run(context.Background(), "speed", b.options)) })
		cpu := (cpuTime(t) - before) / n
		assert.Equal(t, n, b.progress("speed").Applied)
		t.Logf("%d changes: %.0f a second; PatchToken alone %.0f, with a read before it %.0f: ratio %.2f; added in %v; %v of CPU a change, the service's part included",
			n, n/running.Seconds(), n/plain.Seconds(), n/reading.Seconds(), reading.Seconds()/running.Seconds(), adding.Round(time.Millisecond), cpu)
	})
}

func timed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// loop changes n tokens in 16 goroutines.
func loop(t *testing.T, client *tokenpatch.Client, n int, read bool) {
	ids := make(chan string)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for id := range ids {
				if read {
					_, err := client.V2.GetToken(context.Background(), id)
					assert.NoError(t, err)
				}
				_, err := client.V2.PatchToken(context.Background(), id, tokenpatch.NewPatch().SetName("new"))
				assert.NoError(t, err)
			}
		})
	}
	for i := range n {
		ids <- fmt.Sprintf("%024d", i)
	}
	close(ids)
	group.Wait()
}
