package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Header is the first line of a report as JSON Lines. The lines after it are findings, those that are gone last.
type Header struct {
	Version     int       `json:"version"` // of this format
	At          time.Time `json:"at"`
	Host        string    `json:"host"`
	Account     string    `json:"account,omitempty"`
	Tokens      int       `json:"tokens"`
	Service     int       `json:"service"`
	Quarantined int       `json:"quarantined"`
	High        int       `json:"high"` // findings that no exception accepts
	Medium      int       `json:"medium"`
	Low         int       `json:"low"`
	Excepted    int       `json:"excepted"`
	Changes     int       `json:"changes"` // that are suggested
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

// Baseline is the report of an earlier audit.
type Baseline struct {
	header   Header
	findings []Finding
}

const (
	maxLine     = 1 << 20 // bytes of a finding
	maxFindings = 1_000_000
)

var errBaseline = errors.New(`want a report of tokenpatch audit -format json`)

// ReadBaseline reads a report as JSON Lines, to compare another one with it.
func ReadBaseline(file io.Reader) (*Baseline, error) {
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	var first struct{ Audit *Header }
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &first) != nil || first.Audit == nil {
		return nil, errors.Join(fmt.Errorf("line 1: %w", errBaseline), lines.Err())
	}
	if first.Audit.Version != headerVersion {
		return nil, fmt.Errorf("line 1: version %d: want version %d", first.Audit.Version, headerVersion)
	}
	b := &Baseline{header: *first.Audit}
	for n := 2; lines.Scan(); n++ {
		var f Finding
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil || f.Rule == "" || n > maxFindings {
			return nil, errors.Join(fmt.Errorf("line %d: %w", n, errBaseline), err)
		}
		if f.State != StateGone {
			b.findings = append(b.findings, f)
		}
	}
	return b, lines.Err()
}

// Compare notes which findings of the report are new, and which of the baseline are gone. A finding that an exception
// accepts is neither.
func (r *Report) Compare(b *Baseline) error {
	if b.header.Host != r.Host {
		return fmt.Errorf("the baseline is of %s, not of %s", b.header.Host, r.Host)
	}
	if b.header.Account != r.Account && b.header.Account != "" && r.Account != "" {
		return fmt.Errorf("the baseline is of account %s, not of %s", b.header.Account, r.Account)
	}
	r.Baseline = b.header.At
	before := make(map[string]*Finding, len(b.findings))
	for i := range b.findings {
		before[b.findings[i].key()] = &b.findings[i]
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		f.State = StateNew
		if old := before[f.key()]; old != nil {
			f.FirstSeen = old.FirstSeen
			if old.Exception == nil || f.Exception != nil {
				f.State = StateSame
			}
			delete(before, f.key())
		}
	}
	for _, old := range b.findings {
		if before[old.key()] != nil && old.Exception == nil {
			old.State = StateGone
			r.Gone = append(r.Gone, old)
		}
	}
	return nil
}

// CountState returns how many findings that no exception accepts have a state.
func (r *Report) CountState(state State) (n int) {
	for _, f := range r.Findings {
		if f.Exception == nil && f.State == state {
			n++
		}
	}
	return n
}
