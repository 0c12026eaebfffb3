package fleet

import (
	"context"
	"database/sql"
	"fmt"
)

// RetryIf is [Store.Retry] for those of the changes that pick picks: a change whose
// token does not exist fails again, for example.
func (s *Store) RetryIf(ctx context.Context, run string, pick func(Result) bool, states ...State) (n int, err error) {
	r, err := s.find(ctx, run)
	if err != nil {
		return 0, failed("retry of run", run, err)
	}
	var picked []Change
	for result, err := range s.Results(ctx, run, states...) {
		if err != nil {
			return 0, err
		}
		if pick(result) {
			picked = append(picked, Change{ID: result.Change.ID, Update: result.Change.Update})
		}
	}
	err = s.tx(ctx, "retry", func(ctx context.Context, tx *sql.Tx) error {
		for _, change := range picked {
			condition := fmt.Sprintf("run = $1 AND token = $2 AND api = '%s' AND outcome IN ('not_applied', 'unknown')", change.api())
			again, err := s.putBack(ctx, tx, "", condition, r.id, change.ID)
			if err != nil {
				return err
			}
			n += again
		}
		return nil
	})
	if err != nil {
		return 0, failed("retry of run", run, err)
	}
	return n, nil
}
