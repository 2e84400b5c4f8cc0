//go:build linux

package netlink

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"systole/engine/enginetest/netlab"
)

// parse returns the address of s, and the index of the interface that its zone names.
func parse(t *testing.T, s string) (netip.Addr, int) {
	t.Helper()
	addr := netip.MustParseAddr(s)
	if addr.Zone() == "" {
		return addr, 0
	}
	return addr, indexOf(t, addr.Zone())
}

// indexOf returns the index of an interface.
func indexOf(t *testing.T, name string) int {
	t.Helper()
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		t.Error(err)
		return 0
	}
	return ifi.Index
}

// To returns the interface that the kernel would choose, and 0 where there is no route.
func TestRoutes(t *testing.T) {
	netlab.InNamespace(t, func() {
		r, err := OpenRoutes()
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		netlab.VethPair(t)
		indexes := map[string]int{"": 0, "lo": indexOf(t, "lo"), "a0": indexOf(t, "a0")}
		for _, step := range []struct{ to, want string }{
			{"127.0.0.1", "lo"},
			{"192.0.2.9", "a0"},
			{"192.0.2.7", "lo"}, // our own
			{"2001:db8::9", "a0"},
			{"::1", "lo"},
			{"fe80::9%a0", "a0"},
			{"198.51.100.1", ""},
			{"2001:db8:1::9", ""},
		} {
			addr, scope := parse(t, step.to)
			if got, err := r.To(addr, scope); err != nil || got.Device != indexes[step.want] {
				t.Errorf("to %s through %d, %v; want %q, %d", step.to, got.Device, err, step.want, indexes[step.want])
			}
		}
		if got, err := r.To(netip.Addr{}, 0); err != nil || got.Device != 0 {
			t.Errorf("to no address through %d, %v", got.Device, err)
		}
		to := netip.MustParseAddr("192.0.2.9")
		if n := testing.AllocsPerRun(100, func() { _, _ = r.To(to, 0) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// Ask makes Next return the state of every interface in the socket's namespace.
func TestLinksAsk(t *testing.T) {
	netlab.InNamespace(t, func() {
		netlab.IP(t, "link", "add", "a0", "type", "veth", "peer", "name", "b0")
		netlab.IP(t, "link", "set", "a0", "up") // without a carrier
		links, err := OpenLinks()
		if err != nil {
			t.Error(err)
			return
		}
		defer links.Close()
		if err := links.Ask(); err != nil {
			t.Error(err)
			return
		}
		var got []LinkKind
		for len(got) < 3 {
			changes, err := links.Next()
			if err != nil {
				t.Error(err)
				return
			}
			for _, c := range changes {
				got = append(got, c.Kind)
			}
		}
		slices.Sort(got)
		if want := []LinkKind{LinkUp, LinkDown, LinkDown}; !slices.Equal(got, want) {
			t.Errorf("states %v, want %v: loopback up, both ends of the veth down", got, want)
		}
	})
}

// FuzzParseRoute: no answer reads past its end.
func FuzzParseRoute(f *testing.F) {
	route := message(unix.RTM_NEWROUTE, make([]byte, unix.SizeofRtMsg), unix.RTA_DST, []byte{1, 2, 3, 4}, unix.RTA_OIF, []byte{7, 0, 0, 0})
	f.Add(route)
	f.Add(route[:len(route)-2])
	f.Add(message(unix.NLMSG_ERROR, []byte{0x9b, 0xff, 0xff, 0xff}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerSize {
			_, _ = parseRoute(slices.Clip(b))
		}
	})
}

// To returns the source address that the kernel would choose, and IsLocal reports this
// host's addresses. Neither allocates.
func TestRoutesSource(t *testing.T) {
	netlab.InNamespace(t, func() {
		netlab.VethPair(t)
		netlab.IP(t, "addr", "add", "192.0.2.17/24", "dev", "a0")
		netlab.IP(t, "addr", "add", "2001:db8::17/64", "dev", "a0", "nodad")
		netlab.IP(t, "addr", "add", "fe80::7/64", "dev", "a0", "nodad")
		netlab.IP(t, "route", "add", "203.0.113.0/24", "via", "192.0.2.9", "src", "192.0.2.17")
		netlab.IP(t, "-6", "route", "add", "2001:db8:9::/64", "via", "2001:db8::9", "dev", "a0", "src", "2001:db8::17")
		netlab.IP(t, "route", "add", "prohibit", "198.51.100.1")
		r, err := OpenRoutes()
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		for _, step := range []struct {
			to, want string
			local    bool
		}{
			{"127.0.0.1", "127.0.0.1", true},
			{"192.0.2.9", "192.0.2.7", false},
			{"192.0.2.17", "192.0.2.7", true}, // the first of its network
			{"203.0.113.9", "192.0.2.17", false},
			{"198.51.100.1", "", false},
			{"192.88.99.1", "", false},
			{"::1", "::1", true},
			{"2001:db8::17", "2001:db8::17", true},
			{"2001:db8:9::9", "2001:db8::17", false},
			{"2001:db8:8::9", "", false},
			{"fe80::7%a0", "fe80::7", true},
			{"fe80::7%b0", "*", false},
		} {
			addr, scope := parse(t, step.to)
			got, err := r.To(addr, scope)
			if want, _ := netip.ParseAddr(step.want); err != nil || step.want != "*" && (got.Source != want || (got.Device != 0) != want.IsValid()) {
				t.Errorf("to %s from %v, interface %d, %v; want %s", step.to, got.Source, got.Device, err, step.want)
			}
			if local, err := r.IsLocal(addr, scope); local != step.local || err != nil {
				t.Errorf("%s is local: %v, %v", step.to, local, err)
			}
			if n := testing.AllocsPerRun(10, func() { _, _ = r.To(addr, scope); _, _ = r.IsLocal(addr, scope) }); n != 0 {
				t.Errorf("%s: %v allocations", step.to, n)
			}
		}
	})
}
