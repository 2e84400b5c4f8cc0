package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
)

// needBird installs the Debian package bird2 if the machine has no BIRD, without
// starting it as a service.
func needBird(ctx context.Context) error {
	if _, err := exec.LookPath("bird"); err == nil {
		return nil
	}
	undo, err := forbidServices()
	if err != nil {
		return fmt.Errorf("install bird2, which needs root: %w", err)
	}
	err = errors.Join(apt(ctx, "update", "-qq"), apt(ctx, "install", "-y", "-qq", "--no-install-recommends", "bird2"), undo())
	if err != nil {
		return fmt.Errorf("BIRD is missing, and installing it failed; install the package bird2 by hand, or run without the benchmark bird: %w", err)
	}
	return nil
}

// policyFile decides whether a package's installation may start its services: never,
// when it ends with status 101 (invoke-rc.d(8), policy-rc.d).
const policyFile = "/usr/sbin/policy-rc.d"

// forbidServices forbids it until undo is called. A policy that is there already stays.
func forbidServices() (undo func() error, err error) {
	f, err := os.OpenFile(policyFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString("#!/bin/sh\nexit 101\n")
	return func() error { return os.Remove(policyFile) }, errors.Join(err, f.Close())
}

// apt runs apt-get and returns what it complained of.
func apt(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, "apt-get", args...)
	c.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, out)
	}
	return nil
}
