package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"systole/engine/detect/published"
	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/network"
	"systole/engine/internal/sim"
)

func TestFirstContactTakesRoundTripsNotPeriods(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{Period: time.Second}), w.start(Config{Period: time.Second})
	p := a.watch(b)
	b.watch(a)
	for p.Stats().Sent == 0 {
		w.run(time.Millisecond)
	}
	w.run(3 * 5 * time.Millisecond) // a step of the grid is 4 ms
	if p.State() != Alive || p.Stats().LastArrival == 0 {
		t.Errorf("after three round trips: %v", p)
	}
	w.run(3 * time.Second)
	a.want("first contact", "connecting alive first-contact")
	b.want("first contact", "connecting alive first-contact")
	s := p.Stats()
	if s.LostIn != 0 || s.LostOut != 0 || s.Missed != 0 {
		t.Errorf("lost %d in, %d out, missed %d on a perfect network", s.LostIn, s.LostOut, s.Missed)
	}
	if s.RoundTrip < 200*time.Microsecond || s.RoundTrip > 400*time.Microsecond {
		t.Errorf("round trip %v on a path of 100 to 200 µs each way", s.RoundTrip)
	}
}

func TestNeverHeard(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	b.host.Crash()
	a.watch(b)
	start := w.now()
	w.run(5 * time.Second)
	a.want("nobody there", "connecting failed never-heard")
	if d := a.last(NeverHeard).At.Sub(start); d < 3*time.Second || d > 3200*time.Millisecond {
		t.Errorf("failed after %v, want 3 s from the first heartbeat", d)
	}
}

// Before our side has a way out nobody is failed for not having answered, and the reason is told: from the
// first heartbeat where the kernel refuses it, at ConnectTimeout where it takes it and loses it.
func TestNobodyAnswersWithoutAWayOut(t *testing.T) {
	for name, cut := range linkFaults {
		w := newWorld(t, 1)
		a, b, dead := w.start(Config{}), w.start(Config{}), w.start(Config{})
		dead.host.Crash()
		cut(a.host, true)
		a.watch(b)
		p := a.watch(dead)
		why, within := LocalNoRoute, 110*time.Millisecond
		if name == "no carrier" {
			why, within = LocalLink, 3200*time.Millisecond
		}
		start := w.now()
		w.run(30 * time.Second)
		told := fmt.Sprintf("connecting connecting %v", why)
		a.want(name, told, told)
		if d := a.last(why).At.Sub(start); d > within {
			t.Errorf("%s: told after %v", name, d)
		}
		cut(a.host, false)
		b.watch(a)
		w.run(7 * time.Second)
		a.want(name, told, told, "connecting alive first-contact", "connecting failed never-heard")
		if p.State() != Failed {
			t.Errorf("%s: the one that is not there is %v", name, p.State())
		}
	}
}

// Each reason for which the kernel refuses has a cause of its own, from the first heartbeat on.
func TestRefusedSendsAreTold(t *testing.T) {
	for why, want := range map[network.Refusal]Cause{
		network.NotPermitted: LocalNotPermitted, network.Prohibited: LocalProhibited,
		network.Unreachable: LocalUnreachable, network.NoRoute: LocalNoRoute, network.TooBig: LocalTooBig,
		network.Refused: LocalRefused, network.NoBuffer: LocalNoBuffer, network.NoAddress: LocalAddress,
		network.LinkFailed: LocalLink,
	} {
		w := newWorld(t, 1)
		a, b := w.start(Config{}), w.start(Config{})
		a.host.Refuse = why
		p := a.watch(b)
		b.watch(a)
		w.run(10 * time.Second)
		a.want(why.String(), fmt.Sprintf("connecting connecting %v", want))
		if s := p.Stats(); s.Cause != want || s.MaySeemDeadSince != 0 || s.Missed == 0 {
			t.Errorf("%v: %+v", why, s)
		}
		a.host.Refuse = network.Sent
		w.run(time.Second)
		a.want(why.String(), fmt.Sprintf("connecting connecting %v", want), "connecting alive first-contact")
		a.log = nil
		a.host.Refuse = why
		w.run(10 * time.Second)
		if why == network.NoBuffer {
			a.want("a full buffer accuses nobody", "alive one-way local-no-buffer")
			continue
		}
		a.want(why.String(), fmt.Sprintf("alive suspect %v", want), fmt.Sprintf("suspect one-way %v", want))
	}
}

// W14: a peer whose first heartbeats say nothing of ours may be anybody: it was never heard. That
// has its end with the first that does.
func TestDeafFromTheStart(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	w.Cut(a.host, b.host)
	p := a.watch(b)
	b.watch(a)
	w.run(time.Minute)
	a.want("the way there is cut", "connecting failed never-heard")
	b.want("the way back is cut", "connecting failed never-heard")
	if s := p.Stats(); s.Received != 0 || s.LastArrival != 0 || s.ID != 0 || a.Stats().Strangers.Introduced < 60 {
		t.Errorf("introductions count for a peer: %+v, and %d were read", s, a.Stats().Strangers.Introduced)
	}
	w.Heal(a.host, b.host)
	w.run(time.Second)
	a.want("healed", "connecting failed never-heard", "failed alive first-contact")
	b.want("healed", "connecting failed never-heard", "failed alive first-contact")
}

// A peer that became deaf is one-way for as long as that lasts, and no longer: silent, it is
// suspected and failed as any other. Heard again in time, it is one-way again.
func TestDeafAndSilent(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: published.Fixed(0, 0)})
	a.log = nil
	w.Cut(a.host, b.host)
	w.run(time.Minute)
	a.want("the way there is cut", "alive one-way deaf", "one-way one-way buried")
	w.Cut(b.host, a.host)
	w.run(time.Second)
	if p.State() != Suspect {
		t.Errorf("silent for 1 s it is %v", p.State())
	}
	w.Heal(b.host, a.host)
	w.run(time.Minute)
	w.Cut(b.host, a.host)
	w.run(10 * time.Second)
	w.Heal(b.host, a.host)
	w.run(time.Minute)
	w.Heal(a.host, b.host)
	w.run(time.Second)
	a.want("cut and healed", "alive one-way deaf", "one-way one-way buried", "one-way suspect silence", "suspect one-way buried",
		"one-way suspect silence", "suspect failed silence", "failed one-way buried", "one-way alive reachable-again")
}

// A peer that no longer hears us and dies is found out as soon as any other, whatever our own side
// went through before, and whatever its silence is taken for holds up no verdict on others.
func TestDeathOfTheDeaf(t *testing.T) {
	for name, trouble := range map[string]func(a *node, on bool){
		"none":       func(*node, bool) {},
		"no route":   func(a *node, on bool) { linkFaults["no route"](a.host, on) },
		"no carrier": func(a *node, on bool) { linkFaults["no carrier"](a.host, on) },
		"pauses": func(a *node, on bool) {
			for range 50 {
				a.host.Stop()
				a.world.run(900 * time.Millisecond)
				a.host.Continue()
				a.world.run(2 * time.Second)
			}
		},
	} {
		w := newWorld(t, 1)
		a, other := w.start(Config{Detector: published.Fixed(0, 0)}), w.start(Config{})
		p := a.watch(other)
		other.watch(a)
		var deaf []*node
		var peers []Peer
		for range 3 {
			b := w.start(Config{})
			b.watch(a)
			deaf, peers = append(deaf, b), append(peers, a.watch(b))
		}
		w.run(2 * time.Second)
		for i, b := range deaf {
			w.Cut(a.host, b.host)
			w.run(time.Minute)
			if s := peers[i].State(); s != OneWay {
				t.Fatalf("%s: %v, of a peer that is heard and does not hear us", name, s)
			}
			trouble(a, true)
			b.host.Crash()
			w.run(4 * time.Second)
			trouble(a, false)
			w.run(10 * time.Second)
			if s := peers[i].State(); s != Failed {
				t.Errorf("%s: %v ten seconds after", name, s)
			}
		}
		w.run(time.Minute)
		other.host.Crash()
		w.run(5 * time.Second)
		if s := p.State(); s != Failed {
			t.Errorf("%s: another peer that died is %v; we suspect ourselves for %v more", name, s, a.shards[0].silences.suspect.Sub(w.now()))
		}
	}
}

// A peer is watched once over one path: by an address and an id, or by a name.
func TestDuplicatesAreRefused(t *testing.T) {
	w := newWorld(t, 1)
	b, a := w.start(Config{}), w.start(Config{})
	at := b.host.Addr()
	for _, c := range []struct {
		what string
		add  PeerConfig
		want error
	}{
		{"an address", PeerConfig{Addr: at}, nil},
		{"an address twice", PeerConfig{Addr: at}, ErrDuplicate},
		{"an id at it", PeerConfig{Addr: at, ID: 5}, nil},
		{"an id twice", PeerConfig{Addr: at, ID: 5}, ErrDuplicate},
		{"another id at it", PeerConfig{Addr: at, ID: 6}, nil},
		{"the id elsewhere", PeerConfig{Addr: netip.MustParseAddrPort("10.0.0.9:7853"), ID: 5}, nil},
		{"a name", PeerConfig{Name: "b.test:7853"}, nil},
		{"a name twice", PeerConfig{Name: "b.test:7853"}, ErrDuplicate},
		{"the name with an id", PeerConfig{Name: "b.test:7853", ID: 5}, nil},
	} {
		if _, err := a.AddPeer(c.add); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
	if _, err := a.AddPeer(PeerConfig{Addr: at, ID: a.ID()}); err == nil {
		t.Error("the own id was accepted")
	}
}

// The peer table gives slots back, and a handle of a removed peer stays removed.
func TestRemovePeer(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	b.log = nil
	for i := range 50 {
		if err := a.RemovePeer(p); err != nil {
			t.Fatal(err)
		}
		w.run(time.Second)
		if p.State() != Removed || p.Stats().State != Removed || p.Suspicion() != 0 {
			t.Fatalf("round %d: a removed peer is %v", i, p.State())
		}
		if err := a.RemovePeer(p); !errors.Is(err, ErrNoPeer) {
			t.Fatalf("removed twice: %v", err)
		}
		p = a.watch(b)
		w.run(time.Second)
	}
	if n := a.Stats().Peers.Slots; n > 1 {
		t.Errorf("%d slots for one peer at a time", n)
	}
	if n := len(b.log); n == 0 || b.log[0].Cause != Goodbye {
		t.Errorf("the removed peer was not told: %v", b.log)
	}
}

// An address that is this node's own is told, and accuses nobody. Once somebody else answers there it is that one's.
func TestOwnNode(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{})
	p := a.watch(a)
	w.run(10 * time.Second)
	a.want("oneself", "connecting connecting own-node")
	if a.Stats().Refused.Looped < 50 || p.Stats().Cause != OwnNode {
		t.Errorf("%+v; %d heartbeats came back", p.Stats(), a.Stats().Refused.Looped)
	}
	b := w.start(Config{})
	q := b.watch(a) // a watches nobody there, but itself
	w.run(5 * time.Second)
	if q.State() == Alive || a.Stats().Strangers.Datagrams < 30 {
		t.Errorf("%v", q)
	}
	// Who sends our first heartbeats back for another one hinders it no longer than that.
	back := true
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if back && d.To == b.addr() {
			d.To, d.From = a.addr(), b.addr()
		}
		return []*sim.Datagram{d}
	}
	r := a.watch(b)
	w.run(2 * time.Second)
	if r.Stats().Cause != OwnNode {
		t.Errorf("%v, %v, of our own heartbeats", r, r.Stats().Cause)
	}
	back = false
	w.run(2 * time.Second)
	if r.State() != Alive || q.State() != Alive {
		t.Errorf("%v, and there %v", r, q)
	}
}

// Degraded is what a peer says of itself, and no state.
func TestDegraded(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	a.log = nil
	for _, is := range []bool{true, false, true} {
		b.SetDegraded(is)
		w.run(300 * time.Millisecond)
		if p.Degraded() != is || p.Stats().Degraded != is || p.State() != Alive {
			t.Errorf("degraded %v, want %v; %v", p.Degraded(), is, p)
		}
	}
	b.host.Crash()
	w.run(5 * time.Second)
	a.want("degraded, then dead", "alive suspect silence", "suspect failed silence")
	if !p.Degraded() {
		t.Error("what it said of itself is forgotten")
	}
	a.remove(p)
	if p.Degraded() {
		t.Error("a removed peer is degraded")
	}
}

// A round trip above ConnectTimeout makes the first contact late, and no more: configured or admitted, the
// peers are alive from then on.
func TestRoundTripsAboveConnectTimeout(t *testing.T) {
	for _, admit := range []bool{false, true} {
		w := newWorld(t, 1)
		cfg := Config{ConnectTimeout: 300 * time.Millisecond, Accept: Accept{Anyone: admit, Forget: time.Second}}
		a, b := w.start(cfg), w.start(Config{ConnectTimeout: 300 * time.Millisecond})
		w.SetLinks(netmodel.Link{Delay: netmodel.Distribution{Base: 400 * time.Millisecond}})
		q := b.watch(a)
		if !admit {
			a.watch(b)
		}
		w.run(20 * time.Second)
		p := a.watched(b)
		if p.State() != Alive || q.State() != Alive {
			t.Fatalf("admitted %v: %v and %v after 20 s", admit, p, q)
		}
		a.log, b.log = nil, nil
		w.run(time.Minute)
		a.want("a long way")
		b.want("a long way")
		if s := p.Stats(); s.RoundTrip < 800*time.Millisecond || s.RoundTrip > 820*time.Millisecond || s.Granted > 600*time.Millisecond {
			t.Errorf("admitted %v: round trip %v, %v granted", admit, s.RoundTrip, s.Granted)
		}
	}
}
