package main

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"systole/engine"
	"systole/wire"
)

// SIGQUIT of serve prints each peer, alive or not, and totals to the standard error. The server goes on.
func TestServerStatus(t *testing.T) {
	s := serve(t, anyPort, "--peer", "127.0.0.1:9", "--id", "5")
	p := ping(t, s.addr, "--id", "42", "-i", "20ms")
	p.await("alive", "first-contact")
	time.Sleep(500 * time.Millisecond)
	first := s.figures()
	for _, want := range []string{
		`127\.0\.0\.1:\d+\n  id 2a, incarnation \d+\n  alive; up for [\d.]+m?s, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, because of first-contact\n` +
			`  we send once per 20ms, the peer once per 20ms; detection time [\d.]+ms\n  last heard [\d.]+.?s ago; suspicion [\d.]+\n` +
			`  round trip [\d.]+.?s, the least [\d.]+.?s\n  sent \d+, received \d+; lost out 0 % \(0 of \d+\), lost in 0 % \(0 of \d+\)\n` +
			`  suspected wrongly never, failed never\n`,
		`127\.0\.0\.1:9\n  (suspect|failed|connecting); (down|waiting) for [\d.]+.?s, since [\d: -]+, because of [a-z-]+\n  periods are not agreed yet; detection time not measured\n` +
			`  round trip not measured, the least not measured\n  sent \d+, received 0; 100 % unanswered \(\d+ of \d+\), never heard\n`,
		`\n2 peers: .*1 alive.*\nsent \d+ heartbeats, received \d+ datagrams, accepted \d+ heartbeats\nrefused datagrams: none\n`,
		`\nturns late by p50 `, `\nstamps: `,
	} {
		if !regexp.MustCompile(want).MatchString(first) {
			t.Errorf("no %s in\n%s", want, first)
		}
	}
	p.cmd.Process.Signal(syscall.SIGKILL)
	s.awaitLog("to=failed")
	s.awaitLog("id=2a")
	if again := s.figures(); !strings.Contains(again, " failed") || !strings.Contains(again, "; down for ") {
		t.Errorf("after the end of the peer:\n%s", again)
	}
}

// A peer has its name first, in the log and in the status.
func TestNamesFirst(t *testing.T) {
	s := serve(t, anyPort, "--id", "5")
	other := serve(t, ":0", "--peer", "localhost:"+port(s.addr), "--peer", "no-such-host.invalid:7853")
	other.awaitLog(`msg=transition name=localhost:` + port(s.addr) + ` addr=127.0.0.1:` + port(s.addr) + ` id=5 from=connecting to=alive`)
	figures := other.figures()
	for _, want := range []string{"localhost:" + port(s.addr) + " (127.0.0.1:" + port(s.addr) + ")\n  id 5, ", "no-such-host.invalid:7853\n  connecting"} {
		if !strings.Contains(figures, want) {
			t.Errorf("no %q in\n%s", want, figures)
		}
	}
}

func TestRefusedText(t *testing.T) {
	var s engine.Stats
	if got := refused(&s); got != "none" {
		t.Error(got)
	}
	s.Refused.Faults[wire.BadTag], s.Refused.Stale = 3, 2
	if got := refused(&s); got != "bad-tag 3, stale 2" {
		t.Error(got)
	}
	if got := census(nil); got != "0 peers" {
		t.Error(got)
	}
}
