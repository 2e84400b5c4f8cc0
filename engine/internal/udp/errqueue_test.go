package udp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// closedPort returns an address where nobody listens.
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

// A batch to closed ports: every datagram is taken, though each is answered while the
// next is sent, and every answer quotes its own datagram.
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
				n, err := reader.Read(s)
				if err != nil {
					t.Fatal(err)
				}
				for i := range n {
					e := reader.Entry(i)
					want := fmt.Sprintf("heartbeat %d %s", seen, strings.Repeat("p", 200))
					if !e.PortUnreachable() || e.Errno != unix.ECONNREFUSED {
						t.Errorf("entry %+v is no port unreachable", e)
					}
					if string(e.Quoted()) != want {
						t.Errorf("quoted %d bytes %.20q, want %d bytes %.20q", len(e.Quoted()), e.Quoted(), len(want), want)
					}
					if e.Dest != AddrFrom(dead) || e.Offender.AddrPort().Addr() != f.addr {
						t.Errorf("destination %v, offender %v", e.Dest, e.Offender)
					}
					seen++
				}
			}
			if seen != count {
				t.Errorf("%d of %d answers", seen, count)
			}
			if n, err := reader.Read(s); n != 0 || err != nil || s.HasErrors() {
				t.Errorf("after the last: Read = %d, %v, HasErrors %v", n, err, s.HasErrors())
			}
		})
	}
}

// A link-local destination comes back with its scope, so it compares with the address that
// was sent to.
func TestReturnedLinkLocal(t *testing.T) {
	inNamespace(t, func() {
		ip(t, "link", "add", "a0", "type", "veth", "peer", "name", "b0")
		ip(t, "addr", "add", "fe80::7/64", "dev", "a0", "nodad")
		ip(t, "addr", "add", "fe80::8/64", "dev", "b0", "nodad")
		ip(t, "link", "set", "a0", "up")
		ip(t, "link", "set", "b0", "up")
		for _, dead := range []string{"[fe80::7%a0]:9", "[fe80::8%b0]:9"} {
			s := openTest(t, netip.IPv6Unspecified())
			send, reader := NewSender(), NewErrorReader()
			put(t, send, "heartbeat", netip.MustParseAddrPort(dead))
			want := send.to[0]
			flush(t, send, s)
			s.hasErrors = true // it comes when it comes
			n := 0
			for end := time.Now().Add(2 * time.Second); n == 0 && time.Now().Before(end); {
				n, _ = reader.Read(s)
			}
			if n != 1 || reader.Entry(0).Dest != want {
				t.Errorf("%d returned, destination %v, want %v", n, reader.Entry(0).Dest, want)
			}
		}
	})
}
