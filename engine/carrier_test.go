package engine

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"systole/engine/internal/sim"
	"systole/wire"
)

// carry claims a message type at n.
func (n *node) carry(messageType uint16, room int) *Carrier {
	n.world.t.Helper()
	return carry(n.world.t, n.Engine, messageType, room)
}

// carry claims a message type at e.
func carry(t testing.TB, e *Engine, messageType uint16, room int) *Carrier {
	t.Helper()
	c, err := e.Carry(messageType, CarryOptions{Room: room})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// set sets a body, which must succeed.
func (c *Carrier) set(t testing.TB, p Peer, body string) {
	t.Helper()
	if err := c.Set(p, []byte(body)); err != nil {
		t.Fatal(err)
	}
}

// unreadMessages reads all messages that wait in c.
func unreadMessages(c *Carrier) (all []Delivery) {
	for {
		d, ok := c.TryNext(nil)
		if !ok {
			return all
		}
		all = append(all, d)
	}
}

// bodies are the bodies of deliveries.
func bodies(all []Delivery) (out []string) {
	for _, d := range all {
		out = append(out, string(d.Body))
	}
	return out
}

// messagesOf returns the messages of a datagram by type.
func messagesOf(t testing.TB, data []byte) map[uint16]string {
	t.Helper()
	var h wire.Header
	section, fault := wire.Decode(data, &h)
	if fault != wire.OK {
		t.Fatal(fault)
	}
	if len(section) > MaxRoom {
		t.Errorf("%d bytes of messages", len(section))
	}
	out := make(map[uint16]string)
	for kind, value, rest, ok := wire.CutMessage(section); ok; kind, value, rest, ok = wire.CutMessage(rest) {
		out[kind] = string(value)
	}
	return out
}

func TestCarryIsRefused(t *testing.T) {
	_, a, b, p := pair(t, Config{})
	c := a.carry(0x8001, 100)
	a.carry(0x8002, 700)
	var field *FieldError
	var room *RoomError
	for _, test := range []struct {
		messageType uint16
		o           CarryOptions
		ok          func(error) bool
	}{
		{0x7FFF, CarryOptions{Room: 10}, func(err error) bool { return errors.As(err, &field) && field.Field == "messageType" }},
		{0x8001, CarryOptions{Room: 10}, func(err error) bool { return errors.Is(err, ErrTypeTaken) }},
		{0x8003, CarryOptions{}, func(err error) bool { return errors.As(err, &field) && field.Field == "Room" }},
		{0x8003, CarryOptions{Room: 1077}, func(err error) bool { return errors.As(err, &field) && field.Field == "Room" }},
		{0x8003, CarryOptions{Room: 269}, func(err error) bool { return errors.As(err, &room) && room.Left == 268 && room.Size == 269 }},
	} {
		if _, err := a.Carry(test.messageType, test.o); err == nil || !test.ok(err) {
			t.Errorf("%#x, %+v: %v", test.messageType, test.o, err)
		}
	}
	if _, err := a.Carry(7, CarryOptions{Room: 268, Reserved: true}); err != nil {
		t.Errorf("all that is left: %v", err)
	}
	if err := c.Set(p, make([]byte, 101)); !errors.As(err, &room) || room.Size != 101 || room.Left != 100 {
		t.Errorf("a long body: %v", err)
	}
	if err := c.Set(b.watched(a), nil); !errors.Is(err, ErrNoPeer) {
		t.Errorf("another engine's peer: %v", err)
	}
	if err := c.Push(Peer{}); !errors.Is(err, ErrNoPeer) {
		t.Errorf("push to nobody: %v", err)
	}
	a.remove(p)
	if err := errors.Join(c.Set(p, nil), c.Push(p)); !errors.Is(err, ErrNoPeer) {
		t.Errorf("a removed peer: %v", err)
	}
	c.Close()
	c.Close()
	if err := errors.Join(c.Set(Peer{}, nil), c.Push(p)); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed carrier: %v", err)
	}
	again := a.carry(0x8001, 100)
	a.Close()
	if err := errors.Join(again.Set(Peer{}, nil), again.Push(p)); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed engine: %v", err)
	}
	if _, err := a.Carry(0x8009, CarryOptions{Room: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed engine carries: %v", err)
	}
}

// A body goes to all peers or to one, until it is replaced. A delivery says who sent it, and with which
// heartbeat.
func TestMessagesAreDelivered(t *testing.T) {
	w, a, b, ab := pair(t, Config{})
	c := w.start(Config{})
	ac, ba, ca := a.watch(c), b.watched(a), c.watch(a)
	from, atB, atC := a.carry(0x8001, 20), b.carry(0x8001, 20), c.carry(0x8001, 20)
	w.run(time.Second)
	expect := func(what, wantB, wantC string) {
		t.Helper()
		unreadMessages(atB)
		unreadMessages(atC)
		w.run(300 * time.Millisecond)
		for _, x := range []struct {
			at   *Carrier
			p    Peer
			want string
		}{{atB, ba, wantB}, {atC, ca, wantC}} {
			all := unreadMessages(x.at)
			if x.want == "" {
				if len(all) > 0 {
					t.Errorf("%s: %q delivered", what, bodies(all))
				}
				continue
			}
			if len(all) != 1 || string(all[0].Body) != x.want {
				t.Fatalf("%s: %q delivered, want %q", what, bodies(all), x.want)
			}
			d, st := all[0], x.p.Stats()
			if d.Peer != x.p || d.Incarnation != a.Incarnation() || uint32(d.Sequence) != st.Last.Sequence || d.At != st.LastArrival {
				t.Errorf("%s: %+v of %+v", what, d, st)
			}
			if d.Merged < 1 || d.Merged > 3 {
				t.Errorf("%s: %d merged in 300 ms", what, d.Merged)
			}
		}
	}
	expect("nothing", "", "")
	from.set(t, Peer{}, "all")
	expect("to all", "all", "all")
	from.set(t, ab, "to b alone, 20 bytes")
	expect("to one", "to b alone, 20 bytes", "all")
	from.set(t, Peer{}, "all anew")
	expect("to all again", "to b alone, 20 bytes", "all anew")
	if err := from.Set(ab, nil); err != nil {
		t.Fatal(err)
	}
	expect("own one gone", "all anew", "all anew")
	from.set(t, ac, "c")
	if err := from.Set(Peer{}, nil); err != nil {
		t.Fatal(err)
	}
	expect("only c", "", "c")
	if from.in.news.Load() {
		t.Error("messages came back")
	}
	from.Close()
	expect("closed", "", "")
}

// An empty body is a message.
func TestMessageWithoutBytes(t *testing.T) {
	w, a, b, _ := pair(t, Config{})
	from, to := a.carry(0x8001, 1), b.carry(0x8001, 1)
	from.set(t, Peer{}, "")
	w.run(time.Second)
	if all := unreadMessages(to); len(all) != 1 || len(all[0].Body) != 0 {
		t.Errorf("%+v", all)
	}
}

// W9: types without a carrier are counted and skipped, and so is what is longer than a carrier takes.
func TestUnknownTypesAreSkipped(t *testing.T) {
	w, a, b, _ := pair(t, Config{})
	a.carry(0x8001, 10).set(t, Peer{}, "unknown")
	a.carry(0x8002, 10).set(t, Peer{}, "known")
	a.carry(0x8003, 10).set(t, Peer{}, "long")
	known, long := b.carry(0x8002, 10), b.carry(0x8003, 3)
	before := b.Stats()
	w.run(time.Second)
	all, after := unreadMessages(known), b.Stats()
	if len(all) != 1 || string(all[0].Body) != "known" || len(unreadMessages(long)) > 0 {
		t.Errorf("%q delivered", bodies(all))
	}
	n := uint64(all[0].Merged + 1)
	if unknown := after.Messages.Unknown - before.Messages.Unknown; unknown != n {
		t.Errorf("%d of %d unknown messages counted", unknown, n)
	}
	if long := after.Messages.Long - before.Messages.Long; long != n {
		t.Errorf("%d of %d long messages counted", long, n)
	}
}

// Every message is delivered or merged. A reader that waits gets the newest of each peer.
func TestNewestMessageOfEachPeer(t *testing.T) {
	w := newWorld(t, 1)
	hub := w.start(Config{})
	at := hub.carry(0x8001, 64)
	senders := make(map[uint64]*Carrier)
	for range 9 {
		n := w.start(Config{})
		n.watch(hub)
		hub.watch(n)
		senders[n.ID()] = n.carry(0x8001, 64)
	}
	w.run(time.Second)
	received := make(map[uint64]int)
	for round := range 20 {
		for id, c := range senders {
			c.set(t, Peer{}, fmt.Sprint(id, " in round ", round))
		}
		w.run(time.Duration(1+round%4) * 150 * time.Millisecond)
		all := unreadMessages(at)
		if len(all) != len(senders) {
			t.Fatalf("%d deliveries of %d peers", len(all), len(senders))
		}
		for _, d := range all {
			id := d.Peer.ID()
			received[id] += d.Merged + 1
			if want := fmt.Sprint(id, " in round ", round); string(d.Body) != want {
				t.Errorf("%q, want %q", d.Body, want)
			}
		}
	}
	for id := range senders {
		if n := received[id]; n < 70 || n > 90 {
			t.Errorf("%d messages in 7.5 s", n)
		}
	}
	select {
	case <-at.Wake():
	default:
		t.Error("no signal for messages")
	}
}

// What waits of a process that has restarted, or of a peer that was removed, says so.
func TestMessagesOfFormerIncarnations(t *testing.T) {
	w, a, b, ab := pair(t, Config{})
	at := a.carry(0x8001, 20)
	b.carry(0x8001, 20).set(t, Peer{}, "before")
	w.run(time.Second)
	former := b.Incarnation()
	w.boot(b, Config{ID: b.ID()})
	b.watch(a)
	w.run(time.Second)
	if all := unreadMessages(at); len(all) != 1 || all[0].Incarnation != former || all[0].Peer != ab || string(all[0].Body) != "before" {
		t.Errorf("restarted: %+v, former incarnation %d, now %d", all, former, ab.Stats().Incarnation)
	}
	b.carry(0x8001, 20).set(t, Peer{}, "after")
	w.run(time.Second)
	a.remove(ab)
	w.run(time.Second)
	if all := unreadMessages(at); len(all) != 1 || all[0].Incarnation != b.Incarnation() || all[0].Peer != ab || ab.State() != Removed {
		t.Errorf("removed: %+v", all)
	}
	again := a.watch(b)
	w.run(time.Second)
	if again.slot != ab.slot {
		t.Fatal("the slot is not reused")
	}
	if all := unreadMessages(at); len(all) != 1 || all[0].Peer != again {
		t.Errorf("added again: %+v", all)
	}
}

// A body for a removed peer does not go to the next peer of the slot.
func TestBodyOfFormerPeer(t *testing.T) {
	w, a, b, ab := pair(t, Config{})
	from, to := a.carry(0x8001, 20), b.carry(0x8001, 20)
	from.set(t, ab, "for the first")
	w.run(time.Second)
	a.remove(ab)
	unreadMessages(to)
	again := a.watch(b)
	w.run(time.Second)
	if all := unreadMessages(to); again.slot != ab.slot || len(all) > 0 {
		t.Errorf("%q delivered", bodies(all))
	}
	from.set(t, Peer{}, "for all")
	w.run(time.Second)
	if all := unreadMessages(to); len(all) != 1 || string(all[0].Body) != "for all" {
		t.Errorf("%q delivered", bodies(all))
	}
}

// Whatever carriers there are and whatever they send, each heartbeat to a configured peer has exactly
// their bodies, and fits.
func TestSectionHasAllBodies(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SampledFrom([]*wire.KeyRing{nil, sharedKeys(t)}).Draw(rt, "keys")
		w, a, b, ab := pair(t, Config{Keys: keys})
		want := make(map[uint16]string)
		left := MaxRoom
		for messageType := uint16(0x8000); left > wire.MessageHeaderSize && messageType < 0x8000+20; messageType++ {
			room := rapid.IntRange(1, left-wire.MessageHeaderSize).Draw(rt, "room")
			left -= room + wire.MessageHeaderSize
			c := a.carry(messageType, room)
			body := rapid.SliceOfN(rapid.Byte(), 0, room).Draw(rt, "body")
			full := rapid.Bool().Draw(rt, "full")
			if full {
				body = bytes.Repeat([]byte{byte(messageType)}, room)
			}
			p := rapid.SampledFrom([]Peer{{}, ab}).Draw(rt, "to")
			if rapid.Bool().Draw(rt, "none") {
				continue
			}
			c.set(t, p, string(body))
			want[messageType] = string(body)
		}
		w.run(time.Second)
		heartbeats := 0
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
			if d.From == a.addr() {
				heartbeats++
				if got := messagesOf(t, d.Data); fmt.Sprint(got) != fmt.Sprint(want) {
					rt.Errorf("got %v, want %v", got, want)
				}
			}
			return []*sim.Datagram{d}
		}
		w.run(300 * time.Millisecond)
		if heartbeats == 0 || b.watched(a).State() != Alive {
			rt.Errorf("%d heartbeats", heartbeats)
		}
	})
}

// Push sends at once, at most as often as other heartbeats outside the schedule, and as soon as may be.
func TestPushIsPrompt(t *testing.T) {
	const period = 400 * time.Millisecond
	w, a, b, p := pair(t, Config{Period: period})
	from, to := a.carry(0x8001, 20), b.carry(0x8001, 20)
	gap := period/8 + time.Millisecond
	for i := range 200 {
		body := fmt.Sprint(i)
		from.set(t, p, body)
		if err := from.Push(p); err != nil {
			t.Fatal(err)
		}
		w.run(gap + 2*time.Millisecond)
		if all := unreadMessages(to); len(all) == 0 || string(all[len(all)-1].Body) != body {
			t.Errorf("push %d: %q delivered", i, bodies(all))
		}
		w.run(time.Duration(w.Random().Int64N(int64(period))))
	}
}

// Many pushes are no more heartbeats than the gap allows, and neither they nor their end let anybody
// suspect.
func TestPushIsBounded(t *testing.T) {
	const period = 100 * time.Millisecond
	for _, stranger := range []bool{false, true} {
		w := newWorld(t, 1)
		a, b := w.start(Config{Period: period, Accept: Accept{Anyone: stranger}}), w.start(Config{Period: period})
		b.watch(a)
		if !stranger {
			a.watch(b)
		}
		w.run(10 * time.Second)
		p := a.watched(b)
		c := a.carry(0x8001, 20)
		before := p.Stats()
		for range 5000 {
			if err := c.Push(p); err != nil {
				t.Fatal(err)
			}
			w.run(2 * time.Millisecond)
		}
		sent, received := p.Stats().Sent-before.Sent, p.Stats().Received-before.Received
		if most := uint64(10*time.Second/(period/8)) * 13 / 10; sent > most || !stranger && sent < most/2 {
			t.Errorf("stranger %v: %d heartbeats in 10 s, at most %d wanted", stranger, sent, most)
		}
		if stranger && sent > received+maxCredit {
			t.Errorf("a stranger got %d heartbeats for %d", sent, received)
		}
		w.run(10 * time.Second)
		a.accusedNobody()
		b.accusedNobody()
		before = p.Stats()
		b.host.Crash()
		w.run(2 * time.Second)
		if p.State() == Alive {
			t.Errorf("%v 2 s after its crash", p)
		}
		if err := c.Push(p); err != nil {
			t.Fatal(err)
		}
		if n := p.Stats().Sent - before.Sent; n > 30 {
			t.Errorf("%d heartbeats to a dead peer in 2 s", n)
		}
	}
}

// A reader beside a writer sees whole messages, none twice, and at last the newest of each slot.
func TestInboxUnderLoad(t *testing.T) {
	const slots, messages = 300, 20_000
	var b inbox
	b.layout.Records, b.layout.Words = 1, messageBody+3
	b.reserve(0)
	b.reserve(chunkPeers)
	var size atomic.Uint32
	size.Store(slots)
	var done atomic.Bool
	var group sync.WaitGroup
	group.Go(func() {
		var rec messageRecord
		for n := range uint64(messages) {
			slot := uint32(n*7) % slots
			rec[messagePeer], rec[messageSequence] = uint64(slot), n
			rec[messageBody], rec[messageBody+1], rec[messageBody+2] = n, ^n, n*3
			b.put(slot, &rec)
			if n%32 == 0 {
				runtime.Gosched()
			}
		}
		done.Store(true)
	})
	var rec messageRecord
	last, counted := make([]uint64, slots), 0
	for {
		over := done.Load()
		slot, merged, ok := b.take(&size, &rec)
		if !ok && over {
			break
		}
		if !ok {
			runtime.Gosched()
			continue
		}
		n := rec[messageSequence]
		if rec[messagePeer] != uint64(slot) || rec[messageBody] != n || rec[messageBody+1] != ^n || rec[messageBody+2] != n*3 {
			t.Fatalf("torn: %v", rec[:messageBody+3])
		}
		if n < last[slot] || n == last[slot] && n != 0 {
			t.Fatalf("slot %d: message %d after %d", slot, n, last[slot])
		}
		last[slot] = n
		counted += merged + 1
	}
	group.Wait()
	if counted != messages {
		t.Errorf("%d messages delivered or merged of %d", counted, messages)
	}
}

// Over real sockets, several goroutines set bodies and read messages while others push, claim types and
// release them. Each message is whole, and the last body arrives.
func TestCarriersBesideShards(t *testing.T) {
	cfg := Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Period: 5 * time.Millisecond, Shards: atMost(2)}
	a, b := open(t, cfg), open(t, cfg)
	ab, err := a.AddPeer(PeerConfig{Addr: b.Addrs()[0]})
	if err != nil {
		t.Fatal(err)
	}
	ba, err := b.AddPeer(PeerConfig{Addr: a.Addrs()[0]})
	if err != nil {
		t.Fatal(err)
	}
	const room = 333
	from, to := carry(t, a, 0x8001, room), carry(t, b, 0x8001, room)
	var writers, readers sync.WaitGroup
	var delivered atomic.Int64
	done := make(chan struct{})
	for i := range 3 {
		writers.Go(func() {
			for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
				fill := byte(rand.IntN(256))
				body := bytes.Repeat([]byte{fill}, 1+rand.IntN(room))
				if err := from.Set([]Peer{{}, ab, ab}[i], body); err != nil {
					t.Error(err)
				}
				if err := from.Push(ab); err != nil && !errors.Is(err, ErrBusy) {
					t.Error(err)
				}
				if c, err := a.Carry(0x8002+uint16(i), CarryOptions{Room: 10}); err != nil {
					t.Error(err)
				} else {
					_ = c.Set(ab, []byte("x"))
					c.Close()
				}
			}
		})
		readers.Go(func() {
			buf := make([]byte, room)
			for {
				d, ok := to.TryNext(buf)
				if !ok {
					select {
					case <-to.Wake():
						continue
					case <-time.After(time.Millisecond): // another reader was woken
						continue
					case <-done:
						return
					}
				}
				delivered.Add(1)
				if d.Peer != ba || d.Incarnation != a.Incarnation() || len(d.Body) == 0 || bytes.Count(d.Body, d.Body[:1]) != len(d.Body) {
					t.Errorf("%+v", d)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if n := delivered.Load(); n < 20 {
		t.Errorf("%d messages in 1 s", n)
	}
	if err := from.Set(ab, []byte("the last")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		d, _ := to.TryNext(nil)
		if string(d.Body) == "the last" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the last message is %q", d.Body)
		}
		time.Sleep(time.Millisecond)
	}
}
