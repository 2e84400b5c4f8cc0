package main

import (
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/engine/enginetest/netlab"
)

// Tests of nodes with several addresses, and of several nodes with one id.

// port returns the port of an address.
func port(addr string) string { return itoa(int(netip.MustParseAddrPort(addr).Port())) }

// A server on 0.0.0.0 answers at each address of its host.
func TestServerOnAnyAddress(t *testing.T) {
	s := serve(t, "0.0.0.0:0")
	for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
		if summary, code := ping(t, host+":"+port(s.addr), "--count", "5").finish(); code != exitAlive {
			t.Errorf("%s: exit status %d, summary %+v", host, code, summary)
		}
	}
}

// A process at two addresses is two peers, and so is one by its name and its address.
func TestTwoTargetsOneProcess(t *testing.T) {
	s := serve(t, "127.0.0.1:0", "--listen", "[::1]:0")
	for _, targets := range [][]string{s.addrs, {s.addr, "localhost:" + port(s.addr)}} {
		p := ping(t, append(targets, "--count", "10")...)
		summary, code := p.finish()
		if code != exitAlive || len(summary.Peers) != 2 {
			t.Fatalf("%v: exit status %d, summary %+v", targets, code, summary)
		}
		for _, peer := range summary.Peers {
			if peer.State != "alive" || peer.Received < 5 {
				t.Errorf("%v: %+v", targets, peer)
			}
		}
		if a := p.accusations(); len(a) > 0 {
			t.Errorf("%v: accusations %+v", targets, a)
		}
	}
}

// A node that watches two processes with one id reports both.
func TestIDCollision(t *testing.T) {
	a, b := serve(t, anyPort, "--id", "7"), serve(t, anyPort, "--id", "7")
	p := ping(t, a.addr, b.addr, "--id", "9")
	l := p.awaitCause("id-collision")
	if len(l.Others) != 2 || l.ID != "0000000000000007" || l.Others[0].Incarnation == l.Others[1].Incarnation {
		t.Fatalf("id-collision without the two peers: %+v", l)
	}
	if got := []string{l.Others[0].Addr, l.Others[1].Addr}; got[0] == got[1] ||
		got[0] != a.addr && got[0] != b.addr || got[1] != a.addr && got[1] != b.addr {
		t.Errorf("id-collision of %v, not of %s and %s", got, a.addr, b.addr)
	}
	if summary, code := p.end(); code != exitAlive || len(p.accusations()) > 0 {
		t.Errorf("exit status %d, summary %+v, accusations %+v", code, summary, p.accusations())
	}
	text, _, _ := run1("ping", a.addr, b.addr, "--wait", "4s")
	if !strings.Contains(text, "id-collision, id 7: ") || !strings.Contains(text, " in incarnation ") {
		t.Errorf("no collision in the text: %s", text)
	}
}

// A process with the watcher's own id is reported by the watcher. Other nodes are not disturbed.
func TestOwnIDCollision(t *testing.T) {
	s := serve(t, anyPort, "--id", "7")
	third := ping(t, s.addr, "--id", "9")
	third.await("alive", "first-contact")
	p := ping(t, s.addr, "--id", "7")
	if l := p.awaitCause("id-collision"); l.Addr != s.addr || l.To != "connecting" {
		t.Errorf("the peer with our own id: %+v", l)
	}
	if l := p.awaitCause("id-collision"); l.Addr != "" || len(l.Others) != 0 || l.ID != "0000000000000007" {
		t.Errorf("collision with our own id: %+v", l)
	}
	p.end()
	if _, code := third.end(); code != exitAlive || len(third.accusations()) > 0 {
		t.Errorf("a third node was disturbed: exit status %d, %+v", code, third.accusations())
	}
}

// An address with the name of an interface means the interface that has the name now.
func TestInterfaceMadeAnew(t *testing.T) {
	l := netlab.Test(t)
	local := func() {
		for h, addr := range map[*netlab.Host]string{l.A: "fe80::78:1/64", l.B: "fe80::78:2/64"} {
			if err := h.Run("ip", "addr", "add", addr, "dev", h.Device, "nodad"); err != nil {
				t.Fatal(err)
			}
		}
	}
	local()
	startServer(t, l.B.Command(binary, "serve", "--listen", "[::]:7853"))
	p := startProbe(t, l.A.Command(binary, "ping", "-o", "json", "[fe80::78:2%"+l.A.Device+"]:7853"))
	p.await("alive", "first-contact")
	if err := l.A.Run("ip", "link", "del", l.A.Device); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	if err := l.Link(); err != nil {
		t.Fatal(err)
	}
	local()
	p.await("alive", "reachable-again")
	time.Sleep(time.Second) // the server has failed the probe: one-way until its next heartbeat
	if summary, code := p.end(); code != exitAlive {
		t.Errorf("exit status %d, summary %+v", code, summary)
	}
}

// serve without --listen works on a host without IPv6.
func TestServeWithoutIPv6(t *testing.T) {
	l := netlab.Test(t)
	cmd := l.A.Command(binary, "serve")
	started := make(chan *server)
	go func() {
		runtime.LockOSThread() // without unlock: the thread ends with its filter
		defer close(started)
		if err := denyIPv6(); err != nil {
			t.Error(err)
			return
		}
		started <- startServer(t, cmd)
	}()
	s := <-started
	if s == nil {
		t.FailNow()
	}
	if len(s.addrs) != 1 || s.addr != "0.0.0.0:7853" || !strings.Contains(s.log(), "udp6") {
		t.Errorf("serves on %v, logs %s", s.addrs, s.log())
	}
	if _, code := startProbe(t, l.B.Command(binary, "ping", "-o", "json", "--count", "5", l.A.Addr)).finish(); code != exitAlive {
		t.Errorf("exit status %d", code)
	}
}

// denyIPv6 makes socket(AF_INET6) return EAFNOSUPPORT, as in a sandbox, for the calling thread and
// the processes that it starts.
func denyIPv6() error {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
	)
	filter := []unix.SockFilter{
		{Code: load, K: 0}, // seccomp_data.nr
		{Code: equal, K: unix.SYS_SOCKET, Jf: 3},
		{Code: load, K: 16}, // the low half of args[0]
		{Code: equal, K: unix.AF_INET6, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}

// If the kernel refuses the first heartbeat, the event has the cause and the address.
func TestRefusedFromTheStart(t *testing.T) {
	l := netlab.Test(t)
	p := startProbe(t, l.A.Command(binary, "ping", "-o", "json", "192.0.2.1:7853"))
	e := p.await("connecting", "local-no-route")
	if e.Addr != "192.0.2.1:7853" {
		t.Errorf("the event has another address: %+v", e)
	}
	if summary, code := p.end(); code != exitPeer || summary.Peers[0].Missed == 0 || summary.Peers[0].Sent != 0 {
		t.Errorf("exit status %d, summary %+v", code, summary)
	}
}

// Heartbeats are sent from --local, and through --device.
func TestLocalAndDevice(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	if _, code := ping(t, s.addr, "--local", "127.0.0.3", "--count", "3").finish(); code != exitAlive {
		t.Errorf("--local: exit status %d", code)
	}
	if !strings.Contains(s.log(), "addr=127.0.0.3:") {
		t.Errorf("the server got no heartbeat from there: %s", s.log())
	}
	if os.Getuid() != 0 {
		return // some kernels want a privilege
	}
	if _, code := ping(t, s.addr, "--device", "lo", "--count", "3").finish(); code != exitAlive {
		t.Errorf("--device: exit status %d", code)
	}
}
