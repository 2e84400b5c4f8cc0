package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"systole/engine/enginetest/netlab"
)

// pairWith starts a server and a probe that watches it, both with flags.
func pairWith(t *testing.T, l *netlab.Lab, args ...string) (*server, *probe) {
	t.Helper()
	s := startServer(t, l.B.Command(binary, append([]string{"serve", "--listen", l.B.Addr + ":7853"}, args...)...))
	p := startProbe(t, l.A.Command(binary, append([]string{"ping", "-o", "json", l.B.Addr, "--interval", "20ms"}, args...)...))
	p.await("alive", "first-contact")
	return s, p
}

// Each tier stamps, and says which it is. What programs take counts as what sockets have.
func TestStampTiers(t *testing.T) {
	l := netlab.Test(t)
	for _, tier := range []string{"kernel", "bpf", "absorb"} {
		t.Run(tier, func(t *testing.T) {
			s, p := pairWith(t, l, "--stamps", tier)
			time.Sleep(3 * time.Second)
			figures := s.figures()
			s.signal(syscall.SIGTERM)
			p.await("left", "goodbye")
			summary, _ := p.end()
			peer := summary.Peers[0]
			if summary.Stamps.Tier != tier || summary.Stamps.Reason != "" || !strings.Contains(figures, "stamps: "+tier) {
				t.Errorf("%+v, and the server: %s", summary.Stamps, figures)
			}
			if peer.Received < 120 || peer.LostIn > 0 || peer.LostOut > 0 || peer.Mistakes > 0 {
				t.Errorf("%+v", peer)
			}
			if peer.Delay.SendWait["max"] == 0 || peer.Delay.Part == "" || peer.Delay.Cause == "" {
				t.Errorf("%+v", peer.Delay)
			}
			if taken := summary.Stamps.BPF.Counters.Taken; (taken > 100) != (tier == "absorb") {
				t.Errorf("%d heartbeats were taken", taken)
			}
		})
	}
}

// A probe whose heartbeats are taken accuses nobody after a stop, and a stopped peer all the same.
func TestStopsWhileHeartbeatsAreTaken(t *testing.T) {
	l := netlab.Test(t)
	s, p := pairWith(t, l, "--stamps", "absorb")
	time.Sleep(time.Second)
	p.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(time.Second)
	p.cmd.Process.Signal(syscall.SIGCONT)
	time.Sleep(time.Second)
	if summary := p.interim(); len(p.accusations()) > 0 || summary.Peers[0].LostIn > 0 {
		t.Errorf("after a stop of its own: %s, %+v", p.transitions(), summary.Peers[0])
	}
	s.signal(syscall.SIGSTOP)
	p.await("suspect", "silence")
	s.signal(syscall.SIGCONT)
	p.await("alive", "reachable-again")
	s.kill()
	p.await("failed", "port-unreachable")
	if _, code := p.end(); code != exitPeer {
		t.Errorf("exit status %d", code)
	}
}

// interim returns the figures so far.
func (p *probe) interim() line {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGQUIT)
	for {
		l, ok := p.next()
		if !ok {
			p.t.Fatal("the probe has ended")
		}
		if l.Type == "interim" {
			return l
		}
	}
}

// A process without privileges has its programs from a loader. When the loader is killed, the kernel's
// stamps do, and nobody is accused.
func TestStampsFromLoader(t *testing.T) {
	l := netlab.Test(t)
	dir, err := os.MkdirTemp("", "loader")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	loader := l.A.Command(binary, "loader", "--socket", socket, "--absorb")
	out, err := loader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := loader.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loader.Process.Kill(); loader.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("loader: %q, %v", line, err)
	}
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Fatalf("the socket has mode %v, %v", info.Mode(), err)
	}
	for _, name := range []string{dir, socket} {
		if err := os.Chown(name, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	startServer(t, l.B.Command(binary, "serve", "--listen", l.B.Addr+":7853"))
	p := startProbe(t, l.A.Command("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
		binary, "ping", "-o", "json", l.B.Addr, "--interval", "20ms", "--stamps", "absorb", "--stamps-from", socket))
	p.await("alive", "first-contact")
	time.Sleep(time.Second)
	if s := p.interim().Stamps; s.Tier != "absorb" || s.BPF.Counters.Taken < 30 {
		t.Errorf("%+v", s)
	}
	loader.Process.Kill()
	loader.Wait()
	time.Sleep(time.Second)
	summary, code := p.end()
	if code != exitAlive || len(p.accusations()) > 0 || summary.Peers[0].LostIn > 1 {
		t.Errorf("exit status %d, %s, %+v", code, p.transitions(), summary.Peers[0])
	}
	if summary.Stamps.Tier != "kernel" || !strings.Contains(summary.Stamps.Reason, "it has ended") {
		t.Errorf("%+v", summary.Stamps)
	}
}

// Without privileges the kernel stamps, and the probe says why no program does; one that was asked for
// is refused.
func TestStampsWithoutPrivilege(t *testing.T) {
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if os.Getuid() != 0 {
		nobody = nil // then we have none to give up
	}
	s := serve(t, anyPort)
	cmd := exec.Command(binary, "ping", "-o", "json", s.addr, "--count", "8")
	cmd.SysProcAttr = nobody
	summary, code := startProbe(t, cmd).finish()
	if code != exitAlive || summary.Stamps.Tier != "kernel" || !strings.Contains(summary.Stamps.Reason, "it needs CAP_BPF and CAP_NET_ADMIN") {
		t.Errorf("exit status %d, %+v", code, summary.Stamps)
	}
	if late := summary.Peers[0].Delay.Late; late["max"] == 0 {
		t.Errorf("a few heartbeats have no delays: %+v", summary.Peers[0].Delay)
	}
	for _, tier := range []string{"bpf", "absorb", "nic"} {
		cmd := exec.Command(binary, "ping", s.addr, "--stamps", tier)
		cmd.SysProcAttr = nobody
		text, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != exitUsage || !strings.HasPrefix(string(text), "systole: --stamps "+tier+": ") {
			t.Errorf("%s: %v, %s", tier, err, text)
		}
	}
}

// More ports than programs can know are no reason not to serve.
func TestStampsOfManyPorts(t *testing.T) {
	var more []string
	for range 11 {
		more = append(more, "--listen", anyPort)
	}
	s := serve(t, anyPort, more...)
	if _, code := ping(t, s.addr, "--count", "3").finish(); len(s.addrs) != 12 || code != exitAlive {
		t.Errorf("%d addresses, exit status %d", len(s.addrs), code)
	}
}
