// Package recording keeps what heartbeats told on their arrival, compactly, for package
// replay to run detectors over later.
//
//	file, err := os.Create("tuesday.sysrec")
//	rec, err := recording.New(file, recording.Options{})
//	e, err := engine.Open(engine.Config{Recorder: rec})
//	...
//	err = e.Shutdown(ctx)
//	err = errors.Join(err, rec.Close(), file.Close())
//
// The engine's loop pushes a fixed-size record into a bounded ring and goes on: it never
// waits, allocates or writes. A goroutine of the Recorder drains the ring, encodes and
// writes. What the ring has no room for is counted, in Stats and in the recording itself,
// so that a reader does not take it for lost on the way.
//
// # The file
//
// A recording is a magic and blocks. Integers are big-endian.
//
//	magic     7 bytes "SYSTREC", version u8 = 1
//	block     length u16 | length, inverted u16 | CRC-32C of the payload u32 | payload
//	payload   entries, of length bytes in all, at least 1
//
// A writer that is killed leaves a part of a block at the end. It is left out, and what
// was written before it is whole; a block is written at least once per Options.Flush.
// Anything else that is not as written here makes the recording corrupt: a *FormatError
// says where.
//
// An entry begins with a key, a varint as in package encoding/binary, all of these are:
//
//	key = stream<<4 | bits
//
// Stream 0 is about the recording; its bits are a number:
//
//	1  stream     peer u64, incarnation varint: the next stream, from 1 on
//	2  name       peer u64, length u8, UTF-8: what people call the peer
//	3  overflow   varint: so many heartbeats arrived about now and are not recorded
//
// Any other stream is one incarnation of one peer, and the entry a heartbeat of it. A field in
// brackets is there if its bit is set. Signed numbers are zigzag.
//
//	[bit 0: sequence, signed, less the one expected: the last + 1]
//	[bit 1: period, µs; else the last]
//	[bit 2: source u8; else the last]
//	due, signed, ns, less the one expected: the last + period · (sequence - last sequence)
//	late, ns: the instant of sending is due + late
//	path, signed, ns, less the last; the path is arrival - send
//	lag: how many whole units of 256 ns lie from arrival to reading; the instant of reading
//	is the beginning of its unit, but not before arrival
//	[bit 3: round trip, in 256 ns]
//
// What is expected of the first heartbeat of a stream is 0. A sender on its schedule over
// a quiet path takes 11 to 12 bytes per heartbeat. A heartbeat that was lost is absent,
// and its successor's sequence shows it.
package recording
