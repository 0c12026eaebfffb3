package main_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/browsertest"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// partly applies a plan with some rows to skip and some failures.
func (s *shell) partly() {
	s.t.Helper()
	s.mixed()
	s.tokens(8)
	s.file("changes.csv", `id,role,comment,personal
token0,reader,"a & <b>",
token1,reader,,
token2,writer,,
nobody,reader,,
`+v1Token+`,,kept,false
token4,reader,,
token5,reader,,
`)
	s.run(0, "plan", "-o", "approved.jsonl", "changes.csv")
	require.NoError(s.t, s.service.AddV2(`{"_id":"token1","name":"other","role":"admin"}`)) // somebody else
	s.service.Remove("token4")
	s.service.Inject(tokenpatchtest.Fault{
		Match: func(r *http.Request) bool {
			return r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "token5")
		},
		Times: -1, Status: http.StatusForbidden,
	})
	s.run(3, "apply", "approved.jsonl")
}

// All rows of FILE are in the report, in their order, with what changed and what to do about what failed.
func TestReport(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.partly()
	moment := `20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`
	assert.Regexp(t, `^approved: 5 changes: 2 applied, 3 not applied, 0 unknown, 0 pending
  and 2 rows of FILE skipped

What did not work, and what to do:
     2  no such token: check its id, or remove its row
     1  somebody changed this token after the plan: plan again
        tokenpatch plan -o again.jsonl changes.csv
     1  the credential may not change this token: use another credential, or give it the permission
        tokenpatch retry -run approved -outcome not_applied && tokenpatch apply -run approved

applied      v2  token0  ci 0  `+moment+`  1 attempt
    role: "writer" → "reader"
    comment: a & <b>
not applied  v2  token1  ci 1  somebody changed this token after the plan  `+moment+`  1 attempt
    role: "writer" → "reader"
    tokenpatch: .*
skipped      v2  token2  ci 2  already as wanted
skipped      v2  nobody  no such token
applied      v1  `+v1Token+`  `+moment+`  1 attempt
    personal: \(not known\) → false
    comment: kept \(not sent: V1 has no comments\)
not applied  v2  token4  ci 4  no such token  `+moment+`.*
    role: "writer" → "reader"
    tokenpatch: .*
not applied  v2  token5  ci 5  the credential may not change this token  `+moment+`  1 attempt
    role: "writer" → "reader"
    tokenpatch: .*
$`, s.run(0, "report").stdout)

	s.run(0, "report", "-o", "report.csv")
	assert.Len(t, strings.Split(strings.TrimSpace(s.text("report.csv")), "\n"), 8)
	s.run(0, "report", "-o", "report.jsonl")
	lines := strings.Split(strings.TrimSpace(s.text("report.jsonl")), "\n")
	require.Len(t, lines, 7)
	assert.Contains(t, lines[0], `"comment":"a & <b>"`)
	for _, line := range lines {
		assert.True(t, json.Valid([]byte(line)))
	}
	var status struct {
		Run                                string
		Changes, Applied, Skipped, Pending int
	}
	require.NoError(t, json.Unmarshal([]byte(s.run(0, "status", "-json").stdout), &status))
	assert.Equal(t, []int{5, 2, 2, 0}, []int{status.Changes, status.Applied, status.Skipped, status.Pending})
}

// The pages of a plan and of a report list each token.
func TestPagesListEachToken(t *testing.T) {
	t.Parallel()
	ctx := browsertest.Open(t)
	s := newShell(t)
	s.partly()
	s.file("report.html", "")
	s.run(0, "report", "-o", "report.html")
	s.file("plan.html", s.run(0, "plan", "-format", "html", "changes.csv").stdout)
	for name, rows := range map[string]int{"report.html": 7, "plan.html": 7} {
		browsertest.Do(t, ctx, chromedp.Navigate("file://"+filepath.Join(s.dir, name)))
		browsertest.Sees(t, ctx, rows, "document.getElementById('rows').children.length")
		browsertest.Sees(t, ctx, "7 of 7 shown", "document.getElementById('shown').textContent")
		if to := os.Getenv("SCREENSHOTS"); to != "" {
			shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(to, "real-"+name+".png"), shot, 0o600))
		}
	}
	browsertest.Do(t, ctx, chromedp.Navigate("file://"+filepath.Join(s.dir, "report.html")))
	browsertest.Do(t, ctx, chromedp.Evaluate[chromedp.Void]("[...document.querySelectorAll('a[data-find]')].find(a => a.textContent.startsWith('somebody')).click()"))
	browsertest.Sees(t, ctx, "1 of 7 shown", "document.getElementById('shown').textContent")
}

// The page stays after the end if this was asked for, and shows the end of the run.
func TestThePageStays(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(3)
	p := s.start("", "apply", "-http", "127.0.0.1:0", "-http-keep", "many.jsonl")
	s.until(func() bool { return strings.Contains(p.stderr.String(), "the run is over; its page stays at ") })
	_, url, _ := strings.Cut(p.stderr.String(), "the page is at ")
	url, _, _ = strings.Cut(url, "\n")
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	body := make([]byte, 1<<20)
	n, _ := response.Body.Read(body)
	assert.Contains(t, string(body[:n]), "the run is over")
	assert.Contains(t, p.stdout.String(), "3 applied")
	require.NoError(t, p.Process.Signal(os.Interrupt))
	assert.Equal(t, 0, p.end().status)
}

// The estimated time is not less than the time until the rate limit opens.
func TestEstimatesHold(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(60)
	// Of 120 requests, some wait for a whole window.
	s.service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: 5 * time.Second, Global: 40})
	written := s.terminal("apply", "-yes", "many.jsonl")
	seen := 0
	for _, line := range regexp.MustCompile(`(\d+)s left; waits for the rate limit, opens in (\d+) s`).FindAllStringSubmatch(written, -1) {
		left, opens := number(t, line[1]), number(t, line[2])
		assert.GreaterOrEqual(t, left, opens-1, line[0])
		seen++
	}
	assert.Positive(t, seen, written)
}

func number(t *testing.T, text string) int {
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}
