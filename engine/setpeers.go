package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"systole/engine/internal/book"
	"systole/engine/internal/network"
)

// SetResult is what SetPeers has done.
type SetResult struct {
	// Peers is the peers of the list, by element. The zero Peer stands for this node itself, and after an
	// error for what was not reached.
	Peers   []Peer
	Added   []Peer       // that were not watched before, or are watched in place of another
	Changed []Peer       // that go on with another Period, Class or Tag
	Removed []Peer       // that are not in the list, or were replaced
	Skipped []PeerConfig // elements that are this node itself
}

// SetPeers makes list the peers of this engine: it adds what is missing, removes what is not in the list, and
// leaves alone what is as the list says: the handle, the state and the counters stay. Strangers that were
// admitted are not touched, unless the list names them: then they become peers, as by AddPeer.
//
// A peer is that of an element if Name, or Addr, and ID are the same. If its Period, Class or Tag differs, the
// peer goes on with the new one. If its Local or Device differs it is on another path: it is replaced by a new
// peer.
//
// A list often is the same for all nodes, so it may have this node in it: an element with this node's id, or
// with an address at which this engine listens, is skipped, and the log says so once. An engine that listens on
// any address has those of all interfaces. Names are not looked up for that: a name that turns out to be this
// node's own is a peer that stays Connecting, with the cause OwnNode.
//
// The whole list is checked first. If it has a fault, or two elements with the same ID and Name or Addr,
// SetPeers returns all faults, each a *ListError, joined, and changes nothing. Otherwise it removes, changes
// and adds in this order, and waits for room as AddPeers does. If ctx ends or an element cannot be added it
// returns the *ListError of that element, or ctx's error. What was done until then stays, is in the result,
// and a further call goes on from there.
//
// Any goroutine may call it; one call runs at a time, and others wait. A peer that AddPeer adds meanwhile may
// be removed or not.
func (e *Engine) SetPeers(ctx context.Context, list []PeerConfig) (SetResult, error) {
	select {
	case e.setting <- struct{}{}:
		defer func() { <-e.setting }()
	case <-ctx.Done():
		return SetResult{}, ctx.Err()
	case <-e.done:
		return SetResult{}, ErrClosed
	}
	if e.stopping.Load() {
		return SetResult{}, ErrClosed
	}
	s := setter{engine: e, list: list, result: SetResult{Peers: make([]Peer, len(list))}}
	if err := s.check(); err != nil {
		return SetResult{}, err
	}
	s.compare()
	s.tellOwn()
	err := s.change(ctx)
	return s.result, err
}

// options is the part of a PeerConfig that says neither who the peer is nor what it is called.
type options struct {
	local  netip.Addr
	device string
	period time.Duration
	class  uint8
}

// optionsOf returns the options of a configuration.
func optionsOf(c *PeerConfig) options { return options{c.Local, c.Device, c.Period, c.Class} }

// setOptions records the options of a peer that was added. e.mu is held.
func (e *Engine) setOptions(slot uint32, c *PeerConfig) {
	if o := optionsOf(c); o != (options{}) {
		e.options[slot] = o
	} else {
		delete(e.options, slot)
	}
}

// peerKey says who a peer is: by name, by an address that names an interface, or by place.
type peerKey struct {
	name  string
	zoned netip.AddrPort
	place book.Place
}

// keyOf returns the key of a configuration.
func keyOf(c *PeerConfig) peerKey {
	if c.Name != "" {
		return peerKey{name: c.Name, place: book.Place{ID: c.ID}}
	}
	if network.HasNamedZone(c.Addr) {
		return peerKey{zoned: c.Addr, place: book.Place{ID: c.ID}} // its interface may have another index, or be absent
	}
	return peerKey{place: book.Place{Addr: network.AddrFrom(c.Addr), ID: c.ID}}
}

// setter is one call of SetPeers.
type setter struct {
	engine *Engine
	list   []PeerConfig
	own    []bool       // elements that are this node
	remove []Peer       // that are watched and not wanted
	adjust map[int]bool // elements whose peers get another period, class or tag
	result SetResult
}

// check returns the faults of the list, joined, and finds this node in it.
func (s *setter) check() error {
	var faults []error
	local := s.engine.ownAddrs()
	first := make(map[peerKey]int, len(s.list))
	s.own = make([]bool, len(s.list))
	for i := range s.list {
		c := &s.list[i]
		err := c.Validate()
		if err == nil {
			k := keyOf(c)
			if j, twice := first[k]; twice {
				err = fmt.Errorf("%w: the same peer as element %d", ErrDuplicate, j)
			} else {
				first[k] = i
			}
		}
		if s.own[i] = err == nil && (c.ID == s.engine.id || local.has(c.Addr)); !s.own[i] && err == nil {
			_, err = s.engine.watchOf(c)
		}
		if err != nil {
			faults = append(faults, &ListError{i, err})
		}
	}
	return errors.Join(faults...)
}

// compare finds what has to change.
func (s *setter) compare() {
	e := s.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	keys, unwanted := e.configured()
	s.adjust = make(map[int]bool)
	for i := range s.list {
		c := &s.list[i]
		if s.own[i] {
			s.result.Skipped = append(s.result.Skipped, *c)
			continue
		}
		p, ok := keys[keyOf(c)]
		have, want := e.options[p.slot], optionsOf(c)
		if !ok || have.local != want.local || have.device != want.device {
			continue // stays among the unwanted, and a new one is added
		}
		s.result.Peers[i] = p
		delete(unwanted, p)
		s.adjust[i] = have != want || p.Tag() != c.Tag
	}
	for p := range unwanted {
		s.remove = append(s.remove, p)
	}
}

// tellOwn has the log say, once, that lists have this node in them. A Logger may block, so nothing is locked;
// one call of SetPeers runs at a time.
func (s *setter) tellOwn() {
	e := s.engine
	if len(s.result.Skipped) == 0 || e.toldOwn || e.cfg.Logger == nil {
		return
	}
	e.toldOwn = true
	own := &s.result.Skipped[0]
	e.cfg.Logger.Info("this node is in the list of peers, and is not watched", "addr", own.Addr, "name", own.Name, "id", own.ID)
}

// configured returns the configured peers, by key and as a set. e.mu is held.
func (e *Engine) configured() (map[peerKey]Peer, map[Peer]bool) {
	keys, set := make(map[peerKey]Peer), make(map[Peer]bool)
	enter := func(k peerKey, p Peer) { keys[k], set[p] = p, true }
	e.book.Configured(func(at book.Place, b book.Entry) {
		_, byName := e.named[b.Slot]
		_, byZone := e.zoned[b.Slot]
		if !byName && !byZone && !e.isLeaving(b) {
			enter(peerKey{place: at}, Peer{e, b.Slot, b.Generation})
		}
	})
	for slot, z := range e.zoned {
		enter(peerKey{zoned: z.addr, place: book.Place{ID: z.id}}, Peer{e, slot, z.generation})
	}
	for n, k := range e.byName {
		enter(peerKey{name: n.name, place: book.Place{ID: n.id}}, Peer{e, k.Slot, k.Generation})
	}
	return keys, set
}

// change removes, adjusts and adds.
func (s *setter) change(ctx context.Context) error {
	e := s.engine
	for _, p := range s.remove {
		err := e.waitingForRoom(ctx, func() error { return e.RemovePeer(p) })
		if err != nil && !errors.Is(err, ErrNoPeer) { // else another goroutine has removed it
			return err
		}
		s.result.Removed = append(s.result.Removed, p)
	}
	for i := range s.list {
		if s.adjust[i] {
			if err := e.waitingForRoom(ctx, func() error { return e.adjust(s.result.Peers[i], &s.list[i]) }); err != nil {
				return &ListError{i, err}
			}
			s.result.Changed = append(s.result.Changed, s.result.Peers[i])
		}
	}
	for i := range s.list {
		if s.own[i] || !s.result.Peers[i].IsZero() {
			continue
		}
		p, err := e.addWaiting(ctx, &s.list[i])
		if err != nil {
			return &ListError{i, err}
		}
		s.result.Peers[i] = p
		s.result.Added = append(s.result.Added, p)
	}
	return nil
}

// adjust gives a configured peer the period, the class and the tag of c.
func (e *Engine) adjust(p Peer, c *PeerConfig) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping.Load() {
		return ErrClosed
	}
	if e.leaving[p.slot] == p.generation {
		return ErrNoPeer
	}
	if e.options[p.slot] != optionsOf(c) {
		err := e.tryPost(command{
			kind: commandAdjust, slot: p.slot, generation: p.generation, watch: watch{period: c.Period, class: c.Class},
		})
		if err != nil {
			return err
		}
		e.setOptions(p.slot, c)
	}
	if p.Tag() != c.Tag {
		e.labels.reword(labelKey{p.slot, p.generation}, wordsOf(c))
	}
	return nil
}

// ownAddrs is the addresses at which an engine is reached.
type ownAddrs map[network.Addr]bool

// has reports whether an address is one of them. An engine that listens on any IPv4 address has all of
// loopback.
func (o ownAddrs) has(a netip.AddrPort) bool {
	any4 := netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port())
	ip := a.Addr().Unmap()
	return o[network.AddrFrom(a)] || ip.Is4() && ip.IsLoopback() && o[network.AddrFrom(any4)]
}

// ownAddrs returns the addresses at which e listens. An address that stands for all of its family is joined by
// those of the interfaces.
func (e *Engine) ownAddrs() ownAddrs {
	own := make(ownAddrs)
	for _, a := range e.Addrs() {
		own[network.AddrFrom(a)] = true
		if !a.Addr().IsUnspecified() || e.cfg.world != nil {
			continue
		}
		interfaces, err := net.Interfaces()
		if err != nil {
			continue // a sandbox: the loop finds out that heartbeats come back
		}
		for i := range interfaces {
			own.addInterface(&interfaces[i], a)
		}
	}
	return own
}

// addInterface adds the addresses of an interface of the family and with the port of a.
func (o ownAddrs) addInterface(i *net.Interface, a netip.AddrPort) {
	addrs, err := i.Addrs()
	if err != nil {
		return // it is gone
	}
	for _, addr := range addrs {
		n, ok := addr.(*net.IPNet)
		if !ok {
			continue
		}
		ip, _ := netip.AddrFromSlice(n.IP)
		if ip = ip.Unmap(); !ip.IsValid() || ip.Is4() != a.Addr().Is4() {
			continue
		}
		if ip.Is6() && ip.IsLinkLocalUnicast() {
			ip = ip.WithZone(i.Name) // other links may have the address at another node
		}
		o[network.AddrFrom(netip.AddrPortFrom(ip, a.Port()))] = true
	}
}
