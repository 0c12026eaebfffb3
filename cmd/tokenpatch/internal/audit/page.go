package audit

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
)

var (
	//go:embed page.html
	document string
	//go:embed page.css
	style string
	//go:embed page.js
	script string

	parsed = template.Must(template.New("page").Parse(document))
)

// policy is the Content-Security-Policy: nothing but the document's own style and script, and no string that becomes code or
// markup.
var policy = strings.Join([]string{
	"default-src 'none'", "script-src " + hashOf(script), "style-src " + hashOf(style), "img-src data:", "base-uri 'none'", "form-action 'none'",
	"require-trusted-types-for 'script'", "trusted-types 'none'",
}, "; ")

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// pageRule is a rule on the page.
type pageRule struct {
	Name, Finds, Advice string
	Severity            Severity
	Count               int // findings that no exception accepts
}

// WritePage writes the report as one HTML document that needs no network.
func (r *Report) WritePage(w io.Writer) error {
	var rules []pageRule
	for _, rule := range Rules {
		p := pageRule{Name: rule.Name, Finds: rule.Finds, Advice: rule.Advice}
		for _, f := range r.Findings {
			if f.Rule == rule.Name && f.Exception == nil {
				p.Severity = f.Severity
				p.Count++
			}
		}
		if p.Count > 0 {
			rules = append(rules, p)
		}
	}
	return parsed.Execute(w, struct {
		Header
		Date, Policy   string
		New, Same, Out int
		Rules          []pageRule
		Findings       []Finding
		Style          template.CSS
		Script         template.JS
	}{
		r.Header(), r.At.UTC().Format(time.RFC3339), policy, r.CountState(StateNew), r.CountState(StateSame), len(r.Gone), rules,
		slices.Concat(r.Findings, r.Gone), template.CSS(style), template.JS(script), //nolint:gosec // both are files of this package
	})
}
