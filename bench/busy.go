package main

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// spin keeps one CPU busy and never enters the kernel. It is no goroutine: the Go scheduler
// preempts those every 10 ms, and threads that sleep now and then are no load.
const spin = "while :; do :; done"

// maxBusy bounds the busy loops.
const maxBusy = 256

// startBusy starts n busy loops, each a process at normal priority, and returns the
// function that ends them.
func startBusy(n int) (stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for _, s := range stops {
			errs = append(errs, s())
		}
		return errors.Join(errs...)
	}
	for range n {
		s, err := start(exec.Command("/bin/sh", "-c", spin))
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		stops = append(stops, s)
	}
	return stop, nil
}

// start starts c as a child that does not outlive this program, and returns the
// function that kills it.
func start(c *exec.Cmd) (stop func() error, err error) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		return nil, err
	}
	return func() error {
		if err := c.Process.Kill(); err != nil {
			return err
		}
		_ = c.Wait() // says that it was killed
		return nil
	}, nil
}
