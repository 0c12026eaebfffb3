package fleet

import (
	"context"
	"database/sql"
	"sync"
)

const maxGroup = 64 // writes in one transaction

// commits gathers the writes of many workers into few transactions, since each
// transaction waits for the disk.
type commits struct {
	store *Store
	queue chan write
	ended context.Context // done when the run has ended
}

type write struct {
	do   func(context.Context, *sql.Tx) error
	done chan error
}

// start starts the committers of a run. end ends them.
func (c *commits) start() (end func()) {
	var cancel context.CancelFunc
	c.ended, cancel = context.WithCancel(context.Background())
	var running sync.WaitGroup
	for range c.store.committers {
		running.Go(c.run)
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// write calls do in a transaction, maybe shared with other writes, and returns once it is durable.
// do is called again if the shared one failed. If ctx ends first, write does not wait to see
// whether do is committed.
func (c *commits) write(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	w := write{do: do, done: make(chan error, 1)}
	select {
	case c.queue <- w:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.ended.Done():
		return c.ended.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run commits until the run has ended.
func (c *commits) run() {
	for {
		var first write
		select {
		case first = <-c.queue:
		case <-c.ended.Done():
			return
		}
		group := c.gather(first)
		err := c.commit(group...)
		for _, w := range group {
			if err != nil && len(group) > 1 {
				w.done <- c.commit(w) // one failure must not fail the others
			} else {
				w.done <- err
			}
		}
	}
}

// gather returns a write, and those waiting behind it.
func (c *commits) gather(first write) []write {
	group := []write{first}
	for len(group) < maxGroup {
		select {
		case w := <-c.queue:
			group = append(group, w)
		default:
			return group
		}
	}
	return group
}

func (c *commits) commit(group ...write) error {
	return c.store.tx(c.ended, "work", func(ctx context.Context, tx *sql.Tx) error {
		for _, w := range group {
			if err := w.do(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
}
