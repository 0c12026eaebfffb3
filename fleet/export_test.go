package fleet

import (
	"strconv"
	"strings"
	"time"
)

// SetTimes shortens the time of a worker until restore is called, for processes that are killed so
// often that nothing would ever be taken over.
func SetTimes(wait, record time.Duration) (restore func()) {
	waitBefore, recordBefore := waitTime, recordTime
	waitTime, recordTime = wait, record
	return func() { waitTime, recordTime = waitBefore, recordBefore }
}

// SetPauses shortens the wait after a failed try, and the repetition of an old read, until restore
// is called.
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

// SetWallClock replaces the clock that counts during a machine's sleep, until restore is called.
func SetWallClock(now func() time.Time) (restore func()) {
	before := wallClock
	wallClock = now
	return func() { wallClock = before }
}

// SQLiteSetting returns a pragma of the writing connection.
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

// SetStoreClock gives an unused store another clock than its database's.
func SetStoreClock(s *Store, now func() time.Time) { s.dialect = clocked{s.dialect, now} }

type clocked struct {
	dialect
	now func() time.Time
}

// Replace has River's jobs made at the beginning of time: they are by the database's clock.
func (c clocked) Replace(statement string) string {
	now := strconv.FormatInt(c.now().UnixMicro(), 10)
	return c.dialect.Replace(strings.NewReplacer("{now}", now, "{made}", "0").Replace(statement))
}
