package ratelimit

import "time"

// hidden is a limit of which no header speaks. It shows itself by a 429 that no limit explains, after a number of good
// responses: that many are sent in each window from then on. It grows after windows that were used up without a 429.
type hidden struct {
	size     int           // what a window may hold; 0 if there is no sign of a limit
	length   time.Duration // of a window
	calm     int           // windows in a row that were used up without a 429
	growth   int           // by how much size grows next
	grown    int           // by how much it grew last
	refused  bool          // whether a 429 ended the last window
	measured bool          // whether that has set size

	began      instant // when the current window did, with an attempt; 0 until then
	sent, good int
}

const (
	enoughGood  = 10 // fewer say too little of a limit
	calmWindows = 3
)

// admits returns whether the limit lets one more attempt go.
func (h *hidden) admits(inFlight int) verdict {
	if h.size == 0 || h.began == 0 || h.sent < h.size {
		return verdict{}
	}
	return verdict{reason: RateLimit, until: h.began + h.length, final: inFlight == 0}
}

func (h *hidden) admit(now instant) {
	if h.began == 0 {
		h.began, h.sent, h.good, h.measured = now, 0, 0, false
	}
	h.sent++
}

// observe counts a response that is no 429.
func (h *hidden) observe() {
	h.good++
	if h.measured {
		h.size++ // the 429 overtook it
	}
}

// advance ends a window that is over, and reports whether it did.
func (h *hidden) advance(now instant) bool {
	if h.began == 0 || now < h.began+h.length {
		return false
	}
	if h.size > 0 && h.sent >= h.size {
		h.calm++
	}
	if h.calm == calmWindows {
		h.size, h.grown, h.growth, h.calm = min(h.size+h.growth, maxNumber), h.growth, min(2*h.growth, maxNumber), 0
	}
	h.began, h.refused = 0, false
	return true
}

// refuse ends the current window with a 429 that no other limit explains, and returns how long to wait.
func (h *hidden) refuse(retryAfter time.Duration, now instant) time.Duration {
	if h.began == 0 {
		return retryAfter // another one has ended it
	}
	wait := retryAfter
	if wait == 0 && h.size > 0 {
		wait = h.began + h.length - now
	} else if wait == 0 {
		wait = windowLength
	}
	if h.good >= enoughGood {
		h.measured = h.size == 0 || h.refused
		h.size -= h.grown
		if h.measured {
			h.size = h.good
		}
		h.growth, h.grown, h.calm, h.refused = 1, 0, 0, true
		h.length = min(windowLength, max(minimumLength, now-h.began+wait))
	}
	h.began = 0
	return wait
}
