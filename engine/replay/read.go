package replay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"runtime"

	"systole/engine/clock"
	"systole/engine/recording"
)

// Recording is the content of a file.
type Recording struct {
	// Streams are in the order of their first heartbeats. Those with one heartbeat are left out.
	Streams []Stream
	// Overflowed is the number of heartbeats that arrived and are not in the recording, because its
	// writer was too slow.
	Overflowed uint64
	// Truncated is the length in bytes of an incomplete block at the end, which was ignored.
	Truncated int
}

// Stream has the heartbeats of one incarnation of one peer.
type Stream struct {
	Peer        uint64 // the id; 0 in CSV
	Name        string // of the peer; "" if the recording has none
	Incarnation uint64 // 0 in CSV
	Trace       Trace
	Unstamped   int // heartbeats without a stamp: their arrival is when the program read them
}

// Read reads a recording, of package recording or in CSV; the first bytes tell which. The error is
// ErrEmpty for too few heartbeats, a *recording.FormatError or *FormatError if the recording is
// corrupt, or the error of in.
//
// CSV is Header, then a line per heartbeat in any order, of four whole numbers. A stamp nic_ns that
// is empty, or 0 while app_ns is not, is missing, and app_ns takes its place. A byte order mark,
// spaces around numbers, empty lines and CRLF make no difference. CSV has no lateness of senders,
// so each heartbeat counts as due when it was sent.
func Read(in io.Reader) (*Recording, error) {
	buffered := bufio.NewReaderSize(in, 1<<16)
	if head, _ := buffered.Peek(recording.MagicSize); !recording.IsRecording(head) {
		s, err := readCSV(buffered)
		if err != nil {
			return nil, err
		}
		return &Recording{Streams: []Stream{s}}, nil
	}
	r, err := recording.NewReader(buffered)
	if err != nil {
		return nil, err
	}
	out := &Recording{}
	if out.Streams, err = readStreams(r); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	for i := range out.Streams {
		out.Streams[i].Name = r.Name(out.Streams[i].Peer)
	}
	out.Overflowed, out.Truncated = r.Overflowed(), r.Truncated()
	if len(out.Streams) == 0 {
		return nil, ErrEmpty
	}
	return out, nil
}

// readStreams reads all heartbeats and groups them by peer and incarnation.
func readStreams(r *recording.Reader) ([]Stream, error) {
	type key struct{ peer, incarnation uint64 }
	indices := make(map[key]int)
	var streams []Stream
	var traces []parts // of the streams, at the same indices
	var h recording.Heartbeat
	var s *Stream // of the last heartbeat; its successor is often of the same one
	var p *parts
	for {
		if err := r.Next(&h); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if s == nil || s.Peer != h.Peer || s.Incarnation != h.Incarnation {
			k := key{h.Peer, h.Incarnation}
			i, ok := indices[k]
			if !ok {
				i = len(streams)
				indices[k] = i
				streams = append(streams, Stream{Peer: h.Peer, Incarnation: h.Incarnation})
				traces = append(traces, parts{})
			}
			s, p = &streams[i], &traces[i]
		}
		if h.Source == clock.User {
			s.Unstamped++
		}
		p.add(Beat{
			Sequence: h.Sequence, Send: int64(h.Send), NIC: int64(h.Arrival), App: int64(h.Read),
			Late: int64(h.Late), Period: int64(h.Period) * 1000,
		})
	}
	kept := streams[:0]
	for i, s := range streams {
		if traces[i].n >= 2 {
			s.Trace = traces[i].trace()
			kept = append(kept, s)
		}
	}
	return kept, nil
}

// parts collects heartbeats. It grows by parts, because a growing slice would be copied again and
// again. A copy cannot be preempted: while the collector waited to stop it, reading a million
// heartbeats took several times as long.
type parts struct {
	full []Trace
	last Trace
	n    int // heartbeats
}

// The first part has room for firstPart heartbeats, and each later one for twice as many as the one
// before, up to greatestPart.
const (
	firstPart    = 64
	greatestPart = 1 << 14
)

// add adds b.
func (p *parts) add(b Beat) {
	if len(p.last) == cap(p.last) {
		p.full = append(p.full, p.last)
		p.last = make(Trace, 0, min(max(2*cap(p.last), firstPart), greatestPart))
	}
	p.last = append(p.last, b)
	p.n++
}

// trace returns all heartbeats.
func (p *parts) trace() Trace {
	t := make(Trace, 0, p.n)
	for _, part := range p.full {
		t = append(t, part...)
		runtime.Gosched() // lets the collector stop this goroutine
	}
	return append(t, p.last...)
}
