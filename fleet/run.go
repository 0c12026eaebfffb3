package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"golang.org/x/sync/semaphore"

	"github.com/tokenpatch/tokenpatch"
)

// Options are the settings of [Store.Run]. Only Client must be set.
type Options struct {
	// Client configures the client of Run. The timeout of its HTTPClient, or 30 s, bounds an
	// attempt. Its hooks are called as for any client.
	Client tokenpatch.Config

	// Hooks are called while the run is worked on.
	Hooks Hooks

	// Workers is how many changes are worked on at once, at most 1000. 0 means 32.
	Workers int

	// StopAfter is the share of changes that may fail, from 0 to less than 1. The run stops by
	// itself if more of the changes finished by this call are not applied or unknown, once 20 have
	// finished. 0 never stops it.
	StopAfter float64

	// ServiceTime is how long a service may still apply a request after the client
	// has given it up. Run asks no sooner whether such a request was applied. 0 means
	// 30 s.
	ServiceTime time.Duration

	// Logger gets failures of the store, one line a minute at most. nil is silent.
	Logger *slog.Logger
}

// Run works on a run until every change is decided. It then returns nil, even if some were not
// applied: [Store.Results] has each outcome. Call it again to resume; several processes may work on
// one run at once.
//
// When ctx ends, Run begins nothing new, waits for requests in flight, as long as an attempt may
// take and a few seconds more, and returns the context's error. It returns a [*StoppedError] if
// continuing would do harm, an [*UnknownRunError] if there is no such run, a [*RolesError] for
// unclear custom roles, and a [*tokenpatch.InputError] if o is wrong. It waits for an unreachable
// store.
func (s *Store) Run(ctx context.Context, name string, o Options) error {
	r, err := s.newRunner(ctx, name, o)
	if err != nil {
		return err
	}
	err = r.work(ctx)
	r.tellLast(ctx)
	return failed("run", name, err)
}

// runner works on one run in one process.
type runner struct {
	store       *Store
	run         run
	client      *tokenpatch.Client
	book        *book
	credentials []string // known ones, of the client
	workers     int
	timing      timing
	hooks       Hooks
	log         *slog.Logger
	trouble     *trouble
	river       *river.Client[*sql.Tx]
	started     bool      // the river client
	beaten      time.Time // the last sign of life
	told        time.Time // when the hook was last called with the progress
	checked     time.Time // when the log was last moved to the database file
	jobs        jobs
	room        *semaphore.Weighted // for the bytes of changes
	commits     *commits
	stopping    context.Context // done when nothing more may begin
	stop        context.CancelCauseFunc
	refusals    map[api]*refusals
	failures    failures

	cannotTestVersion atomic.Bool // the service has refused a true test of lastModified
}

func (s *Store) newRunner(ctx context.Context, name string, o Options) (*runner, error) {
	switch {
	case o.Workers < 0 || o.Workers > 1000:
		return nil, &tokenpatch.InputError{Field: "Options.Workers", Value: strconv.Itoa(o.Workers), Want: "0 to 1000"}
	case o.StopAfter < 0 || o.StopAfter >= 1:
		return nil, &tokenpatch.InputError{Field: "Options.StopAfter", Value: fmt.Sprint(o.StopAfter), Want: "0 or more, and less than 1"}
	case o.ServiceTime < 0:
		return nil, &tokenpatch.InputError{Field: "Options.ServiceTime", Value: o.ServiceTime.String(), Want: "0 or more"}
	}
	if s.db == nil {
		return nil, failed("run", name, errReadOnly)
	}
	found, err := s.find(ctx, name)
	if err != nil {
		return nil, failed("run", name, err)
	}
	client, err := tokenpatch.NewClient(withHooks(o.Client))
	if err != nil {
		return nil, err
	}
	log := cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	r := &runner{
		store: s, run: found, client: client, workers: cmp.Or(o.Workers, 32), timing: newTiming(o), hooks: o.Hooks,
		credentials: credentialsOf(o.Client),
		log:         log,
		trouble:     &trouble{log: log, run: name},
		jobs:        jobs{active: make(map[int64]bool)},
		room:        semaphore.NewWeighted(maxBytes),
		commits:     &commits{store: s, queue: make(chan write)},
		refusals:    map[api]*refusals{v1: {turn: make(chan struct{}, 1)}, v2: {turn: make(chan struct{}, 1)}},
		failures:    failures{limit: o.StopAfter},
	}
	r.stopping, r.stop = context.WithCancelCause(context.Background())
	r.river, err = river.NewClient(s.driver, r.riverConfig())
	return r, err
}

// credentialsOf returns the credentials in a client's settings, without those of functions.
func credentialsOf(c tokenpatch.Config) []string {
	return slices.DeleteFunc([]string{string(c.V1.APIKey), string(c.V2.AccessToken)}, func(s string) bool { return s == "" })
}

// work works on the run until it is over or has to stop, and waits for what was
// sent, also if a hook panics.
func (r *runner) work(ctx context.Context) (err error) {
	defer r.commits.start()()
	defer func() {
		r.stop(err)
		r.drain(ctx)
	}()
	if err := r.resolveRoles(ctx); err != nil {
		return err
	}
	return r.supervise(ctx)
}

// timing is how long things may take.
type timing struct {
	attempt time.Duration // one attempt
	send    time.Duration // from writing an attempt down to sending it
	begin   time.Duration // from taking a change to its last attempt's beginning
	lease   time.Duration // from taking a change to having recorded its outcome
	quiet   time.Duration // until nothing of an attempt can still be on its way
}

// recordTime is how long a worker may take to write down the outcome of a change.
var recordTime = 15 * time.Second

// endTime is how long the end of a run waits for the store, once what was sent has
// its outcome.
const endTime = 3 * time.Second

// waitTime is how long a worker may wait for the rate limit with one change. What it has read
// by then is read again, so it is longer than many workers wait for each other.
var waitTime = time.Minute

func newTiming(o Options) timing {
	t := timing{attempt: 30 * time.Second}
	if o.Client.HTTPClient != nil && o.Client.HTTPClient.Timeout > 0 {
		t.attempt = o.Client.HTTPClient.Timeout
	}
	t.send = min(t.attempt, 5*time.Second)
	t.begin = waitTime
	t.lease = t.begin + t.attempt + recordTime
	t.quiet = t.send + t.attempt + cmp.Or(o.ServiceTime, 30*time.Second)
	return t
}

// riverConfig has River do no more than hand out jobs, each once. What its clients
// do by their own clocks, such as rescuing jobs, must not happen in the life of a
// run: the clocks of two machines may differ.
func (r *runner) riverConfig() *river.Config {
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{runner: r})
	return &river.Config{
		ID:                   rand.Text(), // River's own is a host name and a time, which two processes may have in common
		Queues:               map[string]river.QueueConfig{r.run.queue(): {MaxWorkers: r.workers}},
		Workers:              workers,
		JobTimeout:           r.timing.lease,
		RescueStuckJobsAfter: 30 * 24 * time.Hour,
		FetchCooldown:        5 * time.Millisecond,
		FetchPollInterval:    100 * time.Millisecond,
		PollOnly:             true,
		SoftStopTimeout:      r.timing.attempt + endTime,
		Logger:               slog.New(slog.DiscardHandler), // several lines a second while the store is away
	}
}

const interval = 200 * time.Millisecond // of looking after a run

// supervise looks after a run until it is over or has to stop.
func (r *runner) supervise(ctx context.Context) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		over, err := r.lookAfter(ctx)
		switch {
		case over:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errFileReplaced), errors.Is(err, errPooled), errors.As(err, new(*StoppedError)), errors.As(err, new(*UnknownRunError)):
			return err
		case err != nil:
			r.trouble.report(ctx, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.stopping.Done():
			return context.Cause(r.stopping)
		case <-ticker.C:
		}
	}
}

// lookAfter makes sure River is running and has jobs, and reports whether every change is decided.
func (r *runner) lookAfter(ctx context.Context) (over bool, err error) {
	if err := r.beat(ctx); err != nil {
		return false, err
	}
	now, err := r.store.find(ctx, r.run.name)
	switch {
	case err != nil:
		return false, err
	case now.id != r.run.id:
		return false, &UnknownRunError{r.run.name} // deleted, and made again
	case now.stops != r.run.stops:
		return false, &StoppedError{Run: r.run.name, Reason: now.reason}
	}
	if err := r.tellProgress(ctx); err != nil {
		return false, err
	}
	var pending bool
	err = r.store.one(ctx, "SELECT EXISTS (SELECT 1 FROM fleet_change WHERE run = $1 AND outcome = 'pending')", []any{r.run.id}, &pending)
	if err != nil || !pending {
		return err == nil, err
	}
	if err := errors.Join(r.checkpoint(ctx), r.disown(ctx), r.feed(ctx)); err != nil {
		return false, err
	}
	return false, r.start(ctx)
}

// start starts River, unless it is running. It gives up if the store does not
// respond; afterwards the end of ctx must not end River, since its Stop lets the
// workers finish.
func (r *runner) start(ctx context.Context) error {
	if r.started {
		return nil
	}
	starting, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	limit := time.AfterFunc(storeTimeout, func() { cancel(errNoResponse) })
	defer limit.Stop()
	defer context.AfterFunc(ctx, func() { cancel(ctx.Err()) })()
	if err := r.river.Start(starting); err != nil {
		cancel(nil)
		return orCause(starting, err)
	}
	r.started = true
	return nil
}

// checkpoint has commits moved to the database file, once a second, for whoever moves the file
// without the log beside it.
func (r *runner) checkpoint(ctx context.Context) error {
	if time.Since(r.checked) < time.Second {
		return nil
	}
	r.checked = time.Now()
	return r.store.checkpoint(ctx)
}

// drain waits for the workers to finish what they have sent, and then a few
// seconds at most for the store.
func (r *runner) drain(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	if r.started {
		stopping, cancel := context.WithTimeout(ctx, r.timing.attempt+2*endTime)
		go r.jobs.whenIdle(stopping, func() { time.AfterFunc(endTime/2, cancel) })
		if err := r.river.Stop(stopping); errors.Is(err, context.DeadlineExceeded) {
			r.log.Warn("fleet: workers did not end in time", "run", r.run.name, "error", err)
		}
		cancel()
	}
	ctx, cancel := context.WithTimeout(ctx, endTime/2)
	defer cancel()
	if err := r.endBeat(ctx); err != nil {
		r.log.Warn("fleet: other processes were not told that this one has ended", "run", r.run.name, "error", err)
	}
}
