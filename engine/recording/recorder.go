package recording

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"systole/ringbuf"
)

// Options are how a Recorder works. The zero value is usable.
type Options struct {
	// Ring is how many heartbeats wait for the writer at most, a power of two from 2 to
	// 2^20; each takes 72 bytes. 0 means 16384, which at a drain per 20 ms is enough for
	// half a million heartbeats a second.
	Ring int
	// Flush is how long a heartbeat waits for its block to be written. 0 means 1 s. From
	// 10 ms to 1 minute.
	Flush time.Duration
}

const (
	defaultRing  = 1 << 14
	maxRing      = 1 << 20
	defaultFlush = time.Second
	minFlush     = 10 * time.Millisecond
	// drainEvery is the pause between two looks at the ring. Heartbeats do not wake the
	// writer: that would be a system call of the loop's.
	drainEvery = 20 * time.Millisecond
	drainBatch = 256
)

var (
	// ErrClosed: the recorder was closed before.
	ErrClosed = errors.New("recording: closed")
	// ErrOptions: an option is out of its range.
	ErrOptions = errors.New("recording: Options.Ring is a power of two from 2 to 2^20, Options.Flush from 10 ms to 1 minute")
)

// Recorder writes heartbeats. One may serve several engines.
type Recorder struct {
	ring       *ringbuf.MPSC[Heartbeat]
	overflowed atomic.Uint64
	refused    atomic.Uint64
	written    atomic.Uint64
	bytes      atomic.Uint64

	mu    sync.Mutex // protects what follows
	names []named
	err   error // the first that writing gave

	closing sync.Once
	stop    chan struct{}
	done    chan struct{}

	// The writer's alone.
	out     io.Writer
	encoder *encoder
	told    uint64 // overflow that the recording tells of
	sealed  time.Time
	flush   time.Duration
}

// named is a name that waits to be written.
type named struct {
	peer uint64
	name string
}

// Stats counts what a Recorder did.
type Stats struct {
	Written    uint64 // heartbeats encoded
	Overflowed uint64 // heartbeats for which the ring had no room
	Refused    uint64 // heartbeats whose instants no clock shows, or of an incarnation beyond the first million
	Bytes      uint64 // given to the writer
}

// New returns a recorder that writes to out, and has written the magic. The caller closes
// out, after the recorder. Writing may block: the ring then fills and overflows, and
// nothing else happens.
func New(out io.Writer, o Options) (*Recorder, error) {
	if o.Ring == 0 {
		o.Ring = defaultRing
	}
	if o.Flush == 0 {
		o.Flush = defaultFlush
	}
	if o.Ring > maxRing || o.Flush < minFlush || o.Flush > time.Minute {
		return nil, ErrOptions
	}
	ring, err := ringbuf.NewMPSC[Heartbeat](o.Ring)
	if err != nil {
		return nil, ErrOptions
	}
	r := &Recorder{
		ring: ring, out: out, encoder: newEncoder(), flush: o.Flush, sealed: time.Now(),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if r.write([]byte(magic)); r.err != nil {
		return nil, r.err
	}
	go r.run()
	return r, nil
}

// Name says what people call a peer: at most 255 bytes of UTF-8. The last name counts.
// Any goroutine may call it.
func (r *Recorder) Name(peer uint64, name string) {
	if !utf8.ValidString(name) {
		name = fmt.Sprintf("%q", name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, named{peer, name})
}

// Stats returns the counters. Any goroutine may call it.
func (r *Recorder) Stats() Stats {
	return Stats{Written: r.written.Load(), Overflowed: r.overflowed.Load(), Refused: r.refused.Load(), Bytes: r.bytes.Load()}
}

// Err returns the first error of writing so far. After one nothing more is written, and
// what comes is dropped. Any goroutine may call it.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Close writes what waits and returns the first error of writing; a second call returns
// ErrClosed. Close the engine before: what arrives later is not recorded. Any goroutine
// may call it.
func (r *Recorder) Close() error {
	err := ErrClosed
	r.closing.Do(func() {
		close(r.stop)
		<-r.done
		err = r.Err()
	})
	return err
}

// run drains until Close, and once after it.
func (r *Recorder) run() {
	defer close(r.done)
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	batch := make([]Heartbeat, drainBatch)
	for {
		select {
		case <-tick.C:
			r.drain(batch, r.ring.Cap())
			if time.Since(r.sealed) >= r.flush {
				r.seal()
			}
		case <-r.stop:
			r.drain(batch, r.ring.Cap())
			r.seal()
			return
		}
	}
}

// drain encodes what waits, at most so many: producers may be faster than this.
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
	if lost := r.overflowed.Load() - r.told; lost > 0 {
		r.encoder.overflow(lost)
		r.told += lost
	}
}

// sealFull writes a block that is full.
func (r *Recorder) sealFull() {
	if r.encoder.size() >= blockSize {
		r.seal()
	}
}

// seal writes the block, if it holds something.
func (r *Recorder) seal() {
	r.sealed = time.Now()
	if r.encoder.size() > 0 {
		r.write(r.encoder.seal())
	}
}

// write writes unless writing failed before.
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
