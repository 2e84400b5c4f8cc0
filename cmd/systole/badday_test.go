package main

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"systole/wire"
)

const anyPort = "127.0.0.1:0"

func TestPeerKilled(t *testing.T) {
	s := serve(t, anyPort)
	p := ping(t, s.addr)
	p.await("alive", "first-contact")
	time.Sleep(300 * time.Millisecond)
	s.kill()
	killed := time.Now()
	p.await("suspect", "port-unreachable")
	failed := p.await("failed", "port-unreachable")
	if d := failed.seen.Sub(killed); d > 300*time.Millisecond {
		t.Errorf("failed %v after SIGKILL, with a period of 100 ms", d)
	}
	if _, code := p.end(); code != exitPeer {
		t.Errorf("exit status %d with a failed peer", code)
	}
}

func TestPeerStoppedAndContinued(t *testing.T) {
	s := serve(t, anyPort)
	p := ping(t, s.addr)
	p.await("alive", "first-contact")
	time.Sleep(500 * time.Millisecond)
	s.signal(syscall.SIGSTOP)
	stopped := time.Now()
	suspect := p.await("suspect", "silence")
	if d := suspect.seen.Sub(stopped); d > 500*time.Millisecond {
		t.Errorf("suspect %v after SIGSTOP, at 100 ms × 3", d)
	}
	if suspect.Suspicion < 1 || suspect.SilenceNS < int64(200*time.Millisecond) {
		t.Errorf("event without its evidence: %+v", suspect)
	}
	s.signal(syscall.SIGCONT)
	p.await("alive", "reachable-again")
	summary, code := p.end()
	if code != exitAlive || summary.Peers[0].Mistakes != 1 {
		t.Errorf("exit status %d, summary %+v", code, summary)
	}
}

// A peer is not accused for our own stop.
func TestOwnStop(t *testing.T) {
	s := serve(t, anyPort)
	p := ping(t, s.addr)
	p.await("alive", "first-contact")
	time.Sleep(300 * time.Millisecond)
	p.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(1500 * time.Millisecond)
	p.cmd.Process.Signal(syscall.SIGCONT)
	time.Sleep(time.Second)
	_, code := p.end()
	if a := p.accusations(); len(a) > 0 || code != exitAlive {
		t.Errorf("exit status %d, accusations after our own stop: %+v", code, a)
	}
	for _, l := range p.all {
		if l.Cause == "local-pause" && l.PauseNS > int64(time.Second) {
			return
		}
	}
	t.Error("no local pause was published")
}

func TestPeerRestartedWithinAPeriod(t *testing.T) {
	s := serve(t, anyPort, "--id", "42")
	p := ping(t, s.addr, "--interval", "1s")
	p.await("alive", "first-contact")
	time.Sleep(time.Second)
	s.kill()
	serve(t, s.addr, "--id", "42")
	l := p.await("alive", "restarted")
	if l.From != "alive" && l.From != "failed" {
		t.Errorf("restarted from %s", l.From)
	}
	if _, code := p.end(); code != exitAlive {
		t.Errorf("exit status %d", code)
	}
}

func TestPeerLeaves(t *testing.T) {
	s := serve(t, anyPort)
	p := ping(t, s.addr)
	p.await("alive", "first-contact")
	s.signal(syscall.SIGTERM)
	p.await("left", "goodbye")
	if _, code := p.end(); code != exitPeer {
		t.Errorf("exit status %d with a peer that left", code)
	}
}

func TestNobodyThere(t *testing.T) {
	// An address of the loopback network at which nothing answers, not even a refusal,
	// is not to be had; a bound and mute socket is as silent.
	mute, err := net.ListenPacket("udp4", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	p := ping(t, mute.LocalAddr().String())
	p.await("failed", "never-heard")
	if _, code := p.end(); code != exitPeer {
		t.Errorf("exit status %d", code)
	}
}

// Without any privilege everything works, at worst with smaller buffers.
func TestNoPrivileges(t *testing.T) {
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if os.Getuid() != 0 {
		nobody = nil // then we have none to give up
	}
	serving := exec.Command(binary, "serve", "--listen", anyPort)
	serving.SysProcAttr = nobody
	s := startServer(t, serving)
	probing := exec.Command(binary, "ping", "-o", "json", "--count", "15", s.addr)
	probing.SysProcAttr = nobody
	p := startProbe(t, probing)
	summary, code := p.finish()
	if code != exitAlive || summary.Peers[0].Received < 8 { // the first few are no answers
		t.Errorf("exit status %d, summary %+v", code, summary)
	}
	refused := exec.Command(binary, "serve", "--listen", anyPort, "--fifo", "50")
	refused.SysProcAttr = nobody
	if out, err := refused.CombinedOutput(); err == nil || !strings.Contains(string(out), "CAP_SYS_NICE") {
		t.Errorf("SCHED_FIFO without privilege: %v\n%s", err, out)
	}
}

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	ring := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	digits := func(c string) string { return strings.Repeat(c, 2*len(wire.Key{})) }
	right := ring("right", "1 send "+digits("a")+"\n")
	rotated := ring("rotated", "1 accept "+digits("a")+"\n2 send "+digits("b")+"\n")
	wrong := ring("wrong", "1 send "+digits("c")+"\n")

	s := serve(t, anyPort, "--keys", right)
	if _, code := ping(t, s.addr, "--keys", right, "--count", "5").finish(); code != exitAlive {
		t.Errorf("right key: exit status %d", code)
	}
	for name, args := range map[string][]string{
		"wrong key": {"--keys", wrong}, "no key": nil, "a key not yet accepted": {"--keys", rotated},
	} {
		p := ping(t, append(args, s.addr)...)
		p.await("failed", "never-heard")
		if _, code := p.end(); code != exitPeer {
			t.Errorf("%s: exit status %d", name, code)
		}
	}
	p := ping(t, "--keys", rotated, "--interval", "20ms", s.addr)
	time.Sleep(200 * time.Millisecond)
	ring("right", "this is no key ring\n")
	s.signal(syscall.SIGHUP) // the old keys stay
	time.Sleep(200 * time.Millisecond)
	ring("right", "1 send "+digits("a")+"\n2 accept "+digits("b")+"\n")
	s.signal(syscall.SIGHUP)
	p.await("alive", "first-contact")
	if _, code := p.end(); code != exitAlive {
		t.Errorf("a key that was added by SIGHUP: exit status %d", code)
	}
	if err := os.Chmod(right, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, complaint, code := run1("ping", s.addr, "--keys", right); code != exitUsage || !strings.Contains(complaint, "chmod 600") {
		t.Errorf("a key ring that others can read: exit status %d, %q", code, complaint)
	}
}

// A flood of garbage beside a live peer, into a receive buffer of 4 KiB: the peer stays
// alive, or is judged when it dies; memory does not grow.
func TestGarbageFlood(t *testing.T) {
	s := serve(t, anyPort, "--recv-buffer", "4096")
	p := ping(t, s.addr, "--recv-buffer", "4096")
	p.await("alive", "first-contact")
	stop := make(chan struct{})
	flooded := make(chan int)
	go func() { flooded <- flood(t, s.addr, stop) }()
	time.Sleep(3 * time.Second)
	close(stop)
	if n := <-flooded; n < 10_000 {
		t.Errorf("the flood was only %d datagrams", n)
	}
	time.Sleep(500 * time.Millisecond)
	summary, code := p.end()
	for _, l := range p.accusations() {
		if l.To == "failed" {
			t.Errorf("failed under a flood: %+v", l)
		}
	}
	if code != exitAlive {
		t.Errorf("exit status %d, summary %+v", code, summary)
	}
	if kb := residentKB(t, s.cmd.Process.Pid); kb > 64<<10 {
		t.Errorf("the flooded server has %d KB resident", kb)
	}
}

// flood sends garbage of several kinds as fast as it can.
func flood(t *testing.T, addr string, stop <-chan struct{}) int {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer conn.Close()
	h := wire.Header{Sender: 9, MyDiscriminator: 1<<wire.SlotBits | 1, Incarnation: 1, Sequence: 1, Period: 1000}
	valid, _ := wire.Append(nil, &h, nil)
	other := append([]byte(nil), valid...)
	other[4]++ // another version
	kinds := [][]byte{{}, []byte("garbage"), valid[:100], other, make([]byte, 1400)}
	for n := 0; ; n++ {
		select {
		case <-stop:
			return n
		default:
			conn.Write(kinds[n%len(kinds)])
		}
	}
}

// residentKB returns the resident memory of a process.
func residentKB(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(status), "\n") {
		if rest, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			return atoi(strings.Fields(rest)[0])
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

func TestUsage(t *testing.T) {
	for name, args := range map[string][]string{
		"no target":       {"ping"},
		"unknown command": {"pong"},
		"unknown flag":    {"ping", "127.0.0.1", "--colour"},
		"no unit":         {"ping", "127.0.0.1", "--interval", "100"},
		"bad period":      {"ping", "127.0.0.1", "--interval", "1us"},
		"bad target":      {"ping", "0.0.0.0:7853"},
		"half a bracket":  {"ping", "[::1"},
		"no host":         {"ping", "7@"},
		"empty --peer":    {"serve", "--listen", anyPort, "--peer", ""},
		"no such page":    {"man", "pign"},
		"bad id":          {"ping", "me@127.0.0.1"},
		"own id":          {"ping", "7@127.0.0.1", "--id", "7"},
		"bad local":       {"ping", "127.0.0.1", "--local", "lo"},
		"foreign local":   {"ping", "127.0.0.1", "--local", "192.0.2.1"},
		"no device":       {"ping", "127.0.0.1", "--device", "nonexistent0"},
		"bad peer":        {"serve", "--listen", anyPort, "--peer", "0.0.0.0:1"},
		"bad format":      {"ping", "127.0.0.1", "-o", "xml"},
		"bad detector":    {"ping", "127.0.0.1", "--detector", "tea-leaves"},
		"bad multiplier":  {"ping", "127.0.0.1", "--multiplier", "0"},
		"no multiplier":   {"ping", "127.0.0.1", "--multiplier", "NaN", "--detector", "fixed"},
		"no margin left":  {"ping", "127.0.0.1", "--multiplier", "1", "--detector", "chen"},
		"two parameters":  {"ping", "127.0.0.1", "--multiplier", "2", "--detector", "chen:20ms"},
		"not multiplied":  {"ping", "127.0.0.1", "--multiplier", "2", "--detector", "phi"},
		"margin learns":   {"ping", "127.0.0.1", "--multiplier", "2"},
		"margin promises": {"ping", "127.0.0.1", "--detector", "margin:1h"},
		"bad parameter":   {"ping", "127.0.0.1", "--detector", "phi:0"},
		"no promise kept": {"ping", "127.0.0.1", "--detector", "phi", "--mistake-every", "1h"},
		"negative wait":   {"ping", "127.0.0.1", "--wait", "-1s"},
		"no name":         {"record", "127.0.0.1", "-f", ""},
		"too few seeds":   {"sim", "--seed", "18446744073709551615", "--seeds", "2"},
		"bad listen":      {"serve", "--listen", "localhost"},
		"foreign address": {"serve", "--listen", "192.0.2.1:7853"},
		"no key file":     {"serve", "--keys", "/nonexistent"},
		"two schedulings": {"serve", "--fifo", "1", "--nice", "-1"},
		"bad priority":    {"serve", "--fifo", "100"},
		"half a level":    {"ping", "127.0.0.1", "--level", "late"},
		"bad threshold":   {"ping", "127.0.0.1", "--level", "late=soon"},
		"bad clearing":    {"ping", "127.0.0.1", "--level", "late=1:x"},
		"stay, no unit":   {"ping", "127.0.0.1", "--level", "late=1:1:1"},
		"four parts":      {"ping", "127.0.0.1", "--level", "late=1:1:1s:1"},
		"levels fall":     {"ping", "127.0.0.1", "--level", "late=2", "--level", "dead=1"},
		"target twice":    {"ping", "127.0.0.1:9", "127.0.0.1:9"},
	} {
		stdout, complaint, code := run1(args...)
		if code != exitUsage || !strings.HasPrefix(complaint, "systole: ") || stdout != "" {
			t.Errorf("%s: exit status %d, printed %q, complained %q", name, code, stdout, complaint)
		}
	}
}

func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	if _, complaint, code := run1("man", dir); code != 0 {
		t.Fatalf("exit status %d: %s", code, complaint)
	}
	for _, page := range []string{"systole.1", "systole-ping.1", "systole-serve.1"} {
		text, err := os.ReadFile(filepath.Join(dir, page))
		if err != nil || !strings.Contains(string(text), "Exit status") && page != "systole-serve.1" {
			t.Errorf("%s: %v", page, err)
		}
	}
	if out, _, code := run1("completion", "bash"); code != 0 || !strings.Contains(out, "systole") {
		t.Errorf("completion: exit status %d", code)
	}
}

// SIGQUIT prints the figures so far and the probe goes on; a quantile is printed only
// with enough heartbeats behind it.
func TestInterimAndQuantiles(t *testing.T) {
	s := serve(t, anyPort)
	p := ping(t, s.addr, "--interval", "10ms")
	p.await("alive", "first-contact")
	time.Sleep(300 * time.Millisecond)
	p.cmd.Process.Signal(syscall.SIGQUIT)
	for {
		l, ok := p.next()
		if !ok {
			t.Fatal("SIGQUIT ended the probe")
		}
		if l.Type == "interim" {
			if _, has := l.Peers[0].RTT["p99"]; has {
				t.Errorf("p99 of %d heartbeats", l.Peers[0].Received)
			}
			if l.Peers[0].RTT["p50"] == 0 {
				t.Errorf("no median of %d heartbeats", l.Peers[0].Received)
			}
			break
		}
	}
	time.Sleep(1200 * time.Millisecond)
	summary, _ := p.end()
	if _, known := summary.Peers[0].Delay.Network["max"]; summary.V != 1 || summary.Peers[0].RTT["p99"] == 0 || !known {
		t.Errorf("summary %+v", summary)
	}
	if wait := time.Duration(summary.Peers[0].Delay.SendWait["max"]); wait == 0 || wait > time.Second {
		t.Errorf("a heartbeat waited %v in the peer's host", wait)
	}
}

// Names are resolved; an address that the name has keeps the peer.
func TestTargetByName(t *testing.T) {
	s := serve(t, anyPort)
	port := netip.MustParseAddrPort(s.addr).Port()
	p := ping(t, "localhost:"+itoa(int(port)), "--count", "5")
	summary, code := p.finish()
	if code != exitAlive {
		t.Errorf("exit status %d, summary %+v", code, summary)
	}
}
