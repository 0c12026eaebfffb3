package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tokenpatch/tokenpatch"
)

// Calls that wait for their turn are behind one that waits for something else: that is shown, however many they are.
func TestATurnIsBehindAnotherWait(t *testing.T) {
	traffic := newTraffic()
	traffic.calls = 21
	for range 20 {
		traffic.waits[new(waiting)] = tokenpatch.WaitInfo{Reason: tokenpatch.WaitTurn}
	}
	assert.Empty(t, traffic.waitsFor(time.Now()), "nothing else is waited for")
	traffic.waits[new(waiting)] = tokenpatch.WaitInfo{Reason: tokenpatch.WaitProbe}
	assert.Contains(t, traffic.waitsFor(time.Now()), "a response with the rate limit")
}
