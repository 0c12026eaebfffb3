package fleet

import (
	"context"
	"iter"
	"sync"

	"github.com/tokenpatch/tokenpatch"
)

// Planned is what a change would do to its token, as the token is now.
type Planned struct {
	Change Change

	// Before and After are the token as it is and as it would be, without its value.
	// Patch is what would be sent: for a Want it has a guard, and no operations if
	// the token is as wanted. All three are nil for V1, which cannot be read, and if
	// Err is not nil.
	Before, After *tokenpatch.Token
	Patch         *tokenpatch.Patch

	// Roles are the keys of custom roles of Before and After, by id, if their custom roles differ.
	// An unknown role is missing.
	Roles map[string]string

	// NotThere are the ids in RemoveCustomRoleIDs that neither the token nor the account has: there
	// is nothing to revoke.
	NotThere []string

	Err error // why the token could not be read, or could not be changed like this
}

// Plan reads the token of each change, up to 16 at once, and yields the effect of the change, in
// the order of the changes. It sends no change, and needs no store. An error of changes ends it; a
// mistake in one change, such as an unknown custom role, is in its [Planned].
func Plan(ctx context.Context, client *tokenpatch.Client, changes iter.Seq2[Change, error]) iter.Seq2[Planned, error] {
	roles := newBook(client)
	return ahead(ctx, changes, func(ctx context.Context, change Change) Planned { return plan(ctx, client, roles, change) })
}

const readAhead = 16 // tokens read at once

// ahead yields what do returns for each item, in their order, and calls it for
// readAhead of them at once.
func ahead[T any](ctx context.Context, items iter.Seq2[T, error], do func(context.Context, T) Planned) iter.Seq2[Planned, error] {
	return func(yield func(Planned, error) bool) {
		var readers sync.WaitGroup
		defer readers.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		next, stop := iter.Pull2(items)
		defer stop()

		var ahead []chan Planned // what is being read, in order
		var last error
		for more := true; more || len(ahead) > 0; {
			for more && len(ahead) < readAhead {
				item, err, ok := next()
				if more = ok && err == nil; !more {
					last = err
					break
				}
				result := make(chan Planned, 1)
				ahead = append(ahead, result)
				readers.Go(func() { result <- do(ctx, item) })
			}
			if len(ahead) > 0 {
				if !yield(<-ahead[0], nil) {
					return
				}
				ahead = ahead[1:]
			}
		}
		if last != nil {
			yield(Planned{}, last)
		}
	}
}

// plan reads one token.
func plan(ctx context.Context, client *tokenpatch.Client, roles *book, change Change) Planned {
	p := Planned{Change: change}
	change, err := change.checked()
	if err == nil && change.Want != nil {
		change.Want, err = roles.want(ctx, change.Want)
	}
	if err != nil || change.Update != nil {
		p.Err = err
		return p
	}
	before, err := client.V2.GetToken(ctx, change.ID)
	if err != nil {
		p.Err = err
		return p
	}
	p.show(*before, change.patchOf(*before))
	p.name(ctx, roles)
	if change.Want != nil {
		p.NotThere = roles.notThere(change.Want, before)
	}
	return p
}

// show fills in what a patch would do to a token.
func (p *Planned) show(before tokenpatch.Token, patch *tokenpatch.Patch) {
	after, err := patch.Apply(before)
	if err != nil {
		p.Err = err
		return
	}
	p.Before, p.After, p.Patch = withoutValue(&before), withoutValue(&after), patch
}

// name fills in the keys of the custom roles, if they differ.
func (p *Planned) name(ctx context.Context, roles *book) {
	if p.Err == nil && !p.Before.CustomRoleIDs.Equal(p.After.CustomRoleIDs) {
		p.Roles = roles.keys(ctx, p.Before, p.After)
	}
}

// patchOf is the change as a patch of a V2 token.
func (c Change) patchOf(before tokenpatch.Token) *tokenpatch.Patch {
	if c.Want != nil {
		return c.Want.patch(before)
	}
	return c.Patch
}
