//go:build !unix

package fleet_test

import (
	"testing"
	"time"
)

// cpuTime is not known.
func cpuTime(*testing.T) time.Duration { return 0 }
