// Package browsertest looks at pages in a real Chromium, for tests.
package browsertest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Open opens a tab in a real Chromium. What goes wrong in its pages fails the test.
func Open(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes seconds, and is run without -short")
	}
	path := find(t)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.WindowSize(1280, 900))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			assert.Fail(t, "exception", e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			asked := strings.Contains(e.Entry.Text, "requires 'TrustedHTML'") // by the test of markup
			assert.True(t, asked || e.Entry.Level != log.EntryLevelError, "%s %s", e.Entry.Text, e.Entry.URL)
		}
	}))
	_, err := chromedp.Call(ctx, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	return ctx
}

// Do runs actions in the browser.
func Do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	require.NoError(t, chromedp.Do(ctx, actions...))
}

// Evaluate is the value of an expression in the page.
func Evaluate[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	require.NoError(t, err, expression)
	return value
}

// Sees waits until an expression in the page has a value; for long, since machines can be busy.
func Sees[T any](t *testing.T, ctx context.Context, want T, expression string) {
	t.Helper()
	var got T
	for began := time.Now(); time.Since(began) < 2*time.Minute; time.Sleep(50 * time.Millisecond) {
		if got = Evaluate[T](t, ctx, expression); assert.ObjectsAreEqual(want, got) {
			return
		}
	}
	assert.Equal(t, want, got, expression)
}

// find is the path of a Chromium. Without one the test is skipped, loudly, or fails if services are
// required.
func find(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			return found
		}
	}
	if os.Getenv("REQUIRE_SERVICES") != "" {
		require.FailNow(t, "there is no Chromium, and REQUIRE_SERVICES is set")
	}
	t.Skip("SKIPPED: there is no Chromium, so that the page was not looked at in a browser")
	return ""
}
