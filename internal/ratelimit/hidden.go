package ratelimit

import "time"

// hidden is a limit of which no header speaks. It shows itself by a 429 that no limit explains, after a number of good
// responses: that many are sent in each window from then on. It grows after windows that were used up without a 429.
type hidden struct {
	size     int           // what a window may hold; 0 if there is no sign of a limit
	length   time.Duration // of a window
	growth   int           // by how much size grows next
	grown    int           // by how much it grew last
	calm     int           // windows in a row that were used up without a 429
	refusals int           // windows in a row that a 429 ended
	measured bool          // whether the last of those has set size

	// The current window, which begins with an attempt; began is 0 until then.
	began, before instant // before is when the last one began
	sent, good    int
}

const (
	enoughGood  = 10 // fewer say too little of a limit
	calmWindows = 3
)

// admits returns whether the limit lets one more attempt go.
func (h *hidden) admits(inFlight int) verdict {
	if h.size == 0 || h.sent < h.size {
		return verdict{}
	}
	return verdict{reason: RateLimit, until: h.began + h.length, final: inFlight == 0}
}

func (h *hidden) admit(now instant) {
	if h.began == 0 {
		h.began = now
	}
	h.sent++
}

// observe counts a response that is no 429.
func (h *hidden) observe(a *attempt) {
	if h.began > 0 && a.admitted >= h.began {
		h.good++
	} else if h.refusals > 0 && h.measured && a.admitted >= h.before {
		h.size++ // the 429 overtook it
	}
}

// advance ends a window that is over, and reports whether it did.
func (h *hidden) advance(now instant) bool {
	if h.began == 0 || now < h.began+h.length {
		return false
	}
	h.refusals = 0
	if h.size > 0 && h.sent >= h.size {
		h.calm++
	}
	if h.calm == calmWindows {
		h.size, h.grown = min(h.size+h.growth, maxNumber), h.growth
		h.growth, h.calm = min(2*h.growth, maxNumber), 0
	}
	h.end()
	return true
}

// end ends the current window.
func (h *hidden) end() {
	if h.began > 0 {
		h.before, h.began, h.sent, h.good = h.began, 0, 0, 0
	}
}

// refuse ends the current window with a 429 that no other limit explains, and returns how long to wait.
func (h *hidden) refuse(retryAfter time.Duration, now instant) time.Duration {
	if h.began == 0 {
		return retryAfter // another one has ended it
	}
	began, wait := h.began, retryAfter
	if wait == 0 {
		wait = windowLength
	}
	if retryAfter == 0 && h.size > 0 {
		wait = h.began + h.length - now
	}
	if h.good < enoughGood {
		began = h.before // the window before was longer than it seemed
	} else if h.measured = h.size == 0 || h.refusals > 0; h.measured {
		h.size = h.good
	} else {
		h.size -= h.grown
	}
	h.growth, h.grown, h.calm = 1, 0, 0
	h.refusals++
	if h.size > 0 && began > 0 {
		h.length = min(windowLength, max(minimumLength, now-began+wait))
	}
	h.end()
	return wait
}
