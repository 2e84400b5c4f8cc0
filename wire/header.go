// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

// Package wire is the heartbeat datagram: its layout, its authentication, and the faults
// for which one is refused. PROTOCOL.md specifies it; the rules W1, W2, ... are its.
//
// A datagram is a header of 136 bytes, messages of type, length and value, and, if the
// key id is not 0, a tag of 16 bytes. Integers are big-endian.
//
//	  0 magic            u32 | 4 version u8 | 5 kind u8 | 6 flags u16
//	  8 length           u16 | 10 message bytes u16     | 12 key id u32
//	 16 your discriminator u64 | 24 my discriminator u64
//	 32 sender           u64 | 40 incarnation u64       | 48 sequence u64
//	 56 send instant     i64, ns | 64 lateness u32, ns  | 68 period u32, µs
//	 72 min receive period u32, µs | 76 echo lost u32   | 80 progress u64
//	 88 echo incarnation u64 | 96 echo sequence u64     | 104 echo residence u64, ns
//	112 echo deadline    u32, µs | 116 echo verdict u8  | 117 reserved u8 | 118 reserved u16
//	120 follow-up wait   u32, ns | 124 reserved u32     | 128 follow-up sequence u64
package wire

import "encoding/binary"

const (
	// magic is the first four bytes: "SYST".
	magic = 0x53595354
	// version is the protocol's version, and heartbeat its only kind of datagram.
	version   = 1
	heartbeat = 1

	// HeaderSize, TagSize and MaxSize are in bytes. MaxSize fits the least MTU of IPv6,
	// 1280, less its header and UDP's (RFC 8200, 5).
	HeaderSize = 136
	TagSize    = 16
	MaxSize    = 1232
	// DiscriminatorOffset is where your discriminator lies. What steers a datagram or its memory
	// to a peer, such as BPF programs, reads nothing else.
	DiscriminatorOffset = 16
	// SlotBits is how many low bits of a discriminator are a slot.
	SlotBits = 20
	// MaxPeriod is the longest period, in µs: a minute.
	MaxPeriod = 60_000_000

	// maxNumber bounds incarnations and sequences, and maxInstant instants and durations in
	// ns, so that no sum of two overflows.
	maxNumber  = 1 << 63
	maxInstant = 1 << 62
)

// Slot returns the slot of a discriminator: the number under which its maker keeps what
// it knows of the peer. Slot 0 is nobody's: such a discriminator was made without state.
func Slot(discriminator uint64) uint32 { return uint32(discriminator & (1<<SlotBits - 1)) }

// Flags are facts about the sender.
type Flags uint16

const (
	// FlagLeaving: the sender says goodbye; this incarnation sends nothing more.
	FlagLeaving Flags = 1 << iota
	// FlagDegraded: the sender works, but not well.
	FlagDegraded
	// FlagSolicit: "I am about to doubt you: answer now".
	FlagSolicit
	// FlagFollowUp: the follow-up fields are set.
	FlagFollowUp

	knownFlags = FlagLeaving | FlagDegraded | FlagSolicit | FlagFollowUp
)

// Verdict is what the sender believes of the receiver.
type Verdict uint8

const (
	VerdictUnknown Verdict = iota // not yet judged
	VerdictAlive
	VerdictOneWay // "I hear you, and you do not hear me"
	VerdictSuspect
	VerdictFailed
	VerdictLeft

	numVerdicts
)

// Header is the fixed part of a datagram, without what follows from the layout: magic,
// version, kind, and the lengths. Instants and durations keep the wire's units.
type Header struct {
	EchoVerdict Verdict
	Flags       Flags
	KeyID       uint32 // 0: not authenticated
	// YourDiscriminator is the receiver's for the sender, as the sender learned it; 0: not
	// yet known, and the datagram is an introduction.
	YourDiscriminator uint64
	MyDiscriminator   uint64 // the sender's for the receiver
	Sender            uint64 // its id
	Incarnation       uint64 // the sender's; grows with every start
	Sequence          uint64 // of the heartbeats from this sender to this receiver, from 1
	SendInstant       int64  // sender's monotonic clock, ns
	Lateness          uint32 // how late after its schedule it was sent, ns, saturating
	Period            uint32 // of the sender's heartbeats to this receiver, µs
	MinReceivePeriod  uint32 // the sender accepts no shorter period, µs; 0: any
	EchoLost          uint32 // heartbeats of EchoIncarnation that never came
	Progress          uint64 // the sender application's counter
	EchoIncarnation   uint64 // the receiver's, as the sender knows it; 0: never heard
	EchoSequence      uint64 // highest sequence heard from it
	EchoResidence     uint64 // since that arrived, ns
	EchoDeadline      uint32 // silence of the receiver that the sender tolerates, µs
	FollowUpWait      uint32 // between write and hand-off to the driver of an earlier heartbeat, ns
	FollowUpSequence  uint64 // which
}

// Append appends the datagram with header h and the message section to dst. With a key
// id the tag's bytes are appended as zeros, for Authenticator.Sign to fill. It allocates
// only if dst has no room. It refuses, with the fault that Decode would find, what no
// receiver would accept; dst is then returned as it was.
func Append(dst []byte, h *Header, messages []byte) ([]byte, Fault) {
	size := HeaderSize + len(messages)
	if h.KeyID != 0 {
		size += TagSize
	}
	if size > MaxSize {
		return dst, tooLong
	}
	if f := h.check(); f != OK {
		return dst, f
	}
	if f := checkMessages(messages); f != OK {
		return dst, f
	}
	start := len(dst)
	if cap(dst)-start < size {
		dst = append(make([]byte, 0, start+MaxSize), dst...)
	}
	dst = dst[:start+size]
	h.put((*[HeaderSize]byte)(dst[start:]), size, len(messages))
	if len(messages) > 0 {
		copy(dst[start+HeaderSize:], messages)
	}
	if h.KeyID != 0 {
		clear(dst[start+size-TagSize:])
	}
	return dst, OK
}

// put writes the header at constant offsets.
func (h *Header) put(b *[HeaderSize]byte, size, messages int) {
	be := binary.BigEndian
	be.PutUint32(b[0:], magic)
	b[4] = version
	b[5] = heartbeat
	be.PutUint16(b[6:], uint16(h.Flags))
	be.PutUint16(b[8:], uint16(size))
	be.PutUint16(b[10:], uint16(messages))
	be.PutUint32(b[12:], h.KeyID)
	be.PutUint64(b[16:], h.YourDiscriminator)
	be.PutUint64(b[24:], h.MyDiscriminator)
	be.PutUint64(b[32:], h.Sender)
	be.PutUint64(b[40:], h.Incarnation)
	be.PutUint64(b[48:], h.Sequence)
	be.PutUint64(b[56:], uint64(h.SendInstant))
	be.PutUint32(b[64:], h.Lateness)
	be.PutUint32(b[68:], h.Period)
	be.PutUint32(b[72:], h.MinReceivePeriod)
	be.PutUint32(b[76:], h.EchoLost)
	be.PutUint64(b[80:], h.Progress)
	be.PutUint64(b[88:], h.EchoIncarnation)
	be.PutUint64(b[96:], h.EchoSequence)
	be.PutUint64(b[104:], h.EchoResidence)
	be.PutUint32(b[112:], h.EchoDeadline)
	b[116] = byte(h.EchoVerdict)
	b[117], b[118], b[119] = 0, 0, 0
	be.PutUint32(b[120:], h.FollowUpWait)
	be.PutUint32(b[124:], 0)
	be.PutUint64(b[128:], h.FollowUpSequence)
}

// Decode reads the datagram b into h and returns its message section, a part of b. With
// a fault, h is undefined and there are no messages. The tag is not checked here: see
// Authenticator.Verify. Decode never panics and reads nothing past b.
func Decode(b []byte, h *Header) (messages []byte, f Fault) {
	if f := frame(b); f != OK {
		return nil, f
	}
	h.get((*[HeaderSize]byte)(b))
	messages, f = section(b, h.KeyID)
	if f != OK {
		return nil, f
	}
	if Flags(binary.BigEndian.Uint16(b[6:]))&^knownFlags != 0 {
		return nil, badFlags
	}
	if b[117]|b[118]|b[119] != 0 || binary.BigEndian.Uint32(b[124:]) != 0 {
		return nil, badReserved
	}
	if f := h.check(); f != OK {
		return nil, f
	}
	if f := checkMessages(messages); f != OK {
		return nil, f
	}
	return messages, OK
}

// DecodeQuoted reads the header of one of our own datagrams as an ICMP error quotes it:
// whole or cut off anywhere after the header. Lengths and messages are not checked.
func DecodeQuoted(b []byte, h *Header) Fault {
	switch {
	case len(b) < HeaderSize:
		return tooShort
	case binary.BigEndian.Uint32(b) != magic:
		return badMagic
	case b[4] != version:
		return badVersion
	case b[5] != heartbeat:
		return badKind
	}
	h.get((*[HeaderSize]byte)(b))
	return h.check()
}

// frame checks what must hold before the fields can be read.
func frame(b []byte) Fault {
	switch {
	case len(b) < HeaderSize:
		return tooShort
	case len(b) > MaxSize:
		return tooLong
	case binary.BigEndian.Uint32(b) != magic:
		return badMagic
	case b[4] != version:
		return badVersion
	case b[5] != heartbeat:
		return badKind
	case int(binary.BigEndian.Uint16(b[8:])) != len(b):
		return badLength
	}
	return OK
}

// section returns the message section, if the lengths add up.
func section(b []byte, keyID uint32) ([]byte, Fault) {
	end := HeaderSize + int(binary.BigEndian.Uint16(b[10:]))
	tag := 0
	if keyID != 0 {
		tag = TagSize
	}
	if end+tag != len(b) {
		return nil, badMessageLength
	}
	return b[HeaderSize:end], OK
}

// get reads the header at constant offsets.
func (h *Header) get(b *[HeaderSize]byte) {
	be := binary.BigEndian
	h.Flags = Flags(be.Uint16(b[6:]))
	h.KeyID = be.Uint32(b[12:])
	h.YourDiscriminator = be.Uint64(b[16:])
	h.MyDiscriminator = be.Uint64(b[24:])
	h.Sender = be.Uint64(b[32:])
	h.Incarnation = be.Uint64(b[40:])
	h.Sequence = be.Uint64(b[48:])
	h.SendInstant = int64(be.Uint64(b[56:]))
	h.Lateness = be.Uint32(b[64:])
	h.Period = be.Uint32(b[68:])
	h.MinReceivePeriod = be.Uint32(b[72:])
	h.EchoLost = be.Uint32(b[76:])
	h.Progress = be.Uint64(b[80:])
	h.EchoIncarnation = be.Uint64(b[88:])
	h.EchoSequence = be.Uint64(b[96:])
	h.EchoResidence = be.Uint64(b[104:])
	h.EchoDeadline = be.Uint32(b[112:])
	h.EchoVerdict = Verdict(b[116])
	h.FollowUpWait = be.Uint32(b[120:])
	h.FollowUpSequence = be.Uint64(b[128:])
}

// check returns the first fault of the fields' values.
func (h *Header) check() Fault {
	switch {
	case h.Flags&^knownFlags != 0:
		return badFlags
	case h.MyDiscriminator == 0:
		return noDiscriminator
	case h.Sender == 0:
		return noSender
	case h.Incarnation == 0 || h.Incarnation > maxNumber:
		return noIncarnation
	case h.Sequence == 0 || h.Sequence > maxNumber:
		return noSequence
	case h.SendInstant < 0 || h.SendInstant > maxInstant:
		return badInstant
	case h.Period == 0 || h.Period > MaxPeriod || h.MinReceivePeriod > MaxPeriod:
		return badPeriod
	case h.badEcho():
		return badEcho
	case h.EchoVerdict >= numVerdicts:
		return badVerdict
	}
	return h.checkFollowUp()
}

// badEcho reports an echo of no incarnation, or one that exceeds its bounds.
func (h *Header) badEcho() bool {
	if h.EchoIncarnation == 0 {
		return h.EchoSequence|h.EchoResidence != 0
	}
	return h.EchoIncarnation > maxNumber || h.EchoSequence > maxNumber || h.EchoResidence > maxInstant
}

// checkFollowUp returns badFollowUp unless the follow-up is absent, or of an earlier
// heartbeat.
func (h *Header) checkFollowUp() Fault {
	if h.Flags&FlagFollowUp == 0 {
		if h.FollowUpSequence != 0 || h.FollowUpWait != 0 {
			return badFollowUp
		}
		return OK
	}
	if h.FollowUpSequence == 0 || h.FollowUpSequence >= h.Sequence {
		return badFollowUp
	}
	return OK
}
