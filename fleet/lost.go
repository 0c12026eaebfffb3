package fleet

import (
	"context"
	"sync"
	"time"
)

// jobs are the current jobs of this process's workers.
type jobs struct {
	mu     sync.Mutex
	active map[int64]bool
	idle   map[int64]bool // those without a worker at the last look, although River considers them running
	looked time.Time      // time of the last look
}

// begin records that a worker has taken a job. Call end when it is done.
func (j *jobs) begin(id int64) (end func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.active[id] = true
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.active, id)
	}
}

// lost returns the running jobs without a worker at two looks: at one, a worker may just be taking
// its job.
func (j *jobs) lost(running []int64) (lost []int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	idle := make(map[int64]bool)
	for _, id := range running {
		if j.active[id] {
			continue
		}
		idle[id] = true
		if j.idle[id] {
			lost = append(lost, id)
		}
	}
	j.idle = idle
	return lost
}

// whenIdle calls do once no worker has a job, unless ctx ends before.
func (j *jobs) whenIdle(ctx context.Context, do func()) {
	for {
		j.mu.Lock()
		busy := len(j.active)
		j.mu.Unlock()
		if busy == 0 {
			do()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// disown gives up jobs of this process that River considers running although no worker has them.
// River loses a job's end if the store is away for some seconds.
func (r *runner) disown(ctx context.Context) error {
	if time.Since(r.jobs.looked) < deadAfter {
		return nil
	}
	r.jobs.looked = time.Now()
	running, err := column[int64](ctx, r.store, r.store.reads, `SELECT j.id FROM fleet_change c JOIN river_job j ON j.id = c.job
		WHERE c.run = $1 AND c.outcome = 'pending' AND j.state = 'running' AND {worker} = $2`, r.run.id, r.river.ID())
	if err != nil {
		return err
	}
	for _, id := range r.jobs.lost(running) {
		err := r.store.exec(ctx, "disown", "UPDATE fleet_change SET job = NULL WHERE run = $1 AND job = $2 AND outcome = 'pending'", r.run.id, id)
		if err != nil {
			return err
		}
	}
	return nil
}
