package main_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/browsertest"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// The page of a real run under a rate limit and faults, in a browser: while it lasts, when it ends,
// and frozen. If SCREENSHOT names a file, it gets a picture: that of the README.
func TestPageOfARun(t *testing.T) {
	t.Parallel()
	ctx := browsertest.Open(t)
	s := newShell(t)
	s.many(150)
	for _, gone := range []int{3, 30, 31, 60} {
		s.service.Remove(fmt.Sprint("token", gone))
	}
	s.service.SetLatency(20 * time.Millisecond)
	s.service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: time.Second, Global: 40, Route: 25})
	s.service.SetSeed(rand.Uint64())
	s.service.Inject(tokenpatchtest.Fault{Match: patches, Times: 6, Chance: 0.1, Status: http.StatusServiceUnavailable})
	p := s.start("", "apply", "-timeout", "1s", "-http", "127.0.0.1:0", "many.jsonl")
	var url string
	s.until(func() bool {
		_, after, _ := strings.Cut(p.stderr.String(), "the page is at ")
		url, _, _ = strings.Cut(after, "\n")
		return url != ""
	})
	browsertest.Do(t, ctx, chromedp.EmulateViewport(900, 860), chromedp.Navigate(url))
	const figure = "Number(document.getElementById(%q).textContent)"
	browsertest.Sees(t, ctx, true, fmt.Sprintf(figure+" > 80", "applied"))
	browsertest.Sees(t, ctx, true, "document.getElementById('failures').rows.length > 1")
	assert.Equal(t, 3, browsertest.Evaluate[int](t, ctx, "document.querySelectorAll('figure').length"), "all requests, and two routes")
	if to := os.Getenv("SCREENSHOT"); to != "" {
		picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, picture, 0o600))
	}
	browsertest.Sees(t, ctx, true, "document.getElementById('state').textContent.includes('ended')")
	e := p.end()
	assert.Equal(t, 3, e.status, e.stderr)
	browsertest.Sees(t, ctx, 146, fmt.Sprintf(figure, "applied"))

	require.NoError(t, s.service.AddV2(`{"_id":"token3","name":"late"}`))
	s.run(0, "retry", "-all")
	s.run(3, "apply", "-run", "many") // another process, whose requests are on the page too
	s.run(0, "report", "-format", "html", "-o", "report.html")
	browsertest.Do(t, ctx, chromedp.Navigate("file://"+filepath.Join(s.dir, "report.html")))
	browsertest.Sees(t, ctx, 147, fmt.Sprintf(figure, "applied"))
	browsertest.Sees(t, ctx, 3, "document.querySelectorAll('#rows > [data-state=not_applied]').length")
	browsertest.Sees(t, ctx, 10, "document.getElementById('slowest').rows.length")
	browsertest.Sees(t, ctx, 3, "document.querySelectorAll('figure').length")
	used := browsertest.Evaluate[int](t, ctx, "JSON.parse(document.getElementById('run').textContent).windows.filter(w => w.quota.startsWith('V2')).reduce((n, w) => n + w.used, 0)")
	// Without limits are six responses with 503, the caller's identity, and on a slow machine what came after its window.
	assert.InEpsilon(t, s.service.RequestCount(), used, 0.15)
}
