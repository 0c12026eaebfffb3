package fleet

import "time"

// SetTimes shortens what a worker may take, for processes that are killed so
// often that nothing would ever be taken over.
func SetTimes(wait, record time.Duration) { waitTime, recordTime = wait, record }

// SetFailpoint has a function called at the moments at which a process can be killed.
func SetFailpoint(f func(name string)) { failpoint = f }

// SetProgressInterval shortens how often the hook is told how far a run is, until restore is called.
func SetProgressInterval(interval time.Duration) (restore func()) {
	before := progressInterval
	progressInterval = interval
	return func() { progressInterval = before }
}
