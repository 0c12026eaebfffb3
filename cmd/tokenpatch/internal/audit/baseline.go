package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// Header is the first line of a report as JSON Lines. The lines after it are findings, the gone
// ones last.
type Header struct {
	Version     int       `json:"version"` // of this format
	At          time.Time `json:"at"`
	Host        string    `json:"host"`
	Account     string    `json:"account,omitempty"`
	Tokens      int       `json:"tokens"`
	Service     int       `json:"service"`
	Quarantined int       `json:"quarantined"`
	High        int       `json:"high"` // findings without an exception
	Medium      int       `json:"medium"`
	Low         int       `json:"low"`
	Excepted    int       `json:"excepted"`
	Changes     int       `json:"changes"` // suggested ones
	Baseline    time.Time `json:"baseline,omitzero"`
	Notes       []string  `json:"notes,omitempty"`
}

const headerVersion = 1

// Header returns the first line of the report.
func (r *Report) Header() Header {
	return Header{
		Version: headerVersion, At: r.At, Host: r.Host, Account: r.Account, Tokens: r.Tokens, Service: r.Service, Quarantined: r.Quarantined,
		High: r.Count(High), Medium: r.Count(Medium), Low: r.Count(Low), Excepted: r.Excepted(), Changes: r.Changes,
		Baseline: r.Baseline, Notes: r.Notes,
	}
}

// Baseline is the report of an earlier audit. Its findings are read when a report is compared with them.
type Baseline struct {
	header Header
	lines  *bufio.Scanner
}

const (
	maxLine     = 1 << 20 // bytes of a finding
	maxFindings = 1_000_000
)

var errBaseline = errors.New(`want a report of tokenpatch audit -format json`)

// OpenBaseline reads the first line of a report as JSON Lines, to compare another one with it.
func OpenBaseline(file io.Reader) (*Baseline, error) {
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	var first struct{ Audit *Header }
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &first) != nil || first.Audit == nil {
		return nil, errors.Join(fmt.Errorf("line 1: %w", errBaseline), lines.Err())
	}
	if first.Audit.Version != headerVersion {
		return nil, fmt.Errorf("line 1: version %d: want version %d", first.Audit.Version, headerVersion)
	}
	return &Baseline{*first.Audit, lines}, nil
}

// findings are the baseline's findings, without those already gone.
func (b *Baseline) findings() iter.Seq2[*Finding, error] {
	return func(yield func(*Finding, error) bool) {
		for n := 2; b.lines.Scan(); n++ {
			f := new(Finding)
			if err := json.Unmarshal(b.lines.Bytes(), f); err != nil || f.Rule == "" || n > maxFindings {
				yield(nil, errors.Join(fmt.Errorf("line %d: %w", n, errBaseline), err))
				return
			}
			if f.State != StateGone && !yield(f, nil) {
				return
			}
		}
		if err := b.lines.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// Compare notes which findings of the report are new, and which of the baseline are gone. A finding
// with an exception is neither. A finding that was not looked for this time is not gone.
func (r *Report) Compare(b *Baseline) error {
	if b.header.Host != r.Host {
		return fmt.Errorf("the baseline is of %s, not of %s", b.header.Host, r.Host)
	}
	if b.header.Account != r.Account && b.header.Account != "" && r.Account != "" {
		return fmt.Errorf("the baseline is of account %s, not of %s", b.header.Account, r.Account)
	}
	r.Baseline = b.header.At
	known := r.index()
	for old, err := range b.findings() {
		if err != nil {
			return err
		}
		rule := place(old.Rule)
		if rule < 0 || !r.facts.looksFor(rule) {
			continue
		}
		if i, still := known[old.key()]; still {
			r.records[i].firstSeen = millis(old.FirstSeen)
			if old.Exception == nil || r.records[i].exception != nil {
				r.records[i].state = StateSame
			}
		} else if old.Exception == nil {
			r.addGone(rule, old)
		}
	}
	return nil
}
