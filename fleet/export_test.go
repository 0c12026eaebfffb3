package fleet

import "time"

// SetTimes shortens what a worker may take, for processes that are killed so
// often that nothing would ever be taken over, until restore is called.
func SetTimes(wait, record time.Duration) (restore func()) {
	waitBefore, recordBefore := waitTime, recordTime
	waitTime, recordTime = wait, record
	return func() { waitTime, recordTime = waitBefore, recordBefore }
}

// SetPauses shortens how long a change waits after a try that failed, and how long
// a read is repeated that is too old, until restore is called.
func SetPauses(pause, stale time.Duration) (restore func()) {
	pauseBefore, staleBefore := maxPause, staleTime
	maxPause, staleTime = pause, stale
	return func() { maxPause, staleTime = pauseBefore, staleBefore }
}

// SetFailpoint has do called at each failpoint, until restore is called.
func SetFailpoint(do func(name string)) (restore func()) {
	atFailpoint.Store(&do)
	return func() { atFailpoint.Store(nil) }
}

// SetWallClock replaces the clock that counts while a machine sleeps, until restore
// is called.
func SetWallClock(now func() time.Time) (restore func()) {
	before := wallClock
	wallClock = now
	return func() { wallClock = before }
}

// SQLiteSetting returns what a pragma is on the connection that writes.
func SQLiteSetting(s *Store, name string) (value string, err error) {
	err = s.db.QueryRow("PRAGMA " + name).Scan(&value)
	return value, err
}

// SetProgressInterval shortens how often the hook is told how far a run is, until restore is called.
func SetProgressInterval(interval time.Duration) (restore func()) {
	before := progressInterval
	progressInterval = interval
	return func() { progressInterval = before }
}
