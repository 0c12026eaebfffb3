package ratelimit

// WakeUps is how often the timer has looked at those who wait.
func (l *Limiter) WakeUps() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wakeUps
}
