package ratelimit

// WakeUps returns how often the timer has fired.
func (l *Limiter) WakeUps() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wakeUps
}
