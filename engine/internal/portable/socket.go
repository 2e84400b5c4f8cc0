package portable

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"systole/engine/internal/network"
)

// socket is one UDP socket. The loop owns it, but for what reading says.
type socket struct {
	conn       *net.UDPConn
	raw        syscall.RawConn
	local      network.Addr
	recv, send network.Buffer

	in     inbox
	broken atomic.Bool // the last read failed, for no reason that the network has
	queue  queue

	out  [network.BatchSize]outgoing
	n    int // committed
	sent int // of the last Flush
}

// outgoing is a datagram to send, and its result.
type outgoing struct {
	to   netip.AddrPort
	n    int
	slot uint32
	why  network.Refusal
	data [network.MaxDatagram]byte
}

// open opens a socket on a local address.
func open(local netip.AddrPort, recv, send int) (*socket, error) {
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	op := "open a UDP socket on " + local.String()
	family := "udp6"
	if local.Addr().Is4() {
		family = "udp4"
	}
	conn, err := net.ListenUDP(family, net.UDPAddrFromAddrPort(local))
	if err != nil {
		return nil, &network.Error{Op: op, Err: err, Help: helpFor(err)}
	}
	s := &socket{conn: conn, recv: network.Buffer{Wanted: recv}, send: network.Buffer{Wanted: send}}
	s.in.room = make(chan struct{}, 1)
	s.raw, err = conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(&network.Error{Op: op, Err: err}, conn.Close())
	}
	s.queue.init()
	s.local = network.AddrFrom(conn.LocalAddr().(*net.UDPAddr).AddrPort())
	s.recv.Granted = s.grant(recv, conn.SetReadBuffer, receiveBuffer)
	s.send.Granted = s.grant(send, conn.SetWriteBuffer, sendBuffer)
	return s, nil
}

// helpFor returns what would help after a failed open.
func helpFor(err error) string {
	switch {
	case errors.Is(err, noFamily):
		return "this host lacks that family, or a sandbox forbids it: listen on addresses of the other one"
	case errors.Is(err, inUse):
		return "another socket has this port: stop it, or choose another port"
	case errors.Is(err, noAddress):
		return "no interface of this host has this address"
	}
	return ""
}

// grant asks for a buffer of so many bytes, and for half of that where a system refuses more than
// it grants. It returns what is granted.
func (s *socket) grant(wanted int, set func(int) error, read func(fd uintptr) (int, error)) int {
	asked := wanted
	for asked > minBuffer && set(asked) != nil {
		asked /= 2
	}
	granted, err := asked, error(nil)
	failed := s.raw.Control(func(fd uintptr) { granted, err = read(fd) })
	if failed != nil || err != nil {
		return asked
	}
	return granted
}

// minBuffer is what every system grants.
const minBuffer = 8 << 10

func (s *socket) is6() bool { return s.local.Is6() }

func (s *socket) isWildcard() bool { return s.local.IP().IsUnspecified() }

// reading reads the socket until it is closed, and signals arrivals. It is a goroutine of its own,
// which uses only the inbox, the connection and broken.
func (s *socket) reading(n *Sockets) {
	defer n.running.Done()
	zones := zones{links: &n.links}
	for {
		d := s.in.next(n.closed)
		if d == nil {
			return
		}
		size, from, err := s.conn.ReadFromUDPAddrPort(d.data[:])
		n.calls.Add(1)
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, tooLong): // Windows tells it thus, and fills the buffer
			size = len(d.data)
		default:
			s.failed(n, err)
			continue
		}
		if s.broken.Load() {
			s.broken.Store(false)
		}
		d.n, d.from = size, zones.addr(from)
		s.in.add()
		signal(n.arrived)
	}
}

// failed handles an error of a read. An error that the network returned for an earlier datagram says
// nothing of the socket. Any other one is a fault of the socket, which is tried again after a while.
func (s *socket) failed(n *Sockets, err error) {
	if isReturned(err) {
		return
	}
	s.broken.Store(true)
	signal(n.arrived)
	select {
	case <-n.closed:
	case <-time.After(retryEvery):
	}
}

// retryEvery is the time between reads of a socket that cannot be read.
const retryEvery = 10 * time.Millisecond

// next returns the buffer of the next datagram, nil if the batch is full.
func (s *socket) next() []byte {
	if s.n == len(s.out) {
		return nil
	}
	return s.out[s.n].data[:]
}

// commit adds a datagram to the batch, and returns how many it has.
func (s *socket) commit(size int, to *network.Addr, slot uint32) int {
	o := &s.out[s.n]
	o.n, o.to, o.slot = size, to.AddrPort(), slot
	s.n++
	return s.n
}

// flush sends the batch. Where a full buffer makes a send wait, it waits for a while and refuses the
// rest.
func (s *socket) flush() (sent, refused int) {
	s.sent, s.n = s.n, 0
	if s.sent == 0 {
		return 0, 0
	}
	s.renew()
	full := false
	for i := range s.out[:s.sent] {
		o := &s.out[i]
		if o.why = network.NoBuffer; !full {
			o.why = s.write(o)
			full = o.why == network.NoBuffer
		}
		if o.why != network.Sent {
			refused++
		}
	}
	return s.sent, refused
}

// write sends one datagram. A deadline that has passed shows a full buffer only if it was renewed just
// before: otherwise the loop stood still meanwhile.
func (s *socket) write(o *outgoing) (why network.Refusal) {
	for range writeTries {
		_, err := s.conn.WriteToUDPAddrPort(o.data[:o.n], o.to)
		if err == nil {
			return network.Sent
		}
		if why = refusalOf(err); !errors.Is(err, os.ErrDeadlineExceeded) {
			return why
		}
		s.renew()
	}
	return why
}

// renew sets the deadline of writes.
func (s *socket) renew() {
	_ = s.conn.SetWriteDeadline(time.Now().Add(sendWait)) // it fails if the socket is closed, as sends do
}

// A full buffer holds up the loop for sendWait, writeTries times at most.
const (
	sendWait   = 10 * time.Millisecond
	writeTries = 3
)

// refusalOf returns what the error of a send says.
func refusalOf(err error) network.Refusal {
	var errno syscall.Errno
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return network.NoBuffer
	case errors.As(err, &errno):
		if why, ok := refusals[errno]; ok {
			return why
		}
		return network.Foreign
	case errors.Is(err, net.ErrClosed):
		return network.Foreign
	}
	return network.Refused // package net refused the address
}

// isReturned reports whether an error of a read is what the network returned for an earlier datagram.
func isReturned(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) && returned[errno]
}
