package recording

import (
	"encoding/binary"
	"hash/crc32"
	"unicode/utf8"

	"systole/engine/clock"
)

// magic begins a recording. Its last byte is the version of the format.
const magic = "SYSTREC\x01"

const (
	blockHead = 8
	// blockSize is the length of the payload at which a block is written, and maxEntry bounds an
	// entry. So the length of a block fits into 16 bits.
	blockSize = 4096
	maxEntry  = 300
	// maxStreams bounds the memory of a reader.
	maxStreams = 1 << 20
	maxName    = 255
)

// The kinds of entries of stream 0.
const (
	entryStream   = 1
	entryName     = 2
	entryOverflow = 3
)

// The optional fields of a heartbeat.
const (
	hasSequence = 1 << iota
	hasPeriod
	hasSource
	hasRoundTrip

	keyBits = 4
)

// coarse is log2 of 256 ns, the unit of the instant of reading and of round trips. In this unit 4
// ms, the longest step of a loop between two readings of its sockets, fit into two bytes.
const coarse = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stream is the last heartbeat of an incarnation of a peer. The next one is encoded as differences
// from it.
type stream struct {
	sequence  uint64
	due, path int64
	period    uint32
	source    clock.Source
}

// expected returns when sequence is due if the sender keeps its schedule, in ns.
func (s *stream) expected(sequence uint64, period uint32) int64 {
	return s.due + int64(sequence-s.sequence)*int64(period)*1000
}

// take makes h the last heartbeat.
func (s *stream) take(h *Heartbeat) {
	s.sequence, s.period, s.source = h.Sequence, h.Period, h.Source
	s.due = int64(h.Send) - int64(h.Late)
	s.path = int64(h.Arrival - h.Send)
}

// streamKey identifies a stream: an incarnation of a peer.
type streamKey struct{ peer, incarnation uint64 }

// encoder encodes heartbeats into blocks.
type encoder struct {
	numbers map[streamKey]uint64 // of the streams, from 1
	streams []stream
	block   []byte // room for the head, then the payload
}

// newEncoder returns an encoder with an empty block.
func newEncoder() *encoder {
	return &encoder{
		numbers: make(map[streamKey]uint64), streams: make([]stream, 1),
		block: make([]byte, blockHead, blockHead+blockSize+maxEntry),
	}
}

// heartbeat appends h. It reports false if h cannot be encoded.
func (e *encoder) heartbeat(h *Heartbeat) bool {
	if !h.plausible() {
		return false
	}
	number, ok := e.number(h)
	if !ok {
		return false
	}
	s := &e.streams[number]
	key := number << keyBits
	if h.Sequence != s.sequence+1 {
		key |= hasSequence
	}
	if h.Period != s.period {
		key |= hasPeriod
	}
	if h.Source != s.source {
		key |= hasSource
	}
	if h.RoundTrip>>coarse != 0 {
		key |= hasRoundTrip
	}
	b := binary.AppendUvarint(e.block, key)
	if key&hasSequence != 0 {
		b = binary.AppendVarint(b, int64(h.Sequence-s.sequence-1))
	}
	if key&hasPeriod != 0 {
		b = binary.AppendUvarint(b, uint64(h.Period))
	}
	if key&hasSource != 0 {
		b = append(b, byte(h.Source))
	}
	b = binary.AppendVarint(b, int64(h.Send)-int64(h.Late)-s.expected(h.Sequence, h.Period))
	b = binary.AppendUvarint(b, uint64(h.Late))
	b = binary.AppendVarint(b, int64(h.Arrival-h.Send)-s.path)
	b = binary.AppendUvarint(b, uint64(h.Read>>coarse-h.Arrival>>coarse))
	if key&hasRoundTrip != 0 {
		b = binary.AppendUvarint(b, uint64(h.RoundTrip>>coarse))
	}
	e.block = b
	s.take(h)
	return true
}

// number returns the number of h's stream, and defines the stream with its first heartbeat. It
// reports false if there are too many streams.
func (e *encoder) number(h *Heartbeat) (uint64, bool) {
	key := streamKey{h.Peer, h.Incarnation}
	if n := e.numbers[key]; n != 0 {
		return n, true
	}
	if len(e.streams) > maxStreams {
		return 0, false
	}
	n := uint64(len(e.streams))
	e.numbers[key] = n
	e.streams = append(e.streams, stream{})
	e.block = append(e.block, entryStream)
	e.block = binary.BigEndian.AppendUint64(e.block, h.Peer)
	e.block = binary.AppendUvarint(e.block, h.Incarnation)
	return n, true
}

// name appends a peer's name, cut to 255 bytes.
func (e *encoder) name(peer uint64, name string) {
	if len(name) > maxName {
		name = name[:maxName]
		for !utf8.ValidString(name) && name != "" {
			name = name[:len(name)-1]
		}
	}
	e.block = append(e.block, entryName)
	e.block = binary.BigEndian.AppendUint64(e.block, peer)
	e.block = append(e.block, byte(len(name)))
	e.block = append(e.block, name...)
}

// overflow appends the number of heartbeats that found the ring full.
func (e *encoder) overflow(n uint64) {
	e.block = append(e.block, entryOverflow)
	e.block = binary.AppendUvarint(e.block, n)
}

// size returns the length of the block's payload in bytes.
func (e *encoder) size() int { return len(e.block) - blockHead }

// seal returns the block with its head. The next entry reuses its memory.
func (e *encoder) seal() []byte {
	b := e.block
	n := uint16(e.size())
	binary.BigEndian.PutUint16(b, n)
	binary.BigEndian.PutUint16(b[2:], ^n)
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[blockHead:], castagnoli))
	e.block = b[:blockHead]
	return b
}
