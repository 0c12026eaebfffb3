package fleet

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

const (
	maxGroup      = 64               // writes in one transaction
	commitTimeout = 10 * time.Second // of one transaction; a longer one has failed
)

// commits gathers the writes of many workers into few transactions, since each
// transaction waits for the disk.
type commits struct {
	store *Store
	queue chan write
	ended chan struct{}
}

// errEnded is the error of a write after the run's end: of a worker that the drain
// did not wait for any longer.
var errEnded = errors.New("the run has ended")

type write struct {
	do   func(*sql.Tx) error
	done chan error
}

// write calls do in a transaction, maybe one that it shares with other writes, and
// returns once that is durable. do is called again where the shared one failed.
func (c *commits) write(do func(*sql.Tx) error) error {
	w := write{do: do, done: make(chan error, 1)}
	select {
	case c.queue <- w:
		return <-w.done
	case <-c.ended:
		return errEnded
	}
}

// run commits until the run has ended.
func (c *commits) run() {
	for {
		var first write
		select {
		case first = <-c.queue:
		case <-c.ended:
			return
		}
		group := c.gather(first)
		err := c.commit(group...)
		for _, w := range group {
			if err != nil && len(group) > 1 {
				w.done <- c.commit(w) // one that fails must not fail the others
			} else {
				w.done <- err
			}
		}
	}
}

// gather returns a write, and those that wait behind it.
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
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	return c.store.tx(ctx, func(tx *sql.Tx) error {
		for _, w := range group {
			if err := w.do(tx); err != nil {
				return err
			}
		}
		return nil
	})
}
