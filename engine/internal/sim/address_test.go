package sim

import (
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
)

// answerer is a process that can answer each datagram, and records what it receives and which sends
// fail.
type answerer struct {
	net     network.World
	answers bool
	plain   bool // answers from the address that the routes choose
	from    []string
	refused []string
	whys    []network.Refusal
}

func (p *answerer) Turn(clock.Reading) (clock.Instant, error) {
	for i := range p.net.Sockets() {
		n, _, _ := p.net.Receive(i)
		for j := range n {
			from := *p.net.From(j)
			p.from = append(p.from, from.AddrPort().String())
			if source := p.net.Source(j); p.answers {
				if p.plain {
					source = network.AnySource
				}
				p.send(&from, source, "answer")
			}
		}
		for e, ok := p.net.NextError(i); ok; e, ok = p.net.NextError(i) {
			p.refused = append(p.refused, e.Peer.AddrPort().String()+" "+string(e.Quoted))
		}
	}
	p.net.Rest(clock.Never, 0)
	return clock.Never, nil
}

// send sends a datagram at once.
func (p *answerer) send(to *network.Addr, source uint8, text string) {
	i := int(p.net.SocketFor(to, source))
	p.net.Commit(i, copy(p.net.Next(i), text), to, source, 1)
	p.net.Flush(i)
	_, why := p.net.Refusal(i, 0)
	p.whys = append(p.whys, why)
}

// addressed returns a world with a client at 10.0.0.1 and fd00::1, and a server at 10.0.0.2,
// 10.0.1.2 and fd00::2.
func addressed(t *testing.T, bound bool) (w *World, hosts [2]*Host, client, server *answerer) {
	t.Helper()
	w = New(1)
	client, server = &answerer{}, &answerer{answers: true}
	for i, addrs := range [][]string{{"10.0.0.1:9", "[fd00::1]:9"}, {"10.0.0.2:9", "10.0.1.2:9", "[fd00::2]:9"}} {
		h, err := w.AddHost([]string{"client", "server"}[i], port(addrs[0]))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs[1:] {
			if err := h.AddAddr(port(a)); err != nil {
				t.Fatal(err)
			}
		}
		h.Bound = bound
		hosts[i] = h
	}
	begin(t, hosts[0], client)
	begin(t, hosts[1], server)
	return w, hosts, client, server
}

func port(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }

func begin(t *testing.T, h *Host, p *answerer) {
	t.Helper()
	if err := h.Start(func(n network.World) (Turner, error) { p.net = n; return p, nil }); err != nil {
		t.Fatal(err)
	}
}

// ask makes the client send to an address, and returns the source addresses of the answers.
func ask(w *World, client *answerer, to string, source uint8) []string {
	client.from, client.refused, client.whys = nil, nil, nil
	a := network.AddrFrom(port(to))
	client.send(&a, source, "ask")
	w.Run(10 * time.Millisecond)
	return client.from
}

// want fails the test unless the answers came from the given addresses.
func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: answered from %v, want %v", what, got, want)
	}
}

// The answer to a datagram comes from the address that it was sent to if the process chooses that
// source, or has a bound socket; else from the first address of the family.
func TestSourcesOfAnswers(t *testing.T) {
	for _, bound := range []bool{false, true} {
		w, _, client, server := addressed(t, bound)
		if n := server.net.Sockets(); n != map[bool]int{false: 2, true: 3}[bound] {
			t.Fatalf("%d sockets, bound: %v", n, bound)
		}
		for _, to := range []string{"10.0.0.2:9", "10.0.1.2:9", "[fd00::2]:9"} {
			want(t, to, ask(w, client, to, 0), to)
		}
		server.plain = true
		if !bound {
			want(t, "by the routes", ask(w, client, "10.0.1.2:9", 0), "10.0.0.2:9")
		}
	}
}

// A route or the process chooses the source address of a datagram.
func TestSourcesOfQuestions(t *testing.T) {
	w, hosts, _, server := addressed(t, false)
	ask := func(source uint8) string {
		server.answers, server.from = false, nil
		to := network.AddrFrom(port("10.0.0.1:9"))
		server.send(&to, source, "ask")
		w.Run(10 * time.Millisecond)
		return server.from[0]
	}
	answer := &answerer{answers: true}
	begin(t, hosts[0], answer)
	second, err := server.net.SourceOf(netip.MustParseAddr("10.0.1.2"), "")
	if err != nil || second == network.AnySource {
		t.Fatalf("source %d, %v", second, err)
	}
	ask(second)
	ask(network.AnySource)
	hosts[0].Take(port("10.0.3.1:9"))
	if err := hosts[0].AddAddr(port("10.0.2.1:9")); err != nil { // on plane 3
		t.Fatal(err)
	}
	if err := hosts[1].AddAddr(port("10.0.2.2:9")); err != nil {
		t.Fatal(err)
	}
	onPlane := network.AddrFrom(port("10.0.2.1:9"))
	server.send(&onPlane, network.AnySource, "ask")
	w.Run(10 * time.Millisecond)
	hosts[1].Route(port("10.0.0.1:9"), port("10.0.1.2:9"))
	ask(network.AnySource)
	want(t, "sources", answer.from, "10.0.1.2:9", "10.0.0.2:9", "10.0.2.2:9", "10.0.1.2:9")
	if _, err := server.net.SourceOf(netip.MustParseAddr("10.0.0.9"), ""); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("the address of no host: %v", err)
	}
	if _, err := server.net.SourceOf(netip.Addr{}, "eth9"); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("a device: %v", err)
	}
}

// An address moves from one host to another at once. The host that lost it cannot send from it.
func TestAddressesThatMove(t *testing.T) {
	w, hosts, client, server := addressed(t, false)
	third, err := w.AddHost("third", port("10.0.0.3:9"))
	if err != nil {
		t.Fatal(err)
	}
	begin(t, third, &answerer{answers: true})
	source, _ := server.net.SourceOf(netip.MustParseAddr("10.0.1.2"), "")
	third.Take(port("10.0.1.2:9"))
	want(t, "taken", ask(w, client, "10.0.1.2:9", 0), "10.0.1.2:9")
	if !hosts[1].HasTrouble() || third.HasTrouble() || hosts[0].HasTrouble() {
		t.Error("HasTrouble must hold for the host that lost an address, and only for that")
	}
	if len(server.from) > 0 {
		t.Error("the server received on an address that it lost")
	}
	to := network.AddrFrom(port("10.0.0.1:9"))
	if server.send(&to, source, "x"); server.whys[0] != network.Refused {
		t.Errorf("a source that is gone: %v", server.whys)
	}
	hosts[0].Release(port("[fd00::1]:9"))
	if ask(w, client, "[fd00::2]:9", 0); client.whys[0] != network.NoRoute {
		t.Errorf("no address of the family: %v", client.whys)
	}
	if six := network.AddrFrom(port("[fd00::2]:9")); !client.net.LinkDown(&six) || client.net.LinkDown(&to) {
		t.Error("LinkDown must hold for the family without an address, and only for that")
	}
	third.Release(port("10.0.1.2:9"))
	want(t, "of nobody", ask(w, client, "10.0.1.2:9", 0))
	hosts[1].Take(port("10.0.1.2:9"))
	if hosts[1].HasTrouble() {
		t.Error("HasTrouble holds though the host has its address back")
	}
	want(t, "back", ask(w, client, "10.0.1.2:9", 0), "10.0.1.2:9")
	if err := third.AddAddr(port("10.0.1.2:9")); err == nil {
		t.Error("an address was given twice")
	}
}

// After a NAT rebinding others see a new address, and the host sees its own.
func TestRebind(t *testing.T) {
	w, hosts, client, server := addressed(t, false)
	hosts[0].Rebind(port("192.0.2.7:1000"))
	want(t, "behind a NAT", ask(w, client, "10.0.0.2:9", 0), "10.0.0.2:9")
	hosts[0].Rebind(port("192.0.2.7:2000"))
	ask(w, client, "10.0.0.2:9", 0)
	want(t, "as the server sees it", server.from, "192.0.2.7:1000", "192.0.2.7:2000")
	old := network.AddrFrom(port("192.0.2.7:1000"))
	client.from = nil
	server.send(&old, 0, "late")
	w.Run(10 * time.Millisecond)
	if len(client.from) > 0 || client.net.Local()[0] != port("10.0.0.1:9") || hosts[0].Addr() != port("192.0.2.7:2000") {
		t.Errorf("got %v at the old binding; is %v, seen as %v", client.from, client.net.Local(), hosts[0].Addr())
	}
}

// A rejecting middlebox answers in place of a living host, in one direction.
func TestReject(t *testing.T) {
	w, hosts, client, server := addressed(t, false)
	w.Reject(hosts[0], hosts[1], 0, true)
	want(t, "rejected", ask(w, client, "10.0.0.2:9", 0))
	want(t, "sent back", client.refused, "10.0.0.2:9 ask")
	want(t, "on another plane", ask(w, client, "10.0.1.2:9", 0), "10.0.1.2:9")
	to := network.AddrFrom(port("10.0.0.1:9"))
	client.from = nil
	server.send(&to, 0, "hello")
	w.Run(10 * time.Millisecond)
	want(t, "the other way", client.from, "10.0.0.2:9")
	hosts[1].Crash()
	ask(w, client, "10.0.0.2:9", 0)
	want(t, "in front of a machine that is off", client.refused, "10.0.0.2:9 ask")
	w.Reject(hosts[0], hosts[1], AllPlanes, false)
	ask(w, client, "10.0.0.2:9", 0)
	want(t, "no more", client.refused)
}

// A cut of one plane does not affect the other.
func TestPlanes(t *testing.T) {
	w, hosts, client, _ := addressed(t, false)
	w.CutPlane(hosts[0], hosts[1], 0, true)
	want(t, "cut", ask(w, client, "10.0.0.2:9", 0))
	want(t, "not cut", ask(w, client, "10.0.1.2:9", 0), "10.0.1.2:9")
	w.Cut(hosts[0], hosts[1])
	want(t, "all cut", ask(w, client, "10.0.1.2:9", 0))
	w.Heal(hosts[0], hosts[1])
	want(t, "healed", ask(w, client, "10.0.0.2:9", 0), "10.0.0.2:9")
}

// RefuseTo refuses sends to one address only.
func TestRefuseTo(t *testing.T) {
	w, hosts, client, _ := addressed(t, false)
	hosts[0].RefuseTo(port("10.0.0.2:9"), network.NotPermitted)
	if ask(w, client, "10.0.0.2:9", 0); client.whys[0] != network.NotPermitted {
		t.Errorf("%v", client.whys)
	}
	want(t, "another address", ask(w, client, "10.0.1.2:9", 0), "10.0.1.2:9")
	hosts[0].RefuseNone()
	want(t, "again", ask(w, client, "10.0.0.2:9", 0), "10.0.0.2:9")
}

// A name resolves to its host's addresses until it is set. Look-ups of a broken name fail.
func TestNames(t *testing.T) {
	w, hosts, _, _ := addressed(t, false)
	is := func(name, want string) {
		t.Helper()
		addrs, err := w.Lookup(name)
		text := ""
		for _, a := range addrs {
			text += a.String() + " "
		}
		if text != want || (err != nil) != (want == "") {
			t.Errorf("%s is %q, %v; want %q", name, text, err, want)
		}
	}
	is("client", "10.0.0.1 fd00::1 ")
	hosts[0].Move(port("10.0.0.7:9"))
	is("client", "10.0.0.7 fd00::1 ")
	w.SetName("client", netip.MustParseAddr("10.0.0.2"))
	is("client", "10.0.0.2 ")
	w.BreakName("client", true)
	is("client", "")
	w.BreakName("client", false)
	is("client", "10.0.0.2 ")
	w.SetName("client")
	is("client", "10.0.0.7 fd00::1 ")
	is("nobody", "")
}

// Tap sees every datagram that leaves a host, even to an address of no host. Post bypasses links.
func TestTapAndPost(t *testing.T) {
	w, hosts, client, server := addressed(t, false)
	var seen []string
	w.Tap = func(d *Datagram) { seen = append(seen, d.To.AddrPort().String()) }
	ask(w, client, "192.0.2.1:9", 0)
	w.Cut(hosts[0], hosts[1])
	ask(w, client, "10.0.0.2:9", 0)
	want(t, "tapped", seen, "192.0.2.1:9", "10.0.0.2:9")
	w.Post(&Datagram{At: w.Now(), From: network.AddrFrom(port("192.0.2.9:9")), To: network.AddrFrom(port("10.0.0.2:9")), Data: []byte("forged")})
	w.Run(10 * time.Millisecond)
	want(t, "posted", server.from, "192.0.2.9:9")
}

// PlaySlowly delays each datagram for longer than the previous one.
func TestPlaySlowly(t *testing.T) {
	w, from, to, _, b := two(t, 1)
	w.PlaySlowly(from, to, 0, true)
	w.Run(time.Second)
	if n := len(b.got); n < 499 || n > 501 || !slices.IsSorted(b.got) {
		t.Errorf("%d of 1000 arrived at half the speed, in order: %v", n, slices.IsSorted(b.got))
	}
	w.PlaySlowly(from, to, 0, false)
	w.Run(time.Second)
	if n := len(b.got); n < 1990 || slices.IsSorted(b.got) {
		t.Errorf("%d of 2000 arrived in the end, in order: %v", n, slices.IsSorted(b.got))
	}
}
