//go:build linux

package netlab

import (
	"strconv"
	"strings"
	"testing"
)

func TestHostsReachEachOther(t *testing.T) {
	l := Test(t)
	for _, target := range []string{l.B.Addr, l.B.Addr6} {
		if err := reach(l.A, target); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
	if err := l.A.Run("ip", "addr", "del", l.A.Addr+"/24", "dev", l.A.Device); err != nil {
		t.Fatal(err)
	}
	if reach(l.A, l.B.Addr) == nil {
		t.Error("reached without an address")
	}
	if err := l.A.Run("ip", "addr", "add", l.A.Addr+"/24", "dev", l.A.Device); err != nil {
		t.Fatal(err)
	}
	if err := reach(l.A, l.B.Addr); err != nil {
		t.Errorf("not reached with the address back: %v", err)
	}
}

// reach asks the kernel of h for a way to target.
func reach(h *Host, target string) error { return h.ip("route", "get", target) }

// The dropped share is counted by the receiver's kernel.
func TestDropIn(t *testing.T) {
	l := Test(t)
	const datagrams = 2000
	for _, percent := range []int{0, 20, 100, 0} {
		if err := l.B.DropIn(percent); err != nil {
			t.Fatal(err)
		}
		before := received(t, l.B)
		script := "for i in $(seq " + strconv.Itoa(datagrams) + "); do echo x >/dev/udp/" + l.B.Addr + "/9; done"
		if err := l.A.Run("bash", "-c", script); err != nil {
			t.Fatal(err)
		}
		got := received(t, l.B) - before
		if want := datagrams * (100 - percent) / 100; got < want-100 || got > want+100 {
			t.Errorf("at %d%%: %d of %d datagrams arrived", percent, got, datagrams)
		}
	}
}

// received returns how many UDP datagrams for ports that nobody has open the host's
// kernel has received.
func received(t *testing.T, h *Host) int {
	t.Helper()
	out, err := h.Command("cat", "/proc/net/snmp").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(out), "\n") {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "Udp:" && fields[2] != "NoPorts" {
			n, err := strconv.Atoi(fields[2])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no counters of UDP")
	return 0
}

// A datagram between the hosts of a routed lab passes the router.
func TestRouted(t *testing.T) {
	p, err := NewRouted()
	Require(t, err)
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, way := range [][2]*Host{{p.A, p.B}, {p.B, p.A}} {
		before := received(t, way[1])
		if err := way[0].Run("bash", "-c", "echo x >/dev/udp/"+way[1].Addr+"/9"); err != nil {
			t.Fatal(err)
		}
		if got := received(t, way[1]) - before; got != 1 {
			t.Errorf("%d datagrams reached %s", got, way[1].Addr)
		}
	}
}
