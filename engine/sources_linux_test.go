//go:build !systole_portable

package engine

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/enginetest/netlab"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// inNamespace runs f in a network namespace of its own, after the ip commands.
func inNamespace(t *testing.T, f func(), commands ...[]string) {
	t.Helper()
	netlab.InNamespace(t, func() {
		for _, args := range commands {
			netlab.IP(t, args...)
		}
		if len(commands) > 0 {
			usable(t)
		}
		f()
	})
}

// usable waits until the kernel delivers what is sent to the addresses of veth: it does once
// it has noticed the carrier.
func usable(t *testing.T) {
	t.Helper()
	out, in := udp.NewSender(), udp.NewReceiver()
	for _, local := range []string{"[2001:db8::7]:0", "[2001:db8::17]:0", "[fe80::7%a0]:0", "[fe80::17%a0]:0"} {
		eventually(t, local+" is usable", func() bool {
			s, err := udp.Open(udp.Options{Local: netip.MustParseAddrPort(local)})
			if err != nil {
				return false
			}
			defer s.Close()
			out.Commit(copy(out.Next(), "probe"), s.LocalAddr())
			sent := out.Flush(s)
			out.Reset()
			time.Sleep(time.Millisecond)
			k, err := in.Recv(s)
			return sent == 1 && k == 1 && err == nil
		})
	}
}

// veth are the commands that make a pair of interfaces with two addresses of each kind.
var veth = [][]string{
	{"link", "add", "a0", "type", "veth", "peer", "name", "b0"},
	{"link", "set", "a0", "up"},
	{"link", "set", "b0", "up"},
	{"addr", "add", "192.0.2.7/24", "dev", "a0"},
	{"addr", "add", "192.0.2.17/24", "dev", "a0"},
	{"addr", "add", "2001:db8::7/64", "dev", "a0", "nodad"},
	{"addr", "add", "2001:db8::17/64", "dev", "a0", "nodad"},
	{"addr", "add", "fe80::7/64", "dev", "a0", "nodad"},
	{"addr", "add", "fe80::17/64", "dev", "a0", "nodad"},
}

// socketsOn opens an engine whose turns nobody makes, and returns its sockets.
func socketsOn(t *testing.T, shards int, listen ...string) (*Engine, *sockets) {
	t.Helper()
	cfg := Config{Manual: true}
	if shards > 1 {
		cfg = Config{Shards: shards}
	}
	for _, l := range listen {
		cfg.Listen = append(cfg.Listen, netip.MustParseAddrPort(l))
	}
	e, err := Open(cfg)
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	t.Cleanup(func() { e.Close() })
	return e, e.shards[0].net.(*sockets)
}

// receive waits until socket i has a datagram.
func (n *sockets) receive(t *testing.T, i int) {
	t.Helper()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if k, _, _ := n.Receive(i); k == 1 {
			return
		}
	}
	t.Error("nothing arrived within 2 s")
}

// An answer leaves from the address and the port that the datagram was sent to. A source is
// added only if the routes would choose another address.
func TestAnswersLeaveFromTheDestination(t *testing.T) {
	inNamespace(t, func() {
		_, n := socketsOn(t, 1, "0.0.0.0:0", "[::]:0", "0.0.0.0:0")
		if n == nil {
			return
		}
		for _, step := range []struct {
			from, to string
			socket   int
			pinned   bool
		}{
			{"127.0.0.1", "127.0.0.1", 0, false},
			{"127.0.0.1", "127.0.0.2", 0, true},
			{"127.0.0.1", "127.0.0.2", 0, true},
			{"192.0.2.7", "192.0.2.7", 0, false},
			{"192.0.2.7", "192.0.2.17", 0, true},
			{"127.0.0.1", "127.0.0.1", 2, true}, // it has another port
			{"2001:db8::7", "2001:db8::7", 1, false},
			{"2001:db8::7", "2001:db8::17", 1, true},
			{"fe80::7%a0", "fe80::17%a0", 1, true},
			{"fe80::7%a0", "2001:db8::17", 1, true},
		} {
			answerTo(t, n, netip.MustParseAddr(step.from), netip.MustParseAddr(step.to), step.socket, step.pinned)
		}
		if n.sources().n != 5 {
			t.Errorf("%d sources for 5 pairs of socket and address", n.sources().n)
		}
	}, veth...)
}

// answerTo sends a datagram from an address to another, and the answer.
func answerTo(t *testing.T, n *sockets, from, to netip.Addr, socket int, pinned bool) {
	t.Helper()
	client, err := udp.Open(udp.Options{Local: netip.AddrPortFrom(from, 0)})
	if err != nil {
		t.Error(err)
		return
	}
	defer client.Close()
	out, in := udp.NewSender(), udp.NewReceiver()
	dest := network.AddrFrom(netip.AddrPortFrom(to, n.list[socket].Local().Port()))
	out.Commit(copy(out.Next(), "introduction"), &dest)
	if out.Flush(client) != 1 {
		t.Errorf("%v to %v: %v", from, to, out.Err(0))
		return
	}
	n.receive(t, socket)
	source, peer := n.Source(0), *n.in.From(0)
	if (source != network.AnySource) != pinned {
		t.Errorf("%v to %v: source %d, pinned %v", from, to, source, pinned)
	}
	i := int(n.SocketFor(&peer, source))
	if i != socket {
		t.Errorf("%v to %v: answered through socket %d, want %d", from, to, i, socket)
		return
	}
	n.Commit(i, copy(n.Next(i), "answer"), &peer, source, 5)
	if _, refused := n.Flush(i); refused != 0 {
		_, errno := n.Refusal(i, 0)
		t.Errorf("%v to %v: the answer is refused: %v", from, to, errno)
		return
	}
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if k, _ := in.Recv(client); k == 1 {
			if *in.From(0) != dest {
				t.Errorf("%v to %v: the answer comes from %v", from, to, in.From(0))
			}
			return
		}
	}
	t.Errorf("%v to %v: no answer", from, to)
}

// Strangers cannot fill the table of sources on a host that owns a whole network.
func TestSourcesAreBounded(t *testing.T) {
	var table sources
	numbers := map[uint8]bool{}
	for i := range 300 {
		local := network.AddrFrom(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 0))
		k, ok := table.add(source{local: local}, maxLearned)
		if ok != (i < maxLearned) || ok != (k != network.AnySource) || ok && numbers[k] {
			t.Fatalf("source %d has number %d, %v", i, k, ok)
		}
		numbers[k] = true
	}
	if k, ok := table.add(source{name: "eth0"}, maxSources); !ok || table.at(k).name != "eth0" {
		t.Errorf("no room for a configured source: %d, %v", k, ok)
	}
}

// With several local addresses the routes decide which socket sends.
func TestRoutesChooseTheSocket(t *testing.T) {
	more := append(veth[:len(veth):len(veth)],
		[]string{"addr", "add", "198.51.100.7/24", "dev", "b0"},
		[]string{"route", "add", "203.0.113.0/24", "via", "192.0.2.9", "src", "192.0.2.17"})
	inNamespace(t, func() {
		_, n := socketsOn(t, 1, "127.0.0.1:0", "192.0.2.7:0", "192.0.2.17:0", "198.51.100.7:0", "[::1]:0", "[2001:db8::7]:0", "[fe80::7%a0]:0")
		if n == nil {
			return
		}
		for _, step := range []struct {
			to   string
			want uint8
		}{
			{"127.0.0.5:9", 0},
			{"192.0.2.9:9", 1},
			{"203.0.113.5:9", 2},
			{"198.51.100.9:9", 3},
			{"192.88.99.1:9", 1}, // no route
			{"[::1]:9", 4},
			{"[2001:db8::9]:9", 5},
			{"[fe80::9%a0]:9", 6},
			{"[2001:db8:9::9]:9", 5}, // no route
		} {
			addr := network.AddrFrom(netip.MustParseAddrPort(step.to))
			if got := n.SocketFor(&addr, network.AnySource); got != step.want {
				t.Errorf("to %s through socket %d, want %d", step.to, got, step.want)
			}
			if allocs := testing.AllocsPerRun(10, func() { n.SocketFor(&addr, network.AnySource) }); allocs != 0 {
				t.Errorf("to %s: %v allocations", step.to, allocs)
			}
		}
		_, single := socketsOn(t, 1, "127.0.0.1:0")
		single.routes = nil // the routes do not matter
		v4, v6 := network.AddrFrom(netip.MustParseAddrPort("192.0.2.9:9")), network.AddrFrom(netip.MustParseAddrPort("[::1]:9"))
		if a, b := single.SocketFor(&v4, network.AnySource), single.SocketFor(&v6, network.AnySource); a != 0 || b != network.NoSocket {
			t.Errorf("through the only socket: %d, %d", a, b)
		}
	}, more...)
}

// SourceOf checks what the configuration of a peer asks for.
func TestSourceOf(t *testing.T) {
	inNamespace(t, func() {
		_, n := socketsOn(t, 1, "192.0.2.7:0", "[::]:0")
		if n == nil {
			return
		}
		for _, step := range []struct {
			local, device string
			errno         unix.Errno
			socket        uint8 // for its family
		}{
			{"", "", 0, 0},
			{"192.0.2.7", "", 0, 0},
			{"::ffff:192.0.2.7", "", 0, 0},
			{"192.0.2.7", "a0", 0, 0},
			{"", "a0", 0, 0},
			{"2001:db8::17", "", 0, 1},
			{"2001:db8::17", "a0", 0, 1},
			{"fe80::7", "a0", 0, 1},
			{"fe80::7%a0", "", 0, 1},
			{"fe80::7", "b0", unix.EADDRNOTAVAIL, 0},
			{"fe80::7", "", unix.EINVAL, 0},
			{"0.0.0.0", "", unix.EINVAL, 0},
			{"192.0.2.17", "", unix.EADDRNOTAVAIL, 0}, // no socket listens there
			{"192.0.2.99", "", unix.EADDRNOTAVAIL, 0},
			{"2001:db8::99", "", unix.EADDRNOTAVAIL, 0},
			{"", "nosuch0", unix.ENODEV, 0},
			{"", "a-name-that-is-too-long", unix.ENODEV, 0},
		} {
			var local netip.Addr
			if step.local != "" {
				local = netip.MustParseAddr(step.local)
			}
			k, err := n.SourceOf(local, step.device)
			var typed *udp.Error
			if (err != nil) != (step.errno != 0) || err != nil && (!errors.Is(err, step.errno) || !errors.As(err, &typed)) {
				t.Errorf("%s %s: %v, want %v", step.local, step.device, err, step.errno)
				continue
			}
			to := network.AddrFrom(netip.MustParseAddrPort("192.0.2.9:9"))
			if step.socket == 1 {
				to = network.AddrFrom(netip.MustParseAddrPort("[2001:db8::9]:9"))
			}
			if i := n.SocketFor(&to, k); err == nil && i != step.socket {
				t.Errorf("%s %s: through socket %d, want %d", step.local, step.device, i, step.socket)
			}
			if again, _ := n.SourceOf(local, step.device); again != k {
				t.Errorf("%s %s: number %d, then %d", step.local, step.device, k, again)
			}
		}
	}, veth...)
}

// A source gets the new index of its interface when that is created again, and sends nothing
// through another interface meanwhile. Changes of links, addresses and routes are counted.
func TestSourcesFollowTheDevice(t *testing.T) {
	inNamespace(t, func() {
		e, n := socketsOn(t, 1, "0.0.0.0:0", "[::]:0")
		if n == nil {
			return
		}
		device, err := n.SourceOf(netip.Addr{}, "a0")
		linkLocal, err2 := n.SourceOf(netip.MustParseAddr("fe80::7"), "a0")
		if err := errors.Join(err, err2); err != nil {
			t.Error(err)
			return
		}
		v4, v6 := network.AddrFrom(netip.MustParseAddrPort("192.0.2.9:9")), network.AddrFrom(netip.MustParseAddrPort("[2001:db8::9]:9"))
		send := func(when string, want4, want6 network.Refusal) {
			t.Helper()
			for i, c := range []struct {
				to     *network.Addr
				source uint8
				want   network.Refusal
			}{{&v4, device, want4}, {&v6, device, want6}, {&v6, linkLocal, want6}} {
				socket := int(n.SocketFor(c.to, c.source))
				n.Commit(socket, copy(n.Next(socket), "heartbeat"), c.to, c.source, 1)
				n.Flush(socket)
				if _, why := n.Refusal(socket, 0); why != c.want {
					t.Errorf("%s: %d: %v, want %v", when, i, why, c.want)
				}
			}
		}
		send("at first", network.Sent, network.Sent)
		if n.DeviceDown(device) || n.DeviceDown(linkLocal) || n.DeviceDown(network.AnySource) {
			t.Error("an interface that is up is down")
		}
		netlab.IP(t, "link", "set", "b0", "down")
		eventually(t, "the carrier is lost", func() bool { return n.DeviceDown(device) && !n.DeviceDown(network.AnySource) })
		netlab.IP(t, "link", "del", "a0")
		netlab.IP(t, "link", "add", "c0", "type", "veth", "peer", "name", "d0")
		netlab.IP(t, "link", "set", "c0", "up")
		netlab.IP(t, "link", "set", "d0", "up")
		netlab.IP(t, "route", "add", "default", "dev", "c0")
		send("while it is gone", network.LinkFailed, network.LinkFailed)
		for _, args := range veth {
			netlab.IP(t, args...)
		}
		usable(t)
		index, err := n.list[0].Device("a0")
		if err != nil {
			t.Error(err)
		}
		eventually(t, "the source has the new index", func() bool { return n.sources().at(linkLocal).device == uint32(index) })
		send("created again", network.Sent, network.Sent)
		netlab.IP(t, "link", "set", "a0", "down")
		netlab.IP(t, "link", "set", "a0", "name", "renamed0")
		eventually(t, "a renamed interface is not the source's", func() bool { return n.sources().at(device).device == noDevice })
		send("renamed", network.LinkFailed, network.LinkFailed)
		if !n.DeviceDown(device) {
			t.Error("an interface that is not there is up")
		}
		for _, args := range [][]string{
			{"route", "add", "203.0.113.0/24", "dev", "c0"},
			{"-6", "route", "add", "2001:db8:9::/64", "dev", "c0"},
			{"rule", "add", "to", "203.0.113.0/24", "lookup", "100"},
			{"addr", "add", "10.0.0.1/24", "dev", "c0"},
			{"link", "set", "c0", "down"},
		} {
			time.Sleep(2 * routesPause) // what came before is counted
			before := n.Epoch()
			netlab.IP(t, args...)
			eventually(t, "a change is counted", func() bool { return n.Epoch() != before })
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if _, err := n.SourceOf(netip.Addr{}, "c0"); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}, veth...)
}

// A port that another engine has is refused, whatever the numbers of shards.
func TestHeldPortIsRefused(t *testing.T) {
	for _, first := range []int{1, 2} {
		for _, second := range []int{1, 2} {
			e, _ := socketsOn(t, first, "127.0.0.1:0")
			other, err := Open(Config{Listen: e.Addrs(), Shards: second})
			if !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("%d shards, then %d: %v", first, second, err)
			}
			if err == nil {
				other.Close()
			}
		}
	}
}

// An engine whose buffers the system's limit cuts works, and names the limit.
func TestShortagesNameTheLimit(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the capability ends with the thread
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&header, &data[0])
		data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if err := errors.Join(err, unix.Capset(&header, &data[0])); err != nil {
			t.Error(err)
			return
		}
		e, err := Open(Config{Manual: true, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, RecvBuffer: 1 << 30, SendBuffer: 1 << 30})
		if err != nil {
			t.Error(err)
			return
		}
		defer e.Close()
		stats := e.Stats()
		shortages := strings.Join(stats.Shortages(), " ")
		if stats.Sockets.RecvBuffer.Granted >= stats.Sockets.RecvBuffer.Wanted || !strings.Contains(shortages, "net.core.rmem_max") || !strings.Contains(shortages, "net.core.wmem_max") {
			t.Errorf("granted %+v, shortages %q", stats.Sockets.RecvBuffer, shortages)
		}
	}()
	<-done
}
