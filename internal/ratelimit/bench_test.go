package ratelimit_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// What the limiter costs an attempt, by how many others wait: every response
// opens a window with one permit, which goes to the first of them.
func BenchmarkLimiter(b *testing.B) {
	for _, waiting := range []int{1, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			b.ReportAllocs()
			l := ratelimit.New(ratelimit.Options{MaxWait: time.Hour})
			ctx, cancel := context.WithCancel(context.Background())
			admitted := make(chan *ratelimit.Permit)
			var wg, queued sync.WaitGroup
			queued.Add(waiting)
			for range waiting + 1 {
				wg.Go(func() {
					first := &ratelimit.Permit{Waiting: func(ratelimit.Reason) { queued.Done() }}
					for p := first; ; p = new(ratelimit.Permit) {
						if _, err := l.Wait(ctx, "PATCH /api/v2/tokens/{id}", p); err != nil {
							return
						}
						select {
						case admitted <- p:
						case <-ctx.Done():
							return
						}
					}
				})
			}
			header := http.Header{"X-Ratelimit-Route-Remaining": {"1"}}
			reset := time.Now().Add(time.Minute).UnixMilli()
			queued.Wait() // all but one
			for b.Loop() {
				reset++
				header["X-Ratelimit-Reset"] = []string{strconv.FormatInt(reset, 10)}
				(<-admitted).Observe(http.StatusOK, header)
			}
			cancel()
			wg.Wait()
		})
	}
}
