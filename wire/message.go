package wire

import "encoding/binary"

// MessageHeaderSize is the number of bytes before the value of a message: a type of two bytes and a
// length of two bytes. Receivers pass over types that they do not know, and count them.
const MessageHeaderSize = 4

// CutMessage returns the first message of a section that Decode has returned, and the section behind it. value is
// a part of the section. ok is false if the section is empty or, which Decode has ruled out, malformed there.
//
//	for kind, value, rest, ok := wire.CutMessage(section); ok; kind, value, rest, ok = wire.CutMessage(rest) {
func CutMessage(section []byte) (kind uint16, value, rest []byte, ok bool) {
	if len(section) < MessageHeaderSize {
		return 0, nil, nil, false
	}
	end := MessageHeaderSize + int(binary.BigEndian.Uint16(section[2:]))
	if end > len(section) {
		return 0, nil, nil, false
	}
	return binary.BigEndian.Uint16(section), section[MessageHeaderSize:end:end], section[end:], true
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
