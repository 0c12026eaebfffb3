// Stopping renames some hundred tokens and can be stopped at any time, with Ctrl-C. It then waits
// for requests in flight, so each outcome is known. It runs against a service inside this program.
//
//	go run ./examples/stopping
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const (
	tokens     = 3000
	goroutines = 50
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping:", err)
		os.Exit(1)
	}
}

func run() error {
	service := tokenpatchtest.New()
	defer service.Close()
	service.SetLatency(50 * time.Millisecond)
	for n := range tokens {
		if err := service.AddV2(fmt.Sprintf(`{"_id": %q, "name": "old"}`, id(n))); err != nil {
			return err
		}
	}
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V2:          tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
		HTTPClient:  service.Client(),
		CancelGrace: 5 * time.Second,
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Println("renaming; Ctrl-C stops")
	outcomes := renameAll(ctx, client)
	fmt.Printf("%d applied, %d not applied, %d unknown\n", outcomes[tokenpatch.OutcomeApplied],
		outcomes[tokenpatch.OutcomeNotApplied], outcomes[tokenpatch.OutcomeUnknown])
	return compare(service, outcomes)
}

func id(n int) string { return fmt.Sprintf("%024x", n) }

// renameAll counts the outcomes. Once the context is done, each call that waits or has not begun
// returns at once; those in flight end with their response.
func renameAll(ctx context.Context, client *tokenpatch.Client) map[tokenpatch.Outcome]int {
	outcomes := make(map[tokenpatch.Outcome]int)
	var mu sync.Mutex
	var wg sync.WaitGroup
	numbers := make(chan int)
	for range goroutines {
		wg.Go(func() {
			for n := range numbers {
				_, err := client.V2.PatchToken(ctx, id(n), tokenpatch.NewPatch().SetName("new"))
				mu.Lock()
				outcomes[tokenpatch.OutcomeOf(err)]++
				mu.Unlock()
			}
		})
	}
	for n := range tokens {
		numbers <- n
	}
	close(numbers)
	wg.Wait()
	return outcomes
}

// compare holds the outcomes against what the service did.
func compare(service *tokenpatchtest.Service, outcomes map[tokenpatch.Outcome]int) error {
	changed := 0
	for n := range tokens {
		changed += service.Changes(id(n))
	}
	if least, most := outcomes[tokenpatch.OutcomeApplied], outcomes[tokenpatch.OutcomeApplied]+outcomes[tokenpatch.OutcomeUnknown]; changed < least || changed > most {
		return fmt.Errorf("the service changed %d tokens", changed)
	}
	return nil
}
