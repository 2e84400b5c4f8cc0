package enginetest

import (
	"net/netip"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/internal/sim"
	"systole/wire"
)

// device is the network device of a host with a program that stamps and takes heartbeats: the
// Config.Arrivals of the host's engine. Like every such source it knows datagrams and discriminators only.
type device struct {
	host     *Host
	room     int // heartbeats that it holds per session
	sessions map[uint64]*deviceSession
	given    uint64 // heartbeats that the engine has read
}

// deviceSession is what the device has of one session.
type deviceSession struct {
	theirs uint64
	held   []heldDatagram
	passed map[uint64]clock.Instant // arrivals of the heartbeats that it left to the socket, by sequence
	left   [8]leftDatagram          // the engine's heartbeats that left last, by sequence
}

// leftDatagram is when a heartbeat of the engine left.
type leftDatagram struct {
	sequence uint64
	at       clock.Instant
}

// heldDatagram is a datagram that the device took, and when, on the host's clock.
type heldDatagram struct {
	*sim.Datagram
	arrival clock.Instant
}

var _ engine.Arrivals = (*device)(nil)

// Watch implements engine.Arrivals.
func (d *device) Watch(ours, theirs uint64) {
	if delete(d.sessions, ours); theirs != 0 {
		d.sessions[ours] = &deviceSession{theirs: theirs, passed: make(map[uint64]clock.Instant)}
	}
}

// take takes a datagram that arrives. It reports false if the datagram goes on to the socket: because it
// is not a heartbeat of a session, cannot wait, or finds no room.
func (d *device) take(in *sim.Datagram) bool {
	var h wire.Header
	messages, fault := wire.Decode(in.Data, &h)
	s := d.sessions[h.YourDiscriminator]
	if fault != wire.OK || s == nil || s.theirs != h.MyDiscriminator {
		return false
	}
	if h.Flags&^wire.FlagFollowUp != 0 || len(messages) > 0 || len(s.held) >= d.room {
		s.passed[h.Sequence] = d.host.Clock().Now
		return false
	}
	s.held = append(s.held, heldDatagram{in, d.host.Clock().Now})
	return true
}

// Next implements engine.Arrivals.
func (d *device) Next(ours uint64, until clock.Instant, b []byte) (n int, from netip.AddrPort, arrival clock.Stamp) {
	s := d.sessions[ours]
	if s == nil || len(s.held) == 0 || s.held[0].arrival > until {
		return 0, from, arrival
	}
	in := s.held[0]
	s.held = s.held[1:]
	d.given++
	copy(b, in.Data)
	return len(in.Data), in.From.AddrPort(), clock.Stamp{At: in.arrival, Source: clock.BPF}
}

// Arrived implements engine.Arrivals.
func (d *device) Arrived(ours, sequence uint64) (clock.Stamp, bool) {
	s := d.sessions[ours]
	if s == nil {
		return clock.Stamp{}, false
	}
	at, ok := s.passed[sequence]
	delete(s.passed, sequence)
	return clock.Stamp{At: at, Source: clock.BPF}, ok
}

// leaves notes when a datagram of the engine leaves the device.
func (d *device) leaves(out *sim.Datagram) {
	var h wire.Header
	if _, fault := wire.Decode(out.Data, &h); fault == wire.OK {
		if s := d.sessions[h.MyDiscriminator]; s != nil {
			s.left[h.Sequence%uint64(len(s.left))] = leftDatagram{h.Sequence, d.host.Clock().Now}
		}
	}
}

// HandedOff implements engine.Arrivals.
func (d *device) HandedOff(ours, sequence uint64) (clock.Instant, bool) {
	s := d.sessions[ours]
	if s == nil {
		return 0, false
	}
	left := s.left[sequence%uint64(len(s.left))]
	return left.at, left.sequence == sequence
}
