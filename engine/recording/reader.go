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

// formatError is a fault of a recording.
type formatError struct {
	Offset int64  // of the magic, the block or the entry, bytes from the beginning
	Want   string // what should be there
}

// Error returns the place and what was expected there.
func (e *formatError) Error() string {
	if e.Offset < int64(len(magic)) {
		return fmt.Sprintf("recording: byte %d: want %s", e.Offset, e.Want) // the file is no recording
	}
	return fmt.Sprintf("recording: byte %d: want %s; the recording is corrupt", e.Offset, e.Want)
}

// isRecording reports whether a file that begins with head is a recording, of any version. It needs
// the first magicSize bytes.
func isRecording(head []byte) bool {
	const name = len(magic) - 1
	return len(head) >= name && string(head[:name]) == magic[:name]
}

// magicSize is the number of bytes that isRecording needs.
const magicSize = len(magic) - 1

// reader reads a recording. Only one goroutine at a time uses it.
type reader struct {
	in         *bufio.Reader
	at         int64  // offset of the block's payload in the file
	block      []byte // the payload
	rest       []byte // the unread part of block
	keys       []streamKey
	streams    []stream // of the keys, at the same indices
	seen       map[streamKey]bool
	names      map[uint64]string // the last name of each peer
	overflowed uint64            // heartbeats that arrived and are not in the recording
	truncated  int               // length of an incomplete block at the end
	err        error
}

// newReader reads the magic of a recording and returns a reader of its heartbeats. The error is a
// *formatError if in is not a recording of a known version, or the error of in.
func newReader(in io.Reader) (*reader, error) {
	r := &reader{
		in: bufio.NewReaderSize(in, 1<<16), at: int64(len(magic)), block: make([]byte, 0, math.MaxUint16),
		keys: make([]streamKey, 1), streams: make([]stream, 1), seen: make(map[streamKey]bool), names: make(map[uint64]string),
	}
	var head [len(magic)]byte
	switch _, err := io.ReadFull(r.in, head[:]); {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("recording: read the recording: %w", err)
	case !isRecording(head[:]) || err != nil: // err is io.EOF or io.ErrUnexpectedEOF
		return nil, &formatError{0, "the magic " + magic[:len(magic)-1] + " and a version"}
	case string(head[:]) != magic:
		const last = len(magic) - 1
		return nil, &formatError{int64(last), fmt.Sprintf("version %d, the only one that this program reads, not %d", magic[last], head[last])}
	}
	return r, nil
}

// next reads the next heartbeat into h. The error is io.EOF at the end, even if the last block is
// incomplete (see truncated); a *formatError if the recording is corrupt; or the error of the
// underlying reader. Further calls return the same error.
func (r *reader) next(h *Heartbeat) error {
	for r.err == nil {
		if len(r.rest) == 0 {
			r.err = r.nextBlock()
			continue
		}
		offset := r.at + int64(len(r.block)-len(r.rest))
		key, n := binary.Uvarint(r.rest)
		switch {
		case n <= 0:
			r.err = &formatError{offset, "the key of an entry"}
		case key>>keyBits == 0:
			r.rest = r.rest[n:]
			r.err = r.control(key, offset)
		default:
			r.rest = r.rest[n:]
			if r.heartbeat(key, h) {
				return nil
			}
			r.err = &formatError{offset, "a heartbeat of a defined stream, with instants within 36 years of 0"}
		}
	}
	return r.err
}

// nextBlock reads a block.
func (r *reader) nextBlock() error {
	r.at += int64(len(r.block))
	offset := r.at
	var head [blockHead]byte
	if n, err := io.ReadFull(r.in, head[:]); err != nil {
		return r.ended(n, err)
	}
	length := binary.BigEndian.Uint16(head[:])
	if length == 0 || length != ^binary.BigEndian.Uint16(head[2:]) {
		return &formatError{offset, "the head of a block"}
	}
	r.block = r.block[:length]
	if n, err := io.ReadFull(r.in, r.block); err != nil {
		return r.ended(blockHead+n, err)
	}
	if crc32.Checksum(r.block, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return &formatError{offset, "a block that matches its checksum"}
	}
	r.at, r.rest = offset+blockHead, r.block
	return nil
}

// ended returns io.EOF if the recording ended after n bytes of a block, else err.
func (r *reader) ended(n int, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		r.truncated = n
		return io.EOF
	}
	return fmt.Errorf("recording: read the recording: %w", err)
}

// control reads the rest of an entry of stream 0, after its key.
func (r *reader) control(key uint64, offset int64) error {
	switch key {
	case entryStream:
		k := streamKey{peer: r.u64()}
		k.incarnation = r.uvarint()
		if r.rest == nil || r.seen[k] || len(r.keys) > maxStreams {
			return &formatError{offset, "a new stream"}
		}
		r.seen[k] = true
		r.keys, r.streams = append(r.keys, k), append(r.streams, stream{})
	case entryName:
		peer := r.u64()
		name := r.bytes(int(r.u8()))
		if r.rest == nil || !utf8.Valid(name) {
			return &formatError{offset, "a peer's name in UTF-8"}
		}
		r.names[peer] = string(name)
	case entryOverflow:
		n := r.uvarint()
		if r.rest == nil || n == 0 || r.overflowed+n < n {
			return &formatError{offset, "a number of heartbeats above 0"}
		}
		r.overflowed += n
	default:
		return &formatError{offset, "a known entry"}
	}
	return nil
}

// heartbeat reads the rest of a heartbeat, after its key. It reports false if the entry is corrupt.
func (r *reader) heartbeat(key uint64, h *Heartbeat) bool {
	number := key >> keyBits
	if number >= uint64(len(r.streams)) {
		return false
	}
	s, k := &r.streams[number], r.keys[number]
	*h = Heartbeat{Peer: k.peer, Incarnation: k.incarnation, Sequence: s.sequence + 1, Period: s.period, Source: s.source}
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
	fits := period <= math.MaxUint32 && late <= math.MaxUint32 && lag <= farthest>>coarse && roundTrip <= math.MaxUint32>>coarse
	if r.rest == nil || !fits || !h.plausible() {
		return false
	}
	s.take(h)
	return true
}

// If r.rest is too short for a field, the methods below return 0 and set r.rest to nil.

// bytes reads n bytes. They are valid until the next block is read.
func (r *reader) bytes(n int) []byte {
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

// u8 reads an 8-bit number.
func (r *reader) u8() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// u64 reads a 64-bit number.
func (r *reader) u64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// uvarint reads a varint.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.rest = nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// varint reads a varint in zigzag.
func (r *reader) varint() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}
