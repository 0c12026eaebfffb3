package fleet

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/riverqueue/river"
)

// liveJobs is how many jobs of a run River has at most: enough that its workers
// never wait for more, and few enough that its table stays small.
const liveJobs = 1000

// jobArgs names the change that a job is for.
type jobArgs struct {
	Run int64 `json:"run"`
	Seq int64 `json:"seq"`
}

// Kind is the name of the jobs of all runs: a leader discards jobs of kinds that
// it does not know.
func (jobArgs) Kind() string { return "tokenpatch_fleet_change" }

// queue is where the jobs of a run are.
func (r run) queue() string { return fmt.Sprintf("fleet_run_%d", r.id) }

// live says whether a job is one that River will still work on, or does: not
// where the process that works on it is dead. River itself rescues such a job
// minutes later, and then it has nothing to do any more.
const live = `(j.state IN ('available', 'pending', 'retryable', 'scheduled') OR j.state = 'running'
	AND EXISTS (SELECT 1 FROM fleet_process p WHERE p.id = {worker} AND p.seen > {now} - {dead}))`

// deadAfter is how long nothing was seen of a process that is taken for dead. One
// that is not dead, but slow, has lost its changes, and finds that it may not
// write any more.
const deadAfter = 5 * time.Second

// feed makes jobs for changes that are not decided and have none: because their
// turn has come, because River has completed, discarded or forgotten the one that
// they had, or because the process that works on it is dead. Our rows say what is to
// be done, not River's.
func (r *runner) feed(ctx context.Context) error {
	var jobs int
	query := "SELECT count(*) FROM river_job j WHERE j.queue = $1 AND " + live
	if err := r.store.reads.QueryRowContext(ctx, r.store.sql(query), r.run.queue()).Scan(&jobs); err != nil {
		return err
	}
	if jobs > liveJobs/2 {
		return nil
	}
	if idle, err := r.idle(ctx, r.store.reads, 1); err != nil || len(idle) == 0 {
		return err
	}
	return r.store.tx(ctx, func(tx *sql.Tx) error {
		// Of two processes that feed one run, the second waits here, and then sees what the first has done.
		if _, err := tx.ExecContext(ctx, r.store.sql("UPDATE fleet_run SET fed = fed + 1 WHERE id = $1"), r.run.id); err != nil {
			return err
		}
		idle, err := r.idle(ctx, tx, liveJobs-jobs)
		if err != nil || len(idle) == 0 {
			return err
		}
		return r.insertJobs(ctx, tx, idle)
	})
}

// idle are the first changes that are not decided and have no live job.
func (r *runner) idle(ctx context.Context, db queryer, limit int) (seqs []int64, err error) {
	rows, err := db.QueryContext(ctx, r.store.sql(`SELECT c.seq FROM fleet_change c
		LEFT JOIN river_job j ON j.id = c.job AND `+live+`
		WHERE c.run = $1 AND c.outcome = 'pending' AND j.id IS NULL ORDER BY c.seq LIMIT $2`), r.run.id, limit)
	if err != nil {
		return nil, err
	}
	return column[int64](rows)
}

// column reads rows of one value each, and closes them.
func column[T any](rows *sql.Rows) (all []T, err error) {
	defer rows.Close()
	for rows.Next() {
		var value T
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		all = append(all, value)
	}
	return all, rows.Err()
}

// queryer is a pool or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (r *runner) insertJobs(ctx context.Context, tx *sql.Tx, seqs []int64) error {
	params := make([]river.InsertManyParams, len(seqs))
	for i, seq := range seqs {
		params[i] = river.InsertManyParams{
			Args:       jobArgs{Run: r.run.id, Seq: seq},
			InsertOpts: &river.InsertOpts{Queue: r.run.queue(), MaxAttempts: maxJobAttempts},
		}
	}
	inserted, err := r.river.InsertManyTx(ctx, tx, params)
	if err != nil {
		return err
	}
	update := r.store.sql("UPDATE fleet_change SET job = $1 WHERE run = $2 AND seq = $3")
	for _, result := range inserted {
		var args jobArgs
		if err := json.Unmarshal(result.Job.EncodedArgs, &args); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, update, result.Job.ID, args.Run, args.Seq); err != nil {
			return err
		}
	}
	return nil
}

// beat says that this process lives.
func (r *runner) beat(ctx context.Context) error {
	if time.Since(r.beaten) < deadAfter/5 {
		return nil
	}
	r.beaten = time.Now()
	_, err := r.store.db.ExecContext(ctx, r.store.sql(`INSERT INTO fleet_process (id, seen) VALUES ($1, {now})
		ON CONFLICT (id) DO UPDATE SET seen = excluded.seen`), r.river.ID())
	return err
}

// endBeat says that this process does not work on a run any more, and forgets
// those that have been dead for a day.
func (r *runner) endBeat(ctx context.Context) error {
	day := (24 * time.Hour).Microseconds()
	_, err := r.store.db.ExecContext(ctx, r.store.sql("DELETE FROM fleet_process WHERE id = $1 OR seen < {now} - $2"), r.river.ID(), day)
	return err
}
