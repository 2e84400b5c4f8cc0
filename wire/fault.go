package wire

import "fmt"

// Fault is the reason for which a datagram is refused: a number below NumFaults with a name, which is that
// of counters. Every byte string decodes to a value or to exactly one fault. Those of Decode are,
// in the order in which they apply: too-short, too-long, bad-magic, bad-version, bad-kind, bad-length,
// bad-message-length, bad-flags, bad-reserved, no-discriminator, no-sender, no-incarnation, no-sequence,
// bad-instant, bad-period, bad-echo, bad-verdict, bad-follow-up and bad-message.
type Fault uint8

const (
	// OK: the datagram is well-formed.
	OK Fault = iota
	// tooShort: fewer bytes than a header.
	tooShort
	// tooLong: more bytes than MaxSize.
	tooLong
	// badMagic: not one of our datagrams.
	badMagic
	// badVersion: a version that this package does not speak.
	badVersion
	// badKind: a kind that this version does not know.
	badKind
	// badLength: the length field differs from the bytes that arrived.
	badLength
	// badMessageLength: header, messages and tag do not add up to the length.
	badMessageLength
	// badFlags: a flag that this version does not define.
	badFlags
	// badReserved: a reserved field is not zero.
	badReserved
	// noDiscriminator: my discriminator is 0.
	noDiscriminator
	// noSender: the sender's id is 0.
	noSender
	// noIncarnation: the sender's incarnation is 0 or above 2^63.
	noIncarnation
	// noSequence: the sequence is 0 or above 2^63.
	noSequence
	// badInstant: the send instant is negative or above 2^62.
	badInstant
	// badPeriod: the send period is 0, or one of the periods is above a minute.
	badPeriod
	// badEcho: echo fields without an echoed incarnation; an echoed incarnation or sequence
	// above 2^63; a residence above 2^62.
	badEcho
	// badVerdict: a verdict that this version does not define.
	badVerdict
	// badFollowUp: a follow-up of this heartbeat itself or of a later one.
	badFollowUp
	// badMessage: a message that reaches past the message section.
	badMessage

	// Unauthenticated: no key id where a key is required.
	Unauthenticated
	// UnknownKey: a key id that the key ring does not accept.
	UnknownKey
	// BadTag: the tag is not the one of this datagram under its key.
	BadTag

	// NumFaults is how many faults there are, OK included.
	NumFaults
)

var faultNames = [NumFaults]string{
	OK:               "ok",
	tooShort:         "too-short",
	tooLong:          "too-long",
	badMagic:         "bad-magic",
	badVersion:       "bad-version",
	badKind:          "bad-kind",
	badLength:        "bad-length",
	badMessageLength: "bad-message-length",
	badFlags:         "bad-flags",
	badReserved:      "bad-reserved",
	noDiscriminator:  "no-discriminator",
	noSender:         "no-sender",
	noIncarnation:    "no-incarnation",
	noSequence:       "no-sequence",
	badInstant:       "bad-instant",
	badPeriod:        "bad-period",
	badEcho:          "bad-echo",
	badVerdict:       "bad-verdict",
	badFollowUp:      "bad-follow-up",
	badMessage:       "bad-message",
	Unauthenticated:  "unauthenticated",
	UnknownKey:       "unknown-key",
	BadTag:           "bad-tag",
}

// String returns the fault's short name, as counters are called.
func (f Fault) String() string {
	if f < NumFaults {
		return faultNames[f]
	}
	return fmt.Sprintf("Fault(%d)", uint8(f))
}
