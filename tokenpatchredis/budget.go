// Package tokenpatchredis keeps one rate budget for many programs in Redis: it
// is a [github.com/tokenpatch/tokenpatch.Budget].
//
// It needs WATCH, GETRANGE, TIME and SET in a transaction, and no script: Redis
// 6.2 and newer has them, and so have Valkey and what clouds offer under either
// name. The client's server has to be a primary; a cluster will do.
package tokenpatchredis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Budget keeps rate budgets in Redis. It is made by [New], and is safe for
// concurrent use.
type Budget struct{ client redis.UniversalClient }

// New returns a budget in the client's Redis. It does no I/O. The client stays the caller's, to
// share and to close. Its timeouts and retries apply, and the context of each update bounds them.
func New(client redis.UniversalClient) *Budget { return &Budget{client} }

// maxState is how many bytes of what is stored are read: a state has a few
// hundred, and what is longer is none.
const maxState = 8 << 10

// Update atomically replaces the state under key by the result of f. It calls f again if another
// program was quicker, until the context ends. An error of f, or of Redis, leaves the state
// unchanged, unless the connection broke while Redis replaced it.
func (b *Budget) Update(ctx context.Context, key string, f func(state []byte, now time.Time) (next []byte, ttl time.Duration, err error)) error {
	for tries := 1; ; tries++ {
		err := b.client.Watch(ctx, func(tx *redis.Tx) error { return replace(ctx, tx, key, f) }, key)
		if !errors.Is(err, redis.TxFailedErr) {
			return err
		}
		if err := rest(ctx, tries); err != nil {
			return fmt.Errorf("tokenpatchredis: other programs were quicker %d times: %w", tries, err)
		}
	}
}

// replace replaces the state unless it changes in between, for which it returns
// [redis.TxFailedErr].
func replace(ctx context.Context, tx *redis.Tx, key string, f func([]byte, time.Time) ([]byte, time.Duration, error)) error {
	state, now, err := read(ctx, tx, key)
	if err != nil {
		return fmt.Errorf("tokenpatchredis: read the budget: %w", err)
	}
	next, ttl, err := f(state, now)
	if err != nil {
		return err
	}
	_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, key, next, ttl)
		return nil
	})
	if err != nil && !errors.Is(err, redis.TxFailedErr) {
		err = fmt.Errorf("tokenpatchredis: write the budget: %w", err)
	}
	return err
}

// read returns the stored state, and the server's time. A value other than a string is returned as
// an invalid state.
func read(ctx context.Context, tx *redis.Tx, key string) ([]byte, time.Time, error) {
	var state *redis.StringCmd
	var now *redis.TimeCmd
	_, err := tx.Pipelined(ctx, func(p redis.Pipeliner) error {
		state, now = p.GetRange(ctx, key, 0, maxState), p.Time(ctx)
		return nil
	})
	if state.Err() != nil && strings.HasPrefix(state.Err().Error(), "WRONGTYPE") && now.Err() == nil {
		return []byte(state.Err().Error()), now.Val(), nil
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	return []byte(state.Val()), now.Val(), nil
}

// rest waits a random time, of twice as much after each try: of many programs, few may collide again.
func rest(ctx context.Context, tries int) error {
	const first, most = time.Millisecond, 64 * time.Millisecond
	timer := time.NewTimer(rand.N(min(most, first<<min(tries, 10))))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
