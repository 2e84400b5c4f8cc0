package engine

import (
	"time"

	"systole/engine/clock"
)

// Sample is one accepted heartbeat of a peer.
type Sample struct {
	Sequence  uint32        // the low half of the sequence
	Arrival   clock.Instant // our clock: the kernel's stamp where there is one
	Send      clock.Instant // the sender's clock
	Late      time.Duration // how late after its schedule the sender wrote it
	Network   time.Duration // path time above the least seen lately
	RoundTrip time.Duration // of the heartbeat it echoes; 0: not measured
	Read      time.Duration // from the kernel's stamp to our reading it
}

// encodeSample packs a heartbeat into the words of a window record.
func encodeSample(rec *[sampleWords]uint64, seq uint64, arrival, send clock.Instant, late, roundTrip, read uint32) {
	rec[0] = uint64(arrival)
	rec[1] = uint64(send)
	rec[2] = seq<<32 | uint64(late)
	rec[3] = uint64(roundTrip)<<32 | uint64(read)
}

// decodeSample is the inverse of encodeSample.
func decodeSample(rec []uint64) Sample {
	return Sample{
		Arrival:   clock.Instant(rec[0]),
		Send:      clock.Instant(rec[1]),
		Sequence:  uint32(rec[2] >> 32),
		Late:      time.Duration(uint32(rec[2])),
		RoundTrip: time.Duration(rec[3] >> 32),
		Read:      time.Duration(uint32(rec[3])),
	}
}

// saturate32 fits nanoseconds into 32 bits: 4.29 s and more is 4.29 s, below 0 is 0.
func saturate32(d time.Duration) uint32 {
	return uint32(min(max(d, 0), 1<<32-1))
}
