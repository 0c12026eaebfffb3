package benchmarks

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenpatch/tokenpatch"
)

// answers is a transport with immediate responses, with the status and the headers of the test.
type answers struct {
	status int
	header http.Header
}

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	return &http.Response{
		StatusCode: a.status, ProtoMajor: 1, Header: a.header, Request: r,
		Body: io.NopCloser(strings.NewReader(`{"code":"x","message":"x"}`)),
	}, nil
}

// BenchmarkWaiting measures the memory of a waiting call, stack included: waiting for its first
// permit, in a full window, and for another attempt after a 500.
func BenchmarkWaiting(b *testing.B) {
	reset := fmt.Sprint(time.Now().Add(time.Hour).UnixMilli())
	for name, transport := range map[string]answers{
		"permit":  {http.StatusNotFound, http.Header{"X-Ratelimit-Global-Remaining": {"0"}, "X-Ratelimit-Reset": {reset}}},
		"backoff": {http.StatusInternalServerError, http.Header{"Retry-After": {"300"}}},
	} {
		b.Run("for="+name, func(b *testing.B) {
			const calls = 5000
			for range b.N {
				client, err := tokenpatch.NewClient(tokenpatch.Config{
					V2:         tokenpatch.V2Config{AccessToken: "api-00000000-0000-4000-8000-000000000000"},
					HTTPClient: &http.Client{Transport: transport},
					Retry:      tokenpatch.RetryPolicy{MaxRateLimitWait: 2 * time.Hour},
				})
				if err != nil {
					b.Fatal(err)
				}
				ctx, cancel := context.WithCancel(b.Context())
				patch := func() {
					p := tokenpatch.NewPatch().SetName("renamed")
					_, _ = client.V2.PatchToken(ctx, "0123456789abcdef01234567", p)
				}
				if name == "permit" {
					patch() // uses the window up
				}
				before := inUse()
				var wg sync.WaitGroup
				for range calls {
					wg.Go(patch)
				}
				time.Sleep(2 * time.Second) // longer than any call takes to come to its wait
				b.ReportMetric(float64(inUse()-before)/calls, "B/call")
				cancel()
				wg.Wait()
			}
		})
	}
}

// inUse returns the bytes of heap and stacks in use.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
