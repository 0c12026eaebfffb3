package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/changefile"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// What apply would do with a row.
const (
	actionChange    = "change"
	actionUnchanged = "unchanged" // the token is as wanted
	actionCannot    = "cannot"
)

// fileRow is a row of a plan file.
type fileRow struct {
	API     string            `json:"api"`
	ID      string            `json:"id"`
	Name    string            `json:"name,omitempty"`
	Patch   json.RawMessage   `json:"patch,omitempty"`
	Update  json.RawMessage   `json:"update,omitempty"`
	Comment string            `json:"comment,omitempty"`
	Roles   map[string]string `json:"roles,omitempty"`
	Skip    string            `json:"skip,omitempty"`
}

// plannedRow is a row of FILE, and what apply would do with it.
type plannedRow struct {
	fileRow
	Action      string       `json:"action"`
	Differences []difference `json:"differences,omitempty"`
}

// planSource is what a plan is made from.
type planSource struct {
	rows   iter.Seq2[changefile.Row, error] // of the file
	store  *fleet.Store                     // of the run to revert; nil if none is
	name   string                           // of the file, or of the run
	digest string                           // of the file
	isPlan bool                             // a saved one
	total  int                              // rows; 0 if unknown
	v1, v2 string                           // why there must be a credential for an API; empty if there need not
	close  func() error
}

// plan shows what changes would do, and sends none.
func plan(ctx context.Context, a *app) error {
	if err := a.checkPlan(); err != nil {
		return err
	}
	source, err := a.planSource(ctx)
	if err != nil {
		return err
	}
	defer source.close()
	p, err := newPlanning(source)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.read(ctx, a); err != nil {
		return err
	}
	tooMany := a.checkSize(p.count[actionChange], p.rows())
	if a.out != "" && tooMany == nil {
		if err := a.output(func(w io.Writer) error { return p.save(ctx, w) }); err != nil {
			return err
		}
	}
	err = p.show(a)
	if tooMany == nil && (err == nil || errors.Is(err, syscall.EPIPE)) { // a reader such as head may go
		p.next(a)
	}
	if err := cmp.Or(err, tooMany); err != nil {
		return err
	}
	if a.detailed && p.count[actionChange]+p.count[actionCannot] > 0 {
		return exitStatus(exitNotApplied)
	}
	return nil
}

// checkPlan refuses contradictory flags and files.
func (a *app) checkPlan() error {
	if (a.revert != "") == (len(a.args) > 0) {
		return usageError{"want either a FILE or -revert"}
	}
	if err := a.checkOutput(a.args...); err != nil {
		return err
	}
	switch strings.ToLower(filepath.Ext(a.out)) {
	case ".html", ".csv", ".txt":
		return usageError{fmt.Sprintf("-o %s: want a name such as approved.jsonl: it is for apply; -format html >%[1]s makes a page for people", a.out)}
	}
	return nil
}

// planSource opens FILE, or the run to revert.
func (a *app) planSource(ctx context.Context) (planSource, error) {
	if a.revert != "" {
		store, err := a.openStore(ctx)
		if err != nil {
			return planSource{}, err
		}
		return planSource{store: store, name: "undoing run " + a.revert, v2: "-revert reads tokens of V2", close: store.Close}, nil
	}
	file, err := changefile.Open(a.args[0], a.stdin)
	if err != nil {
		return planSource{}, err
	}
	s := planSource{rows: file.All(), name: file.Name, digest: file.Digest, isPlan: file.Plan != nil, total: file.Rows, close: file.Close}
	s.v1, s.v2 = needs(file)
	return s, nil
}

// checkSize refuses more changes than -max-changes and -max-percent allow.
func (a *app) checkSize(changes, rows int) error {
	switch {
	case a.maxChanges >= 0 && changes > a.maxChanges:
		return fmt.Errorf("%d changes are more than -max-changes %d: nothing was saved or sent", changes, a.maxChanges)
	case float64(changes) > float64(a.maxPercent)*float64(rows):
		return fmt.Errorf("%d changes of %d rows are more than -max-percent %g%%: nothing was saved or sent", changes, rows, 100*float64(a.maxPercent))
	}
	return nil
}

// planning is a plan in the making. Its rows are kept on disk until all of them are known.
type planning struct {
	source  planSource
	file    *os.File // has no name any more, if the system allows it
	writer  *bufio.Writer
	waiting []changefile.Row // now being read

	host   string         // of V2
	count  map[string]int // of rows, by action
	v1     int            // changes of V1
	kinds  map[string]int // of tokens, by what changes
	cannot map[string]int // of tokens, by why they cannot be changed
	wrong  *changefile.MistakesError
	plan   changefile.Plan
	caller *tokenpatch.Identity // nil if unknown
	self   string               // plan's own token, which must not be changed; empty if none
	digest string               // of the saved plan file
}

func newPlanning(source planSource) (*planning, error) {
	file, err := os.CreateTemp("", "tokenpatch-*")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(file.Name()) // else close does
	return &planning{
		source: source, file: file, writer: bufio.NewWriter(file), count: map[string]int{}, kinds: map[string]int{},
		cannot: map[string]int{}, wrong: &changefile.MistakesError{File: source.name},
	}, nil
}

func (p *planning) close() {
	_ = p.file.Close()
	_ = os.Remove(p.file.Name())
}

func (p *planning) rows() int {
	return p.count[actionChange] + p.count[actionUnchanged] + p.count[actionCannot]
}

// read reads the tokens of all rows. A credential that is refused, and a service that does not respond, end it: a plan
// without some of its tokens is nothing to approve.
func (p *planning) read(ctx context.Context, a *app) error {
	config := a.config()
	if err := credentials(config, p.source.v1, p.source.v2); err != nil {
		return err
	}
	seen := newTraffic()
	config.Hooks = seen.hooks()
	config.V2.Share = float64(a.share)
	client, err := a.client(config)
	if err != nil {
		return err
	}
	p.host = config.V2.BaseURL
	p.begin(ctx, a, client)
	var done atomic.Int64
	end := a.showReading(seen, &done, p.source.total)
	defer end()
	planned := fleet.Plan(ctx, client, p.changes())
	if p.source.store != nil {
		planned = p.source.store.Revert(ctx, client, a.revert)
	}
	for one, err := range planned {
		if err == nil {
			err = p.one(one)
		}
		if err := errors.Join(ctx.Err(), err); err != nil {
			return err
		}
		done.Add(1)
	}
	if err := p.passSkipped(); err != nil {
		return err
	}
	if p.wrong.Count > 0 {
		return p.wrong
	}
	return p.writer.Flush()
}

// begin finds out whose credential the plan is made with.
func (p *planning) begin(ctx context.Context, a *app, client *tokenpatch.Client) {
	p.plan = changefile.Plan{Version: changefile.PlanVersion, Source: p.source.name, SHA256: p.source.digest}
	if p.source.v2 == "" {
		return
	}
	if p.caller = a.caller(ctx, client); p.caller != nil {
		p.plan.Account, p.plan.Credential, p.self = p.caller.AccountID, p.caller.TokenID, a.self()
	}
}

// changes iterates over the changes of the source, and keeps their rows.
func (p *planning) changes() iter.Seq2[fleet.Change, error] {
	return func(yield func(fleet.Change, error) bool) {
		for row, err := range p.source.rows {
			if err == nil {
				p.waiting = append(p.waiting, row)
			}
			if (err != nil || row.Skip == "") && !yield(row.Change, err) {
				return
			}
		}
	}
}

// passSkipped adds the skipped rows before the next change.
func (p *planning) passSkipped() error {
	for len(p.waiting) > 0 && p.waiting[0].Skip != "" {
		row := p.waiting[0]
		p.waiting = p.waiting[1:]
		action := actionCannot
		if isAsWanted(row.Skip) {
			action = actionUnchanged
		}
		err := p.add(plannedRow{Action: action, fileRow: fileRow{API: row.API, ID: row.ID, Name: row.Name, Comment: row.Comment, Skip: row.Skip}})
		if err != nil {
			return err
		}
	}
	return nil
}

const asWanted = "already as wanted"

// isAsWanted reports whether a row is skipped because there is nothing to change. What is not there may be named too.
func isAsWanted(skip string) bool { return strings.HasPrefix(skip, asWanted) }

// one adds what is planned for one token.
func (p *planning) one(one fleet.Planned) error {
	if err := p.passSkipped(); err != nil {
		return err
	}
	row := changefile.Row{API: "v2", ID: one.Change.ID}
	if p.source.store == nil {
		row, p.waiting = p.waiting[0], p.waiting[1:]
	} else if one.Change.Update != nil {
		row.API = "v1"
	}
	planned := plannedRow{Action: actionChange, fileRow: fileRow{API: row.API, ID: row.ID, Name: row.Name, Comment: row.Comment, Roles: one.Roles}}
	if one.Before != nil {
		planned.Name = one.Before.Name.Or("")
	}
	var err error
	switch {
	case p.source.store == nil && errors.As(one.Err, new(*tokenpatch.InputError)): // an unknown custom role
		p.wrong.Add(row.Line, one.Err)
		return nil
	case p.self != "" && row.API == "v2" && strings.EqualFold(p.self, row.ID):
		planned.Action, planned.Skip = actionCannot, whySelf
	case one.Err != nil:
		planned.Action = actionCannot
		planned.Skip, err = whyNot(one.Err)
	case one.Before == nil:
		p.v1++
		planned.Differences, err = updateDifferences(one.Change.Update)
		planned.set(one.Change)
	default:
		planned.Differences, err = differences(*one.Before, *one.After)
		planned.set(fleet.Change{ID: row.ID, Patch: p.approved(one)})
	}
	if err != nil {
		return err
	}
	planned.compare(one.NotThere)
	return p.add(planned)
}

// compare notes whether there is nothing to change, and which custom roles to remove are not there.
func (r *plannedRow) compare(missing []string) {
	if r.Action == actionChange && len(r.Differences) == 0 {
		r.Action, r.Skip, r.Patch = actionUnchanged, asWanted, nil
		if len(missing) > 0 {
			r.Skip += ": not there: " + strings.Join(missing, ", ")
		}
	}
	r.Differences = append(r.Differences, notThere(missing)...)
}

// set takes over what is sent.
func (r *plannedRow) set(change fleet.Change) {
	encoded, err := encodeJSON(change)
	if err == nil {
		err = json.Unmarshal(encoded, &r.fileRow)
	}
	if err != nil { // a mistake in a patch made here
		r.Action, r.Skip = actionCannot, err.Error()
	}
}

// whyNot is why a token cannot be changed, or an error if the plan cannot be made: a refused credential, or no response.
func whyNot(err error) (reason string, fatal error) {
	var api *tokenpatch.APIError
	switch {
	case errors.As(err, new(*tokenpatch.UnauthorizedError)), errors.As(err, new(*tokenpatch.RateLimitedError)):
		return "", err
	case errors.As(err, new(*tokenpatch.NotFoundError)):
		return noSuchToken.text, nil
	case errors.As(err, new(*tokenpatch.ForbiddenError)):
		return "the credential may not read this token", nil
	case errors.As(err, new(*tokenpatch.PatchError)):
		return "the token is not as this patch expects: " + err.Error(), nil
	case !errors.As(err, &api) && (errors.As(err, new(*tokenpatch.ReadError)) || errors.As(err, new(*tokenpatch.NotSentError))):
		return "", err
	}
	return err.Error(), nil
}

// approved is the patch for the shown change, or a failure: each member it touches must be as it
// was read, and the token must not have been changed at all.
func (p *planning) approved(one fleet.Planned) *tokenpatch.Patch {
	patch := one.Patch
	if one.Change.Want == nil && p.source.store == nil { // or it is guarded already
		patch = patch.Guard(*one.Before)
	}
	encoded, err := json.Marshal(patch)
	if err == nil && bytes.Contains(encoded, []byte(`"op":"test","path":"/lastModified"`)) {
		return patch
	}
	return patch.Clone().Test("/lastModified", one.Before.LastModified)
}

func (p *planning) add(row plannedRow) error {
	p.count[row.Action]++
	var kinds []string
	for _, d := range row.Differences {
		kinds = append(kinds, d.kinds(row.Roles)...)
	}
	slices.Sort(kinds)
	for _, kind := range slices.Compact(kinds) {
		countKind(p.kinds, kind)
	}
	if row.Action == actionCannot {
		countKind(p.cannot, row.Skip)
	}
	return writeJSON(p.writer, row)
}

// countKind counts one of a kind, if there are not too many kinds.
func countKind(kinds map[string]int, kind string) {
	if _, known := kinds[kind]; known || len(kinds) < maxKinds {
		kinds[kind]++
	}
}

const maxKinds = 1000 // counted ones

// all iterates over the rows.
func (p *planning) all() iter.Seq2[plannedRow, error] {
	return func(yield func(plannedRow, error) bool) {
		if _, err := p.file.Seek(0, io.SeekStart); err != nil {
			yield(plannedRow{}, err)
			return
		}
		decoder := json.NewDecoder(bufio.NewReader(p.file))
		for range p.rows() {
			var row plannedRow
			err := decoder.Decode(&row)
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}
