//go:build !linux

package postgrestest

import "syscall"

func attributes(*account) *syscall.SysProcAttr { return nil }
