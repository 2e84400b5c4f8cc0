package book

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"systole/engine/clock"
	"systole/engine/internal/network"
)

// addr is address i of prefix p.
func addr(p, i int) network.Addr {
	return network.AddrFrom(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(p >> 8), byte(p), byte(i)}), uint16(7000+i>>8)))
}

// addr6 is address i of a prefix of IPv6.
func addr6(p uint32, i int) network.Addr {
	b := [16]byte{0x20, 0x01}
	binary.BigEndian.PutUint32(b[2:], p)
	b[15] = byte(i)
	return network.AddrFrom(netip.AddrPortFrom(netip.AddrFrom16(b), 7000))
}

// model is a book as a plain list. A peer may be at two places.
type model struct{ entries []modelEntry }

type modelEntry struct {
	place Place
	Entry
}

func (m *model) find(e Entry) int {
	return slices.IndexFunc(m.entries, func(o modelEntry) bool { return o.is(e) })
}

func (m *model) drop(e modelEntry) {
	m.entries = slices.DeleteFunc(m.entries, func(o modelEntry) bool { return o == e })
}

// at returns those at an address: of the id, then of whoever is there.
func (m *model) at(a network.Addr, id uint64) (named, anybody []Entry) {
	for _, e := range m.entries {
		switch e.place {
		case Place{a, id}:
			named = append(named, e.Entry)
		case Place{Addr: a}:
			anybody = append(anybody, e.Entry)
		}
	}
	return named, anybody
}

// strangers returns how many are admitted, in all and of a prefix.
func (m *model) strangers(prefix uint64) (all, of int) {
	for _, e := range m.entries {
		if e.Admitted {
			all++
			if prefixOf(&e.place.Addr) == prefix {
				of++
			}
		}
	}
	return all, of
}

// sameEntries reports whether a and b hold the same, in any order.
func sameEntries(a, b []Entry) bool {
	less := func(x, y Entry) int { return int(x.Slot) - int(y.Slot) }
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, less)
	slices.SortFunc(b, less)
	return slices.Equal(a, b)
}

// machine drives a book and its model by the same calls.
type machine struct {
	b       Book
	m       model
	now     clock.Instant
	slot    uint32
	worth   map[uint32]uint64
	leaving map[uint32]bool
}

const machineRoom = 6

func (x *machine) room() *Room {
	return &Room{Max: machineRoom, PerSecond: 1000, Worth: func(e Entry) uint64 { return x.worth[e.Slot] }}
}

func place(t *rapid.T) Place {
	return Place{addr(rapid.IntRange(0, 2).Draw(t, "prefix"), rapid.IntRange(0, 2).Draw(t, "host")), uint64(rapid.IntRange(0, 3).Draw(t, "id"))}
}

// one draws an entry of the model.
func (x *machine) one(t *rapid.T) (modelEntry, bool) {
	if len(x.m.entries) == 0 {
		return modelEntry{}, false
	}
	return x.m.entries[rapid.IntRange(0, len(x.m.entries)-1).Draw(t, "which")], true
}

func (x *machine) next() Entry {
	x.slot++
	return Entry{Slot: x.slot, Generation: 1 + x.slot%3}
}

func (x *machine) Watch(t *rapid.T) {
	p, e := place(t), x.next()
	gone := func(o Entry) bool { return x.leaving[o.Slot] }
	got, ok := x.b.Watch(p, e, gone)
	taken := slices.ContainsFunc(x.m.entries, func(o modelEntry) bool { return o.place == p && !o.Admitted && !gone(o.Entry) })
	if ok == taken {
		t.Fatalf("watch at %v: %v, taken %v", p, ok, taken)
	}
	if !ok {
		return
	}
	if got.Slot == 0 {
		for _, o := range x.m.entries { // a stranger there would have become it
			if o.Admitted && !gone(o.Entry) && o.place.Addr == p.Addr && (p.ID == 0 || p.ID == o.place.ID) {
				t.Fatalf("stranger %v at %v was passed over", o, p)
			}
		}
		x.m.entries = append(x.m.entries, modelEntry{p, e})
		return
	}
	i := x.m.find(got)
	if i < 0 || !x.m.entries[i].Admitted || x.m.entries[i].place.Addr != p.Addr || p.ID != 0 && p.ID != x.m.entries[i].place.ID {
		t.Fatalf("watch at %v returned %v", p, got)
	}
	x.m.entries[i].Admitted = false
	if here := (modelEntry{p, x.m.entries[i].Entry}); here != x.m.entries[i] {
		x.m.entries = append(x.m.entries, here)
	}
}

func (x *machine) Enter(t *rapid.T) {
	p, e := place(t), x.next()
	x.b.Enter(p, e)
	x.m.entries = append(x.m.entries, modelEntry{p, e})
}

func (x *machine) Leave(t *rapid.T) {
	e, ok := x.one(t)
	if !ok || e.Admitted {
		return // those leave by Forget
	}
	p := e.place
	if rapid.Bool().Draw(t, "elsewhere") {
		p = place(t)
	}
	x.b.Leave(p, e.Entry)
	x.m.drop(modelEntry{p, e.Entry})
}

func (x *machine) Move(t *rapid.T) {
	e, ok := x.one(t)
	if !ok {
		return
	}
	to := Place{place(t).Addr, e.place.ID}
	if !x.b.Move(e.place, to, e.Entry) {
		t.Fatal("the book is not free")
	}
	x.m.drop(e)
	x.m.drop(modelEntry{to, e.Entry}) // a configured peer may be there as well
	x.m.entries = append(x.m.entries, modelEntry{to, e.Entry})
}

func (x *machine) Admit(t *rapid.T) {
	p, e := place(t), x.next()
	p.ID = max(p.ID, 1)
	x.now = x.now.Add(10 * time.Millisecond)
	x.worth[e.Slot] = uint64(rapid.IntRange(0, 3).Draw(t, "worth"))
	all, of := x.m.strangers(prefixOf(&p.Addr))
	gone, v := x.b.Admit(p, e, x.now, x.room())
	switch {
	case v != Admitted && v != Full:
		t.Fatalf("verdict %v", v)
	case v == Full && all < machineRoom:
		t.Fatal("full with room")
	case v == Full:
		for _, o := range x.m.entries {
			if o.Admitted && x.worth[o.Slot] == 0 {
				t.Fatalf("full, and %v has nothing to lose", o)
			}
		}
		return
	}
	if gone.Slot != 0 {
		i := x.m.find(gone)
		if i < 0 || !x.m.entries[i].Admitted || all < machineRoom {
			t.Fatalf("%v gave way", gone)
		}
		if _, many := x.m.strangers(prefixOf(&x.m.entries[i].place.Addr)); x.worth[gone.Slot] > 0 && many <= of+1 {
			t.Fatalf("one of %d gave way to one of %d", many, of)
		}
		x.m.entries = slices.Delete(x.m.entries, i, i+1)
	} else if all >= machineRoom {
		t.Fatal("more than there is room for")
	}
	e.Admitted = true
	x.m.entries = append(x.m.entries, modelEntry{p, e})
}

func (x *machine) Forget(t *rapid.T) {
	e, ok := x.one(t)
	if !ok {
		return
	}
	if got := x.b.Forget(e.Entry); got != e.Admitted {
		t.Fatalf("forget %v: %v", e, got)
	}
	if e.Admitted {
		i := x.m.find(e.Entry)
		x.m.entries = slices.Delete(x.m.entries, i, i+1)
	}
	if x.b.Forget(Entry{Slot: e.Slot, Generation: e.Generation + 1}) {
		t.Fatal("forgot a later peer of the slot")
	}
}

func (x *machine) Fail(t *rapid.T) {
	if e, ok := x.one(t); ok {
		x.worth[e.Slot] = 0
		x.leaving[e.Slot] = rapid.Bool().Draw(t, "leaving")
	}
}

// Check compares the two.
func (x *machine) Check(t *rapid.T) {
	for p := range 3 {
		for i := range 3 {
			for id := range uint64(4) {
				a := addr(p, i)
				got, ok := x.b.At(a, id, nil)
				if !ok {
					t.Fatal("the book is not free")
				}
				named, anybody := x.m.at(a, id)
				if id == 0 {
					named = append(named, anybody...) // asked for twice
					anybody = nil
					got = unique(got)
				}
				if n := len(named); len(got) < n || !sameEntries(got[:n], unique(named)) || !sameEntries(got[n:], anybody) {
					t.Fatalf("at %v, %d: %v, want %v and %v", a, id, got, named, anybody)
				}
			}
		}
	}
	if all, _ := x.m.strangers(0); x.b.Strangers() != all || all > machineRoom {
		t.Fatalf("%d strangers, want %d", x.b.Strangers(), all)
	}
	x.bounded(t)
}

// unique drops repetitions.
func unique(list []Entry) (out []Entry) {
	for _, e := range list {
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

// bounded fails if the book keeps anything of those that are gone.
func (x *machine) bounded(t *rapid.T) {
	n := 0
	for _, list := range x.b.more {
		if len(list) < 2 {
			t.Fatalf("a list of %d", len(list))
		}
		n += len(list)
	}
	all, _ := x.m.strangers(0)
	if n += len(x.b.first); n != len(x.m.entries) || len(x.b.index) != all || len(x.b.list) != all || len(x.b.atAddr) > all || len(x.b.prefix) > all {
		t.Fatalf("%d entries for %d; %d, %d, %d, %d for %d strangers", n, len(x.m.entries),
			len(x.b.index), len(x.b.list), len(x.b.atAddr), len(x.b.prefix), all)
	}
}

// The book does what a plain list would.
func TestBookIsAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := &machine{now: 1, worth: make(map[uint32]uint64), leaving: make(map[uint32]bool)}
		t.Repeat(map[string]func(*rapid.T){
			"watch": x.Watch, "enter": x.Enter, "leave": x.Leave, "move": x.Move, "admit": x.Admit,
			"forget": x.Forget, "fail": x.Fail, "": x.Check,
		})
	})
}

// A stranger that has failed gives way first, then the least proven of the prefix that has most.
func TestWhoGivesWay(t *testing.T) {
	worth := make(map[uint32]uint64)
	room := &Room{Max: 4, PerSecond: 1000, Worth: func(e Entry) uint64 { return worth[e.Slot] }}
	var b Book
	now, slot := clock.Instant(1), uint32(0)
	admit := func(prefix, host int, w uint64) (Entry, Verdict) {
		slot++
		worth[slot] = w
		now = now.Add(time.Second)
		return b.Admit(Place{addr(prefix, host), uint64(slot)}, Entry{Slot: slot, Generation: 1}, now, room)
	}
	for i, w := range []uint64{9, 5, 7} { // slots 1 to 3, of one prefix
		if gone, v := admit(1, i, w); gone.Slot != 0 || v != Admitted {
			t.Fatal(gone, v)
		}
	}
	admit(2, 0, 1) // slot 4
	for _, c := range []struct {
		name   string
		prefix int
		fail   uint32
		gone   uint32
		v      Verdict
	}{
		{"the least proven of the greatest prefix", 3, 0, 2, Admitted},
		{"nobody, for one of as many", 1, 0, 0, Full},
		{"nobody, where a prefix has just one more", 3, 0, 0, Full},
		{"whoever has failed", 1, 4, 4, Admitted},
	} {
		if c.fail != 0 {
			worth[c.fail] = 0
		}
		if gone, v := admit(c.prefix, 100+int(slot), 6); gone.Slot != c.gone || v != c.v {
			t.Errorf("%s: %d gave way, %v; want %d, %v", c.name, gone.Slot, v, c.gone, c.v)
		}
	}
}

// One prefix that floods does not keep a stranger of another out, at any room.
func TestPrefixesAreFair(t *testing.T) {
	room := &Room{Max: 300, PerSecond: 1_000_000, Worth: func(Entry) uint64 { return 100 }}
	var b Book
	now, slot := clock.Instant(1), uint32(0)
	admit := func(a network.Addr) (Entry, Verdict) {
		slot++
		now = now.Add(time.Millisecond)
		return b.Admit(Place{a, uint64(slot)}, Entry{Slot: slot, Generation: 1}, now, room)
	}
	for range 1000 {
		admit(addr6(1, int(slot)))
	}
	if n := b.Strangers(); n != 300 {
		t.Fatalf("%d strangers", n)
	}
	for p := range uint32(20) {
		if _, v := admit(addr6(2+p, 1)); v != Admitted {
			t.Errorf("prefix %d: %v", p, v)
		}
		if _, v := admit(addr6(1, int(slot))); v != Full {
			t.Errorf("one more of the flood: %v", v)
		}
	}
}

// Admissions and answers keep to their rates, also over an hour, and a prefix has its own.
func TestRates(t *testing.T) {
	var b Book
	room := &Room{Max: 1 << 20, PerSecond: 100, Worth: func(Entry) uint64 { return 1 }}
	admitted, answered, other := 0, 0, 0
	now := clock.Instant(1)
	const seconds = 60
	for i := range seconds * 1000 {
		now = now.Add(time.Millisecond)
		if _, v := b.Admit(Place{addr(i&0xffff, 1), uint64(i + 1)}, Entry{Slot: uint32(i + 1), Generation: 1}, now, room); v == Admitted {
			admitted++
		}
		if b.Answer(addr(1, i%256), now, 400) {
			answered++
		}
		if i%100 == 0 && b.Answer(addr(2, 1), now, 400) {
			other++
		}
	}
	if admitted < 100*seconds || admitted > 100*(seconds+1) || answered < 400*seconds || answered > 400*(seconds+1) || other != seconds*10 {
		t.Errorf("%d admitted, %d answered, %d of another prefix in %d s", admitted, answered, other, seconds)
	}
}

// A flood from made up prefixes costs no more per datagram than one from one, keeps no more memory, and
// leaves the others an answer.
func TestMadeUpPrefixes(t *testing.T) {
	cost := func(prefixes uint32) time.Duration {
		var b Book
		now := clock.Instant(1)
		start := time.Now()
		refused := 0
		for i := range uint32(100_000) {
			now = now.Add(20 * time.Microsecond) // 50,000 a second
			b.Answer(addr6(i%prefixes, 1), now, 400)
			if i%1000 == 999 && !b.Answer(addr6(1<<31+i, 1), now, 400) {
				refused++
			}
		}
		if refused > 5 {
			t.Errorf("%d of 100 true strangers had no answer under a flood of %d prefixes", refused, prefixes)
		}
		return time.Since(start)
	}
	one, many := cost(1), cost(1<<30)
	t.Logf("100,000 introductions of one prefix took %v, of as many prefixes %v", one, many)
	if many > 20*one+50*time.Millisecond {
		t.Errorf("100,000 introductions of one prefix took %v, of as many prefixes %v", one, many)
	}
}

// Any goroutine may use a book: those that cannot wait are told that it is busy.
func TestBookIsShared(t *testing.T) {
	var b Book
	room := &Room{Max: 64, PerSecond: 1_000_000, Worth: func(e Entry) uint64 { return uint64(e.Slot % 7) }}
	var wait sync.WaitGroup
	for g := range 4 {
		wait.Go(func() {
			for i := range 2000 {
				slot := uint32(g*10_000 + i + 1)
				e := Entry{Slot: slot, Generation: 1}
				p := Place{addr(i%4, i%8), uint64(i % 3)}
				switch i % 6 {
				case 0:
					b.Watch(p, e, func(Entry) bool { return i%2 == 0 })
				case 1:
					b.Enter(p, e)
					b.Leave(p, e)
				case 2:
					if _, v := b.Admit(Place{p.Addr, p.ID + 1}, e, clock.Instant(i+1)*1000, room); v == Admitted {
						b.Move(Place{p.Addr, p.ID + 1}, Place{addr(9, i%8), p.ID + 1}, e)
						b.Forget(e)
					}
				case 3:
					b.At(p.Addr, p.ID, nil)
				case 4:
					b.Answer(p.Addr, clock.Instant(i+1)*1000, 100)
				case 5:
					b.Strangers()
				}
			}
		})
	}
	wait.Wait()
	if n := b.Strangers(); n > 64 {
		t.Error(fmt.Sprint(n, " strangers"))
	}
}
