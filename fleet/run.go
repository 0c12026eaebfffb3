package fleet

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/tokenpatch/tokenpatch"
)

// Options say how a run is worked on. Client is all that must be set.
type Options struct {
	// Client configures the client that Run makes. The timeout of its HTTPClient,
	// or 30 s, is what an attempt may take. Its hooks are called as for any client.
	Client tokenpatch.Config

	// Hooks are called while the run is worked on.
	Hooks Hooks

	// Workers is how many changes are worked on at once, at most 1000. 0 means 32.
	Workers int

	// StopAfter is the share of changes that may fail, from 0 to less than 1. The
	// run stops by itself where more of those that this call has finished are not
	// applied or unknown, once 20 have finished. 0 never stops it.
	StopAfter float64

	// ServiceTime is how long a service may still apply a request after the client
	// has given it up. Run asks no sooner what became of such a request. 0 means
	// 30 s.
	ServiceTime time.Duration

	// Logger is told of trouble with the store, and of what River says. nil is
	// silent.
	Logger *slog.Logger
}

// Run works on a run until every change is decided, and returns nil then: what
// became of each of them is in [Store.Results], and nil does not mean that they
// were applied. Started again it goes on, and several processes may work on one
// run at once.
//
// When ctx ends, Run begins nothing new, waits for what was sent, as long as an
// attempt may take, and returns the context's error. It returns a [*StoppedError]
// where going on would do harm, an [*UnknownRunError] where there is no such run,
// and a [*tokenpatch.InputError] where o is wrong. It waits for a store that cannot
// be reached.
func (s *Store) Run(ctx context.Context, name string, o Options) error {
	r, err := s.newRunner(ctx, name, o)
	if err != nil {
		return err
	}
	for range s.committers {
		go r.commits.run()
	}
	defer close(r.commits.ended)
	err = r.work(ctx)
	r.tellLast(ctx)
	return failed("run", name, err)
}

// runner works on one run in one process.
type runner struct {
	store       *Store
	run         run
	client      *tokenpatch.Client
	credentials []string // that are known, of the client
	workers     int
	timing      timing
	hooks       Hooks
	log         *slog.Logger
	river       *river.Client[*sql.Tx]
	started     bool      // the river client
	beaten      time.Time // when the store was last told that this process lives
	told        time.Time // when the hook was last told how far the run is
	jobs        jobs
	commits     *commits
	stopping    stopping
	refusals    map[api]*refusals
	failures    failures
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
	found, err := s.find(ctx, name)
	if err != nil {
		return nil, failed("run", name, err)
	}
	client, err := tokenpatch.NewClient(withHooks(o.Client))
	if err != nil {
		return nil, err
	}
	r := &runner{
		store: s, run: found, client: client, workers: cmp.Or(o.Workers, 32), timing: newTiming(o), hooks: o.Hooks,
		credentials: credentialsOf(o.Client),
		log:         cmp.Or(o.Logger, slog.New(slog.DiscardHandler)),
		jobs:        jobs{active: make(map[int64]bool)},
		commits:     &commits{store: s, queue: make(chan write), ended: make(chan struct{})},
		stopping:    stopping{done: make(chan struct{})},
		refusals:    map[api]*refusals{v1: {turn: make(chan struct{}, 1)}, v2: {turn: make(chan struct{}, 1)}},
		failures:    failures{limit: o.StopAfter},
	}
	r.river, err = river.NewClient(s.driver, r.riverConfig())
	return r, err
}

// credentialsOf are the credentials that a client's settings have, not those
// that a function supplies.
func credentialsOf(c tokenpatch.Config) []string {
	return slices.DeleteFunc([]string{string(c.V1.APIKey), string(c.V2.AccessToken)}, func(s string) bool { return s == "" })
}

// work works on the run until it is over or has to stop, and waits for what was
// sent, also where a hook panics.
func (r *runner) work(ctx context.Context) (err error) {
	defer r.drain()
	defer func() { r.stopping.stop(err) }()
	return r.supervise(ctx)
}

// timing is how long things may take.
type timing struct {
	attempt time.Duration // one attempt
	send    time.Duration // from writing an attempt down to sending it
	begin   time.Duration // from taking a change to its last attempt's beginning
	lease   time.Duration // from taking a change to having recorded what became of it
	quiet   time.Duration // until nothing of an attempt can still be on its way
}

// recordTime is how long a worker may take to write down what became of a change.
var recordTime = 15 * time.Second

// waitTime is how long a worker may wait for the rate limit with one change.
var waitTime = 30 * time.Second

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

const maxJobAttempts = 10_000 // a job at its last attempt would be discarded, and had to be made again

func (r *runner) riverConfig() *river.Config {
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{runner: r})
	return &river.Config{
		Queues:               map[string]river.QueueConfig{r.run.queue(): {MaxWorkers: r.workers}},
		Workers:              workers,
		JobTimeout:           r.timing.lease,
		RescueStuckJobsAfter: r.timing.lease + 5*time.Second,
		RetryPolicy:          retryPolicy{},
		FetchCooldown:        5 * time.Millisecond,
		FetchPollInterval:    100 * time.Millisecond,
		PollOnly:             true,
		SoftStopTimeout:      r.timing.attempt + recordTime,
		Logger:               r.log,
	}
}

// retryPolicy says when a job is tried again whose worker died, or could not
// reach the store.
type retryPolicy struct{}

func (retryPolicy) NextRetry(*rivertype.JobRow) time.Time { return time.Now().Add(time.Second) }

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
		case errors.Is(err, errFileReplaced), errors.As(err, new(*StoppedError)), errors.As(err, new(*UnknownRunError)):
			return err
		case err != nil:
			r.log.WarnContext(ctx, "fleet: the store does not do as it is asked", "run", r.run.name, "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.stopping.done:
			return r.stopping.reason
		case <-ticker.C:
		}
	}
}

// lookAfter starts River where it is not running, sees to it that it has jobs,
// and reports whether every change is decided.
func (r *runner) lookAfter(ctx context.Context) (over bool, err error) {
	if err := errors.Join(r.store.intact(), r.beat(ctx)); err != nil {
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
	query := "SELECT EXISTS (SELECT 1 FROM fleet_change WHERE run = $1 AND outcome = 'pending')"
	if err := r.store.reads.QueryRowContext(ctx, r.store.sql(query), r.run.id).Scan(&pending); err != nil || !pending {
		return err == nil, err
	}
	if err := errors.Join(r.disown(ctx), r.feed(ctx)); err != nil {
		return false, err
	}
	if !r.started {
		// The context of a start would end the workers; Stop lets them finish.
		if err := r.river.Start(context.WithoutCancel(ctx)); err != nil {
			return false, err
		}
		r.started = true
	}
	return false, nil
}

// drain waits for the workers to finish what they have sent.
func (r *runner) drain() {
	if !r.started {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.timing.attempt+2*recordTime)
	defer cancel()
	if err := r.river.Stop(ctx); err != nil {
		r.log.Warn("fleet: workers did not end in time", "run", r.run.name, "error", err)
	}
	if err := r.endBeat(ctx); err != nil {
		r.log.Warn("fleet: other processes could not be told that this one has ended", "run", r.run.name, "error", err)
	}
}
