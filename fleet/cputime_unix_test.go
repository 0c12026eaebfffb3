//go:build unix

package fleet_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func cpuTime(t *testing.T) time.Duration {
	var usage syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
