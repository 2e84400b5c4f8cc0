package engine

import (
	"fmt"
	"slices"
)

// State is what this node believes of a peer, by its own evidence alone: nodes
// never tell each other that a third one has failed.
type State uint8

const (
	// Unknown: the peer is not watched.
	Unknown State = iota
	// Connecting: watched, and never heard in a way that proves that it hears us.
	// It has Config.ConnectTimeout from our first heartbeat to it.
	Connecting
	// Alive: its heartbeats arrive in time and name our present incarnation.
	Alive
	// OneWay: its heartbeats arrive, but say that ours do not, or our side has no way to it.
	// The peer is not failed.
	OneWay
	// Suspect is tempFail: silent past its deadline, or its port refused us. Reversible.
	Suspect
	// Failed is permFail: final for that incarnation of the peer, unless
	// Config.Resurrect is set.
	Failed
	// Left: the peer said goodbye. It is alive again in a new incarnation, or when it had
	// removed this node and adds it again.
	Left
	// Removed: RemovePeer was called, another peer took its place, or an admitted
	// stranger was forgotten. It is the last state of every peer.
	Removed

	numStates
)

var stateNames = [numStates]string{
	"unknown", "connecting", "alive", "one-way", "suspect", "failed", "left", "removed",
}

// String returns the state's name in the field's terms.
func (s State) String() string {
	if s < numStates {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText makes states readable in JSON and logs.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (s *State) UnmarshalText(text []byte) error {
	i := slices.Index(stateNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("engine: no state is called %q", text)
	}
	*s = State(i)
	return nil
}

// Cause is why a peer's state changed, or what an event about this node reports.
type Cause uint8

const (
	// NoCause: nothing changed; the event tells the current state.
	NoCause Cause = iota
	// Added: the peer began to be watched.
	Added
	// FirstContact: the first heartbeat that names our present incarnation.
	FirstContact
	// Silence: nothing arrived until the detector's deadline, the socket was read
	// empty after it, and neither we nor the socket lost time or datagrams.
	Silence
	// NeverHeard: nothing arrived within Config.ConnectTimeout of our first heartbeat.
	NeverHeard
	// PortUnreachable: the peer's host returned our own heartbeat: host up, process gone.
	PortUnreachable
	// Goodbye: the peer said that it leaves.
	Goodbye
	// Restarted: a new incarnation of the peer is heard; the old one has failed.
	Restarted
	// ReachableAgain: a suspected, one-way or resurrected peer is heard again, or one that
	// said goodbye and watches this node again.
	ReachableAgain
	// Deaf: the peer is heard, but reports that it does not hear us.
	Deaf
	// Buried: the peer is heard, but reports that it has declared us failed. It will
	// take us back only as a new incarnation.
	Buried
	// LocalLink: our own side has no way to the peer: link down, address or route gone, or
	// the socket cannot be read.
	// The peer is not judged until the way is back; while it is heard it is OneWay.
	LocalLink
	// LocalPause: this node was stopped or starved; deadlines were moved by as much.
	// An event about this node, without a peer.
	LocalPause
	// LocalSuspect: so many peers fell silent together that we may be the isolated
	// one; no peer is declared failed for a while. An event about this node.
	LocalSuspect
	// IDCollision: another process uses our id. An event about this node.
	IDCollision
	// PromiseAtRisk: by what was measured, Config.Promise cannot be kept: see
	// Engine.Promised for what can. An event about this node.
	PromiseAtRisk
	// ByCaller: RemovePeer was called.
	ByCaller
	// Forgotten: an admitted stranger that left or failed was dropped from the table.
	Forgotten
	// Replaced: AddPeer was called with the id that this peer, given by address or name
	// or admitted, had turned out to have, or with the address of this one, which was
	// admitted. The new one goes on in its place.
	Replaced

	numCauses
)

var causeNames = [numCauses]string{
	"none", "added", "first-contact", "silence", "never-heard", "port-unreachable", "goodbye",
	"restarted", "reachable-again", "deaf", "buried", "local-link", "local-pause",
	"local-suspect", "id-collision", "promise-at-risk", "by-caller", "forgotten", "replaced",
}

// String returns the cause's name as the probe prints it.
func (c Cause) String() string {
	if c < numCauses {
		return causeNames[c]
	}
	return fmt.Sprintf("Cause(%d)", uint8(c))
}

// MarshalText makes causes readable in JSON and logs.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (c *Cause) UnmarshalText(text []byte) error {
	i := slices.Index(causeNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("engine: no cause is called %q", text)
	}
	*c = Cause(i)
	return nil
}

// mayFollow is the whole state machine: which states may follow which for one
// watched peer. A move to Alive or OneWay out of Failed also needs a new incarnation or
// Config.Resurrect, which heard checks, and out of Left a new incarnation or a new
// watch, which watchesAgain checks.
func mayFollow(from, to State) bool {
	const (
		connecting = 1 << Connecting
		alive      = 1 << Alive
		oneWay     = 1 << OneWay
		suspect    = 1 << Suspect
		failed     = 1 << Failed
		left       = 1 << Left
		removed    = 1 << Removed
	)
	allowed := [numStates]uint16{
		Unknown:    connecting,
		Connecting: alive | oneWay | suspect | failed | left | removed,
		Alive:      alive | oneWay | suspect | failed | left | removed,
		OneWay:     alive | suspect | failed | left | removed,
		Suspect:    alive | oneWay | failed | left | removed,
		Failed:     alive | oneWay | removed,
		Left:       alive | oneWay | removed,
		Removed:    0,
	}
	return from < numStates && allowed[from]&(1<<to) != 0
}
