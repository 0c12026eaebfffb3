// Package page shows a run, a report or a plan as one self-contained HTML document: live over HTTP,
// or as a file.
package page

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"io"
	"iter"
	"strings"
	"time"
)

// Run is a run as its page shows it. Nothing in it is trusted, and none of it is secret.
type Run struct {
	Name       string  `json:"name"`
	Live       bool    `json:"live"` // more is to come
	Pending    int     `json:"pending"`
	Applied    int     `json:"applied"`
	NotApplied int     `json:"notApplied"`
	Unknown    int     `json:"unknown"`
	Skipped    int     `json:"skipped"` // rows of FILE for which nothing is to be done
	Refused    int     `json:"refused"` // responses 429
	Rate       float64 `json:"rate"`    // changes a second; 0 if unknown
	Left       float64 `json:"left"`    // seconds until the end; 0 if unknown
	Waiting    string  `json:"waiting"` // what for: "the rate limit, which opens in 7 s"
	Stopped    string  `json:"stopped"` // why it stopped by itself; empty if it did not

	Windows  []Window `json:"windows"`  // in their order
	Failures []Change `json:"failures"` // the first that are not applied or unknown; of a live page
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

// Change is the outcome of one change.
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

// The limits of what a live page shows.
const (
	MaxFailures = 1000
	MaxSlowest  = 10
	MaxWindows  = 360 // an hour of windows of ten seconds
)

// List is a list of tokens: a plan to approve, or a report.
type List struct {
	Title  string
	Facts  []Fact // in the head
	Groups []Group
	States []State       // in the order in which they can be chosen
	Rows   iter.Seq[Row] // each token
	Total  int           // how many rows there are
	Run    *Run          // of a report
}

// Fact is a name and a value.
type Fact struct{ Name, Value string }

// Group is a text common to several rows, by which the page finds them.
type Group struct {
	Count   int
	Text    string
	Advice  string
	Command string // what to type next; may be empty
}

// State is a state of rows, and their number.
type State struct {
	Name  string // as of a Row
	Words string
	Count int
}

// Row is one token.
type Row struct {
	API, ID, Name string
	State, Words  string
	Lines         []Line
	Comment       string
	Reason        string // why it is not as wanted, by its kind
	Error         string
	When          string
	Attempts      int
}

// Line is a part of a change, with the sign "-", "+" or "~".
type Line struct{ Sign, Text string }

// Class is the sign as a CSS class.
func (l Line) Class() string {
	return map[string]string{"-": "removed", "+": "added"}[l.Sign]
}

var (
	//go:embed *.html
	documents embed.FS
	//go:embed page.css
	style string
	//go:embed run.js
	runScript string
	//go:embed live.js
	liveScript string
	//go:embed list.js
	listScript string

	parsed = template.Must(template.ParseFS(documents, "*.html"))

	liveCode   = "'use strict';\n" + runScript + liveScript
	reportCode = "'use strict';\n" + runScript + listScript
	planCode   = "'use strict';\n" + listScript
)

// Policy is the Content-Security-Policy of a page. It allows only the document's own style and
// script, no string that becomes code or markup, and, if the page is live, requests to its own
// server.
func Policy(script, style string, live bool) string {
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

// frame is what every page has.
type frame struct {
	Heading, Now, Policy string
	Style                template.CSS
	Script               template.JS
}

func newFrame(title, script string, live bool) frame {
	return frame{
		title, time.Now().UTC().Format(time.RFC3339), Policy(script, style, live),
		template.CSS(style), template.JS(script), //nolint:gosec // both are files of this package
	}
}

// Write writes the page of a run as one document, which is updated as long as the run is live.
func Write(w io.Writer, run Run) error {
	return parsed.ExecuteTemplate(w, "live.html", struct {
		frame
		Run Run
	}{newFrame(run.Name, liveCode, true), run})
}

// WriteList writes a plan or a report as one document.
func WriteList(w io.Writer, list List) error {
	code := planCode
	if list.Run != nil {
		code = reportCode
	}
	return parsed.ExecuteTemplate(w, "list.html", struct {
		frame
		List
	}{newFrame(list.Title, code, false), list})
}
