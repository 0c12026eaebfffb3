// Package page shows a run as one HTML document that holds all it needs: live over HTTP, or frozen in a file.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"strings"
	"time"
)

// Run is what the page shows. Nothing in it is trusted, and none of it is secret.
type Run struct {
	Name       string  `json:"name"`
	Live       bool    `json:"live"` // that more is to come
	Pending    int     `json:"pending"`
	Applied    int     `json:"applied"`
	NotApplied int     `json:"notApplied"`
	Unknown    int     `json:"unknown"`
	Refused    int     `json:"refused"` // responses 429
	Rate       float64 `json:"rate"`    // changes a second; 0 where it is not known
	Left       float64 `json:"left"`    // seconds until the end; 0 where it is not known
	Waiting    string  `json:"waiting"` // what for: "the rate limit, which opens in 7 s"
	Stopped    string  `json:"stopped"` // why it stopped by itself; empty where it did not

	Windows  []Window `json:"windows"`  // in their order
	Failures []Change `json:"failures"` // the first of those that are not applied or unknown
	Slowest  []Change `json:"slowest"`
}

// Total is how many changes the run has.
func (r Run) Total() int { return r.Decided() + r.Pending }

// Decided is how many of them are not pending.
func (r Run) Decided() int { return r.Applied + r.NotApplied + r.Unknown }

// Window is one window of a quota.
type Window struct {
	Quota   string    `json:"quota"` // "V2, all requests", or a route
	Ends    time.Time `json:"ends"`
	Used    int       `json:"used"`    // requests of this run
	Allowed int       `json:"allowed"` // by the headers
	Refused int       `json:"refused"` // responses 429
}

// Change is what became of one change.
type Change struct {
	API      string  `json:"api"`
	ID       string  `json:"id"`
	Outcome  string  `json:"outcome"`
	Attempts int     `json:"attempts"`
	Status   int     `json:"status"`
	Code     string  `json:"code"`
	Error    string  `json:"error"`
	Seconds  float64 `json:"seconds"`
}

// The limits of what a page shows.
const (
	MaxFailures = 1000
	MaxSlowest  = 10
	MaxWindows  = 360 // an hour of windows of ten seconds
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

// policy is the Content-Security-Policy: nothing but the document's own style and script, no string that becomes code or
// markup, and, where the page is live, requests to where it came from.
func policy(live bool) string {
	connect := "'none'"
	if live {
		connect = "'self'"
	}
	return strings.Join([]string{
		"default-src 'none'", "script-src " + hashOf(script), "style-src " + hashOf(style), "img-src data:", "connect-src " + connect,
		"base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'",
	}, "; ")
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Write writes the page as one document.
func Write(w io.Writer, run Run) error {
	return parsed.Execute(w, struct {
		Run         Run
		Now, Policy string
		Style       template.CSS
		Script      template.JS
	}{run, time.Now().UTC().Format(time.RFC3339), policy(run.Live), template.CSS(style), template.JS(script)}) //nolint:gosec // both are files of this package
}
