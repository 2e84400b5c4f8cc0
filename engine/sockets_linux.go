package engine

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/internal/netlink"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// sockets is the network of a shard on Linux: one socket per local address.
type sockets struct {
	list     []*udp.Socket
	senders  []*udp.Sender // by socket: a batch leaves through one socket
	slots    [][batchSize]uint32
	in       *udp.Receiver
	received uint8 // the socket of the last batch
	errors   *udp.ErrorReader
	pending  []udp.Returned // of the last batch of errors
	waiter   *udp.Waiter
	wanted   [2]int // sizes of the buffers, receive and send
	stamps   bool   // some datagrams are stamped when they are sent

	queryMu sync.Mutex      // held during a query of the kernel, which does not block
	routes  *netlink.Routes // nil if routes are unknown; guarded by queryMu
	closed  bool            // guarded by queryMu

	interfaces *interfaces // the engine's
}

var _ network.Network = (*sockets)(nil)

// openNative opens the sockets of every shard. Shards share the ports.
func (e *Engine) openNative() error {
	listen := slices.Clone(e.cfg.Listen)
	groups := make([][]*udp.Socket, len(listen))
	for _, s := range e.shards {
		n, err := e.openShard(listen, groups)
		if err != nil {
			return errors.Join(err, e.closeSockets())
		}
		s.net = n
	}
	for _, group := range groups {
		if err := udp.AttachSteering(group); err != nil {
			return errors.Join(err, e.closeSockets())
		}
	}
	return nil
}

// openShard opens the sockets of one shard. It stores the ports that the kernel chose for
// the first shard in listen, for the others.
func (e *Engine) openShard(listen []netip.AddrPort, groups [][]*udp.Socket) (*sockets, error) {
	n := &sockets{in: udp.NewReceiver(), errors: udp.NewErrorReader(), wanted: e.bufferSizes(), interfaces: &e.interfaces}
	n.stamps = e.cfg.StampSends > 0
	var missing []error
	for i := range listen {
		s, err := udp.Open(udp.Options{
			Local: listen[i], ReusePort: len(e.shards) > 1, Join: len(groups[i]) > 0,
			RecvBuffer: n.wanted[0], SendBuffer: n.wanted[1],
			Timestamps: true, Errors: true,
		})
		switch {
		case err == nil:
			n.list = append(n.list, s)
			listen[i] = s.Local()
			groups[i] = append(groups[i], s)
		case e.optional(err):
			missing = append(missing, err)
		default:
			return nil, errors.Join(err, n.closeList())
		}
	}
	if len(n.list) == 0 {
		return nil, errors.Join(missing...)
	}
	for range n.list {
		n.senders = append(n.senders, udp.NewSender())
	}
	n.slots = make([][batchSize]uint32, len(n.list))
	waiter, err := udp.NewWaiter(n.list...)
	if err != nil {
		return nil, errors.Join(err, n.closeList())
	}
	n.waiter = waiter
	if e.cfg.Sched.Procs >= e.cfg.Shards {
		waiter.KeepP() // there is a P for every loop
	}
	if routes, err := netlink.OpenRoutes(); err == nil {
		n.routes = routes
	}
	return n, nil
}

// optional reports whether the engine can do without the socket whose Open failed: the
// default listens on both families, of which a host, or a sandbox, may have only one.
func (e *Engine) optional(err error) bool {
	missing := errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)
	return e.cfg.defaultListen && missing
}

// Close closes the waiter and the sockets, after the query that is running, if any.
func (n *sockets) Close() error {
	n.queryMu.Lock()
	defer n.queryMu.Unlock()
	var err error
	if n.routes != nil {
		err = n.routes.Close()
		n.routes = nil
	}
	n.closed = true
	return errors.Join(err, n.waiter.Close(), n.closeList())
}

func (n *sockets) closeList() error {
	var errs []error
	for _, s := range n.list {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

func (n *sockets) Sockets() int { return len(n.list) }

// Receive takes a short batch for the last one, unless the socket is known to have errors,
// which end batches early.
func (n *sockets) Receive(i int) (k int, empty bool, err error) {
	n.received = uint8(i)
	k, err = n.in.Recv(n.list[i])
	return k, err == nil && (k == 0 || k < batchSize && !n.list[i].HasErrors()), err
}

func (n *sockets) Interrupted(i int) bool   { return n.list[i].PendingError() }
func (n *sockets) Datagram(j int) []byte    { return n.in.Datagram(j) }
func (n *sockets) From(j int) *network.Addr { return n.in.From(j) }
func (n *sockets) Stamp(j int) int64        { return n.in.Stamp(j) }

func (n *sockets) NextError(i int) (network.Returned, bool) {
	if s := n.list[i]; len(n.pending) == 0 && (s.HasErrors() || s.AwaitsStamps()) {
		n.pending, _ = n.errors.Read(s)
	}
	if len(n.pending) == 0 {
		return network.Returned{}, false
	}
	e := n.pending[0]
	n.pending = n.pending[1:]
	return e.Returned, true
}

func (n *sockets) Next(i int) []byte { return n.senders[i].Next() }

func (n *sockets) Commit(i, size int, to *network.Addr, number uint8, slot uint32) int {
	var k int
	if number == network.AnySource {
		k = n.senders[i].Commit(size, to)
	} else {
		k = n.commitFrom(i, size, to, n.sources().at(number))
	}
	n.slots[i][k-1] = slot
	return k
}

func (n *sockets) StampSend(i int) { n.senders[i].Stamp() }

func (n *sockets) Flush(i int) (written, refused int) {
	b := n.senders[i]
	if written = b.Len(); written == 0 {
		return 0, 0
	}
	refused = written - b.Flush(n.list[i])
	b.Reset()
	return written, refused
}

func (n *sockets) Refusal(i, k int) (uint32, network.Refusal) {
	return n.slots[i][k], udp.RefusalOf(n.senders[i].Err(k))
}

func (n *sockets) Drops() uint32 {
	var sum uint32
	for _, s := range n.list {
		if m, err := s.Memory(); err == nil {
			sum += m[unix.SK_MEMINFO_DROPS]
		}
	}
	return sum
}

func (n *sockets) Wait(d time.Duration, datagrams bool) bool {
	ready, err := n.waiter.Wait(d, datagrams)
	return err != nil || ready != (udp.Ready{})
}

func (n *sockets) Wake() { n.waiter.Wake() }

// Drain looks at the sockets if some datagrams are stamped: poll(2) reports a stamp until it is read.
func (n *sockets) Drain() {
	if n.stamps {
		_, _ = n.waiter.Wait(0, true) // it cannot fail in a way that matters here
		return
	}
	n.waiter.Drain()
}

// descriptors returns the descriptors that a program with a loop of its own polls.
func (n *sockets) descriptors() []int {
	fds := []int{n.waiter.Fd()}
	for _, s := range n.list {
		fds = append(fds, s.Fd())
	}
	return fds
}

func (n *sockets) Calls() uint64 {
	sum := n.waiter.Calls()
	for _, s := range n.list {
		sum += s.Calls()
	}
	return sum
}

func (n *sockets) Buffers() (recv, send network.Buffer) {
	recv = network.Buffer{Wanted: n.wanted[0], Granted: n.list[0].RecvBuffer()}
	send = network.Buffer{Wanted: n.wanted[1], Granted: n.list[0].SendBuffer()}
	for _, s := range n.list {
		recv.Granted = min(recv.Granted, s.RecvBuffer())
		send.Granted = min(send.Granted, s.SendBuffer())
	}
	return recv, send
}

func (n *sockets) Local() []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range n.list {
		out = append(out, s.Local())
	}
	return out
}
