package udp

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Interface tells the way out that the kernel would take, and that there is none.
func TestRoutes(t *testing.T) {
	inNamespace(t, func() {
		r, err := OpenRoutes()
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		ip(t, "link", "add", "a0", "type", "veth", "peer", "name", "b0")
		ip(t, "link", "set", "a0", "up")
		ip(t, "link", "set", "b0", "up")
		ip(t, "addr", "add", "192.0.2.7/24", "dev", "a0")
		ip(t, "addr", "add", "2001:db8::7/64", "dev", "a0", "nodad")
		indexes := map[string]int{"": 0}
		for _, name := range []string{"lo", "a0"} {
			ifi, err := net.InterfaceByName(name)
			if err != nil {
				t.Error(err)
				return
			}
			indexes[name] = ifi.Index
		}
		for _, step := range []struct{ to, want string }{
			{"127.0.0.1:7", "lo"},
			{"192.0.2.9:7", "a0"},
			{"192.0.2.7:7", "lo"}, // our own
			{"[2001:db8::9]:7", "a0"},
			{"[::1]:7", "lo"},
			{"[fe80::9%a0]:7", "a0"},
			{"198.51.100.1:7", ""},
			{"[2001:db8:1::9]:7", ""},
		} {
			addr := AddrFrom(netip.MustParseAddrPort(step.to))
			if got, err := r.Interface(&addr); err != nil || got != indexes[step.want] {
				t.Errorf("to %s through %d, %v; want %q, %d", step.to, got, err, step.want, indexes[step.want])
			}
		}
		var none Addr
		if got, err := r.Interface(&none); err != nil || got != 0 {
			t.Errorf("to no address through %d, %v", got, err)
		}
		to := AddrFrom(netip.MustParseAddrPort("192.0.2.9:7"))
		if n := testing.AllocsPerRun(100, func() { _, _ = r.Interface(&to) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// Ask tells the state of every interface, in the socket's namespace.
func TestLinksAsk(t *testing.T) {
	inNamespace(t, func() {
		ip(t, "link", "add", "a0", "type", "veth", "peer", "name", "b0")
		ip(t, "link", "set", "a0", "up") // without a carrier
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

// FuzzRouteOf: no answer reads past its end.
func FuzzRouteOf(f *testing.F) {
	route := netlinkMessage(unix.RTM_NEWROUTE, make([]byte, unix.SizeofRtMsg), unix.RTA_DST, []byte{1, 2, 3, 4}, unix.RTA_OIF, []byte{7, 0, 0, 0})
	f.Add(route)
	f.Add(route[:len(route)-2])
	f.Add(netlinkMessage(unix.NLMSG_ERROR, []byte{0x9b, 0xff, 0xff, 0xff}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= netlinkHeader {
			_, _ = routeOf(slices.Clip(b))
		}
	})
}

// Source tells the address that the kernel would send from, on both families, and IsLocal
// which addresses are this host's, without allocating.
func TestRoutesSource(t *testing.T) {
	inNamespace(t, func() {
		veth(t)
		ip(t, "addr", "add", "192.0.2.17/24", "dev", "a0")
		ip(t, "addr", "add", "2001:db8::17/64", "dev", "a0", "nodad")
		ip(t, "addr", "add", "fe80::7/64", "dev", "a0", "nodad")
		ip(t, "route", "add", "203.0.113.0/24", "via", "192.0.2.9", "src", "192.0.2.17")
		ip(t, "-6", "route", "add", "2001:db8:9::/64", "via", "2001:db8::9", "dev", "a0", "src", "2001:db8::17")
		ip(t, "route", "add", "prohibit", "198.51.100.1")
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
			{"127.0.0.1:7", "127.0.0.1", true},
			{"192.0.2.9:7", "192.0.2.7", false},
			{"192.0.2.17:7", "192.0.2.7", true}, // the first of its network
			{"203.0.113.9:7", "192.0.2.17", false},
			{"198.51.100.1:7", "", false},
			{"192.88.99.1:7", "", false},
			{"[::1]:7", "::1", true},
			{"[2001:db8::17]:7", "2001:db8::17", true},
			{"[2001:db8:9::9]:7", "2001:db8::17", false},
			{"[2001:db8:8::9]:7", "", false},
			{"[fe80::7%a0]:7", "fe80::7", true},
			{"[fe80::7%b0]:7", "*", false},
		} {
			addr := AddrFrom(netip.MustParseAddrPort(step.to))
			got, index, err := r.Source(&addr, 0)
			if want, _ := netip.ParseAddr(step.want); err != nil || step.want != "*" && (got != want || (index != 0) != want.IsValid()) {
				t.Errorf("to %s from %v, interface %d, %v; want %s", step.to, got, index, err, step.want)
			}
			if local, err := r.IsLocal(&addr); local != step.local || err != nil {
				t.Errorf("%s is ours: %v, %v", step.to, local, err)
			}
			if n := testing.AllocsPerRun(10, func() { _, _, _ = r.Source(&addr, 0); _, _ = r.IsLocal(&addr) }); n != 0 {
				t.Errorf("%s: %v allocations", step.to, n)
			}
		}
	})
}
