package network

import (
	"net/netip"
	"testing"
)

// A zone is named if its index can change.
func TestHasNamedZone(t *testing.T) {
	for addr, want := range map[string]bool{
		"192.0.2.1:7": false, "[::1]:7": false, "[fe80::1]:7": false, "[fe80::1%3]:7": false,
		"[fe80::1%eth0]:7": true, "[ff02::1%eth0]:7": true, "[2001:db8::1%eth0]:7": false, // which has no scope
	} {
		if got := HasNamedZone(netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

// SameIP ignores ports, IP ignores port and zone, and only link-local addresses have a scope.
func TestAddrComparisons(t *testing.T) {
	a := func(s string) *Addr { addr := AddrFrom(netip.MustParseAddrPort(s)); return &addr }
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"192.0.2.1:7", "192.0.2.1:8", true},
		{"192.0.2.1:7", "192.0.2.2:7", false},
		{"0.0.0.0:7", "[::]:7", false},
		{"[fe80::1%3]:7", "[fe80::1%3]:8", true},
		{"[fe80::1%3]:7", "[fe80::1%4]:7", false},
	} {
		if got := a(test.a).SameIP(a(test.b)); got != test.want {
			t.Errorf("%s and %s: %v", test.a, test.b, got)
		}
	}
	if a("[fe80::1%3]:7").IP() != netip.MustParseAddr("fe80::1") || a("[::]:7").IP() == netip.MustParseAddr("::1") {
		t.Error("IP has more or less than the address")
	}
	moved := *a("[fe80::1%3]:7")
	moved.SetScope(4)
	global := *a("[2001:db8::1]:7")
	global.SetScope(4)
	if moved != *a("[fe80::1%4]:7") || global != *a("[2001:db8::1]:7") {
		t.Errorf("scopes %v, %v", moved, global)
	}
}
