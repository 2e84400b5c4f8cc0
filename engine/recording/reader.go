package recording

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"unicode/utf8"

	"systole/engine/clock"
)

// FormatError says where a recording is not as it must be.
type FormatError struct {
	Offset int64  // of the magic, block or entry, bytes from the beginning
	Want   string // what should be there
}

// Error says what was expected where.
func (e *FormatError) Error() string {
	if e.Offset < int64(len(magic)) {
		return fmt.Sprintf("recording: byte %d: want %s", e.Offset, e.Want) // it is no such recording
	}
	return fmt.Sprintf("recording: byte %d: want %s; the recording is corrupt", e.Offset, e.Want)
}

// IsRecording reports whether head, the first bytes of something, is the beginning of a
// recording of any version.
func IsRecording(head []byte) bool {
	const name = len(magic) - 1
	return len(head) >= name && string(head[:name]) == magic[:name]
}

// MagicSize is how many bytes IsRecording looks at.
const MagicSize = len(magic) - 1

// Reader reads a recording. Only one goroutine at a time uses it.
type Reader struct {
	in         *bufio.Reader
	at         int64 // the block's payload, from the beginning
	block      []byte
	rest       []byte // of the block
	sources    []source
	streams    []stream
	seen       map[source]bool
	names      map[uint64]string
	overflowed uint64
	truncated  int
	err        error
}

// NewReader returns a reader that has read the magic, a *FormatError if it is none, or
// the error of in.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{
		in: bufio.NewReaderSize(in, 1<<16), at: int64(len(magic)), block: make([]byte, 0, math.MaxUint16),
		sources: make([]source, 1), streams: make([]stream, 1), seen: make(map[source]bool), names: make(map[uint64]string),
	}
	var head [len(magic)]byte
	switch _, err := io.ReadFull(r.in, head[:]); {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("recording: read the recording: %w", err)
	case !IsRecording(head[:]) || err != nil: // which is io.ErrUnexpectedEOF
		return nil, &FormatError{0, "the magic " + magic[:len(magic)-1] + " and a version"}
	case string(head[:]) != magic:
		return nil, &FormatError{int64(len(magic) - 1), fmt.Sprintf("version %d, which is what this program reads, not %d", magic[len(magic)-1], head[len(magic)-1])}
	}
	return r, nil
}

// Next reads the next heartbeat into h. It returns io.EOF at the end, also where a part
// of a block is missing there (Truncated), a *FormatError where the recording is corrupt,
// or the error of the reader beneath.
func (r *Reader) Next(h *Heartbeat) error {
	for r.err == nil {
		if len(r.rest) == 0 {
			r.err = r.nextBlock()
			continue
		}
		offset := r.at + int64(len(r.block)-len(r.rest))
		key, n := binary.Uvarint(r.rest)
		switch {
		case n <= 0:
			r.err = &FormatError{offset, "the key of an entry"}
		case key>>keyBits == 0:
			r.rest = r.rest[n:]
			r.err = r.control(key, offset)
		default:
			r.rest = r.rest[n:]
			if r.heartbeat(key, h) {
				return nil
			}
			r.err = &FormatError{offset, "a heartbeat of a stream that began before, with instants that a clock shows"}
		}
	}
	return r.err
}

// Name returns what people call a peer as far as was read, "" if nobody said.
func (r *Reader) Name(peer uint64) string { return r.names[peer] }

// Overflowed returns how many heartbeats arrived and were not recorded, as far as was
// read: their sequences are missing although they were not lost on the way.
func (r *Reader) Overflowed() uint64 { return r.overflowed }

// Truncated returns how many bytes at the end are part of a block whose writer was
// interrupted, and were left out.
func (r *Reader) Truncated() int { return r.truncated }

// nextBlock reads a block.
func (r *Reader) nextBlock() error {
	r.at += int64(len(r.block))
	offset := r.at
	var head [blockHead]byte
	if n, err := io.ReadFull(r.in, head[:]); err != nil {
		return r.ended(n, err)
	}
	length := binary.BigEndian.Uint16(head[:])
	if length == 0 || length != ^binary.BigEndian.Uint16(head[2:]) {
		return &FormatError{offset, "the head of a block"}
	}
	r.block = r.block[:length]
	if n, err := io.ReadFull(r.in, r.block); err != nil {
		return r.ended(blockHead+n, err)
	}
	if crc32.Checksum(r.block, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return &FormatError{offset, "a block with the checksum that it says"}
	}
	r.at, r.rest = offset+blockHead, r.block
	return nil
}

// ended returns io.EOF where the recording ended after n bytes of a block, or err.
func (r *Reader) ended(n int, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		r.truncated = n
		return io.EOF
	}
	return fmt.Errorf("recording: read the recording: %w", err)
}

// control reads an entry of stream 0 whose key was read.
func (r *Reader) control(key uint64, offset int64) error {
	switch key {
	case entryStream:
		l := source{peer: r.u64()}
		l.incarnation = r.uvarint()
		if r.rest == nil || r.seen[l] || len(r.sources) > maxStreams {
			return &FormatError{offset, "a stream that is new"}
		}
		r.seen[l] = true
		r.sources, r.streams = append(r.sources, l), append(r.streams, stream{})
	case entryName:
		peer := r.u64()
		name := r.bytes(int(r.u8()))
		if r.rest == nil || !utf8.Valid(name) {
			return &FormatError{offset, "a peer's name in UTF-8"}
		}
		r.names[peer] = string(name)
	case entryOverflow:
		n := r.uvarint()
		if r.rest == nil || n == 0 || r.overflowed+n < n {
			return &FormatError{offset, "a number of heartbeats above 0"}
		}
		r.overflowed += n
	default:
		return &FormatError{offset, "a known entry"}
	}
	return nil
}

// heartbeat reads a heartbeat whose key was read. It reports false if it is none.
func (r *Reader) heartbeat(key uint64, h *Heartbeat) bool {
	number := key >> keyBits
	if number >= uint64(len(r.streams)) {
		return false
	}
	s, l := &r.streams[number], r.sources[number]
	*h = Heartbeat{Peer: l.peer, Incarnation: l.incarnation, Sequence: s.sequence + 1, Period: s.period, Source: s.source}
	if key&hasSequence != 0 {
		h.Sequence += uint64(r.varint())
	}
	period := uint64(s.period)
	if key&hasPeriod != 0 {
		period = r.uvarint()
	}
	h.Period = uint32(period)
	if key&hasSource != 0 {
		h.Source = clock.Source(r.u8())
	}
	due := s.expected(h.Sequence, h.Period) + r.varint()
	late := r.uvarint()
	h.Late, h.Send = uint32(late), clock.Instant(due+int64(late))
	h.Arrival = h.Send + clock.Instant(s.path+r.varint())
	lag := r.uvarint()
	h.Read = max((h.Arrival>>coarse+clock.Instant(lag))<<coarse, h.Arrival)
	var roundTrip uint64
	if key&hasRoundTrip != 0 {
		roundTrip = r.uvarint()
		h.RoundTrip = uint32(roundTrip << coarse)
	}
	if r.rest == nil || period > math.MaxUint32 || late > math.MaxUint32 || lag > farthest>>coarse || roundTrip > math.MaxUint32>>coarse || !h.plausible() {
		return false
	}
	s.take(h)
	return true
}

// The readers of fields make r.rest nil where it ends too soon, and return 0 then.

// bytes reads n bytes, which are valid until the next block.
func (r *Reader) bytes(n int) []byte {
	if len(r.rest) < n {
		r.rest = nil
	}
	if r.rest == nil {
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// u8 reads a byte.
func (r *Reader) u8() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// u64 reads eight bytes.
func (r *Reader) u64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// uvarint reads a number.
func (r *Reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.rest = nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// varint reads a signed number, in zigzag.
func (r *Reader) varint() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}
