//go:build !systole_portable

package engine

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/wire"
)

// Attacks over the kernel's sockets, where it decides who may say what: addresses are forged by raw
// sockets, on loopback alone.

// openAt opens an engine at an address of loopback and closes it with the test.
func openAt(t *testing.T, ip string, cfg Config) *Engine {
	t.Helper()
	cfg.Listen = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(ip), 0)}
	e, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// rawSocket opens a socket that the kernel takes whole packets of. Without the privilege it skips the
// test, except where SYSTOLE_CI is set.
func rawSocket(t *testing.T, domain, typ, protocol int) int {
	t.Helper()
	fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, protocol)
	if errors.Is(err, unix.EPERM) && os.Getenv("SYSTOLE_CI") == "" {
		t.Skip("raw sockets need CAP_NET_RAW")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// forgeIP writes an IPv4 packet.
func forgeIP(t *testing.T, fd int, from, to netip.Addr, protocol byte, body []byte) {
	t.Helper()
	if err := unix.Sendto(fd, ipPacket(from, to, protocol, body), 0, &unix.SockaddrInet4{Addr: to.As4()}); err != nil {
		t.Fatal(err)
	}
}

// ipPacket returns an IPv4 packet (RFC 791).
func ipPacket(from, to netip.Addr, protocol byte, body []byte) []byte {
	p := make([]byte, 20, 20+len(body))
	p[0], p[8], p[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(body)))
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	return append(p, body...)
}

// udpPacket returns a UDP datagram without a checksum (RFC 768).
func udpPacket(from, to uint16, data []byte) []byte {
	p := make([]byte, 8, 8+len(data))
	binary.BigEndian.PutUint16(p, from)
	binary.BigEndian.PutUint16(p[2:], to)
	binary.BigEndian.PutUint16(p[4:], uint16(8+len(data)))
	return append(p, data...)
}

// unreachable returns an ICMP port unreachable (RFC 792).
func unreachable(quoted []byte) []byte {
	p := append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, quoted...)
	if len(p)%2 == 1 {
		p = append(p, 0)
	}
	sum := uint32(0)
	for i := 0; i < len(p); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(p[2:], ^uint16(sum))
	return p
}

// hostile is a UDP socket of an attacker's.
func hostile(t *testing.T, ip string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(ip)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// reads returns the header of the next datagram, false if none comes within d.
func reads(t *testing.T, c *net.UDPConn, d time.Duration) (h wire.Header, ok bool) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	var b [2048]byte
	n, err := c.Read(b[:])
	if err != nil {
		return h, false
	}
	return decode(t, b[:n]), true
}

// writes writes a datagram with a header.
func writes(t *testing.T, c *net.UDPConn, to netip.AddrPort, h *wire.Header) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort(encode(t, h), to); err != nil {
		t.Fatal(err)
	}
}

// What is learned at one address makes nothing go to another.
func TestAttackReflectsNothingOverSockets(t *testing.T) {
	raw := rawSocket(t, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	e := openAt(t, "127.0.0.1", Config{Period: 10 * time.Millisecond, Accept: Accept{Anyone: true}})
	own, victim := hostile(t, "127.0.0.9"), hostile(t, "127.0.0.77")
	h := wire.Header{MyDiscriminator: 1<<30 | 1, Sender: 0xBAD, Incarnation: 7, Sequence: 1, Period: 10_000}
	writes(t, own, e.Addrs()[0], &h)
	in, ok := reads(t, own, 2*time.Second)
	if !ok || wire.Slot(in.MyDiscriminator) != 0 {
		t.Fatalf("no answer without state: %+v", in)
	}
	h.YourDiscriminator, h.EchoIncarnation, h.EchoSequence, h.EchoVerdict = in.MyDiscriminator, in.Incarnation, in.Sequence, wire.VerdictAlive
	at := victim.LocalAddr().(*net.UDPAddr).AddrPort()
	sent := 0
	for i, period := range []uint32{10_000, 10_000, wire.MaxPeriod, 1} {
		h.Sequence, h.Period = uint64(i+2), period
		forgeIP(t, raw, at.Addr(), e.Addrs()[0].Addr(), unix.IPPROTO_UDP, udpPacket(at.Port(), e.Addrs()[0].Port(), encode(t, &h)))
		sent++
		time.Sleep(30 * time.Millisecond)
	}
	got := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		if _, ok := reads(t, victim, 100*time.Millisecond); ok {
			got++
		}
	}
	if got == 0 || got > sent || e.Stats().Peers.Watched > 0 {
		t.Errorf("%d datagrams for %d forged ones, %d peers", got, sent, e.Stats().Peers.Watched)
	}
}

// ICMP errors fail nobody who is alive, whatever they quote: with keys or without.
func TestAttackByForgedRefusalsOverSockets(t *testing.T) {
	raw := rawSocket(t, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	for _, keys := range []*wire.KeyRing{nil, sharedKeys(t)} {
		a := openAt(t, "127.0.0.1", Config{Keys: keys, Period: 100 * time.Millisecond, Final: true})
		b := openAt(t, "127.0.0.2", Config{Keys: keys, Period: 100 * time.Millisecond, Final: true})
		tap := newTap(t, a.Addrs()[0], b.Addrs()[0])
		p, err := a.AddPeer(PeerConfig{Addr: b.Addrs()[0]})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.AddPeer(PeerConfig{Addr: a.Addrs()[0]}); err != nil {
			t.Fatal(err)
		}
		for range 500 {
			if time.Sleep(10 * time.Millisecond); p.State() == Alive {
				break
			}
		}
		refuse := func(data []byte) {
			from, to := a.Addrs()[0], b.Addrs()[0]
			quoted := ipPacket(from.Addr(), to.Addr(), unix.IPPROTO_UDP, udpPacket(from.Port(), to.Port(), data))
			forgeIP(t, raw, netip.MustParseAddr("127.0.0.66"), from.Addr(), unix.IPPROTO_ICMP, unreachable(quoted))
		}
		first, heard := tap.next(t), clock.Instant(0)
		for i := range 30 {
			last := tap.next(t)
			if at := p.Stats().LastArrival; at != heard {
				heard = at
				refuse(last) // as it is: not twice in one silence, which a busy machine may make long
			}
			for g := range uint64(4) {
				h := decode(t, first)
				h.Sequence = decode(t, last).Sequence + g
				h.SendInstant = 1<<62 - 1 - int64(i)
				refuse(encode(t, &h))
			}
			refuse(first)
			if s := p.State(); s == Failed {
				t.Fatalf("keys %v: failed by refusal %d", keys != nil, i)
			}
		}
		for range 500 {
			if time.Sleep(10 * time.Millisecond); p.State() == Alive {
				break
			}
		}
		if s := p.Stats(); s.State != Alive || s.Failures > 0 {
			t.Errorf("keys %v: %+v", keys != nil, s)
		}
		if s := a.Stats(); s.Sockets.Returned == 0 || s.Sockets.Foreign == 0 {
			t.Errorf("the kernel returned %d, %d of them foreign", s.Sockets.Returned, s.Sockets.Foreign)
		}
	}
}

// tap reads what goes from one address to another on loopback.
type tap struct {
	fd       int
	from, to netip.AddrPort
}

func newTap(t *testing.T, from, to netip.AddrPort) *tap {
	const ipv4 = 0x0800
	fd := rawSocket(t, unix.AF_PACKET, unix.SOCK_DGRAM, int(htons(ipv4)))
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(ipv4), Ifindex: lo.Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		t.Fatal(err)
	}
	return &tap{fd, from, to}
}

// htons is a number of 16 bits in network order.
func htons(n uint16) uint16 { return binary.NativeEndian.Uint16([]byte{byte(n >> 8), byte(n)}) }

// next returns the newest datagram that went by, waiting for one.
func (p *tap) next(t *testing.T) (data []byte) {
	t.Helper()
	var b [2048]byte
	for flags := 0; ; {
		n, _, err := unix.Recvfrom(p.fd, b[:], flags)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) && data != nil {
			return data
		}
		if err != nil {
			t.Fatal(err)
		}
		ports := [2]uint16{binary.BigEndian.Uint16(b[20:]), binary.BigEndian.Uint16(b[22:])}
		if n > 28 && b[9] == unix.IPPROTO_UDP && ports == [2]uint16{p.from.Port(), p.to.Port()} {
			data, flags = append([]byte(nil), b[28:n]...), unix.MSG_DONTWAIT
		}
	}
}

// Introductions at any shard of several, with discriminators of any slot, free, of another shard or of
// another incarnation, are answered at most and touch nobody.
func TestAttackAtSeveralShards(t *testing.T) {
	hub := openAt(t, "127.0.0.1", Config{Shards: 4, Period: 20 * time.Millisecond, Accept: Accept{Anyone: true, PerSecond: 1000}})
	const nodes = 12
	var all []*Engine
	for i := range nodes {
		n := openAt(t, "127.0.0.1", Config{Period: 20 * time.Millisecond})
		if _, err := n.AddPeer(PeerConfig{Addr: hub.Addrs()[0]}); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if _, err := hub.AddPeer(PeerConfig{Addr: n.Addrs()[0]}); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, n)
	}
	alive := func() (n int) {
		for _, p := range hub.Snapshot(nil) {
			if p.State == Alive {
				n++
			}
		}
		return n
	}
	await := func(want int) {
		t.Helper()
		for range 1000 {
			if alive() == want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("%d of %d alive: %+v", alive(), want, hub.Snapshot(nil))
	}
	await(nodes)
	c := hostile(t, "127.0.0.9")
	r := rand.New(rand.NewPCG(1, 2))
	out := 0
	for i := range 4000 {
		n := all[r.IntN(len(all))]
		h := wire.Header{
			MyDiscriminator: r.Uint64() | 1, Sender: n.ID(), Incarnation: n.Incarnation(),
			Sequence: 1 << r.IntN(63), Period: uint32(1 + r.IntN(wire.MaxPeriod)), Flags: wire.Flags(r.IntN(8)),
			YourDiscriminator: r.Uint64()<<wire.SlotBits | r.Uint64N(200),
			EchoIncarnation:   hub.Incarnation(), EchoSequence: r.Uint64N(2000), EchoVerdict: wire.Verdict(r.IntN(6)),
		}
		if i%10 == 0 {
			h.YourDiscriminator = 0
		}
		writes(t, c, hub.Addrs()[0], &h)
		out++
		if i%20 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	in := 0
	for {
		if _, ok := reads(t, c, 200*time.Millisecond); !ok {
			break
		}
		in++
	}
	if in > out || in == 0 {
		t.Errorf("%d datagrams for %d", in, out)
	}
	if n := alive(); n != nodes || hub.Stats().Peers.Watched != nodes {
		t.Errorf("%d of %d alive, %d watched", n, nodes, hub.Stats().Peers.Watched)
	}
	st := hub.Stats()
	sum := st.Heartbeats.Accepted + st.Heartbeats.Duplicated + st.Refused.Stale + st.Strangers.Introduced + st.Strangers.Datagrams + st.Strangers.Refused + st.Refused.Looped + st.Refused.Collisions
	t.Logf("%d of %d counted, %+v", sum, st.Sockets.Received, st)
	for _, p := range hub.Snapshot(nil) {
		if p.Duplicated > 0 || p.Failures > 0 || p.PeerPeriod != 20*time.Millisecond {
			t.Errorf("%+v", p)
		}
	}
}
