package fleet

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tokenpatch/tokenpatch"
)

// Why an attempt was not sent, although its call was ready to send it.
var (
	errTakenOver = errors.New("another worker has taken the change over")
	errLate      = errors.New("the worker was held up for too long between writing the attempt down and sending it")
	errDraining  = errors.New("the run is stopping")
)

// sending is one call of the client with a possible effect. Each of its attempts is recorded before
// it is sent, and is not sent if this fails.
type sending struct {
	runner    *runner
	row       *row
	before    sql.NullString // the token before the first attempt with a possible effect; NULL leaves the stored one
	base      sql.NullString // the token as it was read, if it is another one
	sent      sql.NullString // the patch
	overtaken bool           // as of the task: no attempt of an earlier worker can be applied any more
	earlier   []attempt      // of the same worker, in calls before
	until     time.Time      // when the last attempt may begin
	cancel    context.CancelCauseFunc
	last      int64     // number of the latest attempt
	attempts  []attempt // of this call

	mu       sync.Mutex
	inFlight bool
	refused  error // why no other attempt may begin; nil if one may
}

// sendingKey is the key of a call's sending in its context: the client's hooks are the same for all
// calls.
type sendingKey struct{}

// withHooks returns config with hooks that record attempts, besides its own.
func withHooks(config tokenpatch.Config) tokenpatch.Config {
	start, end := config.Hooks.AttemptStart, config.Hooks.AttemptEnd
	config.Hooks.AttemptStart = func(ctx context.Context, info *tokenpatch.AttemptInfo) context.Context {
		if start != nil {
			ctx = cmp.Or(start(ctx, info), ctx)
		}
		if s, ok := ctx.Value(sendingKey{}).(*sending); ok {
			return s.start(ctx)
		}
		return ctx
	}
	config.Hooks.AttemptEnd = func(ctx context.Context, info tokenpatch.AttemptResult) {
		if s, ok := ctx.Value(sendingKey{}).(*sending); ok {
			s.end(info)
		}
		if end != nil {
			end(ctx, info)
		}
	}
	return config
}

// call calls the client, with a context that ends if no other attempt may begin and none is in
// flight.
func (s *sending) call(ctx context.Context, call func(context.Context) error) error {
	ctx, s.cancel = context.WithCancelCause(context.WithValue(ctx, sendingKey{}, s))
	defer s.cancel(nil)
	late := time.AfterFunc(time.Until(s.until), func() { s.refuse(errNoTime) })
	defer late.Stop()
	defer context.AfterFunc(s.runner.stopping, func() { s.refuse(errDraining) })()
	return call(ctx)
}

// refuse lets no other attempt of the call begin, and ends the call unless one is
// in flight.
func (s *sending) refuse(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused == nil {
		s.refused = why
	}
	if !s.inFlight {
		s.cancel(s.refused)
	}
}

// whyRefused is why no other attempt may begin.
func (s *sending) whyRefused() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// start is called right before an attempt is sent. If it must not be sent, the returned context is
// done.
func (s *sending) start(ctx context.Context) context.Context {
	err := s.whyRefused()
	if err == nil {
		err = s.begin(ctx)
	}
	if err != nil {
		s.refuse(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused != nil {
		if n := len(s.attempts); n > 0 && err == nil {
			s.attempts[n-1].unsent = true // it was refused while it was written down
		}
		ctx, cancel := context.WithCancelCause(ctx)
		cancel(s.refused)
		return ctx
	}
	s.inFlight = true
	return ctx
}

// wallClock is a clock that counts during a machine's sleep.
var wallClock = func() time.Time { return time.Now().Round(0) }

// begin writes an attempt down, and looks at the clocks: the monotonic one, which
// counts while a process is stopped, and the other one, which counts while a
// machine sleeps.
func (s *sending) begin(ctx context.Context) error {
	began, wall := time.Now(), wallClock()
	if began.After(s.until) {
		return errNoTime
	}
	s.last++
	// A call refused meanwhile learns what was recorded, and records that nothing was sent.
	ctx, cancel := s.runner.patient(ctx, time.Until(s.until))
	defer cancel()
	if err := s.runner.commits.write(ctx, s.asOfNow().write); err != nil {
		s.attempts = append(s.attempts, attempt{number: s.last, unsent: true})
		return err
	}
	failpoint("before sending")
	s.attempts = append(s.attempts, attempt{number: s.last})
	if limit := s.runner.timing.send; time.Since(began) > limit || wallClock().Sub(wall) > limit {
		s.attempts[len(s.attempts)-1].unsent = true
		return errLate
	}
	return nil
}

// asOfNow is a copy for write, which may run when the call has given up waiting for it.
func (s *sending) asOfNow() *sending {
	return &sending{
		runner: s.runner, row: s.row, before: s.before, base: s.base, sent: s.sent, overtaken: s.overtaken,
		earlier: s.earlier, last: s.last, attempts: slices.Clone(s.attempts),
	}
}

// write is what is written before an attempt is sent. Whoever has read an older
// fence can write nothing after it.
func (s *sending) write(ctx context.Context, tx *sql.Tx) error {
	store := s.runner.store
	result, err := tx.ExecContext(ctx, store.sql(`UPDATE fleet_change SET fence = $4, before = coalesce($5, before), base = $6, sent = $7,
		started = coalesce(started, {now}) WHERE `+fenced+` AND outcome = 'pending'`), append(s.row.fencing(), s.before, s.base, s.sent)...)
	if err := oneRow(result, err); err != nil {
		return err
	}
	if s.overtaken {
		_, err := tx.ExecContext(ctx, store.sql(`UPDATE fleet_attempt SET outcome = 'overtaken'
			WHERE run = $1 AND seq = $2 AND number < $3 AND outcome NOT IN ('applied', 'not_applied')`), s.row.run, s.row.seq, s.first())
		if err != nil {
			return err
		}
	}
	if err := writeAttempts(ctx, tx, store, s.row, slices.Concat(s.earlier, s.attempts)); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, store.sql("INSERT INTO fleet_attempt (run, seq, number, started) VALUES ($1, $2, $3, {now})"), s.row.run, s.row.seq, s.last)
	failpoint("writing down")
	return err
}

// first is the number of the call's first attempt, while one more is written.
func (s *sending) first() int64 { return s.last - int64(len(s.attempts)) }

// end is called when an attempt has ended.
func (s *sending) end(info tokenpatch.AttemptResult) {
	failpoint("after sending")
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.inFlight {
		return // an attempt not to be sent
	}
	s.inFlight = false
	a := &s.attempts[len(s.attempts)-1]
	a.outcome, a.status = stateOf(info.Outcome), info.Status
	if s.refused != nil {
		s.cancel(s.refused)
	}
}

// oneRow is errTakenOver if a statement changed nothing.
func oneRow(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = errTakenOver
	}
	return err
}

func stateOf(o tokenpatch.Outcome) State {
	switch o {
	case tokenpatch.OutcomeApplied:
		return StateApplied
	case tokenpatch.OutcomeNotApplied:
		return StateNotApplied
	default:
		return StateUnknown
	}
}
