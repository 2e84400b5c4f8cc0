package engine

import (
	"fmt"
	"slices"
)

// State is the state of a peer by this node's own evidence: nodes do not report on third nodes.
type State uint8

const (
	// Unknown: the peer is not watched.
	Unknown State = iota
	// Connecting: the peer has not yet proven that it hears us. If it is not heard within
	// Config.ConnectTimeout of our first heartbeat, it is Failed.
	Connecting
	// Alive: its heartbeats arrive in time, and it hears our present incarnation.
	Alive
	// OneWay: its heartbeats arrive, but ours do not, or cannot be sent. The peer has not failed.
	OneWay
	// Suspect (tempFail): silent past its deadline, or its port is unreachable.
	Suspect
	// Failed (permFail): silent for longer, or its port was unreachable twice. A failed peer that is
	// heard again is Alive; with Config.Final, only in a new incarnation.
	Failed
	// Left: the peer said goodbye. It is Alive again in a new incarnation, or when it had removed
	// this node and adds it again.
	Left
	// Removed: the watch ended, by RemovePeer, by Accept.Forget or by closing the engine. It is the
	// last state of every peer.
	Removed

	numStates
)

var stateNames = [numStates]string{
	"unknown", "connecting", "alive", "one-way", "suspect", "failed", "left", "removed",
}

// String returns the state's name.
func (s State) String() string { return nameOf(s, stateNames[:], "State") }

// MarshalText returns the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (s *State) UnmarshalText(text []byte) error {
	return parseName(s, stateNames[:], "state", text)
}

// nameOf returns the name of a value of an enumeration, or kind(value) if it has none.
func nameOf[T ~uint8](v T, names []string, kind string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("%s(%d)", kind, uint8(v))
}

// parseName sets v to the value of an enumeration with a name.
func parseName[T ~uint8](v *T, names []string, kind string, text []byte) error {
	i := slices.Index(names, string(text))
	if i < 0 {
		return fmt.Errorf("engine: no %s is called %q", kind, text)
	}
	*v = T(i)
	return nil
}

// Cause is the cause of a transition of a peer.
type Cause uint8

const (
	// NoCause: no transition; the event reports the current state.
	NoCause Cause = iota
	// Added: the watch began.
	Added
	// FirstContact: the first heartbeat that proves that the peer hears our present incarnation.
	FirstContact
	// Silence: no heartbeat arrived by the detector's deadline. The deadline excludes the time that
	// this node itself stood still, and the sockets were read empty after it and had dropped nothing.
	Silence
	// NeverHeard: no heartbeat arrived within Config.ConnectTimeout of our first one.
	NeverHeard
	// PortUnreachable: the peer's host is up, but no process listens (ICMP).
	PortUnreachable
	// Goodbye: the peer said that it leaves.
	Goodbye
	// Restarted: the peer's process was replaced by a new incarnation, or by another process at its
	// address.
	Restarted
	// ReachableAgain: a suspect, failed or one-way peer is heard again, or one that left watches this
	// node again.
	ReachableAgain
	// Deaf: the peer is heard, but reports that it does not hear us.
	Deaf
	// HeldBack: the peer's heartbeats arrive, but were written longer ago than its deadline allows:
	// they are held back on the way, or replayed. Its silence counts from when they were written.
	HeldBack
	// Buried: the peer is heard, but reports that it has declared us failed. If the peer has
	// Config.Final, Engine.Reincarnate begins a new incarnation.
	Buried
	// BuriedHeard: with Config.Final, a failed incarnation of the peer was heard. Published once.
	BuriedHeard
	// LocalLink: the interface to the peer is down, or our socket cannot be read. From here to
	// OwnNode, causes are faults of our own side: the peer is not judged while they last, and is
	// OneWay while it is heard.
	LocalLink
	// LocalNoRoute: no route leads to the peer (ENETUNREACH).
	LocalNoRoute
	// LocalUnreachable: a route of this host is unreachable, or no neighbour answers (EHOSTUNREACH).
	LocalUnreachable
	// LocalAddress: the source address is gone (EADDRNOTAVAIL).
	LocalAddress
	// LocalNotPermitted: a firewall of this host refuses (EPERM).
	LocalNotPermitted
	// LocalProhibited: a route of this host prohibits, or the address is a broadcast (EACCES).
	LocalProhibited
	// LocalTooBig: heartbeats exceed the path's MTU (EMSGSIZE).
	LocalTooBig
	// LocalNoBuffer: this host's buffers or device queues are full (ENOBUFS).
	LocalNoBuffer
	// LocalRefused: the kernel refuses to send for another reason, such as a source that cannot reach
	// the address (EINVAL).
	LocalRefused
	// NoSocket: we have no socket of the address family of the peer, or this host lacks its Local
	// address, its Device, or the interface that its address names.
	NoSocket
	// Unresolved: the peer's name does not resolve. It is looked up repeatedly.
	Unresolved
	// OwnNode: the peer's address is this node's own.
	OwnNode
	// OwnID: another process with this node's own id is at the peer's address. Its name is that of the
	// node event, "id-collision".
	OwnID
	// ByCaller: RemovePeer was called.
	ByCaller
	// Forgotten: an admitted stranger failed or left, or was replaced by another.
	Forgotten
	// Closed: the engine was closed.
	Closed

	numCauses
)

var causeNames = [numCauses]string{
	"none", "added", "first-contact", "silence", "never-heard", "port-unreachable", "goodbye",
	"restarted", "reachable-again", "deaf", "held-back", "buried", "buried-heard", "local-link", "local-no-route",
	"local-unreachable", "local-address", "local-not-permitted", "local-prohibited", "local-too-big",
	"local-no-buffer", "local-refused", "no-socket", "unresolved", "own-node", "id-collision",
	"by-caller", "forgotten", "closed",
}

// local reports whether c is a fault of this node's own side. Then the peer is not judged.
func (c Cause) local() bool { return c >= LocalLink && c <= OwnNode }

// String returns the cause's name.
func (c Cause) String() string { return nameOf(c, causeNames[:], "Cause") }

// MarshalText returns the cause's name.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (c *Cause) UnmarshalText(text []byte) error {
	return parseName(c, causeNames[:], "cause", text)
}

// ofID reports whether c is that a process with our own id is at the peer's address.
func (c Cause) ofID() bool { return c == OwnNode || c == OwnID }

// mayFollow is the state machine of a peer: it reports whether to may follow from. A state that follows
// itself has another cause. takeover.go decides what leads out of Failed and Left.
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
