package tokenpatchtest_test

import (
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// inBubble runs a test in virtual time, which begins at midnight UTC on
// 1 January 2000: a multiple of every window here.
func inBubble(t *testing.T, test func(t *testing.T, service *tokenpatchtest.Service, patch func(path string, edits ...edit) result)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		service, client := newService(t)
		defer service.Close()
		test(t, service, func(path string, edits ...edit) result {
			t.Helper()
			return send(t, client, "https://app.example.com"+path, rename(path, "after"), edits...)
		})
	})
}

func epoch(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func TestWindowsLimitRequests(t *testing.T) {
	inBubble(t, func(t *testing.T, service *tokenpatchtest.Service, patch func(string, ...edit) result) {
		start := time.Now().UTC()
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 3, Route: 2})
		time.Sleep(4 * time.Second)

		for i := range 2 {
			r := patch(v2Path)
			assert.Equal(t, 200, r.status)
			assert.Equal(t, strconv.Itoa(2-i), r.remaining("Global"))
			assert.Equal(t, strconv.Itoa(1-i), r.remaining("Route"))
			assert.Equal(t, epoch(start.Add(10*time.Second)), r.header.Get("X-Ratelimit-Reset"))
		}
		r := patch(v2Path)
		assert.Equal(t, 429, r.status)
		assert.Contains(t, r.body, `"code":"rate_limited"`)
		assert.Equal(t, "1", r.remaining("Global"), "a refusal takes nothing from the other quota")
		assert.Equal(t, "0", r.remaining("Route"))
		assert.Equal(t, epoch(start.Add(10*time.Second)), r.header.Get("X-Ratelimit-Reset"))
		assert.Empty(t, r.header.Get("Retry-After"))
		assert.Equal(t, 2, service.Changes(tokenID))

		time.Sleep(6*time.Second - time.Millisecond)
		assert.Equal(t, 429, patch(v2Path).status)
		time.Sleep(time.Millisecond)
		assert.Equal(t, 200, patch(v2Path).status, "at the reset the next window has begun")
		time.Sleep(25 * time.Second)
		assert.Equal(t, 200, patch(v2Path).status)

		assert.Equal(t, []tokenpatchtest.WindowStats{
			{Start: start, Reset: start.Add(10 * time.Second), Limit: 2, Admitted: 2, Refused: 2},
			{Start: start.Add(10 * time.Second), Reset: start.Add(20 * time.Second), Limit: 2, Admitted: 1},
			{Start: start.Add(30 * time.Second), Reset: start.Add(40 * time.Second), Limit: 2, Admitted: 1},
		}, service.Windows(tokenpatchtest.V2))
		assert.Empty(t, service.Windows(tokenpatchtest.V1))
	})
}

func TestFloatingWindows(t *testing.T) {
	inBubble(t, func(t *testing.T, service *tokenpatchtest.Service, patch func(string, ...edit) result) {
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Route: 1, Window: time.Second, Floating: true})
		time.Sleep(300*time.Millisecond + 300*time.Microsecond)
		start := time.Now().Truncate(time.Millisecond)
		assert.Equal(t, epoch(start.Add(time.Second)), patch(v2Path).header.Get("X-Ratelimit-Reset"))
		assert.Equal(t, 429, patch(v2Path).status)
		time.Sleep(time.Until(start.Add(time.Second)))
		assert.Equal(t, 200, patch(v2Path).status, "the window ends at its reset")
		time.Sleep(5500 * time.Millisecond)
		assert.Equal(t, epoch(time.Now().Add(time.Second)), patch(v2Path).header.Get("X-Ratelimit-Reset"))
		assert.Len(t, service.Windows(tokenpatchtest.V2), 3)
	})
}

func TestLimitsChangeWithinAWindow(t *testing.T) {
	inBubble(t, func(t *testing.T, service *tokenpatchtest.Service, patch func(string, ...edit) result) {
		r := patch(v2Path)
		assert.Empty(t, r.remaining("Global")+r.remaining("Route")+r.header.Get("X-Ratelimit-Reset"))
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 3})
		r = patch(v2Path)
		assert.Equal(t, "1", r.remaining("Global"), "what came before counts")
		assert.Empty(t, r.remaining("Route"))
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 1})
		r = patch(v2Path)
		assert.Equal(t, 429, r.status)
		assert.Equal(t, "0", r.remaining("Global"))
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 4})
		assert.Equal(t, "1", patch(v2Path).remaining("Global"))
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{})
		assert.Equal(t, 200, patch(v2Path).status)
		assert.Equal(t, 200, patch(v2Path).status)
		stats := service.Windows(tokenpatchtest.V2)
		require.Len(t, stats, 1)
		assert.Equal(t, 5, stats[0].Admitted)
		assert.Equal(t, 1, stats[0].Refused)
		assert.Zero(t, stats[0].Limit)
	})
}

// At any time of day, the current window ends by the new length.
func TestWindowLengthChangesWithinAWindow(t *testing.T) {
	for _, into := range []time.Duration{0, 300 * time.Millisecond, 4 * time.Second, 9999 * time.Millisecond, 47*time.Minute + 3*time.Second} {
		for _, test := range []struct {
			name         string
			first, later tokenpatchtest.Limits
			reset        func(now time.Time) time.Time
		}{
			{"shorter", tokenpatchtest.Limits{Global: 3}, tokenpatchtest.Limits{Global: 3, Window: time.Second},
				func(now time.Time) time.Time { return now.Truncate(time.Second).Add(time.Second) }},
			{"longer", tokenpatchtest.Limits{Global: 3}, tokenpatchtest.Limits{Global: 3, Window: time.Hour},
				func(now time.Time) time.Time { return now.Truncate(time.Hour).Add(time.Hour) }},
			{"floating from now on", tokenpatchtest.Limits{Global: 3}, tokenpatchtest.Limits{Global: 3, Floating: true},
				func(now time.Time) time.Time { return now.Add(10 * time.Second) }},
			{"floating and shorter", tokenpatchtest.Limits{Global: 3, Floating: true}, tokenpatchtest.Limits{Global: 3, Floating: true, Window: time.Second},
				func(now time.Time) time.Time { return now.Add(time.Second) }},
			{"floating no more", tokenpatchtest.Limits{Global: 3, Floating: true}, tokenpatchtest.Limits{Global: 3, Window: time.Minute},
				func(now time.Time) time.Time { return now.Truncate(time.Minute).Add(time.Minute) }},
		} {
			t.Run(test.name+" after "+into.String(), func(t *testing.T) {
				inBubble(t, func(t *testing.T, service *tokenpatchtest.Service, patch func(string, ...edit) result) {
					service.SetLimits(tokenpatchtest.V2, test.first)
					time.Sleep(into)
					assert.Equal(t, "2", patch(v2Path).remaining("Global"))
					service.SetLimits(tokenpatchtest.V2, test.later)
					service.SetLimits(tokenpatchtest.V2, test.later)
					reset := test.reset(time.Now())
					r := patch(v2Path)
					assert.Equal(t, "1", r.remaining("Global"), "what came before counts")
					assert.Equal(t, epoch(reset), r.header.Get("X-Ratelimit-Reset"))
					time.Sleep(time.Until(reset))
					assert.Equal(t, "2", patch(v2Path).remaining("Global"))
					assert.Len(t, service.Windows(tokenpatchtest.V2), 2)
				})
			})
		}
	}
}

func TestSpendTakesFromTheWindow(t *testing.T) {
	inBubble(t, func(t *testing.T, service *tokenpatchtest.Service, patch func(string, ...edit) result) {
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 10, Route: 6})
		service.Spend(tokenpatchtest.V2, 4)
		r := patch(v2Path)
		assert.Equal(t, "5", r.remaining("Global"))
		assert.Equal(t, "1", r.remaining("Route"))
		service.Spend(tokenpatchtest.V2, 100)
		r = patch(v2Path)
		assert.Equal(t, 429, r.status)
		assert.Equal(t, "0", r.remaining("Global"))
		assert.Equal(t, 104, service.Windows(tokenpatchtest.V2)[0].Spent)
		time.Sleep(10 * time.Second)
		assert.Equal(t, "9", patch(v2Path).remaining("Global"))
	})
}

func TestLimitsChangeTheHeaders(t *testing.T) {
	inBubble(t, func(t *testing.T, service *tokenpatchtest.Service, patch func(string, ...edit) result) {
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 2, Route: 7, Credential: 9})
		r := patch(v2Path)
		assert.Equal(t, "2", r.header.Get("X-Ratelimit-Global-Limit"))
		assert.Equal(t, "7", r.header.Get("X-Ratelimit-Route-Limit"))
		assert.Equal(t, "9", r.header.Get("X-Ratelimit-Auth-Token-Limit"))
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 2, NoLimitHeaders: true})
		r = patch(v2Path)
		assert.Equal(t, "0", r.remaining("Global"))
		assert.Empty(t, r.header.Get("X-Ratelimit-Global-Limit"))
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 2, HideHeaders: true})
		r = patch(v2Path)
		assert.Equal(t, 429, r.status)
		for name := range r.header {
			assert.NotContains(t, name, "Ratelimit")
		}
		assert.Empty(t, r.header.Get("Retry-After"))

		time.Sleep(8500 * time.Millisecond)
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 2, RetryAfter: true})
		assert.Equal(t, "2", patch(v2Path).header.Get("Retry-After"), "rounded up")
		time.Sleep(1500 * time.Millisecond)
		assert.Empty(t, patch(v2Path).header.Get("Retry-After"))
	})
}

// Each credential has a limit and windows of its own.
func TestTheLimitOfACredential(t *testing.T) {
	inBubble(t, func(t *testing.T, service *tokenpatchtest.Service, patch func(string, ...edit) result) {
		start := time.Now()
		service.AddCredential(tokenpatchtest.Credential{AccessToken: "other"})
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{
			Global: 10, Credential: 2, CredentialOffset: 3 * time.Second, RetryAfter: true,
		})
		time.Sleep(time.Second)
		r := patch(v2Path)
		assert.Equal(t, "9", r.remaining("Global"))
		assert.Equal(t, "1", r.remaining("Auth-Token"))
		assert.Equal(t, epoch(start.Add(10*time.Second)), r.header.Get("X-Ratelimit-Reset"))
		assert.Equal(t, epoch(start.Add(3*time.Second)), r.header.Get("X-Ratelimit-Auth-Token-Reset"))
		assert.Equal(t, "0", patch(v2Path).remaining("Auth-Token"))
		r = patch(v2Path)
		assert.Equal(t, 429, r.status)
		assert.Equal(t, "8", r.remaining("Global"), "a refusal takes nothing from another limit")
		assert.Equal(t, "2", r.header.Get("Retry-After"), "until the window of the credential ends")
		r = patch(v2Path, header("Authorization", "other"))
		assert.Equal(t, 200, r.status)
		assert.Equal(t, "1", r.remaining("Auth-Token"))
		assert.Equal(t, "7", r.remaining("Global"))

		time.Sleep(2*time.Second - time.Millisecond)
		assert.Equal(t, 429, patch(v2Path).status)
		time.Sleep(time.Millisecond)
		r = patch(v2Path)
		assert.Equal(t, 200, r.status)
		assert.Equal(t, epoch(start.Add(13*time.Second)), r.header.Get("X-Ratelimit-Auth-Token-Reset"))
		assert.Equal(t, 2, service.Windows(tokenpatchtest.V2)[0].Limit)
		assert.Equal(t, 4, service.Windows(tokenpatchtest.V2)[0].Admitted)
		assert.Equal(t, 2, service.Windows(tokenpatchtest.V2)[0].Refused)

		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Credential: 1, Floating: true})
		assert.Equal(t, epoch(time.Now().Add(10*time.Second)), patch(v2Path).header.Get("X-Ratelimit-Auth-Token-Reset"))
		assert.Equal(t, 429, patch(v2Path).status)
	})
}

func TestErrorsCountTowardsLimits(t *testing.T) {
	inBubble(t, func(t *testing.T, service *tokenpatchtest.Service, patch func(string, ...edit) result) {
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 9})
		assert.Equal(t, "8", patch("/api/v2/tokens/unknown").remaining("Global"), "404")
		assert.Equal(t, "7", patch(v2Path, header("LD-API-Version")).remaining("Global"), "400")
		r := patch(v2Path, header("Authorization"))
		assert.Equal(t, 401, r.status)
		assert.Empty(t, r.remaining("Global"), "nobody's budget")
		assert.Equal(t, "6", patch(v2Path).remaining("Global"))
	})
}

func TestLimitsOfV1(t *testing.T) {
	inBubble(t, func(t *testing.T, service *tokenpatchtest.Service, patch func(string, ...edit) result) {
		service.SetLimits(tokenpatchtest.V1, tokenpatchtest.Limits{Route: 1})
		r := patch(v1Path)
		assert.Equal(t, 204, r.status)
		assert.Equal(t, "0", r.remaining("Route"))
		r = patch(v1Path)
		assert.Equal(t, 429, r.status)
		assert.Contains(t, r.body, `"detail":`)
		r = patch(v2Path)
		assert.Equal(t, 200, r.status)
		assert.Empty(t, r.header.Get("X-Ratelimit-Reset"))
	})
}

func TestLimitsFollowTheServiceClock(t *testing.T) {
	inBubble(t, func(t *testing.T, service *tokenpatchtest.Service, patch func(string, ...edit) result) {
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 1})
		service.SetClockOffset(-time.Hour + 7*time.Second)
		start := time.Now().Add(-time.Hour)
		r := patch(v2Path)
		assert.Equal(t, epoch(start.Add(10*time.Second)), r.header.Get("X-Ratelimit-Reset"))
		time.Sleep(3*time.Second - time.Millisecond)
		assert.Equal(t, 429, patch(v2Path).status)
		time.Sleep(time.Millisecond)
		assert.Equal(t, 200, patch(v2Path).status)
		service.SetClockOffset(-time.Hour)
		assert.Equal(t, 200, patch(v2Path).status, "a clock that is set back is in another window")
	})
}

func TestRefuseFor(t *testing.T) {
	inBubble(t, func(t *testing.T, service *tokenpatchtest.Service, patch func(string, ...edit) result) {
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 5})
		service.RefuseFor(tokenpatchtest.V2, 30*time.Second)
		r := patch(v2Path, header("Authorization"))
		assert.Equal(t, 429, r.status)
		assert.Equal(t, "30", r.header.Get("Retry-After"))
		assert.Empty(t, r.header.Get("X-Ratelimit-Reset"))
		assert.Equal(t, 204, patch(v1Path).status)

		time.Sleep(10*time.Second + time.Millisecond)
		assert.Equal(t, "20", patch(v2Path).header.Get("Retry-After"))
		time.Sleep(20*time.Second - time.Millisecond)
		assert.Equal(t, "4", patch(v2Path).remaining("Global"))

		service.RefuseFor(tokenpatchtest.V2, time.Hour)
		assert.Equal(t, "3600", patch(v2Path).header.Get("Retry-After"))
		service.RefuseFor(tokenpatchtest.V2, 0)
		assert.Equal(t, 200, patch(v2Path).status)
	})
}

func TestLimitsHoldUnderConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newService(t)
		defer service.Close()
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 40, Route: 30})
		service.SetLatency(20 * time.Millisecond)
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				_, err := attempt(client, "http://a"+v2Path, rename(v2Path, "after"))
				assert.NoError(t, err)
			})
		}
		group.Wait()
		assert.Equal(t, 30, service.Changes(tokenID))
		stats := service.Windows(tokenpatchtest.V2)
		require.Len(t, stats, 1)
		assert.Equal(t, 30, stats[0].Admitted)
		assert.Equal(t, 70, stats[0].Refused)
	})
}

func TestLimitsOfNeitherAPI(t *testing.T) {
	service := tokenpatchtest.New()
	assert.Panics(t, func() { service.SetLimits(tokenpatchtest.AnyAPI, tokenpatchtest.Limits{}) })
}
