package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"time"
)

// WriteSARIF writes the report as a log of the Static Analysis Results Interchange Format 2.1.0. A token has no file: its
// location is its path in the API.
func (r *Report) WriteSARIF(w io.Writer, version string) error {
	log, err := json.Marshal(r.sarif(version))
	if err != nil {
		return err
	}
	const end = "]}]}" // of the results, the run, the runs and the log
	if _, err := io.WriteString(w, strings.TrimSuffix(string(log), end)); err != nil {
		return err
	}
	if err := writeElements(w, r.All(), func(f *Finding) any { return f.sarif() }); err != nil {
		return err
	}
	_, err = io.WriteString(w, end+"\n")
	return err
}

// sarif is the log without results.
func (r *Report) sarif(version string) sarifLog {
	rules := make([]sarifRule, len(Rules))
	for i, rule := range Rules {
		rules[i] = sarifRule{
			ID: rule.Name, ShortDescription: sarifText{rule.Finds}, Help: sarifText{rule.Advice},
			DefaultConfiguration: sarifConfiguration{levels[rule.Severity]},
			Properties:           map[string]any{"security-severity": scores[rule.Severity], "tags": []string{"security"}},
		}
	}
	return sarifLog{
		Schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{{
			Tool: sarifTool{sarifDriver{
				Name: "tokenpatch audit", Version: version, InformationURI: "https://github.com/tokenpatch/tokenpatch", Rules: rules,
			}},
			Invocations: []sarifInvocation{{ExecutionSuccessful: true, EndTimeUTC: r.At.UTC().Format(time.RFC3339)}},
			Properties:  map[string]any{"host": r.Host, "account": r.Account, "tokens": r.Tokens},
			Results:     []sarifResult{},
		}},
	}
}

var (
	levels = map[Severity]string{None: "none", Low: "note", Medium: "warning", High: "error"}
	scores = map[Severity]string{None: "0.0", Low: "3.0", Medium: "5.5", High: "8.0"} // in the middle of CVSS's ranges
	states = map[State]string{StateNew: "new", StateSame: "unchanged", StateGone: "absent"}
)

// sarif is a finding as a result.
func (f *Finding) sarif() sarifResult {
	path, text := "api/v2/tokens", f.Evidence
	if f.ID != "" {
		path += "/" + url.PathEscape(f.ID)
		text = strings.TrimSpace(f.Name+" ("+f.ID+")") + ": " + f.Evidence
	}
	sum := sha256.Sum256([]byte(f.key()))
	result := sarifResult{
		RuleID: f.Rule, RuleIndex: place(f.Rule), Level: levels[f.Severity], Message: sarifText{text}, BaselineState: states[f.State],
		Locations: []sarifLocation{{
			PhysicalLocation: sarifPhysical{sarifArtifact{path}, sarifRegion{1}},
			LogicalLocations: []sarifLogical{{f.Name, path, "resource"}},
		}},
		PartialFingerprints: map[string]string{"ruleAndToken/v1": hex.EncodeToString(sum[:])},
		Properties:          map[string]any{"owner": f.Owner, "firstSeen": f.FirstSeen.UTC().Format(time.RFC3339)},
	}
	if !f.Since.IsZero() {
		result.Properties["since"] = f.Since.UTC().Format(time.RFC3339)
	}
	if f.Suggestion != "" {
		result.Properties["suggestion"] = f.Suggestion
	}
	if f.Exception != nil {
		result.Suppressions = []sarifSuppression{{"external", f.Exception.Reason + ", until " + date(f.Exception.Until)}}
	}
	return result
}

type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Properties  map[string]any    `json:"properties"`
		Results     []sarifResult     `json:"results"` // the last member, since they are written one at a time
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID                   string             `json:"id"`
		ShortDescription     sarifText          `json:"shortDescription"`
		Help                 sarifText          `json:"help"`
		DefaultConfiguration sarifConfiguration `json:"defaultConfiguration"`
		Properties           map[string]any     `json:"properties"`
	}
	sarifConfiguration struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifInvocation struct {
		ExecutionSuccessful bool   `json:"executionSuccessful"`
		EndTimeUTC          string `json:"endTimeUtc"`
	}
	sarifResult struct {
		RuleID              string             `json:"ruleId"`
		RuleIndex           int                `json:"ruleIndex"`
		Level               string             `json:"level"`
		Message             sarifText          `json:"message"`
		Locations           []sarifLocation    `json:"locations"`
		PartialFingerprints map[string]string  `json:"partialFingerprints"`
		BaselineState       string             `json:"baselineState,omitempty"`
		Suppressions        []sarifSuppression `json:"suppressions,omitempty"`
		Properties          map[string]any     `json:"properties"`
	}
	sarifLocation struct {
		PhysicalLocation sarifPhysical  `json:"physicalLocation"`
		LogicalLocations []sarifLogical `json:"logicalLocations"`
	}
	sarifPhysical struct {
		ArtifactLocation sarifArtifact `json:"artifactLocation"`
		Region           sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifLogical struct {
		Name               string `json:"name,omitempty"`
		FullyQualifiedName string `json:"fullyQualifiedName"`
		Kind               string `json:"kind"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Justification string `json:"justification"`
	}
)
