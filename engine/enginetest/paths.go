package enginetest

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"systole/engine/internal/network"
	"systole/engine/internal/sim"
)

// A host has up to maxPaths addresses, by turns of IPv4 and IPv6, each on a network of its own:
// what joins the first addresses of all hosts can be cut while what joins the second ones works.

// maxPaths bounds the addresses that a host begins with.
const maxPaths = 4

// addrOf returns the address that host number n has on a path.
func addrOf(n, path int) netip.AddrPort {
	ip := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
	switch path {
	case 2:
		ip = netip.AddrFrom4([4]byte{172, 16 + byte(n>>16), byte(n >> 8), byte(n)})
	case 1, 3:
		six := [16]byte{0xfd, byte(path)}
		six[13], six[14], six[15] = byte(n>>16), byte(n>>8), byte(n)
		ip = netip.AddrFrom16(six)
	}
	return netip.AddrPortFrom(ip, port)
}

// addPath gives the host one more address.
func (h *Host) addPath() {
	addr := addrOf(slices.Index(h.world.hosts, h)+1, len(h.home))
	if err := h.sim.AddAddr(addr); err != nil {
		panic(fmt.Sprintf("enginetest: %v", err)) // nobody else has it
	}
	h.world.readdressed = true
	h.home, h.paths = append(h.home, addr), append(h.paths, addr)
}

// Path returns the address of the host's engine on a path, from 0 on, whether or not it runs.
func (h *Host) Path(path int) netip.AddrPort { return h.paths[path] }

// takeAddress gives the host an address that another one has, at once, as a virtual address that
// fails over, or one that goes to a new pod.
func (h *Host) takeAddress(addr netip.AddrPort) {
	h.world.readdressed = true
	h.world.did(h, "takes the address %v", addr)
	h.sim.Take(addr)
}

// rebind has a NAT show others a new address in place of the first one of the host, which does not
// learn of it. It does nothing while another host has that one.
func (h *Host) rebind() {
	if h.sim.Addr() != h.paths[0] {
		return
	}
	h.world.readdressed = true
	h.world.rebound++
	n := h.world.rebound
	h.paths[0] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 64 + byte(n>>16), byte(n >> 8), byte(n)}), port)
	h.world.did(h, "is seen as %v", h.paths[0])
	h.sim.Rebind(h.paths[0])
}

// restoreAddresses gives every host the addresses that it had at first, and no others.
func (w *World) restoreAddresses() {
	for _, h := range w.hosts {
		for _, a := range h.sim.Addrs() {
			h.sim.Release(a)
		}
	}
	for _, h := range w.hosts {
		for _, a := range h.home {
			h.sim.Take(a)
		}
		copy(h.paths, h.home)
	}
}

// setName has a name point to addresses until it is set again. Without any, the name of a host
// points to the host.
func (w *World) setName(name string, addrs ...netip.Addr) {
	w.readdressed = true
	w.did(w.Host(name), "the name %q points to %v", name, addrs)
	w.sim.SetName(name, addrs...)
}

// breakName has every look-up of a name fail, or no more.
func (w *World) breakName(name string, on bool) {
	w.did(w.Host(name), "look-ups of the name %q fail: %v", name, on)
	w.sim.BreakName(name, on)
}

// reject has a middlebox answer what one host sends to another with port unreachable, or no more. The way
// back stays as it is.
func (w *World) reject(from, to *Host, path int, on bool) {
	w.did(from, "a middlebox refuses what it sends to %s: %v", to.Name(), on)
	w.sim.Reject(from.sim, to.sim, path, on)
}

// playSlowly has a proxy play what one host sends to another at half the speed: in order, and ever
// later; or no more.
func (w *World) playSlowly(from, to *Host, path int, on bool) {
	w.did(from, "a proxy plays what it sends to %s slowly: %v", to.Name(), on)
	w.sim.PlaySlowly(from.sim, to.sim, path, on)
}

// refuseSendsTo makes every send to a host's addresses fail for a reason, until that is network.Sent.
func (h *Host) refuseSendsTo(to *Host, path int, why network.Refusal) {
	h.world.did(h, "sends to %s refused: %v", to.Name(), why != network.Sent)
	for i, addr := range to.paths {
		if path == allPaths || path == i {
			h.sim.RefuseTo(addr, why)
			h.sim.RefuseTo(to.home[i], why)
		}
	}
}

// errnos are the errors of refused sends, as files name them.
var errnos = map[string]network.Refusal{
	"EPERM": network.NotPermitted, "EACCES": network.Prohibited, "EHOSTUNREACH": network.Unreachable,
	"ENETUNREACH": network.NoRoute, "EMSGSIZE": network.TooBig, "EINVAL": network.Refused, "ENOBUFS": network.NoBuffer,
}

// allPaths stands for every path to a node.
const allPaths = sim.AllPlanes

// target is what an entry of Watch, or a fault's To, stands for: "b" is the node b, "b/1" its
// address on path 1, "name:b" whatever the name b points to.
type target struct {
	node   string
	path   int // allPaths: not given
	byName bool
}

// at returns the path whose address is watched.
func (t target) at() int { return max(t.path, 0) }

// target reads an entry.
func (n names) target(entry string) target {
	if n[entry] != nil {
		return target{entry, allPaths, false}
	}
	if name, ok := strings.CutPrefix(entry, "name:"); ok {
		return target{name, allPaths, true}
	}
	if i := strings.LastIndexByte(entry, '/'); i >= 0 {
		if path, err := strconv.ParseUint(entry[i+1:], 10, 8); err == nil {
			return target{entry[:i], int(path), false}
		}
	}
	return target{entry, allPaths, false}
}
