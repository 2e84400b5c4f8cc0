package engine

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
	"systole/wire"
)

// twoShards is an engine with two owner loops that the test turns, in virtual time, and a
// peer with a yet unknown id that is to be handed from one to the other.
type twoShards struct {
	*Engine
	t        *testing.T
	at       clock.Reading
	peer     Peer
	id       uint64 // as it will turn out; its heartbeats arrive at to
	from, to *shard
}

// newTwoShards returns such an engine. Nobody answers at the peer's address.
func newTwoShards(t *testing.T) *twoShards {
	t.Helper()
	w := &twoShards{Engine: open(t, Config{Shards: 2}), t: t, id: 1}
	w.stopping.Store(true)
	for _, s := range w.shards {
		s.net.Wake()
	}
	w.interfaces.close()
	w.stop()
	w.running.Wait()
	var err error
	if w.peer, err = w.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("127.0.0.1:9")}); err != nil {
		t.Fatal(err)
	}
	w.from = w.ownerOf(w.peer.record())
	w.to = w.shards[1-w.from.number]
	for w.shardOf(w.id) != w.to.number {
		w.id++
	}
	w.at = clock.Read()
	w.turn(w.from, 0)
	return w
}

// turn turns s after d.
func (w *twoShards) turn(s *shard, d time.Duration) {
	w.at.Now, w.at.Wall = w.at.Now.Add(d), w.at.Wall+int64(d)
	s.turn(w.at)
}

// run turns both shards whenever they want to be turned, or have a command, for d.
func (w *twoShards) run(d time.Duration) {
	due := map[*shard]clock.Instant{w.from: w.at.Now, w.to: w.at.Now}
	for end := w.at.Now.Add(d); ; {
		s := w.from
		if due[w.to] < due[s] {
			s = w.to
		}
		if w.to.ring.Len() > 0 {
			s, due[w.to] = w.to, w.at.Now
		}
		if due[s] > end {
			return
		}
		if wait := due[s].Sub(w.at.Now); wait > 0 {
			w.at.Now, w.at.Wall = due[s], w.at.Wall+int64(wait)
		}
		due[s] = s.turn(w.at)
	}
}

// handOver hands the peer over while the ring of its new shard is full.
func (w *twoShards) handOver() {
	w.t.Helper()
	for w.to.ring.TryPush(command{kind: commandRead}) {
	}
	w.from.handOver(w.peer.record(), w.peer.slot, w.id, &w.peer.record().addr)
	if w.to.index.lookup(w.id) != noSlot {
		w.t.Fatal("the new shard has the peer already")
	}
}

// empty turns the new shard until its ring is empty.
func (w *twoShards) empty() {
	for w.to.ring.Len() > 0 {
		w.turn(w.to, 0)
	}
}

// owned fails the test unless the shards watch as many peers as given.
func (w *twoShards) owned(from, to uint64) {
	w.t.Helper()
	if f, n := w.from.counters.peers.Load(), w.to.counters.peers.Load(); f != from || n != to {
		w.t.Errorf("the old shard has %d peers, the new one %d, not %d and %d", f, n, from, to)
	}
}

// A peer whose new shard has no room for the command is handed over when there is: it is
// sent to, and judged.
func TestHandOverWaitsForRoom(t *testing.T) {
	w := newTwoShards(t)
	w.handOver()
	w.run(10 * time.Second)
	w.owned(0, 1)
	if s := w.peer.Stats(); s.State != Failed || s.Sent == 0 || s.ID != w.id {
		t.Errorf("%+v of a peer at whose address nobody is", s)
	}
	if w.to.index.lookup(w.id) != w.peer.slot {
		t.Error("it is not found by its id")
	}
}

// A shard that waits to hand a peer over turns soon, whatever else there is to do.
func TestHandOverIsTriedAgainSoon(t *testing.T) {
	w := newTwoShards(t)
	w.handOver()
	if next := w.from.turn(w.at); next.Sub(w.at.Now) > w.from.grid {
		t.Errorf("the next turn is in %v", next.Sub(w.at.Now))
	}
}

// A peer that is removed before its new shard has taken it in is removed there, and counted
// once; the command that comes after it is void.
func TestRemovedWhileHandedOver(t *testing.T) {
	w := newTwoShards(t)
	w.handOver()
	w.empty()
	if err := w.RemovePeer(w.peer); err != nil {
		t.Fatal(err)
	}
	w.turn(w.to, 0)
	w.owned(0, 0)
	w.turn(w.from, time.Millisecond)
	w.empty()
	w.owned(0, 0)
	if s := w.peer.State(); s != Removed || w.to.index.lookup(w.id) != noSlot {
		t.Errorf("%v", s)
	}
	if _, answer := w.awaited.lookup(w.peer.record().addr); answer != nobodyAwaited {
		t.Error("its address is still waited at")
	}
}

// waitingAt returns a peer of the old shard's that AddPeer has posted and the shard has not yet got.
func (w *twoShards) waitingAt(addrs ...string) Peer {
	w.t.Helper()
	for _, addr := range addrs {
		p, err := w.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort(addr)})
		if err != nil {
			w.t.Fatal(err)
		}
		if w.ownerOf(p.record()) == w.from {
			return p
		}
	}
	w.t.Fatal("no peer is the old shard's")
	return Peer{}
}

// A hand-over that is asked for before the shard has the command that adds the peer is void.
func TestHandOverAheadOfTheAddition(t *testing.T) {
	w := newTwoShards(t)
	p := w.waitingAt("127.0.0.3:9", "127.0.0.4:9")
	rec := p.record()
	w.from.command(&command{kind: commandHandOver, slot: p.slot, generation: p.generation, arg: w.id, addr: rec.addr})
	w.turn(w.to, 0)
	if w.ownerOf(rec) != w.from || rec.state() != Unknown {
		t.Errorf("%v, owner %d", rec.state(), rec.owner.Load())
	}
	w.turn(w.from, 0)
	if p.State() != Connecting {
		t.Errorf("%v", p)
	}
}

// The slot of a peer that AddPeer had no room to add is no shard's, neither while it is waited for
// room nor later.
func TestAdditionWithoutRoom(t *testing.T) {
	w := newTwoShards(t)
	for _, s := range w.shards {
		for s.ring.TryPush(command{kind: commandRead}) {
		}
	}
	slot := w.slots.Load()
	if _, err := w.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("127.0.0.7:9")}); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	rec := w.table.peer(slot)
	if owner := rec.owner.Load(); owner != 0 {
		t.Errorf("a free slot is of shard %d", owner-1)
	}
	if len(w.awaited.peers) != 1 {
		t.Errorf("%d addresses are registered", len(w.awaited.peers))
	}
	_, err := w.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("127.0.0.1:9")})
	if owner := rec.owner.Load(); !errors.Is(err, ErrDuplicate) || owner != 0 {
		t.Errorf("%v, and a free slot has owner %d", err, owner)
	}
}

// An admitted stranger on another shard gives way, too. Sequences to the peer that takes its place
// go on after those to it, which it still gets until its shard turns.
func TestStrangerOnAnotherShardGivesWay(t *testing.T) {
	w := newTwoShards(t)
	where := netip.MustParseAddrPort("127.0.0.2:9")
	addr := udp.AddrFrom(where)
	slot, err := w.takeSlot()
	if err != nil {
		t.Fatal(err)
	}
	w.to.admit(slot, &wire.Header{Sender: w.id}, &addr, 0)
	w.table.peer(slot).sent.Set(1000)
	p, err := w.AddPeer(PeerConfig{Addr: where})
	if err != nil || w.ownerOf(p.record()) != w.from {
		t.Fatal(err, "or it is not the other shard's")
	}
	w.turn(w.from, 0)
	w.turn(w.to, 0)
	w.owned(2, 0)
	if last := p.record().sent.Load(); last < 1000+lastWrites || w.to.admitted != 0 {
		t.Errorf("sequences begin after %d, %d strangers are left", last, w.to.admitted)
	}
}

// What its old shard still finds in its own ring for it is passed on, and is not lost either.
func TestCommandsFollowTheHandOver(t *testing.T) {
	w := newTwoShards(t)
	if err := w.RemovePeer(w.peer); err != nil {
		t.Fatal(err)
	}
	w.handOver()
	w.turn(w.from, time.Millisecond)
	w.empty()
	w.turn(w.from, time.Millisecond)
	w.empty()
	w.owned(0, 0)
	if s := w.peer.State(); s != Removed {
		t.Errorf("%v", s)
	}
}

// A heartbeat that comes before the command has the new shard take the peer in.
func TestHeartbeatAheadOfTheHandOver(t *testing.T) {
	w := newTwoShards(t)
	addr := w.peer.record().addr
	w.handOver()
	waits, answer := w.awaited.lookup(addr)
	if answer != somebodyAwaited || int(waits.shard) != w.to.number {
		t.Fatalf("%+v waits at its address", waits)
	}
	if slot := w.to.identify(waits, &wire.Header{Sender: w.id}, &addr); slot != w.peer.slot {
		t.Errorf("slot %d", slot)
	}
	w.owned(0, 1)
	w.empty()
	w.turn(w.from, time.Millisecond)
	w.empty()
	w.owned(0, 1)
}

// A heartbeat to the peer that its closed port returns before the command comes has the new shard
// take it in, too: both shards count what they have.
func TestReturnedAheadOfTheHandOver(t *testing.T) {
	w := newTwoShards(t)
	p := w.peer.record()
	w.from.transition(p, w.peer.slot, OneWay, Deaf, w.at.Now)
	w.from.send(p, w.peer.slot, w.at.Now)
	quoted, fault := wire.Append(nil, &w.from.out, nil)
	if fault != wire.OK {
		t.Fatal(fault)
	}
	w.handOver()
	w.to.begin(w.at)
	w.to.refused(&network.Returned{PortUnreachable: true, Peer: p.addr, Quoted: quoted})
	w.owned(0, 1)
	w.empty()
	w.turn(w.from, time.Millisecond)
	w.empty()
	w.owned(0, 1)
	if w.from.alive != 0 || w.to.alive != 0 {
		t.Errorf("%v; %d and %d are heard", w.peer, w.from.alive, w.to.alive)
	}
}

// A peer that was added with the id meanwhile keeps it: the other one goes on waiting.
func TestHandOverToATakenID(t *testing.T) {
	w := newTwoShards(t)
	w.handOver()
	w.empty()
	q, err := w.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("127.0.0.2:9"), ID: w.id})
	if err != nil {
		t.Fatal(err)
	}
	w.turn(w.to, 0)
	w.turn(w.from, time.Millisecond)
	w.empty()
	w.owned(0, 2)
	if w.to.index.lookup(w.id) != q.slot || w.peer.ID() != 0 || w.peer.State() != Connecting {
		t.Errorf("slot %d has the id, the other peer %x is %v", w.to.index.lookup(w.id), w.peer.ID(), w.peer.State())
	}
}

// A peer that our side has no way to is counted by one shard only, and keeps its wait.
func TestHandOverWithoutALink(t *testing.T) {
	w := newTwoShards(t)
	w.from.setLinkGone(w.peer.record(), true)
	w.handOver()
	if n := w.from.linksGone; n != 0 || w.peer.record().flags&flagLinkGone != 0 {
		t.Errorf("%d counted by the old shard", n)
	}
	w.empty()
	w.turn(w.from, time.Millisecond)
	w.empty()
	if n := w.to.linksGone; n != 0 {
		t.Errorf("%d counted by the new shard", n)
	}
}

// Peers are added and removed while they are handed over, by goroutines and shards that run
// as they like: each ends up removed, and counted as often as it was added. The race detector
// looks on.
func TestHandOverInAnyOrder(t *testing.T) {
	const peers, rounds = 4, 40
	e := open(t, Config{Shards: 2, Period: 2 * time.Millisecond})
	target := udp.AddrFrom(e.Addrs()[0])
	var all sync.WaitGroup
	for i := range uint64(peers) {
		s, err := udp.Open(udp.Options{Local: netip.MustParseAddrPort("127.0.0.1:0")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		all.Go(func() {
			out := udp.NewSender()
			for round := range uint64(rounds) {
				p, err := e.AddPeer(PeerConfig{Addr: s.Local()})
				if err != nil {
					t.Error(err)
					return
				}
				for k := range 4 + round%5 {
					h := wire.Header{Kind: wire.KindHeartbeat, Sender: 100*(i+1) + round, Incarnation: 7, Sequence: k + 1, Period: 2000}
					b, _ := wire.Append(out.Next()[:0], &h, nil)
					out.Commit(len(b), &target)
					out.Flush(s)
					out.Reset()
					time.Sleep(300 * time.Microsecond)
				}
				if err := e.RemovePeer(p); err != nil {
					t.Error(err)
				}
				for end := time.Now().Add(5 * time.Second); p.State() != Removed; time.Sleep(100 * time.Microsecond) {
					if time.Now().After(end) {
						t.Error("not removed")
						return
					}
				}
			}
		})
	}
	all.Wait()
	time.Sleep(10 * time.Millisecond)
	if n := e.Stats().Peers; n != 0 {
		t.Errorf("%d peers are left", n)
	}
	for _, s := range e.shards {
		if n := s.counters.peers.Load(); n != 0 {
			t.Errorf("shard %d counts %d peers", s.number, int64(n))
		}
	}
}

// The same process that is added again at once may come to another shard, which may be the
// first to turn: its sequences go on all the same, or it would take them for old.
func TestSequencesGoOnAcrossShards(t *testing.T) {
	w := newTwoShards(t)
	rec := w.peer.record()
	rec.sent.Set(1000)
	if err := w.RemovePeer(w.peer); err != nil {
		t.Fatal(err)
	}
	q, err := w.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("127.0.0.1:9")})
	if err != nil || w.ownerOf(q.record()) != w.to {
		t.Fatal(err)
	}
	w.turn(w.to, 0)
	w.turn(w.from, 0)
	if goodbye, next := rec.sent.Load(), q.record().sent.Load()+1; goodbye != 1001 || next <= goodbye {
		t.Errorf("the goodbye was %d, the next heartbeat is %d", goodbye, next)
	}
}
