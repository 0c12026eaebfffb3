package fleet_test

import "syscall"

// endWithParent lets a process end with the one that starts it.
func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
