package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/enginetest/netlab"
	"systole/wire"
)

// openAt opens a source on a host, which is closed with the test.
func openAt(t *testing.T, h *netlab.Host, o Options) *Source {
	t.Helper()
	var s *Source
	if err := h.Do(func() (err error) { s, err = Open(o); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// pathOver returns a path between the hosts of a lab, over IPv4 or IPv6.
func pathOver(t *testing.T, lab *netlab.Lab, six bool, s *Source) *path {
	t.Helper()
	p := &path{source: s}
	for _, end := range []struct {
		host *netlab.Host
		to   *socket
	}{{lab.A, &p.from}, {lab.B, &p.to}} {
		addr := end.host.Addr
		if six {
			addr = end.host.Addr6
		}
		if err := end.host.Do(func() (err error) { *end.to, err = listen(netip.MustParseAddr(addr)); return err }); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = end.to.Close() })
	}
	if err := p.watch(); err != nil {
		t.Fatal(err)
	}
	return p
}

// optionsFor returns options that use a hook on a lab's host.
func optionsFor(hook string, absorb bool) Options {
	o := Options{Peers: 16, Absorb: absorb, Hook: hook}
	if hook == hookXDP {
		o.Hook, o.XDP = "", []string{"lab0"}
	}
	return o
}

func TestStampsOverVeth(t *testing.T) {
	lab := netlab.Test(t)
	for _, hook := range []string{hookTCX, hookCgroup, hookXDP} {
		t.Run(hook, func(t *testing.T) {
			s := openAt(t, lab.B, optionsFor(hook, false))
			if got := s.Status(); got.Tier != Stamps || got.Limit != nil || !got.HandOffs || !attachedBy(got, hook) {
				t.Errorf("status %+v", got)
			}
			for round, six := range []bool{false, true} {
				p := pathOver(t, lab, six, s)
				first := uint64(1000*round + 1)
				for sequence := first; sequence < first+10; sequence += 2 {
					if err := errors.Join(p.isStamped(sequence, hook), p.isHandedOff(sequence+1)); err != nil {
						t.Fatal(err)
					}
				}
				stranger := beat(first+10, func(h *wire.Header) { h.MyDiscriminator++ })
				if stamp, err := p.passes(stranger); err != nil || !isWall(stamp) {
					t.Errorf("a stranger's heartbeat: stamp %d, %v", stamp, err)
				}
				s.Watch(receivers, 0)
				if stamp, err := p.passes(beat(first + 11)); err != nil || !isWall(stamp) {
					t.Errorf("a heartbeat that is not watched: stamp %d, %v", stamp, err)
				}
				if _, ok := s.HandedOff(senders, first+12); ok {
					t.Error("hand-off of a heartbeat that was not sent")
				}
			}
			if c := s.Status().Counters; c.Seen != 20 || c.Stamped != 20 || c.Taken != 0 || c.HandedOff < 20 {
				t.Errorf("%+v", c)
			}
		})
	}
}

// attachedBy reports whether a program is at the hook of lab0, or the cgroup.
func attachedBy(s Status, hook string) bool {
	for _, i := range s.Interfaces {
		if i.Hook == hook && i.Err == nil && (i.Name == "lab0" || hook == hookCgroup) {
			return true
		}
	}
	return false
}

func TestAbsorbOverVeth(t *testing.T) {
	lab := netlab.Test(t)
	for _, hook := range []string{hookTCX, hookXDP} {
		for _, six := range []bool{false, true} {
			t.Run(fmt.Sprint(hook, six), func(t *testing.T) {
				s := openAt(t, lab.B, optionsFor(hook, true))
				if got := s.Status(); got.Tier != Absorb || got.Limit != nil {
					t.Errorf("status %+v", got)
				}
				absorbs(t, pathOver(t, lab, six, s), hook)
			})
		}
	}
}

// absorbs checks what is taken, and what is left to the socket.
func absorbs(t *testing.T, p *path, hook string) {
	t.Helper()
	check := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	for sequence := range uint64(6) {
		check(p.isTaken(sequence + 1))
	}
	follow := func(h *wire.Header) { h.Flags, h.FollowUpSequence, h.FollowUpWait = wire.FlagFollowUp, 6, 1 }
	check(p.send(beat(7, follow)))
	if !eventually(t, "a heartbeat with a follow-up is taken", func() bool {
		n, _, _ := p.source.Next(receivers, clock.Never, make([]byte, wire.MaxSize))
		return n == wire.HeaderSize
	}) {
		return
	}
	check(
		p.isLeft("stranger", beat(8, func(h *wire.Header) { h.MyDiscriminator++ })),
		p.isLeft("another discriminator of ours", beat(8, func(h *wire.Header) { h.YourDiscriminator += 1 << 20 })),
		p.isLeft("introduction", beat(8, func(h *wire.Header) { h.YourDiscriminator = 0 })),
		p.isLeft("keyed", beat(8, func(h *wire.Header) { h.KeyID = 3 })),
		p.isLeft("solicit", beat(8, func(h *wire.Header) { h.Flags = wire.FlagSolicit })),
		p.isLeft("goodbye", beat(8, func(h *wire.Header) { h.Flags = wire.FlagLeaving })),
		p.isLeft("message", withMessage(8)),
		p.isLeft("old", beat(7)),
		p.isLeft("short", beat(8)[:100]),
		p.isLeft("foreign", make([]byte, wire.HeaderSize)),
	)
	for sequence := range uint64(room) {
		check(p.send(beat(8 + sequence)))
	}
	check(p.isStamped(8+room, hook)) // for want of room
	for sequence := range uint64(room) {
		b := make([]byte, wire.MaxSize)
		var h wire.Header
		n, _, _ := p.source.Next(receivers, clock.Never, b)
		if _, fault := wire.Decode(b[:n], &h); fault != wire.OK || h.Sequence != 8+sequence {
			t.Errorf("heartbeat %d is taken, not %d", h.Sequence, 8+sequence)
		}
	}
	c := p.source.Status().Counters
	if c.Taken != 7+room || c.Full != 1 || c.Stale != 1 || c.Doubtful != 0 {
		t.Errorf("%+v", c)
	}
}

// An interface that was made anew has its program again.
func TestInterfaceMadeAnew(t *testing.T) {
	lab := netlab.Test(t)
	for _, hook := range []string{hookTCX, hookXDP} {
		s := openAt(t, lab.B, optionsFor(hook, true))
		sequence := uint64(0)
		for range 3 {
			eventually(t, "a program is at lab0", func() bool { return attachedBy(s.Status(), hook) })
			p := pathOver(t, lab, false, s)
			for range 3 {
				sequence++
				if err := p.isTaken(sequence); err != nil {
					t.Error(hook, err)
				}
			}
			old := s.Status().Interfaces[1].Since
			if err := errors.Join(lab.A.Run("ip", "link", "del", lab.A.Device), lab.Link()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the old interface is forgotten", func() bool {
				all := s.Status().Interfaces
				return len(all) == 2 && !all[1].Since.Equal(old)
			})
		}
	}
}

// An XDP hook that another program has costs the interface nothing but XDP.
func TestAbsorbBesideForeignXDP(t *testing.T) {
	lab := netlab.Test(t)
	foreign := tinyProgram(t, ebpf.XDP, ebpf.AttachXDP, 2)
	beside := tinyProgram(t, ebpf.SchedCLS, ebpf.AttachTCXIngress, 0)
	err := lab.B.Do(func() error {
		index := indexOf(t, lab.B.Device)
		xdp, err := link.AttachXDP(link.XDPOptions{Program: foreign, Interface: index, Flags: link.XDPDriverMode})
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = xdp.Close() })
		tcx, err := link.AttachTCX(link.TCXOptions{Program: beside, Interface: index, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = tcx.Close() })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s := openAt(t, lab.B, optionsFor(hookXDP, true))
	got := s.Status()
	if i := got.Interfaces[1]; got.Tier != Absorb || i.Hook != hookTCX || !errors.Is(i.Err, unix.EBUSY) {
		t.Errorf("status %+v", got)
	}
	absorbs(t, pathOver(t, lab, false, s), hookTCX)
}

func TestOverLo(t *testing.T) {
	needBPF(t)
	for _, absorb := range []bool{false, true} {
		for _, addr := range []string{"127.0.0.1", "::1"} {
			netlab.InNamespace(t, func() {
				s, err := Open(Options{Peers: 16, Absorb: absorb, XDP: []string{"lo"}})
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = s.Close() }()
				if err := beatsOverLo(s, netip.MustParseAddr(addr)); err != nil {
					t.Errorf("%s: %v", addr, err)
				}
			})
		}
	}
}

// A tunnel device has no Ethernet header.
func TestOverTun(t *testing.T) {
	needBPF(t)
	for _, o := range []Options{{}, {Absorb: true}, {Hook: hookCgroup}, {Absorb: true, XDP: []string{"tun7"}}} {
		for _, here := range []string{"10.79.0.1", "fd79::1"} {
			netlab.InNamespace(t, func() {
				o.Peers = 16
				if err := overTun(t, o, netip.MustParseAddr(here)); err != nil {
					t.Errorf("%+v, %s: %v", o, here, err)
				}
			})
		}
	}
}

// overTun has heartbeats arrive from a tunnel device.
func overTun(t *testing.T, o Options, here netip.Addr) error {
	tun, err := newTun("tun7")
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(tun) }()
	netlab.IP(t, "addr", "add", "10.79.0.1/24", "dev", "tun7")
	netlab.IP(t, "link", "set", "tun7", "up")
	netlab.IP(t, "addr", "add", "fd79::1/64", "dev", "tun7", "nodad")
	p := &path{sender: netip.AddrPortFrom(here.Next(), 4000)}
	if p.source, err = Open(o); err != nil {
		return err
	}
	defer func() { _ = p.source.Close() }()
	if p.to, err = listen(here); err != nil {
		return err
	}
	defer func() { _ = p.to.Close() }()
	p.inject = func(b []byte) error {
		_, err := unix.Write(tun, inIP(p.sender, p.to.addr(), b))
		return err
	}
	if err := p.watch(); err != nil {
		return err
	}
	if !o.Absorb {
		return errors.Join(p.isStamped(1, hookNone), p.isStamped(2, hookNone))
	}
	return errors.Join(p.isTaken(1), p.isLeft("goodbye", beat(2, func(h *wire.Header) { h.Flags = wire.FlagLeaving })), p.isTaken(3))
}

// newTun makes a tunnel device, which ends with the descriptor.
func newTun(name string) (fd int, err error) {
	if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return 0, err
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return fd, err
}

// inIP returns the packet of IP that carries b.
func inIP(from, to netip.AddrPort, b []byte) []byte {
	const ethernet = 14
	ip := (&packet{from: from, to: to, payload: b}).bytes()[ethernet:]
	if to.Addr().Is4() {
		be.PutUint16(ip[10:], ^sum(ip[:20]))
	}
	return ip
}
