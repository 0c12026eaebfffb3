package audit_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/audit"
)

func TestSARIF(t *testing.T) {
	const file = "[[exceptions]]\nrule = 'no-description'\nreason = 'old'\nuntil = 2027-01-01\n[rules.many]\nlimit = 1"
	before, _ := look(t, facts(t, ""), with("gone", map[string]any{"role": "admin"}))
	report, _ := look(t, facts(t, file), with("a/b", map[string]any{"role": "admin", "description": nil, "lastUsed": millis(100)}))
	report.Host = "https://app.launchdarkly.com"
	before.Host = report.Host
	compared(t, report, lines(t, before))

	var encoded bytes.Buffer
	require.NoError(t, report.WriteSARIF(&encoded, "v1.2.3"))
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name, Version string
					Rules         []struct{ ID string }
				}
			}
			Results []struct {
				RuleID, Level, BaselineState string
				RuleIndex                    int
				Message                      struct{ Text string }
				Locations                    []struct {
					PhysicalLocation struct{ ArtifactLocation struct{ URI string } }
				}
				Suppressions []struct{ Justification string }
				Properties   map[string]any
			}
		}
	}
	require.NoError(t, json.Unmarshal(encoded.Bytes(), &log))
	assert.Equal(t, "2.1.0", log.Version)
	require.Len(t, log.Runs, 1)
	run := log.Runs[0]
	assert.Equal(t, "v1.2.3", run.Tool.Driver.Version)
	assert.Len(t, run.Tool.Driver.Rules, len(audit.Rules))

	var texts []string
	for _, r := range run.Results {
		assert.Equal(t, r.RuleID, run.Tool.Driver.Rules[r.RuleIndex].ID)
		text := r.BaselineState + " " + r.Level + " " + r.Locations[0].PhysicalLocation.ArtifactLocation.URI + " " + r.Message.Text
		for _, s := range r.Suppressions {
			text += " [" + s.Justification + "]"
		}
		texts = append(texts, text)
	}
	assert.Equal(t, []string{
		"new error api/v2/tokens/a%2Fb name of a/b (a/b): base role admin",
		"new warning api/v2/tokens/a%2Fb name of a/b (a/b): last used on 2026-07-25, 100 days ago",
		"new note api/v2/tokens 1 service tokens; the account may have 1",
		"new note api/v2/tokens/a%2Fb name of a/b (a/b): no description [old, until 2027-01-01]",
		"absent error api/v2/tokens/gone name of gone (gone): base role admin",
	}, texts)
	assert.Equal(t, "quarantine", run.Results[1].Properties["suggestion"])
	assert.Equal(t, "2026-07-25T03:00:00Z", run.Results[1].Properties["since"])
}
