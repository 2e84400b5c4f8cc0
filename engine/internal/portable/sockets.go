package portable

import (
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"systole/engine/internal/network"
)

// Options describe the sockets of an engine.
type Options struct {
	// Listen is the local addresses, at most network.MaxSockets. Port 0 lets the system choose.
	Listen []netip.AddrPort
	// Optional leaves out addresses whose family this host lacks, as long as one is left.
	Optional bool
	// RecvBuffer and SendBuffer are the bytes wanted per socket.
	RecvBuffer, SendBuffer int
}

// Sockets implements network.Network.
type Sockets struct {
	list  []*socket
	links links
	timer *time.Timer

	// The last batch of Receive: n datagrams of a socket.
	from *socket
	n    int
	at   uint8

	wake    chan struct{} // capacity 1
	arrived chan struct{} // capacity 1: datagrams came since the loop last looked
	calls   atomic.Uint64
	closed  chan struct{}
	running sync.WaitGroup
}

var _ network.Network = (*Sockets)(nil)

// errBroken says that a socket cannot be read.
var errBroken = errors.New("portable: the socket cannot be read")

// Open opens the sockets and starts a goroutine for each, and one for the interfaces. It returns a
// *network.Error.
func Open(o Options) (*Sockets, error) {
	n := &Sockets{
		timer: time.NewTimer(time.Hour), wake: make(chan struct{}, 1), arrived: make(chan struct{}, 1),
		closed: make(chan struct{}),
	}
	var missing []error
	for _, local := range o.Listen {
		s, err := open(local, o.RecvBuffer, o.SendBuffer)
		switch {
		case err == nil:
			n.list = append(n.list, s)
		case o.Optional && (errors.Is(err, noFamily) || errors.Is(err, noAddress)):
			missing = append(missing, err)
		default:
			return nil, errors.Join(err, n.closeList())
		}
	}
	if len(n.list) == 0 {
		return nil, errors.Join(missing...)
	}
	n.links.look()
	n.running.Add(1 + len(n.list))
	go n.links.watch(n)
	for _, s := range n.list {
		go s.reading(n)
	}
	return n, nil
}

// Close closes the sockets and waits for the goroutines.
func (n *Sockets) Close() error {
	close(n.closed)
	err := n.closeList()
	n.running.Wait()
	return err
}

func (n *Sockets) closeList() error {
	var errs []error
	for _, s := range n.list {
		errs = append(errs, s.conn.Close())
	}
	return errors.Join(errs...)
}

// The methods of network.Network follow; package network documents them.

// Sockets returns the number of sockets.
func (n *Sockets) Sockets() int { return len(n.list) }

// Receive takes a batch out of a socket's ring. If the ring is empty and the kernel's buffer is not,
// it lets the reading goroutine run first.
func (n *Sockets) Receive(i int) (k int, empty bool, err error) {
	n.release()
	s := n.list[i]
	n.from, n.at = s, uint8(i)
	holds := false
	for range yields {
		if n.n = min(s.in.size(), network.BatchSize); n.n == network.BatchSize {
			return n.n, false, nil
		}
		if holds = n.holds(s); !holds || n.n > 0 {
			break
		}
		runtime.Gosched()
	}
	if s.broken.Load() && n.n == 0 {
		return 0, false, errBroken
	}
	return n.n, !holds && s.in.size() == n.n, nil
}

// yields bounds how often Receive lets other goroutines run.
const yields = 4

// holds reports whether the kernel has datagrams of a socket.
func (n *Sockets) holds(s *socket) bool {
	n.calls.Add(1)
	return s.raw.Control(s.queue.ask) == nil && s.queue.holds
}

// release frees the places of the last batch.
func (n *Sockets) release() {
	if n.n > 0 {
		n.from.in.release(n.n)
		n.n = 0
	}
}

// Interrupted returns false: Receive says what it knows.
func (n *Sockets) Interrupted(int) bool { return false }

// Datagram returns datagram j of the batch.
func (n *Sockets) Datagram(j int) []byte {
	d := n.from.in.at(j)
	return d.data[:d.n]
}

// From returns the sender of datagram j.
func (n *Sockets) From(j int) *network.Addr { return &n.from.in.at(j).from }

// Stamp returns 0: nothing is stamped.
func (n *Sockets) Stamp(int) int64 { return 0 }

// NextError returns false: there are no error queues.
func (n *Sockets) NextError(int) (network.Returned, bool) { return network.Returned{}, false }

// Next returns the buffer for the next datagram.
func (n *Sockets) Next(i int) []byte { return n.list[i].next() }

// Commit adds a datagram to the batch.
func (n *Sockets) Commit(i, size int, to *network.Addr, _ uint8, slot uint32) int {
	return n.list[i].commit(size, to, slot)
}

// StampSend does nothing.
func (n *Sockets) StampSend(int) {}

// Flush sends the batch.
func (n *Sockets) Flush(i int) (sent, refused int) {
	sent, refused = n.list[i].flush()
	n.calls.Add(uint64(sent))
	return sent, refused
}

// Refusal returns the slot and the refusal of datagram k.
func (n *Sockets) Refusal(i, k int) (uint32, network.Refusal) {
	o := &n.list[i].out[k]
	return o.slot, o.why
}

// Drops returns 0: it is not known.
func (n *Sockets) Drops() uint32 { return 0 }

// Wait waits. Datagrams in a ring end it at once.
func (n *Sockets) Wait(d time.Duration, datagrams bool) bool {
	var arrived chan struct{}
	if datagrams {
		if n.holdsAny() {
			return true
		}
		arrived = n.arrived
	}
	n.timer.Reset(d)
	select {
	case <-n.wake:
	case <-arrived:
	case <-n.timer.C:
		return false
	}
	n.timer.Stop()
	return true
}

// holdsAny reports whether a ring has datagrams that Receive has not returned. It discards the signal
// that says so.
func (n *Sockets) holdsAny() bool {
	n.release()
	for _, s := range n.list {
		if s.in.size() > 0 {
			select {
			case <-n.arrived:
			default:
			}
			return true
		}
	}
	return false
}

// Wake ends Wait.
func (n *Sockets) Wake() { signal(n.wake) }

// Drain discards calls of Wake.
func (n *Sockets) Drain() {
	select {
	case <-n.wake:
	default:
	}
}

// Calls returns the number of system calls that read, asked and sent.
func (n *Sockets) Calls() uint64 { return n.calls.Load() }

// Buffers returns the smallest buffers.
func (n *Sockets) Buffers() (recv, send network.Buffer) {
	recv, send = n.list[0].recv, n.list[0].send
	for _, s := range n.list {
		recv.Granted = min(recv.Granted, s.recv.Granted)
		send.Granted = min(send.Granted, s.send.Granted)
	}
	return recv, send
}

// Local returns the sockets' addresses.
func (n *Sockets) Local() []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range n.list {
		out = append(out, s.local.AddrPort())
	}
	return out
}
