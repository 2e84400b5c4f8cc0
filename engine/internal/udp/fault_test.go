//go:build linux

package udp

import (
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"systole/engine/enginetest/netlab"

	"systole/engine/internal/network"
)

// needs skips the test where a tool is missing.
func needs(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		if os.Getenv("SYSTOLE_CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("this test needs %s: %v", tool, err)
	}
}

// run runs a tool in the calling thread's namespace.
func run(t *testing.T, tool string, args ...string) {
	t.Helper()
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %v: %v: %s", tool, args, err, out)
	}
}

// A datagram that this host refuses to send has its own errno, also between datagrams that
// the network returns, and the others are sent.
func TestOwnFaults(t *testing.T) {
	needs(t, "nft")
	netlab.InNamespace(t, func() {
		netlab.VethPair(t)
		for _, kind := range []string{"unreachable", "prohibit", "blackhole"} {
			netlab.IP(t, "route", "add", kind, map[string]string{"unreachable": "198.51.100.1", "prohibit": "198.51.100.2", "blackhole": "198.51.100.3"}[kind])
			netlab.IP(t, "-6", "route", "add", kind, map[string]string{"unreachable": "2001:db8:1::1", "prohibit": "2001:db8:1::2", "blackhole": "2001:db8:1::3"}[kind])
		}
		run(t, "nft", "add table inet t; add chain inet t o { type filter hook output priority 0; }; add rule inet t o udp dport 7853 drop")
		for _, step := range []struct {
			to    string
			errno unix.Errno
		}{
			{"203.0.113.1:9", unix.ENETUNREACH},
			{"198.51.100.1:9", unix.EHOSTUNREACH},
			{"198.51.100.2:9", unix.EACCES},
			{"198.51.100.3:9", unix.EINVAL},
			{"192.0.2.255:9", unix.EACCES},
			{"192.0.2.9:7853", unix.EPERM},
			{"[2001:db8:2::1]:9", unix.ENETUNREACH},
			{"[2001:db8:1::1]:9", unix.EHOSTUNREACH},
			{"[2001:db8:1::2]:9", unix.EACCES},
			{"[2001:db8:1::3]:9", unix.EINVAL},
			{"[2001:db8::9]:7853", unix.EPERM},
		} {
			sendBetween(t, netip.MustParseAddrPort(step.to), step.errno)
		}
	})
}

// sendBetween sends to an address before and after datagrams that are returned.
func sendBetween(t *testing.T, to netip.AddrPort, errno unix.Errno) {
	t.Helper()
	dead := families[0].addr
	wildcard := netip.IPv4Unspecified()
	if to.Addr().Is6() {
		dead, wildcard = families[1].addr, netip.IPv6Unspecified()
	}
	s, send := openTest(t, wildcard), NewSender()
	for i := range 8 {
		if i%3 == 0 {
			put(t, send, "refused", to)
		} else {
			put(t, send, "returned", netip.AddrPortFrom(dead, 9))
		}
	}
	if sent := send.Flush(s); sent != 5 {
		t.Errorf("to %v: %d sent, want 5", to, sent)
	}
	for i := range 8 {
		var want unix.Errno
		if i%3 == 0 {
			want = errno
		}
		if got := send.Err(i); got != want || (RefusalOf(got) != network.Sent) != (want != 0) {
			t.Errorf("to %v: datagram %d: %v, want %v", to, i, got, want)
		}
	}
}

// It is a fault of this host if the address of a bound socket is removed.
func TestFaultsOfTheSource(t *testing.T) {
	netlab.InNamespace(t, func() {
		netlab.VethPair(t)
		for _, step := range []struct{ local, to string }{{"192.0.2.7:0", "192.0.2.9:9"}, {"[2001:db8::7]:0", "[2001:db8::9]:9"}} {
			local, to := netip.MustParseAddrPort(step.local), netip.MustParseAddrPort(step.to)
			far := netip.AddrPortFrom(to.Addr(), 9)
			s, loopback, send := openTest(t, local.Addr()), openTest(t, families[0].addr), NewSender()
			if to.Addr().Is6() {
				loopback = openTest(t, families[1].addr)
			}
			put(t, send, "from where it is ours", far)
			flush(t, send, s)
			put(t, send, "from loopback", far)
			send.Flush(loopback)
			if err := send.Err(0); RefusalOf(err) == network.Foreign && to.Addr().Is4() {
				t.Errorf("from loopback to %v: %v", to, err)
			}
			send.Reset()
			netlab.IP(t, "addr", "del", local.Addr().String()+"/"+map[bool]string{true: "24", false: "64"}[to.Addr().Is4()], "dev", "a0")
			put(t, send, "from an address that is gone", far)
			send.Flush(s)
			if err := send.Err(0); RefusalOf(err) == network.Foreign {
				t.Errorf("from %v, which is gone, to %v: %v", local, to, err)
			} else {
				t.Logf("from %v, which is gone: %v", local, err)
			}
		}
	})
}
