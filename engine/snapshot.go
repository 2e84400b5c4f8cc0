package engine

import "slices"

// Snapshot appends the figures of every watched peer to dst, in the order in which slots
// were given out, and returns it. Each peer's figures are read at once, the peers one
// after the other. Any goroutine may call it; it takes about a microsecond per peer and
// holds nothing up.
func (e *Engine) Snapshot(dst []PeerStats) []PeerStats {
	slots := e.table.slots.Load()
	dst = slices.Grow(dst, int(slots))
	for slot := uint32(1); slot < slots; slot++ {
		generation, state, _, _ := unpackStatus(e.table.peer(slot).verdict.status.Load())
		if state == Unknown || state == Removed {
			continue
		}
		if s := (Peer{e, slot, generation}).Stats(); s.State != Removed {
			dst = append(dst, s)
		}
	}
	return dst
}
