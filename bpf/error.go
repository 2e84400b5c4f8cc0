package bpf

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Error is why a part of this package does not work. It unwraps to the error of the kernel.
type Error struct {
	Op    string        `json:"op"`              // what was attempted, such as "attach tcx to eth0"
	Text  string        `json:"error"`           // what became of it
	Errno syscall.Errno `json:"errno,omitempty"` // the kernel's; 0: another error
	Help  string        `json:"help,omitempty"`  // what would help, or empty
	cause error         // nil: another process had it
}

// newError returns the Error of op for err.
func newError(op string, err error, help string) *Error {
	e := &Error{Op: op, Text: err.Error(), Help: help, cause: err}
	errors.As(err, &e.Errno)
	return e
}

// Error returns what was attempted, what became of it, and what would help.
func (e *Error) Error() string {
	text := "bpf: " + e.Op + ": " + e.Text
	if e.Help != "" {
		text += "; " + e.Help
	}
	return text
}

// Unwrap returns the cause; of an Error of another process, Errno.
func (e *Error) Unwrap() error {
	if e.cause == nil && e.Errno != 0 {
		return e.Errno
	}
	return e.cause
}

// failed returns err as the Error of op, with the help that its cause suggests. need are the capabilities
// that op needs.
func failed(op string, err error, need ...capability) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	if errors.Is(err, unix.EPERM) {
		err = unix.EPERM // what libraries add to it, such as a limit of old kernels, misleads
	}
	return newError(op, err, help(err, need))
}

// help returns what would help against err.
func help(err error, need []capability) string {
	var refused *ebpf.VerifierError
	switch {
	case errors.Is(err, unix.EPERM):
		if missing := missingOf(need); len(missing) > 0 {
			return "it needs " + strings.Join(missing, " and ")
		}
		return "the capabilities are there; lockdown, a seccomp filter or a user namespace may refuse it"
	case errors.Is(err, ebpf.ErrNotSupported):
		return "the kernel is too old for it, or was built without it"
	case errors.As(err, &refused) && len(missingOf([]capability{capPerfmon})) > 0:
		return "the kernel's verifier refuses more of a program without CAP_PERFMON"
	case errors.As(err, &refused):
		return "the kernel's verifier refuses the program; print the error with %+v for its log"
	case errors.Is(err, unix.ENODEV):
		return "the interface is gone"
	}
	return ""
}

// capability is a capability of Linux.
type capability uint

const (
	capNetAdmin capability = unix.CAP_NET_ADMIN
	capPerfmon  capability = unix.CAP_PERFMON
	capBPF      capability = unix.CAP_BPF
)

func (c capability) String() string {
	switch c {
	case capNetAdmin:
		return "CAP_NET_ADMIN"
	case capPerfmon:
		return "CAP_PERFMON"
	case capBPF:
		return "CAP_BPF"
	}
	return fmt.Sprintf("capability %d", uint(c))
}

// missingOf returns the names of those capabilities that the calling thread does not have.
// CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON.
func missingOf(need []capability) (missing []string) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return nil
	}
	have := func(c capability) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	for _, c := range need {
		if !have(c) && (c == capNetAdmin || !have(unix.CAP_SYS_ADMIN)) {
			missing = append(missing, c.String())
		}
	}
	return missing
}
