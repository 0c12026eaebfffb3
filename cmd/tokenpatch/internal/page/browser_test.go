package page_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/browsertest"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
)

func text(id string) string { return fmt.Sprintf("document.getElementById(%q).textContent", id) }

func rows(id string) string {
	return fmt.Sprintf("[...document.getElementById(%q).rows].map(r => [...r.cells].map(c => c.textContent).join('|'))", id)
}

// sample is a run as it is in the middle.
func sample() page.Run {
	run := page.Run{
		Name: "review.jsonl", Live: true, Pending: 412, Applied: 561, NotApplied: 5, Unknown: 2, Refused: 1, Rate: 9.8, Left: 42,
		Waiting: "the rate limit, opens in 7 s",
		Slowest: []page.Change{{API: "v2", ID: "61095542756dba551110ae21", Outcome: "applied", Attempts: 3, Seconds: 12.3}},
	}
	for i := range 12 {
		ends := time.Date(2026, 3, 14, 15, 9, 10*i, 0, time.UTC)
		run.Windows = append(run.Windows, page.Window{Quota: "V2, all requests", Ends: ends, Used: 100 - i%3, Allowed: 100},
			page.Window{Quota: "PATCH /api/v2/tokens/{id}", Ends: ends, Used: 48 + i%3, Allowed: 50})
	}
	for i := range 7 {
		outcome, status, code, why := "not_applied", 404, "not_found", "PATCH /api/v2/tokens/6109: 404 not_found: there is no such token; not applied after 1 attempt"
		if i >= 5 {
			outcome, status, code, why = "unknown", 0, "", "the connection broke before the response; unknown after 4 attempts"
		}
		run.Failures = append(run.Failures, page.Change{API: "v2", ID: fmt.Sprintf("61095542756dba551110ae%02x", i), Outcome: outcome, Attempts: 1, Status: status, Code: code, Error: why})
	}
	return run
}

func TestLivePageInABrowser(t *testing.T) {
	server := listen(t)
	ctx := browsertest.Open(t)
	run := sample()
	run.Failures = nil
	run.NotApplied, run.Unknown = 0, 0
	server.Publish(run)
	browsertest.Do(t, ctx, chromedp.Navigate(server.URL))
	browsertest.Sees(t, ctx, "561", text("applied"))
	browsertest.Sees(t, ctx, "561 of 973 decided, 9.8 a second, about 42 s left, waiting for the rate limit, opens in 7 s", text("pace"))
	browsertest.Sees(t, ctx, 2, "document.querySelectorAll('figure').length")
	browsertest.Sees(t, ctx, "57 % – review.jsonl – tokenpatch", "document.title")

	server.Publish(sample())
	browsertest.Sees(t, ctx, 7, "document.getElementById('failures').rows.length")
	browsertest.Sees(t, ctx, "5", text("not_applied"))
	browsertest.Sees(t, ctx, []string{"61095542756dba551110ae21|applied|12.3|3"}, rows("slowest"))
	browsertest.Do(t, ctx, chromedp.SendKeys("#filter", "UNKNOWN"))
	browsertest.Sees(t, ctx, 2, "document.getElementById('failures').rows.length")
	browsertest.Sees(t, ctx, "2 of 7 shown", text("shown"))

	run = sample()
	run.Live, run.Pending, run.Applied = false, 0, 973
	server.Publish(run)
	browsertest.Sees(t, ctx, "973", text("applied"))
	browsertest.Sees(t, ctx, true, text("state")+".startsWith('ended')")
	browsertest.Sees(t, ctx, 2, "document.getElementById('failures').rows.length")
}

func TestCopyInABrowser(t *testing.T) {
	server := listen(t)
	ctx := browsertest.Open(t)
	server.Publish(sample())
	browsertest.Do(t, ctx, chromedp.Navigate(server.URL), chromedp.Evaluate[chromedp.Void]("navigator.clipboard.writeText = async t => { window.copied = t }"))
	browsertest.Do(t, ctx, chromedp.SendKeys("#filter", "broke"), chromedp.Click("#copy"))
	browsertest.Sees(t, ctx, "copied", text("shown"))
	lines := strings.Split(browsertest.Evaluate[string](t, ctx, "window.copied"), "\n")
	require.Len(t, lines, 2)
	assert.Equal(t, "v2\t61095542756dba551110ae05\tunknown\t\t\tthe connection broke before the response; unknown after 4 attempts", lines[0])
}

// Markup in a name or an error does nothing, live and frozen, and no string can become code or markup.
func TestInjectionInABrowser(t *testing.T) {
	server := listen(t)
	ctx := browsertest.Open(t)
	run := page.Run{
		Name: hostile, Live: true, NotApplied: 1, Waiting: hostile, Stopped: hostile, Windows: []page.Window{{Quota: hostile, Ends: time.Now()}},
		Failures: []page.Change{{API: hostile, ID: hostile, Outcome: hostile, Code: hostile, Error: hostile}}, Slowest: []page.Change{{ID: hostile, Outcome: hostile}},
	}
	server.Publish(run)
	browsertest.Do(t, ctx, chromedp.Navigate(server.URL), chromedp.Evaluate[chromedp.Void]("window.alert = () => { window.attacked = true }"))
	server.Publish(run)
	browsertest.Sees(t, ctx, hostile, "document.getElementById('failures').rows[0].cells[0].textContent")
	run.Live = false
	path := frozen(t, run)
	for _, reload := range []string{server.URL, "file://" + path} {
		browsertest.Do(t, ctx, chromedp.Navigate(reload))
		browsertest.Sees(t, ctx, hostile, "document.getElementById('failures').rows[0].cells[0].textContent")
		assert.Equal(t, 2, browsertest.Evaluate[int](t, ctx, "document.scripts.length"))
		assert.Zero(t, browsertest.Evaluate[int](t, ctx, "document.images.length"))
		assert.False(t, browsertest.Evaluate[bool](t, ctx, "window.attacked === true"))
		assert.True(t, browsertest.Evaluate[bool](t, ctx, "(() => { try { document.body.innerHTML = '<b>'; return false } catch { return true } })()"), "Trusted Types")
	}
}

func frozen(t *testing.T, run page.Run) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "report.html")
	file, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, page.Write(file, run))
	require.NoError(t, file.Close())
	return path
}

// A frozen page is one file, which is readable on a phone, in the dark and by a screen reader.
func TestFrozenPageInABrowser(t *testing.T) {
	ctx := browsertest.Open(t)
	run := sample()
	run.Live = false
	browsertest.Do(t, ctx, chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile), chromedp.Navigate("file://"+frozen(t, run)))
	browsertest.Sees(t, ctx, 7, "document.getElementById('failures').rows.length")
	assert.LessOrEqual(t, browsertest.Evaluate[int](t, ctx, "document.documentElement.scrollWidth"), 360, "nothing is wider than a phone")

	light := browsertest.Evaluate[string](t, ctx, "getComputedStyle(document.body).backgroundColor")
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
	})
	require.NoError(t, err)
	assert.NotEqual(t, light, browsertest.Evaluate[string](t, ctx, "getComputedStyle(document.body).backgroundColor"))

	assert.Equal(t, "en", browsertest.Evaluate[string](t, ctx, "document.documentElement.lang"))
	assert.Equal(t, "568 of 980", browsertest.Evaluate[string](t, ctx, "document.getElementById('bar').getAttribute('aria-valuetext')"))
	assert.Contains(t, browsertest.Evaluate[string](t, ctx, text("spoken")), "561 applied, 5 not applied, 2 unknown.")
	assert.Zero(t, browsertest.Evaluate[int](t, ctx, "[...document.querySelectorAll('th')].filter(h => h.scope !== 'col').length"), "each heading says what it heads")
	assert.Zero(t, browsertest.Evaluate[int](t, ctx, "[...document.querySelectorAll('[aria-labelledby]')].filter(e => !document.getElementById(e.getAttribute('aria-labelledby'))).length"))
	assert.Zero(t, browsertest.Evaluate[int](t, ctx, "[...document.querySelectorAll('input,button')].filter(e => !(e.labels && e.labels.length) && !e.textContent).length"), "each control has a name")
}
