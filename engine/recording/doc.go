// Package recording writes and reads files of received heartbeats. Package systole/engine/replay runs
// detectors over them.
//
//	file, err := os.Create("tuesday.sysrec")
//	rec, err := recording.New(file, recording.Options{})
//	e, err := engine.Open(engine.Config{Recorder: rec})
//	...
//	err = e.Shutdown(ctx)
//	err = errors.Join(err, rec.Close(), file.Close())
//
// [Read] reads the file back, grouped by peer and incarnation; [Heartbeats] yields its heartbeats as
// they were recorded.
//
// The engine's loop pushes a fixed-size record into a bounded ring: it neither waits, allocates nor
// writes. A goroutine of the Recorder drains the ring, encodes and writes. Heartbeats that find the
// ring full are counted in Stats and in the recording, so that a reader does not count them as lost
// on the network.
//
// # The file
//
// A recording is a magic number and blocks. Integers are big-endian.
//
//	magic     7 bytes "SYSTREC", version u8 = 1
//	block     length u16 | length, inverted u16 | CRC-32C of the payload u32 | payload
//	payload   entries, of length bytes in all, at least 1
//
// If the writer is killed, the recording ends with a part of a block. A reader ignores that part;
// the blocks before it are complete. While heartbeats arrive, a block is written at least once per
// Options.Flush. Any other deviation from this format makes the recording corrupt: the error has its
// place.
//
// An entry begins with a key. Numbers without a size are varints as in package encoding/binary.
//
//	key = stream<<4 | bits
//
// Stream 0 is about the recording. Its bits are the kind of the entry:
//
//	1  stream     peer u64, incarnation: defines the next stream, the first of which is 1
//	2  name       peer u64, length u8, UTF-8: the peer's name
//	3  overflow   number of heartbeats that arrived since the last such entry and are missing
//
// Each other stream is one incarnation of one peer, and its entries are heartbeats. A field in
// brackets is present if its bit is set. Signed numbers are zigzag.
//
//	[bit 0: sequence, signed, minus (the last sequence + 1)]
//	[bit 1: period, µs; else the last]
//	[bit 2: source u8; else the last]
//	due, signed, ns, minus (the last due + period · (sequence - last sequence))
//	late, ns: the instant of sending is due + late
//	path, signed, ns, minus the last path; a path is arrival - send
//	lag: units of 256 ns from the unit of arrival to that of reading; the instant of reading
//	is the beginning of its unit, but not before arrival
//	[bit 3: round trip, in units of 256 ns]
//
// Before the first heartbeat of a stream, all last values are 0. A heartbeat of a sender on
// schedule over a quiet path takes 11 to 12 bytes. A lost heartbeat has no entry; the sequence of
// the next one shows the gap.
package recording
