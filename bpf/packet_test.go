package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"systole/wire"
)

// packet is a frame that a test makes.
type packet struct {
	tags       []uint16 // types of VLAN tags, outermost first
	from, to   netip.AddrPort
	options    int    // words
	fragment   uint16 // flags and offset
	extensions int    // extension headers of IPv6
	protocol   byte   // 0: UDP
	ipExtra    int    // added to the length in the header of IP
	udpExtra   int    // added to that of UDP
	checksum   checksum
	payload    []byte
	padding    int // bytes after the packet of IP
}

// checksum is what a packet has in the field of UDP's checksum.
type checksum int

const (
	full    checksum = iota
	partial          // the seed that a device completes
	none
	wrong
)

var be = binary.BigEndian

// bytes returns the frame.
func (p *packet) bytes() []byte {
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	for _, tag := range p.tags {
		b = be.AppendUint16(be.AppendUint16(b, tag), 100)
	}
	if p.from.Addr().Is4() {
		b = p.appendIPv4(be.AppendUint16(b, 0x0800))
	} else {
		b = p.appendIPv6(be.AppendUint16(b, 0x86dd))
	}
	return append(p.appendUDP(b), make([]byte, p.padding)...)
}

func (p *packet) udpLength() int { return 8 + len(p.payload) }

func (p *packet) transport() byte {
	if p.protocol != 0 {
		return p.protocol
	}
	return 17
}

func (p *packet) appendIPv4(b []byte) []byte {
	b = append(b, byte(0x45+p.options), 0)
	b = be.AppendUint16(b, uint16(20+4*p.options+p.udpLength()+p.ipExtra))
	b = be.AppendUint16(append(b, 0, 0), p.fragment)
	b = append(b, 64, p.transport(), 0, 0)
	b = append(append(b, p.from.Addr().AsSlice()...), p.to.Addr().AsSlice()...)
	return append(b, slices.Repeat([]byte{1}, 4*p.options)...) // no operation
}

func (p *packet) appendIPv6(b []byte) []byte {
	const destination = 60
	b = append(b, 0x60, 0, 0, 0)
	b = be.AppendUint16(b, uint16(8*p.extensions+p.udpLength()+p.ipExtra))
	next := p.transport()
	if p.extensions > 0 {
		next = destination
	}
	b = append(b, next, 64)
	b = append(append(b, p.from.Addr().AsSlice()...), p.to.Addr().AsSlice()...)
	for i := range p.extensions {
		next = destination
		if i == p.extensions-1 {
			next = p.transport()
		}
		b = append(b, next, 0, 1, 4, 0, 0, 0, 0)
	}
	return b
}

func (p *packet) appendUDP(b []byte) []byte {
	start := len(b)
	b = be.AppendUint16(be.AppendUint16(b, p.from.Port()), p.to.Port())
	b = be.AppendUint16(be.AppendUint16(b, uint16(p.udpLength()+p.udpExtra)), 0)
	b = append(b, p.payload...)
	pseudo := slices.Concat(p.from.Addr().AsSlice(), p.to.Addr().AsSlice(), []byte{0, 17}, b[start+4:start+6])
	field := b[start+6:]
	switch p.checksum {
	case full:
		be.PutUint16(field, ^sum(pseudo, b[start:]))
	case partial:
		be.PutUint16(field, sum(pseudo))
	case wrong:
		be.PutUint16(field, ^sum(pseudo, b[start:])^0x0101)
	}
	return b
}

// sum returns the sum of RFC 1071.
func sum(parts ...[]byte) uint16 {
	total := 0
	for _, b := range parts {
		for i, v := range b {
			total += int(v) << (8 * (1 - i%2))
		}
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

// ours and theirs are the discriminators of the session that tests watch, in slot 5; port is the local port.
const (
	ours   = 0xabcdef0123400005
	theirs = 0x1234567890a00007
	port   = 4784
)

var (
	peer4, here4 = netip.MustParseAddrPort("192.0.2.9:5000"), netip.MustParseAddrPort("192.0.2.7:4784")
	peer6, here6 = netip.MustParseAddrPort("[2001:db8::9]:5000"), netip.MustParseAddrPort("[2001:db8::7]:4784")
)

// header returns the header of the peer's heartbeat with a sequence.
func header(sequence uint64) wire.Header {
	return wire.Header{
		YourDiscriminator: ours, MyDiscriminator: theirs, Sender: 9, Incarnation: 8,
		Sequence: sequence, SendInstant: 7, Period: 100_000,
	}
}

// encode returns a datagram.
func encode(t testing.TB, h wire.Header, messages []byte) []byte {
	t.Helper()
	b, fault := wire.Append(nil, &h, messages)
	if fault != wire.OK {
		t.Fatal(fault)
	}
	return b
}

// heartbeat returns a packet that the programs take.
func heartbeat(t testing.TB, sequence uint64) *packet {
	return &packet{from: peer4, to: here4, payload: encode(t, header(sequence), nil)}
}
