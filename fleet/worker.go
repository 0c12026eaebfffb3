package fleet

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/riverqueue/river"
)

// worker works on one change at a time, as River hands them out.
type worker struct {
	river.WorkerDefaults[jobArgs]
	runner *runner
}

// Work decides what becomes of a change, or when to look at it again. It returns
// nil where the change is decided, and that is written down.
func (w *worker) Work(ctx context.Context, job *river.Job[jobArgs]) error {
	r := w.runner
	defer r.jobs.begin(job.ID)()
	t, err := r.take(ctx, job)
	if t == nil || err != nil {
		return err
	}
	ctx = t.startChange(ctx)
	v := verdict{state: StatePending, err: errPanic}
	defer func() { t.endChange(ctx, v) }()
	v, err = r.try(ctx, t)
	return err
}

// try decides what becomes of a change, and returns what of that is written down.
func (r *runner) try(ctx context.Context, t *task) (verdict, error) {
	leave, err := r.enter(ctx, t)
	if err != nil {
		return verdict{state: StatePending, err: err}, river.JobSnooze(0)
	}
	v := func() verdict {
		defer leave() // a panic must not keep the turn
		return t.decide(ctx)
	}()
	if v.state == StatePending {
		return v, r.postpone(ctx, t, v)
	}
	err = r.record(ctx, t, v)
	switch {
	case err == nil:
		return v, nil
	case errors.Is(err, errTakenOver): // whoever took it over, or had written it already, is right
		return verdict{state: StatePending, err: err}, river.JobSnooze(time.Second)
	default:
		return verdict{state: StatePending, err: err}, err
	}
}

// take reads the change that a job is for. There is nothing to do where it is
// decided, was deleted, or has another job by now.
func (r *runner) take(ctx context.Context, job *river.Job[jobArgs]) (*task, error) {
	began := time.Now()
	row, err := r.store.load(ctx, job.Args.Run, job.Args.Seq)
	if err != nil || row == nil || row.state != StatePending || row.job != job.ID {
		return nil, err
	}
	age, unsettled := row.unsettled()
	if left := r.timing.quiet - age; unsettled && left > 0 {
		return nil, river.JobSnooze(left)
	}
	return &task{runner: r, row: row, unsettled: unsettled, began: began, until: began.Add(r.timing.begin)}, nil
}

// enter waits for the turn of a change where the credential was refused lately.
func (r *runner) enter(ctx context.Context, t *task) (leave func(), err error) {
	ctx, forget := t.untilLate(ctx, errNoTurn)
	defer forget()
	return r.refusals[t.row.change.api()].enter(ctx)
}

// postpone writes down what is known of a change's attempts, and has River look
// at it again later.
func (r *runner) postpone(ctx context.Context, t *task, v verdict) error {
	if len(t.attempts) > 0 {
		err := r.persist(ctx, func(ctx context.Context, tx *sql.Tx) error {
			held, err := tx.ExecContext(ctx, r.store.sql("UPDATE fleet_change SET fence = $4 WHERE "+fenced), t.row.fencing()...)
			if err := oneRow(held, err); err != nil {
				return err
			}
			return writeAttempts(ctx, tx, r.store, t.row, t.attempts)
		})
		if err != nil && !errors.Is(err, errTakenOver) {
			return err
		}
	}
	return river.JobSnooze(v.later)
}

// record writes down what became of a change. River completes the job after it,
// by itself: where that fails the job comes again, and finds its change decided.
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

// persist writes to the store, and tries for as long as a worker may take.
func (r *runner) persist(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	ctx = context.WithoutCancel(ctx)
	for end := time.Now().Add(recordTime); ; time.Sleep(100 * time.Millisecond) {
		err := r.commits.write(func(tx *sql.Tx) error { return do(ctx, tx) })
		if err == nil || errors.Is(err, errTakenOver) || errors.Is(err, errFileReplaced) || errors.Is(err, errEnded) || time.Now().After(end) {
			return err
		}
		r.log.WarnContext(ctx, "fleet: what became of a change could not be written down yet", "run", r.run.name, "error", err)
	}
}
