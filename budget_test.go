package tokenpatch_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func TestBudgetSettings(t *testing.T) {
	budget := new(tokenpatchtest.Budget)
	v1 := tokenpatch.V1Config{APIKey: "key"}
	for name, test := range map[string]struct {
		config tokenpatch.Config
		field  string
	}{
		"no account of V1": {tokenpatch.Config{V1: v1, Budget: budget}, "Config.V1.Account"},
		"no account of V2": {tokenpatch.Config{V2: tokenpatch.V2Config{AccessToken: "token"}, Budget: budget}, "Config.V2.Account"},
		"a share below 0":  {tokenpatch.Config{V2: tokenpatch.V2Config{AccessToken: "token", Share: -0.1}}, "Config.V2.Share"},
		"a share above 1":  {tokenpatch.Config{V2: tokenpatch.V2Config{AccessToken: "token", Share: 1.1}}, "Config.V2.Share"},
		"not a number":     {tokenpatch.Config{V2: tokenpatch.V2Config{AccessToken: "token", Share: math.NaN()}}, "Config.V2.Share"},
	} {
		_, err := tokenpatch.NewClient(test.config)
		input := assertAs[*tokenpatch.InputError](t, err)
		assert.Equal(t, test.field, input.Field, name)
	}
	v1.Account = "acme"
	_, err := tokenpatch.NewClient(tokenpatch.Config{V1: v1, Budget: budget})
	assert.NoError(t, err, "a service that is not used needs no account")
}

// sharingClients returns clients of programs with a shared budget.
func sharingClients(t *testing.T, service *tokenpatchtest.Service, n int, change func(*tokenpatch.Config)) []*tokenpatch.Client {
	t.Helper()
	clients := make([]*tokenpatch.Client, n)
	for i := range clients {
		config := tokenpatch.Config{
			V1:         tokenpatch.V1Config{APIKey: tokenpatchtest.APIKey, Account: "acme"},
			V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken, Account: "acme"},
			HTTPClient: service.Client(),
		}
		change(&config)
		client, err := tokenpatch.NewClient(config)
		require.NoError(t, err)
		clients[i] = client
	}
	return clients
}

func TestProgramsShareABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, _ := newPair(t)
		service.SetLatency(roundTrip)
		service.SetLimits(tokenpatchtest.V2, window(40))
		budget := new(tokenpatchtest.Budget)
		budget.Before = func(context.Context) error { time.Sleep(time.Millisecond); return nil }
		began := time.Now()
		var wg sync.WaitGroup
		for _, client := range sharingClients(t, service, 4, func(c *tokenpatch.Config) { c.Budget = budget }) {
			wg.Go(func() { assert.NoError(t, callAll(t.Context(), client, 100)) })
		}
		wg.Wait()
		defer time.Sleep(time.Second) // what still asks the store comes to its end
		assert.Zero(t, refused(service.Requests()))
		assert.Less(t, time.Since(began), 92*time.Second, "400 calls take nine windows and a little")
		t.Log(service.Windows(tokenpatchtest.V2))
		require.NotEmpty(t, budget.States())
		for key, state := range budget.States() {
			assert.True(t, strings.HasPrefix(key, "tokenpatch/ratelimit/2/https://app.launchdarkly.com/acme"), key)
			assert.NotContains(t, string(state), tokenpatchtest.AccessToken)
			assert.Less(t, len(state), 2000)
		}
	})
}

// A request delayed between its permit and its sending counts until it is sent, whatever responses
// arrive in between, and in the window in which it is sent.
func TestARequestHeldUpBeforeItIsSentCounts(t *testing.T) {
	t.Run("one in four", func(t *testing.T) { testHeldUp(t, 4) })
	t.Run("all", func(t *testing.T) { testHeldUp(t, 1) })
}

func testHeldUp(t *testing.T, oneIn int64) {
	synctest.Test(t, func(t *testing.T) {
		service, _ := newPair(t)
		service.SetLatency(2 * time.Millisecond)
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: 2 * time.Second, Global: 60, Floating: true})
		var attempts atomic.Int64
		client := sharingClients(t, service, 1, func(c *tokenpatch.Config) {
			c.Budget = new(tokenpatchtest.Budget)
			c.Hooks.AttemptStart = func(ctx context.Context, _ *tokenpatch.AttemptInfo) context.Context {
				if attempts.Add(1)%oneIn == 0 {
					time.Sleep(400 * time.Millisecond) // a program that records its next step, on a busy machine
				}
				return ctx
			}
		})[0]
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for range 20 {
					assert.NoError(t, patchName(t.Context(), client))
				}
			})
		}
		wg.Wait()
		defer time.Sleep(time.Second) // what still asks the store comes to its end
		assert.Zero(t, refused(service.Requests()))
	})
}

func TestAServiceWithoutLimitsIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, _ := newPair(t)
		service.SetLatency(roundTrip)
		var updates atomic.Int64
		budget := &tokenpatchtest.Budget{Before: func(context.Context) error { updates.Add(1); return nil }}
		client := sharingClients(t, service, 1, func(c *tokenpatch.Config) { c.Budget = budget })[0]
		for range 100 {
			require.NoError(t, updateName(t.Context(), client))
		}
		assert.LessOrEqual(t, updates.Load(), int64(5))
	})
}

func TestRetryAfterIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, _ := newPair(t)
		service.SetLimits(tokenpatchtest.V2, window(40))
		budget := new(tokenpatchtest.Budget)
		clients := sharingClients(t, service, 2, func(c *tokenpatch.Config) { c.Budget = budget })
		require.NoError(t, patchName(t.Context(), clients[0]))
		require.NoError(t, patchName(t.Context(), clients[1]))
		service.Inject(tokenpatchtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"60"}}})
		began := time.Now()
		first := make(chan error, 1)
		go func() { first <- patchName(t.Context(), clients[0]) }()
		synctest.Wait()
		require.NoError(t, patchName(t.Context(), clients[1]))
		assert.Less(t, time.Since(began), 11*time.Second)
		require.NoError(t, <-first)
		assert.GreaterOrEqual(t, time.Since(began), time.Minute)
	})
}

func TestABudgetThatFailsIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, _ := newPair(t)
		service.SetLimits(tokenpatchtest.V2, window(40))
		var down error
		budget := &tokenpatchtest.Budget{Before: func(context.Context) error { return down }}
		var log bytes.Buffer
		client := sharingClients(t, service, 1, func(c *tokenpatch.Config) {
			c.Budget, c.Logger = budget, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
		})[0]
		down = errors.New("connection refused")
		require.NoError(t, patchName(t.Context(), client))
		synctest.Wait()
		assert.Contains(t, log.String(), "connection refused")
		down = nil
		time.Sleep(time.Minute)
		require.NoError(t, patchName(t.Context(), client))
		synctest.Wait()
		for key := range budget.States() {
			budget.Set(key, []byte("garbage"))
		}
		time.Sleep(time.Minute)
		require.NoError(t, patchName(t.Context(), client))
		synctest.Wait()
		assert.Contains(t, log.String(), "cannot be right")
	})
}

func TestShareLeavesTheRestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t, func(c *tokenpatch.Config) { c.V2.Share = 0.5 })
		service.SetLatency(roundTrip)
		service.SetLimits(tokenpatchtest.V2, window(40))
		require.NoError(t, callAll(t.Context(), client, 100))
		for _, w := range service.Windows(tokenpatchtest.V2) {
			assert.LessOrEqual(t, w.Admitted, 20)
		}
	})
}
