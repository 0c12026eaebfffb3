package fleet

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/riverqueue/river"
)

// liveJobs is how many jobs of a run River has at most: enough for its workers, and few enough for
// a small table.
const liveJobs = 1000

// jobArgs names the change of a job.
type jobArgs struct {
	Run   int64 `json:"run"`
	Seq   int64 `json:"seq"`
	Bytes int64 `json:"bytes"` // of the change as JSON
}

// Kind is the name of the jobs of all runs: a leader discards jobs of unknown kinds.
func (jobArgs) Kind() string { return "tokenpatch_fleet_change" }

// queue is the River queue of a run.
func (r run) queue() string { return fmt.Sprintf("fleet_run_%d", r.id) }

// deadAfter is how long a process may be silent before it is taken for dead. If it
// is alive but slow, it has lost its changes, and can write nothing more for them. It
// is also how far a time in the store may lie in the future: beyond, the store's
// clock was set back.
const deadAfter = 5 * time.Second

// A job is live if River will hand it out, or if its process is alive. The store's clock decides,
// never a process's own.
var (
	live = fmt.Sprintf(`({made} <= {now} + %d AND (j.state = 'available' OR j.state = 'running'
	AND EXISTS (SELECT 1 FROM fleet_process p WHERE p.id = {worker} AND %s)))`, deadAfter.Microseconds(), alive)
	alive = fmt.Sprintf("p.seen BETWEEN {now} - %d AND {now} + %[1]d", deadAfter.Microseconds())
)

// feed makes jobs for due changes without one: their turn has come, their wait is over, River has
// discarded or forgotten their job, or their process is dead. Our rows decide about the work, not
// River's.
func (r *runner) feed(ctx context.Context) error {
	jobs, err := column[int](ctx, r.store, r.store.reads, "SELECT count(*) FROM river_job j WHERE j.queue = $1 AND "+live, r.run.queue())
	if err != nil || jobs[0] > liveJobs/2 {
		return err
	}
	if idle, err := r.idle(ctx, r.store.reads, 1); err != nil || len(idle) == 0 {
		return err
	}
	return r.store.tx(ctx, "feed", func(ctx context.Context, tx *sql.Tx) error {
		// If two processes feed one run, the second waits here, and then sees the work of the
		// first.
		if _, err := tx.ExecContext(ctx, r.store.sql("UPDATE fleet_run SET fed = fed + 1 WHERE id = $1"), r.run.id); err != nil {
			return err
		}
		idle, err := r.idle(ctx, tx, liveJobs-jobs[0])
		if err != nil || len(idle) == 0 {
			return err
		}
		return r.insertJobs(ctx, tx, idle)
	})
}

// idle returns jobs for the first due changes without a live job. A change put off into the far
// future is due: the clock was set back.
func (r *runner) idle(ctx context.Context, db queryer, limit int) (idle []jobArgs, err error) {
	err = r.store.query(ctx, db, func(rows *sql.Rows) (bool, error) {
		args := jobArgs{Run: r.run.id}
		err := rows.Scan(&args.Seq, &args.Bytes)
		idle = append(idle, args)
		return true, err
	}, `SELECT c.seq, octet_length(c.body) FROM fleet_change c LEFT JOIN river_job j ON j.id = c.job AND `+live+`
		WHERE c.run = $1 AND c.outcome = 'pending' AND (c.due <= {now} OR c.put_off > {now}) AND j.id IS NULL
		ORDER BY c.seq LIMIT $2`, r.run.id, limit)
	return idle, err
}

func (r *runner) insertJobs(ctx context.Context, tx *sql.Tx, idle []jobArgs) error {
	params := make([]river.InsertManyParams, len(idle))
	for i, args := range idle {
		params[i] = river.InsertManyParams{
			Args:       args,
			InsertOpts: &river.InsertOpts{Queue: r.run.queue(), MaxAttempts: 1}, // what fails is fed again
		}
	}
	inserted, err := r.river.InsertManyTx(ctx, tx, params)
	if err != nil {
		return err
	}
	update := r.store.sql("UPDATE fleet_change SET job = $1 WHERE run = $2 AND seq = $3")
	first, last := inserted[0].Job.ID, inserted[0].Job.ID
	for _, result := range inserted {
		first, last = min(first, result.Job.ID), max(last, result.Job.ID)
		var args jobArgs
		if err := json.Unmarshal(result.Job.EncodedArgs, &args); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, update, result.Job.ID, args.Run, args.Seq); err != nil {
			return err
		}
	}
	// On Postgres River has these from this machine's clock, and would hand out nothing before the
	// store's has reached them.
	_, err = tx.ExecContext(ctx, r.store.sql("UPDATE river_job SET created_at = {instant}, scheduled_at = {past} WHERE queue = $1 AND id BETWEEN $2 AND $3"),
		r.run.queue(), first, last)
	return err
}

// beat records a sign of life of this process.
func (r *runner) beat(ctx context.Context) error {
	if time.Since(r.beaten) < deadAfter/5 {
		return nil
	}
	r.beaten = time.Now()
	return r.store.exec(ctx, "beat", `INSERT INTO fleet_process (id, seen) VALUES ($1, {now})
		ON CONFLICT (id) DO UPDATE SET seen = excluded.seen`, r.river.ID())
}

// endBeat removes the record of this process, and of those dead for a day.
func (r *runner) endBeat(ctx context.Context) error {
	day := (24 * time.Hour).Microseconds()
	return r.store.exec(ctx, "end beat", "DELETE FROM fleet_process WHERE id = $1 OR seen NOT BETWEEN {now} - $2 AND {now} + $2", r.river.ID(), day)
}
