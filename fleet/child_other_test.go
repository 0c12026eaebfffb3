//go:build !linux

package fleet_test

import "syscall"

func endWithParent() *syscall.SysProcAttr { return nil }
