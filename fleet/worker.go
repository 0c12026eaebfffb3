package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/riverqueue/river"
)

// worker works on one change at a time, as River hands them out.
type worker struct {
	river.WorkerDefaults[jobArgs]
	runner *runner
}

// Work decides the outcome of a change, or when to look at it again. River does not repeat a failed
// job: feed makes another.
func (w *worker) Work(ctx context.Context, job *river.Job[jobArgs]) (err error) {
	r := w.runner
	defer r.jobs.begin(job.ID)()
	leave, err := r.waitForRoom(ctx, job.Args.Bytes)
	if err != nil {
		return err
	}
	defer leave()
	t, err := r.take(ctx, job)
	if t == nil || err != nil {
		return err
	}
	v := verdict{state: StatePending, later: time.Second, err: errPanic}
	defer func() {
		if panicked := recover(); panicked != nil {
			r.log.ErrorContext(ctx, "fleet: a panic ended the try of a change", "run", r.run.name, "type", fmt.Sprintf("%T", panicked), "stack", string(debug.Stack()))
			err = r.putOff(ctx, t, v)
		}
	}()
	ctx = t.startChange(ctx)
	defer func() { t.endChange(ctx, v) }()
	v, err = r.try(ctx, t)
	return err
}

// maxBytes is the total length of the changes in work at once. Each is in memory about ten times:
// with its token before and after, its patch and its request.
const maxBytes = 1 << 20

// waitForRoom waits until a change of this length may be in memory. Call leave after it.
func (r *runner) waitForRoom(ctx context.Context, bytes int64) (leave func(), err error) {
	bytes = min(bytes, maxBytes)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.stopping, cancel)()
	if err := r.room.Acquire(ctx, bytes); err != nil {
		return nil, err
	}
	return func() { r.room.Release(bytes) }, nil
}

// try decides the outcome of a change, and returns its recorded part.
func (r *runner) try(ctx context.Context, t *task) (v verdict, err error) {
	leave, err := r.enter(ctx, t)
	if err != nil {
		v = verdict{state: StatePending, err: err}
	} else {
		v = func() verdict {
			defer leave() // a panic must not keep the turn
			return t.decide(ctx)
		}()
	}
	if v.state == StatePending {
		return v, r.putOff(ctx, t, v)
	}
	failpoint("before recording")
	if err := r.record(ctx, t, v); err != nil {
		v = verdict{state: StatePending, err: err}
		if errors.Is(err, errTakenOver) { // whoever took it over, or had written it already, is right
			return v, nil
		}
		return v, err
	}
	failpoint("after recording")
	return v, nil
}

// take reads the change of a job. There is nothing to do if it is decided, was deleted, or has
// another job by now, and not yet if an earlier attempt can still be on its way.
func (r *runner) take(ctx context.Context, job *river.Job[jobArgs]) (*task, error) {
	began := time.Now()
	row, err := r.store.load(ctx, job.Args.Run, job.Args.Seq)
	if err != nil {
		r.trouble.report(ctx, err)
		return nil, err
	}
	if row == nil || row.state != StatePending || row.job != job.ID {
		return nil, nil
	}
	t := &task{runner: r, row: row, began: began, until: began.Add(r.timing.begin)}
	if row.base != nil {
		t.newest = row.base.LastModified
	}
	age, unsettled := row.unsettled()
	if unsettled && age < r.timing.quiet {
		return nil, r.putOff(ctx, t, verdict{state: StatePending, later: min(r.timing.quiet-age, r.timing.quiet)})
	}
	t.unsettled = unsettled
	return t, nil
}

// enter waits for the turn of a change if the credential was refused lately.
func (r *runner) enter(ctx context.Context, t *task) (leave func(), err error) {
	ctx, forget := t.untilLate(ctx, errNoTurn)
	defer forget()
	return r.refusals[t.row.change.api()].enter(ctx)
}

// putOff records when to look at a change again, and what is known of its attempts.
// The clock was set back if some of them lie in the future: then they count as made
// now.
func (r *runner) putOff(ctx context.Context, t *task, v verdict) error {
	tries := t.row.tries
	if v.failed {
		tries++
	}
	err := r.persist(ctx, func(ctx context.Context, tx *sql.Tx) error {
		held, err := tx.ExecContext(ctx, r.store.sql(`UPDATE fleet_change SET fence = $4, job = NULL, tries = $5, put_off = {now}, due = {now} + $6
			WHERE `+fenced+" AND outcome = 'pending'"), append(t.row.fencing(), tries, v.later.Microseconds())...)
		if err := oneRow(held, err); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, r.store.sql("UPDATE fleet_attempt SET started = {now} WHERE run = $1 AND seq = $2 AND started > {now}"),
			t.row.run, t.row.seq); err != nil {
			return err
		}
		failpoint("putting off")
		return writeAttempts(ctx, tx, r.store, t.row, t.attempts)
	})
	if errors.Is(err, errTakenOver) {
		return nil
	}
	return err
}

// record writes down the outcome of a change. River completes the job after it, by itself: if this
// fails, the job comes again and finds its change decided.
func (r *runner) record(ctx context.Context, t *task, v verdict) error {
	after, err := encode(withoutValue(v.after))
	if err != nil {
		return err
	}
	e := describe(v.err)
	err = r.persist(ctx, func(ctx context.Context, tx *sql.Tx) error {
		args := append(t.row.fencing(), v.state, after, e.text, e.kind, e.code, e.status)
		written, err := tx.ExecContext(ctx, r.store.sql(`UPDATE fleet_change SET fence = $4, outcome = $5, after = $6, error = $7, error_type = $8, code = $9,
			status = $10, started = coalesce(started, {now}), ended = {now} WHERE `+fenced+" AND outcome = 'pending'"), args...)
		if err := oneRow(written, err); err != nil {
			return err
		}
		failpoint("recording")
		return writeAttempts(ctx, tx, r.store, t.row, t.attempts)
	})
	if err != nil {
		return err
	}
	if reason := r.failures.observe(v.state, e.text); reason != "" {
		r.halt(ctx, reason)
	}
	return nil
}

// persist writes to the store, and tries for as long as a worker may take, or a few
// seconds once the run is stopping.
func (r *runner) persist(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	ctx, cancel := r.patient(ctx, recordTime)
	defer cancel()
	for {
		err := r.commits.write(ctx, do)
		if err == nil || errors.Is(err, errTakenOver) || errors.Is(err, errFileReplaced) || errors.Is(err, errPooled) {
			return err
		}
		r.trouble.report(ctx, err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// patient returns a context for a write to the store. It does not end with ctx, but
// after a time, or a few seconds after the run begins to stop.
func (r *runner) patient(ctx context.Context, limit time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	stop := context.AfterFunc(r.stopping, func() { time.AfterFunc(endTime, cancel) })
	return ctx, func() { stop(); cancel() }
}
