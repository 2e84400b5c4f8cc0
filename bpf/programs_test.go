package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"

	"systole/engine/clock"
	"systole/wire"
)

// load returns programs and their table.
func load(t testing.TB, absorb bool) (*programs, *Source) {
	t.Helper()
	needBPF(t)
	p, err := loadPrograms(16, absorb)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(p.tcxErr, p.cgroupErr, p.xdpErr, p.handOffErr); err != nil {
		t.Fatalf("%+v", err)
	}
	table, err := p.table()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.close)
	s := &Source{table: table}
	if err := s.SetPorts(1000, port); err != nil {
		t.Fatal(err)
	}
	s.Watch(ours, theirs)
	return p, s
}

// hook is one of the places where heartbeats are found.
type hook struct {
	name       string
	program    func(p *programs) *ebpf.Program
	pass, drop uint32
	skb        bool // it stamps skb->tstamp
	takes      bool // with absorb
}

var hooks = []hook{
	{"tcx", func(p *programs) *ebpf.Program { return p.tcx }, 0xffffffff, 2, true, true},
	{"cgroup", func(p *programs) *ebpf.Program { return p.cgroup }, 1, 0, true, false},
	{"xdp", func(p *programs) *ebpf.Program { return p.xdp }, 2, 1, false, true},
}

// each calls f for each hook, with and without absorb.
func each(t *testing.T, f func(t *testing.T, h hook, p *programs, s *Source, absorb bool)) {
	for _, absorb := range []bool{false, true} {
		for _, h := range hooks {
			name := h.name
			if absorb {
				name += "/absorb"
			}
			t.Run(name, func(t *testing.T) {
				p, s := load(t, absorb)
				f(t, h, p, s, absorb && h.takes)
			})
		}
	}
}

// skBuff is a __sk_buff.
type skBuff [192]byte

const offTstamp = 152

// run runs a hook's program over a frame, and returns its verdict and the stamp of the skb. It checks
// that the frame came out as it went in.
func (h hook) run(t testing.TB, p *programs, frame []byte, tstamp uint64) (verdict uint32, stamp uint64) {
	t.Helper()
	opts := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+64)}
	var out skBuff
	if h.skb {
		var in skBuff
		binary.NativeEndian.PutUint64(in[offTstamp:], tstamp)
		opts.Context, opts.ContextOut = in, &out
	}
	verdict, err := h.program(p).Run(opts)
	if err != nil {
		t.Fatal(err)
	}
	const ethernet = 14 // the program of a cgroup sees none
	same := bytes.Equal(opts.DataOut[ethernet:], frame[ethernet:])
	if h.name != "cgroup" {
		same = bytes.Equal(opts.DataOut, frame)
	}
	if !same {
		t.Errorf("the frame was changed:\n%x\n%x", frame, opts.DataOut)
	}
	return verdict, binary.NativeEndian.Uint64(out[offTstamp:])
}

// fate is what happens to a packet.
type fate int

const (
	ignored fate = iota // it is not a heartbeat of the peer, or there is doubt
	left                // to the socket, stamped
	leftFull
	leftStale
	leftDoubtful
	absorbed // if the hook takes any; else it is left
)

// expect runs a program and checks what it did with the frame, and with memory.
func (h hook) expect(t testing.TB, p *programs, s *Source, frame []byte, want fate) {
	t.Helper()
	before, slotBefore := s.table.count(), shown(&s.table.slots[5])
	const wall = 1_700_000_000_000_000_000
	from := clock.Now()
	verdict, stamp := h.run(t, p, frame, wall)
	to := clock.Now()

	count := Counters{Seen: 1, Stamped: 1}
	wantVerdict := h.pass
	switch want {
	case ignored:
		count = Counters{}
	case leftFull:
		count.Full = 1
	case leftStale:
		count.Stale = 1
	case leftDoubtful:
		count.Doubtful = 1
	case absorbed:
		count, wantVerdict = Counters{Seen: 1, Taken: 1}, h.drop
	}
	if verdict != wantVerdict {
		t.Errorf("the verdict is %d, want %d", verdict, wantVerdict)
	}
	if got := s.table.count().less(before); got != count {
		t.Errorf("counted %+v, want %+v", got, count)
	}
	within := func(at uint64) bool { return at >= uint64(from) && at <= uint64(to) }
	switch {
	case count.Stamped == 0 && h.skb && stamp != wall:
		t.Errorf("the packet is stamped %d", stamp)
	case count.Stamped == 1 && h.skb && !within(stamp):
		t.Errorf("the stamp %d is not from %d to %d", stamp, from, to)
	}
	slotWant := slotBefore
	if count.Stamped == 1 && !h.skb {
		slotWant.arrived, slotWant.arrivedAt = sequenceIn(frame), s.table.slots[5].arrivedAt.Load()
		if !within(slotWant.arrivedAt) {
			t.Errorf("the stamp %d is not from %d to %d", slotWant.arrivedAt, from, to)
		}
	}
	if got := shown(&s.table.slots[5]); got != slotWant {
		t.Errorf("the peer has %+v, want %+v", got, slotWant)
	}
	if want == absorbed {
		expectNext(t, s, frame, from, to)
	}
	expectNoNext(t, s)
}

// expectNext checks that Next returns what was taken.
func expectNext(t testing.TB, s *Source, frame []byte, from, to clock.Instant) {
	t.Helper()
	b := make([]byte, wire.MaxSize)
	n, source, arrival := s.Next(ours, clock.Never, b)
	if n != wire.HeaderSize || !bytes.Contains(frame, b[:n]) {
		t.Errorf("%d bytes were taken: %x", n, b[:n])
	}
	udp, _, addresses := datagramIn(frame)
	from16, _ := netip.AddrFromSlice(addresses[:len(addresses)/2])
	if want := netip.AddrPortFrom(from16, be.Uint16(udp)); source != want {
		t.Errorf("it was taken from %v, want %v", source, want)
	}
	if arrival.Source != clock.BPF || arrival.At < from || arrival.At > to {
		t.Errorf("it arrived at %v, not from %v to %v", arrival, from, to)
	}
}

func expectNoNext(t testing.TB, s *Source) {
	t.Helper()
	if n, _, _ := s.Next(ours, clock.Never, make([]byte, wire.MaxSize)); n != 0 {
		t.Errorf("%d bytes were taken besides", n)
	}
}

// less returns what was counted since an earlier c.
func (c Counters) less(o Counters) Counters {
	return Counters{
		c.Seen - o.Seen, c.Stamped - o.Stamped, c.Taken - o.Taken, c.Full - o.Full, c.Stale - o.Stale,
		c.Doubtful - o.Doubtful, c.HandedOff - o.HandedOff,
	}
}

type shownSlot struct{ ours, theirs, handed, arrivedAt, arrived uint64 }

// shown returns what a slot holds.
func shown(s *slot) shownSlot {
	return shownSlot{
		s.ours.Load(), s.theirs.Load(), handedLast(s).sequence.Load(), s.arrivedAt.Load(), s.arrived.Load(),
	}
}

// sequenceIn returns the sequence of the heartbeat in a frame.
func sequenceIn(frame []byte) uint64 {
	return be.Uint64(frame[bytes.Index(frame, []byte("SYST"))+48:])
}

const (
	vlan   = 0x8100
	double = 0x88a8
)

// vectors are packets and what happens to them.
var vectors = []struct {
	name   string
	change func(t testing.TB, p *packet)
	want   fate
}{
	{"heartbeat", func(t testing.TB, p *packet) {}, absorbed},
	{"IPv6", func(t testing.TB, p *packet) { p.from, p.to = peer6, here6 }, absorbed},
	{"VLAN", func(t testing.TB, p *packet) { p.tags = []uint16{vlan} }, absorbed},
	{"two VLANs", func(t testing.TB, p *packet) { p.tags = []uint16{double, vlan} }, absorbed},
	{"two VLANs, IPv6", func(t testing.TB, p *packet) { p.tags, p.from, p.to = []uint16{vlan, vlan}, peer6, here6 }, absorbed},
	{"three VLANs", func(t testing.TB, p *packet) { p.tags = []uint16{double, vlan, vlan} }, ignored},
	{"options", func(t testing.TB, p *packet) { p.options = 3 }, absorbed},
	{"all options, two VLANs", func(t testing.TB, p *packet) { p.options, p.tags = 10, []uint16{double, vlan} }, absorbed},
	{"other port", func(t testing.TB, p *packet) { p.to = netip.MustParseAddrPort("192.0.2.7:4785") }, ignored},
	{"port 0", func(t testing.TB, p *packet) { p.to = netip.MustParseAddrPort("192.0.2.7:0") }, ignored},
	{"from our port", func(t testing.TB, p *packet) { p.from, p.to = p.to, p.from }, ignored},
	{"not UDP", func(t testing.TB, p *packet) { p.protocol = 6 }, ignored},
	{"not UDP, IPv6", func(t testing.TB, p *packet) { p.from, p.to, p.protocol = peer6, here6, 6 }, ignored},
	{"other magic", set(0, 0x54), ignored},
	{"other version", set(4, 2), ignored},
	{"other kind", set(5, 2), ignored},
	{"other slot", set(23, 6), ignored},
	{"slot 0", func(t testing.TB, p *packet) { clear(p.payload[16:24]) }, ignored},
	{"slot beyond the table", func(t testing.TB, p *packet) { be.PutUint64(p.payload[16:], ours+16) }, ignored},
	{"other salt", set(16, 1), ignored},
	{"other discriminator of the peer", set(31, 8), ignored},
	{"no discriminators", func(t testing.TB, p *packet) { clear(p.payload[16:32]) }, ignored},
	{"padded", func(t testing.TB, p *packet) { p.padding = 7 }, absorbed},
	{"short, padded", func(t testing.TB, p *packet) {
		p.payload, p.padding = sized(p.payload[:wire.HeaderSize-1]), 9
	}, ignored},
	{"too long", func(t testing.TB, p *packet) {
		p.payload = sized(append(p.payload, make([]byte, wire.MaxSize+1-wire.HeaderSize)...))
	}, ignored},
	{"no messages in their section", func(t testing.TB, p *packet) { p.payload = sized(append(p.payload, 0, 0, 0, 0)) }, left},
	{"short", func(t testing.TB, p *packet) { p.payload = p.payload[:wire.HeaderSize-1] }, ignored},
	{"empty", func(t testing.TB, p *packet) { p.payload = nil }, ignored},
	{"trailing bytes", func(t testing.TB, p *packet) { p.payload = append(p.payload, 0, 0, 0, 0) }, ignored},
	{"first fragment", func(t testing.TB, p *packet) { p.fragment = 0x2000 }, ignored},
	{"later fragment", func(t testing.TB, p *packet) { p.fragment = 1 }, ignored},
	{"do not fragment", func(t testing.TB, p *packet) { p.fragment = 0x4000 }, absorbed},
	{"extension header", func(t testing.TB, p *packet) { p.from, p.to, p.extensions = peer6, here6, 1 }, ignored},
	{"length of IP", func(t testing.TB, p *packet) { p.ipExtra = 8 }, ignored},
	{"length of IPv6", func(t testing.TB, p *packet) { p.from, p.to, p.ipExtra = peer6, here6, -8 }, ignored},
	{"length of UDP", func(t testing.TB, p *packet) { p.udpExtra = -1 }, ignored},
	{"messages", func(t testing.TB, p *packet) { p.payload = encode(t, header(1), []byte{0, 1, 0, 1, 9}) }, left},
	{"longest", func(t testing.TB, p *packet) {
		message, _ := wire.AppendMessage(nil, 1, make([]byte, wire.MaxSize-wire.HeaderSize-wire.MessageHeaderSize))
		p.payload, p.options, p.tags = encode(t, header(1), message), 10, []uint16{double, vlan}
	}, left},
	{"tag", func(t testing.TB, p *packet) {
		h := header(1)
		h.KeyID = 3
		p.payload = encode(t, h, nil)
	}, left},
	{"key id without a tag", set(15, 1), left},
	{"message bytes without messages", set(11, 1), left},
	{"follow-up", func(t testing.TB, p *packet) {
		h := header(3)
		h.Flags, h.FollowUpSequence = wire.FlagFollowUp, 2
		p.payload = encode(t, h, nil)
	}, absorbed},
	{"leaving", set(7, byte(wire.FlagLeaving)), left},
	{"degraded", set(7, byte(wire.FlagDegraded|wire.FlagFollowUp)), left},
	{"solicit", set(7, byte(wire.FlagSolicit)), left},
	{"unknown flag", set(6, 0x80), left},
	{"sequence 0", func(t testing.TB, p *packet) { clear(p.payload[48:56]) }, leftStale},
	{"partial checksum", func(t testing.TB, p *packet) { p.checksum = partial }, absorbed},
	{"partial checksum, IPv6", func(t testing.TB, p *packet) { p.checksum, p.from, p.to = partial, peer6, here6 }, absorbed},
	{"no checksum", func(t testing.TB, p *packet) { p.checksum = none }, absorbed},
	{"no checksum, IPv6", func(t testing.TB, p *packet) { p.checksum, p.from, p.to = none, peer6, here6 }, leftDoubtful},
	{"wrong checksum", func(t testing.TB, p *packet) { p.checksum = wrong }, leftDoubtful},
	{"wrong checksum, IPv6", func(t testing.TB, p *packet) { p.checksum, p.from, p.to = wrong, peer6, here6 }, leftDoubtful},
	{"link-local", func(t testing.TB, p *packet) { p.from, p.to = netip.MustParseAddrPort("[fe80::9]:5000"), here6 }, left},
	{"link-local, last prefix", func(t testing.TB, p *packet) { p.from, p.to = netip.MustParseAddrPort("[febf::9]:5000"), here6 }, left},
}

// sized sets the length that a datagram says it has.
func sized(payload []byte) []byte {
	be.PutUint16(payload[8:], uint16(len(payload)))
	return payload
}

// set returns a change of one byte of the datagram.
func set(offset int, v byte) func(t testing.TB, p *packet) {
	return func(t testing.TB, p *packet) { p.payload[offset] = v }
}

// without returns f where a hook stamps only.
func (f fate) without(takes bool) fate {
	if !takes && f != ignored {
		return left
	}
	return f
}

// begin begins a session anew.
func begin(s *Source) {
	s.Watch(ours, 0)
	if len(s.table.rings) > 5 {
		r := &s.table.rings[5]
		r.theirs, r.last = 0, 0
	}
	s.Watch(ours, theirs)
}

// Each program does with each packet what it should, and changes none.
func TestVectors(t *testing.T) {
	each(t, func(t *testing.T, h hook, p *programs, s *Source, takes bool) {
		for _, v := range vectors {
			t.Run(v.name, func(t *testing.T) {
				begin(s)
				packet := heartbeat(t, 1)
				v.change(t, packet)
				h.expect(t, p, s, packet.bytes(), v.want.without(takes))
			})
		}
	})
}

// A frame that is cut off anywhere is none of ours.
func TestCutOff(t *testing.T) {
	each(t, func(t *testing.T, h hook, p *programs, s *Source, takes bool) {
		for _, packet := range []*packet{heartbeat(t, 1), {from: peer6, to: here6, payload: encode(t, header(1), nil)}} {
			packet.tags = []uint16{vlan}
			frame := packet.bytes()
			for n := 15; n < len(frame); n++ {
				h.expect(t, p, s, frame[:n], ignored)
			}
		}
	})
}

// What is not watched is left alone.
func TestUnwatched(t *testing.T) {
	each(t, func(t *testing.T, h hook, p *programs, s *Source, takes bool) {
		frame := heartbeat(t, 1).bytes()
		s.Watch(ours, 0)
		h.expect(t, p, s, frame, ignored)
		s.Watch(ours, theirs+1)
		h.expect(t, p, s, frame, ignored)
		s.Watch(ours, theirs)
		if err := s.SetPorts(); err != nil {
			t.Fatal(err)
		}
		h.expect(t, p, s, frame, ignored)
		if err := s.SetPorts(1, 2, 3, 4, 5, 6, 7, port); err != nil {
			t.Fatal(err)
		}
		h.expect(t, p, s, frame, absorbed.without(takes))
	})
}

// An skb that a program has stamped at a device further down keeps its stamp.
func TestFirstStampStays(t *testing.T) {
	each(t, func(t *testing.T, h hook, p *programs, s *Source, takes bool) {
		if !h.skb || takes {
			return // its stamp is not in an skb
		}
		frame := heartbeat(t, 1).bytes()
		if _, stamp := h.run(t, p, frame, 12345); stamp != 12345 {
			t.Errorf("the stamp is %d", stamp)
		}
		now := clock.Now()
		if _, stamp := h.run(t, p, frame, 0); stamp < uint64(now) || stamp > uint64(clock.Now()) {
			t.Errorf("the stamp is %d", stamp)
		}
		if got := s.table.count(); got.Seen != 2 || got.Stamped != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// absorbing calls f for each hook that takes heartbeats.
func absorbing(t *testing.T, f func(t *testing.T, h hook, p *programs, s *Source)) {
	each(t, func(t *testing.T, h hook, p *programs, s *Source, takes bool) {
		if takes {
			f(t, h, p, s)
		}
	})
}

// fill has a program take n heartbeats from a sequence on.
func (h hook) fill(t testing.TB, p *programs, from uint64, n int) {
	t.Helper()
	for i := range n {
		if verdict, _ := h.run(t, p, heartbeat(t, from+uint64(i)).bytes(), 0); verdict != h.drop {
			t.Fatalf("sequence %d: the verdict is %d", from+uint64(i), verdict)
		}
	}
}

// next returns the sequence of what Next returns, 0 for nothing.
func next(t testing.TB, s *Source) uint64 {
	t.Helper()
	b := make([]byte, wire.HeaderSize)
	n, _, _ := s.Next(ours, clock.Never, b)
	if n == 0 {
		return 0
	}
	return sequenceIn(b)
}

// Only what is newer than the last one that was taken is taken.
func TestOldSequenceIsLeft(t *testing.T) {
	absorbing(t, func(t *testing.T, h hook, p *programs, s *Source) {
		h.expect(t, p, s, heartbeat(t, 7).bytes(), absorbed)
		h.expect(t, p, s, heartbeat(t, 7).bytes(), leftStale)
		h.expect(t, p, s, heartbeat(t, 6).bytes(), leftStale)
		h.expect(t, p, s, heartbeat(t, 9).bytes(), absorbed)
	})
}

// Sequences begin anew with another session of the peer.
func TestNewSessionResetsTheSequence(t *testing.T) {
	absorbing(t, func(t *testing.T, h hook, p *programs, s *Source) {
		h.expect(t, p, s, heartbeat(t, 7).bytes(), absorbed)
		s.Watch(ours, theirs+1)
		other := heartbeat(t, 1)
		be.PutUint64(other.payload[24:], theirs+1)
		h.expect(t, p, s, other.bytes(), absorbed)
	})
}

// A full ring leaves heartbeats to the socket, and keeps what it has.
func TestFullRing(t *testing.T) {
	absorbing(t, func(t *testing.T, h hook, p *programs, s *Source) {
		for round := range uint64(5) {
			first := 100*round + 1
			h.fill(t, p, first, room)
			verdict, _ := h.run(t, p, heartbeat(t, first+room).bytes(), 0)
			if got := s.table.count(); verdict != h.pass || got.Full != round+1 || got.Stamped != round+1 {
				t.Fatalf("verdict %d, %+v", verdict, got)
			}
			for i := range uint64(room) {
				if got := next(t, s); got != first+i {
					t.Fatalf("sequence %d, want %d", got, first+i)
				}
			}
			expectNoNext(t, s)
		}
	})
}

// A ring at which another processor works is left alone.
func TestClaimedRing(t *testing.T) {
	absorbing(t, func(t *testing.T, h hook, p *programs, s *Source) {
		claim := &s.table.rings[5].claim
		claim.Store(1)
		h.expect(t, p, s, heartbeat(t, 1).bytes(), leftFull)
		if claim.Load() != 1 {
			t.Error("the claim was released")
		}
		claim.Store(0)
		h.expect(t, p, s, heartbeat(t, 1).bytes(), absorbed)
		if claim.Load() != 0 {
			t.Error("the claim was kept")
		}
	})
}

// Without absorb, no table has room for heartbeats but for slot 0, which is nobody's.
func TestNothingIsTakenUnasked(t *testing.T) {
	_, s := load(t, false)
	if n := len(s.table.rings); n != 1 {
		t.Errorf("%d rings", n)
	}
}

// Random changes of a heartbeat lead to what a model of the programs in Go says.
func TestRandomChanges(t *testing.T) {
	const rounds = 3000
	each(t, func(t *testing.T, h hook, p *programs, s *Source, takes bool) {
		random := rand.New(rand.NewPCG(1, 2))
		fates := make(map[fate]int)
		for range rounds {
			begin(s)
			frame := randomFrame(t, random)
			want := model(frame)
			fates[want]++
			if h.expect(t, p, s, frame, want.without(takes)); t.Failed() {
				t.Fatalf("%x", frame)
			}
		}
		for _, f := range []fate{ignored, left, leftStale, leftDoubtful, absorbed} {
			if fates[f] < 10 {
				t.Errorf("fate %d came up %d times", f, fates[f])
			}
		}
	})
}

// randomFrame returns the frame of a vector, most often with a few bytes changed.
func randomFrame(t testing.TB, random *rand.Rand) []byte {
	packet := heartbeat(t, 1)
	vectors[random.IntN(len(vectors))].change(t, packet)
	packet.checksum = checksum(random.IntN(int(wrong) + 1))
	frame := packet.bytes()
	for range random.IntN(4) {
		frame[12+random.IntN(len(frame)-12)] ^= 1 << random.IntN(8)
	}
	const least = 14 + 40 // the kernel runs programs over no less
	frame = append(frame, make([]byte, max(0, least-len(frame)))...)
	if random.IntN(8) == 0 {
		frame = frame[:max(least, random.IntN(len(frame)))]
	}
	return frame
}

// model returns what happens to a frame. One whose messages are cut off is stamped: IP drops it.
func model(frame []byte) fate {
	udp, length, pseudo := datagramIn(frame)
	if len(udp) < 8+wire.HeaderSize || length > 8+wire.MaxSize || int(be.Uint16(udp[4:])) != length {
		return ignored
	}
	if to := be.Uint16(udp[2:]); to != port && to != 1000 {
		return ignored
	}
	d := udp[8:]
	if string(d[:4]) != "SYST" || d[4] != 1 || d[5] != 1 || int(be.Uint16(d[8:])) != length-8 ||
		be.Uint64(d[16:]) != ours || be.Uint64(d[24:]) != theirs {
		return ignored
	}
	linkLocal := len(pseudo) > 8 && pseudo[0] == 0xfe && pseudo[1]&0xc0 == 0x80
	if length != 8+wire.HeaderSize || be.Uint16(d[10:]) != 0 || be.Uint32(d[12:]) != 0 || be.Uint16(d[6:])&^8 != 0 || linkLocal {
		return left
	}
	pseudo = append(pseudo, 0, 17, udp[4], udp[5])
	switch field := be.Uint16(udp[6:]); {
	case field == 0 && len(pseudo) > 12:
		return leftDoubtful
	case field != 0 && field != sum(pseudo) && sum(pseudo, udp) != 0xffff:
		return leftDoubtful
	case be.Uint64(d[48:]) == 0:
		return leftStale
	}
	return absorbed
}

// datagramIn returns the datagram of UDP in a frame, its length before it was cut off, and the addresses.
func datagramIn(frame []byte) (udp []byte, length int, addresses []byte) {
	protocol, b := be.Uint16(frame[12:]), frame[14:]
	for range 2 {
		if (protocol == vlan || protocol == double) && len(b) >= 4 {
			protocol, b = be.Uint16(b[2:]), b[4:]
		}
	}
	var start, end int
	switch {
	case protocol == 0x0800 && len(b) >= 20 && b[0]>>4 == 4 && b[9] == 17 && be.Uint16(b[6:])&0x3fff == 0:
		start, end, addresses = int(b[0]&15)*4, int(be.Uint16(b[2:])), slices.Clone(b[12:20])
		if start < 20 {
			return nil, 0, nil
		}
	case protocol == 0x86dd && len(b) >= 40 && b[0]>>4 == 6 && b[6] == 17:
		start, end, addresses = 40, 40+int(be.Uint16(b[4:])), slices.Clone(b[8:40])
	}
	if start > min(end, len(b)) {
		return nil, 0, nil
	}
	return b[start:min(end, len(b))], end - start, addresses
}

// Two processors have a program take heartbeats while Next reads them: none is lost, doubled or out of order.
func TestTakenByTwoProcessors(t *testing.T) {
	const each = 1000
	absorbing(t, func(t *testing.T, h hook, p *programs, s *Source) {
		r := &s.table.rings[5]
		var sequence atomic.Uint64
		var producers sync.WaitGroup
		done := make(chan struct{})
		for range 2 {
			producers.Go(func() {
				for i := range each {
					for i%8 != 0 && r.head.Load()-r.tail.Load() == room {
						runtime.Gosched()
					}
					h.run(t, p, heartbeat(t, sequence.Add(1)).bytes(), 0)
				}
			})
		}
		go func() { producers.Wait(); close(done) }()
		var read, last uint64
		for ended := false; !ended; {
			select {
			case <-done:
				ended = true
			default:
			}
			runtime.Gosched()
			for n := next(t, s); n != 0; n = next(t, s) {
				if n <= last {
					t.Fatalf("sequence %d after %d", n, last)
				}
				last = n
				read++
			}
		}
		c := s.table.count()
		if c.Taken != read || c.Seen != 2*each || c.Taken+c.Full+c.Stale != c.Seen || read < each/10 {
			t.Errorf("read %d, %+v", read, c)
		}
	})
}
