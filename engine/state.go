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
	// Failed is permFail: silent for longer, or refused again. A failed peer that is heard again is
	// alive; with Config.Final, only in a new incarnation.
	Failed
	// Left: the peer said goodbye. It is alive again in a new incarnation, or when it had
	// removed this node and adds it again.
	Left
	// Removed: RemovePeer was called, an admitted stranger was forgotten, or this engine is
	// closed. It is the last state of every peer.
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
	// Restarted: a new incarnation of the peer is heard, or another process at its address; the old
	// one has ended.
	Restarted
	// ReachableAgain: a suspected, failed or one-way peer is heard again, or one that said goodbye
	// and watches this node again.
	ReachableAgain
	// Deaf: the peer is heard, but reports that it does not hear us.
	Deaf
	// HeldBack: what is heard of the peer was written long ago: a queue or somebody holds it back. Its
	// silence counts from then.
	HeldBack
	// Buried: the peer is heard, but reports that it has declared us failed. If it takes that for
	// final, Engine.Reincarnate begins a new incarnation.
	Buried
	// BuriedHeard: with Config.Final, something was heard of an incarnation that had failed. It is
	// told once.
	BuriedHeard
	// LocalLink: our own side has no way to the peer: the interface is down, or the socket cannot be
	// read. The peer is not judged until the way is back; while it is heard it is OneWay. The causes
	// up to OwnNode are of the same kind.
	LocalLink
	// LocalNoRoute: no route leads to the peer (ENETUNREACH).
	LocalNoRoute
	// LocalUnreachable: a route of this host refuses, or no neighbour answers (EHOSTUNREACH).
	LocalUnreachable
	// LocalAddress: the source address is gone (EADDRNOTAVAIL).
	LocalAddress
	// LocalNotPermitted: a firewall of this host refuses (EPERM).
	LocalNotPermitted
	// LocalProhibited: a route of this host prohibits, or the address is a broadcast (EACCES).
	LocalProhibited
	// LocalTooBig: heartbeats are longer than the way takes (EMSGSIZE).
	LocalTooBig
	// LocalNoBuffer: this host's buffers or device queues are full (ENOBUFS).
	LocalNoBuffer
	// LocalRefused: the kernel refuses for another reason, as for a source that cannot reach the
	// address (EINVAL).
	LocalRefused
	// NoSocket: no socket of ours has the family of the peer's address, or its Local or Device is none
	// of this host's.
	NoSocket
	// Unresolved: the peer's name does not resolve. It is looked up again and again.
	Unresolved
	// OwnNode: the peer's address is this node itself.
	OwnNode
	// LocalPause: this node was stopped or starved; deadlines were moved by as much.
	// An event about this node, without a peer.
	LocalPause
	// LocalSuspect: so many peers fell silent together that we may be the isolated
	// one; no peer is declared failed for a while. An event about this node.
	LocalSuspect
	// IDCollision: another process uses our id, or two peers have one id and different incarnations. An
	// event about this node, and about a Connecting peer at whose address the other process is.
	IDCollision
	// PromiseAtRisk: by what was measured, Config.Promise cannot be kept: see
	// Engine.Promised for what can. An event about this node.
	PromiseAtRisk
	// ByCaller: RemovePeer was called.
	ByCaller
	// Forgotten: an admitted stranger that left or failed was dropped from the table, or had to give
	// way to another.
	Forgotten
	// Closed: the engine was closed.
	Closed

	numCauses
)

var causeNames = [numCauses]string{
	"none", "added", "first-contact", "silence", "never-heard", "port-unreachable", "goodbye",
	"restarted", "reachable-again", "deaf", "held-back", "buried", "buried-heard", "local-link", "local-no-route",
	"local-unreachable", "local-address", "local-not-permitted", "local-prohibited", "local-too-big",
	"local-no-buffer", "local-refused", "no-socket", "unresolved", "own-node", "local-pause",
	"local-suspect", "id-collision", "promise-at-risk", "by-caller", "forgotten", "closed",
}

// local reports whether c says that this node's own side is at fault, so that the peer is not judged.
func (c Cause) local() bool { return c >= LocalLink && c <= OwnNode }

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

// ofID reports whether c says that who is at a peer's address bears our own id.
func (c Cause) ofID() bool { return c == OwnNode || c == IDCollision }

// mayFollow is the whole state machine: which states may follow which for one watched peer. A state
// may follow itself, with another cause. What leads out of Failed and Left is in takeover.go.
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
		Connecting: connecting | alive | oneWay | suspect | failed | left | removed,
		Alive:      alive | oneWay | suspect | failed | left | removed,
		OneWay:     alive | oneWay | suspect | failed | left | removed,
		Suspect:    alive | oneWay | failed | left | removed,
		Failed:     alive | oneWay | failed | left | removed,
		Left:       alive | oneWay | removed,
		Removed:    0,
	}
	return from < numStates && allowed[from]&(1<<to) != 0
}
