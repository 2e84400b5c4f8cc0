package recording

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"systole/ringbuf"
)

// Options configure a Recorder. The zero value is usable.
type Options struct {
	// Ring is the capacity of the ring in heartbeats: a power of two from 2 to 2^20. Each takes 72
	// bytes. 0 means 16384, which is drained every 20 ms: enough for half a million heartbeats per
	// second.
	Ring int
	// Flush is the longest time until a received heartbeat is written, from 10 ms to 1 minute. 0
	// means 1 s.
	Flush time.Duration
}

const (
	defaultRing  = 1 << 14
	maxRing      = 1 << 20
	defaultFlush = time.Second
	minFlush     = 10 * time.Millisecond
	// drainEvery is the time between two drains of the ring. Heartbeats do not wake the writer:
	// that would cost the loop a system call.
	drainEvery = 20 * time.Millisecond
	drainBatch = 256
)

// errOptions means that an option is out of its range.
var errOptions = errors.New("recording: want Options.Ring a power of two from 2 to 2^20, Options.Flush from 10 ms to 1 minute")

// Recorder writes a recording. Several engines may share one.
type Recorder struct {
	ring       *ringbuf.MPSC[Heartbeat]
	overflowed atomic.Uint64
	refused    atomic.Uint64
	written    atomic.Uint64
	bytes      atomic.Uint64

	mu    sync.Mutex // guards names and err
	names []peerName // not yet encoded
	err   error      // the first error of writing

	closing sync.Once
	stop    chan struct{}
	done    chan struct{}

	// Used by the writing goroutine alone.
	out      io.Writer
	encoder  *encoder
	encoded  uint64 // the part of overflowed that is in the recording
	lastSeal time.Time
	flush    time.Duration
}

// peerName is an argument of Name.
type peerName struct {
	peer uint64
	name string
}

// Stats are the counters of a Recorder.
type Stats struct {
	Written    uint64 // heartbeats encoded
	Overflowed uint64 // heartbeats for which the ring had no room
	// Refused counts heartbeats that cannot be encoded: one of the instants is further than 36
	// years from 0, Read is before Arrival, or the recording has 2^20 streams already.
	Refused uint64
	Bytes   uint64 // written
}

// New writes the beginning of a recording to out and returns its Recorder. The caller closes out,
// after the Recorder. If out blocks, the ring fills and heartbeats overflow; nothing else waits. The
// error is that of writing, or says which options are out of their range.
func New(out io.Writer, o Options) (*Recorder, error) {
	if o.Ring == 0 {
		o.Ring = defaultRing
	}
	if o.Flush == 0 {
		o.Flush = defaultFlush
	}
	if o.Ring > maxRing || o.Flush < minFlush || o.Flush > time.Minute {
		return nil, errOptions
	}
	ring, err := ringbuf.NewMPSC[Heartbeat](o.Ring)
	if err != nil {
		return nil, errOptions
	}
	r := &Recorder{
		ring: ring, out: out, encoder: newEncoder(), flush: o.Flush, lastSeal: time.Now(),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if r.write([]byte(magic)); r.err != nil {
		return nil, r.err
	}
	go r.run()
	return r, nil
}

// Name records the name of a peer: UTF-8, cut to 255 bytes. The last name of a peer counts. Any
// goroutine may call it.
func (r *Recorder) Name(peer uint64, name string) {
	if !utf8.ValidString(name) {
		name = fmt.Sprintf("%q", name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, peerName{peer, name})
}

// Stats returns the counters. Any goroutine may call it.
func (r *Recorder) Stats() Stats {
	return Stats{Written: r.written.Load(), Overflowed: r.overflowed.Load(), Refused: r.refused.Load(), Bytes: r.bytes.Load()}
}

// Err returns the first error of writing so far. After an error nothing more is written, and
// further heartbeats are dropped. Any goroutine may call it.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Close writes the remaining heartbeats and returns the first error of writing; the error of a second
// call wraps os.ErrClosed. Close the engine first: heartbeats that arrive later are not recorded. Any
// goroutine may call it.
func (r *Recorder) Close() error {
	err := fmt.Errorf("recording: %w", os.ErrClosed)
	r.closing.Do(func() {
		close(r.stop)
		<-r.done
		err = r.Err()
	})
	return err
}

// run drains the ring until Close, and then once more.
func (r *Recorder) run() {
	defer close(r.done)
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	batch := make([]Heartbeat, drainBatch)
	for {
		select {
		case <-tick.C:
			r.drain(batch, r.ring.Cap())
			if time.Since(r.lastSeal) >= r.flush {
				r.seal()
			}
		case <-r.stop:
			r.drain(batch, r.ring.Cap())
			r.seal()
			return
		}
	}
}

// drain encodes names and at most so many heartbeats. The bound ends it even if producers are
// faster.
func (r *Recorder) drain(batch []Heartbeat, most int) {
	r.mu.Lock()
	names := r.names
	r.names = nil
	r.mu.Unlock()
	for _, n := range names {
		r.encoder.name(n.peer, n.name)
		r.sealFull()
	}
	for most > 0 {
		n := r.ring.PopBatch(batch)
		if n == 0 {
			break
		}
		most -= n
		for i := range batch[:n] {
			if !r.encoder.heartbeat(&batch[i]) {
				r.refused.Add(1)
				continue
			}
			r.written.Add(1)
			r.sealFull()
		}
	}
	if missing := r.overflowed.Load() - r.encoded; missing > 0 {
		r.encoder.overflow(missing)
		r.encoded += missing
	}
}

// sealFull writes the block if it is full.
func (r *Recorder) sealFull() {
	if r.encoder.size() >= blockSize {
		r.seal()
	}
}

// seal writes the block unless it is empty.
func (r *Recorder) seal() {
	r.lastSeal = time.Now()
	if r.encoder.size() > 0 {
		r.write(r.encoder.seal())
	}
}

// write writes b, unless a write failed before.
func (r *Recorder) write(b []byte) {
	if r.Err() != nil {
		return
	}
	n, err := r.out.Write(b)
	r.bytes.Add(uint64(n))
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		r.mu.Lock()
		r.err = fmt.Errorf("recording: write the recording: %w", err)
		r.mu.Unlock()
	}
}
