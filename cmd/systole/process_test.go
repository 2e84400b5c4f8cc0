package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"systole/bpf"
)

// Most tests run the probe as a process.

// binary is the probe, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "systole")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	// Processes without privileges run it as well.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	binary = filepath.Join(dir, "systole")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Stderr = os.Stderr
	code := 2
	err = build.Run()
	if tier := os.Getenv("SYSTOLE_TEST_STAMPS"); err == nil && tier != "" {
		binary, err = withStamps(dir, binary, tier)
	}
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// withStamps returns a program that runs the commands of binary that have --stamps with a tier.
func withStamps(dir, binary, tier string) (string, error) {
	name := filepath.Join(dir, "systole-"+tier)
	script := fmt.Sprintf("#!/bin/sh\ncommand=$1\nshift\nexec %s \"$command\" --stamps %s \"$@\"\n", binary, tier)
	return name, os.WriteFile(name, []byte(script), 0o755)
}

// shared is a text that one goroutine writes and others read.
type shared struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

// Write appends to the text.
func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// String returns the text so far.
func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// server is a running systole serve.
type server struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   *bufio.Reader
	addr  string   // the first of addrs
	addrs []string // on which it serves
	log   func() string
}

// serve starts a server at an address and waits until it serves.
func serve(t *testing.T, addr string, args ...string) *server {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"serve", "--listen", addr}, args...)...)
	return startServer(t, cmd)
}

// startServer starts cmd, a systole serve, and reads its addresses.
func startServer(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	complaints := &shared{}
	cmd.Stderr = complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, cmd: cmd, out: bufio.NewReader(out), log: complaints.String}
	t.Cleanup(s.kill)
	line, err := s.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, s.log())
	}
	addrs, _, _ := strings.Cut(strings.TrimPrefix(line, "serving on ["), "], id ")
	s.addrs = strings.Fields(addrs)
	s.addr = s.addrs[0]
	return s
}

// kill kills the server.
func (s *server) kill() {
	if s.cmd.ProcessState == nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	}
}

// signal sends a signal to the server.
func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// line is a line of JSON of ping. It has the fields of all types.
type line struct {
	V         int     `json:"v"`
	Type      string  `json:"type"`
	Peer      string  `json:"peer"`
	Addr      string  `json:"addr"`
	ID        string  `json:"id"`
	From      string  `json:"from"`
	To        string  `json:"to"`
	Cause     string  `json:"cause"`
	Suspicion float64 `json:"suspicion"`
	SilenceNS int64   `json:"silence_ns"`
	LagNS     int64   `json:"lag_ns"`
	PauseNS   int64   `json:"pause_ns"`
	Others    []struct {
		Peer        string `json:"peer"`
		Addr        string `json:"addr"`
		Incarnation uint64 `json:"incarnation,string"`
	} `json:"others"`
	Stamps struct {
		Tier   string     `json:"tier"`
		Reason string     `json:"reason"`
		BPF    bpf.Status `json:"bpf"`
	} `json:"stamps"`
	Peers []struct {
		Peer       string           `json:"peer"`
		State      string           `json:"state"`
		Sent       uint64           `json:"sent"`
		Received   uint64           `json:"received"`
		LostOut    uint64           `json:"lost_out"`
		LostIn     uint64           `json:"lost_in"`
		Duplicated uint64           `json:"duplicated"`
		Reordered  uint64           `json:"reordered"`
		Missed     uint64           `json:"missed"`
		Mistakes   uint64           `json:"mistakes"`
		Failures   uint64           `json:"failures"`
		RTT        map[string]int64 `json:"rtt_ns"`
		Slow       bool             `json:"slow"`
		Delay      struct {
			Late     map[string]int64 `json:"late_ns"`
			SendWait map[string]int64 `json:"send_wait_ns"`
			Network  map[string]int64 `json:"network_ns"`
			Host     map[string]int64 `json:"host_ns"`
			Read     map[string]int64 `json:"read_ns"`
			Part     string           `json:"part"`
			Cause    string           `json:"cause"`
		} `json:"delay"`
	} `json:"peers"`
	seen time.Time
}

// probe is a running systole ping -o json.
type probe struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan line
	all   []line
}

// ping starts a probe.
func ping(t *testing.T, args ...string) *probe {
	t.Helper()
	return startProbe(t, exec.Command(binary, append([]string{"ping", "-o", "json"}, args...)...))
}

// startProbe starts cmd, a systole ping -o json, and reads its lines.
func startProbe(t *testing.T, cmd *exec.Cmd) *probe {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &probe{t: t, cmd: cmd, lines: make(chan line, 10_000)}
	go func() {
		defer close(p.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			var l line
			if err := json.Unmarshal(in.Bytes(), &l); err != nil {
				t.Errorf("not JSON: %s", in.Bytes())
				continue
			}
			l.seen = time.Now()
			p.lines <- l
		}
	}()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	return p
}

// next waits for the next line, for up to ten seconds. It reports false at the end.
func (p *probe) next() (line, bool) {
	p.t.Helper()
	select {
	case l, ok := <-p.lines:
		if ok {
			p.all = append(p.all, l)
		}
		return l, ok
	case <-time.After(10 * time.Second):
		p.t.Fatalf("no line for 10 s after %s", p.transitions())
		return line{}, false
	}
}

// awaitTime is the longest wait for a transition.
const awaitTime = 10 * time.Second

// await waits for a transition to a state for a cause.
func (p *probe) await(to, cause string) line {
	p.t.Helper()
	for end := time.Now().Add(awaitTime); ; {
		l, ok := p.next()
		if !ok || l.seen.After(end) {
			p.t.Fatalf("no change to %s for %s, only %s", to, cause, p.transitions())
		}
		if l.Type == "event" && l.To == to && l.Cause == cause {
			return l
		}
	}
}

// awaitCause waits for an event with a cause, about a peer or about this node.
func (p *probe) awaitCause(cause string) line {
	p.t.Helper()
	for end := time.Now().Add(awaitTime); ; {
		l, ok := p.next()
		if !ok || l.seen.After(end) {
			p.t.Fatalf("no %s, only %s", cause, p.transitions())
		}
		if l.Type == "event" && l.Cause == cause {
			return l
		}
	}
}

// transitions returns the text of all transitions.
func (p *probe) transitions() string {
	var b strings.Builder
	for _, l := range p.all {
		if l.Type == "event" {
			fmt.Fprintf(&b, "[%s → %s, %s] ", l.From, l.To, l.Cause)
		}
	}
	return b.String()
}

// end ends the probe by SIGINT and returns its summary and exit code.
func (p *probe) end() (line, int) {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGINT)
	return p.finish()
}

// finish waits for the end of the probe and returns its summary and exit code.
func (p *probe) finish() (line, int) {
	p.t.Helper()
	var last line
	for {
		l, ok := p.next()
		if !ok {
			break
		}
		last = l
	}
	p.cmd.Wait()
	if last.Type != "summary" {
		p.t.Fatalf("the last line is no summary: %+v", last)
	}
	return last, p.cmd.ProcessState.ExitCode()
}

// accusations returns the transitions to suspect or failed.
func (p *probe) accusations() []line {
	var out []line
	for _, l := range p.all {
		if l.Type == "event" && (l.To == "suspect" || l.To == "failed") {
			out = append(out, l)
		}
	}
	return out
}

// run1 runs the probe to its end and returns its output and exit code.
func run1(args ...string) (stdout, stderr string, code int) {
	cmd := exec.Command(binary, args...)
	var out, complaints strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaints
	cmd.Run()
	return out.String(), complaints.String(), cmd.ProcessState.ExitCode()
}

// itoa and atoi are those of strconv, without errors.
func itoa(n int) string { return fmt.Sprint(n) }

func atoi(s string) (n int) {
	fmt.Sscan(s, &n)
	return n
}

// Signals end sim and replay, even while they wait for input.
func TestSignalsEnd(t *testing.T) {
	for _, args := range [][]string{{"sim", "--seeds", "1000000000000"}, {"replay", "-"}, {"sim", "-"}} {
		cmd := exec.Command(binary, args...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		// The first signal may come before the program resets them.
		again := time.NewTicker(100 * time.Millisecond)
		for tries := 0; ; tries++ {
			select {
			case <-ended:
			case <-again.C:
				if cmd.Process.Signal(syscall.SIGINT); tries < int(awaitTime/(100*time.Millisecond)) {
					continue
				}
				t.Errorf("%v does not end", args)
				cmd.Process.Kill()
				<-ended
			}
			break
		}
		again.Stop()
		in.Close()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGINT {
			t.Errorf("%v: ended with %v", args, cmd.ProcessState)
		}
	}
}

// lacking skips a test for lack of something. In CI that is a failure.
func lacking(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SYSTOLE_CI") != "" {
		t.Fatalf("CI lacks %s", what)
	}
	t.Skipf("this machine lacks %s", what)
}
