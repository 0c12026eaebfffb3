package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/changefile"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// plan shows what changes would do, and sends none.
func plan(ctx context.Context, a *app) error {
	if err := a.checkOutput(a.args...); err != nil {
		return err
	}
	var planned iter.Seq2[fleet.Planned, error]
	switch {
	case a.revert != "" && len(a.args) > 0, a.revert == "" && len(a.args) == 0:
		return usageError{"want either a FILE or -revert"}
	case a.revert != "":
		store, err := a.openStore(ctx)
		if err != nil {
			return err
		}
		defer store.Close()
		planned = reverted(store.Results(ctx, a.revert))
	default:
		file, err := changefile.Open(a.args[0], a.stdin)
		if err != nil {
			return err
		}
		defer file.Close()
		client, err := a.clientFor(a.config(), file)
		if err != nil {
			return err
		}
		planned = fleet.Plan(ctx, client, file.Edits())
	}
	p := planning{show: a.stdout}
	if err := p.all(ctx, a, planned); err != nil {
		return err
	}
	return p.summary()
}

// reverted is what undoes a run: for each token that it changed, a patch from what it is now to what it was. It fails where
// somebody has changed one of those members since.
func reverted(results iter.Seq2[fleet.Result, error]) iter.Seq2[fleet.Planned, error] {
	return func(yield func(fleet.Planned, error) bool) {
		for r, err := range results {
			p := fleet.Planned{Change: r.Change}
			switch {
			case err != nil:
			case r.Change.Update != nil && r.State != fleet.StateNotApplied:
				p.Err = errors.New("V1 cannot be read, so that nobody knows what the token was like")
			case r.State == fleet.StateUnknown, r.State == fleet.StatePending && r.Attempts > 0:
				p.Err = errors.New("it is not known whether it was changed")
			case r.State != fleet.StateApplied || r.Attempts == 0:
				continue
			case r.Before == nil || r.After == nil:
				p.Err = errors.New("the run does not have the token as it was")
			default:
				p.Before, p.After = r.After, r.Before
				p.Patch = tokenpatch.Diff(*r.After, *r.Before).Guard(*r.After)
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// planning writes what is planned, and counts it.
type planning struct {
	show  io.Writer // for people
	write io.Writer // as changes that apply takes; nil is nowhere

	change, same, unread, failed int
}

func (p *planning) all(ctx context.Context, a *app, planned iter.Seq2[fleet.Planned, error]) error {
	each := func(w io.Writer) error {
		p.write = w
		for one, err := range planned {
			if err := cmp.Or(ctx.Err(), err); err != nil {
				return err
			}
			if err := p.one(one, a.revert != ""); err != nil {
				return err
			}
		}
		return nil
	}
	if a.out == "" {
		return each(io.Discard)
	}
	return a.output(each)
}

// one writes what is planned for one token.
func (p *planning) one(one fleet.Planned, revert bool) error {
	id := printable(one.Change.ID)
	switch {
	case one.Err != nil:
		p.failed++
		_, err := fmt.Fprintf(p.show, "%s  cannot be done: %s\n", id, printable(one.Err.Error()))
		return err
	case one.Before == nil:
		p.unread++
		update, err := json.Marshal(one.Change.Update)
		if err == nil {
			_, err = fmt.Fprintf(p.show, "%s  V1 cannot be read; would send %s\n", id, printable(string(update)))
		}
		return errors.Join(err, writeJSON(p.write, one.Change))
	case one.Patch.Len() == 0, tokenpatch.Diff(*one.Before, *one.After).Len() == 0 && revert:
		p.same++
		_, err := fmt.Fprintf(p.show, "%s  is as wanted\n", id)
		return err
	}
	p.change++
	differences, err := differences(*one.Before, *one.After)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.show, "%s  %s\n", id, printable(fmt.Sprintf("%q", one.Before.Name.Or(""))))
	for _, difference := range differences {
		fmt.Fprintf(p.show, "    %s\n", difference)
	}
	return writeJSON(p.write, fleet.Change{ID: one.Change.ID, Patch: approved(one, revert)})
}

// approved is the patch that does what was shown, or fails: each member that it touches still has to be as it was read and,
// unless it undoes something, the token may not have been changed at all.
func approved(one fleet.Planned, revert bool) *tokenpatch.Patch {
	if revert {
		return one.Patch
	}
	patch := one.Patch
	if one.Change.Want == nil {
		patch = patch.Guard(*one.Before)
	}
	return patch.Clone().Test("/lastModified", one.Before.LastModified)
}

// differences are the members in which two tokens differ, one a line.
func differences(before, after tokenpatch.Token) ([]string, error) {
	was, err := settings(before)
	if err != nil {
		return nil, err
	}
	is, err := settings(after)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if !bytes.Equal(was[name], is[name]) {
			lines = append(lines, fmt.Sprintf("%s: %s -> %s", printable(name), value(was[name]), value(is[name])))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if is[name] == nil {
			lines = append(lines, fmt.Sprintf("%s: %s -> none", printable(name), value(was[name])))
		}
	}
	return lines, nil
}

func settings(t tokenpatch.Token) (members map[string]json.RawMessage, err error) {
	encoded, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return members, json.Unmarshal(encoded, &members)
}

// value is JSON as it is shown to a person.
func value(json json.RawMessage) string {
	if json == nil {
		return "none"
	}
	return shorten(printable(string(json)), 100)
}

// summary counts, and returns the exit status.
func (p *planning) summary() error {
	fmt.Fprintf(p.show, "%d would change, %d are as wanted, %d of V1 cannot be read, %d cannot be done\n", p.change, p.same, p.unread, p.failed)
	if p.failed > 0 {
		return exitStatus(exitNotApplied)
	}
	return nil
}
