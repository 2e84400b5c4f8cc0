package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/wire"
)

// The discriminators of the tests: of the sender in slot 1, and of the receiver in slot 2.
const (
	senders   = 0xabcdef<<20 | 1
	receivers = 0x123456<<20 | 2
)

// beat returns a heartbeat from the sender to the receiver, with changes.
func beat(sequence uint64, change ...func(h *wire.Header)) []byte {
	h := wire.Header{
		YourDiscriminator: receivers, MyDiscriminator: senders, Sender: 7, Incarnation: 9,
		Sequence: sequence, SendInstant: int64(clock.Now()), Period: 1000,
	}
	for _, f := range change {
		f(&h)
	}
	return mustAppend(&h, nil)
}

func mustAppend(h *wire.Header, messages []byte) []byte {
	b, fault := wire.Append(nil, h, messages)
	if fault != wire.OK {
		panic(fault.String())
	}
	return b
}

// withMessage returns a heartbeat that carries a message.
func withMessage(sequence uint64) []byte {
	var h wire.Header
	if _, fault := wire.Decode(beat(sequence), &h); fault != wire.OK {
		panic(fault.String())
	}
	messages, _ := wire.AppendMessage(nil, 1000, []byte("message"))
	return mustAppend(&h, messages)
}

// socket is a UDP socket whose datagrams have stamps.
type socket struct{ *net.UDPConn }

// listen opens a socket at an address, in the calling thread's namespace.
func listen(addr netip.Addr) (socket, error) {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		return socket{}, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return socket{}, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	})
	if err == nil {
		err = failed
	}
	return socket{c}, err
}

func (s socket) addr() netip.AddrPort { return s.LocalAddr().(*net.UDPAddr).AddrPort() }

// read returns the next datagram, and its stamp in nanoseconds of whichever clock.
func (s socket) read() (b []byte, stamp int64, err error) {
	b = make([]byte, wire.MaxSize)
	control := make([]byte, 256)
	if err := s.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return nil, 0, err
	}
	n, m, _, _, err := s.ReadMsgUDPAddrPort(b, control)
	if err != nil {
		return nil, 0, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:m])
	for _, m := range messages {
		if m.Header.Type == unix.SO_TIMESTAMPNS {
			stamp = int64(binary.NativeEndian.Uint64(m.Data))*1e9 + int64(binary.NativeEndian.Uint64(m.Data[8:]))
		}
	}
	return b[:n], stamp, err
}

// isWall reports whether a stamp is one of CLOCK_REALTIME.
func isWall(stamp int64) bool { return stamp >= 1<<60 }

// path is two sockets between which heartbeats travel, and what sees them arrive.
type path struct {
	from, to socket
	source   *Source
	inject   func(b []byte) error // in place of a write to from, if not nil
	sender   netip.AddrPort       // of what inject sends
}

// watch has the source watch both ends.
func (p *path) watch() error {
	p.source.Watch(receivers, senders)
	p.source.Watch(senders, receivers)
	return p.source.SetPorts(p.to.addr().Port(), p.origin().Port())
}

// origin returns the address that heartbeats come from.
func (p *path) origin() netip.AddrPort {
	if p.inject != nil {
		return p.sender
	}
	return p.from.addr()
}

func (p *path) send(b []byte) error {
	if p.inject != nil {
		return p.inject(b)
	}
	_, err := p.from.WriteToUDPAddrPort(b, p.to.addr())
	return err
}

// passes sends b, and returns an error if it is not what the socket has next.
func (p *path) passes(b []byte) (stamp int64, err error) {
	if err := p.send(b); err != nil {
		return 0, err
	}
	got, stamp, err := p.to.read()
	if err == nil && !bytes.Equal(got, b) {
		err = fmt.Errorf("the socket has another datagram, of %d bytes", len(got))
	}
	return stamp, err
}

// isStamped sends a heartbeat, and returns an error if it is not stamped below the socket.
func (p *path) isStamped(sequence uint64, hook string) error {
	before := clock.Now()
	stamp, err := p.passes(beat(sequence))
	after := clock.Now()
	if err != nil {
		return err
	}
	at := clock.Instant(stamp)
	if hook == hookXDP {
		below, ok := p.source.Arrived(receivers, sequence)
		if !ok || !isWall(stamp) {
			return fmt.Errorf("heartbeat %d: no stamp of XDP; that of the socket is %d", sequence, stamp)
		}
		at = below.At
	}
	if at < before || at > after {
		return fmt.Errorf("heartbeat %d: stamp %v, written at %v and read at %v", sequence, at, before, after)
	}
	return nil
}

// isHandedOff sends a heartbeat, and returns an error if its hand-off is not recorded.
func (p *path) isHandedOff(sequence uint64) error {
	before := clock.Now()
	if _, err := p.passes(beat(sequence)); err != nil {
		return err
	}
	at, ok := p.source.HandedOff(senders, sequence)
	if after := clock.Now(); !ok || at < before || at > after {
		return fmt.Errorf("heartbeat %d: hand-off %v, %v; written at %v and read at %v", sequence, at, ok, before, after)
	}
	return nil
}

// isTaken sends a heartbeat, and returns an error if the source does not take it.
func (p *path) isTaken(sequence uint64) error {
	b := beat(sequence)
	before := clock.Now()
	if err := p.send(b); err != nil {
		return err
	}
	var got [wire.MaxSize]byte
	for range 1000 {
		n, from, arrival := p.source.Next(receivers, clock.Never, got[:])
		after := clock.Now()
		switch {
		case n == 0:
			time.Sleep(time.Millisecond)
			continue
		case !bytes.Equal(got[:n], b):
			return fmt.Errorf("heartbeat %d: another datagram of %d bytes was taken", sequence, n)
		case from != p.origin():
			return fmt.Errorf("heartbeat %d: from %v, not %v", sequence, from, p.origin())
		case arrival.Source != clock.BPF || arrival.At < before || arrival.At > after:
			return fmt.Errorf("heartbeat %d: stamp %v of %v, written at %v and read at %v", sequence, arrival.At, arrival.Source, before, after)
		}
		return nil
	}
	return fmt.Errorf("heartbeat %d was not taken; %+v", sequence, p.source.Status())
}

// isLeft sends a datagram, and returns an error if the source takes it from the socket.
func (p *path) isLeft(what string, b []byte) error {
	if _, err := p.passes(b); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if n, _, _ := p.source.Next(receivers, clock.Never, make([]byte, wire.MaxSize)); n != 0 {
		return fmt.Errorf("%s: taken as well", what)
	}
	return nil
}

// beatsOverLo exchanges heartbeats over lo, as the source's tier has them.
func beatsOverLo(s *Source, addr netip.Addr) error {
	p := &path{source: s}
	for _, end := range []*socket{&p.from, &p.to} {
		var err error
		if *end, err = listen(addr); err != nil {
			return err
		}
		defer func() { _ = end.Close() }()
	}
	if err := p.watch(); err != nil {
		return err
	}
	defer func() { s.Watch(senders, 0); s.Watch(receivers, 0) }()
	status := s.Status()
	for sequence := uint64(1); sequence < 10; sequence += 2 {
		err := p.isStamped
		if status.Tier == Absorb {
			err = func(sequence uint64, _ string) error { return p.isTaken(sequence) }
		}
		if status.Tier == Kernel {
			err = func(sequence uint64, _ string) error { _, err := p.passes(beat(sequence)); return err }
		}
		if err := err(sequence, hookNone); err != nil {
			return err
		}
		if _, ok := s.HandedOff(senders, sequence); ok != status.HandOffs {
			return fmt.Errorf("hand-off of heartbeat %d: %v", sequence, ok)
		}
	}
	return nil
}
