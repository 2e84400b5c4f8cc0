// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import "math/bits"

// noSlot marks the absence of a slot.
const noSlot = ^uint32(0)

// index maps peer ids to slots: open addressing with linear probing over flat,
// pointer-free cells, at most 3/4 full. One goroutine uses it: the shard's owner.
type index struct {
	cells []indexCell
	shift uint // 64 - log2(len(cells))
	used  int
}

// indexCell is empty while id is 0, which is nobody's id.
type indexCell struct {
	id   uint64
	slot uint32
	_    uint32
}

// mix spreads ids that differ in few bits over all of a word: Fibonacci hashing
// (Knuth, TAOCP 6.4), by an odd multiplier near 2^64/φ.
func mix(id uint64) uint64 { return id * 0x9E3779B97F4A7C15 }

// lookup returns the slot of id, or noSlot. Probing ends at an empty cell, and a
// quarter of the cells is empty.
func (x *index) lookup(id uint64) uint32 {
	if len(x.cells) == 0 {
		return noSlot
	}
	mask := uint64(len(x.cells) - 1)
	for at := mix(id) >> x.shift; ; at = (at + 1) & mask {
		cell := &x.cells[at&mask]
		if cell.id == id {
			return cell.slot
		}
		if cell.id == 0 {
			return noSlot
		}
	}
}

// insert maps id to slot. It grows the table when needed: the one allocation,
// on the way of a new peer, not of a heartbeat.
func (x *index) insert(id uint64, slot uint32) {
	if 4*(x.used+1) > 3*len(x.cells) {
		x.grow(max(16, 2*len(x.cells)))
	}
	mask := uint64(len(x.cells) - 1)
	at := mix(id) >> x.shift
	for x.cells[at].id != 0 && x.cells[at].id != id {
		at = (at + 1) & mask
	}
	if x.cells[at].id == 0 {
		x.used++
	}
	x.cells[at] = indexCell{id: id, slot: slot}
}

// grow rehashes into n cells, a power of two.
func (x *index) grow(n int) {
	old := x.cells
	x.cells = make([]indexCell, n)
	x.shift = uint(64 - bits.TrailingZeros(uint(n)))
	x.used = 0
	for i := range old {
		if old[i].id != 0 {
			x.insert(old[i].id, old[i].slot)
		}
	}
}

// remove forgets id. It closes the gap by moving later cells of the probe run back
// (Knuth's algorithm R), so no tombstones slow the lookups of a long life.
func (x *index) remove(id uint64) {
	if x.lookup(id) == noSlot {
		return
	}
	mask := uint64(len(x.cells) - 1)
	hole := mix(id) >> x.shift
	for x.cells[hole].id != id {
		hole = (hole + 1) & mask
	}
	for at := (hole + 1) & mask; x.cells[at].id != 0; at = (at + 1) & mask {
		home := mix(x.cells[at].id) >> x.shift
		if (at-home)&mask >= (at-hole)&mask {
			x.cells[hole] = x.cells[at]
			hole = at
		}
	}
	x.cells[hole] = indexCell{}
	x.used--
}
