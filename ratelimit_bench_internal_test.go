package tokenpatch

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// What the gate costs an attempt, by how many others wait: every answer opens
// a window with one place, which goes to the first of them.
func BenchmarkGate(b *testing.B) {
	for _, waiting := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			b.ReportAllocs()
			g := newGate(time.Hour)
			ctx, cancel := context.WithCancel(context.Background())
			admitted := make(chan *place)
			var wg sync.WaitGroup
			for range waiting + 1 {
				wg.Go(func() {
					for {
						var t ticket
						p := new(place)
						if _, err := g.admit(ctx, &t, p); err != nil {
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
			response := &http.Response{StatusCode: 200, Header: http.Header{"X-Ratelimit-Route-Remaining": {"1"}}}
			reset := time.Now().Add(time.Minute).UnixMilli()
			for b.Loop() {
				reset++
				response.Header["X-Ratelimit-Reset"] = []string{strconv.FormatInt(reset, 10)}
				(<-admitted).learn(response, time.Now())
			}
			cancel()
			wg.Wait()
		})
	}
}
