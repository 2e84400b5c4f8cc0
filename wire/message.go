package wire

import "encoding/binary"

// MessageHeaderSize is the number of bytes before the value of a message: a type of two bytes and a
// length of two bytes. Receivers pass over types that they do not know, and count them.
const MessageHeaderSize = 4

// Messages walks a message section that Decode has returned.
//
//	for it := wire.MessagesOf(section); it.Next(); {
//		it.Type, it.Value
//	}
type Messages struct {
	Type  uint16
	Value []byte // a part of the datagram
	rest  []byte
}

// MessagesOf returns a walk over section.
func MessagesOf(section []byte) Messages { return Messages{rest: section} }

// Next moves to the next message and reports whether there is one. A section that Decode
// did not check ends at its first malformed message.
func (m *Messages) Next() bool {
	if len(m.rest) < MessageHeaderSize {
		return false
	}
	end := MessageHeaderSize + int(binary.BigEndian.Uint16(m.rest[2:]))
	if end > len(m.rest) {
		return false
	}
	m.Type = binary.BigEndian.Uint16(m.rest)
	m.Value = m.rest[MessageHeaderSize:end:end]
	m.rest = m.rest[end:]
	return true
}

// AppendMessage appends a message to a message section and reports false, with the
// section as it was, if the value is longer than a datagram can carry.
func AppendMessage(section []byte, kind uint16, value []byte) ([]byte, bool) {
	if len(section)+MessageHeaderSize+len(value) > MaxSize-HeaderSize {
		return section, false
	}
	section = binary.BigEndian.AppendUint16(section, kind)
	section = binary.BigEndian.AppendUint16(section, uint16(len(value)))
	return append(section, value...), true
}

// checkMessages returns badMessage unless messages fill the section exactly. The loop
// ends after at most MaxSize/MessageHeaderSize rounds.
func checkMessages(section []byte) Fault {
	for len(section) > 0 {
		if len(section) < MessageHeaderSize {
			return badMessage
		}
		end := MessageHeaderSize + int(binary.BigEndian.Uint16(section[2:]))
		if end > len(section) {
			return badMessage
		}
		section = section[end:]
	}
	return OK
}
