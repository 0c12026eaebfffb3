package audit_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/audit"
)

// lines is a report as JSON Lines.
func lines(t testing.TB, r *audit.Report) string {
	t.Helper()
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	require.NoError(t, encoder.Encode(map[string]any{"audit": r.Header()}))
	for f := range r.All() {
		require.NoError(t, encoder.Encode(f))
	}
	return b.String()
}

// compared is a report after a comparison with an earlier one, as "state rule id".
func compared(t testing.TB, r *audit.Report, earlier string) (texts []string) {
	t.Helper()
	baseline, err := audit.OpenBaseline(strings.NewReader(earlier))
	require.NoError(t, err)
	require.NoError(t, r.Compare(baseline))
	for f := range r.All() {
		state := string(f.State)
		if f.Exception != nil {
			state += ", excepted"
		}
		texts = append(texts, state+" "+f.Rule+" "+f.ID)
	}
	return texts
}

func TestBaseline(t *testing.T) {
	yesterday := facts(t, "")
	yesterday.Now = now.AddDate(0, 0, -1)
	first, _ := look(t, yesterday, with("a", map[string]any{"role": "admin"}), with("b", map[string]any{"role": "admin"}))
	today, _ := look(t, facts(t, ""), plain("a"), with("b", map[string]any{"role": "owner"}), with("c", map[string]any{"role": "admin"}))
	assert.Equal(t, []string{"same admin b", "new admin c", "gone admin a"}, compared(t, today, lines(t, first)))
	assert.Equal(t, []int{1, 1}, []int{today.CountState(audit.StateNew), today.CountState(audit.StateSame)})
	assert.Equal(t, yesterday.Now, today.Baseline)
	assert.Equal(t, yesterday.Now, all(today)[0].FirstSeen)
	assert.Equal(t, now, all(today)[1].FirstSeen)

	tomorrow, _ := look(t, facts(t, ""), with("a", map[string]any{"role": "admin"}), with("b", map[string]any{"role": "owner"}))
	assert.Equal(t, []string{"new admin a", "same admin b", "gone admin c"}, compared(t, tomorrow, lines(t, today)), "what was gone is new again")
	assert.Equal(t, yesterday.Now, all(tomorrow)[1].FirstSeen, "the first day is carried on")
}

func TestBaselineWithExceptions(t *testing.T) {
	const file = "[[exceptions]]\nrule = 'admin'\nreason = 'r'\nuntil = 2027-01-01"
	excepted, _ := look(t, facts(t, file), with("a", map[string]any{"role": "admin"}))
	accepted := lines(t, excepted)
	open, _ := look(t, facts(t, ""), with("a", map[string]any{"role": "admin"}))
	found := lines(t, open)

	assert.Equal(t, []string{"new admin a"}, compared(t, open, accepted), "its exception is gone")
	assert.Equal(t, []string{"same, excepted admin a"}, compared(t, excepted, found))
	assert.Zero(t, excepted.CountState(audit.StateSame))
	none, _ := look(t, facts(t, ""), plain("a"))
	assert.Empty(t, compared(t, none, accepted), "nobody has to know that it is gone")
}

// What was not looked for this time is not gone: nobody has mended it.
func TestBaselineWithOtherRules(t *testing.T) {
	tokens := []map[string]any{with("a", map[string]any{"role": "admin"}), with("b", map[string]any{"role": nil, "customRoleIds": []string{"x"}})}
	first, _ := look(t, facts(t, ""), tokens...)
	found := lines(t, first)
	f := facts(t, "rules.admin.severity = 'none'")
	f.RolesErr = "403 Forbidden"
	off, _ := look(t, f, tokens...)
	assert.Empty(t, compared(t, off, found))
	newer, _ := look(t, facts(t, ""), tokens...)
	assert.Equal(t, []string{"same admin a", "same unknown-role b"}, compared(t, newer, found+`{"rule":"of a newer version","id":"a","severity":"high"}`))
}

func TestBaselineThatIsNone(t *testing.T) {
	report, _ := look(t, facts(t, ""), plain("a"))
	good := lines(t, report)
	for text, want := range map[string]string{
		"":                             "line 1: want a report of tokenpatch audit -format json",
		`{"_id":"a"}`:                  "line 1: want a report of tokenpatch audit -format json",
		`{"audit":{"version":2}}`:      "line 1: version 2: want version 1",
		good + `{"id":"a"}`:            "line 2: want a report of tokenpatch audit -format json",
		good + `{"rule":"x"`:           "line 2: want a report of tokenpatch audit -format json\nunexpected end of JSON input",
		strings.Repeat("x", 2<<20):     "line 1: want a report of tokenpatch audit -format json\nbufio.Scanner: token too long",
		good + strings.Repeat("\n", 1): "line 2: want a report of tokenpatch audit -format json\nunexpected end of JSON input",
	} {
		baseline, err := audit.OpenBaseline(strings.NewReader(text))
		if err == nil {
			err = report.Compare(baseline)
		}
		assert.EqualError(t, err, want, "%.100s", text)
	}
	baseline, err := audit.OpenBaseline(strings.NewReader(good))
	require.NoError(t, err)
	report.Host = "https://app.eu.launchdarkly.com"
	assert.EqualError(t, report.Compare(baseline), "the baseline is of , not of https://app.eu.launchdarkly.com")
	report.Host, report.Account = "", "2"
	baseline, err = audit.OpenBaseline(strings.NewReader(strings.Replace(good, `"host"`, `"account":"1","host"`, 1)))
	require.NoError(t, err)
	assert.EqualError(t, report.Compare(baseline), "the baseline is of account 1, not of 2")
	report.Account = ""
	assert.NoError(t, report.Compare(baseline), "it is not known of which account this one is")
}
