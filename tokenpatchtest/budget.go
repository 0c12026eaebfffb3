package tokenpatchtest

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Budget is a Config.Budget in memory, for tests of programs with a shared rate limit. The zero
// value is ready and safe for concurrent use. Inside testing/synctest its clock is that of the
// bubble.
type Budget struct {
	// Before, if not nil, begins every update: it may take its time, and its
	// error is the update's. It is set before the first use, and called by
	// many goroutines.
	Before func(context.Context) error

	mu     sync.Mutex
	states map[string][]byte
}

// Update replaces the state under key by what f returns. An error of Before or of
// f leaves it as it was, and is returned. It forgets no state.
func (b *Budget) Update(ctx context.Context, key string, f func(state []byte, now time.Time) ([]byte, time.Duration, error)) error {
	if b.Before != nil {
		if err := b.Before(ctx); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	next, _, err := f(slices.Clone(b.states[key]), time.Now())
	if err != nil {
		return err
	}
	if b.states == nil {
		b.states = make(map[string][]byte)
	}
	b.states[key] = slices.Clone(next)
	return nil
}

// Set puts a state under a key, as somebody else might who writes to the store.
func (b *Budget) Set(key string, state []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.states == nil {
		b.states = make(map[string][]byte)
	}
	b.states[key] = slices.Clone(state)
}

// States returns what is kept, by key.
func (b *Budget) States() map[string][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	states := make(map[string][]byte, len(b.states))
	for key, state := range b.states {
		states[key] = slices.Clone(state)
	}
	return states
}
