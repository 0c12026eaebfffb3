package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// State returns what [Store.Update] has written under key, without locking or writing
// anything; nil if there is nothing, or its ttl has passed.
func (s *Store) State(ctx context.Context, key string) (state []byte, err error) {
	err = s.one(ctx, "SELECT state FROM fleet_budget WHERE name = $1 AND expires > {now}", []any{key}, &state)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fleet: state: %w", err)
	}
	return state, nil
}
