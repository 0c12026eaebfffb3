package ratelimit

const maxPeers = 256

// company is how many programs seem to spend from the quota, this one included.
func (q *quota) company() float64 {
	return max(q.peers, min(maxPeers, q.seen()), 1)
}

// seen is how many programs the current window has shown, if all spend alike.
func (q *quota) seen() float64 {
	w := &q.window
	if q.phase != told || q.meaning != counting {
		return 1
	}
	others := w.start - w.number - (w.sent - w.before)
	return 1 + max(0, float64(others))/float64(max(w.answered, 1))
}

// learnPeers remembers for the windows to come who was seen in this one.
func (q *quota) learnPeers(s *state) {
	before := q.peers * 7 / 8
	if s.shared {
		before = 1 // those seen are programs of ours that went on alone for a while
	}
	q.peers = max(1, min(maxPeers, q.seen()), before)
	if q.window.shut {
		q.backoffFactor = min(maxBackoffFactor, 2*max(q.backoffFactor, 1))
	} else {
		q.backoffFactor = max(1, q.backoffFactor*7/8)
	}
}
