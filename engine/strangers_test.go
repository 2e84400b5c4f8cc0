package engine

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"systole/engine/detect/published"
	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/sim"
	"systole/wire"
)

// An admitted stranger that says goodbye and comes back is the peer that it was, and is not
// forgotten.
func TestAdmittedStrangerComesBackAfterGoodbye(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{Accept: Accept{Anyone: true, Forget: 5 * time.Second}}), w.start(Config{})
	p := b.watch(a)
	w.run(2 * time.Second)
	back := a.watched(b)
	if err := b.RemovePeer(p); err != nil {
		t.Fatal(err)
	}
	w.run(2 * time.Second)
	if s := back.State(); s != Left {
		t.Fatalf("%v after a goodbye", s)
	}
	p = b.watch(a)
	w.run(20 * time.Second)
	if p.State() != Alive || back.State() != Alive || a.Stats().Peers.Watched != 1 {
		t.Errorf("%v, and the other side is %v; it has %d peers", p, back, a.Stats().Peers.Watched)
	}
}

// An admitted stranger at whose address a peer is added becomes that peer: the handle is the same, and
// nobody notices.
func TestAdmittedStrangerBecomesAPeer(t *testing.T) {
	for _, byID := range []bool{false, true} {
		w := newWorld(t, 1)
		b := w.start(Config{})
		a := w.start(Config{Accept: Accept{Anyone: true, Forget: 5 * time.Second}})
		q := b.watch(a)
		w.run(10 * time.Second)
		stranger := a.watched(b)
		a.log, b.log = nil, nil
		before := stranger.Stats()
		c := PeerConfig{Addr: b.host.Addr(), Period: 40 * time.Millisecond}
		if byID {
			c.ID = b.ID()
		}
		p, err := a.AddPeer(c)
		if err != nil {
			t.Fatal(err)
		}
		if p != stranger {
			t.Fatalf("%v is another one than %v", p, stranger)
		}
		w.run(10 * time.Second)
		a.want("added")
		b.want("added")
		s, r := p.Stats(), q.Stats()
		if s.Period != 40*time.Millisecond || s.Sent-before.Sent < 240 || r.LostIn+r.LostOut != 0 || r.Duplicated+r.Reordered != 0 || a.Stats().Peers.Watched != 1 {
			t.Errorf("%+v, the other side: %+v", s, r)
		}
		if _, err := a.AddPeer(c); !errors.Is(err, ErrDuplicate) {
			t.Errorf("added twice: %v", err)
		}
		b.host.Crash()
		w.run(30 * time.Second)
		if p.State() != Failed || a.Stats().Peers.Watched != 1 {
			t.Errorf("a configured peer is never forgotten: %v", p)
		}
		a.remove(p)
		if q, err := a.AddPeer(c); err != nil || q == p {
			t.Errorf("removed and added again: %v", err)
		}
	}
}

// An AddPeer that fails for want of room leaves an admitted stranger at that address as it was.
func TestAdmittedStrangerStaysIfTheRingIsFull(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{Accept: Accept{Anyone: true, Forget: time.Second}}), w.start(Config{})
	b.watch(a)
	w.run(2 * time.Second)
	stranger := a.watched(b)
	a.log, b.log = nil, nil
	for a.shards[0].ring.TryPush(command{kind: commandRead}) {
	}
	if _, err := a.AddPeer(PeerConfig{Addr: b.host.Addr()}); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	w.run(time.Second)
	a.want("no room")
	if p := a.watch(b); p != stranger {
		t.Errorf("%v, then %v", stranger, p)
	}
	w.run(20 * time.Second)
	a.want("added")
	b.accusedNobody()
	if stranger.State() != Alive || a.Stats().Peers.Watched != 1 {
		t.Errorf("%v; %d peers", stranger, a.Stats().Peers.Watched)
	}
}

// W14: a stranger is not answered; one that may be admitted gets no more datagrams than it sends, none
// longer, and is no peer until it has proved that it reads them.
func TestStrangers(t *testing.T) {
	w := newWorld(t, 1)
	closed := w.start(Config{})
	open := w.start(Config{Accept: Accept{Anyone: true, PerSecond: 10, Max: 5}})
	forger := w.start(Config{})
	forger.host.Crash() // whatever is sent back reaches nobody
	for i := range uint64(100) {
		for _, to := range []*node{closed, open} {
			forger.post(wire.Header{
				Sender: 100 + i%20, MyDiscriminator: 1<<20 | 1, Incarnation: 1, Sequence: i + 1, Period: 100_000,
			}, to)
		}
		w.run(100 * time.Millisecond)
	}
	if closed.host.Socket().Sends != 0 || closed.Stats().Strangers.Datagrams != 100 || closed.Stats().Peers.Watched != 0 {
		t.Errorf("%d answers to a stranger; %+v", closed.host.Socket().Sends, closed.Stats())
	}
	if open.host.Socket().Sends > 100 || open.host.Socket().Sends == 0 {
		t.Errorf("%d answers to 100 forged heartbeats", open.host.Socket().Sends)
	}
	if s := open.Stats(); s.Peers.Watched != 0 || s.Strangers.Introduced != 100 {
		t.Errorf("%d strangers that never proved themselves are watched; %d introduced", s.Peers.Watched, s.Strangers.Introduced)
	}
	for i := range 8 {
		w.startAt(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(100 + i), 0, 1}), 7853), Config{}).watch(open)
	}
	w.run(5 * time.Second)
	if n := open.Stats().Peers.Watched; n != 5 || open.book.Strangers() != 5 {
		t.Errorf("%d strangers admitted, at most 5 allowed", n)
	}
}

// A stranger that was cut off until it was forgotten is admitted again, and so is this node
// by it: sequences go on where they were. Found by seed 849 of enginetest.
func TestForgottenStrangerComesBack(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{Detector: published.Fixed(0, 0), Accept: Accept{Anyone: true, Forget: time.Second}})
	b := w.start(Config{Detector: published.Fixed(0, 0)})
	p := b.watch(a)
	for round := range 3 {
		w.run(5 * time.Second)
		before := p.Stats()
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram { return nil }
		w.run(20 * time.Second)
		if n := a.Stats().Peers.Watched; n != 0 || p.State() != Failed {
			t.Fatalf("round %d: %d peers, %v", round, n, p.State())
		}
		w.Mangle = nil
		w.run(5 * time.Second)
		all := a.Snapshot(nil)
		if len(all) != 1 || all[0].State != Alive || all[0].Sent > 60 || p.State() != Alive {
			t.Fatalf("round %d: %+v, and the other side is %v", round, all, p.State())
		}
		if s := p.Stats(); s.LostIn > before.LostIn+30 || all[0].RoundTrip > time.Millisecond {
			t.Errorf("round %d: %d lost, round trip %v", round, s.LostIn-before.LostIn, all[0].RoundTrip)
		}
	}
}

// So is one whose period is longer than ConnectTimeout: it proves itself with its next heartbeat.
// Found by seed 905300 of enginetest.
func TestRareStrangerProvesItself(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{
		Detector: published.Fixed(0, 0), ConnectTimeout: 300 * time.Millisecond, Accept: Accept{Anyone: true, Forget: 100 * time.Millisecond},
	})
	b := w.start(Config{Detector: published.Fixed(100, 0), Period: 400 * time.Millisecond})
	p := b.watch(a)
	w.run(2 * time.Second)
	w.Cut(b.host, a.host)
	w.run(30 * time.Second)
	if n := a.Stats().Peers.Watched; n != 0 || p.State() != OneWay && p.State() != Alive {
		t.Fatalf("%d peers, and the other side is %v", n, p.State())
	}
	w.Heal(b.host, a.host)
	w.run(2 * time.Second)
	if all := a.Snapshot(nil); len(all) != 1 || all[0].State != Alive || p.State() != Alive {
		t.Errorf("%+v, and the other side is %v", all, p.State())
	}
}

// An admitted stranger that left or failed is forgotten after Accept.Forget, no earlier: neither what
// is learned of it later nor what it sends in the same incarnation counts.
func TestForgottenNoEarlierThanAsked(t *testing.T) {
	const forget = 30 * time.Second
	for i := range 20 { // of which some end while the detector has something to fit
		w := newWorld(t, 1)
		a, b := w.start(Config{Accept: Accept{Anyone: true, Forget: forget}}), w.start(Config{})
		p := b.watch(a)
		w.run(2*time.Second + time.Duration(i)*100*time.Millisecond)
		if err := b.RemovePeer(p); err != nil {
			t.Fatal(err)
		}
		w.run(forget + time.Second)
		if d := a.last(Forgotten).At.Sub(a.last(Goodbye).At); d < forget {
			t.Fatalf("%d: forgotten %v after its goodbye", i, d)
		}
	}
	w := newWorld(t, 1)
	a, b := w.start(Config{Accept: Accept{Anyone: true, Forget: forget}}), w.start(Config{})
	b.watch(a)
	w.run(10 * time.Second)
	w.Cut(a.host, b.host)
	w.Cut(b.host, a.host)
	w.run(20 * time.Second)
	w.Heal(a.host, b.host)
	w.Heal(b.host, a.host)
	w.run(3 * time.Second)
	w.Cut(b.host, a.host)
	w.run(forget + 10*time.Second)
	if d := a.last(Forgotten).At.Sub(a.last(Silence).At); d < forget || d > forget+10*time.Second {
		t.Errorf("forgotten %v after it failed", d)
	}
}

// A judge timer may remove the very peer whose send timer is served after it.
func TestTimersOfRemovedPeer(t *testing.T) {
	for _, judgeFirst := range []bool{true, false} {
		w := newWorld(t, 1)
		a, b := w.start(Config{}), w.start(Config{Accept: Accept{Anyone: true}})
		a.watch(b)
		w.run(time.Second)
		s, slot := b.shards[0], b.watched(a).slot
		if b.Stats().Peers.Watched != 1 {
			t.Fatal("not admitted")
		}
		a.host.Crash()
		p := s.table.peer(slot)
		s.transition(p, slot, Failed, Silence, s.now)
		p.deadline.check(w.now())
		p.deadline.arm(w.now())
		s.wheel.Cancel(sendTimer(slot))
		timers := []uint32{sendTimer(slot), judgeTimer(slot)}
		if judgeFirst {
			slices.Reverse(timers)
		}
		for _, id := range timers {
			s.wheel.Set(id, w.now())
		}
		b.host.Socket().Wake()
		w.run(time.Second)
		if n := s.wheel.Len(); n != 0 || b.Stats().Peers.Watched != 0 {
			t.Errorf("judge first %v: %d timers run for %d peers", judgeFirst, n, b.Stats().Peers.Watched)
		}
	}
}

// conduct is what an admitted peer b, whose watch of a is p, may do.
var conduct = map[string]func(w *world, a, b *node, p Peer){
	"lives":     func(w *world, a, b *node, p Peer) {},
	"dies":      func(w *world, a, b *node, p Peer) { b.host.Crash() },
	"is killed": func(w *world, a, b *node, p Peer) { b.host.Kill() },
	"stops now and then": func(w *world, a, b *node, p Peer) {
		for range 20 {
			b.host.Stop()
			w.run(time.Second)
			b.host.Continue()
			w.run(time.Second)
		}
	},
	"slows down":     func(w *world, a, b *node, p Peer) { p.record().pace.want(int64(10*time.Second), b.shards[0].grid) },
	"is fast":        func(w *world, a, b *node, p Peer) { p.record().pace.want(int64(4*time.Millisecond), b.shards[0].grid) },
	"accepts little": func(w *world, a, b *node, p Peer) { b.minReceive = 10_000_000 },
	"starts anew": func(w *world, a, b *node, p Peer) {
		w.boot(b, Config{ID: b.ID()})
		b.watch(a)
	},
	"is another one": func(w *world, a, b *node, p Peer) {
		w.boot(b, Config{})
		b.watch(a)
	},
	"leaves": func(w *world, a, b *node, p Peer) { b.remove(p) },
	"watches anew": func(w *world, a, b *node, p Peer) {
		for range 20 {
			b.remove(p)
			p = b.watch(a)
			w.run(100 * time.Millisecond)
		}
	},
	"moves": func(w *world, a, b *node, p Peer) { b.host.Move(netip.MustParseAddrPort("10.9.9.9:1")) },
	"acknowledges nothing": func(w *world, a, b *node, p Peer) {
		b.host.Stop()
		h := heartbeatOf(a.watched(b))
		for range 60 {
			h.Sequence, h.Period, h.SendInstant = h.Sequence+1, 1_000_000, int64(w.now())
			b.send(h, a)
			w.run(time.Second)
		}
	},
	"is heard too late": func(w *world, a, b *node, p Peer) {
		w.SetLinks(netmodel.Link{Delay: netmodel.Distribution{Base: 3 * time.Second}})
	},
}

// What goes to an admitted peer is no more than what comes from it, at any time and whatever it does: stop,
// become deaf, ask for other periods, leave, be forgotten and come back, or never acknowledge. Nor is it
// more with messages, and with a heartbeat pushed for each that comes.
func TestAdmittedPeersGetNoMoreThanTheySend(t *testing.T) {
	for name, does := range conduct {
		for i := range 6 {
			deaf, room := i%2 == 0, i/2*300
			w := newWorld(t, 1)
			a := w.start(Config{Period: 20 * time.Millisecond, Accept: Accept{Anyone: true, Forget: 10 * time.Second}})
			b := w.start(Config{Period: 100 * time.Millisecond})
			push := a.carry(0x8001, 500)
			push.set(t, Peer{}, strings.Repeat("a", 500))
			a.carry(0x8002, 10).set(t, Peer{}, "a")
			if room > 0 {
				b.carry(0x8001, room).set(t, Peer{}, strings.Repeat("b", room-i))
			}
			in, out := 0, 0
			cut := false
			w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
				if d.From == a.addr() {
					if out += len(d.Data); out > in {
						t.Errorf("%s, deaf %v, %d bytes of messages: %d bytes written, %d received", name, deaf, room, out, in)
						out = 0
					}
					if cut {
						return nil
					}
				} else {
					in += len(d.Data)
					if p := a.byID(b.ID()); !p.IsZero() {
						_ = push.Push(p) // it may be removed meanwhile
					}
				}
				return []*sim.Datagram{d}
			}
			p := b.watch(a)
			w.run(10 * time.Second)
			cut = deaf
			if deaf {
				w.run(100 * time.Millisecond)
			}
			does(w, a, b, p)
			w.run(time.Minute)
			cut = false
			w.run(time.Minute)
		}
	}
}

// Who finds no room is answered all the same, and does not take a node that is there for a dead one.
func TestRefusedStrangerIsAnswered(t *testing.T) {
	w := newWorld(t, 1)
	s := w.start(Config{Accept: Accept{Anyone: true, Max: 1}})
	peers := []Peer{w.start(Config{}).watch(s), w.start(Config{}).watch(s)}
	w.run(30 * time.Second)
	for i, p := range peers {
		w.nodes[1+i].want("a full node", "connecting alive first-contact")
		if p.State() != Alive {
			t.Errorf("%v", p)
		}
	}
	if got := s.Stats(); got.Peers.Watched != 1 || got.Strangers.Refused < 250 {
		t.Errorf("%d peers, %d refused", got.Peers.Watched, got.Strangers.Refused)
	}
	s.host.Crash()
	w.run(10 * time.Second)
	for _, p := range peers {
		if p.State() != Failed {
			t.Errorf("of a node that is gone: %v", p)
		}
	}
}
