package engine

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"systole/engine/internal/network"
)

// maxTag is the greatest length of PeerConfig.Tag in bytes.
const maxTag = 255

// keptFormer is the number of peers of which the engine keeps the label after another peer has the slot.
const keptFormer = 4096

// label is what a peer is called, and where it is while its record does not say so: before its shard
// has seen it, and after another peer has its slot. A label does not change.
type label struct {
	*words     // nil without a name and a tag
	id         uint64
	addr       network.Addr
	generation uint32
}

// words is how a program calls a peer: PeerConfig.Name and PeerConfig.Tag.
type words struct{ name, tag string }

// wordsOf returns the words of a configuration, nil if there are none.
func wordsOf(c *PeerConfig) *words {
	if c.Name == "" && c.Tag == "" {
		return nil
	}
	return &words{c.Name, c.Tag}
}

// labels holds the labels of three kinds of peers: those that were added with a name or a tag, those
// that their shards have not seen yet, and the last keptFormer ones whose slots other peers have. So a million
// peers without names cost nothing, and any goroutine reads what a removed peer was called.
//
// Any goroutine calls get. The other methods are called with Engine.mu held.
type labels struct {
	table  *table   // its chunks hold the labels of the latest peers of their slots
	former sync.Map // *label by labelKey

	fresh  []labelKey // peers that their shards may not have seen yet
	kept   []labelKey // those in former, a ring of keptFormer
	oldest int        // in kept, once it is full
}

// labelChunk holds the labels of one chunk of the peer table.
type labelChunk struct {
	of   [chunkPeers]atomic.Pointer[label]
	used int // number of labels
}

// labelKey is the slot and the generation of a peer.
type labelKey struct{ slot, generation uint32 }

// get returns the label of a peer, nil if there is none.
func (l *labels) get(k labelKey) *label {
	at, i := l.at(k.slot)
	if c := at.Load(); c != nil {
		if of := c.of[i].Load(); of != nil && of.generation == k.generation {
			return of
		}
	}
	if v, ok := l.former.Load(k); ok {
		return v.(*label)
	}
	return nil
}

// at returns where the labels of a slot's chunk are, and the slot's index in it.
func (l *labels) at(slot uint32) (*atomic.Pointer[labelChunk], uint32) {
	c, i := l.table.at(slot)
	return &c.labels, i
}

// put sets the label of the latest peer of a slot; nil removes it.
func (l *labels) put(slot uint32, of *label) {
	at, i := l.at(slot)
	c := at.Load()
	if c == nil && of == nil {
		return
	}
	if c == nil {
		c = new(labelChunk)
		at.Store(c)
	}
	was := c.of[i].Swap(of)
	if was == nil && of != nil {
		c.used++
	}
	if was != nil && of == nil {
		c.used--
	}
	if c.used == 0 {
		at.Store(nil)
	}
}

// add puts the label of a peer that its shard has not seen yet.
func (l *labels) add(slot uint32, of *label) {
	l.put(slot, of)
	l.fresh = append(l.fresh, labelKey{slot, of.generation})
}

// reword replaces the words of the latest peer of a slot; nil removes them.
func (l *labels) reword(k labelKey, to *words) {
	next := label{generation: k.generation}
	if was := l.get(k); was != nil {
		next = *was
	}
	next.words = to
	generation, state, _, _ := unpackStatus(l.table.peer(k.slot).verdict.status.Load())
	if to == nil && generation == k.generation && state != Unknown {
		l.put(k.slot, nil) // the record says the rest
		return
	}
	l.put(k.slot, &next)
}

// settle looks at n of the peers that their shards may not have seen yet. It removes the labels of those
// that have been seen and have neither a name nor a tag.
func (l *labels) settle(n int) {
	for range min(n, len(l.fresh)) {
		k := l.fresh[0]
		l.fresh = l.fresh[1:]
		generation, state, _, _ := unpackStatus(l.table.peer(k.slot).verdict.status.Load())
		ahead := int32(k.generation - generation)
		of := l.get(k)
		switch {
		case of == nil || ahead < 0: // it was not added after all, or another peer has the slot
		case ahead > 0 || state == Unknown:
			l.fresh = append(l.fresh, k)
		case of.words == nil:
			l.put(k.slot, nil)
		}
	}
	if len(l.fresh) == 0 {
		l.fresh = nil
	}
}

// retire keeps who the removed peer in a slot was, before another peer gets the slot. The slot's shard
// writes nothing to a free slot.
func (l *labels) retire(slot uint32) {
	p := l.table.peer(slot)
	generation, state, _, _ := unpackStatus(p.verdict.status.Load())
	k := labelKey{slot, generation}
	if _, again := l.former.Load(k); again || state != Removed {
		return // the slot was taken before and put back, or had no peer yet
	}
	last := &label{generation: generation, id: p.session.id.Load()}
	last.addr, _ = p.path.readAddr()
	if was := l.get(k); was != nil {
		last.words = was.words
	}
	l.former.Store(k, last)
	l.put(slot, nil)
	if len(l.kept) < keptFormer {
		l.kept = append(l.kept, k)
		return
	}
	l.former.Delete(l.kept[l.oldest])
	l.kept[l.oldest] = k
	l.oldest = (l.oldest + 1) % keptFormer
}

// identity is what a reader is told of who a peer is.
type identity struct {
	words
	addr netip.AddrPort
	id   uint64
}

// label returns the label of p, nil if it has none.
func (p Peer) label() *label {
	if p.engine == nil {
		return nil
	}
	return p.engine.labels.get(labelKey{p.slot, p.generation})
}

// recorded reports whether the record of the slot is that of p, which may be removed.
func (p Peer) recorded() bool {
	if p.engine == nil {
		return false
	}
	generation, state, _, _ := unpackStatus(p.record().verdict.status.Load())
	return generation == p.generation && state != Unknown
}

// words returns how the program calls p.
func (p Peer) words() words {
	if l := p.label(); l != nil && l.words != nil {
		return *l.words
	}
	return words{}
}

// whereabouts returns the address and the id of p, from its record if that is still or already p's, else
// from its label.
func (p Peer) whereabouts() (addr network.Addr, id uint64) {
	// The second look is for a label that was dropped because the record has become p's meanwhile.
	for range 2 {
		if p.recorded() {
			r := p.record()
			addr, _ = r.path.readAddr()
			id = r.session.id.Load()
			if p.recorded() {
				return addr, id
			}
		}
		if l := p.label(); l != nil {
			return l.addr, l.id
		}
	}
	return network.Addr{}, 0
}

// identity returns who p is, as far as that is known.
func (p Peer) identity() identity {
	addr, id := p.whereabouts()
	return identity{p.words(), addr.AddrPort(), id}
}

// title returns the name or, without one, the address, or else the id: what people know the peer by.
func (i *identity) title() string {
	switch {
	case i.name != "":
		return i.name
	case i.addr.IsValid():
		return i.addr.String()
	case i.id != 0:
		return "id " + shortID(i.id)
	}
	return "peer without address"
}

// text returns the title and the tag.
func (i *identity) text() string {
	if i.tag == "" {
		return i.title()
	}
	return i.title() + " [" + i.tag + "]"
}

// attrs returns what is known for structured logs, what people know the peer by first.
func (i *identity) attrs() []slog.Attr {
	out := make([]slog.Attr, 0, 5)
	if i.name != "" {
		out = append(out, slog.String("name", i.name))
	}
	if i.addr.IsValid() {
		out = append(out, slog.String("addr", i.addr.String()))
	}
	if i.tag != "" {
		out = append(out, slog.String("tag", i.tag))
	}
	if i.id != 0 {
		out = append(out, slog.String("id", shortID(i.id)))
	}
	return out
}

// idText returns an id as JSON has it.
func idText(id uint64) string { return fmt.Sprintf("%016x", id) }

// shortID returns the first eight digits of an id for people, or all digits of a small id that a program
// chose.
func shortID(id uint64) string {
	if id < 1<<32 {
		return fmt.Sprintf("%x", id)
	}
	return idText(id)[:8]
}

// tag checks a tag.
func (f *faults) tag(field, tag string) {
	switch {
	case len(tag) > maxTag:
		f.add(field, "%d bytes; at most %d", len(tag), maxTag)
	case !utf8.ValidString(tag):
		f.add(field, "%q is not valid UTF-8", tag)
	case strings.ContainsFunc(tag, unicode.IsControl):
		f.add(field, "%q has control characters", tag)
	}
}
