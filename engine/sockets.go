package engine

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/internal/netlink"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// sockets is the network of a shard on the kernel: one socket per local address.
type sockets struct {
	list    []*udp.Socket
	senders []*udp.Sender // one per socket, since a batch goes out through one
	slots   [][batchSize]uint32
	in      *udp.Receiver
	errors  *udp.ErrorReader
	pending []udp.Returned // of the last batch of errors
	waiter  *udp.Waiter
	wanted  [2]int

	asking sync.Mutex      // held for a question to the kernel, which does not wait
	routes *netlink.Routes // nil: the kernel does not tell; guarded by asking
	closed bool            // guarded by asking

	v4, v6             uint8  // the first socket of each family, or network.NoSocket
	several4, several6 bool   // there are more of it
	wildcards          uint32 // bit i: socket i is bound to any address
	received           uint8  // the socket of the last batch

	interfaces *interfaces // the engine's
}

var _ network.Network = (*sockets)(nil)

// openSockets opens every shard's sockets, unless the world is simulated. Shards share
// the ports.
func (e *Engine) openSockets() error {
	if e.cfg.Network != nil {
		e.shards[0].net = e.cfg.Network
		return nil
	}
	listen := append([]netip.AddrPort(nil), e.cfg.Listen...)
	groups := make([][]*udp.Socket, len(listen))
	for _, s := range e.shards {
		n, err := e.openShard(listen, groups)
		if err != nil {
			return errors.Join(err, e.closeSockets())
		}
		s.net = n
	}
	if len(e.shards) == 1 {
		return nil
	}
	for _, group := range groups {
		if err := udp.AttachSteering(group); err != nil {
			return errors.Join(err, e.closeSockets())
		}
	}
	return nil
}

// openShard opens one shard's sockets. The ports that the kernel chose for the first
// shard are noted in listen for the others.
func (e *Engine) openShard(listen []netip.AddrPort, groups [][]*udp.Socket) (*sockets, error) {
	n := &sockets{v4: network.NoSocket, v6: network.NoSocket, in: udp.NewReceiver(), errors: udp.NewErrorReader(), interfaces: &e.interfaces}
	n.wanted = e.bufferSizes()
	var missing []error
	for i := range listen {
		s, err := udp.Open(udp.Options{
			Local: listen[i], ReusePort: len(e.shards) > 1, Join: len(groups[i]) > 0,
			RecvBuffer: n.wanted[0], SendBuffer: n.wanted[1],
			Timestamps: true, Errors: true,
			Destinations: listen[i].Addr().IsUnspecified(),
		})
		if err != nil {
			if e.optional(err) {
				missing = append(missing, err)
				continue
			}
			return nil, errors.Join(err, n.closeList())
		}
		n.add(s)
		listen[i] = s.Local()
		groups[i] = append(groups[i], s)
	}
	if len(n.list) == 0 {
		return nil, errors.Join(missing...)
	}
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

// optional reports whether a socket that Listen did not ask for may be missing: the
// default listens on both families, of which a host, or a sandbox, need have only one.
func (e *Engine) optional(err error) bool {
	missing := errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)
	return e.cfg.defaultListen && missing
}

// add appends an open socket.
func (n *sockets) add(s *udp.Socket) {
	i := uint8(len(n.list))
	n.list = append(n.list, s)
	n.senders = append(n.senders, udp.NewSender())
	n.slots = append(n.slots, [batchSize]uint32{})
	if s.LocalAddr().IP().IsUnspecified() {
		n.wildcards |= 1 << i
	}
	first, several := &n.v4, &n.several4
	if s.Is6() {
		first, several = &n.v6, &n.several6
	}
	if *first == network.NoSocket {
		*first = i
	} else {
		*several = true
	}
}

// bufferSizes sizes the buffers: receiving, two periods' heartbeats of every peer, or
// what comes in the longest stall that is no pause for them all; sending, the batches of
// one turn. Neither is below the size at which a burst of first contacts fits.
func (e *Engine) bufferSizes() [2]int {
	perShard := max(e.cfg.ExpectedPeers/e.cfg.Shards, minBufferedPeers)
	sizes := [2]int{2 * perShard * udp.QueuedSize, 2 * perShard * udp.QueuedSize}
	if e.cfg.RecvBuffer != 0 {
		sizes[0] = e.cfg.RecvBuffer
	}
	if e.cfg.SendBuffer != 0 {
		sizes[1] = e.cfg.SendBuffer
	}
	return sizes
}

// minBufferedPeers is the number of peers that buffers are sized for at least.
const minBufferedPeers = 256

// closeSockets closes the sockets of every shard.
func (e *Engine) closeSockets() error {
	var errs []error
	for _, s := range e.shards {
		if s.net != nil {
			errs = append(errs, s.net.Close())
		}
	}
	return errors.Join(errs...)
}

// Close closes the waiter and the sockets. Who asks the kernel through them at the time
// is waited for.
func (n *sockets) Close() error {
	n.asking.Lock()
	defer n.asking.Unlock()
	var err error
	if n.routes != nil {
		err = n.routes.Close()
		n.routes = nil
	}
	n.closed = true
	return errors.Join(err, n.waiter.Close(), n.closeList())
}

// closeList closes the sockets.
func (n *sockets) closeList() error {
	var errs []error
	for _, s := range n.list {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

func (n *sockets) Sockets() int { return len(n.list) }

// Receive takes a short batch for the last one, unless errors are known to come in: those
// cut batches short.
func (n *sockets) Receive(i int) (k int, empty bool, err error) {
	n.received = uint8(i)
	k, err = n.in.Recv(n.list[i])
	return k, err == nil && (k == 0 || k < batchSize && !n.list[i].HasErrors()), err
}

func (n *sockets) Interrupted(i int) bool { return n.list[i].PendingError() }
func (n *sockets) Datagram(j int) []byte  { return n.in.Datagram(j) }
func (n *sockets) From(j int) *udp.Addr   { return n.in.From(j) }
func (n *sockets) Stamp(j int) int64      { return n.in.Stamp(j) }

func (n *sockets) NextError(i int) (network.Returned, bool) {
	if len(n.pending) == 0 && n.list[i].HasErrors() {
		n.pending, _ = n.errors.Read(n.list[i])
	}
	if len(n.pending) == 0 {
		return network.Returned{}, false
	}
	e := n.pending[0]
	n.pending = n.pending[1:]
	return e, true
}

func (n *sockets) Next(i int) []byte { return n.senders[i].Next() }

func (n *sockets) Commit(i, size int, to *udp.Addr, source uint8, slot uint32) int {
	var k int
	if source == network.AnySource {
		k = n.senders[i].Commit(size, to)
	} else {
		k = n.commitFrom(i, size, to, source)
	}
	n.slots[i][k-1] = slot
	return k
}

func (n *sockets) Flush(i int) (written, refused int) {
	b := n.senders[i]
	if written = b.Len(); written == 0 {
		return 0, 0
	}
	refused = written - b.Flush(n.list[i])
	b.Reset()
	return written, refused
}

func (n *sockets) Refusal(i, k int) (uint32, unix.Errno) { return n.slots[i][k], n.senders[i].Err(k) }

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

// Drain takes back wake-ups on behalf of a program that polls by itself.
func (n *sockets) Drain() { n.waiter.Drain() }

// descriptors returns what a program polls that has its own loop.
func (n *sockets) descriptors() []int {
	fds := []int{n.waiter.Fd()}
	for _, s := range n.list {
		fds = append(fds, s.Fd())
	}
	return fds
}

func (n *sockets) Wake() { n.waiter.Wake() }

func (n *sockets) Calls() uint64 {
	sum := n.waiter.Calls()
	for _, s := range n.list {
		sum += s.Calls()
	}
	return sum
}

func (n *sockets) Buffers() (recv, send network.Buffer) {
	for i, s := range n.list {
		if i == 0 || s.RecvBuffer() < recv.Granted {
			recv = network.Buffer{Wanted: n.wanted[0], Granted: s.RecvBuffer()}
		}
		if i == 0 || s.SendBuffer() < send.Granted {
			send = network.Buffer{Wanted: n.wanted[1], Granted: s.SendBuffer()}
		}
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

// Addrs returns the local addresses, with the ports that the kernel chose. Any
// goroutine may call it.
func (e *Engine) Addrs() []netip.AddrPort { return e.shards[0].net.Local() }
