package network

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
)

// Addr is a UDP address in the form of Linux: a sockaddr_in (ip(7)) or a
// sockaddr_in6 (ipv6(7)), the rest zero. It has no pointers and one form per address,
// so it can be compared by == and be a map key: IPv4 is always a sockaddr_in, flow
// information is zero, and a scope is kept for link-local addresses only. The zero
// Addr is no address. Other systems use the same form, and never show it to the kernel.
type Addr [28]byte

// Families and offsets within a sockaddr. Family and scope are in host order, the port in
// network order.
const (
	Inet4 = 2
	Inet6 = 10

	offFamily = 0
	offPort   = 2
	OffAddr4  = 4
	OffAddr6  = 8
	offScope  = 24
)

// AddrFrom returns ap as an Addr. An IPv4-mapped IPv6 address becomes the IPv4 one. It
// returns the zero Addr for an invalid ap, and for a zone that is neither a number nor
// the name of a present interface. It may be called by any goroutine; only a zone's
// name costs system calls.
func AddrFrom(ap netip.AddrPort) Addr {
	var a Addr
	ip := ap.Addr().Unmap()
	switch {
	case ip.Is4():
		binary.NativeEndian.PutUint16(a[offFamily:], Inet4)
		b := ip.As4()
		copy(a[OffAddr4:], b[:])
	case ip.Is6():
		binary.NativeEndian.PutUint16(a[offFamily:], Inet6)
		b := ip.As16()
		copy(a[OffAddr6:], b[:])
		if ip.Zone() != "" && hasScope(ip) {
			scope, ok := scopeOf(ip.Zone())
			if !ok {
				return Addr{}
			}
			binary.NativeEndian.PutUint32(a[offScope:], scope)
		}
	default:
		return Addr{}
	}
	binary.BigEndian.PutUint16(a[offPort:], ap.Port())
	return a
}

// hasScope reports whether the kernel keeps a scope for ip (RFC 4007).
func hasScope(ip netip.Addr) bool {
	return ip.Is6() && (ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsInterfaceLocalMulticast())
}

// HasNamedZone reports whether AddrFrom would look up the name of an interface, whose
// index changes when the interface is created again. Any goroutine may call it.
func HasNamedZone(ap netip.AddrPort) bool {
	_, err := strconv.ParseUint(ap.Addr().Zone(), 10, 32)
	return err != nil && ap.Addr().Zone() != "" && hasScope(ap.Addr())
}

// scopeOf returns the interface index of a zone.
func scopeOf(zone string) (uint32, bool) {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), true
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, false
	}
	return uint32(ifi.Index), true
}

// AddrPort returns a as a netip.AddrPort, a scope as a numeric zone. The zero Addr
// gives the zero AddrPort. It is not for the hot path.
func (a *Addr) AddrPort() netip.AddrPort {
	if a.IsZero() {
		return netip.AddrPort{}
	}
	ip := a.IP()
	if scope := a.Scope(); scope != 0 {
		ip = ip.WithZone(strconv.FormatUint(uint64(scope), 10))
	}
	return netip.AddrPortFrom(ip, a.Port())
}

// String formats a as netip.AddrPort does, and the zero Addr as "none".
func (a Addr) String() string {
	if a.IsZero() {
		return "none"
	}
	return a.AddrPort().String()
}

// IP returns the address without port and zone.
func (a *Addr) IP() netip.Addr {
	switch a.Family() {
	case Inet4:
		return netip.AddrFrom4([4]byte(a[OffAddr4:]))
	case Inet6:
		return netip.AddrFrom16([16]byte(a[OffAddr6:]))
	}
	return netip.Addr{}
}

// Port returns the port number.
func (a *Addr) Port() uint16 { return binary.BigEndian.Uint16(a[offPort:]) }

// Is6 reports whether a is an IPv6 address.
func (a *Addr) Is6() bool { return a.Family() == Inet6 }

// Is4 reports whether a is an IPv4 address.
func (a *Addr) Is4() bool { return a.Family() == Inet4 }

// IsZero reports whether a is no address.
func (a *Addr) IsZero() bool { return *a == Addr{} }

// Family returns Inet4, Inet6, or 0 for the zero Addr.
func (a *Addr) Family() uint16 { return binary.NativeEndian.Uint16(a[offFamily:]) }

// Scope returns the index of the interface that a is valid on, 0 for all.
func (a *Addr) Scope() uint32 {
	if !a.Is6() {
		return 0
	}
	return binary.NativeEndian.Uint32(a[offScope:])
}

// SetScope sets the index of the interface that a is valid on, if the kernel keeps a scope
// for a.
func (a *Addr) SetScope(index uint32) {
	if hasScope(a.IP()) {
		binary.NativeEndian.PutUint32(a[offScope:], index)
	}
}

// SameIP reports whether a and b are one address, on one scope, whatever their ports.
func (a *Addr) SameIP(b *Addr) bool { return a.IP() == b.IP() && a.Scope() == b.Scope() }

// Prefix returns the bytes of the prefix that one site has: 24 bits of IPv4, 48 of IPv6;
// none for the zero Addr.
func (a *Addr) Prefix() []byte {
	switch a.Family() {
	case Inet4:
		return a[OffAddr4 : OffAddr4+3]
	case Inet6:
		return a[OffAddr6 : OffAddr6+6]
	}
	return nil
}
