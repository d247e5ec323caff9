package main

import (
	"os/exec"
	"syscall"
)

// dieTogether has the kernel kill what cmd starts when the thread that starts it ends:
// at the latest with this process, also if that is killed.
func dieTogether(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
