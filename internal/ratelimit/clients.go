package ratelimit

// maxClients is how many clients a quota can seem to have: more of them make no
// difference, and numbers that a server makes up could grow without bound.
const maxClients = 256

// activeClients is how many clients seem to spend from the quota, this one included.
func (q *quota) activeClients() float64 {
	return max(q.clients, min(maxClients, q.clientsSeen()), 1)
}

// clientsSeen is how many clients the current window has shown, if all of them
// spend alike: what remains has fallen by more than this one has sent.
func (q *quota) clientsSeen() float64 {
	w := &q.window
	if q.phase != reported || q.meaning != counting {
		return 1
	}
	others := w.start - w.number - (w.sent - w.before)
	return 1 + max(0, float64(others))/float64(max(w.responses, 1))
}

// rememberClients remembers for the windows to come how many clients this one
// has shown.
func (q *quota) rememberClients(s *state) {
	before := q.clients * 7 / 8
	if s.shared {
		before = 1 // those seen are programs of ours that went on alone for a while
	}
	q.clients = max(1, min(maxClients, q.clientsSeen()), before)
	if q.window.shut {
		q.backoffFactor = min(maxBackoffFactor, 2*max(q.backoffFactor, 1))
	} else {
		q.backoffFactor = max(1, q.backoffFactor*7/8)
	}
}
