package page_test

import (
	"context"
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
	browsertest.Sees(t, ctx, true, text("state")+".startsWith('the run is over')")
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

// sampleList is a report of n tokens.
func sampleList(n int) page.List {
	run := sample()
	run.Live, run.Failures = false, nil
	list := page.List{
		Title: "review", Total: n, Run: &run,
		Facts:  []page.Fact{{Name: "file", Value: "approved.jsonl"}, {Name: "sha256", Value: strings.Repeat("0123456789abcdef", 4)}},
		Groups: []page.Group{{Count: n / 10, Text: "no such token", Advice: "remove the row", Command: "tokenpatch plan -o approved.jsonl changes.csv"}},
		States: []page.State{{Name: "applied", Words: "applied", Count: n - n/10}, {Name: "not_applied", Words: "not applied", Count: n / 10}},
	}
	list.Rows = func(yield func(page.Row) bool) {
		for i := range n {
			row := page.Row{
				API: "v2", ID: fmt.Sprintf("61095542756dba55%08x", i), Name: fmt.Sprintf("ci %d", n-i), State: "applied", Words: "applied", Comment: "quarterly review",
				Lines: []page.Line{{Sign: "~", Text: `role: "writer" → "reader"`}, {Sign: "-", Text: "customRoleIds: - qa"}, {Sign: "+", Text: "customRoleIds: + " + strings.Repeat("o", 60)}},
				When:  fmt.Sprintf("2026-03-14T15:09:%02dZ", i%60), Attempts: 1,
			}
			if i%10 == 9 {
				row.State, row.Words, row.Reason, row.Error, row.Lines = "not_applied", "not applied", "no such token", "PATCH /api/v2/tokens/x: 404 not_found", nil
			}
			if !yield(row) {
				return
			}
		}
	}
	return list
}

func written(t *testing.T, list page.List) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "list.html")
	file, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, page.WriteList(file, list))
	require.NoError(t, file.Close())
	return path
}

// visible are the visible rows.
const visible = "[...document.getElementById('rows').children].filter(r => !r.hidden)"

func set(t *testing.T, ctx context.Context, id, value string) {
	t.Helper()
	browsertest.Do(t, ctx, chromedp.Evaluate[chromedp.Void](fmt.Sprintf(
		"{ const e = document.getElementById(%q); e.value = %q; e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')) }", id, value)))
}

// Ten thousand tokens can be found, chosen and sorted.
func TestListInABrowser(t *testing.T) {
	const n = 10_000
	ctx := browsertest.Open(t)
	browsertest.Do(t, ctx, chromedp.Navigate("file://"+written(t, sampleList(n))))
	browsertest.Sees(t, ctx, "10000 of 10000 shown", text("shown"))
	first := func() string {
		return browsertest.Evaluate[string](t, ctx, visible+"[0].querySelector('b').textContent")
	}
	assert.Equal(t, "ci 10000", first())
	set(t, ctx, "sort", "name")
	assert.Equal(t, "ci 1", first(), "numbers count as numbers")
	set(t, ctx, "only", "not_applied")
	browsertest.Sees(t, ctx, "1000 of 10000 shown", text("shown"))
	set(t, ctx, "find", "CI 99")
	browsertest.Sees(t, ctx, true, "document.getElementById('shown').textContent.startsWith('1')")
	set(t, ctx, "sort", "order")
	set(t, ctx, "only", "")
	set(t, ctx, "find", "")
	assert.Equal(t, "ci 10000", first())
	browsertest.Do(t, ctx, chromedp.Evaluate[chromedp.Void]("document.querySelector('a[data-find]').click()"))
	browsertest.Sees(t, ctx, "1000 of 10000 shown", text("shown"))
}

// contrast is the least contrast of a text with what is behind it, as https://www.w3.org/TR/WCAG22/#contrast-minimum has it.
const contrast = `(() => {
	const parse = c => c.match(/[\d.]+/g).map(Number);
	const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c } return [255, 255, 255] };
	let least = 21;
	for (const e of document.querySelectorAll('body *')) {
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || ['SCRIPT', 'OPTION'].includes(e.tagName)) continue;
		const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(behind(e))].sort((x, y) => y - x);
		least = Math.min(least, (a + 0.05) / (b + 0.05));
	}
	return least;
})()`

// off are the elements beyond the screen's edge.
const off = `[...document.querySelectorAll('body *')].filter(e => e.getClientRects().length && !e.closest('.visually-hidden, thead') &&
	(e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1)).map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40))`

// Each page is readable: on a phone nothing is off the screen, and in the light and in the dark the contrast is enough.
func TestPagesAreReadable(t *testing.T) {
	ctx := browsertest.Open(t)
	live := sample()
	live.Live = false
	plan := sampleList(30)
	plan.Run = nil
	for name, path := range map[string]string{"live": frozen(t, live), "report": written(t, sampleList(30)), "plan": written(t, plan)} {
		browsertest.Do(t, ctx, chromedp.Navigate("file://"+path))
		var grounds []string
		for _, scheme := range []string{"light", "dark"} {
			_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
			})
			require.NoError(t, err)
			grounds = append(grounds, browsertest.Evaluate[string](t, ctx, "getComputedStyle(document.body).backgroundColor"))
			assert.GreaterOrEqual(t, browsertest.Evaluate[float64](t, ctx, contrast), 4.5, "%s %s", name, scheme)
			for _, width := range []int64{400, 1280} {
				browsertest.Do(t, ctx, chromedp.EmulateViewport(width, 800))
				browsertest.Do(t, ctx, chromedp.Evaluate[chromedp.Void]("document.querySelectorAll('details').forEach(d => { d.open = true })"))
				assert.Empty(t, browsertest.Evaluate[[]string](t, ctx, off), "%s, %d wide", name, width)
				picture(t, ctx, fmt.Sprintf("%s-%s-%d.png", name, scheme, width))
			}
		}
		assert.NotEqual(t, grounds[0], grounds[1])
	}
}

// picture keeps a picture of the page, if SCREENSHOTS names a folder.
func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		return
	}
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, name), shot, 0o600))
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
	list := hostileList(&run)
	for reload, where := range map[string]string{
		server.URL:                   "document.getElementById('failures').rows[0].cells[0].textContent",
		"file://" + written(t, list): "document.querySelector('.who b').textContent",
	} {
		browsertest.Do(t, ctx, chromedp.Navigate(reload))
		browsertest.Sees(t, ctx, hostile, where)
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

// A page can be used with a screen reader.
func TestPageForAScreenReader(t *testing.T) {
	ctx := browsertest.Open(t)
	run := sample()
	run.Live = false
	browsertest.Do(t, ctx, chromedp.Navigate("file://"+frozen(t, run)))
	browsertest.Sees(t, ctx, 7, "document.getElementById('failures').rows.length")
	assert.Equal(t, "en", browsertest.Evaluate[string](t, ctx, "document.documentElement.lang"))
	assert.Equal(t, "568 of 980", browsertest.Evaluate[string](t, ctx, "document.getElementById('bar').getAttribute('aria-valuetext')"))
	assert.Contains(t, browsertest.Evaluate[string](t, ctx, text("spoken")), "561 applied, 5 not applied, 2 unknown.")
	assert.Zero(t, browsertest.Evaluate[int](t, ctx, "[...document.querySelectorAll('th')].filter(h => h.scope !== 'col').length"), "each heading says what it heads")
	assert.Zero(t, browsertest.Evaluate[int](t, ctx, "[...document.querySelectorAll('[aria-labelledby]')].filter(e => !document.getElementById(e.getAttribute('aria-labelledby'))).length"))
	assert.Zero(t, browsertest.Evaluate[int](t, ctx, "[...document.querySelectorAll('input,button,select')].filter(e => !(e.labels && e.labels.length) && !e.textContent).length"), "each control has a name")
}
