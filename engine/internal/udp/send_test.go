//go:build linux

package udp

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// Err names the datagrams that failed, and the others of the batch are sent.
func TestFlushNamesTheFailedDatagram(t *testing.T) {
	a, b := openTest(t, families[0].addr), openTest(t, families[0].addr)
	unreachable := netip.MustParseAddrPort("240.0.0.1:9") // class E: EINVAL, EHOSTUNREACH or ENETUNREACH by kernel and routes
	send, recv := NewSender(), NewReceiver()
	bad := map[int]bool{0: true, 1: true, 7: true, Batch - 1: true}
	for i := range Batch {
		if bad[i] {
			put(t, send, "lost", unreachable)
		} else {
			put(t, send, "kept", b.Local())
		}
	}
	before := a.Calls()
	if sent := send.Flush(a); sent != Batch-len(bad) {
		t.Errorf("sent %d, want %d", sent, Batch-len(bad))
	}
	if calls := a.Calls() - before; calls > 3+3*uint64(len(bad)) {
		t.Errorf("%d system calls", calls)
	}
	for i := range Batch {
		if (send.Err(i) != 0) != bad[i] {
			t.Errorf("datagram %d: errno %v, bad %v", i, send.Err(i), bad[i])
		}
	}
	if n := recvSome(t, recv, b); n != Batch-len(bad) {
		t.Errorf("received %d", n)
	}
}

// A wrong family fails each datagram, and does not hang.
func TestFlushOfWrongFamily(t *testing.T) {
	a, b := openTest(t, families[0].addr), openTest(t, families[1].addr)
	send := NewSender()
	for range Batch {
		put(t, send, "x", b.Local())
	}
	if sent := send.Flush(a); sent != 0 {
		t.Errorf("an IPv4 socket sent %d datagrams over IPv6", sent)
	}
	for i := range Batch {
		if send.Err(i) != unix.EAFNOSUPPORT {
			t.Fatalf("datagram %d: %v", i, send.Err(i))
		}
	}
}

// An error of the socket itself fails the rest of the batch at once. A closed descriptor takes
// the same path as a full buffer, and is easier to make.
func TestFlushGivesUpOnTheSocket(t *testing.T) {
	none := &Socket{fd: 1 << 20}
	send := NewSender()
	for range Batch {
		put(t, send, "x", closedPort(t, families[0].addr))
	}
	if sent := send.Flush(none); sent != 0 || send.Err(0) != unix.EBADF || send.Err(Batch-1) != unix.EBADF || none.Calls() != 1 {
		t.Errorf("sent %d, errnos %v to %v, %d calls", sent, send.Err(0), send.Err(Batch-1), none.Calls())
	}
}
