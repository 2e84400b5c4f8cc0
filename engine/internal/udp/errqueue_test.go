//go:build linux

package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/enginetest/netlab"

	"systole/engine/internal/network"
)

// closedPort returns an address that no socket is bound to.
func closedPort(t testing.TB, ip netip.Addr) netip.AddrPort {
	t.Helper()
	s, err := Open(Options{Local: netip.AddrPortFrom(ip, 0)})
	if err != nil {
		t.Fatal(err)
	}
	addr := s.Local()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return addr
}

// The kernel takes every datagram of a batch to closed ports, although each is answered while
// the next is sent. Every answer quotes its own datagram.
func TestPortUnreachableQuotesOurDatagram(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			s := openTest(t, f.addr)
			dead := closedPort(t, f.addr)
			send, reader := NewSender(), NewErrorReader()
			const count = 5 // IPv6 limits the rate of the answers, on loopback too
			for i := range count {
				put(t, send, fmt.Sprintf("heartbeat %d %s", i, strings.Repeat("p", 200)), dead)
			}
			flush(t, send, s)
			if !s.HasErrors() {
				t.Error("HasErrors is false after the answers")
			}
			seen := 0
			for end := time.Now().Add(2 * time.Second); seen < count && time.Now().Before(end); {
				entries, err := reader.Read(s)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					want := fmt.Sprintf("heartbeat %d %s", seen, strings.Repeat("p", 200))
					if !e.PortUnreachable || e.Errno != unix.ECONNREFUSED {
						t.Errorf("entry %+v is no port unreachable", e)
					}
					if string(e.Quoted) != want {
						t.Errorf("quoted %d bytes %.20q, want %d bytes %.20q", len(e.Quoted), e.Quoted, len(want), want)
					}
					if e.Peer != network.AddrFrom(dead) || e.Offender.AddrPort().Addr() != f.addr {
						t.Errorf("destination %v, offender %v", e.Peer, e.Offender)
					}
					seen++
				}
			}
			if seen != count {
				t.Errorf("%d of %d answers", seen, count)
			}
			if entries, err := reader.Read(s); len(entries) != 0 || err != nil || s.HasErrors() {
				t.Errorf("after the last: Read = %v, %v, HasErrors %v", entries, err, s.HasErrors())
			}
		})
	}
}

// A link-local destination comes back with its scope, so it compares with the address that
// was sent to.
func TestReturnedLinkLocal(t *testing.T) {
	netlab.InNamespace(t, func() {
		netlab.IP(t, "link", "add", "a0", "type", "veth", "peer", "name", "b0")
		netlab.IP(t, "addr", "add", "fe80::7/64", "dev", "a0", "nodad")
		netlab.IP(t, "addr", "add", "fe80::8/64", "dev", "b0", "nodad")
		netlab.IP(t, "link", "set", "a0", "up")
		netlab.IP(t, "link", "set", "b0", "up")
		for _, dead := range []string{"[fe80::7%a0]:9", "[fe80::8%b0]:9"} {
			s := openTest(t, netip.IPv6Unspecified())
			send, reader := NewSender(), NewErrorReader()
			want := network.AddrFrom(netip.MustParseAddrPort(dead))
			var entries []Returned
			// An interface that was just set up may lose datagrams.
			for end := time.Now().Add(2 * time.Second); len(entries) == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
				put(t, send, "heartbeat", netip.MustParseAddrPort(dead))
				flush(t, send, s)
				s.hasErrors = true // the error may still be on its way
				entries, _ = reader.Read(s)
			}
			if len(entries) == 0 || entries[0].Peer != want {
				t.Errorf("returned %+v, want the destination %v", entries, want)
			}
		}
	})
}

// portUnreachable returns the ICMP message of RFC 792 for a datagram from one IPv4 loopback port
// to another.
func portUnreachable(from, to uint16) []byte {
	b := make([]byte, 8+20+8, 64)
	b[0], b[1] = 3, 3
	quoted := b[8:]
	quoted[0], quoted[8], quoted[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(quoted[2:], uint16(len(quoted)))
	copy(quoted[12:], []byte{127, 0, 0, 1, 127, 0, 0, 1})
	binary.BigEndian.PutUint16(quoted[20:], from)
	binary.BigEndian.PutUint16(quoted[22:], to)
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum>>16+sum))
	return b
}

// PendingError reports true after a Recv that an error ended early: here a stream of errors
// arrives while whole batches are read.
func TestCutBatchLeavesAPendingError(t *testing.T) {
	netlab.InNamespace(t, func() {
		in, out := openTest(t, families[0].addr, func(o *Options) { o.RecvBuffer = 1 << 20 }), openTest(t, families[0].addr)
		raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(raw)
		var stop atomic.Bool
		stopped := make(chan bool)
		go func() {
			answer := portUnreachable(in.Local().Port(), 9)
			for !stop.Load() {
				_ = unix.Sendto(raw, answer, unix.MSG_DONTWAIT, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
				time.Sleep(20 * time.Microsecond)
			}
			close(stopped)
		}()
		cutBatches(t, in, out)
		stop.Store(true)
		<-stopped
	})
}

// cutBatches sends whole batches and reads them for a second, while errors come in.
func cutBatches(t *testing.T, in, out *Socket) {
	send, recv, reader := NewSender(), NewReceiver(), NewErrorReader()
	rounds, short, unknown := 0, 0, 0
	for end := time.Now().Add(time.Second); time.Now().Before(end); rounds++ {
		for range Batch {
			put(t, send, "heartbeat", in.Local())
		}
		flush(t, send, out)
		n, _ := recv.Recv(in)
		if n < Batch {
			short++
			if !in.HasErrors() {
				unknown++
			}
			if !in.PendingError() {
				t.Errorf("round %d: %d of %d received, and no error is pending", rounds, n, Batch)
				return
			}
		}
		for n < Batch && time.Now().Before(end) {
			k, _ := recv.Recv(in)
			n += k
		}
		for in.HasErrors() && time.Now().Before(end) {
			_, _ = reader.Read(in)
		}
	}
	t.Logf("%d of %d batches were short, of %d no error was known", short, rounds, unknown)
}

// PendingError finds an error that no call has returned, once, and costs a system call
// only where no error is known.
func TestPendingError(t *testing.T) {
	for _, f := range families {
		s := openTest(t, f.addr)
		if s.PendingError() {
			t.Errorf("%s: an error before anything was sent", f.name)
		}
		send, reader := NewSender(), NewErrorReader()
		put(t, send, "heartbeat", closedPort(t, f.addr))
		send.call(s, 0) // the answer comes with it
		before := s.Calls()
		if s.HasErrors() || !s.PendingError() || !s.HasErrors() || !s.PendingError() || s.Calls() != before+1 {
			t.Errorf("%s: the error is not pending, or not for one system call: %d", f.name, s.Calls()-before)
		}
		if entries, err := reader.Read(s); len(entries) != 1 || err != nil || s.PendingError() {
			t.Errorf("%s: Read = %+v, %v; and is still pending: %v", f.name, entries, err, s.HasErrors())
		}
	}
}

// A socket is faulty if it cannot be read, but not if the network returned a datagram.
func TestFaulty(t *testing.T) {
	for _, f := range families {
		s := openTest(t, f.addr)
		send, r := NewSender(), NewReceiver()
		put(t, send, "heartbeat", closedPort(t, f.addr))
		send.call(s, 0)
		if n, err := r.Recv(s); n != 0 || err != nil || !s.HasErrors() || s.Faulty() {
			t.Errorf("%s: Recv = %d, %v, and is faulty: %v", f.name, n, err, s.Faulty())
		}
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		err := unix.Dup3(pipe[0], s.Fd(), unix.O_CLOEXEC)
		if err := errors.Join(err, unix.Close(pipe[0]), unix.Close(pipe[1])); err != nil {
			t.Fatal(err)
		}
		if n, err := r.Recv(s); n != 0 || err == nil || !s.Faulty() {
			t.Errorf("%s: Recv = %d, %v of a pipe, and is faulty: %v", f.name, n, err, s.Faulty())
		}
	}
}

// An error is found behind what the kernel puts before it where BPF programs run: the longest quoted
// datagram as a control message.
func TestRoomForErrors(t *testing.T) {
	const optStats = 54 // SCM_TIMESTAMPING_OPT_STATS
	extended := make([]byte, extendedSize+unix.SizeofSockaddrInet6)
	binary.NativeEndian.PutUint32(extended, uint32(unix.ECONNREFUSED))
	control := slices.Concat(stampMessage(3, 4), controlMessage(unix.SOL_SOCKET, optStats, make([]byte, slotSize)...),
		controlMessage(unix.SOL_IPV6, unix.IPV6_RECVERR, extended...))
	r := NewErrorReader()
	if n := copy(r.controls[0], control); n < len(control) {
		t.Fatalf("%d of %d bytes", n, len(control))
	}
	r.headers[0].Hdr.SetControllen(len(control))
	if c := r.control(0); parseExtended(c.extended).Errno != unix.ECONNREFUSED {
		t.Errorf("%+v", c)
	}
}
