package bpf

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/wire"
)

// The structures of c/table.h. A test compares them.

// MaxPorts is how many local ports the programs know. Heartbeats to others keep the stamps of the kernel.
const MaxPorts = 8

// control is what holds for all peers.
type control struct {
	ports [2]atomic.Uint64 // MaxPorts of 16 bits each, in the order of memory; 0: unused
	xdp   atomic.Uint64    // an XDP program stamps
}

// slot is what belongs to one peer, at the index that is the slot of our discriminator.
type slot struct {
	ours, theirs       atomic.Uint64 // discriminators; ours 0: nothing matches
	arrivedAt, arrived atomic.Uint64 // the last heartbeat that XDP left to a socket: when, and its sequence
	_                  [4]uint64
	handed             [handOffs]handOff // the last heartbeats that a driver took, by sequence
}

// handOffs is how many hand-offs of a peer are known.
const handOffs = 8

// handOff is when a driver took a heartbeat.
type handOff struct{ at, sequence atomic.Uint64 }

// room is how many heartbeats a ring holds.
const room = 4

// ring is the heartbeats that were taken for one peer.
type ring struct {
	head         atomic.Uint64 // of the programs
	tail         atomic.Uint64 // of the process
	claim        atomic.Uint64 // a program is at work
	theirs, last uint64        // of the programs: whose sequence was the last one
	_            [3]uint64
	heartbeats   [room]taken
}

// taken is one heartbeat.
type taken struct {
	arrival uint64
	from    [16]byte
	port    [2]byte // big-endian
	_       [6]byte
	header  [wire.HeaderSize]byte
	_       [8]byte
}

// counted is what the programs count on one processor.
type counted struct {
	seen, stamped, taken, full, stale, doubtful, handedOff atomic.Uint64
	_                                                      uint64
}

// processors is how many lines of counters there are. Processors beyond share them.
const processors = 64

// table is the memory that programs and the process share. Programs may still run while it is used.
type table struct {
	control  *control
	slots    []slot
	rings    []ring // empty if nothing is absorbed
	counters []counted

	mapped []mapping
}

// mapping is one map of BPF in the memory of the process.
type mapping struct {
	at   unsafe.Pointer
	size uintptr
}

// tableMaps are the descriptors of a table's maps, with how many slots and rings there are.
type tableMaps struct {
	control, slots, rings, counters int
	numSlots, numRings              int
}

// mapTable maps a table. It keeps no descriptor.
func mapTable(m tableMaps) (*table, error) {
	t := new(table)
	controls, err := mapped[control](t, m.control, 1)
	if err == nil {
		t.control = &controls[0]
		t.slots, err = mapped[slot](t, m.slots, m.numSlots)
	}
	if err == nil {
		t.rings, err = mapped[ring](t, m.rings, m.numRings)
	}
	if err == nil {
		t.counters, err = mapped[counted](t, m.counters, processors)
	}
	for _, part := range t.mapped {
		runtime.AddCleanup(t, mapping.unmap, part)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// mapped maps n values of a map of BPF.
func mapped[T any](t *table, fd, n int) ([]T, error) {
	if n == 0 {
		return nil, nil
	}
	size := uintptr(n) * unsafe.Sizeof(*new(T))
	at, err := unix.MmapPtr(fd, 0, nil, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("bpf: map the memory of the programs: %w", err)
	}
	t.mapped = append(t.mapped, mapping{at, size})
	return unsafe.Slice((*T)(at), n), nil
}

// close puts empty memory in the place of the table: whoever still has it finds nothing there, and
// faults on nothing. The addresses are free once nobody has it.
func (t *table) close() {
	for _, part := range t.mapped {
		const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED | unix.MAP_NORESERVE
		// It fails only if the process has no memory or too many mappings; then the table stays.
		_, _ = unix.MmapPtr(-1, 0, part.at, part.size, unix.PROT_READ|unix.PROT_WRITE, flags)
	}
}

func (m mapping) unmap() { _ = unix.MunmapPtr(m.at, m.size) }

// SetPorts sets the local UDP ports of the engine, at most eight. Without ports the programs see no
// heartbeats. Call it after engine.Open. Any goroutine may call it.
func (s *Source) SetPorts(ports ...uint16) error {
	if len(ports) > MaxPorts || slices.Contains(ports, 0) {
		return fmt.Errorf("bpf: SetPorts: %v are not at most %d ports from 1", ports, MaxPorts)
	}
	var words [2]uint64
	copy((*[MaxPorts]uint16)(unsafe.Pointer(&words))[:], ports)
	for i, w := range words {
		s.table.control.ports[i].Store(w)
	}
	return nil
}

// setXDP tells the readers of the table whether an XDP program is attached. Any goroutine may call it.
func (t *table) setXDP(attached bool) {
	if attached {
		t.control.xdp.Store(1)
	} else {
		t.control.xdp.Store(0)
	}
}

// Counters are what the programs have counted since Open.
type Counters struct {
	Seen      uint64 `json:"seen"`       // heartbeats of watched peers that arrived
	Stamped   uint64 `json:"stamped"`    // of these, stamped and left to a socket
	Taken     uint64 `json:"taken"`      // of these, taken
	Full      uint64 `json:"full"`       // left to a socket for want of room
	Stale     uint64 `json:"stale"`      // left to a socket because a later one was taken
	Doubtful  uint64 `json:"doubtful"`   // left to a socket because the checksum is wrong
	HandedOff uint64 `json:"handed_off"` // heartbeats of ours that a driver took
}

// count returns the counters. Any goroutine may call it.
func (t *table) count() (c Counters) {
	for i := range t.counters {
		p := &t.counters[i]
		c.Seen += p.seen.Load()
		c.Stamped += p.stamped.Load()
		c.Taken += p.taken.Load()
		c.Full += p.full.Load()
		c.Stale += p.stale.Load()
		c.Doubtful += p.doubtful.Load()
		c.HandedOff += p.handedOff.Load()
	}
	return c
}
