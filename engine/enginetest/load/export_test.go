//go:build linux

package load

import "net/netip"

// Addr returns the address that all nodes share.
func (p *Population) Addr() netip.AddrPort { return p.socket.Local() }
