package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/audit"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/browsertest"
)

const hostile = `</script><img src=x onerror=alert(1)><b>"'`

// saved is the URL of a report's page.
func saved(t *testing.T, r *audit.Report) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "findings.html")
	file, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, r.WritePage(file))
	require.NoError(t, file.Close())
	return "file://" + path
}

// column is the text of a column of the findings.
func column(n int) string {
	return fmt.Sprintf("[...document.getElementById('findings').rows].map(r => r.cells[%d].firstChild?.textContent ?? '')", n)
}

func click(selector string) chromedp.Action[chromedp.Void] { return chromedp.Click(selector) }

func TestPageInABrowser(t *testing.T) {
	before, _ := look(t, facts(t, ""), with("gone", map[string]any{"role": "admin"}), with("b", map[string]any{"role": "admin", "name": "beta"}))
	report, _ := look(t, facts(t, "[[exceptions]]\nid = 'c'\nreason = 'yearly'\nuntil = 2027-01-01"),
		with("a", map[string]any{"name": "alpha", "lastUsed": millis(100)}), with("b", map[string]any{"role": "admin", "name": "beta", "lastUsed": millis(99)}),
		with("c", map[string]any{"lastUsed": nil}))
	compared(t, report, lines(t, before))

	ctx := browsertest.Open(t)
	browsertest.Do(t, ctx, chromedp.Navigate(saved(t, report)))
	browsertest.Sees(t, ctx, []string{"beta", "alpha", "beta"}, column(2))
	browsertest.Sees(t, ctx, []string{"high", "medium", "medium"}, column(0))
	browsertest.Sees(t, ctx, []string{"2026-11-02", "new", "new"}, column(7))
	browsertest.Sees(t, ctx, "3 of 3 findings shown", "document.getElementById('shown').textContent")
	assert.Contains(t, browsertest.Evaluate[string](t, ctx, "document.body.textContent"), "Compared with 2026-11-02: 2 new, 1 gone, 1 still there.")

	browsertest.Do(t, ctx, click("th[data-column=token] button"))
	browsertest.Sees(t, ctx, []string{"alpha", "beta", "beta"}, column(2))
	browsertest.Do(t, ctx, click("th[data-column=token] button"))
	browsertest.Sees(t, ctx, []string{"beta", "beta", "alpha"}, column(2))
	browsertest.Sees(t, ctx, "descending", "document.querySelector('th[data-column=token]').getAttribute('aria-sort')")

	browsertest.Do(t, ctx, click("button.rule[data-rule=unused]"))
	browsertest.Sees(t, ctx, []string{"unused", "unused"}, column(1))
	browsertest.Do(t, ctx, chromedp.SendKeys("#filter", "ALPHA"))
	browsertest.Sees(t, ctx, []string{"alpha"}, column(2))

	show := func(what string) {
		browsertest.Do(t, ctx, chromedp.Navigate(saved(t, report)), chromedp.Evaluate[chromedp.Void](
			fmt.Sprintf("(() => { const s = document.getElementById('show'); s.value = %q; s.dispatchEvent(new Event('change')) })()", what)))
	}
	show("gone")
	browsertest.Sees(t, ctx, []string{"name of gone"}, column(2))
	show("excepted")
	browsertest.Sees(t, ctx, []string{"name of c"}, column(2))
	show("everything")
	browsertest.Sees(t, ctx, 5, "document.getElementById('findings').rows.length")
}

// Markup in a name does nothing, and no string can become code or markup.
func TestInjectionInABrowser(t *testing.T) {
	report, _ := look(t, facts(t, ""), with(hostile, map[string]any{"name": hostile, "role": "admin", "memberId": hostile, "customRoleIds": []string{hostile}}))
	report.Host, report.Notes = hostile, []string{hostile}
	ctx := browsertest.Open(t)
	browsertest.Do(t, ctx, chromedp.Navigate(saved(t, report)))
	browsertest.Sees(t, ctx, []string{hostile, hostile, hostile}, column(2))
	assert.Equal(t, 2, browsertest.Evaluate[int](t, ctx, "document.scripts.length"))
	assert.Zero(t, browsertest.Evaluate[int](t, ctx, "document.images.length + document.querySelectorAll('b').length"))
	assert.True(t, browsertest.Evaluate[bool](t, ctx, "(() => { try { document.body.innerHTML = '<b>'; return false } catch { return true } })()"), "Trusted Types")
}

// The page of ten thousand tokens is usable, and nothing is off the screen of a phone.
func TestLargePageInABrowser(t *testing.T) {
	auditor := audit.New(facts(t, ""))
	for i := range 10_000 {
		auditor.Add(decode(t, with(fmt.Sprintf("61095542756dba551110%04x", i), map[string]any{"name": fmt.Sprintf("service %05d of the long-lived kind", i), "role": "admin", "description": nil, "lastUsed": millis(100)})))
	}
	ctx := browsertest.Open(t)
	browsertest.Do(t, ctx, chromedp.EmulateViewport(400, 800, chromedp.EmulateMobile), chromedp.Navigate(saved(t, auditor.Report())))
	browsertest.Sees(t, ctx, "200 of 30001 findings shown", "document.getElementById('shown').textContent") // and many
	assert.LessOrEqual(t, browsertest.Evaluate[int](t, ctx, "document.documentElement.scrollWidth"), 400)
	browsertest.Do(t, ctx, chromedp.Evaluate[chromedp.Void]("document.getElementById('more').click()"))
	browsertest.Sees(t, ctx, 400, "document.getElementById('findings').rows.length")
	browsertest.Do(t, ctx, chromedp.SendKeys("#filter", "09999"))
	browsertest.Sees(t, ctx, "3 of 3 findings shown", "document.getElementById('shown').textContent")

	assert.Zero(t, browsertest.Evaluate[int](t, ctx, "[...document.querySelectorAll('th')].filter(h => h.scope !== 'col').length"))
	assert.Zero(t, browsertest.Evaluate[int](t, ctx, "[...document.querySelectorAll('input,select,button')].filter(e => !(e.labels && e.labels.length) && !e.textContent).length"), "each control has a name")
}
