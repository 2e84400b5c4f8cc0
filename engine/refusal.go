package engine

import (
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
	"systole/wire"
)

// Shards share the ports, and the kernel gives what the network returns to the one socket of
// a port that its hash says, whichever sent the heartbeat. So the shard that reads a refusal
// passes it on to the one whose peer it is about, as it came. There it is judged by the same
// proofs, and as late: when the sockets have been read, so that whoever was heard is known.

// refusal is a port unreachable for another shard.
type refusal struct {
	peer   udp.Addr
	quoted [wire.HeaderSize]byte
}

// refusalRing is how many may wait for one shard. More than that are lost, as any datagram
// may be: the next heartbeat is refused as well.
const refusalRing = 64

// passRefusal hands a refusal to the shard whose peer the quoted heartbeat was for, and reports
// whether that is another one than this. What does not claim to be of this incarnation of ours
// is nobody's.
func (s *shard) passRefusal(e *network.Returned) bool {
	h := &s.in
	if len(s.engine.shards) == 1 || !s.quotedOurs(e, h) {
		return false
	}
	to := s.number
	if h.Destination != 0 {
		to = s.engine.shardOf(h.Destination)
	} else if waits, answer := s.engine.awaited.lookup(e.Peer); answer == somebodyAwaited {
		to = int(waits.shard)
	}
	if to == s.number {
		return false
	}
	owner := s.engine.shards[to]
	if owner.refusals.TryPush(refusal{e.Peer, [wire.HeaderSize]byte(e.Quoted)}) {
		owner.net.Wake()
	}
	return true
}

// takeRefusals judges what other shards have passed on.
func (s *shard) takeRefusals() {
	for range refusalRing {
		if s.refusals.PopBatch(s.refusal[:]) == 0 {
			return
		}
		r := &s.refusal[0]
		s.refused(&network.Returned{PortUnreachable: true, Peer: r.peer, Quoted: r.quoted[:]})
	}
	s.unfinished = true
}
