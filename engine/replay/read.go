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

// Recording is what a file holds.
type Recording struct {
	// Lives are the lives of the peers in the order in which they began. Those with
	// fewer than two heartbeats are left out.
	Lives []Life
	// Overflowed is how many heartbeats arrived and are not in the recording, because
	// its writer was too slow.
	Overflowed uint64
	// Truncated is how many bytes at the end were left out, because the writer was
	// interrupted there.
	Truncated int
}

// Life is one life of a peer.
type Life struct {
	Peer        uint64 // its id; 0 in CSV
	Name        string // what people call it; "" if the recording does not say
	Incarnation uint64
	Trace       Trace
	Unstamped   int // heartbeats whose arrival is only when the program read them
}

// Read reads a recording as package recording or as ReadCSV has it; the first bytes tell
// which. It returns a *recording.FormatError or a *FormatError where that is corrupt,
// ErrEmpty for too few heartbeats, or the error of in.
func Read(in io.Reader) (*Recording, error) {
	buffered := bufio.NewReaderSize(in, 1<<16)
	if head, _ := buffered.Peek(recording.MagicSize); !recording.IsRecording(head) {
		t, unstamped, err := readCSV(buffered)
		if err != nil {
			return nil, err
		}
		return &Recording{Lives: []Life{{Trace: t, Unstamped: unstamped}}}, nil
	}
	r, err := recording.NewReader(buffered)
	if err != nil {
		return nil, err
	}
	out := &Recording{}
	if out.Lives, err = readLives(r); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	for i := range out.Lives {
		out.Lives[i].Name = r.Name(out.Lives[i].Peer)
	}
	out.Overflowed, out.Truncated = r.Overflowed(), r.Truncated()
	if len(out.Lives) == 0 {
		return nil, ErrEmpty
	}
	return out, nil
}

// readLives reads all heartbeats and sorts them by life.
func readLives(r *recording.Reader) ([]Life, error) {
	type key struct{ peer, incarnation uint64 }
	numbers := make(map[key]int)
	var lives []Life
	var read []parts // of each
	var h recording.Heartbeat
	var l *Life
	var p *parts
	for {
		if err := r.Next(&h); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if l == nil || l.Peer != h.Peer || l.Incarnation != h.Incarnation {
			k := key{h.Peer, h.Incarnation}
			n, ok := numbers[k]
			if !ok {
				n = len(lives)
				numbers[k] = n
				lives = append(lives, Life{Peer: h.Peer, Incarnation: h.Incarnation})
				read = append(read, parts{})
			}
			l, p = &lives[n], &read[n]
		}
		if h.Source == clock.User {
			l.Unstamped++
		}
		p.add(Beat{
			Sequence: h.Sequence, Send: int64(h.Send), NIC: int64(h.Arrival), App: int64(h.Read),
			Late: int64(h.Late), Period: int64(h.Period) * 1000,
		})
	}
	whole := lives[:0]
	for i, l := range lives {
		if read[i].n >= 2 {
			l.Trace = read[i].trace()
			whole = append(whole, l)
		}
	}
	return whole, nil
}

// parts are heartbeats that are being read. A slice that grows would be copied each time, and
// a copy cannot be preempted: a collector that wanted to stop it took most of the time of
// reading a million heartbeats.
type parts struct {
	whole []Trace
	last  Trace
	n     int
}

// Parts have room for firstPart heartbeats, and each for twice as many as the one before, up
// to greatestPart.
const (
	firstPart    = 64
	greatestPart = 1 << 14
)

// add adds b.
func (p *parts) add(b Beat) {
	if len(p.last) == cap(p.last) {
		p.whole = append(p.whole, p.last)
		p.last = make(Trace, 0, min(max(2*cap(p.last), firstPart), greatestPart))
	}
	p.last = append(p.last, b)
	p.n++
}

// trace returns them all.
func (p *parts) trace() Trace {
	t := make(Trace, 0, p.n)
	for _, part := range p.whole {
		t = append(t, part...)
		runtime.Gosched() // a collector may stop it here
	}
	return append(t, p.last...)
}
