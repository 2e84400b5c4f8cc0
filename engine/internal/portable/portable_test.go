package portable

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"systole/engine/internal/network"
)

var loopback = []string{"127.0.0.1:0", "[::1]:0"}

// openOn opens sockets on addresses and closes them with the test.
func openOn(t testing.TB, listen ...string) *Sockets {
	t.Helper()
	var addrs []netip.AddrPort
	for _, a := range listen {
		addrs = append(addrs, netip.MustParseAddrPort(a))
	}
	n, err := Open(Options{Listen: addrs, RecvBuffer: 1 << 18, SendBuffer: 1 << 18})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// addrOf returns the address of socket i.
func addrOf(n *Sockets, i int) *network.Addr { return &n.list[i].local }

// send sends texts to an address from socket i, and wants no refusal.
func send(t testing.TB, n *Sockets, i int, to *network.Addr, texts ...string) {
	t.Helper()
	for k, text := range texts {
		if got := n.Commit(i, copy(n.Next(i), text), to, network.AnySource, uint32(k)); got != k+1 {
			t.Fatalf("%d datagrams after the %dth", got, k+1)
		}
	}
	if sent, refused := n.Flush(i); sent != len(texts) || refused != 0 {
		_, why := n.Refusal(i, 0)
		t.Fatalf("%d sent, %d refused, the first: %v", sent, refused, why)
	}
}

// receive reads socket i until it has n datagrams or 5 s are over, then until it is empty.
func receive(t testing.TB, s *Sockets, i, n int, each func(j int)) (got int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		k, empty, err := s.Receive(i)
		if err != nil {
			t.Fatal(err)
		}
		for j := range k {
			each(j)
		}
		if got += k; got >= n && k == 0 && empty {
			return got
		}
		if k == 0 {
			s.Wait(time.Millisecond, true)
		}
	}
	return got
}

// Batches arrive in order, with their sender, whatever their number.
func TestExchange(t *testing.T) {
	for _, local := range loopback {
		a, b := openOn(t, local), openOn(t, local)
		next := 0
		for range 40 {
			var texts []string
			for i := range network.BatchSize {
				texts = append(texts, strings.Repeat("x", next%7)+string(rune('a'+i%26)))
				next++
			}
			send(t, a, 0, addrOf(b, 0), texts...)
			j := 0
			receive(t, b, 0, len(texts), func(k int) {
				if string(b.Datagram(k)) != texts[j] || *b.From(k) != *addrOf(a, 0) || b.Stamp(k) != 0 {
					t.Fatalf("%q from %v, want %q", b.Datagram(k), b.From(k), texts[j])
				}
				j++
			})
			if j != len(texts) {
				t.Fatalf("%d of %d arrived", j, len(texts))
			}
		}
	}
}

// More datagrams than the ring has room for stay in the kernel's buffer, and none is lost.
func TestRingIsFull(t *testing.T) {
	a, b := openOn(t, "127.0.0.1:0"), openOn(t, "127.0.0.1:0")
	const batches = 5
	for range batches {
		texts := make([]string, network.BatchSize)
		send(t, a, 0, addrOf(b, 0), texts...)
	}
	if got := receive(t, b, 0, batches*network.BatchSize, func(int) {}); got != batches*network.BatchSize {
		t.Errorf("%d of %d arrived", got, batches*network.BatchSize)
	}
}

// What is too long shows by its length.
func TestOversized(t *testing.T) {
	b := openOn(t, "127.0.0.1:0")
	c, err := net.Dial("udp4", b.Local()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, size := range []int{0, network.MaxDatagram, network.MaxDatagram + 1, 5000} {
		if _, err := c.Write(bytes.Repeat([]byte{1}, size)); err != nil {
			t.Fatal(err)
		}
		receive(t, b, 0, 1, func(j int) {
			if got := len(b.Datagram(j)); got != min(size, network.SlotSize) {
				t.Errorf("%d bytes of %d", got, size)
			}
		})
	}
}

// A wait ends for a wake-up, for datagrams if they are asked for, and at its end.
func TestWait(t *testing.T) {
	a, b := openOn(t, "127.0.0.1:0"), openOn(t, "127.0.0.1:0")
	if b.Wait(time.Millisecond, true) {
		t.Error("woken by nothing")
	}
	b.Wake()
	b.Wake()
	if !b.Wait(time.Minute, false) || b.Wait(time.Millisecond, true) {
		t.Error("two wake-ups are not one")
	}
	b.Wake()
	b.Drain()
	if b.Wait(time.Millisecond, false) {
		t.Error("a discarded wake-up wakes")
	}
	send(t, a, 0, addrOf(b, 0), "x")
	if b.Wait(20*time.Millisecond, false) {
		t.Error("a datagram ended a wait that is not for datagrams")
	}
	if !b.Wait(time.Minute, true) {
		t.Error("a datagram did not end the wait")
	}
	receive(t, b, 0, 1, func(int) {})
	if b.Wait(time.Millisecond, true) {
		t.Error("a datagram that was read ends a wait")
	}
	go func() { time.Sleep(time.Millisecond); b.Wake() }()
	if !b.Wait(time.Minute, true) {
		t.Error("not woken while it waits")
	}
}

// A port that nobody listens on breaks nothing: nothing is returned, and the socket stays usable.
func TestClosedPort(t *testing.T) {
	a, b := openOn(t, "127.0.0.1:0"), openOn(t, "127.0.0.1:0")
	gone := network.AddrFrom(netip.MustParseAddrPort("127.0.0.1:9"))
	for range 10 {
		send(t, a, 0, &gone, "x", "y")
		send(t, b, 0, addrOf(a, 0), "z")
		if got := receive(t, a, 0, 1, func(int) {}); got != 1 {
			t.Fatal("the socket is deaf")
		}
	}
	if _, ok := a.NextError(0); ok || a.LinkDown(&gone) {
		t.Error("a closed port is an error of this host")
	}
}

// Refused sends say why, for instance to another family.
func TestRefusals(t *testing.T) {
	n := openOn(t, "127.0.0.1:0")
	for _, to := range []string{"[::1]:9", "127.0.0.1:0"} {
		addr := network.AddrFrom(netip.MustParseAddrPort(to))
		n.Commit(0, copy(n.Next(0), "x"), &addr, network.AnySource, 7)
		if _, refused := n.Flush(0); refused != 1 {
			t.Errorf("to %s: sent", to)
			continue
		}
		if slot, why := n.Refusal(0, 0); slot != 7 || why != network.Refused {
			t.Errorf("to %s: slot %d, %v", to, slot, why)
		}
	}
}

// Sources are the addresses that sockets are bound to; an interface cannot be chosen.
func TestSources(t *testing.T) {
	n := openOn(t, "127.0.0.1:0", "127.0.0.2:0", "[::1]:0")
	to4, to6 := network.AddrFrom(netip.MustParseAddrPort("127.0.0.1:9")), network.AddrFrom(netip.MustParseAddrPort("[::1]:9"))
	second, err := n.SourceOf(netip.MustParseAddr("127.0.0.2"), "")
	if err != nil {
		t.Fatal(err)
	}
	if i := n.SocketFor(&to4, second); i != 1 {
		t.Errorf("the source's socket is %d", i)
	}
	if i := n.SocketFor(&to6, second); i != network.NoSocket {
		t.Errorf("an IPv4 source has socket %d for IPv6", i)
	}
	if i := n.SocketFor(&to6, network.AnySource); i != 2 {
		t.Errorf("IPv6 leaves through socket %d", i)
	}
	if i := n.SocketFor(&to4, network.AnySource); i != 0 {
		t.Errorf("the route's socket is %d", i)
	}
	for _, bad := range []struct{ local, device string }{{"127.0.0.3", ""}, {"", "lo"}, {"127.0.0.1", "lo"}} {
		local, _ := netip.ParseAddr(bad.local)
		var typed *network.Error
		if _, err := n.SourceOf(local, bad.device); !errors.As(err, &typed) || typed.Help == "" {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if source, err := n.SourceOf(netip.Addr{}, ""); source != network.AnySource || err != nil {
		t.Errorf("no source is %d, %v", source, err)
	}
}

// An answer leaves through the socket on which the question came, if the routes would choose another.
func TestAnswerFromTheSameSocket(t *testing.T) {
	n, c := openOn(t, "127.0.0.1:0", "127.0.0.2:0"), openOn(t, "127.0.0.1:0")
	for i, want := range []uint8{network.AnySource, 2} {
		send(t, c, 0, addrOf(n, i), "x")
		receive(t, n, i, 1, func(j int) {
			if got := n.Source(j); got != want {
				t.Errorf("socket %d: source %d, want %d", i, got, want)
			}
		})
	}
}

// Open fails with a typed error that helps, and leaves nothing open.
func TestOpenFails(t *testing.T) {
	held := openOn(t, "127.0.0.1:0")
	for what, listen := range map[string][]netip.AddrPort{
		"a port in use":              {netip.MustParseAddrPort("127.0.0.1:0"), held.Local()[0]},
		"an address of another host": {netip.MustParseAddrPort("192.0.2.1:0")},
	} {
		n, err := Open(Options{Listen: listen})
		var typed *network.Error
		if !errors.As(err, &typed) || typed.Help == "" || n != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The state of interfaces is read, and changes are counted once.
func TestLinks(t *testing.T) {
	n := openOn(t, "127.0.0.1:0")
	before := n.Epoch()
	n.links.look()
	n.links.look()
	if n.Epoch() != before || before == 0 {
		t.Errorf("epoch %d, then %d, without a change", before, n.Epoch())
	}
	here := network.AddrFrom(netip.MustParseAddrPort("127.0.0.1:9"))
	if n.LinkDown(&here) {
		t.Error("loopback is down")
	}
	n.links.down.Store(&[]interfaceOf{{index: 1, addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}})
	linkLocal := network.AddrFrom(netip.MustParseAddrPort("[fe80::1%1]:9"))
	if !n.LinkDown(&here) || !n.LinkDown(&linkLocal) {
		t.Error("an interface that is down is up")
	}
}
