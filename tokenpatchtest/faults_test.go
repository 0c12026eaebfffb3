package tokenpatchtest_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// eachWay runs a test over each way to reach a service.
func eachWay(t *testing.T, test func(t *testing.T, service *tokenpatchtest.Service, client *http.Client, baseURL string)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		service, client := newService(t)
		test(t, service, client, "https://app.example.com")
	})
	t.Run("loopback", func(t *testing.T) {
		service, _ := newService(t)
		baseURL, err := service.Listen()
		require.NoError(t, err)
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		test(t, service, client, baseURL)
	})
	t.Run("HTTP/2", func(t *testing.T) {
		service, _ := newService(t)
		baseURL, client, err := service.ListenTLS()
		require.NoError(t, err)
		defer client.CloseIdleConnections()
		test(t, service, client, baseURL)
	})
}

// A body can be cut behind every one of its bytes.
func TestBodiesAreCutAnywhere(t *testing.T) {
	const body = `{"_id": "61095542756dba551110ae21"}`
	eachWay(t, func(t *testing.T, service *tokenpatchtest.Service, client *http.Client, baseURL string) {
		received := func(fault tokenpatchtest.Fault) string {
			fault.Status, fault.Body = 200, body
			service.Inject(fault)
			r, err := attempt(client, baseURL+v2Path, rename(v2Path, "after"))
			require.Error(t, err, "%+v", fault)
			require.Equal(t, 200, r.status)
			require.True(t, strings.HasPrefix(body, r.body))
			return r.body
		}
		for at := 1; at < len(body); at++ {
			assert.Equal(t, body[:at], received(tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle, CutAt: at}))
			assert.Equal(t, body[:len(body)-at], received(tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle, CutAt: -at}))
		}
		assert.Equal(t, body[:len(body)/2], received(tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle}))
		assert.Equal(t, body[:len(body)-1], received(tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle, CutAt: 1000}))
		assert.Empty(t, received(tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle, CutAt: -1000}))

		lengths := make(map[int]bool)
		for range 300 {
			lengths[len(received(tokenpatchtest.Fault{Cut: tokenpatchtest.CutAnywhere}))] = true
		}
		assert.Greater(t, len(lengths), len(body)*3/4)
	})
}

// Out of step, each request on a connection gets the response to the one before.
func TestConnectionsOutOfStep(t *testing.T) {
	eachWay(t, func(t *testing.T, service *tokenpatchtest.Service, client *http.Client, baseURL string) {
		require.NoError(t, service.AddV2(strings.ReplaceAll(document, tokenID, "another")))
		patch := func(id, name string) string {
			return send(t, client, baseURL+"/api/v2/tokens/"+id, rename(v2Path, name)).body
		}
		service.Inject(tokenpatchtest.Fault{OutOfStep: true, Times: 3})
		assert.Contains(t, patch(tokenID, "first"), `"name":"first"`, "there is none before")
		assert.Contains(t, patch("another", "second"), `"name":"first"`)
		got := patch(tokenID, "third")
		assert.Contains(t, got, `"_id":"another"`)
		assert.Contains(t, got, `"name":"second"`)
		assert.Contains(t, patch("another", "fourth"), `"name":"fourth"`, "in step again")
		assert.Equal(t, 4, service.Changes(tokenID)+service.Changes("another"))
	})

	service, _ := newService(t)
	service.Inject(tokenpatchtest.Fault{OutOfStep: true, Times: -1})
	for _, client := range []*http.Client{service.Client(), service.Client()} {
		r := send(t, client, "http://a"+v2Path, rename(v2Path, "x"), header("LD-API-Version"))
		assert.Equal(t, 400, r.status, "each connection begins with its own")
		service.SetCredentials("", "")
		assert.Equal(t, 400, send(t, client, "http://a"+v2Path, rename(v2Path, "x")).status)
		service.SetCredentials(tokenpatchtest.APIKey, tokenpatchtest.AccessToken)
	}
}

func TestCutsBreakTheConnection(t *testing.T) {
	tests := []struct {
		name    string
		fault   tokenpatchtest.Fault
		applied bool
		status  int // of the client and the log; 0 is none
	}{
		{"before", tokenpatchtest.Fault{Cut: tokenpatchtest.CutBefore}, false, 0},
		{"after", tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter}, true, 0},
		{"middle", tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle}, true, 200},
		{"middle of its own response", tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle, Status: 503, Body: "<html></html>"}, false, 503},
		{"after its own response", tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter, Status: 503, Apply: true}, true, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, service *tokenpatchtest.Service, client *http.Client, baseURL string) {
				require.Equal(t, 200, send(t, client, baseURL+v2Path, rename(v2Path, "first")).status)
				service.Inject(test.fault)
				r, err := attempt(client, baseURL+v2Path, rename(v2Path, "after"))
				require.Error(t, err)
				assert.Equal(t, test.status, r.status)
				if test.status != 0 {
					assert.NotEmpty(t, r.body)
					declared, err := strconv.Atoi(r.header.Get("Content-Length"))
					require.NoError(t, err)
					assert.Equal(t, declared/2, len(r.body))
				}

				requests := service.Requests()
				require.Len(t, requests, 2, "nothing sends it again")
				assert.Equal(t, test.status, requests[1].Status)
				assert.Equal(t, test.applied, requests[1].Applied)
				assert.Equal(t, test.applied, service.Changes(tokenID) == 2)
				assert.Equal(t, 200, send(t, client, baseURL+v2Path, rename(v2Path, "again")).status)
			})
		})
	}
}

func TestCutInTheMiddleOfNothing(t *testing.T) {
	service, client := newService(t)
	service.Inject(tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle})
	_, err := attempt(client, "http://a"+v1Path, `{"name": "after"}`)
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, 1, service.Changes(v1ID))
	assert.Zero(t, service.Requests()[0].Status)
}

func TestFaultsSetTheResponse(t *testing.T) {
	eachWay(t, func(t *testing.T, service *tokenpatchtest.Service, client *http.Client, baseURL string) {
		service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 100})
		service.Inject(
			tokenpatchtest.Fault{Status: 503, Body: "<html>busy</html>"},
			tokenpatchtest.Fault{Status: 409, Body: `{"code": "conflict"}`, Header: http.Header{"x-ratelimit-reset": {"7"}}},
			tokenpatchtest.Fault{Status: 200, Body: "<html>", Apply: true},
			tokenpatchtest.Fault{Header: http.Header{"Date": nil, "x-ratelimit-reset": nil, "X-Extra": {"1", "2"}}},
			tokenpatchtest.Fault{Status: 302, Header: http.Header{"Location": {"https://elsewhere.example.com"}}},
		)
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		next := func() result { return send(t, client, baseURL+v2Path, rename(v2Path, "after")) }

		r := next()
		assert.Equal(t, 503, r.status)
		assert.Equal(t, "<html>busy</html>", r.body)
		assert.Contains(t, r.header.Get("Content-Type"), "text/html")
		assert.NotEmpty(t, r.header.Get("Date"))
		assert.Empty(t, r.remaining("Global"), "it was not counted")
		assert.Empty(t, service.Windows(tokenpatchtest.V2))

		r = next()
		assert.Equal(t, 409, r.status)
		assert.Equal(t, "application/json", r.header.Get("Content-Type"))
		assert.Equal(t, "7", r.header.Get("X-Ratelimit-Reset"))
		assert.Zero(t, service.Changes(tokenID))

		r = next()
		assert.Equal(t, 200, r.status)
		assert.Equal(t, "<html>", r.body)
		assert.Equal(t, "99", r.remaining("Global"))
		assert.Equal(t, 1, service.Changes(tokenID))

		r = next()
		assert.Equal(t, 200, r.status)
		assert.Contains(t, r.body, `"name":"after"`)
		assert.NotContains(t, r.header, "Date")
		assert.NotContains(t, r.header, "X-Ratelimit-Reset")
		assert.Equal(t, "98", r.remaining("Global"))
		assert.Equal(t, []string{"1", "2"}, r.header.Values("X-Extra"))

		r = next()
		assert.Equal(t, 302, r.status)
		assert.Equal(t, "https://elsewhere.example.com", r.header.Get("Location"))
		assert.Equal(t, 200, next().status)
	})
}

func TestFaultNeedsNoCredential(t *testing.T) {
	service, client := newService(t)
	service.Inject(tokenpatchtest.Fault{Status: 500})
	assert.Equal(t, 500, send(t, client, "http://a"+v2Path, "", header("Authorization")).status)
}

func TestFaultsAreMetInOrder(t *testing.T) {
	service, client := newService(t)
	hasName := func(name string) func(*http.Request) bool {
		return func(r *http.Request) bool {
			body, err := io.ReadAll(r.Body)
			return err == nil && strings.Contains(string(body), name)
		}
	}
	service.Inject(
		tokenpatchtest.Fault{API: tokenpatchtest.V2, Match: hasName("special"), Status: 501},
		tokenpatchtest.Fault{API: tokenpatchtest.V1, Status: 502},
		tokenpatchtest.Fault{API: tokenpatchtest.V2, Times: 2, Status: 503},
	)
	service.Inject(tokenpatchtest.Fault{Times: -1, Status: 504})
	for i, step := range []struct {
		path, name string
		status     int
	}{
		{v2Path, "plain", 503},
		{v1Path, "special", 502},
		{v2Path, "special", 501},
		{v1Path, "plain", 504},
		{v2Path, "special", 503},
		{v2Path, "special", 504},
		{"/elsewhere", "plain", 504},
	} {
		assert.Equal(t, step.status, send(t, client, "http://a"+step.path, rename(step.path, step.name)).status, "step %d", i)
	}
	service.ClearFaults()
	assert.Equal(t, 200, send(t, client, "http://a"+v2Path, rename(v2Path, "special")).status)
}

// A delayed request is applied after its connection broke, or after a gateway gave up.
func TestLateRequestsAreApplied(t *testing.T) {
	for _, fault := range []tokenpatchtest.Fault{
		{Late: 59 * time.Second},
		{Late: 59 * time.Second, Status: 504, Body: "<html>"},
	} {
		synctest.Test(t, func(t *testing.T) {
			service, client := newService(t)
			defer service.Close()
			service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 9})
			service.Inject(fault)
			start := time.Now().UTC()
			r, err := attempt(client, "http://a"+v2Path, rename(v2Path, "late"))
			assert.Equal(t, fault.Status == 0, err != nil, "%v", err)
			assert.Equal(t, fault.Status, r.status)
			assert.Zero(t, time.Since(start))

			time.Sleep(59*time.Second - time.Nanosecond)
			synctest.Wait()
			assert.Zero(t, service.Changes(tokenID))
			assert.Empty(t, service.Windows(tokenpatchtest.V2))
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			history := service.History(tokenID)
			require.Len(t, history, 1)
			assert.Equal(t, start.Add(59*time.Second), history[0].Time)
			assert.Equal(t, `"late"`, member(t, service, "name"))
			assert.Equal(t, 1, service.Windows(tokenpatchtest.V2)[0].Admitted)
			requests := service.Requests()
			require.Len(t, requests, 1)
			assert.Equal(t, fault.Status, requests[0].Status)
			assert.True(t, requests[0].Applied)
		})
	}
}

// A late request meets the token as it then is, and Close drops it.
func TestLateMeetsWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newService(t)
		guarded := `[{"op": "test", "path": "/name", "value": "before"}, {"op": "replace", "path": "/name", "value": "late"}]`
		service.Inject(tokenpatchtest.Fault{Late: time.Second}, tokenpatchtest.Fault{},
			tokenpatchtest.Fault{Late: time.Second}, tokenpatchtest.Fault{Late: time.Minute})
		_, err := attempt(client, "http://a"+v2Path, guarded)
		require.Error(t, err)
		send(t, client, "http://a"+v2Path, rename(v2Path, "quicker"))
		for range 2 {
			_, err = attempt(client, "http://a"+v2Path, rename(v2Path, "late"))
			require.Error(t, err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, 2, service.Changes(tokenID))
		service.Close()
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Equal(t, 2, service.Changes(tokenID))
	})
}

func TestLateRequestsOverEachWay(t *testing.T) {
	eachWay(t, func(t *testing.T, service *tokenpatchtest.Service, client *http.Client, baseURL string) {
		service.Inject(tokenpatchtest.Fault{Late: time.Millisecond})
		_, err := attempt(client, baseURL+v2Path, rename(v2Path, "late"))
		require.Error(t, err)
		require.Eventually(t, func() bool { return service.Changes(tokenID) == 1 }, 10*time.Second, time.Millisecond)
	})
}

// A duplicating proxy sends a request twice: the client sees one response.
func TestDuplicatedRequestsAreAppliedTwice(t *testing.T) {
	const appends = `[{"op": "add", "path": "/customRoleIds/-", "value": "d"}]`
	const guarded = `[{"op": "test", "path": "/name", "value": "before"}, {"op": "replace", "path": "/name", "value": "after"}]`
	tests := []struct {
		name, body      string
		fault           tokenpatchtest.Fault
		status, changes int // when the client has its response
		later           int // changes after a minute
		second          int // status of the second request, at the end
	}{
		{"applied twice", appends, tokenpatchtest.Fault{Duplicate: true}, 200, 2, 2, 200},
		{"the second is refused", guarded, tokenpatchtest.Fault{Duplicate: true}, 422, 1, 1, 422},
		{"the second is late", appends, tokenpatchtest.Fault{Duplicate: true, Late: time.Minute}, 200, 1, 2, 200},
		{"late and refused", guarded, tokenpatchtest.Fault{Duplicate: true, Late: time.Minute}, 200, 1, 1, 422},
		{"behind a page", appends, tokenpatchtest.Fault{Duplicate: true, Status: 502, Body: "<html>"}, 502, 2, 2, 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newService(t)
				defer service.Close()
				service.Inject(test.fault)
				assert.Equal(t, test.status, send(t, client, "http://a"+v2Path, test.body).status)
				assert.Equal(t, test.changes, service.Changes(tokenID))
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.Equal(t, test.later, service.Changes(tokenID))
				requests := service.Requests()
				require.Len(t, requests, 2, "the log has both")
				assert.Equal(t, test.status, requests[0].Status)
				assert.Equal(t, test.second, requests[1].Status)
				assert.Equal(t, requests[0].Body, requests[1].Body)
			})
		})
	}
}

func TestChanceIsDrawnFromTheSeed(t *testing.T) {
	const requests = 400
	service, client := newService(t)
	run := func(seed uint64) (statuses []int) {
		service.ClearFaults()
		service.SetSeed(seed)
		service.Inject(
			tokenpatchtest.Fault{Chance: 0.25, Times: -1, Status: 503},
			tokenpatchtest.Fault{Chance: 0.5, Status: 500},
		)
		for range requests {
			statuses = append(statuses, send(t, client, "http://a"+v2Path, rename(v2Path, "after")).status)
		}
		return statuses
	}
	count := func(statuses []int, status int) (n int) {
		for _, s := range statuses {
			if s == status {
				n++
			}
		}
		return n
	}
	first := run(7)
	assert.InDelta(t, requests/4, count(first, 503), requests/10)
	assert.Equal(t, 1, count(first, 500), "one that chance did not select stays in the script")
	assert.Equal(t, first, run(7))
	assert.NotEqual(t, first, run(8))

	service.ClearFaults()
	service.Inject(tokenpatchtest.Fault{Chance: 1, Status: 503})
	assert.Equal(t, 503, send(t, client, "http://a"+v2Path, rename(v2Path, "after")).status)
	for _, wrong := range []float64{-0.1, 1.1, math.NaN()} {
		assert.Panics(t, func() { service.Inject(tokenpatchtest.Fault{Chance: wrong}) })
	}
}

func TestDelaysBeforeAndAfterTheChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newService(t)
		defer service.Close()
		service.Inject(
			tokenpatchtest.Fault{Delay: time.Hour, DelayAfter: time.Minute},
			tokenpatchtest.Fault{Delay: time.Hour},
			tokenpatchtest.Fault{DelayAfter: time.Hour},
		)
		start := time.Now().UTC()
		r := send(t, client, "http://a"+v2Path, rename(v2Path, "one"))
		assert.Equal(t, time.Hour+time.Minute, time.Since(start))
		assert.Equal(t, start.Add(time.Hour), service.History(tokenID)[0].Time)
		assert.Equal(t, start.Add(time.Hour+time.Minute).Format(http.TimeFormat), r.header.Get("Date"))

		for i, applied := range []bool{false, true} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := attemptContext(ctx, client, "http://a"+v2Path, rename(v2Path, "two"))
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			synctest.Wait()
			assert.Equal(t, applied, service.Requests()[i+1].Applied)
			assert.Zero(t, service.Requests()[i+1].Status)
		}
	})
}

func TestDelayEndsWhenTheClientGoes(t *testing.T) {
	eachWay(t, func(t *testing.T, service *tokenpatchtest.Service, client *http.Client, baseURL string) {
		service.Inject(tokenpatchtest.Fault{Delay: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := attemptContext(ctx, client, baseURL+v2Path, rename(v2Path, "two"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		service.Close() // which waits for the handler
		assert.Zero(t, service.Changes(tokenID))
	})
}

func TestDelayEndsWhenTheServiceCloses(t *testing.T) {
	eachWay(t, func(t *testing.T, service *tokenpatchtest.Service, client *http.Client, baseURL string) {
		service.Inject(tokenpatchtest.Fault{DelayAfter: time.Hour})
		failed := make(chan error)
		go func() {
			_, err := attempt(client, baseURL+v2Path, rename(v2Path, "after"))
			failed <- err
		}()
		require.Eventually(t, func() bool { return service.Changes(tokenID) == 1 }, 5*time.Second, time.Millisecond)
		service.Close()
		err := <-failed
		require.Error(t, err)
		assert.False(t, errors.Is(err, context.DeadlineExceeded))
	})
}
