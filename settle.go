package tokenpatch

import (
	"context"
	"slices"

	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
)

// Settle finds out by one read what became of a patch whose [V2Tokens.PatchToken]
// ended with [OutcomeUnknown]. before is the token as it was when the patch was
// sent. Settle returns the token as it is now, too.
//
//   - [OutcomeApplied]: what the patch writes is as the patch makes it of before,
//     whoever wrote it. Replacing a member that before does not have adds it, as
//     V2 does. Of a patch that only tests, what it tests is as in before.
//   - [OutcomeNotApplied]: it is not, and the patch cannot be applied any more,
//     unless somebody puts the old value back: a setting that the patch tests
//     ([Patch.Guard]) is neither as in before nor as the patch makes it.
//   - [OutcomeUnknown]: the patch has not been applied so far, but may still
//     arrive; or the read cannot tell.
//
// A read shows the token and not its past. A patch that was applied, and whose
// setting somebody else has overwritten since, looks the same as one that came too
// late: both are OutcomeNotApplied, which says that the change is not there and
// will not come. A guard does not notice a value that was changed and put back in
// between, and a member that before does not have cannot be guarded: a late request
// may still write it.
//
// Custom roles are compared as a set. A patch that is nil, empty or has a mistake,
// or that cannot be applied to before, is a [*PatchError]; the errors of the read are
// those of [V2Tokens.GetToken]. With an error, the outcome is OutcomeUnknown and the
// token nil. Do not ask [OutcomeOf] such an error: it is about the read alone.
func (t *V2Tokens) Settle(ctx context.Context, before Token, patch *Patch) (Outcome, *Token, error) {
	if err := patch.checkSend(); err != nil {
		return OutcomeUnknown, nil, err
	}
	patch = patch.byRulesOfV2()
	after, err := patch.Apply(before)
	if err != nil {
		return OutcomeUnknown, nil, err
	}
	current, err := t.GetToken(ctx, before.ID)
	if err != nil {
		return OutcomeUnknown, nil, err
	}
	return patch.settled(before, after, *current), current, nil
}

// settled says what current says of a patch that makes after of before.
func (p *Patch) settled(before, after, current Token) Outcome {
	var written, tested []Pointer
	for _, op := range p.operations() {
		member, _ := memberOf(op.Path)
		if op.Op == jsonpatch.OpTest {
			tested = append(tested, member)
			continue
		}
		written = append(written, member)
		if op.Op == jsonpatch.OpMove {
			from, _ := memberOf(op.From)
			written = append(written, from)
		}
	}
	if len(written) == 0 { // it has tests alone
		written = tested
	}
	if sameMembers(written, after, current) {
		return OutcomeApplied
	}
	_, err := p.Apply(current)
	if err != nil && slices.ContainsFunc(tested, func(path Pointer) bool { return isOverwritten(path, before, after, current) }) {
		return OutcomeNotApplied
	}
	return OutcomeUnknown
}

// isOverwritten reports whether a setting is neither as it was nor as it was to be:
// somebody else has written it. Other members change by themselves. Roles that were
// added beside those of the patch leave its change in place.
func isOverwritten(path Pointer, before, after, current Token) bool {
	setting := []Pointer{path}
	if !slices.Contains(settings, path) || sameMembers(setting, before, current) || sameMembers(setting, after, current) {
		return false
	}
	return path != PathCustomRoleIDs || !keepsChange(before.CustomRoleIDs.Or(nil), after.CustomRoleIDs.Or(nil), current.CustomRoleIDs.Or(nil))
}

// keepsChange reports whether current has the ids that after has more than before,
// and none of those that it has less.
func keepsChange(before, after, current []string) bool {
	for _, id := range after {
		if !slices.Contains(before, id) && !slices.Contains(current, id) {
			return false
		}
	}
	for _, id := range before {
		if !slices.Contains(after, id) && slices.Contains(current, id) {
			return false
		}
	}
	return true
}

// byRulesOfV2 returns a patch that does by RFC 6902 what p does in V2, where a
// setting that a token does not have can be replaced.
func (p *Patch) byRulesOfV2() *Patch {
	q := p.Clone()
	q.content.operations = slices.Clone(p.operations())
	for i, op := range p.operations() {
		if op.Op == jsonpatch.OpReplace && slices.Contains(settings, Pointer(op.Path)) {
			q.content.operations[i].Op = jsonpatch.OpAdd
		}
	}
	return q
}

// sameMembers reports whether two tokens are the same in some members, as [Diff]
// compares settings, and in others as RFC 6902 section 4.6 compares values.
func sameMembers(members []Pointer, a, b Token) bool {
	return !slices.ContainsFunc(members, func(path Pointer) bool {
		switch path {
		case PathCustomRoleIDs:
			return !sameField(a.CustomRoleIDs, b.CustomRoleIDs, sameSet)
		case PathInlineRole:
			return !sameField(a.InlineRole, b.InlineRole, sameStatements)
		default:
			return !a.has(b, []Pointer{path})
		}
	})
}

// has reports whether a token has the members as before has them, as the test
// operation of RFC 6902 section 4.6 compares; what before lacks it must lack.
func (t Token) has(before Token, members []Pointer) bool {
	is, was := t.membersAt(members), before.membersAt(members)
	return !slices.ContainsFunc(members, func(path Pointer) bool {
		a, b := is[path], was[path]
		return (a == nil) != (b == nil) || a != nil && !jsonpatch.Equal(a, b)
	})
}
