// Package privilege gives up the privileges of a process once it has started.
package privilege

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Drop gives up every capability of the process, on all threads and for good: no program that it
// executes gets one, neither by user id 0 nor by a file's capabilities or set-user-id bit. What is open
// stays open, for instance descriptors of BPF maps. A process with user id 0 still may do what the
// permissions of root's own files allow.
//
// Drop returns an error if a thread still has a capability, or if it cannot check that. Any goroutine
// may call it. All threads stand still meanwhile, for some tens of microseconds each.
func Drop() error {
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("drop capabilities: set no_new_privs: %w", errno)
	}
	// The ambient set shrinks with the permitted one. The bounding set has no effect any more.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0)
	if errno != 0 {
		return fmt.Errorf("drop capabilities: %w", errno)
	}
	if err := verify(os.DirFS("/proc/self/task")); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// verify returns an error unless all threads are without capabilities. tasks is /proc/self/task.
func verify(tasks fs.FS) error {
	threads, err := fs.ReadDir(tasks, ".")
	if err != nil {
		return fmt.Errorf("not verified: %w", err)
	}
	if len(threads) == 0 {
		return errors.New("not verified: no thread in /proc/self/task")
	}
	for _, t := range threads {
		status, err := fs.ReadFile(tasks, t.Name()+"/status")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return fmt.Errorf("not verified: %w", err)
		}
		if err := verifyThread(string(status)); err != nil {
			return fmt.Errorf("thread %s: %w", t.Name(), err)
		}
	}
	return nil
}

// verifyThread returns an error unless a thread is without capabilities and cannot get any.
func verifyThread(status string) error {
	fields := make(map[string]string)
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		value, ok := fields[set]
		if !ok || strings.Trim(value, "0") != "" {
			return fmt.Errorf("%s is %q", set, value)
		}
	}
	if fields["NoNewPrivs"] != "1" {
		return fmt.Errorf("NoNewPrivs is %q", fields["NoNewPrivs"])
	}
	return nil
}
