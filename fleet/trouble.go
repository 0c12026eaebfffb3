package fleet

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// trouble reports failures of the store: the first one at once, and then one line
// a minute with how many there were.
type trouble struct {
	log *slog.Logger
	run string

	mu       sync.Mutex
	failures int // since the last line
	told     time.Time
}

func (t *trouble) report(ctx context.Context, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures++
	if !t.told.IsZero() && time.Since(t.told) < time.Minute {
		return
	}
	t.log.WarnContext(ctx, "fleet: store operation failed, retrying", "run", t.run, "error", err, "failures", t.failures)
	t.failures, t.told = 0, time.Now()
}
