//go:build linux

package udp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/internal/network"
)

func TestBatchAcrossLoopback(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			a, b := openTest(t, f.addr), openTest(t, f.addr)
			send, recv := NewSender(), NewReceiver()
			// In the first round the kernel starts stamping, in the background.
			for round := range 3 {
				before := time.Now().UnixNano()
				for i := range Batch {
					put(t, send, fmt.Sprintf("round %d datagram %d", round, i), b.Local())
				}
				flush(t, send, a)
				if n := recvSome(t, recv, b); n != Batch {
					t.Fatalf("received %d, want %d", n, Batch)
				}
				for i := range Batch {
					want := fmt.Sprintf("round %d datagram %d", round, i)
					if got := string(recv.Datagram(i)); got != want {
						t.Errorf("datagram %d is %q, want %q", i, got, want)
					}
					if got := *recv.From(i); got != network.AddrFrom(a.Local()) {
						t.Errorf("datagram %d comes from %v, want %v", i, got, a.Local())
					}
					if recv.Truncated(i) {
						t.Errorf("datagram %d counts as truncated", i)
					}
					if s := recv.Stamp(i); round > 0 && (s < before || s > time.Now().UnixNano()) {
						t.Errorf("stamp %d is outside the test's run", s)
					}
				}
				if n, err := recv.Recv(b); n != 0 || err != nil {
					t.Errorf("Recv of an empty queue = %d, %v", n, err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// One receiver serves sockets of both families: an IPv6 address must leave nothing behind in
// an IPv4 address.
func TestReceiverServesBothFamilies(t *testing.T) {
	send, recv := NewSender(), NewReceiver()
	for _, i := range []int{1, 0, 1, 0} {
		a, b := openTest(t, families[i].addr), openTest(t, families[i].addr)
		put(t, send, "x", b.Local())
		flush(t, send, a)
		recvSome(t, recv, b)
		if got := *recv.From(0); got != network.AddrFrom(a.Local()) {
			t.Errorf("%s: from %v (% x), want %v", families[i].name, got, got[:], a.Local())
		}
	}
}

func TestOversizedDatagramShowsByItsLength(t *testing.T) {
	a, b := openTest(t, families[0].addr), openTest(t, families[0].addr)
	send, recv := NewSender(), NewReceiver()
	put(t, send, strings.Repeat("m", MaxDatagram), b.Local())
	flush(t, send, a)
	to := unix.SockaddrInet4{Port: int(b.Local().Port()), Addr: [4]byte{127, 0, 0, 1}}
	for _, size := range []int{MaxDatagram + 1, 9000} {
		if err := unix.Sendto(a.fd, bytes.Repeat([]byte{'l'}, size), 0, &to); err != nil {
			t.Fatal(err)
		}
	}
	if n := recvSome(t, recv, b); n != 3 {
		t.Fatalf("received %d, want 3", n)
	}
	for i, want := range []struct {
		length    int
		truncated bool
	}{{MaxDatagram, false}, {MaxDatagram + 1, false}, {slotSize, true}} {
		if len(recv.Datagram(i)) != want.length || recv.Truncated(i) != want.truncated {
			t.Errorf("datagram %d: %d bytes, truncated %v; want %v", i, len(recv.Datagram(i)), recv.Truncated(i), want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	taken := openTest(t, families[0].addr)
	for _, tt := range []struct {
		name  string
		o     Options
		errno unix.Errno
		help  string
	}{
		{"no address", Options{}, unix.EINVAL, "not valid"},
		{"port in use", Options{Local: taken.Local()}, unix.EADDRINUSE, "another socket"},
		{"foreign address", Options{Local: netip.MustParseAddrPort("192.0.2.1:0")}, unix.EADDRNOTAVAIL, "no interface"},
		{"unknown zone", Options{Local: netip.MustParseAddrPort("[fe80::1%nosuchif]:0")}, unix.EINVAL, "zone"},
		{"negative buffer", Options{Local: taken.Local(), RecvBuffer: -1}, unix.EINVAL, "negative"},
	} {
		s, err := Open(tt.o)
		if err == nil {
			t.Errorf("%s: opened %v", tt.name, s.Local())
			continue
		}
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, tt.errno) || !strings.Contains(err.Error(), tt.help) {
			t.Errorf("%s: %v; want an *Error of %v that says %q", tt.name, err, tt.errno, tt.help)
		}
	}
}

func TestBuffersAreReported(t *testing.T) {
	s := openTest(t, families[0].addr, func(o *Options) { o.RecvBuffer, o.SendBuffer = 300_000, 200_000 })
	if s.RecvBuffer() < 300_000 || s.SendBuffer() < 200_000 {
		t.Errorf("granted %d and %d", s.RecvBuffer(), s.SendBuffer())
	}
	m, err := s.Memory()
	if err != nil {
		t.Fatal(err)
	}
	if int(m[unix.SK_MEMINFO_RCVBUF]) != 2*s.RecvBuffer() || int(m[unix.SK_MEMINFO_SNDBUF]) != 2*s.SendBuffer() {
		t.Errorf("Memory says %v for buffers of %d and %d", m, s.RecvBuffer(), s.SendBuffer())
	}
}

// A full receive buffer drops datagrams, which Memory counts; QueuedSize must be what a
// small datagram takes.
func TestDropsAreCounted(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			const room = 20
			a := openTest(t, f.addr)
			b := openTest(t, f.addr, func(o *Options) { o.RecvBuffer = room * QueuedSize })
			send, recv := NewSender(), NewReceiver()
			for range Batch {
				put(t, send, strings.Repeat("h", 160), b.Local())
			}
			flush(t, send, a)
			m, err := b.Memory()
			if err != nil {
				t.Fatal(err)
			}
			n := recvSome(t, recv, b)
			if n < room || n > room+2 {
				t.Errorf("a buffer for %d datagrams held %d", room, n)
			}
			if int(m[unix.SK_MEMINFO_DROPS]) != Batch-n || m[unix.SK_MEMINFO_RMEM_ALLOC] == 0 {
				t.Errorf("Memory says %v after %d of %d were received", m, n, Batch)
			}
			put(t, send, "after", b.Local())
			flush(t, send, a)
			recvSome(t, recv, b)
			if m, err = b.Memory(); err != nil || int(m[unix.SK_MEMINFO_DROPS]) != Batch-n {
				t.Errorf("Memory says %v, %v once it is empty, want %d drops", m, err, Batch-n)
			}
		})
	}
}

// A socket is among the last descriptors, so that it is closed first when the process is killed, unless
// the limit of open files forbids that.
func TestSocketHasAHighDescriptor(t *testing.T) {
	o := Options{Local: netip.MustParseAddrPort("127.0.0.1:0")}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	flags, err := unix.FcntlInt(uintptr(s.fd), unix.F_GETFD, 0)
	if s.fd < 512 || err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor %d, flags %#x, %v", s.fd, flags, err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: 256, Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	other, err := Open(o)
	if restore := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); restore != nil {
		t.Fatal(restore)
	}
	if err != nil {
		t.Fatalf("with a limit of 256 descriptors: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}
