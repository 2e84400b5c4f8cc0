package recording

import (
	"bufio"
	"errors"
	"io"
	"iter"
	"runtime"
	"slices"
	"time"

	"systole/engine/clock"
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
	Beats       []Beat // in any order
	Unstamped   int    // heartbeats without a stamp: their arrival is when the program read them
}

// Beat is a received heartbeat. The clocks of sender and receiver need not agree.
type Beat struct {
	Sequence uint64
	Send     int64 // ns, on the sender's clock
	NIC      int64 // stamp of the kernel or of the network card, ns, on the receiver's clock
	App      int64 // when the program read it, ns, on the receiver's clock
	Late     int64 // from its due time to Send, ns
	Period   int64 // as announced by the sender, ns; 0: not known
}

// Period returns the median of the periods that the sender announced. A recording without announced
// periods gives the median, over neighbouring heartbeats, of the time between their sends per
// sequence; 0 if there is none above 0.
func (s *Stream) Period() time.Duration {
	t := s.Beats
	var each []int64
	for i := range t[:min(len(t), periodSample)] {
		if t[i].Period > 0 {
			each = append(each, t[i].Period)
		}
	}
	if len(each) > 0 {
		slices.Sort(each)
		return time.Duration(each[len(each)/2])
	}
	for i := 1; i < len(t) && len(each) < periodSample; i++ {
		if steps := int64(t[i].Sequence - t[i-1].Sequence); steps > 0 {
			if d := (t[i].Send - t[i-1].Send) / steps; d > 0 {
				each = append(each, d)
			}
		}
	}
	if len(each) == 0 {
		return 0
	}
	slices.Sort(each)
	return time.Duration(each[len(each)/2]).Round(time.Microsecond)
}

// periodSample bounds the number of heartbeats that Period examines.
const periodSample = 10_001

// Read reads a recording; its first bytes tell whether it was written by a Recorder or is in CSV. The
// error has the place of a fault, or is that of in. A recording needs two heartbeats of a stream.
//
// CSV is the line seq,send_ns,nic_ns,app_ns, then a line per heartbeat in any order, of four whole
// numbers. A stamp nic_ns that is empty, or 0 while app_ns is not, is missing, and app_ns takes its
// place. A byte order mark, spaces around numbers, empty lines and CRLF make no difference. CSV has no
// lateness of senders, so each heartbeat counts as due when it was sent.
func Read(in io.Reader) (*Recording, error) {
	buffered := bufio.NewReaderSize(in, 1<<16)
	if head, _ := buffered.Peek(magicSize); !isRecording(head) {
		s, err := readCSV(buffered)
		if err != nil {
			return nil, err
		}
		return &Recording{Streams: []Stream{s}}, nil
	}
	r, err := newReader(buffered)
	if err != nil {
		return nil, err
	}
	out := &Recording{}
	if out.Streams, err = readStreams(r); err != nil {
		return nil, err
	}
	for i := range out.Streams {
		out.Streams[i].Name = r.names[out.Streams[i].Peer]
	}
	out.Overflowed, out.Truncated = r.overflowed, r.truncated
	if len(out.Streams) == 0 {
		return nil, errEmpty
	}
	return out, nil
}

// Heartbeats reads what a Recorder wrote, heartbeat by heartbeat. After an error, which has the place
// of a fault or is that of in, there are no more. A block that was not completed ends the heartbeats
// without an error.
func Heartbeats(in io.Reader) iter.Seq2[Heartbeat, error] {
	return func(yield func(Heartbeat, error) bool) {
		r, err := newReader(in)
		if err != nil {
			yield(Heartbeat{}, err)
			return
		}
		for {
			var h Heartbeat
			switch err := r.next(&h); {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(Heartbeat{}, err)
				return
			}
			if !yield(h, nil) {
				return
			}
		}
	}
}

// readStreams reads all heartbeats and groups them by peer and incarnation.
func readStreams(r *reader) ([]Stream, error) {
	type key struct{ peer, incarnation uint64 }
	indices := make(map[key]int)
	var streams []Stream
	var traces []parts // of the streams, at the same indices
	var h Heartbeat
	var s *Stream // of the last heartbeat; its successor is often of the same one
	var p *parts
	for {
		if err := r.next(&h); errors.Is(err, io.EOF) {
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
			s.Beats = traces[i].beats()
			kept = append(kept, s)
		}
	}
	return kept, nil
}

// parts collects heartbeats. It grows by parts, because a growing slice would be copied again and
// again. A copy cannot be preempted: while the collector waited to stop it, reading a million
// heartbeats took several times as long.
type parts struct {
	full [][]Beat
	last []Beat
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
		p.last = make([]Beat, 0, min(max(2*cap(p.last), firstPart), greatestPart))
	}
	p.last = append(p.last, b)
	p.n++
}

// beats returns all heartbeats.
func (p *parts) beats() []Beat {
	t := make([]Beat, 0, p.n)
	for _, part := range p.full {
		t = append(t, part...)
		runtime.Gosched() // lets the collector stop this goroutine
	}
	return append(t, p.last...)
}
