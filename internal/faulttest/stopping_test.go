package faulttest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// When the context ends, what is under way may finish within the grace period,
// and nothing else begins.
func TestCancelGrace(t *testing.T) {
	const latency, ends = 4 * time.Second, 3 * time.Second
	tests := []struct {
		name    string
		grace   time.Duration
		faults  []tokenpatchtest.Fault
		types   []string
		outcome tokenpatch.Outcome
		took    time.Duration
		caused  bool // whether the error names the end of the context
	}{
		{"finishes", 5 * time.Second, nil, nil, applied, latency, false},
		{"finishes at the last moment", 1001 * time.Millisecond, nil, nil, applied, latency, false},
		{"takes too long", 500 * time.Millisecond, nil, []string{"OutcomeUnknown"}, unknown, ends + 500*time.Millisecond, true},
		{"none", 0, nil, []string{"OutcomeUnknown"}, unknown, ends, true},
		{"refused", 5 * time.Second, responses(403), []string{"Forbidden"}, notApplied, latency, false},
		{"no other attempt after a 503", 5 * time.Second, responses(503), []string{"Server", "OutcomeUnknown"}, unknown, latency, true},
		{"no other attempt after a 409", 5 * time.Second, responses(409), []string{"Conflict"}, notApplied, latency, true},
		{"no other attempt after a 429", 5 * time.Second, responses(429), []string{"RateLimited"}, notApplied, latency, true},
		{"an attempt's timeout is as it was", time.Hour, []tokenpatchtest.Fault{{Delay: time.Hour}}, []string{"OutcomeUnknown"}, unknown, 30 * time.Second, true},
	}
	for _, test := range tests {
		for cause, begin := range map[error]func(context.Context) (context.Context, context.CancelFunc){
			context.DeadlineExceeded: func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, ends) },
			context.Canceled: func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(ends, cancel)
				return ctx, cancel
			},
		} {
			t.Run(test.name+"/"+cause.Error(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					service, client := newPair(t, grace(test.grace))
					service.SetLatency(latency)
					service.Inject(test.faults...)
					ctx, cancel := begin(t.Context())
					defer cancel()
					began := time.Now()
					err := patchName(ctx, client)
					assert.Equal(t, test.took, time.Since(began))
					assert.Equal(t, test.types, typesOf(err), "%v", err)
					assertOutcome(t, test.outcome, err)
					assert.Equal(t, 1, service.RequestCount())
					assert.Equal(t, test.caused, errors.Is(err, cause), "%v", err)
				})
			})
		}
	}
}

// A call still waiting when the context ends returns immediately: nothing was sent.
func TestCancelGraceIsNotForWaits(t *testing.T) {
	for name, test := range map[string]struct {
		faults []tokenpatchtest.Fault
		types  []string
	}{
		"a backoff":      {responses(409), []string{"Conflict"}},
		"the rate limit": {responses(429), []string{"RateLimited"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t, grace(time.Hour), retries(tokenpatch.RetryPolicy{MinBackoff: time.Minute, MaxBackoff: time.Minute}))
				service.Inject(test.faults...)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(3*time.Second, cancel)
				began := time.Now()
				err := patchName(ctx, client)
				assert.Equal(t, 3*time.Second, time.Since(began))
				assert.Equal(t, test.types, typesOf(err))
				require.ErrorIs(t, err, context.Canceled)
				assertOutcome(t, notApplied, err)
				assert.Equal(t, 1, service.RequestCount())

				err = patchName(ctx, client) // which has ended before
				assertAs[*tokenpatch.NotSentError](t, err)
				assert.Equal(t, 1, service.RequestCount())
			})
		})
	}
}

// A transport that ignores its context does not outlast the grace period.
func TestCancelGraceOfOtherTransports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHung(t)
		_, client := newPair(t, grace(5*time.Second), through(func(r *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-h.Over
			return nil, io.EOF
		}))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		began := time.Now()
		err := appendRole(ctx, client)
		assert.Equal(t, 9*time.Second, time.Since(began), "and one second until it is abandoned")
		require.ErrorIs(t, err, context.Canceled)
		assertOutcome(t, unknown, err)
	})
}

// A signal stops a program in the middle of its work: not one outcome is unknown if the server is
// well.
func TestStopping(t *testing.T) {
	command, err := exec.LookPath("go")
	if err != nil || testing.Short() || runtime.GOOS == "windows" {
		t.Skip("it builds a program, and sends it a signal")
	}
	t.Parallel()
	program := filepath.Join(t.TempDir(), "stopping")
	built, err := exec.Command(command, "build", "-o", program, "../../examples/stopping").CombinedOutput()
	require.NoError(t, err, string(built))
	for _, after := range []time.Duration{0, 300 * time.Millisecond, time.Second} {
		run := exec.Command(program)
		run.Stderr = os.Stderr
		out, err := run.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, run.Start())
		lines := bufio.NewReader(out)
		_, err = lines.ReadString('\n') // it is running
		require.NoError(t, err)
		time.Sleep(after) // real time: it is another process
		require.NoError(t, run.Process.Signal(os.Interrupt))
		report, err := lines.ReadString('\n')
		require.NoError(t, err)
		require.NoError(t, run.Wait())
		var applied, notApplied, unknown int
		_, err = fmt.Sscanf(report, "%d applied, %d not applied, %d unknown", &applied, &notApplied, &unknown)
		require.NoError(t, err, report)
		assert.Zero(t, unknown, report)
		assert.Positive(t, notApplied, "it was stopped in mid-run: %s", report)
		if after > 0 {
			assert.Positive(t, applied, report)
		}
	}
}
