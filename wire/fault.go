package wire

import "fmt"

// Fault is the reason for which a datagram is refused. Every byte string decodes to a
// value or to exactly one fault: the first in the order of this list that applies.
type Fault uint8

const (
	OK Fault = iota
	// TooShort: fewer bytes than a header.
	TooShort
	// TooLong: more bytes than MaxSize.
	TooLong
	// BadMagic: not one of our datagrams.
	BadMagic
	// BadVersion: a version that this package does not speak.
	BadVersion
	// BadKind: a kind that this version does not know.
	BadKind
	// BadLength: the length field differs from the bytes that arrived.
	BadLength
	// BadMessageLength: header, messages and tag do not add up to the length.
	BadMessageLength
	// BadFlags: a flag that this version does not define.
	BadFlags
	// BadReserved: a reserved field is not zero.
	BadReserved
	// NoDiscriminator: my discriminator is 0.
	NoDiscriminator
	// NoSender: the sender's id is 0.
	NoSender
	// NoIncarnation: the sender's incarnation is 0 or above 2^63.
	NoIncarnation
	// NoSequence: the sequence is 0 or above 2^63.
	NoSequence
	// BadInstant: the send instant is negative or above 2^62.
	BadInstant
	// BadPeriod: the send period is 0, or one of the periods is above a minute.
	BadPeriod
	// BadEcho: echo fields without an echoed incarnation; an echoed incarnation or sequence
	// above 2^63; a residence above 2^62.
	BadEcho
	// BadVerdict: a verdict that this version does not define.
	BadVerdict
	// BadFollowUp: a follow-up of this heartbeat itself or of a later one.
	BadFollowUp
	// BadMessage: a message that reaches past the message section.
	BadMessage

	// Unauthenticated: no key id where a key is required.
	Unauthenticated
	// UnknownKey: a key id that the key ring does not accept.
	UnknownKey
	// BadTag: the tag is not the one of this datagram under its key.
	BadTag

	NumFaults
)

var faultTexts = [NumFaults]struct{ name, text string }{
	OK:               {"ok", "the datagram is well-formed"},
	TooShort:         {"too-short", "fewer bytes than a header"},
	TooLong:          {"too-long", "more bytes than the greatest datagram"},
	BadMagic:         {"bad-magic", "not one of our datagrams"},
	BadVersion:       {"bad-version", "another version of the protocol"},
	BadKind:          {"bad-kind", "an unknown kind of datagram"},
	BadLength:        {"bad-length", "the length field differs from what arrived"},
	BadMessageLength: {"bad-message-length", "header, messages and tag do not add up to the length"},
	BadFlags:         {"bad-flags", "an undefined flag is set"},
	BadReserved:      {"bad-reserved", "a reserved field is not zero"},
	NoDiscriminator:  {"no-discriminator", "the sender's discriminator is 0"},
	NoSender:         {"no-sender", "the sender's id is 0"},
	NoIncarnation:    {"no-incarnation", "the sender's incarnation is 0 or above 2^63"},
	NoSequence:       {"no-sequence", "the sequence is 0 or above 2^63"},
	BadInstant:       {"bad-instant", "the send instant is negative or above 2^62"},
	BadPeriod:        {"bad-period", "the send period is 0, or a period is above a minute"},
	BadEcho:          {"bad-echo", "an echo of no incarnation, or one that exceeds its bounds"},
	BadVerdict:       {"bad-verdict", "an undefined verdict"},
	BadFollowUp:      {"bad-follow-up", "a follow-up of no earlier heartbeat"},
	BadMessage:       {"bad-message", "a message reaches past its section"},
	Unauthenticated:  {"unauthenticated", "no tag where a key is required"},
	UnknownKey:       {"unknown-key", "a key id that is not accepted"},
	BadTag:           {"bad-tag", "the tag is wrong"},
}

// String returns the fault's short name, as counters are called.
func (f Fault) String() string {
	if f < NumFaults {
		return faultTexts[f].name
	}
	return fmt.Sprintf("Fault(%d)", uint8(f))
}

// Text returns one sentence on the fault.
func (f Fault) Text() string {
	if f < NumFaults {
		return faultTexts[f].text
	}
	return "unknown fault"
}

// Err returns nil for OK, else the fault as an error.
func (f Fault) Err() error {
	if f == OK {
		return nil
	}
	return FaultError{f}
}

// FaultError is a fault as an error.
type FaultError struct{ Fault Fault }

// Error returns "wire: text".
func (e FaultError) Error() string { return "wire: " + e.Fault.Text() }
