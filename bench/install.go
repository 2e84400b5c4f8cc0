package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
)

// installBird installs the Debian package bird2 if the machine has no BIRD. The installation does
// not start BIRD as a service.
func installBird(ctx context.Context) error {
	if _, err := exec.LookPath("bird"); err == nil {
		return nil
	}
	allow, err := forbidServices(policyFile)
	if err != nil {
		return fmt.Errorf("install bird2, which needs root: %w", err)
	}
	err = errors.Join(apt(ctx, "update", "-qq"), apt(ctx, "install", "-y", "-qq", "--no-install-recommends", "bird2"), allow())
	if err != nil {
		return fmt.Errorf("BIRD is missing, and installing it failed; install the package bird2 by hand, or run without the benchmark bird: %w", err)
	}
	return nil
}

// policyFile is the program that invoke-rc.d(8) asks whether an installation may start a service.
const policyFile = "/usr/sbin/policy-rc.d"

// forbidServices writes a policy to path that forbids every start of a service; allow removes the
// policy. A policy that the machine already has stays.
func forbidServices(path string) (allow func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString("#!/bin/sh\nexit 101\n") // the status for "forbidden by policy"
	return func() error { return os.Remove(path) }, errors.Join(err, f.Close())
}

// apt runs apt-get. Its error holds what apt-get printed.
func apt(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, "apt-get", args...)
	c.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, out)
	}
	return nil
}
