package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/tokenpatch/tokenpatch"
)

// Why a change cannot be undone.
var (
	errV1Unread   = errors.New("V1 cannot be read, so it is not known what the token was like")
	errNotDecided = errors.New("it is not known whether it was changed")
	errNotKept    = errors.New("the run does not have the token as it was before and after")
)

// Revert plans how to undo a run. It reads each token changed by the run, and yields a patch that
// sets the written members back to their values before the run's first attempt. Nothing else is set
// back. A change cannot be undone if one of these members was changed since. Otherwise it is like
// [Plan]; an unchanged token has a patch without operations.
func (s *Store) Revert(ctx context.Context, client *tokenpatch.Client, run string) iter.Seq2[Planned, error] {
	return func(yield func(Planned, error) bool) {
		found, err := s.find(ctx, run)
		var roles *book
		if err == nil {
			roles, err = s.book(ctx, client, found.id)
		}
		if err != nil {
			yield(Planned{}, failed("revert of run", run, err))
			return
		}
		ahead(ctx, s.changed(ctx, run), func(ctx context.Context, r Result) Planned {
			p := Planned{Change: r.Change}
			p.Err = p.revert(ctx, client, roles, run, r)
			p.name(ctx, roles)
			return p
		})(yield)
	}
}

// changed are the results of a run whose tokens were changed, or may have been.
func (s *Store) changed(ctx context.Context, run string) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		for r, err := range s.Results(ctx, run) {
			if err == nil && (r.Attempts == 0 || r.State == StateNotApplied) {
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// revert plans how to undo one change.
func (p *Planned) revert(ctx context.Context, client *tokenpatch.Client, roles *book, run string, r Result) error {
	switch {
	case r.Change.Update != nil:
		return errV1Unread
	case r.State != StateApplied:
		return errNotDecided
	case r.Before == nil || r.After == nil:
		return errNotKept
	}
	if want := r.Change.Want; want != nil {
		if resolved, err := roles.want(ctx, want); err == nil { // else it has ids, and no role was looked up
			r.Change.Want = resolved
		}
	}
	written, comment, err := writes(r.Change.patchOf(*r.Before))
	if err != nil {
		return err
	}
	now, err := client.V2.GetToken(ctx, r.Change.ID)
	if err != nil {
		return err
	}
	before, err := withMembers(*now, *r.Before, written...)
	if err != nil {
		return err
	}
	patch := tokenpatch.Diff(*now, before)
	if patch.Len() > 0 {
		if err := unchanged(*now, *r.After, written); err != nil {
			return err
		}
		patch = patch.Guard(*now).Comment(strings.TrimSuffix("revert of "+run+": "+comment, ": "))
		p.Change = Change{ID: r.Change.ID, Patch: patch}
	}
	p.show(*now, patch)
	return p.Err
}

// unchanged returns an error if a token does not have some members as the run left
// them.
func unchanged(now, after tokenpatch.Token, members []string) error {
	for _, name := range members {
		left, err := withMembers(now, after, name)
		if err != nil {
			return err
		}
		if tokenpatch.Diff(now, left).Len() > 0 {
			return fmt.Errorf("%s has been changed since the run", name)
		}
	}
	return nil
}

// writes returns the members written by a patch, and its comment.
func writes(patch *tokenpatch.Patch) (members []string, comment string, err error) {
	encoded, comment, err := splitComment(patch)
	if err != nil {
		return nil, "", err
	}
	var operations []struct{ Op, Path, From string }
	if err := json.Unmarshal(encoded, &operations); err != nil {
		return nil, "", err
	}
	for _, operation := range operations {
		paths := []string{operation.Path}
		switch operation.Op {
		case "test":
			continue
		case "move":
			paths = append(paths, operation.From)
		}
		for _, path := range paths {
			name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
			members = append(members, strings.NewReplacer("~1", "/", "~0", "~").Replace(name))
		}
	}
	return members, comment, nil
}

// withMembers returns a token with some members as another token has them.
func withMembers(token, other tokenpatch.Token, names ...string) (with tokenpatch.Token, err error) {
	var members, others map[string]json.RawMessage
	for encoded, into := range map[*tokenpatch.Token]*map[string]json.RawMessage{&token: &members, &other: &others} {
		data, err := json.Marshal(encoded)
		if err == nil {
			err = json.Unmarshal(data, into)
		}
		if err != nil {
			return with, err
		}
	}
	for _, name := range names {
		delete(members, name)
		if value, found := others[name]; found {
			members[name] = value
		}
	}
	data, err := json.Marshal(members)
	if err != nil {
		return with, err
	}
	return with, json.Unmarshal(data, &with)
}
