// Package readonly stands for your own code that changes tokens. Its test is the recipe: it runs
// the code against a service in the test.
package readonly

import (
	"context"
	"errors"
	"fmt"

	"github.com/tokenpatch/tokenpatch"
)

// Make makes the tokens read-only, and continues with the others if one cannot be changed.
func Make(ctx context.Context, client *tokenpatch.Client, ids ...string) error {
	readOnly := func(token *tokenpatch.Token) error {
		token.UseRole(tokenpatch.RoleReader)
		return nil
	}
	var errs []error
	for _, id := range ids {
		if _, err := client.V2.EditToken(ctx, id, tokenpatch.EditOptions{}, readOnly); err != nil {
			errs = append(errs, fmt.Errorf("%s is %s: %w", id, tokenpatch.OutcomeOf(err), err))
		}
	}
	return errors.Join(errs...)
}
