package bpf

import (
	"bytes"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/enginetest/netlab"
	"systole/wire"
)

// attached attaches the program that records hand-offs.
func attached(t testing.TB) (*programs, *Source) {
	t.Helper()
	p, s := load(t, false)
	l, err := link.AttachTracing(link.TracingOptions{Program: p.handOff})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return p, s
}

// own returns a packet with a heartbeat of ours.
func own(t testing.TB, sequence uint64) *packet {
	h := header(sequence)
	h.YourDiscriminator, h.MyDiscriminator = theirs, ours
	return &packet{from: here4, to: peer4, payload: encode(t, h, nil)}
}

// wireTap sends and receives frames at an interface of the calling thread's namespace.
func wireTap(t testing.TB, name string) int {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Error(err)
		return -1
	}
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		t.Error(err)
		return -1
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}); err != nil {
		t.Error(err)
	}
	wait := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		t.Error(err)
	}
	return fd
}

// Each heartbeat of ours that a driver takes is recorded, and nothing else is.
func TestHandOffVectors(t *testing.T) {
	vectors := []struct {
		name   string
		change func(p *packet)
		want   bool
	}{
		{"heartbeat", func(p *packet) {}, true},
		{"IPv6", func(p *packet) { p.from, p.to = here6, peer6 }, true},
		{"options", func(p *packet) { p.options = 10 }, true},
		{"messages", func(p *packet) {
			h := header(1)
			h.YourDiscriminator, h.MyDiscriminator, h.KeyID = theirs, ours, 1
			p.payload = encode(t, h, []byte{0, 1, 0, 0})
		}, true},
		{"VLAN", func(p *packet) { p.tags = []uint16{vlan} }, true},
		{"VLAN, IPv6", func(p *packet) { p.tags, p.from, p.to = []uint16{vlan}, here6, peer6 }, true},
		{"from another port", func(p *packet) { p.from = netip.MustParseAddrPort("192.0.2.7:9") }, false},
		{"to our port", func(p *packet) { p.from, p.to = p.to, p.from }, false},
		{"of the peer", func(p *packet) { p.payload = encode(t, header(1), nil) }, false},
		{"other salt", func(p *packet) { p.payload[24] = 1 }, false},
		{"other peer", func(p *packet) { p.payload[23] = 1 }, false},
		{"beyond the table", func(p *packet) { p.payload[29] = 0xff }, false},
		{"other version", func(p *packet) { p.payload[4] = 2 }, false},
		{"short", func(p *packet) { p.payload = p.payload[:wire.HeaderSize-1] }, false},
		{"fragment", func(p *packet) { p.fragment = 0x2000 }, false},
		{"extension header", func(p *packet) { p.from, p.to, p.extensions = here6, peer6, 1 }, false},
		{"TCP", func(p *packet) { p.protocol = 6 }, false},
	}
	_, s := attached(t)
	netlab.InNamespace(t, func() {
		netlab.VethPair(t)
		out, in := wireTap(t, "a0"), wireTap(t, "b0")
		for i, v := range vectors {
			packet := own(t, 1)
			v.change(packet)
			if len(packet.payload) == wire.HeaderSize {
				be.PutUint64(packet.payload[48:], uint64(i+1))
			}
			s.Watch(ours, 0)
			s.Watch(ours+1<<50, 1)
			s.Watch(ours, theirs)
			frame := packet.bytes()
			from := clock.Now()
			if _, err := unix.Write(out, frame); err != nil {
				t.Errorf("%s: %v", v.name, err)
			}
			expectFrame(t, in, frame[14+4*len(packet.tags):])
			to := clock.Now()
			var sequence uint64
			if v.want {
				sequence = sequenceIn(frame)
			}
			h := handedLast(&s.table.slots[5])
			if at := clock.Instant(h.at.Load()); h.sequence.Load() != sequence || v.want && (at < from || at > to) {
				t.Errorf("%s: sequence %d is recorded at %v, want %d from %v to %v", v.name, h.sequence.Load(), at, sequence, from, to)
			}
		}
	})
}

// expectFrame reads until the packet of IP that was sent arrives unchanged. The kernel has taken a tag off.
func expectFrame(t testing.TB, fd int, ip []byte) {
	b := make([]byte, 2048)
	for {
		n, err := unix.Read(fd, b)
		if err != nil {
			t.Errorf("%x did not arrive: %v", ip, err)
			return
		}
		if bytes.HasSuffix(b[:n], ip) {
			return
		}
	}
}

// handedLast returns the hand-off with the greatest sequence.
func handedLast(p *slot) *handOff {
	last := &p.handed[0]
	for i := range p.handed {
		if h := &p.handed[i]; h.sequence.Load() > last.sequence.Load() {
			last = h
		}
	}
	return last
}

// The first hand-off of a heartbeat counts, and the last eight sequences are known, in whichever order
// they leave.
func TestFirstHandOffCounts(t *testing.T) {
	_, s := attached(t)
	netlab.InNamespace(t, func() {
		netlab.VethPair(t)
		out := wireTap(t, "a0")
		send := func(sequences ...uint64) {
			for _, sequence := range sequences {
				if _, err := unix.Write(out, own(t, sequence).bytes()); err != nil {
					t.Error(err)
				}
			}
		}
		begin := clock.Now()
		send(2, 3, 1, 8)
		between := clock.Now()
		first, ok := s.HandedOff(ours, 2)
		if !ok || first < begin || first > between {
			t.Errorf("2 was handed off at %v, %v; from %v to %v", first, ok, begin, between)
		}
		send(2, 9)
		if at, ok := s.HandedOff(ours, 2); !ok || at != first {
			t.Errorf("after it was handed off again: %v, %v", at, ok)
		}
		for sequence, want := range []bool{false, false, true, true, false, false, false, false, true, true} { // 9 has replaced 1
			if at, ok := s.HandedOff(ours, uint64(sequence)); ok != want {
				t.Errorf("%d was handed off at %v, %v", sequence, at, ok)
			}
		}
		send(1)
		if _, ok := s.HandedOff(ours, 9); !ok {
			t.Error("an old heartbeat replaces a new one")
		}
		if c := s.table.count(); c.HandedOff != 5 {
			t.Errorf("%+v", c)
		}
	})
}

// A heartbeat is handed off when it leaves the queue of the lowest device, not when it leaves a device
// that is built on it.
func TestHandOffIsAfterTheQueue(t *testing.T) {
	_, s := attached(t)
	netlab.InNamespace(t, func() {
		netlab.VethPair(t)
		netlab.IP(t, "link", "add", "m0", "link", "a0", "type", "macvlan", "mode", "bridge")
		netlab.IP(t, "link", "set", "m0", "up")
		// 1 Mbit/s: a frame of 1,000 bytes takes 8 ms.
		if out, err := exec.Command("tc", "qdisc", "add", "dev", "a0", "root", "tbf", "rate", "1mbit", "burst", "1600", "latency", "1s").CombinedOutput(); err != nil {
			t.Errorf("tc: %v: %s", err, out)
		}
		out := wireTap(t, "m0")
		for range 5 {
			if _, err := unix.Write(out, make([]byte, 1000)); err != nil {
				t.Error(err)
			}
		}
		from := clock.Now()
		if _, err := unix.Write(out, own(t, 1).bytes()); err != nil {
			t.Error(err)
		}
		var at clock.Instant
		for ok := false; !ok && clock.Now().Sub(from) < 5*time.Second; time.Sleep(time.Millisecond) {
			at, ok = s.HandedOff(ours, 1)
		}
		if wait := at.Sub(from); wait < 10*time.Millisecond || wait > time.Second {
			t.Errorf("handed off after %v", wait)
		}
	})
}
