package fleet

import "time"

// SetTimes shortens what a worker may take, for processes that are killed so
// often that nothing would ever be taken over.
func SetTimes(wait, record time.Duration) { waitTime, recordTime = wait, record }
