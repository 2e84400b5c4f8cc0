package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Tests of the keys of systole keys with serve and ping.

// keyed runs commands of systole keys in a new directory.
func keyed(t *testing.T, commands ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, args := range commands {
		if err := keysIn(t, dir, args); err != nil {
			t.Fatalf("%s: %v", args, err)
		}
	}
	return dir
}

// Two nodes that watch each other replace their shared key, and neither refuses a heartbeat.
func TestKeysRotatedLive(t *testing.T) {
	dir := keyed(t, "shared -f @1", "shared --add @1 -f @2", "promote @2 -f @3")
	text, err := os.ReadFile(filepath.Join(dir, "3"))
	if err != nil {
		t.Fatal(err)
	}
	var last strings.Builder // the third step: without the lines of the old key
	for _, l := range strings.SplitAfter(string(text), "\n") {
		if !strings.HasPrefix(l, "1 ") {
			last.WriteString(l)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "4"), []byte(last.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(dir, "keys")
	use := func(step string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, step))
		if err == nil {
			err = os.WriteFile(keys+".new", b, 0o600)
		}
		if err == nil {
			err = os.Rename(keys+".new", keys)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	use("1")
	s := serve(t, anyPort, "--keys", keys, "--interval", "10ms")
	other := serve(t, anyPort, "--keys", keys, "--interval", "10ms", "--peer", s.addr)
	time.Sleep(500 * time.Millisecond)
	for _, step := range []string{"2", "3", "4"} {
		use(step)
		for _, node := range []*server{s, other} {
			node.signal(syscall.SIGHUP)
			time.Sleep(300 * time.Millisecond)
		}
	}
	for _, node := range []*server{s, other} {
		log, figures := node.log(), node.figures()
		if strings.Count(log, "keys read anew") != 3 || strings.Count(log, "cause=first-contact") != 1 ||
			strings.Contains(log, "to=suspect") || strings.Contains(log, "refused") {
			t.Errorf("%s: %s", node.addr, log)
		}
		if faults := field(figures, "refused datagrams"); faults != "none" {
			t.Errorf("%s: refused heartbeats: %s", node.addr, faults)
		}
	}
	if _, code := ping(t, s.addr, "--keys", keys, "--count", "5").finish(); code != exitAlive {
		t.Errorf("the new key: exit status %d", code)
	}
	p := ping(t, s.addr, "--keys", filepath.Join(dir, "1"))
	p.await("failed", "never-heard")
	p.end()
	if faults := field(s.figures(), "refused datagrams"); !strings.Contains(s.log(), "Config.Keys") || faults == "none" || faults == "" {
		t.Errorf("the old key is accepted, or refused without a warning: faults %s, %s", faults, s.log())
	}
}

// figures returns what SIGQUIT prints. The last line says where the server stamps.
func (s *server) figures() string {
	s.t.Helper()
	before := len(s.log())
	s.signal(syscall.SIGQUIT)
	for end := time.Now().Add(awaitTime); ; time.Sleep(10 * time.Millisecond) {
		text := s.log()[before:]
		if _, last, ok := strings.Cut(text, "\nstamps: "); ok && strings.HasSuffix(last, "\n") {
			return text
		}
		if time.Now().After(end) {
			s.t.Fatalf("SIGQUIT printed %s", text)
		}
	}
}

// field returns the rest of a line of the figures.
func field(figures, name string) string {
	_, rest, _ := strings.Cut(figures, "\n"+name+": ")
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// With pairwise keys a node can send as itself only.
func TestKeysPairwise(t *testing.T) {
	dir := keyed(t, "master -f @m", "pair --master @m --id 10 --peer 11 -f @a", "pair --master @m --id 0xb --peer 10 -f @b",
		"pair --master @m --id 12 --peer 11 -f @c")
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	s := serve(t, anyPort, "--id", "11", "--keys", b)
	if _, code := ping(t, "11@"+s.addr, "--id", "10", "--keys", a, "--count", "5").finish(); code != exitAlive {
		t.Errorf("the pair's keys: exit status %d", code)
	}
	for name, args := range map[string][]string{
		"a node without a key at the server": {"--id", "12", "--keys", c},
		"a node that sends as another one":   {"--id", "10", "--keys", c},
	} {
		if summary, code := ping(t, append(args, "11@"+s.addr, "--wait", "2s")...).finish(); code != exitPeer || summary.Peers[0].Received != 0 {
			t.Errorf("%s: exit status %d, summary %+v", name, code, summary)
		}
	}
	for name, args := range map[string][]string{
		"no id of its own":   {"11@" + s.addr, "--keys", a},
		"no id for the peer": {s.addr, "--id", "10", "--keys", a},
	} {
		if _, complaint, code := run1(append([]string{"ping"}, args...)...); code != exitUsage || !strings.Contains(complaint, "pairwise") {
			t.Errorf("%s: exit status %d, %q", name, code, complaint)
		}
	}
}
