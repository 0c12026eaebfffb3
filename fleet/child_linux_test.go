package fleet_test

import "syscall"

// endWithParent ends a process with its parent.
func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
