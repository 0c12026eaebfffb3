package ratelimit

import "time"

// rules is what a state is used by, and not part of what is stored.
type rules struct {
	maxWait time.Duration  // the longest wait that a server may declare
	share   float64        // the part of what remains that may be taken
	shared  bool           // whether programs share it
	random  func() float64 // in [0, 1)
}

// portion is how much of what is left may be taken, where so many were taken.
func (r *rules) portion(taken, left int) int {
	if r.share >= 1 {
		return left
	}
	return min(left, int(r.share*float64(taken+left))-taken)
}

// jitter is a random time of up to a wait divided by parts, so that programs that
// wait for the same moment do not all start on it.
func (r *rules) jitter(wait time.Duration, parts int64) time.Duration {
	spread := min(max(int64(wait)/parts, int64(time.Millisecond)), int64(5*time.Second))
	return time.Duration(r.random() * float64(spread))
}
