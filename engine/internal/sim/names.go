package sim

import (
	"context"
	"net"
	"net/netip"
)

// record is a name server's record of a name.
type record struct {
	addrs  []netip.Addr
	broken bool
}

// SetName makes a name resolve to addrs, in that order. A name without a record is the name of a host
// and resolves to the host's current addresses.
func (w *World) SetName(name string, addrs ...netip.Addr) { w.name(name).addrs = addrs }

// BreakName makes every look-up of a name fail; with on false, no longer.
func (w *World) BreakName(name string, on bool) { w.name(name).broken = on }

// name returns the record of a name and creates a missing one.
func (w *World) name(name string) *record {
	if w.names == nil {
		w.names = make(map[string]*record)
	}
	if w.names[name] == nil {
		w.names[name] = &record{}
	}
	return w.names[name]
}

// LookupNetIP resolves a name as net.Resolver does.
func (s *Socket) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	return s.host.world.Lookup(name)
}

// Lookup returns the addresses of a name.
func (w *World) Lookup(name string) ([]netip.Addr, error) {
	r, h := w.names[name], w.byName[name]
	var addrs []netip.Addr
	switch {
	case r != nil && r.broken:
		return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
	case r != nil && len(r.addrs) > 0:
		return append(addrs, r.addrs...), nil
	case h != nil:
		for i := range h.addrs {
			addrs = append(addrs, h.addrs[i].seen.AddrPort().Addr())
		}
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no such host in this world", Name: name, IsNotFound: true}
	}
	return addrs, nil
}
