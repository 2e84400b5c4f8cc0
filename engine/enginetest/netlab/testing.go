//go:build linux

package netlab

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Test returns a lab that is closed with the test. Without the privilege to make one the
// test is skipped as Require does.
func Test(t testing.TB) *Lab {
	t.Helper()
	l, err := New()
	Require(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// Require fails the test for any err but nil. Where err is ErrPrivilege it skips the test
// instead, except where SYSTOLE_CI is set: there a lab must be had.
func Require(t testing.TB, err error) {
	t.Helper()
	switch {
	case errors.Is(err, ErrPrivilege) && os.Getenv("SYSTOLE_CI") == "":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
}

// InNamespace runs f on a thread in a network namespace of its own, whose loopback is up.
// Without the privilege to make one the test is skipped as Require does. f must not call
// t.FailNow.
func InNamespace(t testing.TB, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread and its namespace end with f
		if unix.Unshare(unix.CLONE_NEWNET) != nil {
			done <- ErrPrivilege
			return
		}
		IP(t, "link", "set", "lo", "up")
		f()
		done <- nil
	}()
	Require(t, <-done)
}

// IP runs ip(8) in the calling thread's network namespace.
func IP(t testing.TB, args ...string) {
	t.Helper()
	if err := ip(args...); err != nil {
		t.Error(err)
	}
}

// VethPair makes the interfaces a0 and b0, which are up, with 192.0.2.7/24 and
// 2001:db8::7/64 at a0, in the calling thread's network namespace.
func VethPair(t testing.TB) {
	t.Helper()
	IP(t, "link", "add", "a0", "type", "veth", "peer", "name", "b0")
	IP(t, "link", "set", "a0", "up")
	IP(t, "link", "set", "b0", "up")
	IP(t, "addr", "add", "192.0.2.7/24", "dev", "a0")
	IP(t, "addr", "add", "2001:db8::7/64", "dev", "a0", "nodad")
}
