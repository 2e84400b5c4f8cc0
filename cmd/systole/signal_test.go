package main

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// What only computes ends by a signal as any program does, also while it waits for input.
func TestSignalsEnd(t *testing.T) {
	for _, args := range [][]string{{"sim", "--seeds", "1000000000000"}, {"replay", "-"}, {"sim", "-"}} {
		cmd := exec.Command(binary, args...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		// The first may come before the program minds signals at all.
		again := time.NewTicker(100 * time.Millisecond)
		for tries := 0; ; tries++ {
			select {
			case <-ended:
			case <-again.C:
				if cmd.Process.Signal(syscall.SIGINT); tries < int(awaitTime/(100*time.Millisecond)) {
					continue
				}
				t.Errorf("%v does not end", args)
				cmd.Process.Kill()
				<-ended
			}
			break
		}
		again.Stop()
		in.Close()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGINT {
			t.Errorf("%v: ended with %v", args, cmd.ProcessState)
		}
	}
}
