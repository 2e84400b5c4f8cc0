//go:build linux

package udp

import (
	"net/netip"
	"testing"
	"time"

	"systole/engine/internal/network"
)

// families are the loopback addresses that every socket test runs over.
var families = []struct {
	name string
	addr netip.Addr
}{
	{"IPv4", netip.AddrFrom4([4]byte{127, 0, 0, 1})},
	{"IPv6", netip.IPv6Loopback()},
}

// openTest opens a socket with everything on at a free port of ip.
func openTest(t testing.TB, ip netip.Addr, change ...func(*Options)) *Socket {
	t.Helper()
	o := Options{Local: netip.AddrPortFrom(ip, 0), Timestamps: true, Errors: true}
	for _, f := range change {
		f(&o)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// put commits payload to the batch.
func put(t testing.TB, b *Sender, payload string, to netip.AddrPort) {
	t.Helper()
	buf := b.Next()
	if buf == nil {
		t.Fatal("the batch is full")
	}
	addr := network.AddrFrom(to)
	b.Commit(copy(buf, payload), &addr)
}

// flush sends the batch and requires that all of it was taken.
func flush(t testing.TB, b *Sender, s *Socket) {
	t.Helper()
	n := b.Len()
	if sent := b.Flush(s); sent != n {
		t.Fatalf("%d of %d datagrams sent; first error %v", sent, n, b.Err(0))
	}
	b.Reset()
}

// recvSome receives until there is something, for at most two seconds.
func recvSome(t testing.TB, r *Receiver, s *Socket) int {
	t.Helper()
	for end := time.Now().Add(2 * time.Second); ; {
		n, err := r.Recv(s)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			return n
		}
		if time.Now().After(end) {
			t.Fatal("nothing arrived within 2 s")
		}
		time.Sleep(100 * time.Microsecond)
	}
}
