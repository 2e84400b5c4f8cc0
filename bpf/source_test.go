package bpf

import (
	"net/netip"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/wire"
)

// newSource returns a source whose table no program writes.
func newSource(slots, rings int) *Source {
	return &Source{table: &table{
		control: new(control), slots: make([]slot, slots), rings: make([]ring, rings), counters: make([]counted, processors),
	}}
}

// put does what the programs do with a heartbeat that they take, and reports false if there is no room.
func (r *ring) put(arrival clock.Instant, from netip.AddrPort, datagram []byte) bool {
	head := r.head.Load()
	if head-r.tail.Load() >= room {
		return false
	}
	h := &r.heartbeats[head%room]
	h.arrival, h.from = uint64(arrival), from.Addr().As16()
	be.PutUint16(h.port[:], from.Port())
	copy(h.header[:], datagram)
	r.head.Store(head + 1)
	return true
}

func TestNext(t *testing.T) {
	s := newSource(16, 16)
	s.Watch(ours, theirs)
	r := &s.table.rings[5]
	for i, from := range []netip.AddrPort{peer4, peer6} {
		r.put(clock.Instant(100+i), from, encode(t, header(uint64(1+i)), nil))
	}
	b := make([]byte, wire.MaxSize)
	if n, _, _ := s.Next(ours, 99, b); n != 0 {
		t.Error("it returns what arrived later")
	}
	n, from, arrival := s.Next(ours, 100, b)
	if n != wire.HeaderSize || from != peer4 || arrival != (clock.Stamp{At: 100, Source: clock.BPF}) || sequenceIn(b) != 1 {
		t.Errorf("%d bytes from %v at %v: %x", n, from, arrival, b[:n])
	}
	if n, _, _ := s.Next(ours, 100, b); n != 0 {
		t.Error("it returns what arrived later")
	}
	n, from, arrival = s.Next(ours, clock.Never, b[:60])
	if n != 60 || from != peer6 || arrival.At != 101 || sequenceIn(b) != 2 {
		t.Errorf("%d bytes from %v at %v: %x", n, from, arrival, b[:n])
	}
	expectNoNext(t, s)
}

// What was taken for another session, of this node or of the peer, is dropped.
func TestNextDropsOtherSessions(t *testing.T) {
	const other = 1 << 30
	s := newSource(16, 16)
	r := &s.table.rings[5]
	old := header(1)
	old.YourDiscriminator += other
	older := header(2)
	older.MyDiscriminator += other
	for i, h := range []wire.Header{old, older, header(3), old} {
		r.put(clock.Instant(100+i), peer4, encode(t, h, nil))
	}
	s.Watch(ours, theirs)
	if got := next(t, s); got != 3 {
		t.Errorf("sequence %d", got)
	}
	expectNoNext(t, s)
	if r.tail.Load() != r.head.Load() {
		t.Error("what was dropped takes room")
	}
	r.put(200, peer4, encode(t, header(4), nil))
	s.Watch(ours, 0)
	expectNoNext(t, s)
}

// Discriminators whose slot the table does not have are ignored.
func TestSlotsBeyondTheTable(t *testing.T) {
	s := newSource(4, 1)
	for _, d := range []uint64{0, 4, ours, 1<<wire.SlotBits - 1} {
		s.Watch(d, theirs)
		if n, _, _ := s.Next(d, clock.Never, make([]byte, 200)); n != 0 {
			t.Errorf("%#x: Next returns %d bytes", d, n)
		}
		if _, ok := s.HandedOff(d, 1); ok {
			t.Errorf("%#x: HandedOff", d)
		}
		s.Watch(d, 0)
	}
	s.Watch(1, 2)
	if n, _, _ := s.Next(1, clock.Never, make([]byte, 200)); n != 0 {
		t.Errorf("Next returns %d bytes without a ring", n)
	}
}

func TestHandedOff(t *testing.T) {
	s := newSource(16, 1)
	s.Watch(ours, theirs)
	p := &s.table.slots[5]
	if _, ok := s.HandedOff(ours, 0); ok {
		t.Error("nothing was handed off")
	}
	p.handed[3].at.Store(77)
	p.handed[3].sequence.Store(3)
	if at, ok := s.HandedOff(ours, 3); at != 77 || !ok {
		t.Error(at, ok)
	}
	if _, ok := s.HandedOff(ours, 2); ok {
		t.Error("an earlier one is known")
	}
	s.Watch(ours, theirs+1)
	if _, ok := s.HandedOff(ours, 3); !ok {
		t.Error("a new session of the peer forgets what was handed off")
	}
	s.Watch(ours+1<<40, theirs)
	if _, ok := s.HandedOff(ours+1<<40, 3); ok {
		t.Error("it was handed off in another session")
	}
	if _, ok := s.HandedOff(ours, 3); ok {
		t.Error("the session is not watched any more")
	}
}

func TestArrived(t *testing.T) {
	s := newSource(16, 1)
	s.Watch(ours, theirs)
	p := &s.table.slots[5]
	p.arrivedAt.Store(77)
	p.arrived.Store(3)
	if _, ok := s.Arrived(ours, 3); ok {
		t.Error("no XDP program is attached")
	}
	s.table.setXDP(true)
	if got, ok := s.Arrived(ours, 3); got != (clock.Stamp{At: 77, Source: clock.BPF}) || !ok {
		t.Error(got, ok)
	}
	if _, ok := s.Arrived(ours, 2); ok {
		t.Error("an earlier one is known")
	}
	s.table.setXDP(false)
	if _, ok := s.Arrived(ours, 3); ok {
		t.Error("no XDP program is attached any more")
	}
}

func TestSetPorts(t *testing.T) {
	s := newSource(1, 1)
	if s.SetPorts(1, 0) == nil || s.SetPorts(1, 2, 3, 4, 5, 6, 7, 8, 9) == nil {
		t.Error("faulty ports are accepted")
	}
	if err := s.SetPorts(1, 2, 3, 4, 5, 6, 7, 8); err != nil {
		t.Error(err)
	}
	ports := (*[MaxPorts]uint16)(unsafe.Pointer(&s.table.control.ports))
	if *ports != [...]uint16{1, 2, 3, 4, 5, 6, 7, 8} {
		t.Error(*ports)
	}
	if err := s.SetPorts(9); err != nil || *ports != [MaxPorts]uint16{9} {
		t.Error(*ports, err)
	}
}

// No method allocates.
func TestNoAllocations(t *testing.T) {
	s := newSource(16, 16)
	s.table.setXDP(true)
	datagram, b := encode(t, header(1), nil), make([]byte, wire.MaxSize)
	if n := testing.AllocsPerRun(100, func() {
		s.Watch(ours, theirs)
		s.table.rings[5].put(1, peer6, datagram)
		s.Next(ours, clock.Never, b)
		s.Next(ours, clock.Never, b)
		s.Arrived(ours, 1)
		s.HandedOff(ours, 1)
		s.Watch(ours, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Next and a producer work at the same time: nothing is lost, doubled, torn or out of order.
func TestNextBesideAProducer(t *testing.T) {
	const count = 100_000
	s := newSource(16, 16)
	s.Watch(ours, theirs)
	go func() {
		h := header(1)
		var b []byte
		for h.Sequence <= count {
			b, _ = wire.Append(b[:0], &h, nil)
			if s.table.rings[5].put(clock.Instant(h.Sequence), peer4, b) {
				h.Sequence++
				h.Progress = h.Sequence
			}
		}
	}()
	b := make([]byte, wire.MaxSize)
	var h wire.Header
	for want := uint64(1); want <= count; {
		n, _, arrival := s.Next(ours, clock.Never, b)
		if n == 0 {
			continue
		}
		if _, fault := wire.Decode(b[:n], &h); fault != wire.OK || h.Sequence != want || arrival.At != clock.Instant(want) {
			t.Fatalf("%v at %v: %+v, want sequence %d", fault, arrival, h, want)
		}
		want++
	}
}

// A stamp is never that of another sequence.
func TestStampsBesideAProducer(t *testing.T) {
	const count = 200_000
	s := newSource(16, 1)
	s.table.setXDP(true)
	s.Watch(ours, theirs)
	p := &s.table.slots[5]
	var producer sync.WaitGroup
	producer.Go(func() {
		for i := uint64(1); i <= count; i++ {
			h := &p.handed[i%handOffs]
			h.sequence.Store(0)
			p.arrived.Store(0)
			h.at.Store(1000 * i)
			p.arrivedAt.Store(1000 * i)
			h.sequence.Store(i)
			p.arrived.Store(i)
		}
	})
	for i := uint64(1); i < count; i = max(p.arrived.Load(), i) {
		if at, ok := s.HandedOff(ours, i); ok && at != clock.Instant(1000*i) {
			t.Fatalf("sequence %d was handed off at %d", i, at)
		}
		if at, ok := s.Arrived(ours, i); ok && at.At != clock.Instant(1000*i) {
			t.Fatalf("sequence %d arrived at %d", i, at.At)
		}
	}
	producer.Wait()
}

// A closed table has nothing, and whoever still has it faults on nothing.
func TestClosedTable(t *testing.T) {
	files := make([]int, 4)
	for i := range files {
		fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Ftruncate(fd, 1<<16); err != nil {
			t.Fatal(err)
		}
		files[i] = fd
	}
	table, err := mapTable(tableMaps{
		control: files[0], slots: files[1], rings: files[2], counters: files[3], numSlots: 16, numRings: 16,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &Source{table: table}
	table.setXDP(true)
	s.Watch(ours, theirs)
	table.slots[5].handed[1].sequence.Store(1)
	table.slots[5].arrived.Store(1)
	table.counters[3].taken.Store(1)
	table.rings[5].put(1, peer4, encode(t, header(1), nil))
	table.rings[5].put(1, peer4, encode(t, header(2), nil))
	if got := next(t, s); got != 1 {
		t.Fatalf("sequence %d", got)
	}
	table.close()
	for range 2 {
		expectNoNext(t, s)
		_, handed := s.HandedOff(ours, 1)
		_, arrived := s.Arrived(ours, 1)
		if handed || arrived || table.count() != (Counters{}) {
			t.Error("a closed table has something")
		}
		s.Watch(ours, theirs)
		if err := s.SetPorts(port); err != nil {
			t.Error(err)
		}
		table.close()
	}
}

// A map that cannot be mapped is reported, and what was mapped before is released.
func TestTableThatCannotBeMapped(t *testing.T) {
	if _, err := mapTable(tableMaps{control: -1, numSlots: 1}); err == nil {
		t.Error("there is no such descriptor")
	}
}
