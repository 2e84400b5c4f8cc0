//go:build !systole_portable && !386 && !s390x

// On 386 and s390x Go opens sockets by socketcall(2), which has the family in memory, where a filter cannot see
// it.

package engine

import (
	"errors"
	"net/netip"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The default takes whichever family the host has; what was asked for must be had.
func TestMissingFamilies(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("[::1]:0")
	for _, step := range []struct {
		name    string
		denied  []uint32
		listen  []netip.AddrPort
		sockets int // 0: an error
	}{
		{"default without IPv6", []uint32{unix.AF_INET6}, nil, 1},
		{"default without IPv4", []uint32{unix.AF_INET}, nil, 1},
		{"default without either", []uint32{unix.AF_INET, unix.AF_INET6}, nil, 0},
		{"IPv6 asked for", []uint32{unix.AF_INET6}, []netip.AddrPort{v4, v6}, 0},
		{"IPv6 asked for first", []uint32{unix.AF_INET6}, []netip.AddrPort{v6, v4}, 0},
		{"IPv4 asked for", []uint32{unix.AF_INET6}, []netip.AddrPort{v4}, 1},
	} {
		for shards := 1; shards <= 2; shards++ {
			done := make(chan error)
			go func() {
				runtime.LockOSThread() // and never unlocked: the filter ends with the thread
				if err := denyFamilies(step.denied...); err != nil {
					done <- err
					return
				}
				e, err := Open(Config{Listen: step.listen, Shards: shards})
				switch {
				case err == nil && len(e.Addrs()) != step.sockets:
					t.Errorf("%s: on %v", step.name, e.Addrs())
				case err != nil && (step.sockets != 0 || !errors.Is(err, unix.EAFNOSUPPORT)):
					t.Errorf("%s: %v", step.name, err)
				}
				if err == nil {
					err = e.Close()
				} else {
					err = nil
				}
				done <- err
			}()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// denyFamilies makes socket(2) of the calling thread answer EAFNOSUPPORT for address
// families, as a sandbox does. It needs no privilege, and lasts as long as the thread.
func denyFamilies(families ...uint32) error {
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 4}, // seccomp_data.nr
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_SOCKET, SkipTrue: uint8(1 + 2*len(families))},
		bpf.LoadAbsolute{Off: 16, Size: 4}, // the low half of args[0]
	}
	for _, f := range families {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: f, SkipTrue: 1},
			bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)})
	}
	raw, err := bpf.Assemble(append(program, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}))
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
